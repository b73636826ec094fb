"""list, show, similar, remove, status and sql."""

import pytest


@pytest.fixture(scope="module")
def stocked_url(fpdb, library_url, recordings) -> str:
    run = fpdb(library_url, "ingest", recordings, "absent.wav")
    assert run.returncode == 2
    return library_url


def test_list_narrows(fpdb, stocked_url, json_lines):
    lines = json_lines(fpdb(stocked_url, "list", "--json"))
    assert len(lines) == 4
    assert lines[0].keys() >= {"asset_id", "title", "artist", "status", "uri", "duration_sec"}
    (one,) = json_lines(fpdb(stocked_url, "list", "--json", "--search", "HARBOUR"))
    assert one["title"] == "Harbour at Six"
    plain = fpdb(stocked_url, "list", "--status", "ready", "--limit", "2").stdout.splitlines()
    assert len(plain) == 3
    assert "\t0:16\tready\t" in plain[1]


def test_show_and_unknown_keys(fpdb, stocked_url, json_lines):
    key = json_lines(fpdb(stocked_url, "list", "--json"))[0]["asset_id"]
    (found,) = json_lines(fpdb(stocked_url, "show", key, "--json"))
    assert found["profiles"] == ["accurate"]
    assert (found["asset_id"], found["models"], found["profile"]) == (key, ["builtin"], "accurate")
    for command in ("show", "similar"):
        run = fpdb(stocked_url, command, "4711")
        assert run.returncode == 1
        assert run.stderr.startswith("error: there is no asset 4711 — ")


def test_similar_to_an_asset_and_to_a_file(fpdb, stocked_url, recordings, json_lines):
    key = json_lines(fpdb(stocked_url, "list", "--json"))[0]["asset_id"]
    stored = json_lines(fpdb(stocked_url, "similar", key, "--json", "-k", "2"))
    assert len(stored) == 2
    assert key not in {line["asset_id"] for line in stored}
    assert stored[0].keys() == {
        *("asset_id", "uri", "title", "artist", "similarity", "segments"),
    }
    file = json_lines(fpdb(stocked_url, "similar", recordings / "below" / "one.flac", "--json"))
    assert file[0]["title"] == "Harbour at Six"
    assert file[0]["similarity"] == pytest.approx(1, abs=1e-3)


def test_status_counts_and_gives_reasons(fpdb, stocked_url, json_lines):
    (found,) = json_lines(fpdb(stocked_url, "status", "--json"))
    assert found["assets"] == {"ready": 3, "failed": 1}
    assert "absent.wav does not exist" in found["failures"][0]["error"]
    plain = fpdb(stocked_url, "status")
    assert "assets\tready\t3\n" in plain.stdout
    assert "absent.wav does not exist" in plain.stdout


def test_sql_is_psql_with_the_schema_in_reach(fpdb_process, stocked_url):
    run = fpdb_process(
        stocked_url, "sql", "-Atc", "SELECT count(*), '[1,2]'::vector <=> '[1,2]' FROM asset"
    )
    assert (run.returncode, run.stdout) == (0, "4|0\n")
    assert fpdb_process(stocked_url, "sql", "-c", "SELECT 1/0").returncode == 1
    # Without a psql of the system's, the embedded server's own serves.
    run = fpdb_process(stocked_url, "sql", "-Atc", "SELECT 7", PATH="/nowhere")
    assert (run.returncode, run.stdout) == (0, "7\n")


def test_remove_and_reprocess(fpdb, stocked_url, json_lines):
    lines = json_lines(fpdb(stocked_url, "list", "--json"))
    (lost,) = (line["asset_id"] for line in lines if line["status"] == "failed")
    assert fpdb(stocked_url, "reprocess").returncode == 2
    run = fpdb(stocked_url, "reprocess", "--failed")
    assert run.stdout == "queued 1; `fpdb worker` processes them\n"
    run = fpdb(stocked_url, "remove", lost, "4711", "--yes")
    assert (run.returncode, run.stdout) == (1, "removed 1\n")
    assert "no asset 4711" in run.stderr
    assert len(json_lines(fpdb(stocked_url, "list", "--json"))) == 3
