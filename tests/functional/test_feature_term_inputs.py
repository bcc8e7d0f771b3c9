"""Terms on features: values that are not finite, large labels, and misuse."""

import numpy as np
import pytest
import torch

from ranksim.functional import conr_loss, rnc_loss
from ranksim.losses import ConRLoss, RnCLoss, SRLLoss

LABELS = {  # of a batch
    "pairs": [1.0, 1.0, 2.0, 5.0, 5.0, 6.0],
    "equal": [4.0, 4.0, 4.0],
    "two": [1.0, 9.0],
    "one": [3.0],
}


def make_features(count, dtype=torch.float64):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)


def assert_nan(loss, *leaves):
    assert loss.isnan()
    loss.backward()
    assert all(leaf.grad.isnan().all() for leaf in leaves)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["features", "labels"])
@pytest.mark.parametrize("batch", LABELS)
def test_rnc_propagates_what_is_not_finite(batch, where, value):
    labels = torch.tensor(LABELS[batch], dtype=torch.float64)
    features = make_features(len(labels))
    (features if where == "features" else labels)[0] = value
    leaf = features.requires_grad_()
    assert_nan(rnc_loss(leaf, labels), leaf)
    columns = torch.stack([torch.arange(len(labels)).double(), labels], dim=1)
    views = [make_features(len(labels), torch.float32).requires_grad_() for _ in range(2)]
    if where == "labels":
        assert_nan(rnc_loss(views[0], columns, features_2=views[1]), *views)
        assert_nan(rnc_loss(views[0], torch.full_like(columns, value)), views[0])


@pytest.mark.parametrize("where", ["features", "labels", "preds", "weight", "view"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("batch", LABELS)
def test_conr_propagates_what_is_not_finite(batch, value, where):
    labels = torch.tensor(LABELS[batch], dtype=torch.float64)
    count = len(labels)
    features, other = make_features(count), make_features(count)
    preds, other_preds = torch.full((count,), 3.0), torch.full((count,), 3.0)
    weight = torch.ones(count)
    places = {"features": features, "labels": labels, "preds": preds, "weight": weight}
    places["view"] = other_preds
    settings = {"width": 1.5, "sample_weight": weight, "view_2": (other, other_preds)}
    leaf = features.requires_grad_()
    assert conr_loss(leaf, labels, preds, **settings).isfinite()
    places[where].data[-1] = value
    assert_nan(conr_loss(leaf, labels, preds, **settings), leaf)


@pytest.mark.parametrize("weights", [[-1.0, 1.0, 1.0], [0.0, -1e-9, torch.nan], [1, 1, -2]])
def test_conr_refuses_negative_weights(weights):
    features, labels = make_features(3), torch.tensor([1, 1, 5])
    smallest = min(weight for weight in weights if weight < 0)
    with pytest.raises(ValueError, match=f"sample_weight must be at least 0, got {smallest:g}"):
        ConRLoss(1.0)(features, labels, torch.full((3,), 2.0), torch.tensor(weights))


def test_conr_accepts_weights_of_zero():
    features, labels, preds = make_features(3), torch.tensor([1, 1, 5]), torch.full((3,), 2.0)
    loss = conr_loss(
        features.requires_grad_(), labels, preds, width=1, sample_weight=torch.zeros(3)
    )
    assert loss == 0
    loss.backward()
    assert features.grad.abs().max() == 0


Z3, Y4 = torch.zeros(3, 2), torch.zeros(4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: RnCLoss()(Z3, [1, 2, 3], Z3), TypeError,
            "labels must be a torch.Tensor, got list",
        ),
        (
            lambda: rnc_loss(Z3, Y4, features_2=Z3), ValueError,
            r"same length N, got features \(3, 2\) and labels \(4,\)",
        ),
        (lambda: rnc_loss(Z3, Y4[0], features_2=Z3), ValueError, r"and labels \(\)"),
        (
            lambda: conr_loss(Z3, Y4, Y4, width=1, view_2=(Z3, Y4)), ValueError,
            r"same length N, got features \(3, 2\) and labels \(4,\)",
        ),
        (
            lambda: conr_loss(Z3, Y4[:3], Y4, width=1, view_2=(Z3, Y4)), ValueError,
            r"preds must have the shape of labels, got \(4,\) for \(3,\)",
        ),
        (
            lambda: conr_loss(Z3[:1], Y4[:1], Y4[0], width=1), ValueError,
            r"preds must have the shape of labels, got \(\) for \(1,\)",
        ),
        (lambda: SRLLoss(3, [0, 1], seed=True), TypeError, "seed must be a whole number, got True"),
    ],
)  # fmt: skip
def test_misuse_is_one_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def run_srl(term, batches):
    """Return the losses and the last gradient over batches of features and labels."""
    losses = []
    for features, labels in batches:
        leaf = features.clone().requires_grad_()
        losses.append(term(leaf, labels))
    losses[-1].backward()
    return [loss.item() for loss in losses], leaf.grad


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
@pytest.mark.parametrize("width", [1, 16, 10**5])
@pytest.mark.parametrize("offset", [10**8, 10**9, -(10**9)])
def test_srl_of_large_labels_is_that_of_small_ones(offset, width, dtype):
    edges = np.arange(5) * width
    labels = torch.tensor([0, 1, 1, 2, 3, 3]) * width + width // 2
    batches = [(make_features(6), labels), (make_features(6).flip(0), labels)]
    settings = {"points": 8, "label_std": float(width)}
    small = SRLLoss(3, edges, **settings)
    expected, slope = run_srl(small, batches)
    moved = [(features, (labels + offset).to(dtype)) for features, labels in batches]
    term = SRLLoss(3, (edges + offset).tolist(), **settings)
    for convert in (torch.nn.Module.float, torch.nn.Module.half, torch.nn.Module.double):
        term = convert(term)
        assert term.edges.tolist() == (edges[1:-1] + offset).tolist()
    term = term.float()
    losses, gradient = run_srl(term, moved)
    assert losses == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(gradient, slope, rtol=1e-4, atol=1e-7)
    restored = SRLLoss(3, (edges + offset).tolist(), **settings)
    restored.load_state_dict(term.state_dict())
    value = restored.eval()(*moved[0]).item()
    assert value == pytest.approx(small.eval()(*batches[0]).item(), rel=1e-5)


