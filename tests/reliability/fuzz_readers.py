"""Generate files for each reader, read them and check the accepted content."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from ranksim.data.images.table import OUTSIDE, image_paths
from ranksim.data.reading import load_table
from ranksim.data.spec import SeriesSpec, TableSpec
from ranksim.data.splitting import PARTS
from ranksim.data.table import read_labels
from ranksim.data.text import GloveFile
from ranksim.datasets import image_benchmarks, imdb_wiki_dir, sts_b_dir
from ranksim.datasets.archives import extract, read_member
from ranksim.evaluation import record
from ranksim.inference import saved_model
from ranksim.training.presets import preset_table, read_tuned
from ranksim.training.recipe import TableRecipe
from ranksim.user_data.split_plan import make_split_plan
from tests.reliability import fuzz_archives, fuzz_matlab
from tests.reliability.fuzz_bytes import json_text, mutate, text_table, unusual_value

LIMIT = 1 << 20  # bytes that an archive or table may unpack to
MEMBERS = 40


@dataclass(frozen=True)
class Reader:
    """One reader of files from elsewhere.

    Args:
        title: title in the report.
        make: returns the content of a case.
        read: reads the content in an empty folder; raises AssertionError for wrong results and the
            documented error for rejected content.
    """

    title: str
    make: Callable[[Random], bytes]
    read: Callable[[bytes, Path], None]


def require(condition: bool, message: str) -> None:
    """Raise AssertionError unless a condition holds."""
    if not condition:
        raise AssertionError(message)


def write_file(folder: Path, name: str, content: bytes) -> Path:
    """Write a file of the case and return its path."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


# split files of images ---------------------------------------------------------------------------


def _split_file(draw: Random, repeats: bool) -> bytes:
    people = [f"AgeDB/{k}_Person_{k % 90}_{'mf'[k % 2]}.jpg" for k in range(12)]
    if draw.random() < 0.3:
        people = [f"wiki_crop/{k:02}/{k}_19{k}.jpg" for k in range(12)]
    rows = [("age", "path", "split")]
    rows += [(str(k % 90), path, PARTS[k % 3]) for k, path in enumerate(people)]
    rows += draw.choices(rows[1:], k=draw.randrange(4)) if repeats else []
    return text_table(draw, rows, ",")


def _read_split_file(protocol: str | None) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        write_file(folder, "AgeDB/3_Other_3_f.jpg", b"")
        path = write_file(folder, "any.csv", content)
        for name in ("agedb-dir", "imdb-wiki-dir"):
            if protocol is None or name == "agedb-dir":
                _check_images(
                    image_benchmarks.plan_ages(
                        name, data_dir=folder, split_file=path, protocol=protocol
                    ).table
                )

    return read


def _check_images(table: Any) -> None:
    require(bool(np.isfinite(table.labels).all()), "labels are finite")
    require(set(table.parts.tolist()) == set(PARTS), "all three parts are there")
    for path in table.paths:
        require(bool(path.strip()) and not OUTSIDE.match(path), f"{path!r} lies inside")
    rows_by_path: dict[str, set[Any]] = {}
    for row in zip(table.paths, table.labels.tolist(), table.parts.tolist(), strict=True):
        rows_by_path.setdefault(row[0], set()).add(row[1:])
    require(max(map(len, rows_by_path.values())) == 1, "an image has one label and one part")


def _image_table(draw: Random) -> bytes:
    rows = [("path", "age", "note"), *((f"{k}.jpg", str(k + 0.5), "x") for k in range(6))]
    return text_table(draw, rows, draw.choice(",;\t"))


def _read_image_table(content: bytes, folder: Path) -> None:
    table = load_table(str(write_file(folder, "own.csv", content)))
    paths, labels = image_paths(table, "path"), read_labels(table, "age")
    require(bool(np.isfinite(labels).all()) and len(labels) == len(paths) > 0, "labels are finite")
    require(not any(map(OUTSIDE.match, paths)), "images are inside")


# texts and word vectors --------------------------------------------------------------------------

_STS = ("index", "genre", "old_index", "sentence1", "sentence2", "score")


