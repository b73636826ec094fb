"""What an archive says before its first asset: which program, profile and models it comes from."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from fingerprintdb.archive.error import ArchiveError
from fingerprintdb.archive.fields import Fields, storable_json

FORMAT = 1
"""The format that this program writes, and the newest that it reads."""

MOST_DIMS = 2000
"""pgvector indexes no more, and fpdb.model takes no more."""

BYTES_A_ROW = 1920
"""Of a row of fpdb.sub_fingerprint: a sub-fingerprint fits into it a whole number of times."""


@dataclass(frozen=True, slots=True)
class NamedProfile:
    """The profile that made the landmarks; `parameters` tells people what a digest stands for."""

    name: str
    digest: str
    parameters: dict[str, Any]

    @property
    def bytes_a_sub_fingerprint(self) -> int:
        """Bytes of one sub-fingerprint; ArchiveError where the parameters do not say."""
        bits = self.parameters.get("sub_fingerprint_bits")
        if type(bits) is not int or bits < 8 or bits % 8 or BYTES_A_ROW % (bits // 8):
            raise ArchiveError("the profile of the archive does not say how long its bits are")
        return bits // 8


@dataclass(frozen=True, slots=True)
class Model:
    """A model whose vectors may follow; `state` is what it was: active or shadow.

    `weights` says by content type how far it is believed beside others.
    """

    name: str
    revision: str
    source: str
    dims: int
    sample_rate: int
    state: str
    confidence_intercept: float | None
    confidence_slope: float | None
    index_type: str
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContentType:
    """A content type with its thresholds (confidences, 0 to 1) and where they came from."""

    name: str
    landmark_threshold: float
    vector_threshold: float
    match_threshold: float
    calibration: str | None


@dataclass(frozen=True, slots=True)
class NamedCollection:
    """A collection; `created_at` as Postgres writes it, in UTC."""

    name: str
    description: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Header:
    """The first record: `program` and `schema` wrote it, and `assets` assets are to follow."""

    program: str
    schema: str
    exported_at: str
    assets: int
    profile: NamedProfile
    models: tuple[Model, ...]
    content_types: tuple[ContentType, ...]
    collections: tuple[NamedCollection, ...]

    @property
    def active_model(self) -> Model | None:
        """The model that was searched where the archive comes from; None without its vectors."""
        return next((model for model in self.models if model.state == "active"), None)

    def to_fields(self) -> dict[str, Any]:
        """Return the header as JSON types."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_fields(cls, fields: Fields) -> "Header":
        """Check what a file says; ArchiveError where it cannot be."""
        header = cls(
            program=fields.text("program"),
            schema=fields.text("schema"),
            exported_at=fields.moment("exported_at"),
            assets=fields.integer("assets"),
            profile=_profile(Fields(fields.anything("profile"), "the profile")),
            models=tuple(_model(Fields(one, "a model")) for one in fields.items("models")),
            content_types=tuple(
                _content_type(Fields(one, "a content type"))
                for one in fields.items("content_types")
            ),
            collections=tuple(
                _collection(Fields(one, "a collection")) for one in fields.items("collections")
            ),
        )
        fields.end()
        keys = [(model.name, model.revision) for model in header.models]
        if len(set(keys)) < len(keys) or sum(m.state == "active" for m in header.models) > 1:
            raise ArchiveError("the models of the archive contradict each other")
        return header


def _profile(fields: Fields) -> NamedProfile:
    parameters = fields.anything("parameters")
    storable_json(parameters, "the profile")
    profile = NamedProfile(fields.text("name"), fields.text("digest"), parameters)
    fields.end()
    return profile


def _model(fields: Fields) -> Model:
    weights = fields.anything("weights")
    storable_json(weights, "the weights of a model")
    named = Fields(weights, "the weights of a model")
    model = Model(
        name=fields.text("name"),
        revision=fields.text("revision"),
        source=fields.text("source"),
        dims=fields.integer("dims", 1, MOST_DIMS),
        sample_rate=fields.integer("sample_rate", 1, 2**31 - 1),
        state=fields.text("state"),
        confidence_intercept=fields.optional_number("confidence_intercept"),
        confidence_slope=fields.optional_number("confidence_slope"),
        index_type=fields.text("index_type"),
        weights={name: named.number(name, 0, 1) for name in weights},
    )
    fields.end()
    if model.state not in {"active", "shadow"} or model.index_type not in {"vector", "halfvec"}:
        raise fields.wrong("state or index_type", "is not known")
    return model


def _content_type(fields: Fields) -> ContentType:
    content_type = ContentType(
        name=fields.text("name"),
        landmark_threshold=fields.number("landmark_threshold", 0, 1),
        vector_threshold=fields.number("vector_threshold", 0, 1),
        match_threshold=fields.number("match_threshold", 0, 1),
        calibration=fields.optional_text("calibration"),
    )
    fields.end()
    return content_type


def _collection(fields: Fields) -> NamedCollection:
    collection = NamedCollection(
        name=fields.text("name", is_empty_allowed=True),
        description=fields.optional_text("description"),
        created_at=fields.moment("created_at"),
    )
    fields.end()
    return collection
