"""Settings out of secret files: which beats which, and what a bad file is told."""

from pathlib import Path

import pytest

from fingerprintdb import secret
from fingerprintdb.cli.config import Configuration
from fingerprintdb.secret import SecretFileError

URL = "postgresql://fpdb:sesame@db.example/music"


@pytest.fixture(autouse=True)
def mounted(monkeypatch, tmp_path) -> Path:
    """An empty folder of mounted secrets, and no settings of the developer's."""
    import os

    for name in os.environ:
        if name.startswith("FPDB_"):
            monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(secret, "SECRETS_DIR", tmp_path / "secrets")
    return tmp_path / "secrets"


def database_url(found: Configuration) -> str | None:
    url = found.settings.database_url
    return None if url is None else url.get_secret_value()


def test_a_folder_that_is_not_there_says_nothing():
    found = Configuration.read()
    assert found.sources["database_url"] == "default"


def test_mounted_secrets_are_found_by_name(mounted):
    mounted.mkdir()
    (mounted / "fpdb_database_url").write_text(f"{URL}\n")
    (mounted / "fpdb_concurrency").write_text("3")
    (mounted / "fpdb_allowed_uris").write_text("/music, https://cdn.example/")
    (mounted / "other").write_text("not ours")
    found = Configuration.read()
    assert database_url(found) == URL
    assert found.settings.concurrency == 3
    assert found.settings.allowed_uris == ("/music", "https://cdn.example/")
    assert found.sources["database_url"] == "secret file"
    assert found.sources["concurrency"] == "secret file"
    assert found.sources["model"] == "default"


def test_order(mounted, monkeypatch):
    mounted.mkdir()
    (mounted / "fpdb_model").write_text("mounted")
    Path(".env").write_text("FPDB_MODEL=dotenv\nFPDB_LOG_LEVEL=info\n")
    assert Configuration.read().settings.model == "mounted"
    assert Configuration.read().settings.log_level == "info"
    (named := mounted / "elsewhere").write_text("named")
    monkeypatch.setenv("FPDB_MODEL_FILE", str(named))
    assert Configuration.read().settings.model == "named"
    monkeypatch.setenv("FPDB_LOG_LEVEL_FILE", str(named))
    monkeypatch.setenv("FPDB_LOG_LEVEL", "error")
    with pytest.raises(SecretFileError, match="FPDB_LOG_LEVEL_FILE are both set — unset one"):
        Configuration.read()
    monkeypatch.delenv("FPDB_LOG_LEVEL_FILE")
    assert Configuration.read().sources["log_level"] == "environment"
    assert Configuration.read(log_level="debug").sources["log_level"] == "option"


def test_files_that_cannot_be_read(mounted, monkeypatch, tmp_path):
    monkeypatch.setenv("FPDB_DATABASE_URL_FILE", str(tmp_path / "gone"))
    with pytest.raises(SecretFileError, match=r"gone cannot be read: No such file.* — put the"):
        Configuration.read()
    (tmp_path / "gone").mkdir()
    with pytest.raises(SecretFileError, match="cannot be read: Is a directory"):
        Configuration.read()
    monkeypatch.setenv("FPDB_DATABASE_URL_FILE", str(tmp_path / "bytes"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(SecretFileError, match="is no UTF-8 text"):
        Configuration.read()
    (tmp_path / "bytes").write_text("\n")
    with pytest.raises(SecretFileError, match="bytes is empty"):
        Configuration.read()


def test_unreadable_by_this_user(mounted, monkeypatch):
    mounted.mkdir()
    (mounted / "fpdb_model").write_text("x")

    def refused(self: Path, *_: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(SecretFileError, match="fpdb_model cannot be read: Permission denied"):
        Configuration.read()


def test_a_value_out_of_range_in_a_file_names_the_setting(mounted):
    mounted.mkdir()
    (mounted / "fpdb_concurrency").write_text("0")
    with pytest.raises(Exception, match="FPDB_CONCURRENCY: Input should be greater"):
        Configuration.read()
