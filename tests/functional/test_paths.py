"""Every implementation of the term, compared with the same oracle."""

import numpy as np
import pytest
import torch

from ranksim.functional._kernels import reference
from tests.helpers.pairwise import parametrize_pairwise
from tests.helpers.ranksim_cases import (
    CPU_PATHS,
    CUDA_PATHS,
    TIES,
    TOLERANCES,
    assert_matches_oracle,
    compute_term,
    make_batch,
    oracle_of_batch,
    relative_error,
)
from tests.oracles import ranksim as oracle

PATHS = [*CPU_PATHS, "triton", *(CUDA_PATHS if torch.cuda.is_available() else ())]
SIMILARITIES = {
    "neg_l1": lambda a, b: -np.abs(a - b).sum(),
    "neg_l2": lambda a, b: -np.sqrt(((a - b) ** 2).sum()),
    "cosine": lambda a, b: a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-300),
}


@pytest.fixture
def term():
    """Run a path on NumPy arrays; skip Triton's where it is not installed."""

    def run(path, *arguments, **settings):
        if path == "triton":
            pytest.importorskip("triton", reason="Triton is not installed")
        return compute_term(path, *arguments, **settings)

    return run


@parametrize_pairwise(
    path=PATHS, size=[1, 2, 5, 16, 33, 127], kind=["random", "ages", "ties"], ties=TIES
)
def test_value_and_gradient_match_oracle(term, path, size, kind, ties):
    value, gradient = oracle_of_batch(kind, size, ties)
    result = term(path, *make_batch(kind, size), ties=ties)
    assert_matches_oracle(result, (value.sum(), gradient.sum(0)))


@parametrize_pairwise(path=PATHS, dtype=list(TOLERANCES), size=[16, 33], kind=["random", "ages"])
def test_ranks_are_exact_for_every_dtype(term, path, dtype, size, kind):
    value, gradient = oracle_of_batch(kind, size, dtype=dtype)
    result = term(path, *make_batch(kind, size), dtype=dtype)
    assert_matches_oracle(result, (value.sum(), gradient.sum(0)), dtype)


@pytest.mark.parametrize("path", PATHS)
def test_comparison_fails_for_wrong_settings(term, path):
    value, gradient = oracle_of_batch("ages", 33)
    for wrong in ({"ties": "average"}, {"gamma": 99.99}, {"lambda_": 2.1}):
        result = term(path, *make_batch("ages", 33), **wrong)
        with pytest.raises(AssertionError, match="is off by"):
            assert_matches_oracle(result, (value.sum(), gradient.sum(0)), tolerance=1e-5)


@parametrize_pairwise(
    path=PATHS, setting=[(0.1, 0.3), (0.0, 2.0), (1e7, 2.0), (33.3, 1e-3)], ties=TIES
)
def test_extreme_gamma_and_lambda(term, path, setting, ties):
    gamma, lambda_ = setting
    value, gradient = oracle_of_batch("random", 16, ties, gamma=gamma, lambda_=lambda_)
    result = term(path, *make_batch("random", 16), gamma=gamma, lambda_=lambda_, ties=ties)
    assert_matches_oracle(result, (value.sum(), gradient.sum(0)))


@parametrize_pairwise(path=PATHS, size=[2, 10, 20, 33], ties=TIES)
def test_perturbed_similarities_tie_exactly(term, path, size, ties):
    draw = np.random.default_rng(size)
    z, y = draw.choice([-1, 1], size=(size, 4)), draw.integers(0, 9, size)
    assert len(set(y)) > 1
    expected = oracle.rational_ranksim(z, y, 100, 2, ties)
    assert relative_error(term(path, z, y, ties=ties)[1], expected) < 1e-12


@pytest.mark.parametrize("path", PATHS)
def test_scaled_copies_tie(term, path):
    z = np.random.default_rng(0).normal(size=(4, 300))
    z[1:] = np.outer([1, 3, 1 / 7], z[1])
    value, _ = term(path, z, [10, 20, 20, 20], ties="average", per_anchor=True)
    assert value[0] == 0


LABEL_CASES = [
    *((name, width, "labels") for name in SIMILARITIES for width in (1, 3)),
    ("neg_l2", 3, "target"),
    ("cosine", 3, "target in float32"),
]


