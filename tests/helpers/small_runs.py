"""What keeps trainings of tests short: a small network, no t-SNE, no page."""

from pathlib import Path
from typing import Any
from unittest import mock

from ranksim.evaluation import diagnostics
from ranksim.experiments import sweep_request
from ranksim.models import vision

SMALL_RESNET = ("basic", [1, 1], [8, 16])  # in place of ResNet-18, whose checkpoints have 134 MB


def skip_pictures() -> None:
    """Make sweeps of this process skip t-SNE and the page, which take longer than trainings."""

    def return_points(features: Any, points: Any) -> Any:
        return points

    def write_nothing(results: dict[str, Any], out: Path) -> Path:
        return out

    mock.patch.object(diagnostics, "_tsne", return_points).start()
    mock.patch.object(sweep_request, "write_page", write_nothing).start()


def use_small_resnet() -> None:
    """Build a small network for the name ``resnet18`` in this process."""
    vision.RESNETS["resnet18"] = SMALL_RESNET
