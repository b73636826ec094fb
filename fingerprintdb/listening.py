"""Identifies sound while it arrives, and answers as soon as it is sure."""

import hashlib
import wave
from collections.abc import Container
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Final, Literal

from fingerprintdb.audio import AudioError
from fingerprintdb.cascade import STAGES, SURE, Answer, nobody, search
from fingerprintdb.clip import Clip, sounding
from fingerprintdb.extraction import Timings
from fingerprintdb.extractor import Extractor
from fingerprintdb.source import Source
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Match, Scope
from fingerprintdb.store.profile import active_profile

SoundFormat = Literal["container", "s16le"]

FIRST_LOOK_SEC: Final = 2.0
LOOK_EVERY_SEC: Final = 1.0
WIDE_EVERY_SEC: Final = 5.0
"""A wide search costs some twenty plain ones, so it comes with each fifth second only."""

REMEMBERED_SEC: Final = 15.0
"""What lies further back is let go: a search costs by the second, and music changes."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a look found; seconds since listening began, also in the matches' query times."""

    answer: Answer
    heard_sec: float

    @property
    def is_sure(self) -> bool:
        """Whether no further sound is needed: looks are many, so more is asked than of a clip."""
        return any(match.confidence >= SURE for match in self.answer.matches)


@dataclass(slots=True)
class Listener:
    """Sound as it comes in: signed 16-bit PCM, or the beginning of any file that FFmpeg reads."""

    sound_format: SoundFormat
    sample_rate_hz: int = 48_000
    channels: int = 1
    _received: bytearray = field(default_factory=bytearray, repr=False)
    _looked_sec: float = 0.0
    _wide_sec: float = 0.0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._received += data

    @property
    def received_bytes(self) -> int:
        """How many bytes have come."""
        return len(self._received)

    def look(
        self, connection: Connection, extractor: Extractor, scope: Scope, *, is_last: bool
    ) -> Heard | None:
        """Search for what was heard; None while too little is new.

        The last look tries every stage, and raises AudioError where there was nothing to hear.
        Others ask landmarks and bits at once, and widely every five seconds.
        """
        profile = active_profile(connection)[1]
        content = self._file()
        source = Source(BytesIO(content), hashlib.sha256(content).hexdigest(), len(content))
        try:
            samples = extractor.samples(source, profile)
        except AudioError:
            if is_last:
                raise
            return None  # the file's head is not complete yet
        heard_sec = len(samples) / profile.sample_rate_hz
        if not is_last and heard_sec < max(FIRST_LOOK_SEC, self._looked_sec + LOOK_EVERY_SEC):
            return None
        since = max(0, len(samples) - round(REMEMBERED_SEC * profile.sample_rate_hz))
        clip = Clip(source, samples[since:], profile, Timings())
        self._looked_sec = heard_sec
        try:
            answer = search(
                connection, sounding(clip), nobody, scope, self._stages(heard_sec, is_last)
            )
        except AudioError:
            if is_last:
                raise
            answer = Answer("no match", [])  # silence, so far
        began_sec = since / profile.sample_rate_hz
        matches = [_later(match, began_sec) for match in answer.matches]
        return Heard(replace(answer, matches=matches), heard_sec)

    def _stages(self, heard_sec: float, is_last: bool) -> Container[str]:
        if is_last:
            return STAGES
        if heard_sec < self._wide_sec + WIDE_EVERY_SEC:
            return ("plain",)
        self._wide_sec = heard_sec
        return ("plain", "wide")

    def _file(self) -> bytes:
        """Return what was received as a file."""
        if self.sound_format == "container":
            return bytes(self._received)
        frame_bytes = 2 * self.channels
        whole = len(self._received) - len(self._received) % frame_bytes
        file = BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(self.channels)
            sound.setsampwidth(2)
            sound.setframerate(self.sample_rate_hz)
            sound.writeframes(self._received[:whole])
        return file.getvalue()


def _later(match: Match, sec: float) -> Match:
    """Return a match of a clip that began so long after listening did."""
    return replace(
        match,
        offset_sec=match.offset_sec - sec,
        query_start_sec=match.query_start_sec + sec,
        query_end_sec=match.query_end_sec + sec,
    )
