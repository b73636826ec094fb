"""init, migrate and config, and databases that cannot be used as they are."""

from pathlib import Path

import psycopg
import pytest

from fingerprintdb.errors import FingerprintError
from fingerprintdb.store import revision


def test_init_says_which_model_and_why_and_later_keeps_it(fpdb, empty_url):
    first = fpdb(empty_url, "init")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.count("\n") == 1
    assert "model builtin is active" in first.stdout
    assert "hf download laion/clap-htsat-unfused" in first.stdout

    again = fpdb(empty_url, "init", FPDB_MODEL="clap")
    assert again.returncode == 0
    assert "builtin stays active" in again.stdout

    absent = fpdb(empty_url, "init", "--model", "clap")
    assert absent.returncode == 2
    assert absent.stderr.startswith("error: the weights of laion/clap-htsat-unfused are not")
    with psycopg.connect(empty_url) as connection:
        rows = connection.execute(
            "SELECT name, state, confidence_slope IS NOT NULL FROM fpdb.model"
        ).fetchall()
    assert rows == [("builtin", "active", True)]


def test_a_server_of_the_users_own_is_never_initialised_unasked(fpdb, empty_url):
    for command in (["list"], ["ingest", __file__]):
        run = fpdb(empty_url, *command)
        assert run.returncode == 2
        assert run.stderr == (
            "error: this database has no fingerprintdb schema — run `fpdb init`\n"
        )
    assert revision.current_of(empty_url) is None


def test_migrate_makes_the_schema_and_no_model(fpdb, empty_url):
    run = fpdb(empty_url, "migrate")
    assert (run.returncode, run.stdout) == (0, f"the schema is at revision {revision.head()}\n")
    asked = fpdb(empty_url, "ingest", __file__)
    assert asked.returncode == 2
    assert "no embedding model is active in this database — run `fpdb init`" in asked.stderr


def test_a_newer_schema_is_left_alone(fpdb, migrated_url):
    with psycopg.connect(migrated_url) as connection:
        connection.execute("UPDATE fpdb.alembic_version SET version_num = '9999'")
    for command in ("list", "init"):
        run = fpdb(migrated_url, command)
        assert run.returncode == 2
        assert "(9999) is newer than the program" in run.stderr
        assert "pip install --upgrade fingerprintdb" in run.stderr


def test_an_older_schema_names_the_command(monkeypatch):
    monkeypatch.setattr(revision, "_parents", lambda: {"0001": "None", "0002": "0001"})
    assert revision.head() == "0002"
    revision.require("0002")
    with pytest.raises(FingerprintError, match=r"\(0001\) is older .* — run `fpdb migrate`"):
        revision.require("0001")


def test_head_is_what_alembic_says():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(revision.folder("alembic")))
    assert revision.head() == ScriptDirectory.from_config(config).get_current_head()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://someone:secret@localhost:1/music", "cannot connect to music@localhost:1"),
        ("nonsense", "FPDB_DATABASE_URL looks like postgresql://"),
    ],
)
def test_a_wrong_url_is_one_line_without_the_password(fpdb, url, said):
    run = fpdb(url, "list")
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1
    assert said in run.stderr
    assert "secret" not in run.stderr


def test_config_names_the_source_of_each_value(fpdb, tmp_path, json_lines):
    (tmp_path / ".env").write_text("FPDB_MODEL=builtin\nFPDB_LOG_FORMAT=json\nFPDB_MAX_ATTEMPTS=2")
    run = fpdb(
        "postgresql://someone:secret@localhost/music",
        *("--log-level", "error", "config", "--json"),
        cwd=tmp_path,
        FPDB_LOG_LEVEL="info",
        FPDB_LOG_FORMAT="text",
    )
    (found,) = json_lines(run)
    assert found["log_level"] == {"value": "error", "source": "option"}
    assert found["log_format"] == {"value": "text", "source": "environment"}
    assert found["max_attempts"] == {"value": 2, "source": ".env"}
    assert found["heartbeat_sec"] == {"value": 10.0, "source": "default"}
    assert "secret" not in run.stdout
    assert "password=***" in found["database_url"]["value"]

    (tmp_path / "secret").write_text("postgresql://someone:sesame@localhost/music")
    named = {"FPDB_DATABASE_URL_FILE": str(tmp_path / "secret")}
    (filed,) = json_lines(fpdb(None, "config", "--json", **named))
    assert filed["database_url"] == found["database_url"] | {"source": "secret file"}

    plain = fpdb(None, "config").stdout.splitlines()
    assert plain[0] == "setting\tvalue\tsource\tmeaning"
    assert len(plain) == 1 + len(found)


def test_a_setting_out_of_range_is_named(fpdb):
    run = fpdb(None, "list", FPDB_CONCURRENCY="0")
    assert run.returncode == 2
    assert run.stderr.startswith("error: FPDB_CONCURRENCY: Input should be greater than or equal")


def test_a_new_embedded_database_is_initialised_by_the_first_command(fpdb, tmp_path: Path):
    run = fpdb(None, "--data-dir", tmp_path / "data", "list")
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("new database in ")
    assert run.stderr.count("\n") == 1
    assert run.stdout.startswith("asset\ttitle")
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()


def test_version_and_help(fpdb):
    from fingerprintdb import __version__
    from fingerprintdb.cli.app import app

    assert fpdb(None, "--version").stdout == f"fpdb {__version__}\n"
    groups = [group.typer_instance for group in app.registered_groups]
    for one in (app, *groups):
        assert all(command.callback.__doc__ for command in one.registered_commands)
    assert all(group.info.help for group in groups)
