"""Files that want to be executed, each given to what reads such files.

An attack makes a pickle which writes a file when it is loaded. It has held where that file is not
there afterwards, and where the command or function either ended in one sentence or did its work
without what the file holds.
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
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def attacks() -> dict[str, Callable[[Path, Path], str | None]]:
    """By name: makes the file below a folder, has it read, and returns the sentence, if any."""
    return {
        "published checkpoint": _published,
        "published checkpoint of old": _published_of_old,
        "first stage of a callback": _callback,
        "model of the hub as pickle": _hub_model,
        "weights of a saved model": _saved_model,
        "checkpoints of a run": _checkpoints,
        "first stage of a two-stage run": _first_stage,
        "cached tokens": _cached,
        "storage of a search": _study,
        "MATLAB list with an object": _matlab,
        "Parquet with a pickled type": _parquet,
    }


def defused(trace: Path) -> None:
    """Shows that the bomb is one: whoever unpickles it makes the file.

    Raises:
        RuntimeError: it does not, so that no attack would be one.
    """
    reduced, arguments = Bomb(trace).__reduce__()
    reduced(*arguments)
    if not trace.exists() or b"touch" not in _pickled(trace):
        raise RuntimeError("the attack is none")
    trace.unlink()


def carried_out(name: str, folder: Path) -> tuple[bool, str]:
    """Whether an attack was held off, and what was said."""
    folder.mkdir(parents=True)
    trace = folder / "executed"
    defused(trace)
    try:
        told = attacks()[name](folder, trace)
    except Exception as error:  # a traceback is no sentence
        return False, f"{type(error).__name__}: {error}"
    if trace.exists():
        return False, "it was executed"
    whole = told is None or (told.endswith(".") and "\n" not in told)
    return whole, told or "not read; made anew"


def _pickled(trace: Path) -> bytes:
    return pickle.dumps({"state_dict": Bomb(trace)})


def _published(folder: Path, trace: Path) -> str:
    import torch

    from ranksim.models import read_checkpoint

    torch.save({"state_dict": {}, "args": Bomb(trace)}, folder / "resnet50.pth.tar")
    return _sentence(lambda: read_checkpoint(folder / "resnet50.pth.tar"))


def _published_of_old(folder: Path, trace: Path) -> str:
    from ranksim.models import read_checkpoint

    (folder / "old.pth").write_bytes(_pickled(trace))
    return _sentence(lambda: read_checkpoint(folder / "old.pth"))


def _callback(folder: Path, trace: Path) -> str:
    import torch
    from torch import nn

    from ranksim.integrations.lightning import rrt

    torch.save({"state_dict": Bomb(trace)}, folder / "best.ckpt")
    return _sentence(lambda: rrt._load(nn.Linear(1, 1), "encoder", folder / "best.ckpt"))


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
    _done("fit", data, "--target", "price", *SMALL, "--out", folder / "model")
    weights, config = folder / "model/model.safetensors", folder / "model/config.json"
    weights.write_bytes(_pickled(trace))
    content = json.loads(config.read_text())  # the attacker knows of the checksums
    content.pop("digest", None)
    content["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    config.write_text(json.dumps(content))
    return _sentence(lambda: ranksim.load_model(folder / "model"))


def _checkpoints(folder: Path, trace: Path) -> str | None:
    import torch

    words = ("compare", _table(folder), "--target", "price", "--methods", "vanilla", "--seeds", "1")
    words += (*SMALL, "--out", folder / "sweep")
    _done(*words)
    run = folder / "sweep/runs/vanilla/seed-0"
    (run / "record.json").unlink()  # as if it had been killed
    for name in ("last.ckpt", "best.ckpt"):
        torch.save({"state_dict": {}, "x": Bomb(trace)}, run / name)
    return _said(*words)


def _first_stage(folder: Path, trace: Path) -> str | None:
    import torch

    words = ("compare", _table(folder), "--target", "price", "--methods", "rrt", "--seeds", "1")
    words += (*SMALL, "--out", folder / "sweep")
    _done(*words)
    runs = folder / "sweep/runs"
    for record in runs.glob("rrt*/seed-0/record.json"):
        record.unlink()
    first = next(path for path in runs.glob("*/seed-0/best.ckpt") if "rrt" not in str(path))
    torch.save({"state_dict": Bomb(trace)}, first)
    return _said(*words)


def _cached(folder: Path, trace: Path) -> str | None:
    from ranksim._utils.storage import cache_dir

    words = ("compare", _sentences(folder), "--target", "feeling", "--text", "said", "--methods")
    words += ("vanilla", "--seeds", "1", *SMALL)
    _done(*words, "--out", folder / "first")
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
    told = _said(*words, "--out", folder / "second")
    one, two = (
        json.loads((folder / name / "results.json").read_text())["summary"][0]["test"]["all"]["mae"]
        for name in ("first", "second")
    )
    return told if one == two else "the results differ, and nothing was said"


def _study(folder: Path, trace: Path) -> str | None:
    from ranksim.experiments.tune.study import lock_study_folder, open_study
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
    told = {b"pandas": b'{"columns": [{"name": "price", "numpy_type": "object"}]}'}
    table = pa.table([[1.0, 2.0], [3.0, 4.0]], schema=pa.schema(fields, metadata=told))
    parquet.write_table(table, folder / "data.parquet")
    load_table(str(folder / "data.parquet"))
    return None


def _table(folder: Path) -> Path:
    """Prices of things, learned from their sizes."""
    draw = np.random.default_rng(1)
    size = draw.gamma(2.0, 20.0, ROWS)
    lines = [f"{each:.2f},{each / 5 + draw.normal():.1f}" for each in size]
    path = folder / "things.csv"
    path.write_text("\n".join(["size,price", *lines]) + "\n")
    return path


def _sentences(folder: Path) -> Path:
    """Sentences whose feeling is that of one word."""
    draw = np.random.default_rng(2)
    words = np.array(["a good film", "a bad film", "an awful film", "a great film", "a film"])
    lines = [f"{words[k % 5]} {k},{k % 5 + draw.integers(2)}" for k in range(ROWS)]
    path = folder / "sayings.csv"
    path.write_text("\n".join(["said,feeling", *lines]) + "\n")
    return path


def _sentence(function: Callable[[], object]) -> str:
    """The sentence that reading something ends in."""
    from ranksim.exceptions import RankSimError

    try:
        function()
    except RankSimError as error:
        return str(error)
    raise RuntimeError("it was read, and nothing was said")


def _done(*words: object) -> None:
    told = _said(*words)
    if told is not None:
        raise RuntimeError(told)


def _said(*words: object) -> str | None:
    """The sentence that a command of this process ends in, or ``None`` where it is done."""
    from ranksim.cli import main

    out, errors = io.StringIO(), io.StringIO()
    with _arguments(*words), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as left:
            if not left.code:
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
