"""The functions of ``term.c``, which are compiled when the package is built."""

import ctypes
import enum
import functools
from pathlib import Path

import torch

from ranksim.functional._kernels.cpu.compile import library_path

PADDING, PARALLEL = 16, 0.99  # as in term.c
_INSTRUCTIONS = {"AVX512": "avx512", "AVX2": "avx2"}  # by PyTorch's name of the instruction set
_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double


class Result(enum.IntEnum):
    """What a function returns."""

    OK, UNSUPPORTED, OUT_OF_MEMORY = range(3)


LABEL_TYPES = {torch.int64: 0, torch.float32: 1, torch.float64: 2}


class Term(ctypes.Structure):
    """Arguments and results of ``rank_anchors``, described in ``term.c``."""

    _fields_ = (
        *((name, _INT) for name in ("size", "anchors", "stride", "moves_stride", "first")),
        *((name, _INT) for name in ("ties", "steps", "index_bits", "wide")),
        *((name, _FLOAT) for name in ("base", "shift")),
        *((name, _POINTER) for name in ("labels", "label_order", "distances", "orders")),
        *((name, _POINTER) for name in ("similarities", "squares", "moves")),
    )


@functools.cache
def load_library(is_tiny: bool = False) -> ctypes.CDLL:
    """Load the functions for this processor; raise an OSError if they were not compiled.

    A batch that is tiny runs without vectors of 512 bits, which lower the processor's clock.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    if is_tiny and capability == "AVX512":
        capability = "AVX2"
    best = library_path(_INSTRUCTIONS.get(capability, "baseline"))
    return open_library(best if best.exists() else library_path("baseline"))


def open_library(path: Path) -> ctypes.CDLL:
    """Load a library and declare its functions."""
    library, term = ctypes.CDLL(str(path)), ctypes.POINTER(Term)
    library.prepare_term.argtypes = [term, _FLOAT, _FLOAT]
    library.rank_anchors.argtypes = [term, _INT, _INT]
    library.compute_term.argtypes = [
        *(_POINTER, _POINTER, _POINTER, _INT, _INT, _INT, ctypes.c_int, ctypes.c_int),
        *(_FLOAT, _FLOAT, _FLOAT, _FLOAT, _POINTER, _POINTER),
    ]
    library.mark_unique.argtypes = [_POINTER, ctypes.c_int, _POINTER, _INT, _POINTER]
    return library
