import hashlib
import http.server
import threading

import pytest

from ranksim._utils.download import download
from ranksim.datasets import sts_b_dir
from ranksim.exceptions import DataError

CONTENT = bytes(range(256)) * 5000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``content``; can stop early, ignore ranges, send versions and wrong ranges."""

    content = CONTENT
    break_after: int | None = None
    ranges = True
    version: str | None = None  # ETag
    changed: str | None = None  # Last-Modified
    honors_if_range = True
    sends_length = True
    shifted = 0  # offset between the requested and the sent range
    requests: list[str | None]
    conditions: list[str | None]

    def do_GET(self):
        requested = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        self.requests.append(requested)
        self.conditions.append(condition)
        if self.honors_if_range and condition not in (None, self.version, self.changed):
            requested = None
        if self.path.endswith("/missing"):
            self.send_error(404)
            return
        start = int(requested[6:-1]) - self.shifted if requested and self.ranges else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if self.sends_length:
            self.send_header("Content-Length", str(len(self.content) - start))
        if self.shifted:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/*")
        if self.version:
            self.send_header("ETag", self.version)
        if self.changed:
            self.send_header("Last-Modified", self.changed)
        self.end_headers()
        body = self.content[start:]
        cls = type(self)
        if cls.break_after is not None:
            body, cls.break_after = body[: cls.break_after], None
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Server,), {"requests": [], "conditions": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as instance:
        thread = threading.Thread(target=instance.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        handler.url = f"http://127.0.0.1:{instance.server_port}/file"
        yield handler
        instance.shutdown()
        thread.join()


CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


def test_downloads_once(server, tmp_path):
    path = tmp_path / "deep" / "file"
    for _ in range(2):
        assert download(server.url, path, CHECKSUM) == CHECKSUM
    assert path.read_bytes() == CONTENT
    assert server.requests == [None]
    assert list(path.parent.glob("[!.]*")) == [path]


@pytest.mark.parametrize("ranges", [True, False])
def test_resumes_after_a_lost_connection(server, tmp_path, ranges):
    server.break_after, server.ranges = 300_000, ranges
    path = tmp_path / "file"
    with pytest.raises(DataError, match="run the command again to resume"):
        download(server.url, path, CHECKSUM)
    assert not path.exists()
    have = (tmp_path / "file.part").stat().st_size
    assert 0 < have <= 300_000
    assert download(server.url, path, CHECKSUM) == CHECKSUM
    assert path.read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={have}-"]


def test_complete_partial_file_needs_no_request(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "file", CHECKSUM) == CHECKSUM
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.requests == []


def test_too_long_partial_file_is_discarded(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    assert download(server.url, tmp_path / "file", CHECKSUM) == CHECKSUM
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_checksum_is_reported_and_the_file_removed(server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(
        DataError, match=r"has SHA-256 .* damaged or changed; run the command again"
    ):
        download(server.url, tmp_path / "file", CHECKSUM)
    assert list(tmp_path.glob("[!.]*")) == []


def test_reports_errors_of_the_server(server, tmp_path):
    with pytest.raises(DataError, match=r"/missing could not be downloaded .404 .*--data-dir"):
        download(server.url.replace("/file", "/missing"), tmp_path / "file", CHECKSUM)


def test_reports_a_missing_connection(tmp_path):
    with pytest.raises(DataError, match="could not be downloaded"):
        download("http://127.0.0.1:9/file", tmp_path / "file", CHECKSUM)


def test_sts_b_is_downloaded_to_the_cache(server, small_sts, monkeypatch, tmp_path):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sts_b_dir.ORIGINS, "yang", server.url.removesuffix("/file"))
    files = {
        f"/{part}_new.tsv": (small_sts / "sts-b-dir" / "yang" / f"{part}_new.tsv").read_bytes()
        for part in sts_b_dir.PARTS
    }
    serve = server.do_GET

    def do_get(self):
        self.content = files[self.path]
        serve(self)

    monkeypatch.setattr(server, "do_GET", do_get)
    assert len(sts_b_dir.load("yang").train) == 120
    assert len(sts_b_dir.load("yang").train) == 120
    assert len(server.requests) == 3


@pytest.fixture
def versioned(server):
    """A server that sends an ETag and honors If-Range."""
    server.version = '"first"'
    return server


def test_unpinned_returns_and_writes_the_checksum(versioned, tmp_path):
    path = tmp_path / "deep" / "file"
    for _ in range(2):
        assert download(versioned.url, path) == CHECKSUM
    assert versioned.requests == [None]
    assert path.read_bytes() == CONTENT
    note = path.with_name("file.sha256")
    assert note.read_text() == f"{CHECKSUM}  file\n"
    assert set(path.parent.glob("[!.]*")) == {path, note}


def test_unpinned_replaces_a_damaged_file(versioned, tmp_path):
    path = tmp_path / "file"
    download(versioned.url, path)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert download(versioned.url, path) == CHECKSUM
    assert path.read_bytes() == CONTENT
    assert len(versioned.requests) == 2


def test_unpinned_accepts_a_file_of_the_user(versioned, tmp_path):
    (tmp_path / "file").write_bytes(b"by hand")
    assert download(versioned.url, tmp_path / "file") == hashlib.sha256(b"by hand").hexdigest()
    assert versioned.requests == []
    assert (tmp_path / "file.sha256").is_file()


def interrupt(server, path, after=300_000):
    server.break_after = after
    with pytest.raises(DataError, match="bytes too early.*run the command again to resume"):
        download(server.url, path)
    assert not path.exists()
    return path.with_name("file.part").stat().st_size


@pytest.mark.parametrize(
    ("validator", "condition"),
    [
        ({"version": '"first"'}, '"first"'),
        ({"version": 'W/"weak"', "changed": "Mon, 01 Jan 2024 00:00:00 GMT"}, None),
        ({"version": None, "changed": "Mon, 01 Jan 2024 00:00:00 GMT"}, None),
    ],
)
def test_unpinned_resumes_the_same_version(server, tmp_path, validator, condition):
    for name, value in validator.items():
        setattr(server, name, value)
    have = interrupt(server, tmp_path / "file")
    assert 0 < have <= 300_000
    assert download(server.url, tmp_path / "file") == CHECKSUM
    assert server.requests == [None, f"bytes={have}-"]
    assert server.conditions == [None, condition or server.changed]
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(("honors", "more"), [(True, b""), (False, b""), (False, b"more")])
def test_unpinned_restarts_for_another_version(versioned, tmp_path, honors, more):
    interrupt(versioned, tmp_path / "file")
    versioned.version, versioned.content = '"second"', CONTENT[::-1] + more
    versioned.honors_if_range = honors
    expected = hashlib.sha256(versioned.content).hexdigest()
    assert download(versioned.url, tmp_path / "file") == expected
    assert (tmp_path / "file").read_bytes() == versioned.content


def test_unpinned_restarts_without_a_version(server, tmp_path):
    interrupt(server, tmp_path / "file")
    assert download(server.url, tmp_path / "file") == CHECKSUM
    assert server.requests == [None, None]


def test_unpinned_discards_a_partial_file_of_unknown_origin(versioned, tmp_path):
    (tmp_path / "file.part").write_bytes(b"something else")
    assert download(versioned.url, tmp_path / "file") == CHECKSUM
    assert versioned.requests == [None]


def test_unpinned_complete_partial_file_needs_no_request(versioned, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    (tmp_path / "file.part.tag").write_text(f'"first"\n{len(CONTENT)}\n')
    assert download(versioned.url, tmp_path / "file") == CHECKSUM
    assert versioned.requests == []


def test_unpinned_requires_a_length(versioned, tmp_path):
    versioned.sends_length = False
    with pytest.raises(DataError, match="could not be downloaded .the server sent no length"):
        download(versioned.url, tmp_path / "file")
    assert list(tmp_path.glob("[!.]*")) == []


@pytest.mark.parametrize("checksum", [CHECKSUM, None])
def test_wrong_range_of_the_server_is_discarded(versioned, tmp_path, checksum):
    versioned.break_after = 300_000
    with pytest.raises(DataError, match="bytes too early"):
        download(versioned.url, tmp_path / "file", checksum)
    versioned.shifted = 1
    download(versioned.url, tmp_path / "file", checksum)
    assert (tmp_path / "file").read_bytes() == CONTENT
