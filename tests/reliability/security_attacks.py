"""Files with executable objects, each given to the code that reads such files.

An attack pickles an object that creates a file when it is loaded. A reader passes if that file does
not exist afterwards and the reader either ends in one sentence or works without the attacked file.
"""

import contextlib
import hashlib
import io
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 90
SMALL = ("--set", "hidden=4", "--max-steps", "4", "--accelerator", "cpu")


class Bomb:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def attacks() -> dict[str, Callable[[Path, Path], str | None]]:
    """Return attacks by name; each returns the error sentence of the reader, if any."""
    return {
        "published checkpoint": _published,
        "old published checkpoint": _old_published,
        "first stage of a callback": _callback,
        "model of the hub as pickle": _hub_model,
        "weights of a saved model": _saved_model,
        "checkpoints of a run": _checkpoints,
        "first stage of a two-stage run": _first_stage,
        "cached tokens": _cached_tokens,
        "storage of a search": _study,
        "MATLAB list with an object": _matlab,
        "Parquet with a pickled type": _parquet,
    }


def check_bomb(trace: Path) -> None:
    """Check that unpickling the object creates the file, so that the attacks mean something."""
    reduced, arguments = Bomb(trace).__reduce__()
    reduced(*arguments)
    if not trace.exists() or b"touch" not in _pickled(trace):
        raise RuntimeError("the pickled object does not create the file")
    trace.unlink()


def run_attack(name: str, folder: Path) -> tuple[bool, str]:
    """Return whether the reader withstood an attack, and its message."""
    folder.mkdir(parents=True)
    trace = folder / "executed"
    check_bomb(trace)
    try:
        message = attacks()[name](folder, trace)
    except Exception as error:  # a traceback is not a sentence
        return False, f"{type(error).__name__}: {error}"
    if trace.exists():
        return False, "the object was executed"
    passed = message is None or (message.endswith(".") and "\n" not in message)
    return passed, message or "ignored and rebuilt"


def _pickled(trace: Path) -> bytes:
    return pickle.dumps({"state_dict": Bomb(trace)})


def _published(folder: Path, trace: Path) -> str:
    import torch

    from ranksim.models import read_checkpoint

    torch.save({"state_dict": {}, "args": Bomb(trace)}, folder / "resnet50.pth.tar")
    return _sentence(lambda: read_checkpoint(folder / "resnet50.pth.tar"))


def _old_published(folder: Path, trace: Path) -> str:
    from ranksim.models import read_checkpoint

    (folder / "old.pth").write_bytes(_pickled(trace))
    return _sentence(lambda: read_checkpoint(folder / "old.pth"))


def _callback(folder: Path, trace: Path) -> str:
    import torch
    from torch import nn

    from ranksim.integrations.lightning import rrt

    torch.save({"state_dict": Bomb(trace)}, folder / "best.ckpt")
    return _sentence(lambda: rrt._load_encoder(nn.Linear(1, 1), "encoder", folder / "best.ckpt"))


def _hub_model(folder: Path, trace: Path) -> str:
    import torch
    import transformers

    from ranksim.models import SentenceEncoder

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.BertConfig(vocab_size=9, intermediate_size=8, **small)
    config.save_pretrained(folder / "bert")
    torch.save({"x": Bomb(trace)}, folder / "bert/pytorch_model.bin")
    return _sentence(lambda: SentenceEncoder(str(folder / "bert"), texts=1))


