"""Requests for sweeps and their checks, which need neither data nor PyTorch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ranksim._utils.formatting import format_value
from ranksim.data.spec import DataLocation, SeriesSpec, TableSpec, UserDataSpec, make_user_spec
from ranksim.exceptions import UsageError
from ranksim.experiments.external import name_predictions
from ranksim.imbalance import Scheme
from ranksim.training.custom_estimator import CustomEstimator
from ranksim.training.custom_network import CustomNetwork
from ranksim.training.data_source import DataSource
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import ESTIMATORS, Method, parse_method, parse_methods
from ranksim.training.method_rules import (
    LAST_VALUE,
    NEEDS_SERIES,
    THRESHOLD,
    estimator_options,
    has_threshold,
    needs_table,
)
from ranksim.training.parts import ALPHA, find_part, replaces_loss, unused_fields
from ranksim.training.presets import (
    load_recipe,
    preset_table,
    read_tuned,
    share_ranksim,
    without_estimator_fields,
)
from ranksim.training.recipe import (
    ESTIMATOR_LOSSES,
    GLUCOSE,
    LOSSES,
    OLD_FIELDS,
    SENTENCES,
    SERIES,
    TABLE,
    EstimatorRecipe,
    Recipe,
    parse_change,
    recipe_type,
)
from ranksim.training.trainer_config import TrainerConfig

_MAX_SEEDS = 10_000
DEFAULT_METHODS = "default"
_NETWORKS = "vanilla,sqinv,inv,vanilla+lds,vanilla+fds,focal-r,rrt,vanilla+ranksim"


@dataclass(frozen=True)
class SweepRequest:
    """A request to train several methods with several seeds on one data set."""

    source: DataSource
    methods: str  # names separated by commas, or "all", or "default" for user data
    seeds: str  # as parse_seeds reads it
    out: Path
    preset: str = "small"
    changes: tuple[str, ...] = ()  # recipe fields to override, each "field=value"
    recipe_file: Path | None = None  # recipes by method, as ranksim tune writes them
    share_ranksim: bool = False  # rows with RankSim take its fields from vanilla+ranksim of these
    trainer: TrainerConfig = TrainerConfig()
    limits: TrainingLimits = TrainingLimits()
    jobs: int = 1
    engine: str = "processes"
    budget: float | None = None  # seconds for the whole sweep
    command: str = ""  # recorded with the results
    strict: bool = False  # warnings about the data are errors
    target_transform: str = ""  # of the methods whose name contains none
    predictions: tuple[str, ...] = ()  # files of predictions made elsewhere, a row each
    name: tuple[str, ...] = ()  # of these rows
    tune: int | None = None  # trials of a search for the recipe of each row, before the sweep
    estimators: tuple[CustomEstimator, ...] = ()  # of the user, further rows
    network: CustomNetwork | None = None  # of the user, instead of that of the recipe
    interval: float | None = None  # coverage of prediction intervals; None: without

    @property
    def benchmark(self) -> str:
        """The name of the benchmark, or of the kind of user data."""
        return self.source.spec.benchmark


@dataclass(frozen=True)
class SweepSettings:
    """The preset, ``--set`` changes and recipe file of a request, after validation."""

    benchmark: str
    preset: str
    weighting: Scheme  # of LDS and RRT, if a method's name does not say it
    changes: Mapping[str, Any]  # recipe fields overridden with --set
    tuned: Mapping[str, Mapping[str, Any]]  # recipe fields by method, from --recipe

    @classmethod
    def from_request(cls, request: SweepRequest) -> SweepSettings:
        """Read the recipe settings of a request; raise an error if a field is set to two values."""
        changes: dict[str, Any] = {}
        for name, value in map(parse_change, request.changes):
            if changes.setdefault(name, value) != value:
                raise UsageError(f"{name} is set to {changes[name]} and to {value}: set it once.")
        kind = recipe_type(request.benchmark, request.preset)
        common = preset_table(request.benchmark, request.preset)
        names = {item.name for item in fields(kind)}  # check() refuses others
        common |= {
            name: value
            for name, value in without_estimator_fields(changes, kind).items()
            if name in names
        }
        if common["loss"] in ESTIMATOR_LOSSES and common["loss"] not in LOSSES:
            common["loss"] = LOSSES[0]  # check() refuses it for networks
        weighting: Scheme = kind.from_table(common).weighting  # type: ignore[assignment]
        tuned: Mapping[str, Mapping[str, Any]] = {}
        if request.recipe_file is not None:
            tuned = read_tuned(request.recipe_file, common, weighting, kind)
            if request.share_ranksim:
                tuned = share_ranksim(tuned, request.recipe_file)
        return cls(request.benchmark, request.preset, weighting, changes, tuned)

    def recipe(self, method: Method) -> Recipe:
        """Return the recipe of a method: preset, tuned values and ``--set`` changes combined.

        A change of a field that the method does not have is one of other rows.
        """
        names = self.list_fields(method)
        changes = {name: value for name, value in self.changes.items() if name in names}
        return load_recipe(self.benchmark, self.preset, method, changes, self.tuned)

    def check(self, methods: Sequence[Method]) -> None:
        """Raise a UsageError if a method does not suit the data, or a change has no effect."""
        known = dict.fromkeys(name for method in methods for name in self.list_fields(method))
        for name in self.changes:
            if name not in known:
                raise UsageError(self._describe_useless_change(name, known))
        for technique in (method.technique for method in methods):
            if technique.estimator == LAST_VALUE and self.benchmark not in (SERIES, GLUCOSE):
                raise UsageError(NEEDS_SERIES)
            if technique.resampling and self.benchmark != TABLE:
                raise UsageError(needs_table(technique.resampling))
        loss = self.changes.get("loss")
        for method in methods:
            is_network = not method.technique.estimator
            if is_network and loss in ESTIMATOR_LOSSES and loss not in LOSSES:
                raise UsageError(
                    f"Method {method.name} cannot be trained: a network has no loss {loss}: set "
                    f"loss to one of {', '.join(LOSSES)}, or leave out the networks."
                )
            self.recipe(method)

    def parse_methods(self, request: SweepRequest) -> list[Method]:
        """Return the methods of a request after :meth:`check`."""
        methods = parse_methods(
            *(request.methods, request.benchmark, self.weighting, request.target_transform),
            request.estimators,
        )
        self.check(methods)
        return methods

    def parse_method(self, request: SweepRequest, name: str) -> Method:
        """Return one method of a request after :meth:`check`."""
        method = parse_method(name, self.weighting, request.target_transform, request.estimators)
        self.check([method])
        return method

    def list_fields(self, method: Method) -> list[str]:
        """Return the recipe fields that a method has and that --set can change."""
        technique = method.technique
        names = [item.name for item in fields(recipe_type(self.benchmark, self.preset))]
        if technique.custom is not None:
            names = [item.name for item in fields(Recipe) if item.name != "monitor"]
        elif technique.estimator:
            tunable = {name for each in ESTIMATORS for name in estimator_options(each)}
            useless = tunable - {*estimator_options(technique.estimator)}
            names = [item.name for item in fields(EstimatorRecipe) if item.name not in useless]
        if not has_threshold(technique.resampling):
            names.remove(THRESHOLD)
        useless = unused_fields(technique.parts, technique.weighting)
        if replaces_loss(technique.parts):
            useless |= {"loss", "huber_delta"}
        return [name for name in names if name not in useless]

    def _describe_useless_change(self, name: str, known: Collection[str]) -> str:
        """Return the message that --set changes a field which no method has."""
        if name in OLD_FIELDS and OLD_FIELDS[name] in known:
            return f"Recipe field {name} is now called {OLD_FIELDS[name]}: use that."
        networks = {item.name for item in fields(recipe_type(self.benchmark, self.preset))}
        if name == THRESHOLD:
            owners = "rows that are resampled with over, under, smoter or smogn"
        elif name == ALPHA:
            owners = "rows with denseweight"
        elif (part := find_part(name)) is not None:
            owners = f"rows with {part}"
        elif name in {item.name for item in fields(EstimatorRecipe)} - networks:
            rows = [each for each in ESTIMATORS if name in estimator_options(each)]
            owners = f"the estimators {', '.join(rows)}" if rows else "estimators"
        elif name in networks:
            owners = "networks"
        else:
            return (
                f"--set {format_value(name)} names no setting of the methods of this command: they "
                f"have {', '.join(sorted(known))}."
            )
        return f"--set {name} changes only {owners}, and --methods has none: leave it out."


def parse_seeds(text: str) -> list[int]:
    """Parse a number of seeds (``"5"``: 0 to 4) or a list of seeds (``"3,5"``)."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in text and len(numbers) == 1 and 0 < numbers[0] <= _MAX_SEEDS:
        return list(range(numbers[0]))
    if "," in text and numbers and 0 <= min(numbers) <= max(numbers) < 2**32:
        return list(dict.fromkeys(numbers))
    raise UsageError(
        f"--seeds takes a number above 0 and at most {_MAX_SEEDS:,}, or a list of seeds below "
        f"2**32 such as 3,5,8, got {format_value(text)}."
    )


