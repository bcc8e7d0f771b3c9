import hashlib
import http.server
import threading

import pytest

from ranksim._utils.download import download, download_unpinned
from ranksim.datasets import sts_b_dir
from ranksim.exceptions import DataError

CONTENT = bytes(range(256)) * 5000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``content``; can break off, ignore ranges, name its version, or lie."""

    content = CONTENT
    break_after: int | None = None
    ranges = True
    version: str | None = None  # ETag
    changed: str | None = None  # Last-Modified
    honours = True  # If-Range
    tells_length = True
    shifted = 0  # where a range begins, beside what was asked
    seen: list[str | None]
    conditions: list[str | None]

    def do_GET(self):
        asked = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        self.seen.append(asked)
        self.conditions.append(condition)
        if self.honours and condition not in (None, self.version, self.changed):
            asked = None
        if self.path.endswith("/missing"):
            self.send_error(404)
            return
        start = int(asked[6:-1]) - self.shifted if asked and self.ranges else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if self.tells_length:
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
    handler = type("Handler", (Server,), {"seen": [], "conditions": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        handler.url = f"http://127.0.0.1:{made.server_port}/file"
        yield handler
        made.shutdown()
        thread.join()


CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


def test_fetches_once(server, tmp_path):
    path = tmp_path / "deep" / "file"
    for _ in range(2):
        assert download(server.url, path, CHECKSUM).read_bytes() == CONTENT
    assert server.seen == [None]
    assert list(path.parent.glob("[!.]*")) == [path]


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_where_the_connection_broke(server, tmp_path, ranges):
    server.break_after, server.ranges = 300_000, ranges
    path = tmp_path / "file"
    with pytest.raises(DataError, match="the download goes on where it stopped"):
        download(server.url, path, CHECKSUM)
    assert not path.exists()
    have = (tmp_path / "file.part").stat().st_size
    assert 0 < have <= 300_000
    assert download(server.url, path, CHECKSUM).read_bytes() == CONTENT
    assert server.seen == [None, f"bytes={have}-"]


def test_a_complete_part_needs_no_connection(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "file", CHECKSUM).read_bytes() == CONTENT
    assert server.seen == []


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    assert download(server.url, tmp_path / "file", CHECKSUM).read_bytes() == CONTENT


def test_other_content_is_refused_and_not_kept(server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DataError, match=r"has SHA-256 .* was expected: it was damaged on the way"):
        download(server.url, tmp_path / "file", CHECKSUM)
    assert list(tmp_path.glob("[!.]*")) == []


def test_an_error_of_the_server_is_one_sentence(server, tmp_path):
    with pytest.raises(DataError, match=r"/missing answered 404 .*; give the file with --data-dir"):
        download(server.url.replace("/file", "/missing"), tmp_path / "file", CHECKSUM)


def test_no_connection_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="could not be read"):
        download("http://127.0.0.1:9/file", tmp_path / "file", CHECKSUM)


def test_the_cache_is_filled_from_the_origin(server, small_sts, monkeypatch, tmp_path):
    """Without a data folder, the three files come from the origin into the user's cache."""
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
    assert len(server.seen) == 3


@pytest.fixture
def versioned(server):
    """A server that names its version, and honours If-Range."""
    server.version = '"first"'
    return server


def test_unpinned_returns_its_checksum_and_notes_it(versioned, tmp_path):
    path = tmp_path / "deep" / "file"
    for _ in range(2):
        assert download_unpinned(versioned.url, path) == CHECKSUM
    assert versioned.seen == [None]
    assert path.read_bytes() == CONTENT
    note = path.with_name("file.sha256")
    assert note.read_text() == f"{CHECKSUM}  file\n"
    assert set(path.parent.glob("[!.]*")) == {path, note}


