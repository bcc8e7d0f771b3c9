import copy
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.metrics import RegionMetrics, ShotRegions, regression_scores

BINS = LabelBins.uniform(0.0, 4.0, 4)
REGIONS = ShotRegions.from_counts(BINS, np.repeat([0.5, 1.5, 2.5], [200, 50, 5]))


def samples():
    draw = torch.Generator().manual_seed(0)
    target = torch.rand(101, generator=draw, dtype=torch.float64) * 4
    return target + torch.randn(101, generator=draw, dtype=torch.float64), target


def whole(prediction, target):
    masks = REGIONS.masks(target.numpy())
    return {
        name: regression_scores(prediction[torch.from_numpy(m)], target[torch.from_numpy(m)])
        for name, m in masks.items()
    }


def test_batches_merge_exactly():
    prediction, target = samples()
    metrics = RegionMetrics(REGIONS)
    for rows in torch.arange(101).split([1, 40, 7, 53]):
        metrics.update(prediction[rows], target[rows])
    assert metrics.compute() == whole(prediction, target)
    metrics.reset()
    metrics.update(torch.empty(0), torch.empty(0))
    assert metrics.compute()["all"]["n"] == 0


def test_region_without_samples_has_no_scores():
    metrics = RegionMetrics(REGIONS)
    metrics.update(torch.tensor([0.3]), torch.tensor([0.5]))
    scores = metrics.compute()
    assert scores["many"]["n"] == 1
    assert scores["zero"] == {"n": 0, **dict.fromkeys(["mae", "mse", "gm", "pearson", "spearman"])}


def test_float32_predictions_are_summed_in_float64():
    metrics = RegionMetrics(REGIONS)
    target = torch.full((10_000,), 0.1, dtype=torch.float32)
    metrics.update(torch.zeros(10_000), target)
    assert metrics.compute()["all"]["mae"] == pytest.approx(target[0].item(), rel=1e-14)


def test_duplicate_samples_count_once():
    prediction, target = samples()
    rows = torch.cat([torch.arange(101), torch.tensor([0, 5])])
    metrics = RegionMetrics(REGIONS)
    metrics.update(prediction[rows], target[rows], rows)
    assert metrics.compute() == whole(prediction, target)


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"shape \(N,\).* got \(2,\) and \(2, 2\)"):
        RegionMetrics(REGIONS).update(torch.zeros(2), torch.zeros(2, 2))


def test_columns_and_arrays_are_taken():
    preds, target = samples()
    metrics = RegionMetrics(REGIONS)
    metrics.update(preds[:50, None], target[:50])
    metrics.update(preds[50:].numpy(), target[50:, None].numpy())
    assert metrics.compute() == whole(preds, target)


def test_flat_scores():
    preds, target = samples()
    few = target < 3
    scores = whole(preds[few], target[few])
    assert scores["zero"]["n"] == 0
    values = {f"{region}_{k}": v for region, part in scores.items() for k, v in part.items()}
    for flat in ("omit", "nan"):
        metrics = RegionMetrics(REGIONS, flat=flat)
        metrics.update(preds[few], target[few])
        flattened = metrics.compute()
        assert all(isinstance(value, float | int) for value in flattened.values())
        if flat == "omit":
            expected = {k: v for k, v in values.items() if not k.startswith("zero_")}
            assert flattened == expected
        else:
            assert list(flattened) == list(values)
            np.testing.assert_equal(
                flattened, {k: np.nan if v is None else v for k, v in values.items()}
            )
    metrics = RegionMetrics(REGIONS, flat="omit")
    metrics.update(torch.tensor([0.3]), torch.tensor([0.5]))
    assert "many_pearson" not in metrics.compute()  # not defined for one sample


def test_named_regions_are_flat_too():
    regions = ShotRegions.from_counts(BINS, [0.5], named={"low": LabelRange(None, 1.0)})
    metrics = RegionMetrics(regions, flat="omit")
    metrics.update(torch.tensor([0.3, 2.0]), torch.tensor([0.5, 3.0]))
    assert metrics.compute()["low_mae"] == pytest.approx(0.2)


def _worker(rank, folder, replies):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    prediction, target = samples()
    rows = torch.arange(70) if rank == 0 else torch.arange(70, 101)  # uneven shards
    metrics = copy.deepcopy(RegionMetrics(REGIONS))
    for part in rows.split(16):
        metrics.update(prediction[part], target[part], part)
    replies.put(metrics.compute())
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_match_one(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imports once for both processes
    replies = context.Queue()
    workers = [context.Process(target=_worker, args=(rank, tmp_path, replies)) for rank in range(2)]
    for worker in workers:
        worker.start()
    results = [replies.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert results == [whole(*samples())] * 2


@pytest.mark.parametrize("name", ["preds", "target"])
def test_masked_values_are_rejected(name):
    values = {"preds": np.zeros(3), "target": np.zeros(3)}
    values[name] = np.ma.masked_array(values[name], [False, True, True])
    with pytest.raises(ValueError, match=f"{name} must not be masked, got 2 masked values of 3"):
        RegionMetrics(REGIONS).update(**values)


def test_arrays_of_another_byte_order_are_taken():
    preds, target = np.array([0.5, 1.0, 2.5]), np.array([0.0, 1.0, 2.0])
    native, swapped = RegionMetrics(REGIONS), RegionMetrics(REGIONS)
    native.update(preds, target)
    swapped.update(preds.astype(">f8"), target.astype(">f4"))
    assert swapped.compute() == native.compute()
