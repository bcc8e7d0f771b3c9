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

    from ranksim.data.batch import BatchDataset
    from ranksim.models import Regressor
    from ranksim.training.feature_readers import FeatureReader

_EXAMPLES = 8  # samples in the example batch
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

    def make_factory(
        self, samples: BatchDataset, kind: str, reader: FeatureReader | None
    ) -> Callable[[], Regressor]:
        """Return a function that builds a new network with a head, for samples of a kind."""
        from ranksim.models import Regressor
        from ranksim.training.custom_encoder import make_encoder

        return lambda: Regressor(make_encoder(self, self.get_inputs(samples), kind, reader))

    def check(self, samples: BatchDataset, kind: str, reader: FeatureReader | None) -> None:
        """Raise a UsageError if two calls do not build two networks that can be trained."""
        factory = self.make_factory(samples, kind, reader)
        networks = [factory().encoder for _ in range(2)]
        first, second = ({p.data_ptr() for p in network.parameters()} for network in networks)
        if first & second:
            raise UsageError(
                f"{MODEL} {self.name} returns the same network, or shared layers, at each call, so "
                "that runs would share weights: create all layers inside of it."
            )

    @staticmethod
    def get_inputs(samples: BatchDataset) -> tuple[Tensor, ...]:
        """Return the inputs of a few samples."""
        import torch

        return samples.get_inputs(torch.arange(min(len(samples), _EXAMPLES)))

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
