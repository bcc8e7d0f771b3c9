"""Fixtures that all tests share: a cache of their own, and small data with the real form."""

import datetime
import functools
import gzip
import html
import os
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from ranksim.evaluation import diagnostics
from ranksim.evaluation.report import plotting
from ranksim.models import vision
from tests.helpers.archives import sentiment_lines, tar_gz
from tests.helpers.browser import browser, open_page  # noqa: F401  (fixtures)
from tests.helpers.process_pair import process_pair  # noqa: F401  (a fixture: two processes for all)
from tests.helpers.small_runs import SMALL_RESNET

hypothesis.settings.register_profile("tests", max_examples=30, deadline=None)
hypothesis.settings.load_profile("tests")

WORDS = (
    "the", "a", "man", "woman", "dog", "cat", "plays", "guitar", "runs", "in", "park", "eats",
    "food", "small", "large", "black", "white", "on", "street", "reads", "book", "sings", "song",
    "quickly", "slowly", "good", "bad", "great", "awful", "film", "product", "today",
)  # fmt: skip
RENDER_PICTURE, RESNET18 = plotting.render_picture, vision.RESNETS["resnet18"]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Tests neither read nor fill the user's cache or data folder."""
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("RANKSIM_DATA", raising=False)


@pytest.fixture(autouse=True, scope="module")
def skip_what_takes_longest(request):
    """Trainings skip t-SNE, pages have empty pictures, and ResNet-18 is a small network.

    This holds for a whole module, because its tests may compare trainings or pages with each
    other. Modules need ``COMPUTES_TSNE = True`` or ``DRAWS_PICTURES = True`` to have them.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "COMPUTES_TSNE", False):
            patch.setattr(diagnostics, "_tsne", lambda features, points: points)
        if not getattr(request.module, "DRAWS_PICTURES", False):
            patch.setattr(plotting, "render_picture", make_empty_picture)
        patch.setitem(vision.RESNETS, "resnet18", SMALL_RESNET)
        yield


@pytest.fixture
def real_pictures(monkeypatch):
    """This test draws pictures, unlike others of its module."""
    monkeypatch.setattr(plotting, "render_picture", RENDER_PICTURE)


@pytest.fixture
def real_resnet18(monkeypatch):
    """ResNet-18 has its published layers in this test."""
    monkeypatch.setitem(vision.RESNETS, "resnet18", RESNET18)


def make_empty_picture(name, description, size, paint):
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><title>{html.escape(description)}</title></svg>'
    return plotting.Picture(name, description, svg, b"\x89PNG")


@pytest.fixture
def shared_data():
    """The published splits, where they are at hand."""
    folder = Path(os.environ.get("RANKSIM_TEST_DATA") or os.environ.get("RANKSIM_DATA") or SHARED)
    if not (folder / "sts-b-dir").is_dir():
        pytest.skip("the STS-B-DIR splits are not here: put them into ../shared/data")
    return folder


def sentence(draw: np.random.Generator) -> str:
    return " ".join(draw.choice(WORDS, size=draw.integers(3, 12)))


@functools.cache
def sts_parts(seed: int) -> dict[str, list[str]]:
    """Lines of the three files of a split."""
    draw = np.random.default_rng(seed)
    return {
        part: sts_rows(draw, count) for part, count in (("train", 120), ("dev", 60), ("test", 60))
    }


def sts_rows(draw: np.random.Generator, count: int) -> list[str]:
    """Lines as in the STS-B files; the score can be learned: it grows with shared words."""
    lines = []
    for i in range(count):
        first, second = sentence(draw), sentence(draw)
        if draw.random() < 0.6:
            second = " ".join(first.split()[: draw.integers(1, 12)])
        a, b = set(first.split()), set(second.split())
        score = 5 * len(a & b) / len(a | b)
        lines.append(
            f'{i}\tmain\tMade "up\t2012\t{i:04}\tnone\tnone\t{first}\t{second}\t{score:.3f}'
        )
    return lines


HEADER = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"


@pytest.fixture
def small_sts(tmp_path, monkeypatch):
    """A generated data set in the form of STS-B-DIR, its checksums made the expected ones."""
    from ranksim._utils.storage import sha256
    from ranksim.datasets import sts_b_dir

    folder = tmp_path / "data"
    checksums: dict[str, dict[str, str]] = {}
    for number, split in enumerate(sts_b_dir.CHECKSUMS):
        checksums[split] = {}
        for part, rows in sts_parts(number).items():
            path = folder / "sts-b-dir" / split / f"{part}_new.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
            checksums[split][part] = sha256(path)
    monkeypatch.setattr(sts_b_dir, "CHECKSUMS", checksums)
    return folder


@pytest.fixture
def small_sentiment(tmp_path, monkeypatch):
    """A generated source archive in the form of vaderSentiment's, its checksum the expected one."""
    from ranksim._utils.storage import sha256
    from ranksim.datasets import sentiment_dir

    inner = tar_gz(
        {name: sentiment_lines(300, i) for i, name in enumerate(sentiment_dir.DOMAINS.values())}
    )
    path = tmp_path / sentiment_dir.ARCHIVE
    path.write_bytes(tar_gz({sentiment_dir.INNER: inner}))
    monkeypatch.setattr(sentiment_dir, "CHECKSUM", sha256(path))
    return path


@pytest.fixture
def small_glucose(tmp_path, monkeypatch):
    """Generated readings in the form of the packaged ones, their checksum the expected one."""
    from ranksim._utils.storage import sha256
    from ranksim.datasets import glucose

    path = tmp_path / "data" / glucose.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(["isig,datetime,glucose", *glucose_rows(20)]) + "\n")
    monkeypatch.setattr(glucose, "CHECKSUM", sha256(path))
    return path


@functools.cache
def glucose_rows(days: int) -> list[str]:
    """A reading every five minutes, with gaps, readings on the same minute and missing currents."""
    draw = np.random.default_rng(0)
    count = 288 * days
    wave = np.cumsum(draw.normal(0, 5, count))
    level = 170 + 110 * np.sin(np.arange(count) / 40) + (wave - wave.mean()) / 8
    lines = []
    moment = datetime.datetime(2010, 3, 24)
    for value in np.clip(level.round(), 40, 400).astype(int):
        moment += datetime.timedelta(minutes=int(draw.choice([5, 0, 90], p=[0.994, 0.002, 0.004])))
        current = "nil" if draw.random() < 0.003 else f"{value / 10 + draw.normal() / 5:.2f}"
        lines.append(f"{current},{moment},{value}")
    return lines
