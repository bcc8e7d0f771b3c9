"""Numerical drift: updates under every training condition, and metrics merged over processes."""

import itertools
import math
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ranksim.training.lightning import trainer
from tests.reliability.drift_battery import cell, one_thread
from tests.reliability.drift_cells import BATCH, CONDITIONS, EPOCHS, SAMPLES, TECHNIQUES
from tests.reliability.drift_merging import KINDS, over_gloo, simulated, together
from tests.reliability.drift_wrong import WRONG

TITLE = "Numerical drift"
# conditions and methods of the short version
SHORT = ("float32", "accumulate 4", "bf16-mixed", "16-mixed, scaler")
SHORT_ROWS = ("sqinv", "focal-r+inv, L1, tanh", "fds, published", "ranksim", "inv+lds+fds+ranksim")
SEEDS = 40  # of merged metrics


def measure(short, folder):
    """Measure deviations of every cell, detected faults and merged metrics."""
    if short:
        deviations, wrong = _measure_deviations(SHORT_ROWS, SHORT), _measure_faults(SHORT)
    else:
        # a spawned process that forks its workers, so that they need not import everything again
        with ProcessPoolExecutor(1, get_context("spawn"), _use_fork) as worker:
            names = tuple(TECHNIQUES), tuple(CONDITIONS)
            deviations = worker.submit(_measure_deviations, *names).result()
            wrong = worker.submit(_measure_faults).result()
    checks = [_check(condition, cells) for condition, cells in deviations.items()]
    missed = [name for name, ratio in wrong.items() if ratio is not None and ratio <= 1]
    checks.append(
        {
            "check": "deliberately wrong trainings are detected",
            "cases": len(wrong),
            "failures": len(missed),
            "note": "; ".join(missed),
        }
    )
    return {
        "checks": checks + _check_merging(short, folder),
        "deviations": deviations,
        "wrong": wrong,
        "updates": _count_updates(deviations),
    }


def _use_fork():
    trainer._START_METHOD = "fork"


def _measure_deviations(rows, conditions):
    """Return the largest deviations by condition and method; None if not finite."""
    return {
        condition: {row: _measure_cell(row, condition) for row in rows} for condition in conditions
    }


def _measure_faults(conditions=tuple(CONDITIONS)):
    """Return the deviation of each deliberately wrong training in units of its tolerance."""
    ratios = {}
    for fault, (row, name, make_context) in WRONG.items():
        if name in conditions:
            with make_context():
                cells = _measure_cell(row, name)
            limits = zip(cells, _tolerances(name), strict=True)
            values = [None if cell is None else cell / limit for cell, limit in limits]
            ratios[fault] = None if None in values else float(f"{max(values):.1e}")
    return ratios


def _measure_cell(row, condition):
    with tempfile.TemporaryDirectory() as folder, one_thread():
        values = cell(TECHNIQUES[row], CONDITIONS[condition], Path(folder))
    return [float(f"{value:.1e}") if math.isfinite(value) else None for value in values]


def _tolerances(name):
    condition = CONDITIONS[name]
    return [t for t in (condition.tolerance, condition.rounded) if t is not None]


def _check(name, cells):
    failed = [
        row
        for row, values in cells.items()
        if any(v is None or v > t for v, t in zip(values, _tolerances(name), strict=True))
    ]
    return {
        "check": f"updates of every method: {name}",
        "cases": len(cells),
        "failures": len(failed),
        "note": "; ".join(failed),
    }


def _check_merging(short, folder):
    if short:
        cases = list(itertools.product(KINDS, (1, 2, 3), (0, 1)))
        wrong = sum(
            simulated(kind, processes, seed) != [together(seed)] * processes
            for kind, processes, seed in cases
        )
        counts = {"simulated processes": (len(cases), wrong)}
    else:
        counts = {
            f"{processes} process{'es' * (processes > 1)} (gloo)": over_gloo(
                processes, SEEDS, folder
            )
            for processes in (1, 2, 3)
        }
    return [
        {"check": f"metrics merged over {name}", "cases": cases, "failures": failed, "note": ""}
        for name, (cases, failed) in counts.items()
    ]


def _count_updates(deviations):
    """Count compared updates, without conditions whose losses overflow."""
    all_batches = math.ceil(SAMPLES / BATCH) * EPOCHS
    full_batches = SAMPLES // BATCH * EPOCHS
    return sum(
        len(cells) * (full_batches if CONDITIONS[name].accumulate > 1 else all_batches)
        for name, cells in deviations.items()
        if not CONDITIONS[name].overflows
    )


def _format_deviation(deviation):
    return "other samples" if deviation is None else f"{deviation:.1e}" if deviation else "0"


def describe(figures):
    """Describe guarantees, method and limits, and list all deviations."""
    deviations = figures["deviations"]
    headings, lines = [], []
    for name in deviations:
        suffixes = ["", ", same rounding"]
        headings += [
            f"{name}{s} ≤ {t:.0e}" for s, t in zip(suffixes, _tolerances(name), strict=False)
        ]
    for row in next(iter(deviations.values())):
        cells = [value for rows in deviations.values() for value in rows[row]]
        lines.append(f"| {row} | {' | '.join(map(_format_deviation, cells))} |")
    table = [f"| method | {' | '.join(headings)} |", f"| --- |{' ---: |' * len(headings)}", *lines]
    smallest = min(ratio for ratio in figures["wrong"].values() if ratio is not None)
    return f"""\
A method trains identically under every condition: precision, loss scaling, accumulation, several processes,
compilation and memory layout round an update but do not change it. Metrics merged over processes equal the
metrics of all samples bit by bit, each sample counted once.

**Method.** {figures["updates"]:,} updates of real trainings (small networks, {SAMPLES} samples of imbalanced
labels, {EPOCHS} epochs in batches of {BATCH}, the last one smaller) are compared with a float64 loop over the
whole batch, written from the equations. Each figure is the largest ‖update − expected‖ / ‖expected‖ over all
weights, starting from the weights before the update. The optimizer is plain gradient descent, because Adam
divides by the gradient's size and would hide a wrong factor. *Same rounding* compares with the same loop on
a network that autocast rounds, so only this library's contribution remains; 0 means equal bits. Tolerances are
three times the measured values, or the effect of one value rounded the other way. Losses of 16-mixed are
scaled by 1,024, and by 2²⁰ where they overflow initially: these steps are skipped, and the next ones are
correct. Every deliberately wrong training exceeded its tolerance at least {smallest:,.0f} times.

**Different by definition.** Accumulated batches, and processes without `--gather-across-devices`, rank their
own samples: the term is the mean over batches, in the loop too. With `--gather-across-devices` it is the term of
the whole batch. With accumulation, the batches of an epoch that do not fill a step are dropped; a last batch that
processes cannot share evenly is filled up with some of its samples.

**Not guaranteed.** Ranks are integers: two similarities closer than rounding errors may swap, which changes the
update by one rank. Equal samples in different rows of a batch are such a case unless `unique_labels` keeps one
of each. With dropout, a compiled network draws other masks than an uncompiled one.

{chr(10).join(table)}
"""
