"""Decodes audio from any container into mono float32 blocks."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from io import SEEK_END
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Final, Literal

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.stream import Disposition
from numpy.typing import NDArray

from fingerprintdb.errors import FingerprintError
from fingerprintdb.warp import AS_RECORDED, Warp

Samples = NDArray[np.float32]

# PyAV is silent unless told otherwise; said here because a worker's log must hold no FFmpeg lines.
av.logging.set_level(None)

# No protocol at all: PyAV reads our file object, and a playlist (m3u8, ffconcat) that somebody
# registers cannot make FFmpeg read other files or hosts of the worker's. With the default it does.
_OPTIONS: Final = {"protocol_whitelist": "none"}

# FFmpeg looks through 5 MB of a wav file for another codec in disguise: 10 ms for a short clip.
_WAV_OPTIONS: Final = _OPTIONS | {"probesize": "65536"}

_COVER_ART: Final = Disposition.attached_pic | Disposition.timed_thumbnails

# A shorter gap in the time stamps is rounding: Matroska counts milliseconds, and whole Vorbis files
# showed gaps of 20 ms.
_SHORTEST_GAP_SEC: Final = 0.03
_LONGEST_GAP_SEC: Final = 600.0

# Float files may hold integers' values, up to 2^31; the squares of what is far beyond overflow.
_LOUDEST: Final = 1e12

# What FFmpeg knows how to mix.
_MOST_CHANNELS: Final = 8


class AudioError(FingerprintError):
    """A file whose sound cannot be decoded; the caller knows its name, so the message does not."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a container says of itself, without decoding it.

    `duration_sec` is the container's estimate, None where it has none: a truncated mp3 still
    claims its old length. `tags` has lower-case keys.
    """

    source_type: Literal["audio", "video"]
    duration_sec: float | None
    sample_rate_hz: int
    channels: int
    codec: str
    tags: dict[str, str]


def probe(file: Path | BinaryIO) -> AudioInfo:
    """Describe the best audio stream of `file`, a path or a seekable binary file object.

    Raises AudioError if it is empty, not media, or without an audio track.
    """
    with _open(file) as (container, stream):
        pictures = [s for s in container.streams.video if not s.disposition & _COVER_ART]
        tags = stream.metadata | container.metadata  # Ogg keeps its tags on the stream
        return AudioInfo(
            source_type="video" if pictures else "audio",
            duration_sec=container.duration / av.time_base if container.duration else None,
            sample_rate_hz=stream.sample_rate,
            channels=stream.channels,
            codec=stream.codec_context.codec.canonical_name,
            tags={key.lower(): value for key, value in tags.items()},
        )


def decode(
    file: Path | BinaryIO,
    sample_rate_hz: int,
    *,
    warp: Warp = AS_RECORDED,
    max_duration_sec: float | None = None,
) -> Iterator[Samples]:
    """Yield the best audio stream of `file` as 1-D blocks of a second or less of mono float32.

    The first sample is time 0 and the last block is what remains. Channels are mixed as their
    mean; full scale is ±1, which float files and lossy codecs may exceed. A sample that is not a
    number, or beyond 1e12, becomes 0, with the few that the resampler blends it into. A stretch
    that is damaged or missing becomes silence, so that what follows keeps its time. A warp plays
    the recording at another pitch and tempo, and times are as it is played.

    Raises AudioError as `probe` does, if nothing decodes, and, after the last block, if more of the
    recording was lost than decoded.
    """
    limit = math.inf if max_duration_sec is None else round(max_duration_sec * sample_rate_hz)
    with _open(file) as (container, stream):
        for block in _mono(_frames(container, stream), sample_rate_hz, warp):
            if len(block) >= limit:
                yield block[: int(limit)]
                return
            yield block
            limit -= len(block)


@contextmanager
def _open(file: Path | BinaryIO) -> Iterator[tuple[InputContainer, AudioStream]]:
    """Open the container and its best audio stream; the file object stays the caller's to close."""
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as medium:
        if not medium.seek(0, SEEK_END):
            raise AudioError("the file is empty", "supply it again: it holds no bytes")
        medium.seek(0)
        options = _WAV_OPTIONS if medium.read(4) == b"RIFF" else _OPTIONS
        medium.seek(0)
        try:
            with av.open(medium, "r", options=options, metadata_errors="replace") as container:
                stream = container.streams.best("audio")
                if not isinstance(stream, AudioStream):
                    if container.streams.video:
                        raise AudioError(
                            "the video has no audio track", "supply a version with sound"
                        )
                    raise _not_media()
                if stream.codec_context is None:
                    raise AudioError(
                        "the sound is in a format that cannot be decoded",
                        "convert it to wav, flac or mp3",
                    )
                if stream.channels > _MOST_CHANNELS:
                    raise AudioError(
                        f"the sound has {stream.channels} channels, more than {_MOST_CHANNELS}",
                        "mix it to stereo",
                    )
                yield container, stream
        except av.FFmpegError:
            raise _not_media() from None


