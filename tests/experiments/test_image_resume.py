"""A run of images that is killed ten times ends as the one that never was, to the bit."""

import json
import random
import time

import numpy as np
import pyarrow.parquet
import pytest
import torch

from ranksim.data.images.augment import CropFlip
from ranksim.experiments.run import execute_run
from tests.helpers.trained_models import Process, images, request, run_of

# three steps an epoch and a validation every two: half of all checkpoints lie within an epoch
CHANGES = ("lr_milestones=[2, 5]", "validate_every=2", "patience=0")
NEW = (1, 0, 1, 1, 0, 1, 1, 0, 1, 1)  # validations that each start lives to see at least


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    counts = {20: 10, 24: 8, 30: 10, 41: 6, 60: 5}
    return images(tmp_path_factory.mktemp("images"), counts)


def prepared(table, out, *, validations=12, seed=0):
    asked = request(table, out, *CHANGES, max_epochs=validations)
    return run_of(asked, "vanilla+fds+ranksim", seed)


def kept(run):
    """All that a run leaves behind, clocks and memory excepted."""
    record = json.loads((run.folder / "record.json").read_text())
    del record["result"]["seconds"], record["result"]["peak_memory_mb"], record["digest"]
    best = torch.load(run.folder / "best.ckpt", weights_only=True)
    rows = pyarrow.parquet.read_table(run.folder / "predictions.parquet").to_pydict()
    return record, {name: value.numpy() for name, value in best["state_dict"].items()}, rows


def compare(run, other):
    record, weights, rows = kept(run)
    other_record, other_weights, other_rows = kept(other)
    assert weights.keys() == other_weights.keys()
    different = [name for name in weights if not np.array_equal(weights[name], other_weights[name])]
    assert different == [], "weights differ"
    assert rows == other_rows
    assert record == other_record


def stamp(run):
    last = run.folder / "last.ckpt"
    return last.stat().st_mtime_ns if last.is_file() else None


def killed(function, run, new, delay):
    """Start it, kill it so many validations and seconds later; whether it was still at work."""
    process, before = Process(function, run), stamp(run)
    if new == 0:
        time.sleep(delay)
    deadline = time.monotonic() + 60
    while new and time.monotonic() < deadline and not process.pipe.poll():
        time.sleep(0.005)
        if (now := stamp(run)) != before:
            before, new = now, new - 1
    time.sleep(delay)
    return process.kill()


def test_killed_ten_times_it_ends_as_if_it_never_was(table, tmp_path):
    whole, run = (prepared(table, tmp_path / name) for name in ("whole", "killed"))
    record = Process(execute_run, whole).result()
    assert record["result"]["epochs"] == 8
    assert record["result"]["steps"] == 24
    draw, between = random.Random(0), record["result"]["seconds"] / 12
    kills = [killed(execute_run, run, new, draw.uniform(0, 0.9) * between) for new in NEW]
    assert kills == [True] * 10
    last = torch.load(run.folder / "last.ckpt", weights_only=True)
    assert last["global_step"] >= 2 * sum(NEW)
    assert not (run.folder / "record.json").exists()
    Process(execute_run, run).result()
    compare(run, whole)
    assert not list(run.folder.glob(".*.part"))


def _drawn_elsewhere(run):
    """The same run, its crops from a generator that no checkpoint holds."""

    def draw(self, index, epoch):
        down, right = torch.from_numpy(np.random.randint(0, 2 * self.pad + 1, (2, len(index))))
        return down, right, torch.zeros_like(down).bool()

    CropFlip.draw = draw
    return execute_run(run)


def test_the_comparison_sees_crops_that_a_resumed_run_draws_anew(table, tmp_path):
    whole, run = (prepared(table, tmp_path / name, validations=3) for name in ("whole", "killed"))
    record = Process(_drawn_elsewhere, whole).result()
    assert killed(_drawn_elsewhere, run, 1, 0)
    assert Process(_drawn_elsewhere, run).result()["steps"] == record["result"]["steps"]
    with pytest.raises(AssertionError, match="weights differ"):
        compare(run, whole)