def list_default_methods(spec: UserDataSpec, transform: str) -> str:
    """Return the methods that ``ranksim compare`` trains by default on user data.

    ``transform`` is that of the target of a table, which depends on its labels.
    """
    if not isinstance(spec, TableSpec):
        last = ",last-value" if isinstance(spec, SeriesSpec) else ""
        return f"{_NETWORKS},linear,median{last}"
    return f"vanilla,sqinv,rrt,vanilla+ranksim,trees,trees+sqinv,trees({transform}),linear,median"


def check_request(request: SweepRequest) -> None:
    """Raise a UsageError for methods or options that are wrong whatever the data contains."""
    if request.tune is not None:
        for option, is_set in (("--recipe", request.recipe_file), ("--budget", request.budget)):
            if is_set is not None:
                raise UsageError(f"--tune searches the recipe of each row: leave out {option}.")
    if request.share_ranksim and request.recipe_file is None:
        raise UsageError(
            "--share-ranksim shares values of a file of ranksim tune: give it with --recipe."
        )
    if request.budget is not None:
        for option, is_given in (
            ("--max-steps", request.limits.steps is not None),
            ("--num-nodes", request.trainer.num_nodes > 1),
        ):
            if is_given:
                raise UsageError(f"--budget plans the steps of each training: leave out {option}.")
    if request.estimators and request.tune is not None:
        raise UsageError(
            "--tune cannot search the settings of your estimators: leave it out, and pass "
            "estimators that search, such as GridSearchCV."
        )
    parse_seeds(request.seeds)
    spec = request.source.spec
    if request.methods == DEFAULT_METHODS and isinstance(spec, UserDataSpec):
        request = replace(request, methods=list_default_methods(spec, "log"))
    methods = SweepSettings.from_request(request).parse_methods(request)
    if request.network is not None:
        _check_network(request, methods)
    name_predictions(request.predictions, request.name)


