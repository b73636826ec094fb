import hashlib
import os
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from fsspec.registry import _registry

from fingerprintdb import source
from fingerprintdb.source import SourceError, SourceUnreachableError, open_source, redact

BODY = bytes(range(256)) * 20_000  # 5 MB: several reads
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers by path: /body, /endless, /broken, /stalled, /moved or /<status>."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self.path.partition("?")[0].strip("/")
        if name in {"body", "broken", "stalled"}:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY if name == "body" else BODY[:1000])
            if name == "stalled":
                self.server.release.wait(10)
            self.close_connection = name != "body"
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            while not self.server.release.is_set():
                try:
                    self.wfile.write(BODY)
                except OSError:
                    return
        elif name == "moved":
            self.send_response(302)
            self.send_header("Location", "/body")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_response(int(name))
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.release = threading.Event()
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.release.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Return the folder that downloads go to, so that a test can see them gone."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def refusal(uri, content=None, **options):
    with pytest.raises(SourceError) as caught, open_source(uri, content, **options):
        pytest.fail("the source opened")
    error = caught.value
    assert error.remedy
    assert "\n" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return error


def assert_permanent(error, *words):
    assert not error.transient
    assert all(word in error.message for word in words), error.message


def assert_transient(error, *words):
    assert isinstance(error, SourceUnreachableError)
    assert error.transient
    assert all(word in error.message for word in words), error.message


def test_content_is_read_from_memory():
    with open_source(None, BODY) as opened:
        assert opened.file.read() == BODY
        assert (opened.sha256, opened.size_bytes) == (DIGEST, len(BODY))


@pytest.mark.parametrize("form", ["plain", "file", "localhost", "home"])
def test_a_local_file_is_read_where_it_lies(form, tmp_path, monkeypatch, downloads):
    path = tmp_path / "a b%20 ü #1.wav"
    path.write_bytes(BODY)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    uri = {
        "plain": str(path),
        "file": path.as_uri(),
        "localhost": path.as_uri().replace("file://", "file://localhost"),
        "home": f"~/{path.name}",
    }[form]
    with open_source(uri) as opened:
        assert opened.file == path
        assert opened.sha256 == DIGEST
        assert not list(downloads.iterdir())
    assert path.exists()