@parametrize_pairwise(path=PATHS, case=LABEL_CASES, integer=[True, False])
def test_label_similarities(term, path, case, integer):
    name, width, source = case
    draw = np.random.default_rng(width)
    z, y = draw.normal(size=(20, 5)), draw.normal(size=(20, width))
    if integer or source == "target in float32":
        y = draw.integers(-2, 3, size=(20, width))
        y[3] = 0  # a zero vector has cosine 0 to all others
    matrix = np.array([[SIMILARITIES[name](a, b) for b in y.astype(float)] for a in y])
    matrix = np.round(matrix, 12)
    if source == "target in float32":
        matrix = matrix.astype(np.float32)
    value, gradient = oracle.ranksim(z, matrix.astype(float), 100.0, 2.0)
    settings = {"similarity": name} if source == "labels" else {"target": matrix}
    assert_matches_oracle(term(path, z, y, **settings), (value.sum(), gradient.sum(0)))


@parametrize_pairwise(path=PATHS, share=[0.0, 0.1, 0.6], source=["labels", "cosine", "target"])
def test_dropped_samples_have_no_influence(term, path, share, source):
    draw = np.random.default_rng(3)
    z, y = draw.normal(size=(24, 5)), draw.normal(size=(24, 2))
    keep = draw.random(24) < share
    matrix = oracle.neg_l1(y)
    settings = {"similarity": "cosine" if source == "cosine" else "neg_l1"}
    kept_target = {"target": matrix[keep][:, keep]} if source == "target" else {}
    expected = term(path, z[keep], y[keep], **settings, **kept_target)
    z[~keep], y[~keep], matrix[~keep], matrix[:, ~keep] = np.nan, np.nan, 7, 9
    if source == "target":
        settings["target"] = matrix
    value, gradient = term(path, z, y, keep=keep, **settings)
    assert_matches_oracle((value, gradient[keep]), expected, tolerance=1e-12)
    assert (gradient[~keep] == 0).all()
    values, slopes = term(path, z, y, keep=keep, per_anchor=True, **settings)
    assert relative_error(values.sum(), expected[0]) < 1e-12
    assert (values[~keep] == 0).all()
    assert (slopes[~keep] == 0).all()
    assert (slopes[:, ~keep] == 0).all()


@parametrize_pairwise(path=PATHS, anchors=[1, 5, 32], ties=TIES)
def test_references_are_ranked_without_gradient(term, path, anchors, ties):
    """The loss of A anchors is the sum of the first A rows of the full loss."""
    z, y = make_batch("ages", 33)
    value, gradient = oracle_of_batch("ages", 33, ties)
    expected = value[:anchors].sum(), gradient[:anchors, :anchors].sum(0)
    assert_matches_oracle(term(path, z, y, anchors=anchors, ties=ties), expected)
    keep = np.random.default_rng(anchors).random(33) < 0.7
    num_kept = int(keep[:anchors].sum())
    value, gradient = oracle.ranksim(z[keep], oracle.neg_l1(y[keep]), 100.0, 2.0, ties)
    result = term(path, z, y, keep=keep, anchors=anchors, ties=ties)
    expected = value[:num_kept].sum(), gradient[:num_kept, :num_kept].sum(0)
    assert_matches_oracle((result[0], result[1][keep[:anchors]]), expected)


@parametrize_pairwise(path=PATHS, anchors=[20, 33])
def test_slopes_per_anchor(term, path, anchors):
    z, y = make_batch("ages", 33)
    value, gradient = oracle_of_batch("ages", 33)
    values, slopes = term(path, z, y, anchors=anchors, per_anchor=True)
    assert slopes.shape == (anchors, 33)
    weights = np.random.default_rng(0).normal(size=anchors)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    combined = reference.feature_gradient(
        torch.tensor(weights[:, None] * slopes), torch.tensor(z / length), torch.tensor(length)
    )
    expected = np.einsum("i,ijd->jd", weights, gradient[:anchors, :anchors])
    assert_matches_oracle((values, combined), (value[:anchors], expected))


@parametrize_pairwise(path=PATHS, per_anchor=[True, False])
def test_no_gradient_unless_requested(term, path, per_anchor):
    batch = make_batch("ages", 16)
    value, gradient = term(path, *batch, per_anchor=per_anchor, gradient=False)
    assert gradient.shape == (0,)
    np.testing.assert_array_equal(value, term(path, *batch, per_anchor=per_anchor)[0])


