"""Separates music from speech before embedding, by plug-ins."""

from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fingerprintdb.errors import FingerprintError

Samples = NDArray[np.float32]

GROUP = "fingerprintdb.separators"
"""The group of entry points in which an installed package names its separators."""

INSTALL_COMMAND = "pip install 'fingerprintdb[separation]'"


class SeparatorError(FingerprintError):
    """A separator that is unknown, cannot be loaded, fails, or returns what is no sound."""


class Separator(Protocol):
    """Takes the mono float32 samples (n,) of a window, and its rate in Hz; returns the music (n,).

    It sees one window at a time, so memory is bounded and a clip is treated as a recording is. It
    may be called in several processes.
    """

    def __call__(self, samples: Samples, sample_rate_hz: int, /) -> Samples: ...  # noqa: D102


def find(name: str) -> Separator:
    """Return the separator that an installed package registers under a name.

    What it returns is checked: it raises SeparatorError where the plug-in fails, or where its
    result is not of the same shape as the samples and finite. Raises SeparatorError where no
    package has the name, or where its libraries are not installed.
    """
    known = entry_points(group=GROUP)
    if name not in known.names:
        names = ", ".join(sorted(known.names)) or "none"
        raise SeparatorError(
            f"there is no separator {name!r}; installed: {names}",
            f"name one of these, or install a package with the entry point {name} in {GROUP}",
        )
    point = known[name]
    try:
        run: Separator = point.load()
    except ImportError as error:
        raise SeparatorError(
            f"the separator {name} lacks a library: {_first_line(error)}", _remedy(point)
        ) from error
    except Exception as error:  # a plug-in raises what it likes, numba for one RuntimeError
        raise SeparatorError(
            f"the separator {name} cannot be loaded: {_first_line(error)}", _remedy(point)
        ) from error

    def checked(samples: Samples, sample_rate_hz: int) -> Samples:
        try:
            music = np.asarray(run(samples, sample_rate_hz), np.float32)
        except Exception as error:
            raise SeparatorError(
                f"the separator {name} failed: {_first_line(error)}", "name another one, or none"
            ) from error
        if music.shape != samples.shape:
            raise SeparatorError(
                f"the separator {name} returned an array of shape {music.shape},"
                f" not {samples.shape}",
                "name another one, or none",
            )
        if not np.isfinite(music).all():
            raise SeparatorError(
                f"the separator {name} returned values that are not finite numbers",
                "name another one, or none",
            )
        return music

    return checked


def _remedy(point: EntryPoint) -> str:
    if point.module.split(".")[0] == "fingerprintdb":
        return INSTALL_COMMAND
    return f"install what {point.module} needs"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
