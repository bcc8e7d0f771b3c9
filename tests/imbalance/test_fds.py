import copy
import multiprocessing
import re

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ranksim.imbalance import KERNELS, LabelBins
from ranksim.imbalance.fds import EMPTY_BINS, FDS
from tests.helpers.pairwise import pairwise
from tests.oracles import fds as oracle

AGES = LabelBins.integers(20, 31)  # 12 bins
SCORES = LabelBins.uniform(0.0, 5.0, 13)
WIDTH = 5
TOLERANCE = {
    torch.float32: {"rtol": 2e-5, "atol": 2e-5},
    torch.bfloat16: {"rtol": 8e-3, "atol": 8e-3},
}


def epoch(seed, bins=AGES, count=300, offset=0.0):
    """Features (N, D) whose mean and variance differ by bin, and labels (N,), some outside.

    Bins 2, 3 and the last are always empty; bin 5 has one sample; others are at times empty. The
    third feature is always zero, the fourth is constant within each bin but one.
    """
    draw = np.random.default_rng((seed, count))
    chosen = np.setdiff1d(np.arange(len(bins)), [2, 3, 5, len(bins) - 1])
    chosen = draw.choice(chosen, size=len(chosen) - 2, replace=False)
    b = draw.choice(chosen, size=count)
    b[:1] = 5
    spread = np.linspace(0.05, 4.0, len(bins))[draw.permutation(len(bins))]
    z = draw.normal(size=(count, WIDTH)) * spread[b, None] + np.cos(b)[:, None]
    z[:, 2], z[:, 3] = 0.0, np.where(b == 6, z[:, 3], b)
    edges = bins.edges.astype(np.float64)
    labels = edges[b] if bins is AGES else edges[b] + draw.uniform(0.01, 0.3, count)
    labels = np.where(b == 0, labels - draw.integers(0, 3, count), labels)  # some below
    return (z + offset).astype(np.float32), labels.astype(np.int64 if bins is AGES else np.float64)


def every_bin(bins=AGES):
    """One sample in each bin, and one on either side."""
    labels = np.r_[bins.edges[0] - 7, bins.edges[:-1], bins.edges[-1] + 7].astype(np.float64)
    z = np.random.default_rng(9).normal(size=(len(labels), WIDTH)) * 3
    return z.astype(np.float32), labels


def make(bins=AGES, **settings):
    return FDS(WIDTH, bins, **settings)


def both(bins=AGES, **settings):
    plain = {name: value for name, value in settings.items() if name != "paper_compat"}
    return make(bins, **settings), oracle.FDS(WIDTH, bins.edges, **plain)


def tensors(z, labels, dtype=torch.float32):
    return torch.tensor(z, dtype=dtype), torch.tensor(labels)


def learned(seeds=(0,), bins=AGES, **settings):
    fds = make(bins, **settings)
    for seed in seeds:
        fds.accumulate(*tensors(*epoch(seed, bins)))
        fds.update()
    return fds


def close(got, expected, dtype=torch.float32):
    torch.testing.assert_close(got.detach().double(), torch.tensor(expected), **TOLERANCE[dtype])


def follow(fds, expected, bins=AGES, epochs=4):
    """Several epochs of both, every bin compared after each."""
    for seed in range(epochs):
        z, labels = epoch(seed, bins)
        fds.accumulate(*tensors(z, labels))
        fds.update()
        expected.update(z.astype(np.float64), labels)
        z, labels = every_bin(bins)
        close(fds.calibrate(*tensors(z, labels)), expected.smooth(z, labels)[0])


CASES = pairwise(
    bins=[AGES, SCORES],
    kernel=KERNELS,
    kernel_size=[1, 5, 9, 41],
    empty_bins=EMPTY_BINS,
    momentum=[0.9, 0.0, 0.99],
    clip=[(0.1, 10.0), (0.5, 2.0), (1.0, 1.0), (1e-6, 1e6)],
    sigma=[2.0, 0.5, 30.0],
)


@pytest.mark.parametrize(
    "settings", CASES, ids=lambda case: "-".join(map(str, [*case.values()][1:]))
)
def test_values_match_oracle(settings):
    follow(*both(**settings), settings["bins"])


