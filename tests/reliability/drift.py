"""The method does not drift: updates under every condition, and metrics over processes."""

import itertools
import math
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ranksim.training import trainer_config
from ranksim.training.trainer_config import silence_lightning
from tests.reliability.drift_battery import cell, one_thread
from tests.reliability.drift_cells import BATCH, CONDITIONS, EPOCHS, SAMPLES, TECHNIQUES
from tests.reliability.drift_merging import KINDS, over_gloo, simulated, together
from tests.reliability.drift_wrong import WRONG

TITLE = "The method does not drift"
# what takes seconds
SHORT = ("float32", "accumulate 4", "bf16-mixed", "16-mixed, scaler")
SHORT_ROWS = ("sqinv", "focal-r+inv, L1, tanh", "fds, published", "ranksim", "inv+lds+fds+ranksim")
SEEDS = 40  # of the samples whose metrics are merged


def measure(short, folder):
    """Deviations of every cell, wrong trainings that were noticed, and merged metrics."""
    if short:
        found = _battery(SHORT_ROWS, SHORT), _wrong(SHORT)
    else:
        # a process of its own, which starts others by forking: they need not import all again
        with ProcessPoolExecutor(1, get_context("spawn"), _prepared) as worker:
            names = tuple(TECHNIQUES), tuple(CONDITIONS)
            found = worker.submit(_battery, *names).result(), worker.submit(_wrong).result()
    deviations, wrong = found
    checks = [_check(condition, cells) for condition, cells in deviations.items()]
    missed = [what for what, far in wrong.items() if far is not None and far <= 1]
    checks.append(
        {
            "what": "trainings that are wrong on purpose are noticed",
            "tried": len(wrong),
            "failed": len(missed),
            "note": "; ".join(missed),
        }
    )
    return {
        "checks": checks + _merging(short, folder),
        "deviations": deviations,
        "wrong": wrong,
        "updates": _updates(deviations),
    }


def _prepared():
    trainer_config._START = "fork"


def _battery(rows, conditions):
    """The largest deviations of each cell, by condition and technique; infinite ones are None."""
    return {
        condition: {row: _in_a_folder(row, condition) for row in rows} for condition in conditions
    }


def _wrong(conditions=tuple(CONDITIONS)):
    """How many times the tolerance each wrong training is off, at the column that sees most."""
    found = {}
    for what, (row, name, make) in WRONG.items():
        if name in conditions:
            with make():
                cells = _in_a_folder(row, name)
            far = [_far(each, most) for each, most in zip(cells, _limits(name), strict=True)]
            found[what] = None if None in far else float(f"{max(far):.1e}")
    return found


def _far(each, most):
    return None if each is None else each / most


def _in_a_folder(row, condition):
    silence_lightning()
    with tempfile.TemporaryDirectory() as folder, one_thread():
        found = cell(TECHNIQUES[row], CONDITIONS[condition], Path(folder))
    return [float(f"{each:.1e}") if math.isfinite(each) else None for each in found]


def _limits(name):
    condition = CONDITIONS[name]
    return [each for each in (condition.tolerance, condition.rounded) if each is not None]


def _check(name, cells):
    failed = [
        row
        for row, found in cells.items()
        if any(each is None or each > most for each, most in zip(found, _limits(name), strict=True))
    ]
    return {
        "what": f"updates of every technique: {name}",
        "tried": len(cells),
        "failed": len(failed),
        "note": "; ".join(failed),
    }


def _merging(short, folder):
    if short:
        cases = list(itertools.product(KINDS, (1, 2, 3), (0, 1)))
        wrong = sum(
            simulated(kind, processes, seed) != [together(seed)] * processes
            for kind, processes, seed in cases
        )
        found = {"processes that threads stand for": (len(cases), wrong)}
    else:
        found = {
            f"{processes} process{'es' * (processes > 1)} of gloo": over_gloo(
                processes, SEEDS, folder
            )
            for processes in (1, 2, 3)
        }
    return [
        {"what": f"metrics merged over {name}", "tried": tried, "failed": failed, "note": ""}
        for name, (tried, failed) in found.items()
    ]


def _updates(deviations):
    """Updates that were compared at least: where losses overflow, it is not said how many."""
    whole = math.ceil(SAMPLES / BATCH) * EPOCHS
    left_out = SAMPLES // BATCH * EPOCHS
    return sum(
        len(cells) * (left_out if CONDITIONS[name].accumulate > 1 else whole)
        for name, cells in deviations.items()
        if not CONDITIONS[name].overflows
    )


def _shown(deviation):
    return "other samples" if deviation is None else f"{deviation:.1e}" if deviation else "0"


def text(found):
    """What holds, how it was tried, what is not promised, and the table of deviations."""
    conditions = list(found["deviations"])
    heads, lines = [], []
    for name in conditions:
        ends = ["", ", rounding alike"]
        heads += [f"{name}{ends[i]} ≤ {most:.0e}" for i, most in enumerate(_limits(name))]
    for row in next(iter(found["deviations"].values())):
        cells = [each for name in conditions for each in found["deviations"][name][row]]
        lines.append(f"| {row} | {' | '.join(map(_shown, cells))} |")
    table = [
        f"| technique | {' | '.join(heads)} |",
        f"| --- |{' ---: |' * len(heads)}",
        *lines,
    ]
    least = min(far for far in found["wrong"].values() if far is not None)
    return f"""\
A technique trains the same whatever it is trained with: precision, a loss scaler, accumulation,
several processes, the compiler and the layout of memory round an update and do not change it.
Metrics of several processes are to the last bit those of all samples, each counted once.

**How.** {found["updates"]:,} updates of real trainings (small networks, {SAMPLES} samples of
imbalanced labels, {EPOCHS} epochs in batches of {BATCH}, the last one smaller) stand beside a loop
that was written from the equations, in float64 and on the whole batch. The figure is the largest
‖update − expected‖ / ‖expected‖ of all weights together, from the weights that the update began
with. Descent is along the gradient itself: Adam divides by its size, and would hide a wrong
factor. *Rounding alike* is the same loop on a network that autocast rounds, where nothing is left
but what this library adds; 0 is equality to the last bit. Tolerances are three times what was
measured, or what one value that is rounded the other way would do. Losses of 16-mixed are scaled
by 1,024, and by 2²⁰ where they are to overflow at first: steps are then passed over, and the next
ones are right. Every way of being wrong on purpose was at least {least:,.0f} times beyond its
tolerance.

**What is defined otherwise.** Accumulated batches, and processes without `--gather-across-devices`, rank their
own samples: RankSim's term is the mean of theirs, and so is the loop's. With `--gather-across-devices` it is that
of the whole batch. An epoch's batches that fill no step, and a smaller one among them, are left out
where gradients are accumulated; a last batch that processes cannot share evenly is filled up with
some of its samples.

**What is not promised.** Ranks are whole numbers: where two similarities are nearer to each other
than rounding errors, they may change places, and the update changes by a place's worth. Equal
samples in different rows of a batch are such a case, unless `unique_labels` leaves one of each.
With dropout, a compiled network draws other masks than one that is not.

{chr(10).join(table)}
"""