def _sts(draw: Random) -> bytes:
    rows = [_STS, *((str(k), "main", "0", 'a "quoted" b', "c d", f"{k}.5") for k in range(5))]
    return text_table(draw, rows, "\t", quoted=False)


def _read_sts(content: bytes, folder: Path) -> None:
    samples = sts_b_dir._read_pairs(write_file(folder, "train_new.tsv", content))
    require(bool(np.isfinite(samples.labels).all()), "scores are finite")
    require({len(column) for column in samples.texts} == {len(samples)}, "one score per pair")


_WIDTH = 5


def _glove(draw: Random) -> bytes:
    words = ("the", ",", ". . .", "dog", "dog", "\xa0", "x@y", "été")
    rows = [(w, *(f"{draw.gauss(0, 1):.5f}" for _ in range(_WIDTH))) for w in words]
    return text_table(draw, rows, " ", quoted=False)


def _read_glove(content: bytes, folder: Path) -> None:
    file = GloveFile(write_file(folder, "glove.txt", content), _WIDTH, lower=False)
    words = ["the", "dog", ". . .", "été", "never"]
    known_words, rows = file.look_up(words)
    require(
        rows.shape == (len(known_words), _WIDTH) and rows.dtype == np.float32, "one vector per word"
    )
    is_subset = set(known_words) <= set(words) and len(set(known_words)) == len(known_words)
    require(is_subset, "requested words only")
    require(bool(np.isfinite(rows).all()), "vectors are finite")


# lists of MATLAB ---------------------------------------------------------------------------------


def _read_matlab(content: bytes, folder: Path) -> None:
    write_file(folder, "imdb.mat", content)
    write_file(folder, "wiki.mat", fuzz_matlab.valid("wiki"))
    table = imdb_wiki_dir.find_images(folder).table
    require(bool(((table.labels >= 0) & (table.labels <= 200)).all()), "ages are 0 to 200")
    for path in table.paths:
        require(not OUTSIDE.match(path) and "/.." not in path, f"{path!r} lies inside")


# archives ----------------------------------------------------------------------------------------


def _read_archive(content: bytes, folder: Path) -> None:
    path, root = write_file(folder, "archive", content), folder / "in" / "root"
    root.parent.mkdir()
    beside = write_file(folder, "in/beside", b"here")
    try:
        count = extract(path, root, limit_bytes=LIMIT, limit_files=MEMBERS)
    finally:
        require({each.name for each in folder.iterdir()} == {"archive", "in"}, "nothing above")
        there = {each.name for each in (folder / "in").iterdir()}
        require(there <= {"root", "beside"} and beside.read_bytes() == b"here", "nothing beside")
        require(not Path(fuzz_archives.OUTSIDE).exists(), "nothing at an absolute path")
        inside = list(root.rglob("*"))
        require(not any(each.is_symlink() for each in inside), "no link")
        files = [each for each in inside if each.is_file() and each.parent != root]
        files += [each for each in root.glob("*") if each.is_file() and each.suffix != ".lock"]
        require(sum(each.stat().st_size for each in files) <= LIMIT, "no more bytes than allowed")
        require(len(files) <= MEMBERS, "no more files than allowed")
        require(not (root / ".unpacking").exists(), "no temporary file")
    require(len(files) <= count <= MEMBERS, "as many files as members")


def _read_member(content: bytes, folder: Path) -> None:
    data = read_member(content, "b/c.txt", limit=LIMIT, origin="an archive")
    require(len(data) <= LIMIT, "no more bytes than allowed")
    require(not any(folder.iterdir()), "nothing on the disk")


# tables ------------------------------------------------------------------------------------------

_COLUMNS = ("size", "kind", "built", "group", "y")


def _user_rows(draw: Random) -> list[tuple[str, ...]]:
    return [_COLUMNS] + [
        (f"{k * 1.5}", "ab"[k % 2], f"20{k:02}-03-01", f"g{k % 4}", str(k % 5)) for k in range(14)
    ]


