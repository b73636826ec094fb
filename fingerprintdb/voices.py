"""Synthesises people talking all at once, to try recognition in a crowd."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter, resample_poly

Samples = NDArray[np.float32]

RATE_HZ = 16_000
VOICES = 16

# First four formants of ten vowels, in hertz, after Peterson and Barney, "Control Methods Used in
# a Study of the Vowels" (JASA 1952); the fourth is a common mean.
_VOWELS_HZ = (
    (270, 2290, 3010, 3600),
    (390, 1990, 2550, 3500),
    (530, 1840, 2480, 3500),
    (660, 1720, 2410, 3450),
    (730, 1090, 2440, 3400),
    (570, 840, 2410, 3300),
    (440, 1020, 2240, 3300),
    (300, 870, 2240, 3300),
    (640, 1190, 2390, 3400),
    (490, 1350, 1690, 3300),
)
_BANDWIDTHS_HZ = (60, 90, 120, 175)


def babble(count: int, rate_hz: int, seed: int) -> Samples:
    """Return `count` samples of sixteen voices in a room, at unit power; one seed, one crowd.

    Each voice has a pitch of its own and speaks syllables, a hiss or not and a vowel of three
    moving formants, at four to six a second with pauses between phrases.
    """
    random = np.random.default_rng(seed)
    length = count * RATE_HZ // rate_hz + RATE_HZ // 2
    crowd = np.zeros(length)
    for _ in range(VOICES):
        voice = _voice(length, random)
        crowd += voice * 10 ** (random.uniform(-6, 0) / 20) / max(1e-9, float(np.std(voice)))
    crowd = fftconvolve(crowd, room_response(RATE_HZ, 0.4, 0.0, seed))[:length]
    if rate_hz != RATE_HZ:
        divisor = np.gcd(rate_hz, RATE_HZ)
        crowd = resample_poly(crowd, rate_hz // divisor, RATE_HZ // divisor)
    crowd = crowd[len(crowd) - count :]
    return np.asarray(crowd / max(1e-9, float(np.std(crowd))), np.float32)


def room_response(
    rate_hz: int, rt60_sec: float, direct_to_reverberant_db: float, seed: int
) -> NDArray[np.float64]:
    """Return an impulse response: the direct sound, then noise that falls 60 dB in `rt60_sec`.

    After Moorer, "About This Reverberation Business" (1979): a diffuse tail is noise with an
    exponential envelope.
    """
    random = np.random.default_rng(seed)
    time_sec = np.arange(round(rt60_sec * 1.2 * rate_hz)) / rate_hz
    tail = random.standard_normal(len(time_sec)) * 10 ** (-3 * time_sec / rt60_sec)
    tail[: round(0.002 * rate_hz)] = 0
    tail *= np.sqrt(10 ** (-direct_to_reverberant_db / 10) / np.sum(np.square(tail)))
    tail[0] = 1
    return np.asarray(tail)


def _voice(length: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return one voice speaking for `length` samples."""
    pitch_hz = random.uniform(85, 240)
    tract = random.uniform(0.9, 1.18)
    parts: list[NDArray[np.float64]] = []
    spoken = 0
    while spoken < length:
        if random.random() < 0.12:
            part = np.zeros(round(random.uniform(0.15, 0.6) * RATE_HZ))
        else:
            part = _syllable(pitch_hz * random.uniform(0.85, 1.2), tract, random)
        parts.append(part)
        spoken += len(part)
    return np.concatenate(parts)[:length]


def _syllable(pitch_hz: float, tract: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Return a hiss, where there is one, and a vowel."""
    count = round(random.uniform(0.12, 0.26) * RATE_HZ)
    glide = pitch_hz * np.linspace(1, random.uniform(0.85, 1.1), count)
    phase = np.cumsum(glide) / RATE_HZ
    # A saw rounded twice falls 12 dB an octave, as the voice's source does.
    vowel = lfilter([0.1], [1, -0.9], phase % 1 - 0.5)
    formants_hz = _VOWELS_HZ[random.integers(len(_VOWELS_HZ))]
    for centre_hz, width_hz in zip(formants_hz, _BANDWIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * width_hz / RATE_HZ)
        angle = 2 * np.pi * centre_hz * tract / RATE_HZ
        poles = [1, -2 * radius * np.cos(angle), radius**2]
        vowel = lfilter([sum(poles)], poles, vowel)
    vowel *= np.hanning(count) ** 0.5 / max(1e-9, float(np.std(vowel)))
    if random.random() < 0.5:
        return np.asarray(vowel)
    hiss = random.standard_normal(round(random.uniform(0.03, 0.1) * RATE_HZ))
    hiss = lfilter([1, -0.95], [1], hiss) * np.hanning(len(hiss)) * random.uniform(0.1, 0.4)
    return np.concatenate([hiss, vowel])