def test_two_bins():
    bins = LabelBins.uniform(-1.0, 1.0, 2)
    fds, expected = both(bins, kernel_size=41)
    z = np.random.default_rng(0).normal(size=(9, WIDTH)).astype(np.float32)
    labels = np.linspace(-1.5, 1.5, 9)
    fds.accumulate(*tensors(z, labels))
    fds.update()
    expected.update(z.astype(np.float64), labels)
    close(fds.calibrate(*tensors(z, labels)), expected.smooth(z, labels)[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"momentum": 0.899},
        {"sigma": 1.99},
        {"kernel_size": 7},
        {"kernel": "gaussian-textbook"},
        {"clip": (0.501, 2.0)},
        {"clip": (0.5, 1.999)},
        {"empty_bins": "zeros"},
    ],
    ids=str,
)
def test_comparison_detects_wrong_settings(wrong):
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        follow(make(**({"clip": (0.5, 2.0)} | wrong)), both(clip=(0.5, 2.0))[1])


def test_comparison_detects_biased_variance(monkeypatch):
    monkeypatch.setattr(oracle, "statistics", lambda z, bins, count: (
        np.bincount(bins, minlength=count),
        np.array([z[bins == k].mean(0) if (bins == k).any() else z[0] for k in range(count)]),
        np.array([z[bins == k].var(0) if (bins == k).any() else z[0] for k in range(count)]),
    ))  # fmt: skip
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        follow(*both())


def test_labels_outside_belong_to_first_or_last_bin():
    fds = learned()
    z = torch.randn(6, WIDTH)
    far = torch.tensor([-1e30, 19.0, 19.999, 32.0, 33.0, float("inf")])
    near = torch.tensor([20.0, 20.5, 20.999, 31.0, 31.5, 31.999])
    torch.testing.assert_close(fds.calibrate(z, far), fds.calibrate(z, near), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.bfloat16])
def test_bin_index_matches_label_bins(dtype):
    labels = torch.tensor(np.arange(-5, 60) / 10.0).to(dtype)
    labels = torch.cat([labels, torch.tensor(SCORES.edges).to(dtype)])
    expected = torch.from_numpy(SCORES.digitize(labels.double().numpy()))
    for fds in (make(SCORES), make(SCORES).double(), make(SCORES).bfloat16()):
        assert fds.bin_index(labels).equal(expected)
        assert fds.bin_index(labels.unsqueeze(1)).equal(expected)


def test_column_labels_equal_flat_labels():
    z, labels = tensors(*epoch(0))
    fds = make()
    fds.accumulate(z, labels.unsqueeze(1))
    fds.update()
    assert same_state(fds, learned())
    assert fds.calibrate(z, labels.unsqueeze(1)).equal(fds.calibrate(z, labels))


def same_state(a, b):
    state = b.state_dict()
    return all(tensor.equal(state[name]) for name, tensor in a.state_dict().items())


@pytest.mark.parametrize("value", [0.0, 0.3, 1e4 / 3])
def test_variance_ratio_with_zero_variance(value):
    """A dead feature, and one that varies in bin 6 alone: no rounding makes up a variance."""
    labels = torch.arange(20, 32).repeat(77)
    z = torch.full((len(labels), WIDTH), value)
    z[labels == 26, 1] = torch.randn(77)
    fds = make()
    for rows in torch.arange(len(labels)).split(100):
        fds.accumulate(z[rows], labels[rows])
    fds.update()
    assert (fds.var[:, 0] == 0).all()
    assert (fds.scale[:, 0] == 1).all()
    assert (fds.scale[[0, 1, 2, 3, 9, 10, 11], 1] == 1).all()
    torch.testing.assert_close(fds.scale[[4, 5, 7, 8], 1], torch.full((4,), 10**0.5))
    assert 0.1 < fds.scale[6, 1] < 1


def test_features_in_empty_bins_pass_unchanged_with_zeros():
    fds = learned((0, 1, 2), empty_bins="zeros")
    z, labels = torch.randn(12, WIDTH), torch.arange(20, 32)
    same = fds.calibrate(z, labels) == z
    assert same.all(1).equal(~fds.observed)
    assert same.all(1).nonzero().flatten().tolist() == [2, 3, 11]
    assert not (learned((0, 1, 2)).calibrate(z, labels) == z).all(1).any()


