"""Metrics merged over processes equal those of all samples bit by bit.

Threads simulate processes; tests/metrics starts processes that use gloo.
"""

import numpy as np
import pytest

from ranksim.metrics import METRICS, REGION_NAMES, RegionMetrics
from tests.reliability.drift_merging import KINDS, SAMPLES, shares, simulated, together


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_merged_metrics_equal_those_of_all_samples(kind, processes):
    for seed in range(3):
        assert simulated(kind, processes, seed) == [together(seed)] * processes


def test_shares_match_their_names():
    for processes in (2, 3):
        sizes = {kind: [len(each) for each in shares(kind, processes, 0)] for kind in KINDS}
        assert min(sizes["a process without samples"]) == 0
        assert max(sizes["even"]) - min(sizes["even"]) <= 1
        assert max(sizes["uneven"]) - min(sizes["uneven"]) > 20
        assert sum(sizes["padded"]) > SAMPLES == sum(sizes["uneven"])
    assert all(len(set(np.concatenate(shares(kind, 3, 1)))) == SAMPLES for kind in KINDS)


def test_all_metrics_and_regions_are_compared():
    scores_by_region = together(0)
    assert list(scores_by_region) == [*REGION_NAMES, "low", "none"]
    assert [name for name, scores in scores_by_region.items() if scores["n"] == 0] == ["none"]
    for name in set(scores_by_region) - {"none"}:
        assert set(scores_by_region[name]) == {"n", *METRICS}
        assert None not in scores_by_region[name].values()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_wrong_merging_is_detected(monkeypatch):
    expected = [together(0)] * 2
    with monkeypatch.context() as patch:
        update = RegionMetrics.update
        patch.setattr(RegionMetrics, "update", lambda self, p, t, i=None: update(self, p, t))
        assert simulated("padded", 2, 0) != expected
    with monkeypatch.context() as patch:
        patch.setattr(RegionMetrics, "sync", RegionMetrics.__mro__[1].sync)
        assert simulated("a process without samples", 2, 0) != expected
    with monkeypatch.context() as patch:
        patch.setattr(RegionMetrics, "sync", lambda self, **settings: None)
        assert simulated("uneven", 2, 0) != expected
