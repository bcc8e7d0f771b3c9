"""Compiles every launch of the CUDA path for several GPUs, none of which is needed.

Usage: ``python -m tests.helpers.compiled``, with ``TRITON_INTERPRET=0``; prints a line a kernel.
"""

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ranksim.functional._kernels.triton import triton_term

CAPABILITIES = (80, 90)  # A100, H100
LAUNCHES = (
    (1, 1, "min", "neg_l1", False, True),
    (100, 1, "min", "neg_l1", True, True),
    (100, 1, "average", "neg_l1", True, True),
    (256, 1, "ordinal", "cosine", False, True),
    (256, 3, "min", "neg_l2", True, False),
    (1024, 1, "min", "neg_l1", False, True),
)  # samples, dimensions of labels, ties, similarity, with a mask, with a gradient
TYPES = {torch.float64: "*fp64", torch.int64: "*i64", torch.bool: "*i1"}
OPTIONS = ("num_warps", "enable_fp_fusion")


class Compiled:
    """A kernel whose launches compile it, once for each kind of arguments."""

    def __init__(self, kernel):
        self.kernel, self.done = kernel, set()

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *args, **settings):
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
        kind = repr((sorted(signature.items()), sorted(constants.items(), key=str)))
        if kind in self.done:
            return
        self.done.add(kind)
        source = ASTSource(self.kernel, {name: signature[name] for name in names}, constants)
        for capability in CAPABILITIES:
            built = triton.compile(source, GPUTarget("cuda", capability, 32), options)
            print(self.kernel.__name__, capability, len(built.asm["cubin"]), "bytes")


def main():
    triton_term._INTERPRETED = 1
    triton_term.anchor_rows, triton_term.anchor_weights = (
        Compiled(triton_term.anchor_rows),
        Compiled(triton_term.anchor_weights),
    )
    for size, width, ties, similarity, drawn, gradient in LAUNCHES:
        features, labels = torch.randn(size, 128), torch.randn(size, width)
        keep = torch.ones(size, dtype=torch.bool) if drawn else None
        settings = (100.0, 2.0, ties, similarity, False, gradient)
        triton_term.compute_term(features, labels, keep, None, size, *settings)


if __name__ == "__main__":
    main()
