"""Says what the vector index finds, how fast and in how much space, by size, kind and filter.

`python -m benchmarks.vectors MUSIC_DIR --vectors 10000,100000` fills collections with vectors drawn
as real music's are spread (by the built-in embedder, within recordings and between them), builds
the HNSW index of a model in single and in half precision as the product does, and asks it what
sounds like windows of other recordings. The truth is an exact scan. A million vectors are an
option: some 6 GB of disk and, on two cores, half an hour.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.excerpts import music_in
from fingerprintdb.audio import AudioError, decode
from fingerprintdb.embedding import load
from fingerprintdb.segments import cut
from fingerprintdb.store import migration
from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.embedded import embedded_server
from fingerprintdb.store.model import choose_model, index_model

Array = NDArray[np.float32]

SEGMENTS = 47  # of an asset: two minutes
HOP_SEC = 2.5
SHARES = {"one in 10": 10, "one in 100": 100, "one in 1000": 1000}
KINDS = ("vector", "halfvec")
EF_SEARCH = (10, 20, 40, 80, 160, 320)
PART = 4_700


@dataclass(frozen=True, slots=True)
class Spread:
    """How vectors of real music are spread: their mean, and factors (512, 512) of covariances."""

    mean: Array
    between: Array
    within: Array

    def segments(self, assets: int, segments: int, rng: np.random.Generator) -> Array:
        """Draw vectors of unit length, (assets, segments, 512)."""
        dims = len(self.mean)
        own = rng.standard_normal((assets, 1, dims), np.float32) @ self.between
        each = rng.standard_normal((assets, segments, dims), np.float32) @ self.within
        vectors = self.mean + own + each
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def main() -> None:
    """Run the benchmark and print its tables, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("music", type=Path, nargs="+")
    parser.add_argument("--vectors", default="10000,100000", help="sizes, ascending")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=True)
    spread = _spread(options.music, console)
    points = []
    with (
        tempfile.TemporaryDirectory(prefix="fpdb-bench-") as folder,
        embedded_server(Path(folder)) as url,
    ):
        migration.upgrade(url)
        with connect(url) as connection:
            choose_model(connection, load("builtin"))
            stored = np.empty((0, SEGMENTS, len(spread.mean)), np.float32)
            for size in map(int, options.vectors.split(",")):
                stored = _fill(connection, spread, stored, size // SEGMENTS, console)
                points += [
                    _measure(connection, spread, stored, kind, options.queries) for kind in KINDS
                ]
    if options.json:
        print(json.dumps(points))
    else:
        _show(points)


def _spread(folders: list[Path], console: Console) -> Spread:
    """Learn the spread of the built-in embedder's vectors from music."""
    embedder = load("builtin")
    means, rests = [], []
    for path in track(music_in(folders), "embedding", console=console):
        try:
            blocks = list(decode(path, embedder.sample_rate_hz, max_duration_sec=120))
        except AudioError:
            continue
        windows = [s.samples for s in cut(blocks, embedder.sample_rate_hz) if not s.is_silent]
        if len(windows) > 1:
            vectors = embedder.embed_audio(windows)
            means.append(vectors.mean(axis=0))
            rests.append(vectors - means[-1])
    centres, rest = np.stack(means), np.concatenate(rests)
    within = np.cov(rest.T)
    # Few pieces span few directions: what differs within them differs between others too.
    between = np.cov(centres.T) + within
    return Spread(centres.mean(axis=0), _factor(between), _factor(within))


def _factor(covariance: NDArray[np.float64]) -> Array:
    values, axes = np.linalg.eigh(covariance)
    return np.asarray((axes * np.sqrt(np.maximum(values, 0))).T, np.float32)


def _fill(
    connection: Connection, spread: Spread, stored: Array, assets: int, console: Console
) -> Array:
    """Store recordings up to a number, without an index, and return all vectors."""
    connection.execute("DROP INDEX IF EXISTS fpdb.embedding_1_hnsw_idx")
    connection.execute(
        "INSERT INTO fpdb.collection (name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
        (["others", *SHARES],),
    )
    parts = [stored]
    firsts = range(len(stored), assets, PART // SEGMENTS)
    for first in track(firsts, f"{assets * SEGMENTS:,} vectors", console=console):
        last = min(first + PART // SEGMENTS, assets)
        parts.append(spread.segments(last - first, SEGMENTS, np.random.default_rng(first + 1)))
        with connection.transaction():
            connection.execute(
                "INSERT INTO fpdb.asset (asset_id, uri, collection, duration_sec,"
                " landmark_status, embedding_status) SELECT n, 'made-up', (%s::text[])[n - %s],"
                " 120, 'ready', 'ready' FROM generate_series(%s::bigint, %s) n",
                ([_collection(n) for n in range(first, last)], first, first + 1, last),
            )
            _copy(connection, first, parts[-1])
    connection.execute("VACUUM ANALYZE fpdb.embedding, fpdb.asset, fpdb.segment")
    return np.concatenate(parts)


def _copy(connection: Connection, first: int, vectors: Array) -> None:
    rows = [
        (asset * SEGMENTS + n, asset + 1, n, vectors[asset - first, n])
        for asset in range(first, first + len(vectors))
        for n in range(SEGMENTS)
    ]
    with connection.cursor().copy(
        "COPY fpdb.segment (segment_id, asset_id, segment_index, start_time_sec, end_time_sec)"
        " FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.set_types(["int8", "int8", "int4", "float8", "float8"])
        for key, asset_id, n, _ in rows:
            copy.write_row((key, asset_id, n, n * HOP_SEC, n * HOP_SEC + 5))
    with connection.cursor().copy(
        "COPY fpdb.embedding (model_id, segment_id, asset_id, embedding, processing_time_ms)"
        " FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.set_types(["int2", "int8", "int8", "vector", "float4"])
        for key, asset_id, _, vector in rows:
            copy.write_row((1, key, asset_id, vector, 1.0))


def _collection(asset: int) -> str:
    """Name the collection of an asset: the rarest whose turn it is."""
    for name, share in reversed(SHARES.items()):
        if asset % share == share // 2:
            return name
    return "others"


def _measure(
    connection: Connection, spread: Spread, stored: Array, kind: str, queries: int
) -> dict[str, Any]:
    """Build an index, and ask it what sounds like windows of other recordings."""
    connection.execute("DROP INDEX IF EXISTS fpdb.embedding_1_hnsw_idx")
    connection.execute("UPDATE fpdb.model SET index_type = %s", (kind,))
    began = time.perf_counter()
    index_model(connection, 1)
    build_sec = time.perf_counter() - began
    flat = stored.reshape(-1, stored.shape[-1])
    # Of recordings that are not there: what sounds alike is far away, and hard to find.
    asked = spread.segments(queries, 1, np.random.default_rng(0))[:, 0]
    similarity = asked @ flat.T
    return {
        "vectors": len(flat),
        "index": kind,
        "build_sec": build_sec,
        "index_bytes": _value(connection, "pg_relation_size('fpdb.embedding_1_hnsw_idx')"),
        "table_bytes": _value(connection, "pg_table_size('fpdb.embedding_1')"),
        "ef_search": list(_by_effort(connection, kind, asked, similarity)),
        "function": list(_by_filter(connection, asked, similarity)),
    }


def _by_effort(
    connection: Connection, kind: str, asked: Array, similarity: Array
) -> Iterator[dict[str, Any]]:
    """Ask the index itself, as hard as hnsw.ef_search says."""
    typed = f"{kind}({asked.shape[1]})"
    statement = (
        f"SELECT segment_id FROM fpdb.embedding_1 ORDER BY embedding::{typed} <=> %s::{typed}"  # noqa: S608 — constants
        " LIMIT 10"
    ).encode()
    truth = [set(np.argpartition(-row, 10)[:10].tolist()) for row in similarity]
    for effort in EF_SEARCH:
        connection.execute(f"SET hnsw.ef_search = {effort}".encode())
        yield {"ef_search": effort} | _asked(connection, statement, asked, truth)
    connection.execute("RESET hnsw.ef_search")


def _by_filter(connection: Connection, asked: Array, similarity: Array) -> Iterator[dict[str, Any]]:
    """Ask fpdb.nearest_segments, which sets the effort itself, k and the filter varied."""
    collections = np.repeat(
        [_collection(n) for n in range(similarity.shape[1] // SEGMENTS)], SEGMENTS
    )
    for name, k in (*((None, k) for k in (1, 10, 100)), *((name, 10) for name in SHARES)):
        within = np.ones(len(collections), bool) if name is None else collections == name
        keys, label = np.flatnonzero(within), name or "none"
        if len(keys) < k:
            continue
        left = similarity[:, keys]
        truth = [set(keys[np.argpartition(-row, k - 1)[:k]].tolist()) for row in left]
        statement = (
            "SELECT segment_id FROM fpdb.nearest_segments(%s,"  # noqa: S608 — constants
            f" {k}, collection => nullif('{label}', 'none'))"
        ).encode()
        yield {"k": k, "filter": label} | _asked(connection, statement, asked, truth)


def _asked(
    connection: Connection, statement: bytes, asked: Array, truth: list[set[int]]
) -> dict[str, Any]:
    shares, times_ms, rows = [], [], []
    for first in (True, False):  # the first time reads from the disk
        for vector, wanted in zip(asked, truth, strict=True):
            began = time.perf_counter()
            found = connection.execute(statement, (Vector(vector),)).fetchall()
            times_ms.append((time.perf_counter() - began) * 1000)
            shares.append(len(wanted & {key for (key,) in found}) / len(wanted))
            rows.append(len(found))
        if first:
            shares, times_ms, rows = [], [], []
    p50_ms, p95_ms = np.percentile(times_ms, [50, 95])
    return {
        "recall": float(np.mean(shares)),
        "fewest_rows": min(rows),
        "p50_ms": float(p50_ms),
        "p95_ms": float(p95_ms),
    }


def _value(connection: Connection, expression: str) -> int:
    row = connection.execute(f"SELECT {expression}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def _show(points: list[dict[str, Any]]) -> None:
    console = Console(width=110)
    built = Table("vectors", "index", "built in, s", "index, MB", "bytes a vector", "table, MB")
    effort = Table("vectors", "index", *(f"ef {ef}" for ef in EF_SEARCH))
    asked = Table("vectors", "index", "filter", "k", "recall", "fewest rows", "p50, ms", "p95, ms")
    for point in points:
        head = (f"{point['vectors']:,}", point["index"])
        built.add_row(
            *head,
            f"{point['build_sec']:.1f}",
            f"{point['index_bytes'] / 1e6:.0f}",
            f"{point['index_bytes'] / point['vectors']:.0f}",
            f"{point['table_bytes'] / 1e6:.0f}",
        )
        effort.add_row(
            *head, *(f"{row['recall']:.3f} {row['p50_ms']:.1f} ms" for row in point["ef_search"])
        )
        for row in point["function"]:
            asked.add_row(
                *head,
                row["filter"],
                str(row["k"]),
                f"{row['recall']:.3f}",
                str(row["fewest_rows"]),
                f"{row['p50_ms']:.1f}",
                f"{row['p95_ms']:.1f}",
            )
    for title, table in (
        ("fpdb.index_model()", built),
        ("the index alone: recall@10 and p50", effort),
        ("fpdb.nearest_segments()", asked),
    ):
        table.title = title
        console.print(table)


if __name__ == "__main__":
    main()
