"""Checkpoints of ResNets as the field publishes them, read without running anything in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

from ranksim.exceptions import DataError, require_optional
from ranksim.models.regressor import Regressor
from ranksim.models.vision import RESNETS, ImageEncoder

# NumPy's numbers, in which a best score is often kept; by its module's name before NumPy 2 as well
_SCALAR = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    np.dtype,
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
]
_SHORT = {"convolution": "conv", "normalization": "bn"}
_DAMAGE = (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError)


def load_checkpoint(path: Path) -> Regressor:
    """The network of a published checkpoint, in evaluation mode; see :func:`read_checkpoint`."""
    name, state = read_checkpoint(path)
    model = _unmade(name)
    model.load_state_dict(state, assign=True)
    return model.eval()


def read_checkpoint(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The encoder's name and the weights of a ResNet for ages, under the names of this library.

    Reads two forms: the published one (``conv1.weight``, ``layer1.0.bn1.bias``, ``linear.weight``,
    all of them after ``module.`` or not, at top level or under ``state_dict`` or ``model``), and a
    checkpoint of a run of this library. Every weight must be there, with its shape, and no other.
    Statistics of FDS are left out: they serve the training alone.

    Args:
        path: a file of ``torch.save``. Tensors and plain values are loaded, and nothing else.

    Returns:
        ``resnet18``, ``resnet34`` or ``resnet50``, and the state of
        ``Regressor(ImageEncoder(name))`` in float32 on the CPU.

    Raises:
        DataError: no file, a damaged one, one with other objects in it, or other weights.
    """
    found = _weights(_content(path), path)
    ours = any(key.startswith("encoder.") for key in found)
    expected = {name: _expected(name, ours) for name in RESNETS}
    shapes = {key: tuple(value.shape) for key, value in found.items()}
    name = min(expected, key=lambda name: len(expected[name].items() ^ shapes.items()))
    wanted = expected[name]
    if len(wanted.keys() & shapes.keys()) < len(wanted) / 2:
        raise DataError(
            f"{path} holds no ResNet-18, -34 or -50 under the published names; give another "
            "checkpoint."
        )
    for key in wanted.keys() - shapes.keys():
        if key.endswith("num_batches_tracked"):  # BatchNorm counted none before PyTorch 0.4.1
            found[key] = torch.tensor(0)
    _check(found, wanted, f"{path}, read as {name},")
    state = {}
    for key in _unmade(name).state_dict():
        value = found[key if ours else _their_name(key)]
        state[key] = value.long() if key.endswith("num_batches_tracked") else value.float()
    return name, state


def read_checkpoint_recipe(path: Path) -> dict[str, Any]:
    """What a checkpoint of this library says of how it was trained; of another one, nothing.

    Raises:
        DataError: see :func:`read_checkpoint`.
    """
    content = _content(path)
    recipe = content.get("recipe") if isinstance(content, Mapping) else None
    return dict(recipe) if isinstance(recipe, Mapping) else {}


def _content(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"There is no checkpoint {path}; give the path of a file of torch.save.")
    try:
        with safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except (*_DAMAGE, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        other = re.search(r"GLOBAL ([\w.]+)", str(error))
        if other:
            raise DataError(
                f"{path} holds an object ({other[1]}) beside tensors and plain values, and nothing "
                "else is loaded; save its state_dict alone where you trust it."
            ) from error
        raise DataError(
            f"{path} is damaged or no checkpoint of PyTorch; get the file again."
        ) from error


def _weights(content: Any, path: Path) -> dict[str, Tensor]:
    """The state of the network, without wrappers' prefixes and statistics of FDS."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise DataError(f"{path} holds no state_dict; give another checkpoint.")
    state = dict(content)
    if any(key.startswith("model.encoder.") for key in state):  # ours, which holds metrics as well
        state = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        # of a second stage, whose encoder is a frozen one
        state = {k.replace("encoder.encoder.", "encoder."): v for k, v in state.items()}
    elif all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {k: v for k, v in state.items() if k.split(".")[0].lower() != "fds"}
    others = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise DataError(f"{path} holds no tensor under {others[0]!r}; give another checkpoint.")
    return state


def _unmade(name: str) -> Regressor:
    """A network whose weights take no memory and no random numbers."""
    _ = require_optional(
        "transformers", "images"
    ).ResNetModel  # PyTorch 2.8 cannot import it for that device
    with torch.device("meta"):
        return Regressor(ImageEncoder(name))


def _expected(name: str, ours: bool) -> dict[str, tuple[int, ...]]:
    state = _unmade(name).state_dict()
    return {key if ours else _their_name(key): tuple(value.shape) for key, value in state.items()}


def _their_name(name: str) -> str:
    """The published name of one of ours."""
    if found := re.search(r"embedder\.embedder\.(\w+)\.(\w+)$", name):
        return f"{_SHORT[found[1]]}1.{found[2]}"
    if found := re.search(r"stages\.(\d)\.layers\.(\d+)\.layer\.(\d)\.(\w+)\.(\w+)$", name):
        stage, block, place, kind, what = found.groups()
        return f"layer{int(stage) + 1}.{block}.{_SHORT[kind]}{int(place) + 1}.{what}"
    if found := re.search(r"stages\.(\d)\.layers\.(\d+)\.shortcut\.(\w+)\.(\w+)$", name):
        stage, block, kind, what = found.groups()
        return f"layer{int(stage) + 1}.{block}.downsample.{int(kind == 'normalization')}.{what}"
    return name.replace("head.", "linear.")


def _check(found: dict[str, Tensor], wanted: dict[str, tuple[int, ...]], where: str) -> None:
    """All weights, their shapes, no others, and only numbers."""
    missing = [key for key in wanted if key not in found]
    unknown = [key for key in found if key not in wanted]
    for keys, what in ((missing, "lacks"), (unknown, "has the unknown")):
        if keys:
            raise DataError(
                f"{where} {what} {', '.join(keys[:3])} ({len(keys)} in all); give a checkpoint of "
                "that network alone."
            )
    for key, shape in wanted.items():
        if tuple(found[key].shape) != shape:
            raise DataError(
                f"{where} has {key} of shape {tuple(found[key].shape)} instead of {shape}; give a "
                "checkpoint with one output."
            )
        if not found[key].isfinite().all():
            raise DataError(
                f"{where} has values in {key} that are no finite numbers; get the file again, or "
                "give another checkpoint."
            )