def _user_table(draw: Random) -> bytes:
    content = text_table(draw, _user_rows(draw), draw.choice(",,;\t"))
    if draw.random() < 0.15:
        content = gzip.compress(content if draw.random() < 0.95 else bytes(2 * LIMIT), 1, mtime=0)
        content = mutate(draw, content) if draw.random() < 0.4 else content
    return content


_SPECS = (
    TableSpec(target="y"),
    TableSpec(target="y", features=("size", "kind"), split_by="time", time="built"),
    TableSpec(target="y", group="group", balanced=False),
    SeriesSpec(target="y", window=2, time="built", features=("size",)),
    TableSpec(target="y", skip_missing=True, split_by="day", time="built", max_per_bin=2),
)


def _read_user(suffix: str) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        packed = ".gz" if content[:2] == b"\x1f\x8b" else ""
        path = write_file(folder, f"own{suffix}{packed}", content)
        columns = load_table(str(path))
        for name in dict.fromkeys(columns.names):
            if columns.names.count(name) == 1:
                values = columns.column(name)
                require(len(values) == columns.n_rows, "one value per row")
        plan = make_split_plan(columns, _SPECS[len(content) % len(_SPECS)])
        require(bool(np.isfinite(plan.labels).all()), "labels are finite")
        positions = np.concatenate(plan.split)
        require(
            len(np.unique(positions)) == len(positions) <= len(plan.labels),
            "each sample in one part",
        )
        require(all(map(len, plan.split)), "no part is empty")
        require(int(plan.bins.histogram(plan.labels).sum()) == len(plan.labels), "each in one bin")

    return read


@cache
def _parquets() -> tuple[bytes, ...]:
    columns: dict[str, Any] = {
        name: [row[k] for row in _user_rows(Random(0))[1:]] for k, name in enumerate(_COLUMNS)
    }
    numbers = {"size": list(map(float, columns["size"])), "y": list(map(int, columns["y"]))}
    files = []
    for compression in ("none", "snappy", "zstd"):
        for values in (columns, columns | numbers, numbers | {"kind": [None, "a"] * 7}):
            file = io.BytesIO()
            parquet.write_table(pyarrow.table(values), file, compression=compression)
            files.append(file.getvalue())
    return tuple(files)


def _parquet(draw: Random) -> bytes:
    return mutate(draw, draw.choice(_parquets()), _parquets())


# results, models and recipes ---------------------------------------------------------------------


def _results() -> dict[str, Any]:
    scores = {"all": {"mae": 1.0, "n": 3}, "few": {"mae": None, "n": 0}}
    run = {"method": "vanilla", "seed": 0, "scores": scores, "seconds": 1.5}
    row = {"method": "vanilla", "runs": [0], "test": scores}
    return {"format": 3, "benchmark": "sts-b-dir", "runs": [run], "summary": [row]}


def _read_results(content: bytes, folder: Path) -> None:
    results = record.read_results(write_file(folder, "results.json", content))
    require(
        isinstance(results["benchmark"], str) and results["format"] <= record.FORMAT,
        "format and benchmark are valid",
    )
    require(
        all(isinstance(results[key], list) for key in ("runs", "summary")),
        "runs and summary are lists",
    )


@cache
def _config() -> dict[str, Any]:
    number = {"kind": "number", "name": "size", "dates": False, "median": 3.0, "mean": 2.5}
    number |= {"deviation": 1.5, "indicator": True}
    named = {"kind": "category", "name": "kind", "values": ["a", "b"], "other": True}
    named["missing"] = False
    regions = ["many", "few", "few"]
    density = {"edges": [0.0, 1.0, 2.0, 3.0], "train": [30, 4, 0], "regions": regions}
    density |= {"many": 20, "few": 5, "named": {"low": "<1", "mid": "1-2"}}
    return {
        "format": saved_model.FORMAT,
        "ranksim": "0.1.0",
        "kind": "table",
        "target": "y",
        "method": "vanilla",
        "precision": "32-true",
        "recipe": preset_table("table", "small") | {"label_scale": 1.0, "label_step": 1.0},
        "reader": {
            "kind": "table",
            "names": ["size", "kind"],
            "features": {"columns": [number, named], "dropped": {"unit": "equal"}},
        },
        "density": density,
        "weights_sha256": "0" * 64,
    }


