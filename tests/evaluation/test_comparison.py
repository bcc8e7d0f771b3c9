import dataclasses
import itertools

import numpy as np
import pytest
import scipy.stats

from ranksim.data import TextSamples
from ranksim.datasets.base import Benchmark
from ranksim.evaluation.comparison import add_comparison, choose_baseline
from ranksim.evaluation.predictions import (
    Predictions,
    are_damaged,
    read_predictions,
    write_predictions,
)
from ranksim.evaluation.record import read_record
from ranksim.evaluation.summary import summarise
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import LabelRange
from ranksim.metrics import REGION_NAMES
from tests.helpers.records import run_record

N = 40
LABELS = np.random.default_rng(0).uniform(0, 3, N)
MASKS = dict.fromkeys(("all", "seen"), np.ones(N, dtype=bool)) | {
    "many": LABELS < 1, "medium": (LABELS >= 1) & (LABELS < 2.9), "few": LABELS >= 2.9,
    "zero": np.zeros(N, dtype=bool), "own": LABELS < 0.5,
}  # fmt: skip
ORDER = (*REGION_NAMES, "own")
SIZES = {"mae": np.abs, "mse": np.square}


def sweep(methods, seeds=(0, 1, 2), missing=()):
    """Records and what reads their predictions; each method has an error of its own size."""
    predictions, records = {}, []
    for (k, method), seed in itertools.product(enumerate(methods), seeds):
        if (method, seed) in missing:
            continue
        draw = np.random.default_rng((k, seed))
        guess = LABELS + draw.normal(0, methods[method], N) + 0.1 * draw.normal()
        predictions[method, seed] = Predictions(np.arange(N), LABELS, guess, MASKS)
        test = {}
        for region in ORDER:
            error = (guess - LABELS)[MASKS[region]]
            scores = dict.fromkeys(("gm", "pearson", "spearman"), 1.0)
            scores |= {m: f(error).mean() if len(error) else None for m, f in SIZES.items()}
            test[region] = {"n": len(error), **scores}
        metrics = {"test": test, "val": test}
        records.append(run_record(method, seed, seconds=1.0, epochs=1, metrics=metrics))
    return records, lambda *which: predictions.get(which)


def compared(methods, read=True, rows=None, **more):
    records, reader = sweep(methods, **more)
    summary = summarise(records, "sentiment-dir", rows)
    add_comparison(summary, records, choose_baseline(summary), reader if read else None)
    return {row["method"]: row.get("vs_baseline") for row in summary}, reader


def test_differences_and_intervals_against_loops():
    found, read = compared({"vanilla": 1.0, "inv": 0.8, "focal-r": 1.0})
    assert found["vanilla"] is None
    against = found["inv"]
    assert (against["method"], against["seeds"]) == ("vanilla", [0, 1, 2])
    assert list(against["test"]) == list(ORDER)
    for region, (metric, size) in itertools.product(("all", "many", "own"), SIZES.items()):
        rows = [i for i in range(N) if MASKS[region][i]]
        change = [
            [
                size(read("inv", s).prediction[i] - LABELS[i])
                - size(read("vanilla", s).prediction[i] - LABELS[i])
                for i in rows
            ]
            for s in range(3)
        ]
        got = against["test"][region][metric]
        means = [sum(own) / len(own) for own in change]
        assert got["mean"] == pytest.approx(sum(means) / 3)
        alone = scipy.stats.ttest_1samp(means, 0).confidence_interval(0.95)
        assert got["ci_seeds"] == pytest.approx([alone.low, alone.high])
        each = [sum(own[k] for own in change) / 3 for k in range(len(rows))]
        chosen = np.random.default_rng(0).integers(0, len(rows), (2_000, len(rows)))
        own = np.array(each)
        least = own.std() / len(own) ** 0.5
        ratios = [(own[k].mean() - own.mean()) / max(own[k].std(), least) for k in chosen]
        ends = own.mean() - own.std() * np.quantile(ratios, [0.975, 0.025])
        plain = np.quantile([own[k].mean() for k in chosen], [0.025, 0.975])
        assert got["ci_samples"][0] == pytest.approx(min(ends[0], plain[0]))
        assert got["ci_samples"][1] == pytest.approx(max(ends[1], plain[1]))
        grand, n = got["mean"], len(rows)
        a = n * sum((m - grand) ** 2 for m in means) / 2
        b = 3 * sum((m - grand) ** 2 for m in each) / (n - 1)
        r = sum(
            (change[s][k] - means[s] - each[k] + grand) ** 2 for s in range(3) for k in range(n)
        ) / (2 * (n - 1))
        for kind, level in (("ci_total", 0.975), ("ci_adjusted", 0.9875)):  # two methods are compared
            t = scipy.stats.t.ppf(level, [2, n - 1])
            half = max(t[0] ** 2 * a, t[0] ** 2 * max(a - r, 0) + t[1] ** 2 * b) / (3 * n)
            assert got[kind][1] - grand == pytest.approx(half**0.5)
            assert grand - got[kind][0] == pytest.approx(half**0.5)
    assert "ci_total" not in against["test"]["all"]["pearson"]
    assert against["test"]["zero"]["mae"]["mean"] is None
    assert against["test"]["zero"]["mae"]["ci_adjusted"] is None


