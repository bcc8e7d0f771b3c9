"""The rows of RankSim in Triton: an anchor's ranks by counting, its value and its slope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

jit: Callable[[Callable[..., Any]], Any] = triton.jit
_GRID = tl.constexpr(2.0**40)
_LAST = tl.constexpr(-(2**63))  # the code of what takes no part: it ranks after all others


@jit
def anchor_rows(
    products: tl.tensor,
    norms: tl.tensor,
    labels: tl.tensor,
    target: tl.tensor,
    ordered: tl.tensor,
    keep: tl.tensor,
    codes: tl.tensor,
    values: tl.tensor,
    slopes: tl.tensor,
    anchors: tl.tensor,
    samples: tl.tensor,
    shares: tl.tensor,
    gamma: tl.float64,
    lambda_: tl.float64,
    tiny: tl.float64,
    LABELS: tl.constexpr,  # noqa: N803
    SQUARED: tl.constexpr,  # noqa: N803
    TIES: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
) -> None:
    """Values and slopes, the gradients by the similarities, of ``ROWS`` anchors.

    In: ``products`` ``(shares, A, N)`` of features, to be summed; their ``norms`` ``(N,)``; either
    ``target`` ``(A, N)`` and whether it is ``ordered``, or ``labels`` ``(N, LABELS)``. Out:
    ``values`` ``(A,)``; ``slopes`` ``(A, N)`` unless None, and similarities in the place of the
    first products. All are float64. ``codes``, int64, has room for ``BLOCK`` to each anchor.
    """
    anchor = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    index = tl.arange(0, BLOCK)
    own, kept = anchor < anchors, index < samples
    inside = own[:, None] & kept[None, :]
    row = anchor[:, None] * samples + index[None, :]
    similar = tl.zeros((ROWS, BLOCK), tl.float64)
    part = 0
    while part < shares:
        similar += tl.load(products + part * anchors * samples + row, mask=inside, other=0.0)
        part += 1
    similar *= inverse_lengths(norms + index, kept, tiny)[None, :]
    similar *= inverse_lengths(norms + anchor, own, tiny)[:, None]
    if target is not None:
        wanted = tl.load(target + row, mask=inside, other=0.0)
    else:
        wanted = tl.zeros((ROWS, BLOCK), tl.float64)
        for k in range(LABELS):
            mine = tl.load(labels + anchor * LABELS + k, mask=own, other=0.0)
            other = tl.load(labels + index * LABELS + k, mask=kept, other=0.0)
            step = tl.abs(mine[:, None] - other[None, :])
            wanted -= step * step if SQUARED else step
        if SQUARED:
            wanted = -tl.sqrt(-wanted)

    live = own
    if keep is not None:
        live = tl.load(keep + anchor, mask=own, other=0) != 0
        kept = tl.load(keep + index, mask=kept, other=0) != 0
    part_of = live[:, None] & kept[None, :]
    if target is not None:
        differs = tl.load(ordered + anchor * 0, mask=own, other=0) != 0
    else:  # where no label differs from the anchor's none differs from any
        differs = tl.max((part_of & (wanted != 0.0)).to(tl.int32), axis=1) != 0
    count = tl.maximum(tl.sum(kept.to(tl.int32), axis=0), 1).to(tl.float64)
    steps = count * (2.0 if TIES == "average" else 1.0)  # ranks are multiples of 1 / steps

    room = codes + anchor * BLOCK
    before = places(grid_codes(similar), kept, room, samples, TIES, CHUNK)
    error = before - places(float_codes(wanted), kept, room, samples, TIES, CHUNK)
    error = tl.where(part_of & differs[:, None], error, 0).to(tl.float64)
    value = tl.sum(error * error, axis=1) * (gamma / count / (steps * steps))
    hidden = part_of & ((similar != similar) | (wanted != wanted))
    broken = tl.max(hidden.to(tl.int32), axis=1) != 0  # NaN has no rank
    tl.store(values + anchor, tl.where(broken, float("nan"), value), mask=own)
    if slopes is not None:
        moved = similar + error * (lambda_ * 2.0 * gamma / count / steps)
        moves = places(grid_codes(moved), kept, room, samples, TIES, CHUNK) - before
        slope = tl.where(broken[:, None], float("nan"), moves.to(tl.float64) / steps / lambda_)
        tl.store(slopes + row, tl.where(part_of, slope, 0.0), mask=inside)
        tl.store(products + row, similar, mask=inside)


@jit
def anchor_weights(
    slopes: tl.tensor,
    similarities: tl.tensor,
    norms: tl.tensor,
    weights: tl.tensor,
    anchors: tl.tensor,
    samples: tl.tensor,
    tiny: tl.float64,
    ROWS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
) -> None:
    """Weights ``(A, N)`` of the features in the gradients of anchors: the chain rule through ẑ.

    With B = slope + slopeᵀ they are (B − diag(BSᵀ)) / (‖zᵢ‖ ‖zⱼ‖).
    """
    anchor = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    index = tl.arange(0, BLOCK)
    own, all_of = anchor < anchors, index < samples
    inside = own[:, None] & all_of[None, :]
    row = anchor[:, None] * samples + index[None, :]
    column = index[None, :] * samples + anchor[:, None]
    back = own[:, None] & (index < anchors)[None, :]
    both = tl.load(slopes + row, mask=inside, other=0.0)
    both += tl.load(slopes + column, mask=back, other=0.0)
    similar = tl.load(similarities + row, mask=inside, other=0.0)
    along = tl.sum(both * similar, axis=1)
    both = tl.where(index[None, :] == anchor[:, None], both - along[:, None], both)
    inverse = inverse_lengths(norms + anchor, own, tiny)[:, None]
    weight = both * inverse_lengths(norms + index, all_of, tiny)[None, :] * inverse
    tl.store(weights + row, tl.where(inverse != 0.0, weight, 0.0), mask=inside)


@jit
def places(
    code: tl.tensor,
    kept: tl.tensor,
    room: tl.tensor,
    samples: tl.tensor,
    TIES: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
) -> tl.tensor:
    """Ranks by their definition, 1 + |{j : a_j > a_i}|; twice the rank for ``average``."""
    index = tl.arange(0, code.shape[1])
    code = tl.where(kept[None, :], code, _LAST)
    tl.store(room[:, None] + index[None, :], code)
    tl.debug_barrier()
    ahead = tl.zeros((code.shape[0], code.shape[1], CHUNK), tl.int32)
    own = code[:, :, None]
    at = 0
    while at < samples:
        others = at + tl.arange(0, CHUNK)
        other = tl.load(room[:, None] + others[None, :])[:, None, :]
        if TIES == "ordinal":
            ahead += (other > own - (others[None, None, :] < index[None, :, None])).to(tl.int32)
        else:
            ahead += (other > own).to(tl.int32)
        if TIES == "average":
            ahead += (other >= own).to(tl.int32)
        at += CHUNK
    tl.debug_barrier()
    return 1 + tl.sum(ahead, axis=2)


@jit
def grid_codes(similar: tl.tensor) -> tl.tensor:
    """Codes of similarities on the grid of 2⁻⁴⁰, so that what is equal ties."""
    return float_codes(tl.floor(similar * _GRID + 0.5))


@jit
def float_codes(numbers: tl.tensor) -> tl.tensor:
    """Whole numbers in the order of float64 ones: they compare fast on every GPU."""
    bits = (numbers + 0.0).to(tl.int64, bitcast=True)  # -0 is 0
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


@jit
def inverse_lengths(norms: tl.tensor, some: tl.tensor, tiny: tl.tensor) -> tl.tensor:
    """1 / ‖z‖, and 0 for what counts as a zero vector."""
    norm = tl.load(norms, mask=some, other=0.0)
    return tl.where(norm <= tiny, 0.0, 1.0 / tl.where(norm <= tiny, 1.0, norm))
