"""The signal parameters that make landmarks, and the digest that names them."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What decides the hashes of a stored recording; two that differ are never compared.

    Frames are hops of `hop_samples`, bins are STFT bins of `sample_rate_hz / window_samples`,
    and frequencies are hashed in half bins, after parabolic interpolation.
    """

    name: str = "default"
    sample_rate_hz: int = 11_025
    window_samples: int = 1024
    hop_samples: int = 256
    level_frames: int = 129
    """Time over which the local level is the mean (3 s): peaks count by how far they rise."""
    level_bins: int = 41
    neighbourhood_frames: int = 2
    neighbourhood_bins: int = 2
    band_edges_hz: tuple[float, ...] = (43.0, 345.0, 969.0, 2046.0, 4522.0)
    """Each band keeps its own peaks, so that a loud band cannot silence the others."""
    cell_frames: int = 22
    """The time within which peaks compete (half a second)."""
    peaks_per_cell: int = 4
    fan_out: int = 5
    target_frames: int = 32
    target_bins: int = 63

    bands: int = 40
    """Logarithmic bands whose energies a sub-fingerprint looks at."""
    bands_hz: tuple[float, float] = (50.0, 5000.0)
    band_window_samples: int = 2048
    band_mean_rows: int = 57
    """Rows over which a band's own mean is taken (4 s), so that neither level nor colour counts."""
    row_frames: int = 3
    """Frames from one row of band energies to the next."""
    patch_rows: int = 8
    """Rows that one sub-fingerprint sees (0.7 s with the window)."""
    least_patch_rms: float = 0.02
    """A patch whose logarithmic energies vary less is a pause; those of music vary by 0.4 to 1."""
    sub_fingerprint_frames: int = 6
    """Frames from one stored sub-fingerprint to the next."""
    sub_fingerprint_bits: int = 256
    projection: str = "905b54e747a2e2e2"
    """Digest of the learned matrix that turns a patch into bits."""

    @property
    def frame_sec(self) -> float:
        """Seconds of one frame."""
        return self.hop_samples / self.sample_rate_hz

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with any parameter but the name."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the parameters as JSON, the same text for the same parameters."""
        return json.dumps(self.parameters(), sort_keys=True)

    def parameters(self) -> dict[str, Any]:
        """Return every parameter that decides a hash, as JSON types."""
        values = json.loads(json.dumps(asdict(self)))
        del values["name"]
        return dict(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How hard a query looks; it changes cost and recall, never what is stored.

    A query that is denser than the reference finds more: noise adds peaks, so the reference's few
    are found among the query's many only if the query keeps more of them and pairs all of them.
    """

    oversampling: int = 2
    """Query frames a reference frame: hides the unknown phase between the two grids."""
    peaks_per_cell: int = 6
    fan_out: int = 10
    border: float = 0.25
    """Half bins from a border of quantisation within which the neighbour is asked too."""
    max_hashes: int = 20_000
    """The budget of a query; a longer clip asks about fewer of its anchors."""


ACCURATE = Profile(name="accurate")
COMPACT = Profile(
    name="compact",
    peaks_per_cell=2,
    fan_out=2,
    sub_fingerprint_frames=12,
    sub_fingerprint_bits=128,
)
"""A quarter of the bytes: fewer peaks in fewer pairs, and a quarter of the bits."""
PROFILES = {profile.name: profile for profile in (ACCURATE, COMPACT)}

PLAIN = Probe(oversampling=1, peaks_per_cell=4, fan_out=5, border=0.0, max_hashes=3_000)
"""As dense as a reference, some 140 hashes a second: finds nine of ten clips at 0 dB of noise."""
QUICK = Probe(oversampling=1, peaks_per_cell=4, fan_out=5, border=0.0, max_hashes=1_100)
"""A third of PLAIN's hashes for a clip of 5 s, some 230 for any longer one: a look-up costs as much
as ten postings."""
WIDE = Probe()
"""Ten times as many hashes, for what is buried deeper."""