class TestGradient:
    @pytest.mark.parametrize("empty", EMPTY_BINS)
    def test_gradient_matches_oracle(self, empty):
        fds, expected = both(empty_bins=empty)
        follow(fds, expected, epochs=2)
        z, labels = every_bin()
        features = torch.tensor(z, requires_grad=True)
        upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        (fds(features, torch.tensor(labels)) * upstream).sum().backward()
        slope = expected.smooth(z, labels)[1]
        assert slope.min() < 0.9
        assert slope.max() > 2
        close(features.grad, slope * upstream.double().numpy())
        assert all(not buffer.requires_grad for buffer in fds.buffers())

    def test_gradcheck_in_float64(self):
        fds = make().double()
        fds.accumulate(*tensors(*epoch(0), torch.float64))
        fds.update()
        z, labels = tensors(*every_bin(), torch.float64)
        assert torch.autograd.gradcheck(lambda f: fds(f, labels), z.requires_grad_())

    def test_statistics_have_no_gradient(self):
        fds = make()
        z, labels = tensors(*epoch(0))
        fds.accumulate(z.requires_grad_(), labels)
        fds.update()
        assert not fds.calibrate(z.detach(), labels).requires_grad


def test_calibrate_returns_new_tensor():
    z, labels = tensors(*every_bin())
    before = z.clone()
    for fds in (make(), learned()):
        out = fds.calibrate(z, labels)
        assert out.data_ptr() != z.data_ptr()
        out.zero_()
        assert z.equal(before)
    fds.accumulate(z, labels)
    assert z.equal(before)