def test_unpinned_fetches_a_damaged_file_again(versioned, tmp_path):
    path = tmp_path / "file"
    download_unpinned(versioned.url, path)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert download_unpinned(versioned.url, path) == CHECKSUM
    assert path.read_bytes() == CONTENT
    assert len(versioned.seen) == 2


def test_unpinned_takes_a_file_that_its_user_put_there(versioned, tmp_path):
    (tmp_path / "file").write_bytes(b"by hand")
    assert (
        download_unpinned(versioned.url, tmp_path / "file") == hashlib.sha256(b"by hand").hexdigest()
    )
    assert versioned.seen == []
    assert (tmp_path / "file.sha256").is_file()


def broken_off(server, path, after=300_000):
    server.break_after = after
    with pytest.raises(DataError, match="bytes are missing.*the download goes on where it stopped"):
        download_unpinned(server.url, path)
    assert not path.exists()
    return path.with_name("file.part").stat().st_size


@pytest.mark.parametrize(
    ("validator", "asked"),
    [
        ({"version": '"first"'}, '"first"'),
        ({"version": 'W/"weak"', "changed": "Mon, 01 Jan 2024 00:00:00 GMT"}, None),
        ({"version": None, "changed": "Mon, 01 Jan 2024 00:00:00 GMT"}, None),
    ],
)
def test_unpinned_goes_on_with_the_same_version(server, tmp_path, validator, asked):
    for name, value in validator.items():
        setattr(server, name, value)
    have = broken_off(server, tmp_path / "file")
    assert 0 < have <= 300_000
    assert download_unpinned(server.url, tmp_path / "file") == CHECKSUM
    assert server.seen == [None, f"bytes={have}-"]
    assert server.conditions == [None, asked or server.changed]
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("honours", [True, False], ids=["honours If-Range", "ignores it"])
@pytest.mark.parametrize("more", [b"", b"more"], ids=["same length", "longer"])
def test_unpinned_starts_over_with_another_version(versioned, tmp_path, honours, more):
    broken_off(versioned, tmp_path / "file")
    versioned.version, versioned.content = '"second"', CONTENT[::-1] + more
    versioned.honours = honours
    expected = hashlib.sha256(versioned.content).hexdigest()
    assert download_unpinned(versioned.url, tmp_path / "file") == expected
    assert (tmp_path / "file").read_bytes() == versioned.content


def test_unpinned_starts_over_where_nothing_tells_the_version(server, tmp_path):
    broken_off(server, tmp_path / "file")
    assert download_unpinned(server.url, tmp_path / "file") == CHECKSUM
    assert server.seen == [None, None]


def test_unpinned_starts_over_from_a_part_of_unknown_origin(versioned, tmp_path):
    (tmp_path / "file.part").write_bytes(b"something else")
    assert download_unpinned(versioned.url, tmp_path / "file") == CHECKSUM
    assert versioned.seen == [None]


def test_unpinned_stopped_after_the_last_byte_needs_no_connection(versioned, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    (tmp_path / "file.part.tag").write_text(f'"first"\n{len(CONTENT)}\n')
    assert download_unpinned(versioned.url, tmp_path / "file") == CHECKSUM
    assert versioned.seen == []


def test_unpinned_wants_a_length(versioned, tmp_path):
    versioned.tells_length = False
    with pytest.raises(DataError, match="could not be read .it tells no length"):
        download_unpinned(versioned.url, tmp_path / "file")
    assert list(tmp_path.glob("[!.]*")) == []


@pytest.mark.parametrize("begin", [download, download_unpinned])
def test_a_rest_that_begins_elsewhere_is_not_glued_on(versioned, tmp_path, begin):
    rest = (CHECKSUM,) if begin is download else ()
    versioned.break_after = 300_000
    with pytest.raises(DataError, match="bytes are missing"):
        begin(versioned.url, tmp_path / "file", *rest)
    versioned.shifted = 1
    begin(versioned.url, tmp_path / "file", *rest)
    assert (tmp_path / "file").read_bytes() == CONTENT