def _read_model(content: bytes, folder: Path) -> None:
    """Read everything except the weights, which another library reads behind a checksum."""
    write_file(folder, saved_model.CONFIG, content)
    write_file(folder, saved_model.METRICS, b"{}")
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, saved_model, "_load_weights", saved_model._load_weights)
        saved_model._load_weights = lambda path, digest: {}  # type: ignore[assignment]
        model = saved_model.load_model(folder)
    edges = model.regions.bins.edges
    require(bool(np.isfinite(edges).all() and (np.diff(edges) > 0).all()), "edges ascend")
    sizes = {len(model.regions.bins), len(model.regions.counts), len(model.regions.names)}
    require(len(sizes) == 1, "one count and region per bin")
    model.regions.masks([-1.0, 0.5, 9.0])
    require(math.isfinite(model.recipe.lr), "the recipe is valid")


_METHODS = ("vanilla", "inv+ranksim", "rrt", "focal-r+lds+fds", "sqinv", "inv+fds", "vanilla+fds")
_CHANGES = {"lr": 0.01, "gamma": 3, "bins": 20, "lr_milestones": [2], "ties": "min", "lambda_": 0.5}


def _tuned(draw: Random) -> bytes:
    lines = []
    for method in draw.sample(_METHODS, 3):
        odd = draw.random() < 0.1
        name = draw.choice(("magic", "inv+inv", "", "vanilla+inv", "lds", "é")) if odd else method
        lines.append(f"[methods.{json.dumps(name)}]")
        for field in draw.sample(list(_CHANGES), k=2):
            value = unusual_value(draw) if draw.random() < 0.15 else _CHANGES[field]
            lines.append(f"{field} = {_toml(value)}")
    content = "\n".join(lines).encode(errors="replace")
    return mutate(draw, content) if draw.random() < 0.4 else content


def _toml(value: Any) -> str:
    plain = isinstance(value, float) and not math.isfinite(value)
    return str(value) if plain else json.dumps(value).replace("null", '"null"')


def _read_tuned(content: bytes, folder: Path) -> None:
    path = write_file(folder, "recipe.toml", content)
    changes_by_method = read_tuned(path, preset_table("table", "small"), "inverse", TableRecipe)
    tomllib.loads(content.decode())
    for changes in changes_by_method.values():
        TableRecipe.from_table(preset_table("table", "small") | changes)


READERS: dict[str, Reader] = {
    "split": Reader(
        "split files of AgeDB and IMDB-WIKI",
        lambda draw: _split_file(draw, False),
        _read_split_file(None),
    ),
    "protocol": Reader(
        "zero-shot protocols of AgeDB",
        lambda draw: _split_file(draw, True),
        _read_split_file("blindspot"),
    ),
    "sts": Reader("splits of STS-B", _sts, _read_sts),
    "glove": Reader("word vectors of GloVe", _glove, _read_glove),
    "matlab": Reader("MATLAB lists of IMDB-WIKI", fuzz_matlab.make, _read_matlab),
    "tar": Reader("archives: .tar", fuzz_archives.tar, _read_archive),
    "targz": Reader("archives: .tar.gz", fuzz_archives.tar_gz, _read_archive),
    "zip": Reader("archives: .zip", fuzz_archives.zip_, _read_archive),
    "member": Reader("archive members", fuzz_archives.any_archive, _read_member),
    "csv": Reader("user tables: CSV, compressed too", _user_table, _read_user(".csv")),
    "images": Reader("user tables of images", _image_table, _read_image_table),
    "parquet": Reader("user tables: Parquet", _parquet, _read_user(".parquet")),
    "results": Reader("results.json", lambda d: json_text(d, _results()), _read_results),
    "model": Reader("config.json of a model", lambda d: json_text(d, _config()), _read_model),
    "recipe": Reader("recipes by method, TOML", _tuned, _read_tuned),
}