@parametrize_pairwise(path=PATHS, dtype=list(TOLERANCES), size=[0.0, 0.5])
def test_vector_shorter_than_tiny_counts_as_zero(term, path, dtype, size):
    z, y = make_batch("random", 16)
    z = torch.tensor(z).to(dtype).double().numpy()
    z[3] = 0
    value, gradient = oracle.ranksim(z, oracle.neg_l1(y), 100.0, 2.0)
    z[3, 0] = size * torch.finfo(dtype).tiny
    result = term(path, z, y, dtype=dtype)
    assert_matches_oracle(result, (value.sum(), gradient.sum(0)), dtype)
    assert (result[1][3] == 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter
@parametrize_pairwise(
    path=["blocks", "cpu", "triton"], row=[1, 7], source=["features", "labels", "target"],
    bad=[np.nan, np.inf], per_anchor=[True, False],
)  # fmt: skip
def test_non_finite_inputs_give_nan_as_reference_does(term, path, row, source, bad, per_anchor):
    z, y = make_batch("random", 9)
    keep, matrix = np.arange(9) != 4, oracle.neg_l1(y)
    rows = np.ones(6, dtype=bool)
    if source == "features":
        z[row] = bad
        rows = keep[:6]  # Triton's path makes the dropped anchor's gradient NaN too
    else:
        z[2] = 0  # gets no gradient, and so no NaN
        (y if source == "labels" else matrix)[row] = bad
    settings = {"target": matrix} if source == "target" else {}
    settings |= {"keep": keep, "anchors": 6, "per_anchor": per_anchor}
    value, second = term(path, z, y, **settings)
    expected = term("reference", z, y, **settings)
    np.testing.assert_allclose(value, expected[0], rtol=1e-9)
    np.testing.assert_allclose(second[rows], expected[1][rows], rtol=1e-9, atol=1e-12)
    if source == "features":
        assert np.isnan(second[rows][:, keep if per_anchor else slice(None)]).all()


@pytest.mark.parametrize("path", PATHS)
def test_zeros_of_both_signs_tie(term, path):
    z, _ = make_batch("random", 16)
    signs = np.random.default_rng(0).choice([1.0, -1.0], size=(16, 16))
    matrix = np.where(np.eye(16, dtype=bool), 1.0, 0.0)
    value, gradient = oracle.ranksim(z, matrix, 100.0, 2.0)
    result = term(path, z, np.zeros(16), target=np.where(matrix == 0, 0 * signs, 1.0))
    assert_matches_oracle(result, (value.sum(), gradient.sum(0)))


@parametrize_pairwise(
    path=PATHS, source=[*SIMILARITIES, "target"], dropped=[False, True], per_anchor=[True, False]
)
def test_equal_labels_give_zero(term, path, source, dropped, per_anchor):
    z, y = np.random.default_rng(0).normal(size=(5, 4)), np.full((5, 2), 30.5)
    settings = {"target": np.full((5, 5), 0.5)} if source == "target" else {"similarity": source}
    if dropped:
        settings["keep"] = keep = np.array([True, True, False, True, False])
        y[~keep] = 1.0
        if source == "target":
            settings["target"][~keep] = 7.0
            settings["target"][:, ~keep] = 7.0
    for array in term(path, z, y, per_anchor=per_anchor, **settings):
        assert (array == 0).all()


@parametrize_pairwise(path=PATHS, shape=[(0, 4), (1, 4), (5, 0), (0, 0)], per_anchor=[True, False])
def test_empty_batches(term, path, shape, per_anchor):
    size, width = shape
    value, second = term(path, np.ones(shape), np.arange(size), per_anchor=per_anchor)
    assert value.shape == ((size,) if per_anchor else ())
    assert second.shape == ((size, size) if per_anchor else (size, width))
    if width:
        assert (value == 0).all()
        assert (second == 0).all()


@pytest.mark.parametrize("path", PATHS)
def test_strided_features_and_integer_labels(term, path):
    z, y = make_batch("ages", 16)
    wide = np.concatenate([z, z], axis=1)[:, ::2]
    value, gradient = oracle.ranksim(wide, oracle.neg_l1(y), 100.0, 2.0)
    result = term(path, np.asfortranarray(wide), y.astype(np.int32))
    assert_matches_oracle(result, (value.sum(), gradient.sum(0)))
