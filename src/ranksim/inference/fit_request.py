"""The arguments of ``ranksim fit`` and their checks, which need neither data nor PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from ranksim._utils.arrays import unwrap_scalar
from ranksim.data.spec import UserDataSpec
from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_settings import SweepRequest, SweepSettings
from ranksim.training.method import Method
from ranksim.training.method_rules import depends_on_seed

_MAX_SEED = 2**32


@dataclass(frozen=True)
class FitRequest:
    """The arguments of ``ranksim fit``; ``bench.out`` is the folder for the model.

    Args:
        bench: data, recipe and hardware.
        method: its name.
        seed: of the training, and of the first member.
        refit: train again on all rows after the held-out scores are known, see
            :func:`ranksim.inference.final_training.make_final_run`.
        ensemble: number of members, of consecutive seeds, whose mean is the prediction.
        cross_validate: number of folds whose held-out samples are scored together; the model is
            then trained on all rows, as with ``refit``. None: one split.
    """

    bench: SweepRequest
    method: str
    seed: int
    refit: bool = False
    ensemble: int = 1
    cross_validate: int | None = None

    def __post_init__(self) -> None:
        for name in ("seed", "ensemble", "cross_validate"):  # they are recorded
            object.__setattr__(self, name, unwrap_scalar(getattr(self, name)))
        if self.ensemble < 1:
            raise UsageError(f"--ensemble must be at least 1, got {self.ensemble}.")
        if self.bench.interval is not None and self.is_final:
            option = "--refit" if self.refit else "--cross-validate"
            raise UsageError(
                f"--interval needs samples that the model was not trained on, and {option} trains "
                "on all rows: remove one of them."
            )
        if self.cross_validate is None:
            return
        if self.cross_validate < 2:
            raise UsageError(f"--cross-validate must be at least 2, got {self.cross_validate}.")
        if self.refit:
            raise UsageError(
                "--refit has no effect together with --cross-validate, which trains on all rows "
                "anyway: remove it."
            )

    @property
    def is_final(self) -> bool:
        """Whether the model is trained on all rows."""
        return self.refit or self.cross_validate is not None

    @property
    def seeds(self) -> range:
        """Seeds of the members."""
        return range(self.seed, self.seed + self.ensemble)

    def check_method(self, method: Method) -> None:
        """Raise a UsageError if a method or the data does not suit the options."""
        if self.ensemble > 1 and not depends_on_seed(method.technique):
            raise UsageError(
                f"--ensemble averages models of different seeds, and {method.name} gives the same "
                "model with every seed: leave it out, or choose another method."
            )
        if self.seeds[-1] >= _MAX_SEED:
            raise UsageError(
                f"--ensemble {self.ensemble} counts seeds from --seed {self.seed}, which exceeds "
                f"{_MAX_SEED - 1}: choose a smaller --seed."
            )
        if self.cross_validate is not None:
            assert isinstance(self.bench.source.spec, UserDataSpec)
            self.bench.source.spec.check_folds()

    def parse_method(self, settings: SweepSettings) -> Method:
        """Return the method after all checks that need no data."""
        method = settings.parse_method(self.bench, self.method)
        self.check_method(method)
        return method

    def check(self) -> None:
        """Raise a UsageError for options that are wrong whatever the data contains."""
        self.parse_method(SweepSettings.from_request(self.bench))