def test_identity_before_first_update_and_in_evaluation():
    z, labels = tensors(*every_bin())
    fds = make()
    assert fds(z, labels).equal(z)
    fds.accumulate(z, labels)
    assert fds(z, labels).equal(z)
    fds.update()
    assert not fds(z, labels).isclose(z).all()
    assert fds.eval()(z, labels).equal(z)
    assert fds.calibrate(z, labels).equal(fds.train()(z, labels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_features_of_other_dtypes(dtype):
    """They come back as they came; the rest is done in float32, or in theirs if it is finer."""
    fds, expected = both()
    z, labels = epoch(0)
    rounded = torch.tensor(z).to(dtype)
    fds.accumulate(rounded, torch.tensor(labels))
    fds.update()
    expected.update(rounded.double().numpy(), labels)
    z, labels = every_bin()
    features = torch.tensor(z).to(dtype)
    assert make().calibrate(features, torch.tensor(labels)).equal(features)
    out = fds.calibrate(features, torch.tensor(labels))
    assert out.dtype == dtype
    exact, _ = expected.smooth(features.double().numpy(), labels)
    close(out, exact, torch.float32 if dtype == torch.float64 else torch.bfloat16)


def test_float64_features_are_not_rounded():
    features = torch.randn(3, WIDTH, dtype=torch.float64)
    assert make().calibrate(features, torch.arange(20, 23)).equal(features)


def test_autocast_does_not_round_statistics():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fds = learned((0, 1))
        out = fds.calibrate(*tensors(*every_bin()))
    assert same_state(fds, learned((0, 1)))
    assert out.equal(fds.calibrate(*tensors(*every_bin())))


class TestAccumulate:
    @pytest.mark.parametrize(
        ("cut", "count", "offset"),
        [(1, 300, 0.0), (7, 300, 1e4), (299, 300, 0.0), (64, 3000, 1e4), (2500, 3000, 0.0)],
    )
    def test_statistics_do_not_depend_on_batch_size(self, cut, count, offset):
        z, labels = epoch(0, count=count, offset=offset)
        fds = make()
        for batch in zip(*(t.split(cut) for t in tensors(z, labels)), strict=True):
            fds.accumulate(*batch)
        n, mean, var = oracle.statistics(z.astype(np.float64), AGES.digitize(labels), len(AGES))
        assert fds.new_count.tolist() == n.tolist()
        fds.update()
        # a mean near 1e4 has an error of half a unit in its last place, 5e-4
        torch.testing.assert_close(fds.mean.double(), torch.tensor(mean), rtol=6e-8, atol=1e-5)
        torch.testing.assert_close(fds.var.double(), torch.tensor(var), rtol=1e-5, atol=0)

    @pytest.mark.parametrize("offset", [0.0, 1e4 / 3])
    def test_merged_statistics_equal_accumulated_ones(self, offset):
        z, labels = tensors(*epoch(0, offset=offset))
        fds, expected, others = make(), make(), [make(), make(), make(), make()]
        for other, rows in zip(others, torch.arange(300).split([200, 30, 70, 0]), strict=True):
            other.accumulate(z[rows], labels[rows])
        for other in others:
            before = copy.deepcopy(other)
            fds.merge_statistics(other)
            assert same_state(other, before)
        expected.accumulate(z, labels)
        fds.update()
        expected.update()
        torch.testing.assert_close(fds.mean, expected.mean, rtol=2e-7, atol=1e-5)
        torch.testing.assert_close(fds.var, expected.var, rtol=1e-5, atol=0)
        assert (fds.var[:, 2] == 0).all()
        assert fds.observed.equal(expected.observed)

    def test_update_resets_accumulated_statistics(self):
        fds = learned((0, 1))
        new = [buffer for name, buffer in fds.named_buffers() if name.startswith("new_")]
        assert len(new) == 4
        assert not any(buffer.any() for buffer in new)
        assert fds.updates == 2

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_empty_batch_changes_nothing(self, dtype):
        fds = make()
        fds.accumulate(*tensors(*epoch(0)))
        before = copy.deepcopy(fds)
        fds.accumulate(torch.empty(0, WIDTH, dtype=dtype), torch.empty(0))
        assert same_state(fds, before)
        assert fds.calibrate(torch.empty(0, WIDTH), torch.empty(0, 1)).shape == (0, WIDTH)

    def test_noncontiguous_features(self):
        z, labels = tensors(*epoch(0))
        wide = torch.randn(2 * len(z), 2 * WIDTH)
        wide[::2, 1::2] = z
        for features in (wide[::2, 1::2], z.T.contiguous().T):
            assert not features.is_contiguous()
            fds = make()
            fds.accumulate(features, labels.repeat_interleave(2)[::2])
            fds.update()
            torch.testing.assert_close(fds.scale, learned().scale)
            assert fds.calibrate(features, labels).equal(fds.calibrate(z, labels))

    def test_the_same_samples_give_the_same_bits(self):
        assert same_state(learned((0, 1, 2)), learned((0, 1, 2)))
        assert not same_state(learned((0, 1, 2)), learned((0, 2, 1)))

    def test_nan_features_propagate(self):
        z, labels = tensors(*epoch(0))
        z[7, 1] = float("nan")
        fds = make()
        fds.accumulate(z, labels)
        fds.update()
        assert fds.calibrate(z, labels)[:, 1].isnan().any()
        assert fds.calibrate(z, labels)[:, 0].isfinite().all()

    def test_number_of_operations_is_independent_of_bins(self):
        class Calls(TorchDispatchMode):
            count = 0

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                self.count += 1
                return func(*args, **(kwargs or {}))

        def calls(bins):
            fds = make(LabelBins.uniform(0, 1, bins))
            z, labels = torch.randn(64, WIDTH), 0.9 * torch.rand(64)  # the last bins are empty
            with Calls() as recorder:
                fds.accumulate(z, labels)
                fds.update()
                fds.calibrate(z, labels)
            return recorder.count

        assert calls(300) == calls(30) > 10


def _worker(rank, folder, results):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    fds, states = make(), []
    for seed, cut in ((0, 217), (1, 300)):  # uneven shards, then one that is empty
        z, labels = tensors(*epoch(seed))
        rows = torch.arange(300)[:cut] if rank == 0 else torch.arange(300)[cut:]
        for part in rows.split(50):
            fds.accumulate(z[part], labels[part])
        fds.update()
        states.append({name: tensor.tolist() for name, tensor in fds.state_dict().items()})
    try:
        fds.update()
    except RuntimeError as error:
        results.put((rank, states, str(error)))
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_share_statistics(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imports once for both processes
    results = context.Queue()
    workers = [context.Process(target=_worker, args=(rank, tmp_path, results)) for rank in range(2)]
    for worker in workers:
        worker.start()
    (_, states, error), (_, others, _) = sorted(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    assert error.startswith("FDS.update() needs features")
    assert states == others
    for state, seeds in zip(states, ((0,), (0, 1)), strict=True):
        for name, expected in learned(seeds).state_dict().items():
            got = torch.tensor(state[name], dtype=expected.dtype)
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


class TestState:
    def test_loads_checkpoints_with_old_buffer_name(self):
        state = learned((0, 1)).state_dict()
        state["seen"] = state.pop("observed")
        fds = make()
        fds.load_state_dict(state)
        assert same_state(fds, learned((0, 1)))

    def test_save_and_load(self, tmp_path):
        fds = learned((0, 1))
        fds.accumulate(*tensors(*epoch(2)))
        torch.save(fds.state_dict(), tmp_path / "state.pt")
        other = make()
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert same_state(other, fds)
        fds.update()
        other.update()
        assert same_state(other, learned((0, 1, 2)))
        assert same_state(other, fds)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_leaves_statistics_and_edges_in_float32(self, dtype):
        fds = learned(bins=SCORES)
        for moved in (
            copy.deepcopy(fds).to(dtype),
            nn.Sequential(copy.deepcopy(fds), nn.Linear(2, 2)).to(dtype)[0],
            copy.deepcopy(fds).half() if dtype == torch.float16 else copy.deepcopy(fds).bfloat16(),
        ):
            assert same_state(moved, fds)
            kinds = {tensor.dtype for tensor in moved.state_dict().values()}
            assert kinds == {torch.float32, torch.int64, torch.bool}
            assert all(
                type(getattr(moved, name)) is torch.Tensor for name, _ in fds.named_buffers()
            )

    def test_moves_to_float64_and_devices(self):
        fds = make().double()
        assert (fds.mean.dtype, fds.edges.dtype) == (torch.float64, torch.float64)
        assert fds.new_count.dtype == torch.int64
        assert {buffer.device.type for buffer in make().to("meta").buffers()} == {"meta"}

    def test_repr(self):
        text = str(make(paper_compat=True))
        assert text.startswith("FDS(5, bins=12, momentum=0.9, clip=(0.1, 10.0)")
        assert text.endswith("empty_bins='neighbours', paper_compat=True)")


class Encoder(nn.Module):
    """Batch norm and dropout, and one part that its owner keeps in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)
        self.dropout = nn.Dropout(0.5)
        self.still = nn.Dropout(0.5).eval()
        self.observed = []

    def forward(self, inputs):
        self.observed.append((self.modes(), torch.is_grad_enabled()))
        return self.still(self.dropout(self.norm(inputs)))

    def modes(self):
        return [part.training for part in self.modules()]


def batches(seed=0):
    z, labels = tensors(*epoch(seed))
    return [(z[rows], labels[rows]) for rows in torch.arange(300).split(128)]


class TestFitEpoch:
    def test_statistics_of_raw_features_in_evaluation_mode(self):
        encoder, fds, expected = Encoder(), *both()
        with torch.no_grad():
            encoder.norm.running_mean.fill_(0.5)
            encoder.norm.running_var.fill_(4.0)
        before = copy.deepcopy(encoder.state_dict())
        for seed in range(2):
            fds.fit_epoch(encoder, iter(batches(seed)))
            z, labels = epoch(seed)
            expected.update((z.astype(np.float64) - 0.5) / np.sqrt(4 + 1e-5), labels)
            z, labels = every_bin()
            close(fds.calibrate(*tensors(z, labels)), expected.smooth(z, labels)[0])
        assert encoder.observed == [([False] * 4, False)] * 6
        assert encoder.modes() == [True, True, True, False]
        assert all(tensor.equal(before[name]) for name, tensor in encoder.state_dict().items())

    def test_paper_compat_uses_training_mode_and_smoothed_features(self):
        """The second epoch's features are calibrated by the statistics of the first."""
        encoder, (fds, expected) = nn.BatchNorm1d(WIDTH, affine=False), both(paper_compat=True)
        for seed in range(3):
            fds.fit_epoch(encoder, batches(seed))
            z, labels = epoch(seed)
            parts = np.split(z.astype(np.float64), [128, 256])
            normed = [(p - p.mean(0)) / np.sqrt(p.var(0) + 1e-5) for p in parts]
            expected.update(expected.smooth(np.concatenate(normed), labels)[0], labels)
            z, labels = every_bin()
            close(fds.calibrate(*tensors(z, labels)), expected.smooth(z, labels)[0])
        assert encoder.num_batches_tracked == 9
        encoder = Encoder()
        fds.fit_epoch(encoder, batches())
        assert encoder.observed == [([True, True, True, False], False)] * 3

    def test_paper_compat_changes_statistics(self):
        raw, published = make(), make(paper_compat=True)
        for seed in range(2):
            raw.fit_epoch(nn.Identity(), batches(seed))
            published.fit_epoch(nn.Identity(), batches(seed))
            assert raw.scale.equal(published.scale) is (seed == 0)

    @pytest.mark.parametrize("published", [True, False])
    def test_encoder_may_be_a_function(self, published):
        fds = make(paper_compat=published)
        fds.fit_epoch(lambda inputs: inputs["z"], [({"z": z}, labels) for z, labels in batches()])
        torch.testing.assert_close(fds.scale, learned().scale)

    def test_error_in_fit_epoch_restores_modes(self):
        def broken():
            yield from batches()[:2]
            raise OSError("disk")

        encoder, fds = Encoder(), make()
        with pytest.raises(OSError, match="^disk$"):
            fds.fit_epoch(encoder, broken())
        assert encoder.modes() == [True, True, True, False]
        assert fds.updates == 0
        fds.fit_epoch(nn.Identity(), batches())
        again = make()
        again.fit_epoch(nn.Identity(), batches())
        assert same_state(fds, again)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_features": 0}, "num_features must be at least 1, got 0"),
        (
            {"bins": LabelBins.integers(3, 3)},
            "bins must be at least 2, as FDS smooths over them, got 1",
        ),
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        ({"momentum": -0.1}, "momentum must be in [0, 1), got -0.1"),
        ({"momentum": float("nan")}, "momentum must be in [0, 1), got nan"),
        (
            {"clip": (0.0, 2.0)},
            "clip must be (low, high) with 0 < low <= 1 <= high, got (0.0, 2.0)",
        ),
        (
            {"clip": (1.1, 2.0)},
            "clip must be (low, high) with 0 < low <= 1 <= high, got (1.1, 2.0)",
        ),
        (
            {"clip": (0.5, 0.9)},
            "clip must be (low, high) with 0 < low <= 1 <= high, got (0.5, 0.9)",
        ),
        (
            {"clip": (0.5, float("inf"))},
            "clip must be (low, high) with 0 < low <= 1 <= high, got (0.5, inf)",
        ),
        ({"empty_bins": "mean"}, "empty_bins must be one of neighbours, zeros, got 'mean'"),
        ({"kernel_size": 4}, "kernel_size must be an odd integer of at least 1, got 4"),
        (
            {"kernel": "box"},
            "kernel must be one of gaussian, gaussian-textbook, triangular, laplace, got 'box'",
        ),
        ({"sigma": 0}, "sigma must be above 0 and at most 1e+06 bins, got 0"),
    ],
    ids=str,
)
def test_rejects_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        FDS(**({"num_features": WIDTH, "bins": AGES} | settings))


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ((3, 4), (3,), "features must have shape (N, 5), got (3, 4)"),
        ((5,), (1,), "features must have shape (N, 5), got (5,)"),
        ((3, 5, 2), (3,), "features must have shape (N, 5), got (3, 5, 2)"),
        ((3, 4, 2), (3, 1, 2), "features must have shape (N, 5), got (3, 4, 2)"),
        ((3, 5, 2), (3, 2, 2), "dense labels must have shape (3, 1, 2), got (3, 2, 2)"),
        ((3, 5, 2), (3, 1, 4), "dense labels must have shape (3, 1, 2), got (3, 1, 4)"),
        ((3, 5), (4,), "labels must have shape (3,) or (3, 1), got (4,)"),
        ((3, 5), (3, 2), "labels must have shape (3,) or (3, 1), got (3, 2)"),
        ((3, 5), (1, 3), "labels must have shape (3,) or (3, 1), got (1, 3)"),
        ((1, 5), (), "labels must have shape (1,) or (1, 1), got ()"),
    ],
)
def test_rejects_invalid_shapes(features, labels, message):
    for method in ("forward", "calibrate", "accumulate"):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            getattr(make(), method)(torch.zeros(features), torch.zeros(labels))


def test_update_without_features_raises():
    message = "^" + re.escape("FDS.update() needs features: call accumulate() on an epoch first")
    fds = learned()
    with pytest.raises(RuntimeError, match=f"{message}$"):
        fds.update()
    with pytest.raises(RuntimeError, match=f"{message}$"):
        make().fit_epoch(nn.Identity(), [])
    assert same_state(fds, learned())


@pytest.mark.parametrize(
    "other",
    [
        FDS(WIDTH + 1, AGES),
        FDS(WIDTH, LabelBins.integers(20, 30)),
        FDS(WIDTH, LabelBins.integers(21, 32)),
    ],
    ids=["width", "count", "edges"],
)
def test_merging_needs_same_bins_and_num_features(other):
    with pytest.raises(
        ValueError, match="^statistics merge only for the same bins and num_features$"
    ):
        make().merge_statistics(other)
