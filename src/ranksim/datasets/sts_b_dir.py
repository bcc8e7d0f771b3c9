"""The STS-B-DIR benchmark: sentence pairs with a similarity in 0..5, in two published splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ranksim._utils.download import download
from ranksim._utils.storage import cache_dir, sha256
from ranksim.data.text import TextSamples
from ranksim.datasets.archives import verify_checksum
from ranksim.datasets.base import Benchmark, data_folder, report_parts
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins

NAME = "sts-b-dir"
PARTS = ("train", "dev", "test")
CHECKSUMS = {
    "borealis": {
        "train": "cc71336eb2061891c3f165fa9f812c780f1e86eca0f81e62b4da49ecb9dfb3d1",
        "dev": "e5b56cd14e68a5d02ec2a05bfe11d1a45d74582170e61e679c1288f05aa82535",
        "test": "8fd7e51459a3deb30adedde0d6a777fea60d2f8a4c65ac86c76d25ca560f3bc8",
    },
    "yang": {
        "train": "4da3322ae29f7ad1b7d03cdeafcb2480c276e5df1d08737678a7856697218a9a",
        "dev": "9ec12d785aa817ffe4b0f88fde442d3bf57161d8cbeaa84aaa1fdf764cca6dd6",
        "test": "55f90b3c5a0b2947d5ff64c41536191e9e1ba3bb5ffe64aca5465ab25fa8e94c",
    },
}
ORIGINS = {
    "borealis": "https://raw.githubusercontent.com/BorealisAI/ranksim-imbalanced-regression/"
    "b08052da550d61837b1218106f688a732d06bcca/sts-b-dir/glue_data/STS-B",
    "yang": "https://raw.githubusercontent.com/YyzHarry/imbalanced-regression/"
    "c37d6f46d35e5a0b37277d8d925ad112ed8ef487/sts-b-dir/glue_data/STS-B",
}
BINS = LabelBins.uniform(0.0, 5.0, 50)
# the published regions, which do not follow training counts
PUBLISHED_SHOTS = {
    "many": frozenset(
        [0, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 49]
    ),
    "medium": frozenset([2, 4, 6, 8, 27, 35, 37]),
}
_COLUMNS = ("sentence1", "sentence2", "score")


def load(split: str = "borealis", data_dir: Path | None = None) -> Benchmark[TextSamples]:
    """Load the benchmark with one of the two published splits; verify the checksums.

    Args:
        split: ``"borealis"`` (RankSim's) or ``"yang"``. Test pairs of one are training pairs of
            the other, so files of both must not be mixed.
        data_dir: folder with ``sts-b-dir/<split>/{train,dev,test}_new.tsv``. Default:
            ``RANKSIM_DATA``, then the user's cache, downloaded from the public origin.

    Raises:
        DataError: a file is missing, damaged, or belongs to the other split.
    """
    if split not in CHECKSUMS:
        raise DataError(f"Unknown split {split!r}: choose {' or '.join(CHECKSUMS)}.")
    paths = _find_files(split, data_dir)
    for part in PARTS:
        _verify(paths[part], split, part)
    train, val, test = (_read_pairs(paths[part]) for part in PARTS)
    return Benchmark(
        NAME,
        *(train, val, test, BINS),
        test_set="balanced",
        published_shots=PUBLISHED_SHOTS,
        gmean_epsilon=1e-10,
        facts={"split": split, "sha256": CHECKSUMS[split]},
        quantity="similarity",
        report=report_parts((train, val, test), f"as published: {split}"),
    )


def _find_files(split: str, data_dir: Path | None) -> dict[str, Path]:
    if root := data_folder(data_dir):
        for folder in (root / NAME / split, root / split, root):
            paths = {part: folder / f"{part}_new.tsv" for part in PARTS}
            if any(path.exists() for path in paths.values()):
                return paths
    if data_dir is not None:
        raise DataError(
            f"{data_dir} does not contain {NAME}/{split}/train_new.tsv: pass the folder that "
            "contains it with --data-dir, or omit --data-dir to download the files."
        )
    folder = cache_dir() / NAME / split
    paths = {part: folder / f"{part}_new.tsv" for part in PARTS}
    for part, path in paths.items():
        download(f"{ORIGINS[split]}/{path.name}", path, CHECKSUMS[split][part])
    return paths


def _verify(path: Path, split: str, part: str) -> None:
    """Raise a DataError if a file is missing, modified, or belongs to the other split."""
    if not path.is_file():
        raise DataError(f"{path} is missing: put the {part} file of the {split} split there.")
    actual = sha256(path)
    owner = next((name for name in CHECKSUMS if actual in CHECKSUMS[name].values()), split)
    if owner != split:
        raise DataError(
            f"{path} belongs to the {owner} split, not to {split}: the splits share sentence pairs "
            "and must not be mixed."
        )
    verify_checksum(path, CHECKSUMS[split][part], f"the {part} file of the {split} split")


def _read_pairs(path: Path) -> TextSamples:
    """Read sentence pairs and scores from a TSV file, taking quotation marks literally."""
    remedy = "replace it by the published file"
    try:
        header, *lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {remedy}.") from error
    names = header.split("\t")
    if not set(_COLUMNS) <= set(names):
        raise DataError(f"{path} does not have the columns {', '.join(_COLUMNS)}: {remedy}.")
    positions = [names.index(name) for name in _COLUMNS]
    pairs, scores = [], []
    for number, line in enumerate(lines, start=2):
        values = line.split("\t")
        try:
            *pair, score = (values[position] for position in positions)
            scores.append(float(score))
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{path}, line {number} does not contain two sentences and a score: {remedy}."
            ) from error
        pairs.append(pair)
    labels = np.array(scores)
    if not len(labels) or not np.isfinite(labels).all():
        raise DataError(f"{path} contains no scores, or a score that is not finite: {remedy}.")
    return TextSamples(tuple(map(list, zip(*pairs, strict=True))), labels)