def test_srl_tells_large_bins_from_small_ones():
    """Bins of 1 beside one of 1e8."""
    term = SRLLoss(2, [0, 1, 1e8, 1e8 + 1, 1e8 + 2], points=4)
    labels = torch.tensor([0, 5, 10**8, 10**8 + 1])
    term.update(make_features(4)[:, :2], labels)
    assert term.centroids.ne(0).any(dim=1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("edge_dtype", [np.float32, np.float64])
def test_srl_has_decimals_in_the_bin_they_open(edge_dtype, dtype):
    edges = np.arange(0, 1.05, 0.1).astype(edge_dtype)  # 0.30000000000000004
    labels = torch.tensor([k / 10 for k in range(10)], dtype=dtype)
    for k in range(10):
        term = SRLLoss(3, edges, points=2)
        term.update(make_features(1), labels[k : k + 1])
        assert term.centroids.ne(0).any(dim=1).nonzero().tolist() == [[k]]


def test_srl_copies_its_edges():
    edges = np.array([0.0, 1.0, 2.0])
    term = SRLLoss(2, edges)
    edges[:] = 9
    assert term.edges.tolist() == [1.0]


@pytest.mark.parametrize("absent", [[0], [2, 5], list(range(6))])
def test_srl_leaves_out_samples_without_a_label(absent):
    features, labels = make_features(6), torch.tensor([0.5, 1.5, 1.5, 2.5, 2.5, 2.5])
    present = [row for row in range(6) if row not in absent]
    incomplete = labels.clone()
    incomplete[absent] = torch.nan
    updated, expected = (SRLLoss(3, [0, 1, 2, 3], points=8) for _ in range(2))
    updated.update(features, incomplete)
    expected.update(features[present], labels[present])
    assert torch.equal(updated.centroids, expected.centroids)
    leaf = features.clone().requires_grad_()
    loss = updated(leaf, incomplete)
    value = expected(features[present], labels[present])
    assert loss.item() == pytest.approx(value.item(), rel=1e-12)
    loss.backward()
    assert leaf.grad[absent].abs().max() == 0
    torch.testing.assert_close(updated.centroids, expected.centroids)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("rows", [[3], [0, 3, 4], list(range(6))])
def test_srl_keeps_centroids_from_what_is_not_finite(rows, value):
    features, labels = make_features(6), torch.tensor([0.5, 1.5, 1.5, 2.5, 2.5, 2.5])
    present = [row for row in range(6) if row not in rows]
    broken = features.clone()
    broken[rows, 1] = value
    for update in (True, False):
        for earlier in (True, False):
            term, expected = (SRLLoss(3, [0, 1, 2, 3], points=8) for _ in range(2))
            if earlier:
                term.update(features.flip(0), labels)
                expected.update(features.flip(0), labels)
            if update:
                term.update(broken, labels)
            else:
                leaf = broken.clone().requires_grad_()
                assert_nan(term(leaf, labels), leaf)
            expected.update(features[present], labels[present])
            torch.testing.assert_close(term.centroids, expected.centroids)
            assert term.centroids.isfinite().all()
            assert term(features, labels).isfinite()
    leaf = broken.clone().requires_grad_()
    assert_nan(term.eval()(leaf, labels), leaf)
