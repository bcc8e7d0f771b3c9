"""Labels, regions and facts survive that the data is sent to other processes."""

import io
import json
import types
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ranksim._utils.arrays import copy_to_numpy
from ranksim.data.spec import parse_drop_labels
from ranksim.training.factory import resolve_defaults
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.task_loading import load_plan, load_task
from tests.helpers import user_data
from tests.helpers.requests import make_request

DROPPED = {  # a range of labels of each modality
    user_data.TABLE: "12-14",
    user_data.SENTENCES: "1-2",
    user_data.PICTURES: "40-40",
    user_data.SERIES: "100-110",
}


def load(kind, folder, dropped=False):
    """Load generated data of a modality; return its source, benchmark, task and recipe."""
    options = user_data.OPTIONS[kind]
    if dropped:
        options = options | {"drop_labels": parse_drop_labels(DROPPED[kind])}
    request = make_request(user_data.WRITERS[kind](folder), folder / "out", options=options)
    source = request.source
    small = {"image_size": 16} if kind == user_data.PICTURES else {}
    method = parse_method("vanilla", "inverse")
    recipe = load_recipe(source.spec.benchmark, "small", method, small)
    return source, *load_task(source, recipe), recipe


def find_arrays(value, path="", visited=None):
    """Yield a path and each array or tensor that an object holds at any depth."""
    visited = {} if visited is None else visited
    if id(value) in visited or isinstance(value, str | bytes | type | types.ModuleType):
        return
    visited[id(value)] = value
    if isinstance(value, np.ndarray | Tensor):
        yield path, value
    elif isinstance(value, dict | types.MappingProxyType):
        for key, item in value.items():
            yield from find_arrays(item, f"{path}[{key!r}]", visited)
    elif isinstance(value, list | tuple | set | frozenset):
        for k, item in enumerate(value):
            yield from find_arrays(item, f"{path}[{k}]", visited)
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            yield from find_arrays(cell.cell_contents, f"{path}()", visited)
    elif hasattr(value, "__dict__"):
        for name, item in vars(value).items():
            yield from find_arrays(item, f"{path}.{name}", visited)


def is_view(array):
    """Return True for a NumPy array whose memory belongs to a tensor."""
    if isinstance(array, Tensor):
        return False
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, Tensor)


def describe(source, benchmark, task, recipe):
    """Copy all that a run computes from its labels."""
    labels = [part.labels for part in benchmark.parts]
    facts = {name: value for name, value in benchmark.facts.items() if name != "paths"}
    recipe = resolve_defaults(recipe, benchmark.train.labels)
    return (
        [np.array(part, copy=True) for part in labels],
        [copy_to_numpy(samples.labels) for samples in (task.train, task.val, task.test)],
        [task.regions.counts.copy(), task.regions.names, benchmark.bins.edges.copy()],
        [mask.copy() for mask in task.regions.masks(benchmark.test.labels).values()],
        [copy_to_numpy(torch.as_tensor(task.sample_ids.numbers)), load_plan(source).labels.copy()],
        [json.dumps(facts, default=str), json.dumps(benchmark.report.to_dict())],
        [task.initial_bias, recipe.label_scale, recipe.label_step],
    )


def send(*values):
    """Move tensors to shared memory, as sending them to a spawned process does."""
    pickler = ForkingPickler(io.BytesIO())
    for value in values:
        pickler.dump(value)


@pytest.fixture
def file_system_sharing():
    strategy = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy("file_system")
    yield
    torch.multiprocessing.set_sharing_strategy(strategy)


@pytest.mark.usefixtures("file_system_sharing")
@pytest.mark.parametrize("kind", user_data.WRITERS)
@pytest.mark.parametrize("dropped", [False, True])
def test_data_is_unchanged_after_it_was_sent(kind, dropped, tmp_path):
    loaded = load(kind, tmp_path, dropped)
    _, benchmark, task, _ = loaded
    expected = describe(*loaded)
    send(task.train, task.val, task.test)
    assert task.train.labels.is_shared()
    # what was freed is overwritten
    sizes = [len(part) for part in benchmark.parts for _ in range(50)]
    garbage = [torch.full((size,), -1e300, dtype=torch.float64) for size in sizes]
    np.testing.assert_equal(describe(*loaded), expected)
    del garbage


@pytest.mark.parametrize("kind", user_data.WRITERS)
def test_no_array_is_a_view_of_a_tensor(kind, tmp_path):
    source, benchmark, task, _ = load(kind, tmp_path, dropped=True)
    arrays = find_arrays((benchmark, task, load_plan(source)))
    assert [path for path, array in arrays if is_view(array)] == []


def test_views_are_found():
    view = torch.arange(3.0).numpy()[1:]
    holder = types.SimpleNamespace(part={"labels": view}, layer=nn.Linear(2, 2), copy=view.copy())
    assert [path for path, array in find_arrays(holder) if is_view(array)] == [".part['labels']"]