def test_a_method_under_two_names_is_compared_once_and_told_twice():
    rows = {"vanilla": "vanilla", "vanilla+lds": "inv+lds", "inv+lds": "inv+lds"}
    found, _ = compared({"vanilla": 1.0, "inv+lds": 0.8}, rows=rows)
    alone, _ = compared({"vanilla": 1.0, "inv+lds": 0.8})
    assert found["vanilla+lds"] == found["inv+lds"] == alone["inv+lds"]


def nothing(effect, *kinds):
    return all(effect[kind] is None for kind in kinds)


def test_only_seeds_of_both_are_compared():
    found, _ = compared({"vanilla": 1.0, "inv": 0.8}, missing=[("vanilla", 0), ("inv", 2)])
    effect = found["inv"]["test"]["all"]["mae"]
    assert found["inv"]["seeds"] == [1]
    assert effect["ci_samples"][0] < effect["mean"] < effect["ci_samples"][1]
    assert nothing(effect, "ci_total", "ci_adjusted")
    assert effect["seeds_needed"] is None
    assert choose_baseline([{"method": "rrt"}, {"method": "inv"}]) == "rrt"


def test_predictions_that_are_gone_or_of_others_leave_the_seeds_alone():
    records, read = sweep({"vanilla": 1.0, "inv": 0.8, "focal-r": 0.9})

    def without(method, seed):
        found = read(method, seed)
        if (method, seed) == ("focal-r", 1):
            return Predictions(found.index + 1, found.label, found.prediction, MASKS)
        return None if (method, seed) == ("inv", 1) else found

    for reader in (without, None, lambda *_: None):
        summary = summarise(records, "sentiment-dir")
        add_comparison(summary, records, "vanilla", reader)
        for row in summary[1:]:
            effect = row["vs_baseline"]["test"]["all"]["mse"]
            assert effect["ci_seeds"][0] < effect["ci_seeds"][1]
            assert nothing(effect, "ci_samples", "ci_total", "ci_adjusted")


def test_a_region_of_one_sample_has_no_interval():
    few = np.flatnonzero(MASKS["few"])
    assert len(few) > 1
    MASKS["one"] = np.arange(N) == 3
    try:
        records, read = sweep({"vanilla": 1.0, "inv": 0.8})
        for record in records:
            record["result"]["metrics"]["test"]["one"] = record["result"]["metrics"]["test"]["all"]
        summary = summarise(records, "sentiment-dir")
        add_comparison(summary, records, "vanilla", read)
    finally:
        del MASKS["one"]
    test = summary[1]["vs_baseline"]["test"]
    assert nothing(test["one"]["mae"], "ci_samples", "ci_total", "ci_adjusted")
    assert not nothing(test["few"]["mae"], "ci_samples")


