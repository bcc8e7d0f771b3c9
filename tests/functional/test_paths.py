"""Every path of the term, held against the same oracle by the same tests."""

import functools

import numpy as np
import pytest
import torch

from ranksim.functional._kernels import chunked, reference
from ranksim.functional._kernels.cpu import cpu_term
from tests.oracles import ranksim as oracle

TIES = ["min", "average", "ordinal"]
SIZES = [1, 2, 3, 5, 16, 33, 64]
TOLERANCES = {  # of the value and of the gradient
    torch.float64: (1e-9, 1e-9),
    torch.float32: (1e-6, 4e-6),
    torch.bfloat16: (1e-6, 4e-6),
    torch.float16: (1e-6, 4e-6),
}


@pytest.fixture(params=["eager", "cpu", "sorted_rows", "triton"])
def term(request, monkeypatch):
    """A path on NumPy arrays: value and gradient, or slopes, in float64."""
    device = "cpu"
    monkeypatch.setattr(chunked, "_BLOCK", 100)  # so that there is more than one block
    if request.param == "triton":
        pytest.importorskip("triton", reason="Triton is not installed")
        from ranksim.functional._kernels.triton import triton_term

        path = triton_term.compute_term
        device = "cuda" if torch.cuda.is_available() else "cpu"
    else:
        path = {"eager": reference, "cpu": cpu_term, "sorted_rows": chunked}[
            request.param
        ].compute_term

    def run(
        z,
        y,
        keep=None,
        target=None,
        anchors=None,
        gamma=100.0,
        lambda_=2.0,
        ties="min",
        similarity="neg_l1",
        per_anchor=False,
        gradient=True,
        dtype=torch.float64,
    ):
        features = torch.as_tensor(np.asarray(z)).to(device, dtype)
        labels = torch.as_tensor(np.asarray(y)).to(device).reshape(len(z), -1 if np.size(y) else 1)
        anchors = len(z) if anchors is None else anchors
        keep = None if keep is None else torch.as_tensor(keep).to(device)
        target = None if target is None else torch.as_tensor(target)[:anchors].to(device)
        settings = (gamma, lambda_, ties, similarity, per_anchor, gradient)
        value, more = path(features, labels, keep, target, anchors, *settings)
        out_dtype = torch.float64 if dtype == torch.float64 else torch.float32
        assert value.dtype == out_dtype
        assert more.dtype == (torch.float64 if per_anchor and gradient else out_dtype)
        return value.double().cpu().numpy(), more.double().cpu().numpy()

    run.name = request.param
    return run


