"""The index is shown, packed, checked and measured from the terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

Fpdb = Callable[..., Any]


@pytest.fixture(scope="module")
def stocked(fpdb: Fpdb, library_url: str, recordings: Path) -> str:
    assert fpdb(library_url, "ingest", recordings).returncode == 0
    return library_url


def test_an_empty_index(fpdb: Fpdb, migrated_url: str) -> None:
    assert fpdb(migrated_url, "index", "compact").stdout == "nothing to do\n"
    assert fpdb(migrated_url, "index", "check").stdout == "the index is whole\n"
    recall = fpdb(migrated_url, "index", "recall")
    assert (recall.returncode, recall.stdout) == (1, "")
    assert "no vectors" in recall.stderr


def test_what_is_new_is_packed_and_whole(
    fpdb: Fpdb, stocked: str, json_lines: Callable[..., Any]
) -> None:
    (before,) = json_lines(fpdb(stocked, "index", "status", "--json"))
    assert before["delta_rows"] > 0
    (sealed,) = json_lines(fpdb(stocked, "index", "compact", "--json"))
    assert (sealed["action"], sealed["postings"]) == ("sealed", before["delta_rows"])
    assert fpdb(stocked, "index", "compact").stdout == "nothing to do\n"
    (after,) = json_lines(fpdb(stocked, "index", "status", "--json"))
    assert (after["runs"], after["delta_rows"]) == (1, 0)
    assert after["postings"] == before["delta_rows"]
    assert "advice\tnothing to do" in fpdb(stocked, "index", "status").stdout
    assert fpdb(stocked, "index", "check").returncode == 0


def test_damage_is_told_with_its_remedy(fpdb: Fpdb, stocked: str) -> None:
    fpdb(stocked, "index", "compact")
    with psycopg.connect(stocked, autocommit=True) as connection:
        connection.execute(
            "DELETE FROM fpdb.posting WHERE key = (SELECT min(key) FROM fpdb.posting)"
        )
    done = fpdb(stocked, "index", "check")
    assert done.returncode == 1
    assert "postings of assets are missing" in done.stdout
    assert "fpdb reprocess" in done.stderr


def test_recall(fpdb: Fpdb, stocked: str, json_lines: Callable[..., Any]) -> None:
    rows = json_lines(fpdb(stocked, "index", "recall", "--ef-search", "40,100", "-k", 3, "--json"))
    assert [row["ef_search"] for row in rows] == [40, 100]
    # So few vectors are scanned whole.
    assert {row["recall"] for row in rows} == {1.0}
    assert "recall@10" in fpdb(stocked, "index", "recall").stdout


@pytest.mark.parametrize("values", ["0", "x", "40,,100", "1001"])
def test_wrong_numbers(fpdb: Fpdb, stocked: str, values: str) -> None:
    done = fpdb(stocked, "index", "recall", "--ef-search", values, COLUMNS="200")
    assert done.returncode == 2
    assert "numbers from 1 to 1000" in done.stderr
