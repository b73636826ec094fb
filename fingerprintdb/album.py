"""Synthesises a small album of original pieces, so that a demo needs no music.

Each piece has a tempo, a scale, a chord progression and instruments of its own. Its melody is a
random walk that never returns to a bar, so every five seconds of it are like no others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

ARTIST: Final = "The Constellations"
ALBUM: Final = "Landmarks"
SAMPLE_RATE_HZ: Final = 22_050

_MAJOR: Final = (0, 2, 4, 5, 7, 9, 11)
_MINOR: Final = (0, 2, 3, 5, 7, 8, 10)
_DORIAN: Final = (0, 2, 3, 5, 7, 9, 10)
_MIXOLYDIAN: Final = (0, 2, 4, 5, 7, 9, 10)
_BEATS_A_BAR: Final = 4


@dataclass(frozen=True, slots=True)
class Voice:
    """An instrument: the strength of each harmonic, and how its notes start and fade."""

    harmonics: tuple[float, ...]
    attack_sec: float
    decay_sec: float  # the time in which a held note falls to 1/e
    vibrato: float = 0.0  # depth in semitones


_PIANO: Final = Voice((1, 0.5, 0.3, 0.2, 0.1, 0.06), 0.005, 0.6)
_ORGAN: Final = Voice((1, 0.7, 0.0, 0.5, 0.0, 0.0, 0.0, 0.3), 0.02, 9.0)
_CLARINET: Final = Voice((1, 0.0, 0.6, 0.0, 0.35, 0.0, 0.2), 0.05, 4.0, 0.1)
_STRINGS: Final = Voice(tuple(1 / n for n in range(1, 11)), 0.12, 5.0, 0.2)
_BELL: Final = Voice((1, 0.0, 0.3, 0.8, 0.0, 0.4, 0.0, 0.0, 0.25), 0.002, 0.9)
_PLUCK: Final = Voice((1, 0.8, 0.6, 0.45, 0.3, 0.2, 0.15, 0.1), 0.003, 0.25)
_BASS: Final = Voice((1, 0.6, 0.25, 0.1), 0.01, 0.7)


@dataclass(frozen=True, slots=True)
class _Score:
    title: str
    beats_per_minute: float
    key: int  # MIDI number of the tonic, near middle C
    scale: tuple[int, ...]
    chords: tuple[int, ...]  # scale degrees, one a bar
    lead: Voice
    pad: Voice
    drums: float  # loudness, 0 for none
    bars: int


_SCORES: Final = (
    _Score("Harbour at Six", 96, 60, _MAJOR, (0, 4, 5, 3), _PIANO, _STRINGS, 0.5, 18),
    _Score("Copper Wire", 132, 57, _MINOR, (0, 5, 2, 6), _PLUCK, _ORGAN, 1.0, 28),
    _Score("Letters from Nowhere", 72, 62, _DORIAN, (0, 3, 0, 4, 5), _CLARINET, _STRINGS, 0.0, 14),
    _Score("Night Ferry", 110, 55, _MINOR, (0, 3, 6, 2, 5, 4), _BELL, _STRINGS, 0.4, 23),
    _Score("Paper Planets", 144, 65, _MIXOLYDIAN, (0, 6, 3, 0), _ORGAN, _PLUCK, 0.9, 31),
    _Score("Orchard Rain", 84, 59, _MAJOR, (0, 5, 1, 4), _PLUCK, _CLARINET, 0.2, 15),
    _Score("The Clockmaker", 120, 61, _MINOR, (0, 0, 3, 4, 5, 2), _BELL, _PIANO, 0.6, 24),
    _Score("Seven Hills Home", 102, 64, _DORIAN, (0, 2, 3, 6), _STRINGS, _PIANO, 0.7, 20),
)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A piece of music: 1-D mono float32 `samples` within ±1 at SAMPLE_RATE_HZ."""

    title: str
    samples: Samples

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags that a file of this piece carries."""
        return {"title": self.title, "artist": ARTIST, "album": ALBUM}

    @property
    def file_stem(self) -> str:
        """Return a file name without its ending, such as `night_ferry`."""
        return self.title.lower().replace(" ", "_")


def pieces() -> Iterator[Piece]:
    """Yield the eight pieces of the album, 40 to 55 seconds each and the same on every call.

    `encoding.encode(folder / f"{p.file_stem}.flac", p.samples, SAMPLE_RATE_HZ, p.tags)` writes one.
    """
    for number, score in enumerate(_SCORES):
        yield Piece(score.title, _perform(score, np.random.default_rng(number)))


def _perform(score: _Score, rng: np.random.Generator) -> Samples:
    """Play all bars of a score into one array, peak 0.9."""
    beat_sec = 60 / score.beats_per_minute
    beat_frames = round(beat_sec * SAMPLE_RATE_HZ)
    # Two seconds more, for the last notes to fade.
    mix = np.zeros(score.bars * _BEATS_A_BAR * beat_frames + 2 * SAMPLE_RATE_HZ, dtype=np.float32)

    def play(sound: Samples, beat: float, gain: float) -> None:
        start = round(beat * beat_frames)
        mix[start : start + len(sound)] += gain * sound[: len(mix) - start]

    def pitch(degree: int) -> int:
        octave, step = divmod(degree, len(score.scale))
        return score.key + 12 * octave + score.scale[step]

    step = 7  # the melody starts an octave above the tonic
    for bar in range(score.bars):
        first_beat = bar * _BEATS_A_BAR
        # The progression goes round; now and then a bar wanders off it.
        root = score.chords[bar % len(score.chords)] + int(rng.choice((0, 0, 0, 2, -2)))
        for degree in (root, root + 2, root + 4):
            play(_note(score.pad, pitch(degree), _BEATS_A_BAR * beat_sec), first_beat, 0.10)
        for beat in (0.0, *rng.choice((1.0, 1.5, 2.0, 2.5, 3.0, 3.5), 2, replace=False)):
            play(_note(_BASS, pitch(root) - 24, beat_sec), first_beat + beat, 0.35)
        at_beat = 0.0
        while at_beat < _BEATS_A_BAR:
            length_beats = float(rng.choice((0.5, 0.5, 1.0, 1.0, 1.5, 2.0)))
            step = int(np.clip(step + rng.choice((-3, -2, -1, -1, 1, 1, 2, 4)), 2, 16))
            if rng.random() < 0.88:  # else a rest
                loud = float(rng.uniform(0.2, 0.32))
                play(
                    _note(score.lead, pitch(step), length_beats * beat_sec),
                    first_beat + at_beat,
                    loud,
                )
            at_beat += length_beats
        for eighth in range(2 * _BEATS_A_BAR):
            for drum, likely in _DRUMS:
                if score.drums and rng.random() < likely[eighth % len(likely)]:
                    loud = score.drums * float(rng.uniform(0.7, 1.0))
                    play(drum(rng), first_beat + eighth / 2, loud)
    return mix * np.float32(0.9 / np.abs(mix).max())


@lru_cache(maxsize=128)
def _note(voice: Voice, midi: int, duration_sec: float) -> Samples:
    """Return a note, its release included; a piece plays the same ones again and again."""
    release_sec = 0.15
    time_sec = np.arange(round((duration_sec + release_sec) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    fundamental_hz = 440 * 2 ** ((midi - 69) / 12)
    # 5.5 Hz is the rate at which players shake a note; ln 2 / 12 is a semitone.
    turn = 2 * np.pi * 5.5
    shake_sec = voice.vibrato * np.log(2) / 12 / turn * np.sin(turn * time_sec)
    phase = 2 * np.pi * fundamental_hz * (time_sec + shake_sec)
    wave = np.zeros_like(time_sec)
    for harmonic, strength in enumerate(voice.harmonics, start=1):
        if strength and harmonic * fundamental_hz < 0.45 * SAMPLE_RATE_HZ:
            wave += strength * np.sin(harmonic * phase)
    attack = np.minimum(1, time_sec / voice.attack_sec)
    release = np.clip((duration_sec + release_sec - time_sec) / release_sec, 0, 1)
    envelope = attack * np.exp(-time_sec / voice.decay_sec) * release
    return (wave * envelope / sum(voice.harmonics)).astype(np.float32)


def _kick(_rng: np.random.Generator) -> Samples:
    time_sec = np.arange(round(0.2 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    sweep = 2 * np.pi * (50 * time_sec - 4 * np.exp(-30 * time_sec))  # from 170 Hz down to 50
    return np.asarray(0.5 * np.sin(sweep) * np.exp(-18 * time_sec), dtype=np.float32)


def _snare(rng: np.random.Generator) -> Samples:
    return _burst(rng, 0.2, 20, 0.15)


def _hat(rng: np.random.Generator) -> Samples:
    # The difference of neighbouring samples of noise is noise with the low part taken out.
    return np.diff(_burst(rng, 0.06, 70, 0.06), prepend=np.float32(0))


def _burst(rng: np.random.Generator, length_sec: float, decay: float, gain: float) -> Samples:
    time_sec = np.arange(round(length_sec * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(len(time_sec))
    return (gain * noise * np.exp(-decay * time_sec)).astype(np.float32)


# Each drum, and how likely it sounds on each eighth of a bar.
_DRUMS: Final[tuple[tuple[Callable[[np.random.Generator], Samples], tuple[float, ...]], ...]] = (
    (_kick, (1.0, 0.1, 0.2, 0.3, 0.9, 0.2, 0.2, 0.2)),
    (_snare, (0.0, 0.05, 0.95, 0.1, 0.0, 0.1, 0.95, 0.25)),
    (_hat, (0.9, 0.7)),
)
