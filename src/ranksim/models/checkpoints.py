"""Safe reading of published ResNet checkpoints."""

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

# NumPy scalars, as which a best score is often saved, under the module names of NumPy 1 and 2
_SCALAR = np.float64(0).__reduce__()[0]
_SAFE_GLOBALS: list[Any] = [
    np.dtype,
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
]
_SHORT = {"convolution": "conv", "normalization": "bn"}
_DAMAGE = (
    *(RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError),
    *(pickle.UnpicklingError, zipfile.BadZipFile),
)


def load_checkpoint(path: Path) -> Regressor:
    """Load the network of a published checkpoint, in evaluation mode; see `read_checkpoint`."""
    name, state = read_checkpoint(path)
    model = _make_empty(name)
    model.load_state_dict(state, assign=True)
    return model.eval()


def read_checkpoint(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Read the name and the weights of a ResNet, renamed for this library's networks.

    Two formats are supported: the published one (``conv1.weight``, ``layer1.0.bn1.bias``,
    ``linear.weight``, with or without the prefix ``module.``, at top level or under ``state_dict``
    or ``model``), and checkpoints of this library. The weights must be complete and have the right
    shapes. Statistics of FDS are ignored. The result is the state of
    ``Regressor(ImageEncoder(name))`` in float32 on the CPU.
    """
    weights = _select_weights(load_tensors(path), path)
    own_format = any(key.startswith("encoder.") for key in weights)
    rename = str if own_format else _published_name
    expected = {
        name: {rename(k): tuple(v.shape) for k, v in _make_empty(name).state_dict().items()}
        for name in RESNETS
    }
    actual = {key: tuple(value.shape) for key, value in weights.items()}
    name = min(expected, key=lambda name: len(expected[name].items() ^ actual.items()))
    shapes = expected[name]
    if len(shapes.keys() & actual.keys()) < len(shapes) / 2:
        raise DataError(
            f"{path} is not a ResNet-18, -34 or -50 with the published names: use another "
            "checkpoint."
        )
    for key in shapes.keys() - actual.keys():
        if key.endswith("num_batches_tracked"):  # not saved before PyTorch 0.4.1
            weights[key] = torch.tensor(0)
    _check_weights(weights, shapes, f"{path}, read as {name},")
    state = {key: weights[rename(key)] for key in _make_empty(name).state_dict()}
    return name, {
        key: value.long() if key.endswith("num_batches_tracked") else value.float()
        for key, value in state.items()
    }


def read_checkpoint_section(path: Path, name: str) -> dict[str, Any]:
    """Read ``recipe`` or ``transform`` of a checkpoint of this library; empty for others."""
    content = load_tensors(path)
    section = content.get(name) if isinstance(content, Mapping) else None
    return dict(section) if isinstance(section, Mapping) else {}


def load_tensors(path: Path) -> Any:
    """Load tensors and plain values of a file; raise ``DataError`` for anything else."""
    if not path.is_file():
        raise DataError(f"Checkpoint {path} does not exist: pass the path of a torch.save file.")
    try:
        with safe_globals(_SAFE_GLOBALS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        if match := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise DataError(
                f"{path} contains an object ({match[1]}), and only tensors and plain values are "
                "loaded: if you trust the file, save only its state_dict."
            ) from error
        raise DataError(
            f"{path} is damaged or not a PyTorch checkpoint: download it again."
        ) from error


def _select_weights(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the weights of the network, without prefixes of wrappers and statistics of FDS."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise DataError(f"{path} has no state_dict: use another checkpoint.")
    state = dict(content)
    if any(key.startswith("model.encoder.") for key in state):  # this library's, with metrics
        state = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        # the second stage of RRT wraps the encoder
        state = {k.replace("encoder.encoder.", "encoder."): v for k, v in state.items()}
    elif all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {k: v for k, v in state.items() if k.split(".")[0].lower() != "fds"}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise DataError(f"{path} has no tensor under {key!r}: use another checkpoint.")
    return state


def _make_empty(name: str) -> Regressor:
    """Build a network without memory or random numbers for its weights."""
    # PyTorch 2.8 cannot import the model on the meta device
    _ = require_optional("transformers", "images").ResNetModel
    with torch.device("meta"):
        return Regressor(ImageEncoder(name))


def _published_name(name: str) -> str:
    """Return the published name of a weight of this library."""
    if match := re.search(r"embedder\.embedder\.(\w+)\.(\w+)$", name):
        return f"{_SHORT[match[1]]}1.{match[2]}"
    block = r"stages\.(\d)\.layers\.(\d+)\."
    if match := re.search(block + r"layer\.(\d)\.(\w+)\.(\w+)$", name):
        stage, index, layer, kind, parameter = match.groups()
        return f"layer{int(stage) + 1}.{index}.{_SHORT[kind]}{int(layer) + 1}.{parameter}"
    if match := re.search(block + r"shortcut\.(\w+)\.(\w+)$", name):
        stage, index, kind, parameter = match.groups()
        position = int(kind == "normalization")
        return f"layer{int(stage) + 1}.{index}.downsample.{position}.{parameter}"
    return name.replace("head.", "linear.")


def _check_weights(weights: dict[str, Tensor], shapes: Mapping[str, Any], where: str) -> None:
    """Raise ``DataError`` unless the weights are complete, finite and of these shapes."""
    missing = [key for key in shapes if key not in weights]
    unknown = [key for key in weights if key not in shapes]
    for keys, verb in ((missing, "lacks"), (unknown, "has the unknown")):
        if keys:
            raise DataError(
                f"{where} {verb} {', '.join(keys[:3])} ({len(keys)} in total): use a checkpoint "
                "that contains only this network."
            )
    for key, shape in shapes.items():
        if tuple(weights[key].shape) != shape:
            raise DataError(
                f"{where} has {key} of shape {tuple(weights[key].shape)} instead of {shape}: use a "
                "checkpoint with one output."
            )
        if not weights[key].isfinite().all():
            raise DataError(
                f"{where} has values in {key} that are not finite: download it again, or use "
                "another checkpoint."
            )
