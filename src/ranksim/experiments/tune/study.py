"""The storage of searches, one file a folder, and the recipe file that is made of it."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from ranksim._utils.formatting import format_count
from ranksim._utils.storage import atomic_write, with_digest
from ranksim.evaluation.record import flatten_dict, upgrade_identity
from ranksim.exceptions import UsageError, disk_error, require_optional
from ranksim.training.method import Method

STORAGE, RECIPE = "study.db", "recipe.toml"
_DIGEST = "digest-"  # of a trial, by its number
_SETTLED = 6  # validations that no trial is pruned before
_DATA = (
    "data.benchmark",
    "data.options.split",
    "data.options.domains",
    "data.regions_from",
    "preset",
)


@contextmanager
def folder_of_searches(out: Path) -> Iterator[None]:
    """One search in a folder at a time; one sentence for a storage that cannot be used."""
    optuna, sqlalchemy = (
        require_optional("optuna", "tune"),
        require_optional("sqlalchemy.exc", "tune"),
    )
    out.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(out / ".lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UsageError(
            f"Another ranksim tune works in {out}: wait for it, or give another folder with --out."
        ) from error
    except (sqlalchemy.SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        if "is full" in reason:
            raise disk_error(OSError(errno.ENOSPC, reason), out / STORAGE) from error
        raise _unusable(out, reason) from error


def _unusable(out: Path, reason: str) -> UsageError:
    return UsageError(
        f"{out / STORAGE} cannot be used ({reason}): give another folder with --out, or delete "
        "the file to search anew."
    )


def open_study(out: Path, method: Method, identity: dict[str, Any]) -> Any:
    """The study of a method; trials that a kill left under way are to be tried again.

    Args:
        out: the folder.
        method: what is searched for.
        identity: what must be the same for trials to be compared.

    Raises:
        UsageError: the folder holds searches on other data, or for this method with other settings.
    """
    optuna = require_optional("optuna", "tune")
    storage = _storage(out)
    _verify(out)
    identity = json.loads(json.dumps(identity))
    for other in optuna.get_all_study_summaries(storage):
        there = other.user_attrs.get("identity")
        if there is not None:
            _refuse_another(out, other.study_name, there, method, identity)
    study = optuna.create_study(
        storage=storage,
        study_name=method.key,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=_SETTLED),
        load_if_exists=True,
    )
    study.set_user_attr("identity", identity)
    # a seed that moves on: a search that is continued must not draw its first values again
    drawn = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=drawn, n_startup_trials=8)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)
    return study


def seal_trial(study: Any, number: int) -> None:
    """Note the digest of a trial that has ended: SQLite has none."""
    trial = study.get_trials(deepcopy=False)[number]
    study.set_user_attr(f"{_DIGEST}{number}", _digest_of(trial))


def _digest_of(trial: Any) -> str:
    told = {"state": trial.state.name, "value": trial.value, "params": trial.params}
    steps = sorted(trial.intermediate_values.items())
    digest: str = with_digest({**told, "values": values_of(trial), "steps": steps})["digest"]
    return digest


def _verify(out: Path) -> None:
    """Read all of a storage.

    Raises:
        UsageError: something in it is not what was written.
    """
    optuna = require_optional("optuna", "tune")
    damaged, storage = "", _storage(out)
    try:
        for name in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=name, storage=storage)
            trials = study.get_trials(deepcopy=False)
            for key, digest in study.user_attrs.items():
                if key.startswith(_DIGEST):
                    number = int(key.removeprefix(_DIGEST))
                    if digest != _digest_of(trials[number]):
                        damaged = f"trial {number + 1} of {name} is not as it was written"
    except Exception as error:  # SQLAlchemy, Optuna and JSON, each in its own way
        if "readonly" in str(error) or "full" in str(error):
            raise
        damaged = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if damaged:
        raise _unusable(out, damaged)


def write_recipes(out: Path) -> None:
    """The best of each search of the folder, as tables of one recipe file."""
    optuna = require_optional("optuna", "tune")
    lines = [
        "# Written by ranksim tune: by validation scores alone, seeds and data as in the folder."
    ]
    for name in sorted(optuna.get_all_study_names(_storage(out))):
        study = optuna.load_study(study_name=name, storage=_storage(out))
        complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if not complete:
            continue
        best, before = study.best_trial, complete[0]
        lines += [
            "",
            f"# validation score {best.value:.4f}, best of {count_trials(study)}"
            + (f"; {before.value:.4f} before" if before.number == 0 else ""),
            f'[methods."{name}"]',
            *(f"{field} = {json.dumps(value)}" for field, value in values_of(best).items()),
        ]
    with atomic_write(out / RECIPE) as aside:
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")


def values_of(trial: Any) -> dict[str, Any]:
    """What a trial tried, by recipe field."""
    values: dict[str, Any] = trial.user_attrs["values"]
    return values


def count_trials(study: Any) -> str:
    """``5 trials, 2 pruned``."""
    states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
    pruned = states.count("PRUNED")
    return f"{format_count(states.count('COMPLETE') + pruned, 'trial')}, {pruned} pruned"


def _storage(out: Path) -> str:
    return f"sqlite:///{out / STORAGE}"


def _refuse_another(
    out: Path, name: str, there: dict[str, Any], method: Method, identity: dict[str, Any]
) -> None:
    """A folder holds searches on one data set; those for one method have the same settings."""
    old, new = flatten_dict(upgrade_identity(there)), flatten_dict(identity)
    for setting in dict.fromkeys((*new, *old)) if name == method.key else _DATA:
        if old.get(setting) != new.get(setting):
            raise UsageError(
                f"{out} holds a search for {name} with {setting} {old.get(setting)!r}, now "
                f"{new.get(setting)!r}: give another folder with --out."
            )
