"""The library: list, find, add, change and remove recordings."""

import asyncio
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from fingerprintdb.api.access import Caller, Reader, Writer
from fingerprintdb.api.answers import Asset, AssetPage, Status
from fingerprintdb.api.problem import ProblemError, documented, unknown
from fingerprintdb.api.registration import register_upload, register_uri
from fingerprintdb.api.scope import (
    AssetId,
    Collection,
    ContentType,
    JsonObject,
    Metadata,
    Name,
    Text,
    parsed,
    plain,
)
from fingerprintdb.api.service import Database, Served, Service
from fingerprintdb.store import catalogue, library
from fingerprintdb.store.catalogue import Entry, Filter
from fingerprintdb.store.database import Connection

POLL_SEC = 0.2
UNFINISHED = ("queued", "processing")

router = APIRouter(prefix="/api/v1/assets", tags=["assets"])

Before = Annotated[
    int | None, Query(ge=1, le=2**63 - 1, description="Only assets with lower keys: a next page.")
]
Limit = Annotated[int, Query(ge=1, le=500, description="Most assets on a page.")]


@router.get("", responses=documented(422))
def list_assets(
    connection: Database,
    caller: Reader,
    collection: Collection = None,
    content_type: ContentType = None,
    status: Annotated[Status | None, Query(description="Only those.")] = None,
    search: Annotated[
        Text | None, Query(description="Only where title, artist or URI hold this text.")
    ] = None,
    metadata: Metadata = None,
    limit: Limit = 50,
    before: Before = None,
) -> AssetPage:
    """List recordings, newest first."""
    wanted = Filter(
        collection=caller.scope(collection),
        content_type=content_type,
        status=status,
        search=search,
        metadata=parsed(metadata, "metadata"),
    )
    found = catalogue.page(connection, wanted, limit=limit, before=before)
    return AssetPage(
        assets=[Asset.of(entry) for entry in found],
        total=catalogue.count(connection, wanted),
        next_before=found[-1].asset_id if len(found) == limit else None,
    )


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": Asset, "description": "The collection holds these bytes already."},
        **documented(403, 413, 422),
    },
)
async def create_asset(
    service: Served,
    caller: Writer,
    response: Response,
    file: Annotated[UploadFile | None, File(description="The recording; or name a `uri`.")] = None,
    uri: Annotated[
        Name | None, Form(description="Where workers find it; must begin as the service allows.")
    ] = None,
    title: Annotated[Text | None, Form(description="Default: the file's tag, or name.")] = None,
    artist: Annotated[Text | None, Form()] = None,
    collection: Annotated[Name | None, Form(description="Default: the key's, or default.")] = None,
    content_type: Annotated[Name, Form()] = "music",
    metadata: Annotated[
        JsonObject | None, Form(description="A JSON object.", examples=['{"label": "X"}'])
    ] = None,
    wait_sec: Annotated[
        float, Form(ge=0, le=120, description="Wait so long for a worker to be done with it.")
    ] = 0,
) -> Asset:
    """Add a recording, which workers fingerprint; `status` says how far that is."""
    if (file is None) == (uri is None):
        raise ProblemError(
            422, "invalid-request", "this needs a file or a uri, and not both", "send one of them"
        )
    values = {
        "title": title,
        "artist": artist,
        "collection": home(caller, collection),
        "content_type": content_type,
        "metadata": parsed(metadata, "metadata") or {},
    }
    entry, is_new = await registered(service, values, file, uri)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/api/v1/assets/{entry.asset_id}"
    return Asset.of(await finished(service, entry, wait_sec))


def home(caller: Caller, collection: str | None) -> str:
    """Return where a new asset goes: where it is asked for, else the key's, else default."""
    where = caller.scope(collection)
    return "default" if where is None else where


async def registered(
    service: Service, values: dict[str, Any], file: UploadFile | None, uri: str | None
) -> tuple[Entry, bool]:
    """Make an asset of a file or a URI; False where the collection has it already."""
    if file is not None:
        return await service.ask(register_upload, service.options, file, values)
    return await service.ask(register_uri, service.options, str(uri), values)


async def finished(service: Service, entry: Entry, wait_sec: float) -> Entry:
    """Return an asset as it is when workers are done with it, or when the time is over."""
    loop = asyncio.get_running_loop()
    deadline_sec = loop.time() + wait_sec
    while entry.status in UNFINISHED and loop.time() < deadline_sec:
        await asyncio.sleep(POLL_SEC)
        found = await service.ask(catalogue.entry, entry.asset_id, None)
        if found is None:
            raise unknown("asset", entry.asset_id)
        entry = found
    return entry


@router.get("/{asset_id}", responses=documented(404, 422))
def get_asset(connection: Database, caller: Reader, asset_id: AssetId) -> Asset:
    """Return one recording."""
    return Asset.of(required(connection, asset_id, caller))


class AssetChange(BaseModel):
    """What to change; what is not named stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"title": "Night Ferry", "metadata": {}}]}
    )

    title: Text | None = None
    artist: Text | None = None
    collection: Name = Field("", description="Where to move it.")
    content_type: Name = ""
    metadata: dict[str, Any] = Field({}, description="All of it anew.")
    version_of: int | None = Field(None, ge=1, le=2**63 - 1, description="The work's key.")


@router.patch("/{asset_id}", responses=documented(403, 404, 422))
def update_asset(
    connection: Database, caller: Writer, asset_id: AssetId, change: AssetChange
) -> Asset:
    """Change what a recording is called, where it belongs, its metadata; nothing is reprocessed."""
    required(connection, asset_id, caller)
    values = change.model_dump(exclude_unset=True)
    if "metadata" in values:
        values["metadata"] = Jsonb(plain(values["metadata"], "metadata"))
    if "collection" in values:
        caller.scope(values["collection"])
        library.ensure_collection(connection, values["collection"])
    if "content_type" in values:
        library.require_content_type(connection, values["content_type"])
    if (work_id := values.get("version_of")) is not None:
        if work_id == asset_id:
            raise ProblemError(422, "refused", "an asset is no version of itself", "name another")
        required(connection, work_id, caller)
    try:
        entry = catalogue.change(connection, asset_id, values)
    except psycopg.errors.CheckViolation as error:
        # The trigger's own words: the work is itself a version.
        raise ProblemError(
            422, "refused", error.diag.message_primary or "refused", error.diag.message_hint
        ) from None
    if entry is None:
        raise unknown("asset", asset_id)
    return Asset.of(entry)


@router.delete("/{asset_id}", status_code=204, responses=documented(403, 404, 422))
def delete_asset(connection: Database, caller: Writer, asset_id: AssetId) -> None:
    """Remove a recording with everything that was made of it, at once, also from search."""
    required(connection, asset_id, caller)
    library.remove(connection, [asset_id])


@router.post("/{asset_id}/reprocess", status_code=202, responses=documented(403, 404, 422))
def reprocess_asset(connection: Database, caller: Writer, asset_id: AssetId) -> Asset:
    """Queue a recording again: after a failure, or when its source has changed."""
    required(connection, asset_id, caller)
    library.reprocess(connection, [asset_id])
    return Asset.of(required(connection, asset_id, caller))


def required(connection: Connection, asset_id: int, caller: Caller) -> Entry:
    """Return an asset that is open to a caller; ProblemError 404 where there is none."""
    entry = catalogue.entry(connection, asset_id, caller.collection)
    if entry is None:
        raise unknown("asset", asset_id)
    return entry
