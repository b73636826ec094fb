"""Adds noise to a recording at a given level, to try recognition where people listen."""

import numpy as np
from numpy.typing import NDArray


def add_pink_noise(
    samples: NDArray[np.float32], snr_db: float, seed: int = 0
) -> NDArray[np.float32]:
    """Return 1-D `samples` with pink noise (power 1/f), `snr_db` below their power over all.

    The same seed and length give the same noise. Silence stays silence: it has no level to be
    below. The sum may exceed ±1.
    """
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(samples)))
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    noise = np.fft.irfft(spectrum, len(samples))
    signal_power = np.mean(np.square(samples, dtype=np.float64))
    noise_power = np.mean(np.square(noise))
    gain = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10)) if noise_power else 0.0
    return (samples + gain * noise).astype(np.float32)
