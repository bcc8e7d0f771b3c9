"""Hand objects with large arrays to other processes of this machine, which share the arrays."""

from __future__ import annotations

import io
import mmap
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes, of the beginning of each array


class _Pickler(pickle.Pickler):
    """A pickler that writes tensors as arrays, and tensors of the same memory once."""

    def __init__(self, file: Any, buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffers.append)
        self._arrays: dict[tuple[Any, ...], Any] = {}  # which keeps their memory from being reused

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor or value.requires_grad or value.device.type != "cpu":
            return NotImplemented
        if not value.is_contiguous() or value.dtype in (torch.bfloat16, torch.complex32):
            return NotImplemented
        key = value.data_ptr(), value.dtype, value.shape
        array = self._arrays.setdefault(key, value.numpy())
        return torch.from_numpy, (array,)


@dataclass(frozen=True)
class SharedObject:
    """An object for other processes of this machine, whose arrays are in a file.

    Args:
        path: of the file, which contains arrays and nothing else.
        sizes: of the arrays, in bytes.
        content: the pickle of all other parts, as processes exchange it.
    """

    path: Path
    sizes: tuple[int, ...]
    content: bytes

    @classmethod
    def write(cls, path: Path, value: Any) -> SharedObject:
        """Write the arrays of an object to a file."""
        buffers: list[pickle.PickleBuffer] = []
        content = io.BytesIO()
        _Pickler(content, buffers).dump(value)
        with path.open("wb") as file:
            for buffer in buffers:
                file.write(buffer.raw())
                file.write(bytes(-file.tell() % _ALIGNMENT + _ALIGNMENT))
        return cls(path, tuple(buffer.raw().nbytes for buffer in buffers), content.getvalue())

    def load(self) -> Any:
        """Return the object. Its arrays are read when they are used; changes stay in a process."""
        buffers, start = [], 0
        if self.sizes:
            with self.path.open("rb") as file:
                mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            for size in self.sizes:
                buffers.append(mapped[start : start + size])
                start += size
                start += -start % _ALIGNMENT + _ALIGNMENT
        return pickle.loads(self.content, buffers=buffers)  # noqa: S301
