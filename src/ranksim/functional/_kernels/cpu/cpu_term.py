"""The RankSim term on a CPU, by compiled functions."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.functional._kernels import reference
from ranksim.functional._kernels.cpu.library import (
    LABEL_TYPES,
    PADDING,
    PARALLEL,
    Result,
    Term,
    load_library,
)
from ranksim.functional._kernels.reference import RankSimInputs, RankSimParams
from ranksim.functional.similarity import TIES, pairwise_similarity

Array = NDArray[Any]

PRODUCT_BLOCK = 2**20  # similarities per product, 8 MiB
_TINY = 2**11  # numbers in features that take longer to multiply than wide vectors to start
ONE_THREAD = 256  # up to this many samples, threads cost more than they save


def compute_term(
    inputs: RankSimInputs, params: RankSimParams, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Compute the same as ``reference.compute_term``.

    Besides the features and their gradient it needs the features in float64, two bytes per pair of
    samples (four for M > 32,767, or 16,383 with mean ranks), a few blocks of 8 MiB, and with
    ``params.per_anchor`` eight bytes per pair.
    """
    size = inputs.features.shape[0]
    one_thread = size <= ONE_THREAD or torch.get_num_threads() == 1
    is_difference = inputs.labels.shape[1] == 1 and params.similarity != "cosine"
    simple = is_difference and inputs.target is None and not params.per_anchor
    if (
        simple
        and one_thread
        and size**2 <= PRODUCT_BLOCK
        and inputs.features.dtype != torch.float64
    ):
        output = _compute_in_one_call(inputs, params, with_gradient)
        if output is not None:
            return output
    term = _BlockwiseTerm(inputs, params, with_gradient)
    if not term.compute():
        return reference.compute_term(inputs, params, with_gradient)  # NaN, as the equations say
    return term.value(), term.derivative()


def _compute_in_one_call(
    inputs: RankSimInputs, params: RankSimParams, with_gradient: bool
) -> tuple[Tensor, Tensor] | None:
    """Compute the term of float32 features without PyTorch's products; ``None`` if that fails."""
    features, labels, keep = inputs.features, inputs.labels, inputs.keep
    tiny = torch.finfo(features.dtype).tiny
    if features.dtype != torch.float32 or not features.is_contiguous():
        features = features.detach().float().contiguous()
    if labels.dtype not in LABEL_TYPES or not labels.is_contiguous():
        labels = labels.double().contiguous()
    shape = (inputs.anchors, features.shape[1]) if with_gradient else 0
    gradient, value = torch.empty(shape, dtype=torch.float32), ctypes.c_double()
    result = load_library(features.numel() <= _TINY).compute_term(
        *(features.data_ptr(), labels.data_ptr(), None if keep is None else keep.data_ptr()),
        *(features.shape[0], inputs.anchors, features.shape[1], LABEL_TYPES[labels.dtype]),
        *(TIES.index(params.ties), params.gamma, params.lambda_, params.weight, tiny),
        ctypes.byref(value),
        gradient.data_ptr() if with_gradient else None,
    )
    if not _check(result):
        return None
    return torch.scalar_tensor(value.value, dtype=torch.float32), gradient


