"""Metrics merged over processes are those of all samples, to the last bit.

Here threads stand for processes; tests/metrics and tests/reliability have processes of gloo.
"""

import numpy as np
import pytest

from ranksim.metrics import METRICS, REGION_NAMES, RegionMetrics
from tests.reliability.drift_merging import KINDS, SAMPLES, shares, simulated, together


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_states_that_are_exchanged_merge_to_the_union(kind, processes):
    for seed in range(3):
        assert simulated(kind, processes, seed) == [together(seed)] * processes


def test_the_shares_are_what_they_are_called():
    for processes in (2, 3):
        sizes = {kind: [len(each) for each in shares(kind, processes, 0)] for kind in KINDS}
        assert min(sizes["a process without samples"]) == 0
        assert max(sizes["even"]) - min(sizes["even"]) <= 1
        assert max(sizes["uneven"]) - min(sizes["uneven"]) > 20
        assert sum(sizes["padded"]) > SAMPLES == sum(sizes["uneven"])
    assert all(len(set(np.concatenate(shares(kind, 3, 1)))) == SAMPLES for kind in KINDS)


def test_every_metric_and_region_is_among_them():
    found = together(0)
    assert list(found) == [*REGION_NAMES, "low", "none"]
    assert [name for name, scores in found.items() if scores["n"] == 0] == ["none"]
    for name in set(found) - {"none"}:
        assert set(found[name]) == {"n", *METRICS}
        assert None not in found[name].values()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_samples_counted_twice_and_shares_left_out_are_noticed(monkeypatch):
    """And a process that sends nothing of the right kind."""
    whole = [together(0)] * 2
    with monkeypatch.context() as patch:
        update = RegionMetrics.update
        patch.setattr(RegionMetrics, "update", lambda self, p, t, i=None: update(self, p, t))
        assert simulated("padded", 2, 0) != whole
    with monkeypatch.context() as patch:
        patch.setattr(RegionMetrics, "sync", RegionMetrics.__mro__[1].sync)
        assert simulated("a process without samples", 2, 0) != whole
    with monkeypatch.context() as patch:
        patch.setattr(RegionMetrics, "sync", lambda self, **settings: None)
        assert simulated("uneven", 2, 0) != whole
