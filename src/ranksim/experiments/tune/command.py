"""What ``ranksim tune`` does with what it was given."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from ranksim.exceptions import RankSimError, StoppedError, UsageError, require_optional
from ranksim.experiments.executor import check_engine
from ranksim.experiments.run import check_data
from ranksim.experiments.sweep_request import SweepRequest, SweepSettings, make_runs, parse_seeds
from ranksim.experiments.tune.search import Search
from ranksim.experiments.tune.space import Space
from ranksim.experiments.tune.study import (
    RECIPE,
    count_trials,
    folder_of_searches,
    open_study,
    values_of,
    write_recipes,
)
from ranksim.training.method import parse_method
from ranksim.training.trainer_config import silence_lightning


@dataclass(frozen=True)
class TuneRequest:
    """A tune command as it was given: a bench request, and how long to search.

    Args:
        bench: benchmark, data, recipe changes, seeds, jobs and folder; ``methods`` is one name.
        trials: settings to try, those of earlier commands in this folder included.
        fields: what to search; empty: all that the method uses.
    """

    bench: SweepRequest
    trials: int
    fields: tuple[str, ...] = ()


def tune(request: TuneRequest, *, as_json: bool = False) -> dict[str, Any]:
    """Search, and write what was found as a recipe file that ``ranksim bench --recipe`` takes.

    A trial trains the method once a seed; its score is the mean over seeds of the best validation
    score. A trial that does worse than the median of the others at the same point is pruned. Killed
    at any moment, the same command goes on: finished trials are in the folder's storage file, a
    trial under way is repeated from its last validation.

    Returns:
        The best values by field.

    Raises:
        UsageError: a method with nothing to tune, or a folder that holds another search.
        RankSimError: no trial ended well.
    """
    optuna = require_optional("optuna", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    silence_lightning()
    bench, console = request.bench, Console(stderr=as_json)
    seeds, settings = parse_seeds(bench.seeds), SweepSettings.from_request(bench)
    method = parse_method(bench.methods.strip().lower(), settings.weighting)
    plain = make_runs(bench, settings)(method, seeds[0])
    recipe = dataclasses.asdict(plain.recipe)
    monitor = plain.recipe.monitor.upper()
    space = Space.of(method, recipe, fields=request.fields, given=settings.changes)
    check_engine(bench.engine, plain.hardware, bench.jobs)
    if plain.hardware.num_nodes > 1:
        raise UsageError("tune searches on one machine: leave out --num-nodes.")
    fields = [*space.ranges, *space.choices]
    identity = {**plain.identity(), "seeds": seeds, "fields": fields}
    del identity["seed"]
    with folder_of_searches(bench.out):
        study = open_study(bench.out, method, identity)
        for values in space.first(recipe):
            study.enqueue_trial(values, skip_if_exists=True)
        check_data(plain)  # one process downloads and fills the caches
        try:
            Search(bench, settings, method, seeds, request.trials, space, study, console).go()
        except KeyboardInterrupt as error:
            raise StoppedError("Stopped; the same command goes on where it stopped.") from error
        finally:
            write_recipes(bench.out)
        if not study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
            raise RankSimError(
                f"No trial of {method.name} ended with a finite validation {monitor}: lower lr, or "
                "give other settings and another folder with --out."
            )
        best, tried = study.best_trial, count_trials(study)
    found = values_of(best)
    words = ", ".join(f"{name} {value}" for name, value in found.items())
    console.print(
        f"Best of {tried}: validation {monitor} {best.value:.4f} with {words}.\n"
        f"Recipe: {bench.out / RECIPE} (ranksim bench {bench.benchmark} --recipe "
        f"{bench.out / RECIPE})",
        highlight=False,
        soft_wrap=True,
    )
    return found