class _BlockwiseTerm:
    """The term in blocks of anchors, by PyTorch's products, for large batches and special cases.

    A of the M samples are anchors. ``squares`` ``(A,)`` and ``moves`` ``(M, A)`` are differences
    of ranks, in units of 1/``steps``.
    """

    def __init__(self, inputs: RankSimInputs, params: RankSimParams, with_gradient: bool) -> None:
        self.inputs, self.params, self.with_gradient = inputs, params, with_gradient
        self.rows = np.arange(len(inputs.features))
        if inputs.keep is not None:
            self.rows = self.rows[inputs.keep.numpy()]
        anchors = int(self.rows.searchsorted(inputs.anchors))
        self.anchor_rows, self.labels = self.rows[:anchors], inputs.labels.detach().double()
        self.labels = self.labels[torch.from_numpy(self.rows)]
        self.target = None
        if inputs.target is not None:
            self.target = inputs.target.double().numpy()[self.anchor_rows][:, self.rows]
        self.gradient = torch.zeros(
            (inputs.anchors, inputs.features.shape[1])
            if with_gradient and not params.per_anchor
            else 0,
            dtype=inputs.out_dtype,
        )
        self.smallest, self.largest = np.inf, -np.inf  # label similarities
        self.term = Term(size=len(self.rows), anchors=anchors, ties=TIES.index(params.ties))

    def compute(self) -> bool:
        """Compute squares, moves and gradient; return False where only the reference can."""
        term, library = self.term, load_library()
        size, anchors = len(self.rows), len(self.anchor_rows)
        given = self.labels if self.target is None else torch.from_numpy(self.target)
        if not (anchors and self.inputs.features.shape[1] and given.isfinite().all()):
            return False
        unit, norm = reference.unit_features(
            self.inputs.features[torch.from_numpy(self.rows)], None
        )
        fits = library.prepare_term(term, self.params.gamma, self.params.lambda_) == Result.OK
        if not (fits and norm.isfinite().all()):
            return False
        stride = -(-anchors // PADDING) * PADDING
        self.squares = np.zeros(stride)
        self.moves = np.empty((size, stride), np.int32 if term.wide else np.int16)
        term.moves_stride, term.squares = stride, self.squares.ctypes.data
        term.moves = self.moves.ctypes.data if self.with_gradient else None
        self._sort_labels()
        step, parallel = -(-PRODUCT_BLOCK // size // PADDING) * PADDING, False
        for start in range(0, anchors, step):
            stop = min(start + step, anchors)
            term.first, term.stride = start, -(-(stop - start) // PADDING) * PADDING
            index = torch.arange(start, start + term.stride).clamp_(max=stop - 1)
            similarities = unit @ unit[index].T
            term.similarities = similarities.data_ptr()
            parallel = parallel or bool(similarities[:, 0].median() > PARALLEL)
            if not term.label_order:
                self._sort_distances(slice(start, stop))
            _check(_run_in_threads(library.rank_anchors, term, start, stop))
        if self.gradient.numel():
            self._multiply_moves(unit, norm, torch.float64 if parallel else self.gradient.dtype)
        return True

    def value(self) -> Tensor:
        """Return the sum of the anchors' values, or each of them."""
        params, size = self.params, len(self.rows)
        factor = params.weight * params.gamma / size / self.term.steps**2
        values = self.squares[: len(self.anchor_rows)] * factor
        if self.smallest == self.largest:  # equal labels have no order to learn
            values[:] = 0.0
        if not params.per_anchor:
            return torch.scalar_tensor(float(values.sum()), dtype=self.inputs.out_dtype)
        every = np.zeros(self.inputs.anchors)
        every[self.anchor_rows] = values
        return torch.from_numpy(every).to(self.inputs.out_dtype)

    def derivative(self) -> Tensor:
        """Return the gradient of the features, or each anchor's of its similarities."""
        has_order = self.smallest != self.largest
        if not (self.with_gradient and self.params.per_anchor):
            return self.gradient if has_order else self.gradient.zero_()
        slopes = np.zeros((self.inputs.anchors, len(self.inputs.features)))
        if has_order:
            moves = self.moves[:, : len(self.anchor_rows)].T
            slopes[np.ix_(self.anchor_rows, self.rows)] = moves * self._scale()
        return torch.from_numpy(slopes)

    def _scale(self) -> float:
        """Return the factor from moves to slopes times the weight."""
        return self.params.weight / (self.params.lambda_ * int(self.term.steps))

    def _sort_labels(self) -> None:
        """Sort labels of one number, from which the order of all distances follows."""
        if self.target is None and self.labels.shape[1] == 1 and self.params.similarity != "cosine":
            self.numbers = self.labels.numpy().ravel()
            self.orders = self.numbers.argsort()
            self.smallest, self.largest = self.numbers[self.orders[[0, -1]]]
            self.term.labels, self.term.label_order = (
                array.ctypes.data for array in (self.numbers, self.orders)
            )

    def _sort_distances(self, part: slice) -> None:
        """Sort the distances of anchors' labels to all labels."""
        if self.target is not None:
            self.distances = -self.target[part]
        else:
            similarity = pairwise_similarity(self.labels[part], self.labels, self.params.similarity)
            self.distances = -similarity.numpy()
        self.smallest = min(self.smallest, self.distances.min())
        self.largest = max(self.largest, self.distances.max())
        self.orders = self.distances.argsort(axis=1, kind="stable")
        self.term.distances, self.term.orders = self.distances.ctypes.data, self.orders.ctypes.data

    def _multiply_moves(self, unit: Tensor, norm: Tensor, dtype: torch.dtype) -> None:
        """Compute the gradient, from slopes and their transpose."""
        unit, norm, count = unit.to(dtype), norm.to(dtype), len(self.anchor_rows)
        step = max(PRODUCT_BLOCK // len(unit), 1)
        for part in (slice(start, min(start + step, count)) for start in range(0, count, step)):
            both = self.moves[:, part].T.astype(unit.numpy().dtype)
            both[:, :count] += self.moves[part, :count]
            product = torch.from_numpy(both) @ unit
            product = (
                reference.normalization_gradient(product, unit[part], norm[part]) * self._scale()
            )
            self.gradient[torch.from_numpy(self.anchor_rows[part])] = product.to(
                self.gradient.dtype
            )


def _run_in_threads(function: Callable[..., int], term: Term, start: int, stop: int) -> int:
    """Call a compiled function on ranges of rows in threads; return the largest result."""
    step = 2 * PADDING
    ranges = [(i, min(i + step, stop)) for i in range(start, stop, step)]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return max(pool.map(lambda part: function(term, *part), ranges))


def _check(result: int) -> bool:
    """Return True if a function had a result; raise an error if there was not enough memory."""
    if result == Result.OUT_OF_MEMORY:
        raise MemoryError("there is not enough memory to rank the samples of the batch")
    return result == Result.OK