def _check_network(request: SweepRequest, methods: Sequence[Method]) -> None:
    """Raise a UsageError if a network of the user is not used, or replaces settings."""
    if all(method.technique.estimator for method in methods):
        raise UsageError(
            "--model builds networks, and --methods has none: add one such as vanilla, or leave it "
            "out."
        )
    shape = {"hidden", "layers", "dropout", "encoder"}
    if request.benchmark == SENTENCES:
        shape.remove("encoder")  # whose tokens or features the network reads
    for name, _ in map(parse_change, request.changes):
        if name in shape:
            raise UsageError(f"--set {name} has no effect on the network of --model: leave it out.")


def draft_user_data(location: DataLocation, options: Mapping[str, Any]) -> list[DataSource]:
    """Return the data sources that user data may have, judged by the options alone.

    Without a named input, a table with a column of images contains images.
    """
    options = {**options, "image_root": location.image_root}
    named = [name for name in ("text", "image", "window", "features") if options.get(name)]
    drafts: list[DataSource] = []
    error: UsageError | None = None
    for choice in [{}] if named else [{}, {"image": "image"}]:
        try:
            drafts.append(DataSource(make_user_spec({**options, **choice}), location))
        except UsageError as problem:
            error = error or problem
    if not drafts and error is not None:
        raise error
    return drafts
