import numpy as np
import pytest

from fingerprintdb.degradation import add_pink_noise

RATE_HZ = 11_025
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(5 * RATE_HZ) / RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_the_noise_has_the_level_asked_for(snr_db):
    noise = add_pink_noise(TONE, snr_db) - TONE
    assert 10 * np.log10(np.mean(TONE**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.01)


def test_every_octave_holds_the_same_power():
    power = np.abs(np.fft.rfft(add_pink_noise(TONE, 0.0) - TONE)) ** 2
    hz = np.fft.rfftfreq(len(TONE), 1 / RATE_HZ)
    octaves = [power[(hz >= low) & (hz < 2 * low)].sum() for low in (150, 300, 600, 1200, 2400)]
    assert max(octaves) / min(octaves) < 1.3


def test_the_seed_decides_the_noise():
    assert np.array_equal(add_pink_noise(TONE, 0, seed=7), add_pink_noise(TONE, 0, seed=7))
    assert not np.array_equal(add_pink_noise(TONE, 0, seed=7), add_pink_noise(TONE, 0, seed=8))


@pytest.mark.parametrize("frames", [1, 2, 1001])
def test_short_and_silent_excerpts_stay_finite(frames):
    noisy = add_pink_noise(np.zeros(frames, np.float32), 0)
    assert noisy.dtype == np.float32
    assert np.array_equal(noisy, np.zeros(frames))
