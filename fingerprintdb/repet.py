"""Keeps what repeats in a window, the music, and takes out what does not, the voice: REPET-SIM.

The separator "repet-sim". It needs librosa, so it is imported only as a plug-in.
"""

import numpy as np
from librosa.decompose import nn_filter
from librosa.util import softmask
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

Samples = NDArray[np.float32]

FRAME_SEC = 0.093
"""Length of a frame, to the nearest power of two samples; long enough to tell a voice's partials
from the music's."""

APART_SEC = 0.1
"""Least distance of a frame from those that it is compared with, which would else be itself."""

SHORTEST_SEC = 1.0
"""In less sound than this, nothing repeats."""


def repeating(samples: Samples, sample_rate_hz: int) -> Samples:
    """Return what repeats in mono float32 samples (n,), as long as they are.

    A frame's spectrum is compared with those of all frames, by cosine; the median of its
    neighbours, at most itself, is taken for the music, and a soft mask (Wiener's, of amplitudes)
    keeps that share of the frame. Under a second of sound is returned as it is.

    Method: Rafii and Pardo, "Music/Voice Separation Using the Similarity Matrix" (ISMIR 2012), with
    librosa's soft mask.

    It needs music that repeats within the window. Four notes in a loop under one voice as loud
    (`voices`): the ratio of music to what is not rises from 0 to 7 dB. In 5 s of real music little
    repeats so exactly: of 196 clips of 49 pieces mixed with one voice at 0 dB, the built-in
    embedder found the recording first for 79.6 %, for 81.6 % once the clip was separated and for
    80.6 % once the recordings were too; mixed with sixteen voices 65.3, 63.3 and 60.7 % (standard
    error 3). Of clips without a voice the right window fell from 95.4 to 91.3 % where only the clip
    was separated. It costs 0.2 s a window at 11,025 Hz on one core, and 3 s to import.
    """
    if len(samples) < SHORTEST_SEC * sample_rate_hz:
        return samples
    frame = 1 << round(np.log2(FRAME_SEC * sample_rate_hz))
    hop = frame // 4
    transform = ShortTimeFFT(hann(frame, sym=False), hop, sample_rate_hz)
    spectrum = transform.stft(samples)
    magnitude = np.abs(spectrum)
    alike = nn_filter(
        magnitude,
        aggregate=np.median,
        metric="cosine",
        width=round(APART_SEC * sample_rate_hz / hop),
    )
    music = np.minimum(magnitude, alike)
    mask = softmask(music, magnitude - music, power=2)
    return np.asarray(transform.istft(spectrum * mask, k1=len(samples)), np.float32)