def test_groups_count_as_samples_where_their_samples_err_alike():
    """Each sample four times over says no more than once, and of one group nothing is known."""
    records, read = sweep({"vanilla": 1.0, "inv": 0.8})
    often = {name: np.tile(mask, 4) for name, mask in MASKS.items()}

    def compare(of):
        summary = summarise(records, "sentiment-dir")
        add_comparison(summary, records, "vanilla", of)
        return summary[1]["vs_baseline"]["test"]

    def tiled(groups):
        def of(method, seed):
            one = read(method, seed)
            parts = (np.tile(values, 4) for values in (one.label, one.prediction))
            return Predictions(np.arange(4 * N), *parts, often, groups)

        return of

    once, alike = compare(read), compare(tiled(np.tile(np.arange(N)[::-1], 4)))
    for region, metric in itertools.product(("all", "many", "own"), SIZES):
        for kind in ("ci_total", "ci_adjusted"):
            assert alike[region][metric][kind] == pytest.approx(once[region][metric][kind])
        told = (alike[region][metric], once[region][metric])
        assert told[0]["seeds_needed"] == told[1]["seeds_needed"]
    narrow = compare(tiled(None))["all"]["mse"]
    assert narrow["ci_samples"][0] > 1.1 * once["all"]["mse"]["ci_samples"][0]
    alone = compare(tiled(np.zeros(4 * N, dtype=int)))["all"]["mse"]
    assert nothing(alone, "ci_samples", "ci_total", "ci_adjusted")
    assert alone["ci_seeds"] is not None


def test_predictions_come_back_with_their_regions(tmp_path):
    parts = [TextSamples(([""] * len(y),), y) for y in (LABELS[LABELS < 2], LABELS[:3], LABELS)]
    benchmark = Benchmark(
        "made", *parts, LabelBins.uniform(0, 3, 3), many=9, few=5,
        named={"low": LabelRange(None, 0.5, strict=True), "label": LabelRange(1.0, 2.0)},
    )  # fmt: skip
    guess = LABELS + 1
    write_predictions(tmp_path / "a.parquet", benchmark, "rule", np.arange(N), guess)
    found = read_predictions(tmp_path / "a.parquet")
    assert np.array_equal(found.label, LABELS)
    assert np.array_equal(found.prediction, guess)
    expected = benchmark.regions("rule").masks(LABELS)
    assert list(found.regions) == list(expected)
    for name, mask in expected.items():
        assert np.array_equal(found.regions[name], mask)
    assert found.regions["zero"].any()
    assert found.groups is None
    grouped = dataclasses.replace(benchmark, groups=np.arange(N)[::-1] // 3)
    write_predictions(tmp_path / "c.parquet", grouped, "rule", np.arange(N), guess)
    assert np.array_equal(read_predictions(tmp_path / "c.parquet").groups, grouped.groups)
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:200])
    with pytest.raises(DataError, match="a.parquet is damaged: start the command that made it ag"):
        read_predictions(tmp_path / "a.parquet")
    assert are_damaged(tmp_path / "a.parquet")
    assert read_predictions(tmp_path / "b.parquet") is None
    assert not are_damaged(tmp_path / "b.parquet")
    whole = (tmp_path / "c.parquet").read_bytes()
    draw = np.random.default_rng(0)
    for place in draw.choice(len(whole), 150, replace=False):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(draw.integers(8))
        (tmp_path / "c.parquet").write_bytes(flipped)
        if not are_damaged(tmp_path / "c.parquet"):
            again = read_predictions(tmp_path / "c.parquet")
            assert np.array_equal(again.prediction, guess)
            assert np.array_equal(again.label, found.label)
            assert {name: list(mask) for name, mask in again.regions.items()} == {
                name: list(mask) for name, mask in found.regions.items()
            }


def test_what_cannot_be_read_is_not_damaged(tmp_path, monkeypatch):
    """A disk that fails for a moment costs no finished run."""
    path = tmp_path / "a.parquet"
    path.touch()

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pyarrow.parquet.read_table", fail)
    with pytest.raises(OSError, match="Input/output error"):
        are_damaged(path)


def test_a_record_that_cannot_be_read_is_no_missing_one(tmp_path, monkeypatch):
    def fail(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ranksim.evaluation.record.read_verified_json", fail)
    with pytest.raises(PermissionError):
        read_record(tmp_path)
