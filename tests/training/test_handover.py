"""Other processes get the data that one has prepared, to the last bit, and load nothing."""

import errno
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksim.training import task_loading
from ranksim.training.handover import SharedObject
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.task_loading import hand_over_data, load_plan, load_task, use_data
from tests.helpers import user_data
from tests.helpers.language import save_bert
from tests.helpers.requests import make_request

SENTENCES = {
    "frozen sentences": {"frozen": True},
    "tuned sentences": {"frozen": False},
    "partly tuned sentences": {"frozen": False, "tuned_layers": 1, "head_layers": 1},
}
BENCHMARKS = {
    "sts-b-dir": {"split": "borealis", "regions_from": "published"},
    "sentiment-dir": {"domains": ("tweets",)},
    "glucose": {"horizon": 30},
}


@pytest.fixture(autouse=True)
def no_data():
    """Each test starts and ends in a process that has loaded nothing."""
    forget()
    yield
    use_data(None)
    forget()


def forget():
    for function in (task_loading.load_plan, task_loading._load_cached, task_loading._read_table):
        function.cache_clear()


def make_values():
    matrix = torch.arange(12.0, dtype=torch.float64).reshape(3, 4)
    read_only = np.arange(3)
    read_only.flags.writeable = False
    return {
        "matrix": matrix,
        "same": matrix,
        "view": matrix[:],  # of the same memory
        "columns": matrix[:, 1:3],
        "mask": matrix > 3,
        "half": matrix.to(torch.bfloat16),
        "weight": torch.nn.Parameter(torch.ones(2)),
        "empty": torch.zeros(0, 3),
        "array": np.linspace(0, 1, 7, dtype=np.float32),
        "read only": read_only,
        "transposed": np.arange(6).reshape(2, 3).T,
        "words": np.array(["a", "żółty"]),
        "objects": np.array([None, "x"], dtype=object),
        "number": 3,
    }


def test_objects_are_restored(tmp_path):
    values = make_values()
    data = SharedObject.write(tmp_path / "arrays", values)
    restored = data.load()
    assert restored.keys() == values.keys()
    for name, value in values.items():
        if isinstance(value, Tensor):
            assert restored[name].dtype == value.dtype
            assert torch.equal(restored[name], value)
        else:
            np.testing.assert_array_equal(restored[name], value)
    assert restored["same"] is restored["matrix"]
    assert restored["view"].data_ptr() == restored["matrix"].data_ptr()
    assert sum(data.sizes) < 3 * 96 + 28 + 24 + 96 + 12 + 64
    assert not restored["read only"].flags.writeable


def test_changes_stay_in_a_process(tmp_path):
    data = SharedObject.write(tmp_path / "arrays", [torch.zeros(5), np.zeros(5)])
    first, second = data.load(), data.load()
    for value in first:
        value += 1
    assert [float(value.sum()) for value in first] == [5, 5]
    assert [float(value.sum()) for value in second] == [0, 0]
    assert [float(value.sum()) for value in data.load()] == [0, 0]


def test_objects_without_arrays(tmp_path):
    assert SharedObject.write(tmp_path / "arrays", {"a": (1, "b")}).load() == {"a": (1, "b")}


@pytest.fixture(params=[*user_data.WRITERS, *SENTENCES, *BENCHMARKS])
def request_and_recipe(request, tmp_path):
    """A request for data of each modality, and a small recipe."""
    kind, changes, settings = request.param, {}, {}
    if kind in BENCHMARKS:
        fixture = {"sts-b-dir": "small_sts", "sentiment-dir": "small_sentiment"}
        folder = request.getfixturevalue(fixture.get(kind, "small_glucose"))
        folder = folder if folder.is_dir() else folder.parent
        sweep = make_request(kind, tmp_path / "out", options=BENCHMARKS[kind], data_dir=folder)
    else:
        name = "sentences" if kind.endswith(" sentences") else kind
        options = user_data.OPTIONS[name]
        if kind.endswith(" sentences"):
            changes = {"encoder": save_bert(tmp_path / "bert"), **SENTENCES[kind]}
            options = options | {"encoder": "bert"}
        if kind == user_data.PICTURES:
            changes = {"image_size": 16}
        path = user_data.WRITERS[name](tmp_path)
        sweep = make_request(path, tmp_path / "out", options=options, **settings)
    method = parse_method("vanilla", "inverse")
    return sweep, load_recipe(sweep.source.spec.benchmark, "small", method, changes)


