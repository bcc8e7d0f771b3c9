"""A training on images that is killed three times equals an undisturbed one, to the last bit."""

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
NEW = (2, 0, 1)  # validations after which each start is killed
PAUSE = 0.4  # seconds after each validation


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    counts = {20: 10, 24: 8, 30: 10, 41: 6, 60: 5}
    return images(tmp_path_factory.mktemp("images"), counts)


def make_run(table, out, *, validations=9, seed=0):
    sweep_request = request(table, out, *CHANGES, max_epochs=validations)
    return run_of(sweep_request, "vanilla+fds+ranksim", seed)


def read_outcome(run):
    """Return the record without time and memory, the best weights and the predictions."""
    record = json.loads((run.folder / "record.json").read_text())
    del record["result"]["seconds"], record["result"]["peak_memory_mb"], record["digest"]
    best = torch.load(run.folder / "best.ckpt", weights_only=True)
    rows = pyarrow.parquet.read_table(run.folder / "predictions.parquet").to_pydict()
    return record, {name: value.numpy() for name, value in best["state_dict"].items()}, rows


def compare(run, other):
    record, weights, rows = read_outcome(run)
    other_record, other_weights, other_rows = read_outcome(other)
    assert weights.keys() == other_weights.keys()
    different = [name for name in weights if not np.array_equal(weights[name], other_weights[name])]
    assert different == [], "weights differ"
    assert rows == other_rows
    assert record == other_record


def checkpoint_time(run):
    last = run.folder / "last.ckpt"
    return last.stat().st_mtime_ns if last.is_file() else None


def kill_after(function, run, new, delay):
    """Start a run and kill it some validations and seconds later; return whether it still ran."""
    process, before = Process(function, run), checkpoint_time(run)
    if new == 0:
        time.sleep(delay)
    deadline = time.monotonic() + 240
    while new and time.monotonic() < deadline and not process.pipe.poll():
        time.sleep(0.005)
        if (now := checkpoint_time(run)) != before:
            before, new = now, new - 1
    time.sleep(delay)
    return process.kill()


def _execute_slowly(run):
    """Execute a run that pauses after each validation, so that it is still there to be killed."""
    return execute_run(run, on_validation=lambda epoch, score: time.sleep(PAUSE))


@pytest.mark.slow
def test_run_killed_three_times_equals_undisturbed_run(table, tmp_path):
    whole, run = (make_run(table, tmp_path / name) for name in ("whole", "killed"))
    record = Process(execute_run, whole).result()
    assert record["result"]["epochs"] == 6
    assert record["result"]["steps"] == 18
    draw = random.Random(0)
    kills = [kill_after(_execute_slowly, run, new, draw.uniform(0, 0.9) * PAUSE) for new in NEW]
    assert kills == [True] * 3
    last = torch.load(run.folder / "last.ckpt", weights_only=True)
    assert last["global_step"] >= 2 * sum(NEW)
    assert not (run.folder / "record.json").exists()
    Process(execute_run, run).result()
    compare(run, whole)
    assert not list(run.folder.glob(".*.part"))


def _execute_with_random_crops(run):
    """Execute a run with crops from a generator that no checkpoint holds."""

    def draw(self, index, epoch):
        down, right = torch.from_numpy(np.random.randint(0, 2 * self.pad + 1, (2, len(index))))
        return down, right, torch.zeros_like(down).bool()

    CropFlip.draw = draw
    return execute_run(run)


@pytest.mark.slow
def test_comparison_detects_crops_drawn_again(table, tmp_path):
    whole, run = (make_run(table, tmp_path / name, validations=3) for name in ("whole", "killed"))
    record = Process(_execute_with_random_crops, whole).result()
    assert kill_after(_execute_with_random_crops, run, 1, 0)
    resumed = Process(_execute_with_random_crops, run).result()
    assert resumed["result"]["steps"] == record["result"]["steps"]
    with pytest.raises(AssertionError, match="weights differ|Differing items"):
        compare(run, whole)
