"""Whether intervals cover what they say, and whether anything is called better by chance."""

from dataclasses import dataclass, replace

import numpy as np

from ranksim.evaluation.comparison import add_comparison
from ranksim.evaluation.conclusion import draw_conclusion
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.summary import summarize
from ranksim.inference.scoring import error_intervals
from ranksim.metrics import METRICS

TITLE = "Statistics"
SWEEPS, SHORT = 2_000, 40  # for each number of seeds
SEEDS = (3, 5, 10)
LEAST, MOST = 0.93, 0.97
# of an interval in results: over what it is, and which of the world's true changes it is to hold
KINDS = {"ci_seeds": "seeds", "ci_samples": "test samples", "ci_total": "seeds and test samples"}


@dataclass(frozen=True)
class World:
    r"""Where a sweep comes from.

    A method errs on sample i, trained with seed s, by

    .. math::  f \, h_i \, g_s \left( \sqrt{ρ} \, u_i + \sqrt{1 - ρ} \, w_{si} \right)

    with u of the sample (of which two methods share c), w of the run, h the difficulty of a sample,
    exp(τz − τ²), and g the luck of a seed, exp(κz − κ²). All squares have the mean 1, so that the
    true change of MSE from a method with f = 1 is f² − 1.
    """

    samples: int
    shared: float = 0.0  # ρ
    alike: float = 0.0  # c
    luck: float = 0.0  # κ
    difficulty: float = 0.0  # τ

    @classmethod
    def drawn(cls, draw):
        """One in the reach of what the sweeps in ``results/`` are like."""
        return cls(
            samples=round(np.exp(draw.uniform(np.log(50), np.log(1_000)))),
            shared=draw.uniform(0.3, 0.9),
            alike=draw.uniform(0.5, 0.95),
            luck=draw.choice([0.0, 0.02, 0.05, 0.1, 0.2]),
            difficulty=draw.uniform(0.0, 0.4),
        )

    def errors(self, draw, factors, seeds):
        """Errors ``(methods, S, n)``; and true changes of MSE from the first method, by kind."""
        count, n, rho = len(factors), self.samples, self.shared
        hard = np.exp(self.difficulty * draw.normal(size=n) - self.difficulty**2)
        common, own = draw.normal(size=n), draw.normal(size=(count, 1, n))
        sample = np.sqrt(self.alike) * common + np.sqrt(1 - self.alike) * own
        luck = np.exp(self.luck * draw.normal(size=(count, seeds, 1)) - self.luck**2)
        size = np.asarray(factors)[:, None, None] * luck
        run = draw.normal(size=(count, seeds, n))
        error = size * hard * (np.sqrt(rho) * sample + np.sqrt(1 - rho) * run)
        square = np.square(factors)
        here = (square[:, None] * np.square(hard) * (rho * sample[:, 0] ** 2 + 1 - rho)).mean(1)
        networks = np.square(size).mean((1, 2))
        means = {"ci_seeds": here, "ci_samples": networks, "ci_total": square}
        return error, {kind: mean - mean[0] for kind, mean in means.items()}


def compared(error):
    """The summary of a sweep with these errors, and its answer, made as a sweep makes them."""
    names = ["vanilla", *(f"m{k}" for k in range(1, len(error)))]
    n = error.shape[2]
    label, index, masks = np.zeros(n), np.arange(n), {"all": np.ones(n, dtype=bool)}
    square, absolute = np.square(error).mean(2), np.abs(error).mean(2)
    records, predictions = [], {}
    for k, name in enumerate(names):
        for seed in range(error.shape[1]):
            scores = dict.fromkeys(METRICS) | {"n": n}
            scores |= {"mse": float(square[k, seed]), "mae": float(absolute[k, seed])}
            metrics = {part: {"all": scores} for part in ("val", "test")}
            result = {"metrics": metrics, "seconds": 1.0, "epochs": 1}
            record = {"identity": {"method": name, "seed": seed}, "status": "done"}
            records.append(record | {"result": result, "provenance": {"comparable": False}})
            predictions[name, seed] = Predictions(index, error[k, seed], masks, label)
    summary = summarize(records, "table")
    add_comparison(summary, records, "vanilla", lambda *run: predictions[run])
    return summary, draw_conclusion(summary, "vanilla", "mse")


def coverage(sweeps, seeds, world=None):
    """How often each kind of interval held what it is to hold, in sweeps of one or many worlds."""
    draw = np.random.default_rng((seeds, world is None))
    held = dict.fromkeys([*KINDS, "evaluate"], 0)
    for _ in range(sweeps):
        here = world or World.drawn(draw)
        factors = [1.0, draw.choice([0.9, 0.95, 1.0, 1.05])]
        error, truth = here.errors(draw, factors, seeds)
        effect = compared(error)[0][1]["vs_baseline"]["test"]["all"]["mse"]
        for kind, change in truth.items():
            held[kind] += effect[kind][0] <= change[1] <= effect[kind][1]
        alone, _ = replace(here, luck=0.0).errors(draw, [1.0], 1)
        low, high = error_intervals(alone[0, 0])["mse"]
        held["evaluate"] += low <= 1.0 <= high
    return {kind: count / sweeps for kind, count in held.items()}