def _saved_model(folder: Path, trace: Path) -> str:
    import ranksim

    data = _table(folder)
    _run("fit", data, "--target", "price", *SMALL, "--out", folder / "model")
    weights, config = folder / "model/model.safetensors", folder / "model/config.json"
    weights.write_bytes(_pickled(trace))
    content = json.loads(config.read_text())  # the attacker updates the checksums
    content.pop("digest", None)
    content["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    config.write_text(json.dumps(content))
    return _sentence(lambda: ranksim.load_model(folder / "model"))


def _checkpoints(folder: Path, trace: Path) -> str | None:
    import torch

    words = ("compare", _table(folder), "--target", "price", "--methods", "vanilla", "--seeds", "1")
    words += (*SMALL, "--out", folder / "sweep")
    _run(*words)
    run = folder / "sweep/runs/vanilla/seed-0"
    (run / "record.json").unlink()  # as if it had been killed
    for name in ("last.ckpt", "best.ckpt"):
        torch.save({"state_dict": {}, "x": Bomb(trace)}, run / name)
    return _run_for_error(*words)


def _first_stage(folder: Path, trace: Path) -> str | None:
    import torch

    words = ("compare", _table(folder), "--target", "price", "--methods", "rrt", "--seeds", "1")
    words += (*SMALL, "--out", folder / "sweep")
    _run(*words)
    runs = folder / "sweep/runs"
    for record in runs.glob("rrt*/seed-0/record.json"):
        record.unlink()
    first = next(path for path in runs.glob("*/seed-0/best.ckpt") if "rrt" not in str(path))
    torch.save({"state_dict": Bomb(trace)}, first)
    return _run_for_error(*words)


def _cached_tokens(folder: Path, trace: Path) -> str | None:
    from ranksim._utils.storage import cache_dir

    words = (
        "compare",
        _sentences(folder),
        "--target",
        "feeling",
        "--text",
        "sentence",
        "--methods",
    )
    words += ("vanilla", "--seeds", "1", *SMALL)
    _run(*words, "--out", folder / "first")
    cached = [path for path in cache_dir().rglob("*") if path.suffix in (".npy", ".npz")]
    if not cached:
        raise RuntimeError("nothing was cached")
    objects = np.array([Bomb(trace)], dtype=object)
    for path in cached:
        with path.open("wb") as file:
            if path.suffix == ".npy":
                np.save(file, objects, allow_pickle=True)
            else:
                np.savez(file, tokens=objects, lengths=objects, digest=objects)
    error = _run_for_error(*words, "--out", folder / "second")
    one, two = (
        json.loads((folder / name / "results.json").read_text())["summary"][0]["test"]["all"]["mae"]
        for name in ("first", "second")
    )
    return error if one == two else "the results differ without an error"


def _study(folder: Path, trace: Path) -> str | None:
    from ranksim.experiments.study import lock_study_folder, open_study
    from ranksim.training.method import parse_method

    (folder / "searches").mkdir()
    (folder / "searches/study.db").write_bytes(_pickled(trace))

    def search() -> None:
        with lock_study_folder(folder / "searches"):
            open_study(folder / "searches", parse_method("vanilla", "inverse"), {})

    return _sentence(search)


def _matlab(folder: Path, trace: Path) -> str:
    from scipy.io import savemat

    from ranksim.datasets import imdb_wiki_dir

    for part in ("imdb", "wiki"):
        (folder / f"{part}_crop").mkdir()
        names = np.empty((1, 1), dtype=object)
        names[0, 0] = np.frombuffer(_pickled(trace), np.uint8)
        fields = {name: np.ones((1, 1)) for name in ("dob", "photo_taken", "face_score")}
        fields |= {"second_face_score": np.full((1, 1), np.nan), "full_path": names}
        savemat(folder / f"{part}_crop/{part}.mat", {part: fields})
    return _sentence(lambda: imdb_wiki_dir.find_images(folder))


def _parquet(folder: Path, trace: Path) -> str | None:
    import pyarrow as pa
    from pyarrow import parquet

    from ranksim.data.reading import load_table

    marks = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": _pickled(trace),
    }
    fields = [pa.field("price", pa.float64(), metadata=marks), pa.field("size", pa.float64())]
    metadata = {b"pandas": b'{"columns": [{"name": "price", "numpy_type": "object"}]}'}
    table = pa.table([[1.0, 2.0], [3.0, 4.0]], schema=pa.schema(fields, metadata=metadata))
    parquet.write_table(table, folder / "data.parquet")
    load_table(str(folder / "data.parquet"))
    return None


def _table(folder: Path) -> Path:
    """Write a table of prices that depend on sizes."""
    draw = np.random.default_rng(1)
    size = draw.gamma(2.0, 20.0, ROWS)
    lines = [f"{each:.2f},{each / 5 + draw.normal():.1f}" for each in size]
    path = folder / "things.csv"
    path.write_text("\n".join(["size,price", *lines]) + "\n")
    return path


def _sentences(folder: Path) -> Path:
    """Write sentences whose score depends on one word."""
    draw = np.random.default_rng(2)
    words = np.array(["a good film", "a bad film", "an awful film", "a great film", "a film"])
    lines = [f"{words[k % 5]} {k},{k % 5 + draw.integers(2)}" for k in range(ROWS)]
    path = folder / "sayings.csv"
    path.write_text("\n".join(["sentence,feeling", *lines]) + "\n")
    return path


def _sentence(function: Callable[[], object]) -> str:
    """Return the error sentence of a function."""
    from ranksim.exceptions import RankSimError

    try:
        function()
    except RankSimError as error:
        return str(error)
    raise RuntimeError("the file was read without an error")


def _run(*words: object) -> None:
    error = _run_for_error(*words)
    if error is not None:
        raise RuntimeError(error)


def _run_for_error(*words: object) -> str | None:
    """Run a command in this process and return its error sentence, or None."""
    from ranksim.cli import main

    out, errors = io.StringIO(), io.StringIO()
    with _arguments(*words), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as stop:
            if not stop.code:
                return None
    return errors.getvalue().strip().rpartition("Error: ")[2]


@contextlib.contextmanager
def _arguments(*words: object) -> Iterator[None]:
    before = sys.argv
    sys.argv = ["ranksim", *map(str, words)]
    try:
        yield
    finally:
        sys.argv = before
