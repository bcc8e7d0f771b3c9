"""Compiles every launch of the CUDA path for one of several GPUs in turn; no GPU is needed.

Usage: ``python -m tests.helpers.compiled``, with ``TRITON_INTERPRET=0``; prints one line per
kernel and GPU.
"""

from typing import Any

import torch
import triton  # type: ignore[import-untyped]
from triton.backends.compiler import GPUTarget  # type: ignore[import-untyped]
from triton.compiler import ASTSource  # type: ignore[import-untyped]

from ranksim.functional._kernels import RankSimInputs, RankSimParams, triton_term
from ranksim.functional.similarity import Ties

CAPABILITIES = (80, 90)  # A100, H100
LAUNCHES: tuple[tuple[int, int, Ties, str, bool, bool], ...] = (
    (1, 1, "min", "neg_l1", False, True),
    (100, 1, "min", "neg_l1", True, True),
    (100, 1, "average", "neg_l1", True, True),
    (256, 1, "ordinal", "cosine", False, True),
    (256, 3, "min", "neg_l2", True, False),
    (1024, 1, "min", "neg_l1", False, True),
)  # samples, dimensions of labels, ties, similarity, with a mask, with a gradient
TYPES = {torch.float64: "*fp64", torch.int64: "*i64", torch.bool: "*i1"}
OPTIONS = ("num_warps", "enable_fp_fusion")


class CompiledKernel:
    """A kernel whose launches compile it, once for each signature."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.signatures: set[str] = set()

    def __getitem__(self, grid: Any) -> Any:
        return self.launch

    def launch(self, *args: Any, **settings: Any) -> None:
        options = {name: settings.pop(name) for name in OPTIONS if name in settings}
        names = self.kernel.arg_names
        constants, signature = dict(settings), dict.fromkeys(settings, "constexpr")
        for name, value in zip(names, args, strict=False):
            if isinstance(value, torch.Tensor):
                signature[name] = TYPES[value.dtype]
            elif isinstance(value, float):
                signature[name] = "fp64"
            elif value is None or value == 1:
                signature[name], constants[name] = "constexpr", value
            else:
                signature[name] = "i32"
        key = repr((sorted(signature.items()), sorted(constants.items(), key=str)))
        if key in self.signatures:
            return
        self.signatures.add(key)
        source = ASTSource(self.kernel, {name: signature[name] for name in names}, constants)
        capability = CAPABILITIES[len(self.signatures) % len(CAPABILITIES)]
        binary = triton.compile(source, GPUTarget("cuda", capability, 32), options)
        print(self.kernel.__name__, capability, len(binary.asm["cubin"]), "bytes")


def main() -> None:
    """Compile the launches of LAUNCHES."""
    triton_term._INTERPRETED_ROWS = 1
    for name in ("anchor_rows", "anchor_weights"):
        setattr(triton_term, name, CompiledKernel(getattr(triton_term, name)))
    for size, width, ties, similarity, masked, gradient in LAUNCHES:
        features, labels = torch.randn(size, 128), torch.randn(size, width)
        keep = torch.ones(size, dtype=torch.bool) if masked else None
        inputs = RankSimInputs(features, labels, keep, None, size)
        params = RankSimParams(100.0, 2.0, ties, similarity, False)
        triton_term.compute_term(inputs, params, gradient)


if __name__ == "__main__":
    main()
