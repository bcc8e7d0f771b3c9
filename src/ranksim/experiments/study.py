"""Optuna studies of hyperparameters, their SQLite file, and the recipe file of best values."""

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
_DIGEST = "digest-"  # prefix of a trial's digest in the attributes of its study
_WARMUP_STEPS = 6  # validations before a trial can be pruned
_DATA = ("data.benchmark", "data.options.split", "data.options.domains", "data.regions_from")
_SHARED = (*_DATA, "preset")  # settings that all searches of a folder share


@contextmanager
def lock_study_folder(out: Path) -> Iterator[None]:
    """Lock the folder against other searches, and convert storage errors to UsageErrors."""
    optuna = require_optional("optuna", "tune")
    sqlalchemy = require_optional("sqlalchemy.exc", "tune")
    out.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(out / ".lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UsageError(
            f"Another ranksim tune runs in {out}: wait until it has ended, or choose another "
            "folder with --out."
        ) from error
    except (sqlalchemy.SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        if "is full" in reason:
            raise disk_error(OSError(errno.ENOSPC, reason), out / STORAGE) from error
        raise _storage_error(out, reason) from error


def _storage_error(out: Path, reason: str) -> UsageError:
    """Return a UsageError which says that the storage file cannot be read."""
    return UsageError(
        f"{out / STORAGE} could not be read ({reason}): choose another folder with --out, or "
        "delete the file to start the search again."
    )


def open_study(out: Path, method: Method, identity: dict[str, Any]) -> Any:
    """Open or create the Optuna study of a method, and enqueue interrupted trials again.

    Raises:
        UsageError: the folder contains searches on other data, or of this method with another
            ``identity``, the settings that must be equal for trials to be comparable.
    """
    optuna = require_optional("optuna", "tune")
    _verify_storage(out)
    storage = _open_storage(out)
    identity = json.loads(json.dumps(identity))
    new = flatten_dict(identity)
    for other in optuna.get_all_study_summaries(storage):
        if (saved := other.user_attrs.get("identity")) is None:
            continue
        old = flatten_dict(upgrade_identity(saved))
        for name in dict.fromkeys((*new, *old)) if other.study_name == method.key else _SHARED:
            if old.get(name) != new.get(name):
                raise UsageError(
                    f"{out} contains a search for {other.study_name} with {name} "
                    f"{old.get(name)!r}, but this command has {new.get(name)!r}: choose another "
                    "folder with --out."
                )
    study = optuna.create_study(
        storage=storage,
        study_name=method.key,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=_WARMUP_STEPS),
        load_if_exists=True,
    )
    study.set_user_attr("identity", identity)
    # seed by the number of trials, so that a continued search does not repeat its first values
    n_trials = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=n_trials, n_startup_trials=8)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)
    return study


def seal_trial(study: Any, number: int) -> None:
    """Store a digest of a finished trial, which reveals later damage to the SQLite file."""
    trial = study.get_trials(deepcopy=False)[number]
    study.set_user_attr(f"{_DIGEST}{number}", _trial_digest(trial))


def _trial_digest(trial: Any) -> Any:
    """Compute the digest of a trial's state, parameter values and scores."""
    content = {
        "state": trial.state.name,
        "value": trial.value,
        "params": trial.params,
        "values": trial_values(trial),
        "steps": sorted(trial.intermediate_values.items()),
    }
    return with_digest(content)["digest"]


def _verify_storage(out: Path) -> None:
    """Raise a UsageError if the storage file is unreadable or a trial differs from its digest."""
    damage = ""
    try:
        for study in _load_studies(out):
            trials = study.get_trials(deepcopy=False)
            for key, digest in study.user_attrs.items():
                number = int(key.removeprefix(_DIGEST)) if key.startswith(_DIGEST) else None
                if number is not None and digest != _trial_digest(trials[number]):
                    damage = f"trial {number + 1} of {study.study_name} does not match its digest"
    except Exception as error:  # of SQLAlchemy, Optuna or JSON
        if "readonly" in str(error) or "full" in str(error):
            raise
        damage = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if damage:
        raise _storage_error(out, damage)


def write_recipes(out: Path) -> None:
    """Write the best values of all studies in the folder to a recipe file, one table per method.

    :func:`ranksim.training.presets.read_searches` reads the comments.
    """
    lines = ["# Written by ranksim tune, chosen by validation scores."]
    for study in _load_studies(out):
        trials = study.get_trials(deepcopy=False)
        complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
        if not complete:
            continue
        best, first = study.best_trial, complete[0]
        lines += [
            "",
            f"# validation score {best.value:.4f}, best of {count_trials(study)}, seeds "
            + ",".join(map(str, study.user_attrs["identity"]["seeds"]))
            + (f"; {first.value:.4f} before" if first.number == 0 else ""),
            f'[methods."{study.study_name}"]',
            *(f"{field} = {json.dumps(value)}" for field, value in trial_values(best).items()),
        ]
    with atomic_write(out / RECIPE) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _load_studies(out: Path) -> Iterator[Any]:
    """Yield the Optuna studies of a folder, sorted by name."""
    optuna = require_optional("optuna", "tune")
    storage = _open_storage(out)
    for name in sorted(optuna.get_all_study_names(storage)):
        yield optuna.load_study(study_name=name, storage=storage)


def trial_values(trial: Any) -> dict[str, Any]:
    """Return the values that a trial tries, by recipe field."""
    values: dict[str, Any] = trial.user_attrs["values"]
    return values


def count_trials(study: Any) -> str:
    """Return the number of ended trials as text, such as ``5 trials, 2 pruned``."""
    states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
    pruned = states.count("PRUNED")
    return f"{format_count(states.count('COMPLETE') + pruned, 'trial')}, {pruned} pruned"


def _open_storage(out: Path) -> Any:
    """Open the storage file; Optuna would open it again for each function that gets its name."""
    return require_optional("optuna", "tune").storages.RDBStorage(f"sqlite:///{out / STORAGE}")