def test_what_is_not_a_readable_file_is_refused(tmp_path, monkeypatch):
    empty = tmp_path / "empty.wav"
    empty.touch()
    full = tmp_path / "full.wav"
    full.write_bytes(b"1234")
    os.mkfifo(tmp_path / "pipe")

    assert_permanent(refusal(str(tmp_path / "absent.wav")), "absent.wav", "does not exist")
    assert_permanent(refusal(str(full / "below.wav")), "does not exist")
    assert_permanent(refusal(str(tmp_path)), "is a directory")
    assert_permanent(refusal(str(tmp_path / "pipe")), "not a regular file")
    assert_permanent(refusal(str(empty)), "empty.wav", "is empty")
    assert_permanent(refusal(None, b""), "is empty")
    assert_permanent(refusal(str(full), max_bytes=3), "larger than the limit of 3 bytes")
    assert_permanent(refusal("a\0b.wav"), "not a valid path")
    assert_permanent(refusal("~nobody-of-this-name/a.wav"), "home folder")
    assert_permanent(refusal("file://elsewhere/a.wav"), "another host")
    assert_permanent(refusal(None), "no file")
    assert_permanent(refusal("gopher9://host/a.wav"), "unknown scheme")
    assert_permanent(refusal("http://[bad/a.wav"), "not a valid")
    with open_source(str(full), max_bytes=4) as opened:
        assert opened.size_bytes == 4

    def deny(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # Root may read everything, so the refusal is staged.
    monkeypatch.setattr(Path, "open", deny)
    assert_permanent(refusal(str(full)), "may not be read")


def test_a_download_is_hashed_and_then_removed(server, downloads):
    for name in ("body", "body?signature=x", "moved"):
        with open_source(f"{server}/{name}") as opened:
            assert opened.file.read_bytes() == BODY
            assert (opened.sha256, opened.size_bytes) == (DIGEST, len(BODY))
            assert downloads in opened.file.parents
        assert not list(downloads.iterdir())


def test_a_download_is_removed_when_the_block_fails(server, downloads):
    with pytest.raises(RuntimeError, match="ours"), open_source(f"{server}/body"):
        raise RuntimeError("ours")
    assert not list(downloads.iterdir())


@pytest.mark.parametrize(
    ("status", "transient", "words"),
    [
        (400, False, "HTTP 400"),
        (401, False, "may not be read"),
        (403, False, "may not be read"),
        (404, False, "does not exist"),
        (410, False, "does not exist"),
        (429, True, "HTTP 429"),
        (500, True, "HTTP 500"),
        (503, True, "HTTP 503"),
    ],
)
def test_what_a_server_refuses(server, downloads, status, transient, words):
    error = refusal(f"{server}/{status}")
    assert error.transient == transient
    assert words in error.message
    assert f"{server}/{status}" in error.message
    assert not list(downloads.iterdir())


def test_an_endless_body_ends_at_the_limit(server, downloads):
    assert_permanent(refusal(f"{server}/endless", max_bytes=3 * 2**20), "larger than the limit")
    assert not list(downloads.iterdir())


def test_a_body_that_breaks_off_may_be_tried_again(server):
    assert_transient(refusal(f"{server}/broken"), "/broken", "broke off")


def test_a_server_that_stalls_is_given_up(server, monkeypatch):
    impatient = source.aiohttp.ClientTimeout(total=None, sock_connect=1, sock_read=0.2)
    monkeypatch.setitem(
        source._FILESYSTEM_OPTIONS, "http", {"client_kwargs": {"timeout": impatient}}
    )
    assert_transient(refusal(f"{server}/stalled"), "could not be reached")


def test_every_remote_scheme_has_time_limits():
    fs, _ = source._filesystem("https://host/a.wav", "")
    timeout = fs.client_kwargs["timeout"]
    assert (timeout.sock_connect, timeout.sock_read) == (10, 60)
    s3, _ = source._filesystem("s3://bucket/a.wav", "")
    assert s3.config_kwargs == {"connect_timeout": 10, "read_timeout": 60}


def test_an_unreachable_host_may_be_tried_again():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.server_close()  # nobody else is given this port so soon
    uri = f"http://127.0.0.1:{server.server_port}/a.wav"
    assert_transient(refusal(uri), uri, "could not be reached")


def test_messages_keep_secrets(server):
    secret = server.replace("http://", "http://user:pa55@")
    for path in ("404", "503", "broken"):
        error = refusal(f"{secret}/{path}?X-Amz-Signature=5ecret#5ecret")
        assert "pa55" not in str(error)
        assert "5ecret" not in str(error)
        assert path in error.message


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://u:p@host/a.wav?sig=1#t", "https://host/a.wav"),
        ("https://u:p#w?d@host/a.wav", "https://host/a.wav"),
        ("sftp://u@host:22/a.wav", "sftp://host:22/a.wav"),
        ("zip://a.wav::https://u:p@host/b.zip?sig=1", "zip://a.wav::https://host/b.zip"),
        ("s3://bucket/a.wav", "s3://bucket/a.wav"),
        ("data:audio/wav;base64,AAAA", "data:…"),
        ("/music/who? #1.wav", "/music/who? #1.wav"),
        ("file:///music/who%3F.wav", "file:///music/who%3F.wav"),
    ],
)
def test_redact(uri, shown):
    assert redact(uri) == shown


def test_any_fsspec_scheme_opens(tmp_path):
    fsspec.filesystem("memory").pipe("/folder/a.wav", BODY)
    with open_source("memory://folder/a.wav") as opened:
        assert opened.sha256 == DIGEST
    with open_source("data:audio/wav;base64,aGVsbG8=") as opened:
        assert opened.file.read_bytes() == b"hello"
    assert_permanent(refusal("memory://folder/b.wav"), "does not exist")


def test_a_chain_of_schemes_opens(tmp_path):
    path = tmp_path / "album.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.wav", BODY)
    with open_source(f"zip://a.wav::file://{path}") as opened:
        assert opened.sha256 == DIGEST


@pytest.mark.parametrize(
    ("uri", "module", "extra"), [("s3://b/a.wav", "s3fs", "s3"), ("gs://b/a.wav", "gcsfs", "gcs")]
)
def test_an_absent_extra_names_the_command(uri, module, extra, monkeypatch):
    scheme = uri.partition(":")[0]
    monkeypatch.delitem(_registry, scheme, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    error = refusal(uri)
    assert_permanent(error, uri)
    assert error.remedy == f"pip install 'fingerprintdb[{extra}]'"


# botocore and moto still call datetime.utcnow.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_an_s3_object_opens(monkeypatch, downloads):
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        bucket = s3fs.S3FileSystem()
        bucket.mkdir("music")
        bucket.pipe("music/a b.wav", BODY)
        with open_source("s3://music/a b.wav") as opened:
            assert opened.sha256 == DIGEST
            assert opened.file.read_bytes() == BODY
        assert not list(downloads.iterdir())
        assert_permanent(refusal("s3://music/b.wav"), "s3://music/b.wav", "does not exist")
        assert_permanent(refusal("s3://nowhere/b.wav"), "does not exist")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