def case(kind, size, seed=1):
    """Features (M, 7) and labels (M,): random ones, ages, or ones full of exact ties."""
    draw = np.random.default_rng((seed, size))
    if kind == "random":
        return draw.normal(size=(size, 7)), draw.normal(size=size) * 10
    if kind == "ages":
        return draw.normal(size=(size, 7)), draw.integers(18, 40, size)
    z = draw.choice([-1.0, 1.0], size=(size, 4))
    z[size // 2] = 0
    return z, draw.integers(0, 4, size)


@functools.cache
def expected(kind, size, ties="min", dtype=torch.float64, gamma=100.0, lambda_=2.0):
    """The oracle's values, (M,), and gradients, (M, M, D), of a case."""
    z, y = case(kind, size)
    z = torch.tensor(z).to(dtype).double().numpy()
    value, gradient = oracle.ranksim(z, oracle.neg_l1(y), gamma, lambda_, ties)
    ordered = len(set(y)) > 1
    return value * ordered, gradient * ordered


def off(got, wanted):
    """Relative distance."""
    return np.linalg.norm(got - wanted) / max(np.linalg.norm(wanted), 1e-12)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("kind", ["random", "ages", "ties"])
@pytest.mark.parametrize("size", SIZES)
def test_value_and_gradient_equal_the_oracle(term, size, kind, ties):
    value, gradient = expected(kind, size, ties)
    got_value, got_gradient = term(*case(kind, size), ties=ties)
    assert off(got_value, value.sum()) < 1e-9
    assert off(got_gradient, gradient.sum(0)) < 1e-9


@pytest.mark.parametrize("ties", TIES)
def test_more_samples_equal_the_oracle_too(term, ties):
    test_value_and_gradient_equal_the_oracle(term, 127, "ages", ties)


@pytest.mark.parametrize("kind", ["random", "ages"])
@pytest.mark.parametrize("size", [16, 33, 64])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_ranks_of_every_dtype_are_exact(term, dtype, size, kind):
    value, gradient = expected(kind, size, dtype=dtype)
    got_value, got_gradient = term(*case(kind, size), dtype=dtype)
    of_value, of_gradient = TOLERANCES[dtype]
    assert off(got_value, value.sum()) < of_value
    assert off(got_gradient, gradient.sum(0)) < of_gradient


def test_the_comparison_fails_on_wrong_settings(term):
    value, gradient = expected("ages", 33)
    for wrong in ({"ties": "average"}, {"gamma": 99.99}, {"lambda_": 2.1}):
        got_value, got_gradient = term(*case("ages", 33), **wrong)
        assert off(got_value, value.sum()) > 1e-5 or off(got_gradient, gradient.sum(0)) > 1e-5


@pytest.mark.parametrize(("gamma", "lambda_"), [(0.1, 0.3), (0.0, 2.0), (1e7, 2.0), (33.3, 1e-3)])
def test_settings_that_float32_cannot_hold_and_extreme_ones(term, gamma, lambda_):
    value, gradient = expected("random", 16, gamma=gamma, lambda_=lambda_)
    got_value, got_gradient = term(*case("random", 16), gamma=gamma, lambda_=lambda_)
    assert off(got_value, value.sum()) < 1e-9
    assert off(got_gradient, gradient.sum(0)) < 1e-9


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("size", [2, 10, 20, 33])
def test_ties_after_the_perturbation_are_exact_too(term, size, ties):
    draw = np.random.default_rng(size)
    for _ in range(2):
        z, y = draw.choice([-1, 1], size=(size, 4)), draw.integers(0, 9, size)
        if len(set(y)) > 1:
            wanted = oracle.rational_ranksim(z, y, 100, 2, ties)
            assert off(term(z, y, ties=ties)[1], wanted) < 1e-12


def test_scaled_copies_tie(term):
    z = np.random.default_rng(0).normal(size=(4, 300))
    z[1:] = np.outer([1, 3, 1 / 7], z[1])
    value, _ = term(z, [10, 20, 20, 20], ties="average", per_anchor=True)
    assert value[0] == 0


SIMILARITIES = {
    "neg_l1": lambda a, b: -np.abs(a - b).sum(),
    "neg_l2": lambda a, b: -np.sqrt(((a - b) ** 2).sum()),
    "cosine": lambda a, b: a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-300),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("width", [1, 3])
def test_similarities_of_labels(term, name, width, whole):
    draw = np.random.default_rng(width)
    z, y = draw.normal(size=(20, 5)), draw.normal(size=(20, width))
    if whole:
        y = draw.integers(-2, 3, size=(20, width))
        y[3] = 0  # similar to nothing by cosine, which makes a row of equal ones
    matrix = np.round([[SIMILARITIES[name](a, b) for b in y.astype(float)] for a in y], 12)
    value, gradient = oracle.ranksim(z, matrix, 100.0, 2.0)
    for given in ({"similarity": name}, {"target": matrix}, {"target": matrix.astype(np.float32)}):
        if given.get("target", matrix).dtype == np.float32 and not whole:
            continue
        got_value, got_gradient = term(z, y, **given)
        assert off(got_value, value.sum()) < 1e-9
        assert off(got_gradient, gradient.sum(0)) < 1e-9


@pytest.mark.parametrize("given", ["labels", "cosine", "target"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_what_is_dropped_takes_no_part(term, share, given):
    draw = np.random.default_rng(3)
    z, y = draw.normal(size=(24, 5)), draw.normal(size=(24, 2))
    keep = draw.random(24) < share
    matrix = oracle.neg_l1(y)
    broken_z, broken_y, broken = z.copy(), y.copy(), matrix.copy()
    broken_z[~keep], broken_y[~keep], broken[~keep], broken[:, ~keep] = np.nan, np.nan, 7, 9
    settings = {"similarity": "cosine" if given == "cosine" else "neg_l1"}
    only = {"target": matrix[keep][:, keep]} if given == "target" else {}
    value, gradient = term(z[keep], y[keep], **settings, **only)
    if given == "target":
        settings["target"] = broken
    got_value, got_gradient = term(broken_z, broken_y, keep=keep, **settings)
    assert off(got_value, value) < 1e-12
    assert off(got_gradient[keep], gradient) < 1e-12
    assert (got_gradient[~keep] == 0).all()
    anchor_value, slopes = term(broken_z, broken_y, keep=keep, per_anchor=True, **settings)
    assert off(anchor_value.sum(), value) < 1e-12
    assert (anchor_value[~keep] == 0).all()
    assert (slopes[~keep] == 0).all()
    assert (slopes[:, ~keep] == 0).all()


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("anchors", [1, 5, 32])
def test_neighbours_are_ranked_and_stand_still(term, anchors, ties):
    """Each anchor's row is its own: the loss of A anchors is the sum of the first A rows."""
    z, y = case("ages", 33)
    value, gradient = expected("ages", 33, ties)
    got_value, got_gradient = term(z, y, anchors=anchors, ties=ties)
    assert got_gradient.shape == (anchors, 7)
    assert off(got_value, value[:anchors].sum()) < 1e-9
    assert off(got_gradient, gradient[:anchors, :anchors].sum(0)) < 1e-9
    keep = np.random.default_rng(anchors).random(33) < 0.7
    kept = int(keep[:anchors].sum())
    value, gradient = oracle.ranksim(z[keep], oracle.neg_l1(y[keep]), 100.0, 2.0, ties)
    got_value, got_gradient = term(z, y, keep=keep, anchors=anchors, ties=ties)
    assert off(got_value, value[:kept].sum()) < 1e-9
    assert off(got_gradient[keep[:anchors]], gradient[:kept, :kept].sum(0)) < 1e-9


@pytest.mark.parametrize("anchors", [20, 33])
def test_anchors_apart(term, anchors):
    z, y = case("ages", 33)
    value, gradient = expected("ages", 33)
    got, slopes = term(z, y, anchors=anchors, per_anchor=True)
    assert off(got, value[:anchors]) < 1e-9
    assert slopes.shape == (anchors, 33)
    weights = np.random.default_rng(0).normal(size=anchors)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    got = reference.feature_gradient(
        torch.tensor(weights[:, None] * slopes), torch.tensor(z / length), torch.tensor(length)
    )
    wanted = np.einsum("i,ijd->jd", weights, gradient[:anchors, :anchors])
    assert off(got.numpy(), wanted) < 1e-9


@pytest.mark.parametrize("per_anchor", [True, False])
def test_no_gradient_where_none_is_asked_for(term, per_anchor):
    z, y = case("ages", 16)
    value, nothing = term(z, y, per_anchor=per_anchor, gradient=False)
    assert nothing.shape == (0,)
    np.testing.assert_array_equal(value, term(z, y, per_anchor=per_anchor)[0])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("size", [0.0, 0.5])
def test_a_vector_too_short_to_divide_by_counts_as_zero(term, dtype, size):
    z, y = case("random", 16)
    tiny = torch.finfo(dtype).tiny
    z = torch.tensor(z).to(dtype).double().numpy()
    z[3], z[3, 0] = 0, size * tiny
    as_zero = z.copy()
    as_zero[3] = 0
    value, gradient = oracle.ranksim(as_zero, oracle.neg_l1(y), 100.0, 2.0)
    got_value, got_gradient = term(z, y, dtype=dtype)
    assert off(got_value, value.sum()) < TOLERANCES[dtype][0]
    assert off(got_gradient, gradient.sum(0)) < TOLERANCES[dtype][1]
    assert (got_gradient[3] == 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter
@pytest.mark.parametrize("per_anchor", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["features", "labels", "target"])
@pytest.mark.parametrize("at", [1, 7])  # an anchor and a neighbour
def test_what_is_not_finite_is_shown_where_the_equations_have_it(term, at, where, bad, per_anchor):
    z, y = case("random", 9)
    keep, matrix = np.arange(9) != 4, oracle.neg_l1(y)
    rows = np.ones(6, dtype=bool)
    if where == "features":
        z[at] = bad
        rows = keep[:6]  # and then Triton's path spares none
    else:
        z[2] = 0  # gets no gradient, and so no NaN
        (y if where == "labels" else matrix)[at] = bad
    given = {"target": matrix} if where == "target" else {}
    value, more = term(z, y, keep=keep, anchors=6, per_anchor=per_anchor, **given)
    target = torch.tensor(matrix[:6]) if given else None
    rest = (torch.tensor(keep), target, 6, 100.0, 2.0, "min", "neg_l1", per_anchor, True)
    wanted = reference.compute_term(torch.tensor(z), torch.tensor(y).unsqueeze(1), *rest)
    np.testing.assert_allclose(value, wanted[0], rtol=1e-9)
    np.testing.assert_allclose(more[rows], wanted[1][rows], rtol=1e-9, atol=1e-12)
    if where == "features":
        assert np.isnan(more[rows][:, keep if per_anchor else slice(None)]).all()


def test_zeros_of_both_signs_tie(term):
    z, _ = case("random", 16)
    signs = np.random.default_rng(0).choice([1.0, -1.0], size=(16, 16))
    matrix = np.where(np.eye(16, dtype=bool), 1.0, 0.0)
    value, gradient = oracle.ranksim(z, matrix, 100.0, 2.0)
    got_value, got_gradient = term(z, np.zeros(16), target=np.where(matrix == 0, 0 * signs, 1.0))
    assert off(got_value, value.sum()) < 1e-9
    assert off(got_gradient, gradient.sum(0)) < 1e-9


@pytest.mark.parametrize("per_anchor", [True, False])
@pytest.mark.parametrize("given", [*SIMILARITIES, "target"])
def test_labels_that_are_all_equal_give_nothing_to_learn(term, given, per_anchor):
    z, y = np.random.default_rng(0).normal(size=(5, 4)), np.full((5, 2), 30.5)
    settings = {"target": np.full((5, 5), 0.5)} if given == "target" else {"similarity": given}
    value, more = term(z, y, per_anchor=per_anchor, **settings)
    assert (value == 0).all()
    assert (more == 0).all()
    keep = np.array([True, True, False, True, False])
    y[~keep] = 1.0
    if given == "target":
        settings["target"][~keep] = 7.0
        settings["target"][:, ~keep] = 7.0
    value, more = term(z, y, keep=keep, per_anchor=per_anchor, **settings)
    assert (value == 0).all()
    assert (more == 0).all()


@pytest.mark.parametrize("per_anchor", [True, False])
@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (5, 0), (0, 0)])
def test_nothing_to_rank(term, shape, per_anchor):
    size, width = shape
    value, more = term(np.ones(shape), np.arange(size), per_anchor=per_anchor)
    assert value.shape == ((size,) if per_anchor else ())
    assert more.shape == ((size, size) if per_anchor else (size, width))
    if width:
        assert (value == 0).all()
        assert (more == 0).all()


def test_integers_rows_apart_in_memory_and_columns(term):
    z, y = case("ages", 16)
    wide = np.concatenate([z, z], axis=1)[:, ::2]
    value, gradient = oracle.ranksim(wide, oracle.neg_l1(y), 100.0, 2.0)
    got_value, got_gradient = term(np.asfortranarray(wide), y.astype(np.int32))
    assert off(got_value, value.sum()) < 1e-9
    assert off(got_gradient, gradient.sum(0)) < 1e-9
