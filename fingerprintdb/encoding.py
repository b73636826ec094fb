"""Writes mono samples as audio files."""

from pathlib import Path
from typing import Final, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec import Codec

from fingerprintdb.audio import Samples

_ENCODERS: Final = {".wav": "pcm_s16le", ".flac": "flac", ".ogg": "libopus", ".mp3": "libmp3lame"}


def encode(
    path: Path,
    samples: Samples,
    sample_rate_hz: int,
    tags: dict[str, str] | None = None,
    *,
    bit_rate: int | None = None,
) -> None:
    """Write 1-D mono float32 `samples` to `path`: .wav and .flac (16 bit), .ogg (Opus), .mp3.

    Samples beyond ±1 are clipped. Opus is always written at 48 kHz. `bit_rate` is in bits a
    second; None leaves it to the encoder.
    """
    codec = Codec(_ENCODERS[path.suffix.lower()], "w")
    rate_hz = (
        sample_rate_hz if sample_rate_hz in (codec.audio_rates or [sample_rate_hz]) else 48_000
    )
    with av.open(path, "w") as container:
        container.metadata.update(tags or {})
        stream = cast("AudioStream", container.add_stream(codec.name, rate=rate_hz, layout="mono"))
        encoder = stream.codec_context
        if bit_rate is not None:
            encoder.bit_rate = bit_rate
        encoder.open()  # or its frame size is not known yet
        resampler = AudioResampler(encoder.format, "mono", rate_hz, encoder.frame_size)
        for start in range(0, len(samples), sample_rate_hz):
            block = np.clip(samples[np.newaxis, start : start + sample_rate_hz], -1, 1)
            frame = AudioFrame.from_ndarray(block, format="flt", layout="mono")
            frame.sample_rate = sample_rate_hz
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