def describe(source, recipe):
    """Return all that a run reads of its data, and the weights of a new network."""
    benchmark, task = load_task(source, recipe)
    parts = task.train, task.val, task.test
    torch.manual_seed(0)
    network = task.build_model()
    plan = load_plan(source) if source.is_user_data else None
    return {
        "facts": benchmark.facts,
        "report": vars(benchmark.report),
        "labels": [part.labels for part in benchmark.parts],
        "groups": benchmark.groups,
        "origin": dict(benchmark.origin),
        "bins": benchmark.bins.edges,
        "regions": [task.regions.counts, task.regions.names],
        "inputs": [part.get_inputs(torch.arange(len(part))) for part in parts],
        "raw": [part.get_raw_inputs(torch.arange(len(part))) for part in parts],
        "order": [part.length_order() for part in parts],
        "targets": [part.labels for part in parts],
        "ids": None if task.sample_ids is None else [*task.sample_ids.numbers],
        "weights": network.state_dict(),
        "reader": None if task.reader is None else task.reader.read_vectors(task.val),
        "plan": None if plan is None else [plan.rows, plan.labels, *plan.split, plan.parts],
        "cells": None if plan is None else list(plan.table.read(plan.options.target)),
    }


@pytest.mark.slow
def test_other_processes_get_the_data_of_this_one(request_and_recipe, monkeypatch):
    request, recipe = request_and_recipe
    source = request.source
    expected = describe(source, recipe)

    def reject(*_):
        raise AssertionError("the data is loaded again")

    with hand_over_data([(source, recipe)] * 3) as data:
        assert data is not None
        assert list(data.path.parent.iterdir()) == [data.path]
        forget()
        use_data(data)
        with monkeypatch.context() as patch:
            for name in ("_load_any", "make_split_plan"):
                patch.setattr(task_loading, name, reject)
            actual = describe(source, recipe)
    assert not data.path.parent.exists()
    torch.testing.assert_close(
        actual["weights"], expected["weights"], rtol=0, atol=0, equal_nan=True
    )
    for name in ("inputs", "raw", "order", "targets"):
        for part, other in zip(actual.pop(name), expected.pop(name), strict=True):
            torch.testing.assert_close(part, other, rtol=0, atol=0, equal_nan=True)
    np.testing.assert_equal(actual | {"weights": 0}, expected | {"weights": 0})


def test_other_data_is_loaded(tmp_path):
    load = partial(load_recipe, "table", "small", parse_method("vanilla", "inverse"))
    tables = [
        make_request(
            user_data.write_table(tmp_path / str(rows), rows),
            tmp_path / "out",
            options=user_data.OPTIONS[user_data.TABLE],
        )
        for rows in (90, 120)
    ]
    with hand_over_data([(tables[0].source, load({}))]) as data:
        use_data(data)
        _, task = load_task(tables[1].source, load({}))
    assert len(task.train) + len(task.val) + len(task.test) == 120


@pytest.mark.parametrize("sources", [0, 1])
def test_nothing_is_handed_over_on_a_full_disk(tmp_path, monkeypatch, sources):
    def write(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SharedObject, "write", write)
    sweep = make_request(
        user_data.write_table(tmp_path), tmp_path / "out", options={"target": "price"}
    )
    recipe = load_recipe("table", "small", parse_method("vanilla", "inverse"), {})
    with hand_over_data([(sweep.source, recipe)] * sources) as data:
        assert data is None
