"""Says how pitch and tempo differ from those of the recording that somebody made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Warp:
    """How many times the recording's pitch and tempo those of what is heard are.

    A change of speed is both at once.
    """

    pitch: float = 1.0
    tempo: float = 1.0


AS_RECORDED = Warp()