def called(sweeps, seeds, factors):
    """In how many sweeps the answer calls a method better, or worse, and tells how many seeds."""
    draw = np.random.default_rng((seeds, len(factors)))
    found = {"better": 0, "worse": 0, "open": 0, "told": 0}
    for _ in range(sweeps):
        _, answer = compared(World.drawn(draw).errors(draw, factors, seeds)[0])
        region = answer["regions"]["all"]
        found["better"] += bool(region["better"]) or "lowers" in answer["sentence"]
        found["worse"] += bool(region["worse"])
        if region["lowest"] != "vanilla" and region["best"] is None:
            found["open"] += 1
            needed = ("seeds would be needed", "more seeds would not", "give at least 3")
            found["told"] += any(
                words in f"{region['sentence']} {answer['sentence']}" for words in needed
            )
    return found


def measure(short, folder):
    """Coverage in worlds like the real ones and in the worst; verdicts where there is nothing."""
    sweeps = SHORT if short else SWEEPS
    usual = {str(seeds): coverage(sweeps, seeds) for seeds in SEEDS}
    worst = {
        "runs alone": World(200),  # samples share nothing, seeds have no luck
        "seeds alone": World(200, luck=0.3),
        "samples alone": World(200, shared=0.95, alike=0.5),
        "few, skewed": World(20, shared=0.5, alike=0.8, luck=0.05, difficulty=0.8),
    }
    beyond = {name: coverage(sweeps, 3, world) for name, world in worst.items()}
    same = {str(seeds): called(sweeps, seeds, [1.0] * 8) for seeds in SEEDS}
    better = {str(seeds): called(sweeps, seeds, [1.0, 0.8, 1.1]) for seeds in (1, 2, 5)}
    slack = 3 * np.sqrt(0.05 * 0.95 / sweeps) if short else 0.0  # what chance makes of a few
    checks = [
        {
            "what": f"95 % intervals over {over} cover in 93 to 97 % of {sweeps:,} sweeps, with 3, "
            "with 5 and with 10 seeds",
            "tried": len(SEEDS) * sweeps,
            "failed": sum(
                not LEAST - slack <= each[kind] <= MOST + slack for each in usual.values()
            ),
            "note": ", ".join(f"{each[kind]:.1%}" for each in usual.values()),
        }
        for kind, over in {**KINDS, "evaluate": "test samples, of `ranksim evaluate`"}.items()
    ]
    chance = [each["better"] + each["worse"] for each in same.values()]
    early = [better[seeds]["better"] + better[seeds]["worse"] for seeds in ("1", "2")]
    every = [*same.values(), *better.values()]
    checks += [
        {
            "what": "seven methods that change nothing: one is called better or worse in 5 % of "
            "sweeps at most",
            "tried": len(SEEDS) * sweeps,
            "failed": sum(count / sweeps > 0.05 + slack for count in chance),
            "note": ", ".join(f"{count / sweeps:.1%}" for count in chance),
        },
        {
            "what": "with one or two seeds nothing is called better or worse, however large",
            "tried": 2 * sweeps,
            "failed": sum(early),
            "note": f"with five: better in {better['5']['better'] / sweeps:.0%}",
        },
        {
            "what": "what may be chance is told with the seeds that would show it",
            "tried": sum(each["open"] for each in every),
            "failed": sum(each["open"] - each["told"] for each in every),
        },
    ]
    return {"checks": checks, "sweeps": sweeps, "usual": usual, "beyond": beyond}


def text(found):
    """What was simulated, and where intervals are wider or narrower than they say."""
    names = {**KINDS, "evaluate": "`ranksim evaluate`"}
    rows = [
        f"| {name} | " + " | ".join(f"{100 * each[kind]:.1f}" for kind in names) + " |"
        for name, each in [
            *((f"{seeds} seeds", each) for seeds, each in found["usual"].items()),
            *found["beyond"].items(),
        ]
    ]
    head = ["| coverage, % | " + " | ".join(names.values()) + " |", "| --- " + "| ---: " * 4 + "|"]
    return f"""\
Each row is {found["sweeps"]:,} simulated sweeps of a method and the baseline, scored, compared
and answered by the code that does so for real ones (`tests/reliability/statistics.py` has the model
of errors). The first rows draw 50 to 1,000 test samples, the share of errors that belongs to
samples, the luck of seeds and how difficult samples are in the reach of the sweeps under
`results/`; each interval is to hold the true change over just what it says.

{chr(10).join([*head, *rows])}

The last four rows, of three seeds, are made to be hard. *Runs alone*: neither samples nor seeds
have anything in common, only each run its noise. The interval over seeds and samples is then
wider than it need be, as three seeds cannot tell that from seeds that differ; rules that narrow
it there (Satterthwaite's, or leaving seeds out where their mean square is small) covered 89 to
93 % where seeds do differ, and were not taken. *Few, skewed*: 20 samples, of which a few have
most of the error: intervals over samples of one model are too narrow there, as those of any
method would be that sees 20 samples; believe the direction more than the width.

Intervals over test samples take the farther of a percentile and a studentised bootstrap at each
side. Percentiles alone covered 93 % of squared errors and 86 % with 20 samples, the studentised
alone 93 % of differences. Figures of what was not taken are of first looks, whose scripts were
not kept.
"""