def _not_media() -> AudioError:
    return AudioError(
        "the file is not audio or video, or too damaged to read", "supply an audio or video file"
    )


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Yield decoded frames, and frames of silence in place of what was damaged or is missing.

    Time stamps say where a frame belongs. Those of an mp3 file only count the packets found, so
    there the bytes between two good packets say how much is missing. Measured, with two fifths of
    a file overwritten: what follows keeps its place to 1 ms in ogg, flac, mp4, mkv and mpeg-ts, to
    31 ms in mp3 with a variable bit rate. In avi and aac, which have no clock either, it moves up.
    """
    clockless = container.format.name == "mp3"
    length_sec = container.duration / av.time_base if container.duration else math.inf
    tick = stream.time_base or Fraction(1, stream.sample_rate)
    start_sec = float((stream.start_time or 0) * tick)
    decoded_sec = silent_sec = failed_sec = 0.0
    decoded_bytes = next_pos = 0

    for packet in _packets(container, stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            frames = []
        # Damage may also come out as a frame of a shape that the stream never had.
        if not frames or frames[0].layout.nb_channels > _MOST_CHANNELS:
            failed_sec += float((packet.duration or 0) * tick)
            continue
        gap_sec = 0.0
        if clockless:
            if decoded_bytes and packet.pos is not None:
                gap_sec = (packet.pos - next_pos) * decoded_sec / decoded_bytes
            next_pos = (packet.pos or next_pos) + packet.size
        elif frames[0].time is not None:
            gap_sec = frames[0].time - start_sec - decoded_sec - silent_sec
            room_sec = min(length_sec - decoded_sec - silent_sec + 1, _LONGEST_GAP_SEC)
            if not -1 < gap_sec < room_sec:  # the clock jumped; the sound did not
                start_sec += gap_sec
                gap_sec = 0.0
        if gap_sec > _SHORTEST_GAP_SEC:
            yield from _silence(frames[0].sample_rate, gap_sec)
            silent_sec += gap_sec
        yield from frames
        decoded_sec += sum(frame.samples / frame.sample_rate for frame in frames)
        decoded_bytes += packet.size

    if not decoded_sec:
        raise AudioError("nothing in the audio track can be decoded", "supply an undamaged file")
    # Opus may pause where nobody speaks, so its gaps prove no damage.
    missing_sec = 0.0 if stream.codec_context.name == "opus" else silent_sec
    if max(failed_sec, missing_sec) > decoded_sec:
        raise AudioError("more than half of the recording is damaged", "supply an undamaged file")


def _packets(container: InputContainer, stream: AudioStream) -> "Iterator[Packet[AudioStream]]":
    """Yield the packets of `stream`; a reader that stumbles is asked again and finds the next."""
    stumbles = 0
    while stumbles < 10:
        try:
            for packet in container.demux(stream):
                stumbles = 0
                yield packet
        except av.FFmpegError:
            stumbles += 1
        else:
            return


def _silence(rate_hz: int, duration_sec: float) -> Iterator[AudioFrame]:
    """Yield frames of at most a second of silence.

    They are mono whatever the stream is: of a planar frame with eight channels or more, PyAV 18
    reads one plane too many, which ends the process.
    """
    remaining = round(duration_sec * rate_hz)
    while remaining > 0:
        frame = AudioFrame("flt", "mono", min(remaining, rate_hz))
        frame.sample_rate = rate_hz
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        remaining -= frame.samples
        yield frame


def _mono(frames: Iterator[AudioFrame], sample_rate_hz: int, warp: Warp) -> Iterator[Samples]:
    """Mix and resample frames; a change of their format starts a new resampler.

    Taking a block out of FFmpeg costs far more than computing it, so blocks are a second long and
    asked for once a second: mp3 to 11,025 Hz at 475 × real time, 256 with PyAV's AudioResampler.
    """
    for form, run in groupby(frames, lambda f: (f.format.name, f.layout.name, f.sample_rate)):
        graph = _mixer(*form, sample_rate_hz, warp)
        pushed_frames = 0
        for frame in run:
            graph.push(frame)
            pushed_frames += frame.samples
            if pushed_frames >= frame.sample_rate:
                pushed_frames = 0
                yield from _drain(graph)
        graph.push(None)
        yield from _drain(graph)


def _mixer(sample_format: str, layout: str, rate_hz: int, sample_rate_hz: int, warp: Warp) -> Graph:
    """Build the FFmpeg filters from one input format to one-second blocks of mono float32.

    rematrix_maxval keeps the level: left as it is, libswresample mixes stereo to float as
    (L + R) / √2, which makes what both channels hold 3 dB louder. Fewer samples, played at the
    rate that was asked for, raise pitch and tempo alike; atempo (WSOLA) then changes tempo alone.
    """
    graph = Graph()
    played = []
    if warp.pitch != 1:
        played.append(graph.add("asetrate", str(sample_rate_hz)))
    if warp.tempo != warp.pitch:
        played.append(graph.add("atempo", f"{warp.tempo / warp.pitch:.6f}"))
    graph.link_nodes(
        graph.add(
            "abuffer",
            sample_fmt=sample_format,
            channel_layout=layout,
            sample_rate=str(rate_hz),
            time_base=f"1/{rate_hz}",
        ),
        graph.add(
            "aresample",
            out_sample_fmt="flt",
            out_chlayout="mono",
            out_sample_rate=str(round(sample_rate_hz / warp.pitch)),
            rematrix_maxval="1",
        ),
        *played,
        graph.add("asetnsamples", nb_out_samples=str(sample_rate_hz), pad="0"),
        graph.add("abuffersink"),
    ).configure()
    return graph


def _drain(graph: Graph) -> Iterator[Samples]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        block: Samples = frame.to_ndarray()[0]
        block[~(np.abs(block) < _LOUDEST)] = 0
        yield block
