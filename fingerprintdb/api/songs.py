"""The library under other names, and the half of the simple pair that uploads a song."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Response, UploadFile

from fingerprintdb.api.access import Reader, Writer
from fingerprintdb.api.answers import Song, SongPage, UploadedSong
from fingerprintdb.api.assets import (
    Before,
    Limit,
    finished,
    home,
    list_assets,
    registered,
    required,
)
from fingerprintdb.api.problem import documented
from fingerprintdb.api.scope import AssetId, Collection, Name, Text
from fingerprintdb.api.service import Database, Served
from fingerprintdb.store.catalogue import Entry

router = APIRouter(tags=["songs"])


@router.get("/api/v1/songs", responses=documented(422))
def list_songs(
    connection: Database,
    caller: Reader,
    collection: Collection = None,
    limit: Limit = 50,
    before: Before = None,
) -> SongPage:
    """List songs, newest first: `/api/v1/assets` in three fields."""
    page = list_assets(connection, caller, collection, limit=limit, before=before)
    return SongPage(
        songs=[
            Song(song_id=asset.asset_id, title=asset.title, artist=asset.artist)
            for asset in page.assets
        ],
        total=page.total,
        next_before=page.next_before,
    )


@router.get("/api/v1/songs/{asset_id}", responses=documented(404, 422))
def get_song(connection: Database, caller: Reader, asset_id: AssetId) -> Song:
    """Return one song."""
    return _song(required(connection, asset_id, caller))


@router.post("/upload", status_code=201, responses=documented(403, 413, 422))
async def upload(
    service: Served,
    caller: Writer,
    response: Response,
    file: Annotated[UploadFile, File(description="The song.")],
    title: Annotated[Text | None, Form(description="Default: the file's tag, or name.")] = None,
    artist: Annotated[Text | None, Form()] = None,
    collection: Annotated[Name | None, Form(description="Default: the key's, or default.")] = None,
    wait_sec: Annotated[
        float, Form(ge=0, le=120, description="Wait so long for a worker to be done with it.")
    ] = 30,
) -> UploadedSong:
    """Add a song and wait until clips of it are found; `status` says whether they are."""
    values: dict[str, Any] = {
        "title": title,
        "artist": artist,
        "collection": home(caller, collection),
        "content_type": "music",
        "metadata": {},
    }
    entry, is_new = await registered(service, values, file, None)
    response.status_code = 201 if is_new else 200
    entry = await finished(service, entry, wait_sec)
    return UploadedSong(
        **_song(entry).model_dump(), status=entry.status, error=entry.error, is_new=is_new
    )


def _song(entry: Entry) -> Song:
    return Song(song_id=entry.asset_id, title=entry.title, artist=entry.artist)
