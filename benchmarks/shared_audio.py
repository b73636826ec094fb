"""Tells whether two recordings share a passage, so that a true match is not counted as false."""

import numpy as np
from scipy.signal import fftconvolve

from fingerprintdb.audio import Samples


def holds(recording: Samples, clip: Samples) -> bool:
    """Whether some stretch of the recording is the clip, give or take a mix or an encoder."""
    products = fftconvolve(recording, clip[::-1], "valid")
    energy = np.concatenate(([0.0], np.cumsum(np.square(recording, dtype=np.float64))))
    norms = np.sqrt(np.maximum(energy[clip.size :] - energy[: -clip.size], 1e-9))
    return bool(np.max(np.abs(products) / norms) >= 0.5 * np.linalg.norm(clip))
