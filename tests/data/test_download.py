import hashlib
import http.server
import threading

import pytest

from ranksim.data import sts_b_dir
from ranksim.data.download import fetch
from ranksim.errors import DataError

CONTENT = bytes(range(256)) * 5000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``content``; can break off, ignore ranges, or lie."""

    content = CONTENT
    break_after: int | None = None
    ranges = True
    seen: list[str | None]

    def do_GET(self):
        asked = self.headers.get("Range")
        self.seen.append(asked)
        if self.path.endswith("/missing"):
            self.send_error(404)
            return
        start = int(asked[6:-1]) if asked and self.ranges else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
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
    handler = type("Handler", (Server,), {"seen": []})
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
        assert fetch(server.url, path, CHECKSUM).read_bytes() == CONTENT
    assert server.seen == [None]
    assert list(path.parent.glob("[!.]*")) == [path]


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_where_the_connection_broke(server, tmp_path, ranges):
    server.break_after, server.ranges = 300_000, ranges
    path = tmp_path / "file"
    with pytest.raises(DataError, match="the download goes on where it stopped"):
        fetch(server.url, path, CHECKSUM)
    assert not path.exists()
    have = (tmp_path / "file.part").stat().st_size
    assert 0 < have <= 300_000
    assert fetch(server.url, path, CHECKSUM).read_bytes() == CONTENT
    assert server.seen == [None, f"bytes={have}-"]


def test_a_complete_part_needs_no_connection(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "file", CHECKSUM).read_bytes() == CONTENT
    assert server.seen == []


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, tmp_path / "file", CHECKSUM).read_bytes() == CONTENT


def test_other_content_is_refused_and_not_kept(server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DataError, match=r"has SHA-256 .* was expected: it was damaged on the way"):
        fetch(server.url, tmp_path / "file", CHECKSUM)
    assert list(tmp_path.glob("[!.]*")) == []


def test_an_error_of_the_server_is_one_sentence(server, tmp_path):
    with pytest.raises(DataError, match=r"/missing answered 404 .*; give the file with --data-dir"):
        fetch(server.url.replace("/file", "/missing"), tmp_path / "file", CHECKSUM)


def test_no_connection_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="could not be read"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", CHECKSUM)


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
