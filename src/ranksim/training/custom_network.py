"""Networks of the user: a function that builds the feature extractor of all networks."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ranksim._utils.checks import describe_value
from ranksim._utils.formatting import single_line
from ranksim.exceptions import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

MODEL = "--model"


@dataclass(frozen=True, eq=False)
class CustomNetwork:
    """A function of the user that takes an example batch and returns a feature extractor.

    The network maps a batch of N samples to features ``(N, D)``; the head, FDS and RankSim attach
    to them. The batch is that of the kind of data: of a table vectors ``(N, F)``; of a series
    windows ``(N, W, C)``; of images RGB in [0, 1], ``(N, 3, H, W)``; of texts a pair of word
    vectors ``(N, T, E)`` and lengths ``(N,)``, each with one more first dimension for two texts.

    Args:
        build: the function.
    """

    build: Callable[[Any], nn.Module]

    def __post_init__(self) -> None:
        if hasattr(self.build, "state_dict") and not isinstance(self.build, type):
            raise UsageError(
                f"{MODEL} is a network, {type(self.build).__name__}, but each run needs a new one: "
                "pass a function that builds it from an example batch."
            )
        if not callable(self.build):
            raise UsageError(
                f"{MODEL} takes a function that builds a network from an example batch, got "
                f"{describe_value(self.build)}."
            )

    @property
    def name(self) -> str:
        """The function as ``module:name``."""
        return f"{self._module}:{self._qualname}"

    @property
    def _module(self) -> str:
        return str(getattr(self.build, "__module__", "") or type(self.build).__module__)

    @property
    def _qualname(self) -> str:
        return str(getattr(self.build, "__qualname__", type(self.build).__qualname__))

    def describe(self) -> dict[str, Any]:
        """Return module, name and digest of the source, which are recorded with the results."""
        try:
            source: str | None = inspect.getsource(self.build)
        except (OSError, TypeError):  # typed into a shell
            source = None
        digest = None if source is None else hashlib.sha256(source.encode()).hexdigest()[:16]
        return {"module": self._module, "name": self._qualname, "sha256": digest}

    def build_network(self, example: Sequence[Tensor]) -> nn.Module:
        """Call the function, and check that it returns a network with parameters.

        Raises:
            UsageError: the function raises an error or returns something else.
        """
        from torch import nn

        batch = example[0] if len(example) == 1 else tuple(example)
        try:
            network = self.build(batch)
        except Exception as error:  # of the user's code
            raise UsageError(
                f"{MODEL} {self.name} could not build a network ({describe_error(error)}): correct "
                "it; it is called with an example batch."
            ) from error
        if not isinstance(network, nn.Module):
            raise UsageError(
                f"{MODEL} {self.name} must return a torch.nn.Module, got {describe_value(network)}."
            )
        return network


def describe_error(error: Exception) -> str:
    """Describe an error of the user's code in one line."""
    return f"{type(error).__name__}: {single_line(error)}".rstrip(". ")
