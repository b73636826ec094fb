"""Spoils recordings as the world does: noise, voices, rooms, codecs, level, speed, tempo, pitch."""

import tempfile
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from fingerprintdb.audio import decode
from fingerprintdb.encoding import encode
from fingerprintdb.voices import babble, room_response

Samples = NDArray[np.float32]

CONDITIONS = (
    "clean",
    "level -20 dB",
    "mp3 64",
    "mp3 32",
    "gsm",
    "pink 10 dB",
    "pink 5 dB",
    "pink 0 dB",
    "pink -5 dB",
    "babble 5 dB",
    "babble 0 dB",
    "room 5 dB",
    "speed +2 %",
    "speed -2 %",
    "speed +5 %",
    "speed -5 %",
    "tempo +5 %",
    "tempo -5 %",
    "tempo +10 %",
    "tempo -10 %",
    "pitch +1",
    "pitch -1",
)
"""What `degrade` knows: a kind and its strength."""


def degrade(samples: Samples, rate_hz: int, condition: str, seed: int) -> Samples:
    """Return mono `samples` under one of CONDITIONS; the same seed gives the same result.

    Levels of noise are signal to noise over the whole excerpt. Speed changes tempo and pitch,
    tempo keeps pitch, pitch (in semitones) keeps tempo. Room is a reverberation time of 0.5 s
    with as much reverberation as direct sound, and pink noise. The result is scaled down where it
    would clip.
    """
    kind, _, strength = condition.partition(" ")
    number = float(strength.split()[0]) if strength else 0.0
    if kind == "level":
        spoiled = samples * np.float32(10 ** (number / 20))
    elif kind == "mp3":
        spoiled = through_mp3(samples, rate_hz, round(number))
    elif kind == "gsm":
        spoiled = through_telephone(samples, rate_hz)
    elif kind == "pink":
        spoiled = add_pink_noise(samples, number, seed)
    elif kind == "babble":
        spoiled = _mixed(samples, babble(len(samples), rate_hz, seed), number)
    elif kind == "room":
        heard = fftconvolve(samples, room_response(rate_hz, 0.5, 0.0, seed))[: len(samples)]
        spoiled = add_pink_noise(heard.astype(np.float32), number, seed)
    elif kind in {"speed", "tempo"}:
        spoiled = change_speed(samples, rate_hz, 1 + number / 100, keep_pitch=kind == "tempo")
    elif kind == "pitch":
        factor = 2 ** (number / 12)
        faster = change_speed(samples, rate_hz, factor, keep_pitch=False)
        spoiled = change_speed(faster, rate_hz, 1 / factor, keep_pitch=True)
    else:
        spoiled = samples
    return np.asarray(spoiled / max(1.0, float(np.abs(spoiled).max(initial=0.0))), np.float32)


def add_pink_noise(samples: Samples, snr_db: float, seed: int = 0) -> Samples:
    """Return 1-D `samples` with pink noise (power 1/f), `snr_db` below their power over all.

    The same seed and length give the same noise. Silence stays silence: it has no level to be
    below. The sum may exceed ±1.
    """
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(samples)))
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    return _mixed(samples, np.fft.irfft(spectrum, len(samples)).astype(np.float32), snr_db)


def change_speed(samples: Samples, rate_hz: int, factor: float, *, keep_pitch: bool) -> Samples:
    """Return `samples` played `factor` times as fast.

    With the pitch kept, FFmpeg's atempo overlaps and adds (WSOLA; Verhelst and Roelands, ICASSP
    1993); without, the samples are resampled.
    """
    if not keep_pitch:
        ratio = Fraction(factor).limit_denominator(400)
        played = resample_poly(samples, ratio.denominator, ratio.numerator)
        return np.asarray(played, np.float32)
    graph = Graph()
    source = graph.add_abuffer(sample_rate=rate_hz, format="flt", layout="mono", channels=1)
    tempo = graph.add("atempo", f"{factor:.6f}")
    sink = graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    frame = AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = rate_hz
    graph.push(frame)
    graph.push(None)
    parts = []
    while True:
        try:
            pulled = graph.pull()
        except (BlockingIOError, EOFError):
            break
        assert isinstance(pulled, AudioFrame)  # noqa: S101 — narrows the type
        parts.append(pulled.to_ndarray().reshape(-1))
    return np.concatenate(parts).astype(np.float32)


def through_mp3(samples: Samples, rate_hz: int, kbit_per_sec: int) -> Samples:
    """Return `samples` after an mp3 encoder and decoder; the encoder's delay stays in."""
    with tempfile.TemporaryDirectory(prefix="fpdb-") as folder:
        path = Path(folder, "excerpt.mp3")
        encode(path, samples, rate_hz, bit_rate=kbit_per_sec * 1000)
        return np.concatenate(list(decode(path, rate_hz)))[: len(samples)]


def through_telephone(samples: Samples, rate_hz: int) -> Samples:
    """Return `samples` after a telephone: 300 to 3400 Hz and the GSM 06.10 codec at 8 kHz.

    Needs the package soundfile, whose libsndfile holds the codec.
    """
    import soundfile  # noqa: PLC0415 — an extra of the benchmarks

    narrow = sosfilt(butter(6, (300, 3400), "bandpass", fs=rate_hz, output="sos"), samples)
    divisor = np.gcd(rate_hz, 8000)
    narrow = resample_poly(narrow, 8000 // divisor, rate_hz // divisor)
    call = BytesIO()
    loudest = max(1.0, float(np.abs(narrow).max(initial=0.0)))
    soundfile.write(call, narrow / loudest, 8000, format="WAV", subtype="GSM610")
    call.seek(0)
    heard, _ = soundfile.read(call, dtype="float32")
    heard = resample_poly(heard, rate_hz // divisor, 8000 // divisor)
    return np.asarray(heard[: len(samples)] * loudest, np.float32)


def _mixed(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    signal_power = np.mean(np.square(samples, dtype=np.float64))
    noise_power = np.mean(np.square(noise, dtype=np.float64))
    gain = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10)) if noise_power else 0.0
    return np.asarray(samples + gain * noise, np.float32)
