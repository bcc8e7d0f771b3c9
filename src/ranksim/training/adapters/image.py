"""Images by their paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ranksim._utils.progress import counting
from ranksim.data.images.dataset import ImageDataset, describe_broken
from ranksim.data.images.pixel_cache import PixelStore
from ranksim.data.images.table import ImageTable, image_paths
from ranksim.data.split_plan import OwnPlan
from ranksim.data.table import Columns
from ranksim.datasets.image_benchmarks import ImagePlan, open_images
from ranksim.exceptions import DataError
from ranksim.training.adapters.base import Opened, Parts, tabled
from ranksim.training.modality import IMAGE
from ranksim.training.networks import image_network
from ranksim.training.recipe import ImageRecipe


@dataclass(frozen=True)
class ImageReader:
    """A vision model over images.

    Args:
        name: column of their paths, which are relative to the folder of the table.
    """

    kind: ClassVar[str] = IMAGE
    name: str

    @classmethod
    def fit(cls, plan: OwnPlan, recipe: ImageRecipe) -> Self:
        return cls(*plan.inputs)

    def parts(self, plan: OwnPlan, recipe: ImageRecipe) -> Parts:
        paths = image_paths(plan.columns, self.name)
        table = ImageTable(tuple(paths[row] for row in plan.rows), plan.labels).dealt(plan.split)
        images = ImagePlan(IMAGE, _root(plan.columns), table, plan.bins)
        with counting("decoding images") as told:
            benchmark, (train, val, test) = open_images(
                images, recipe.image_size, skip_broken=plan.options.skip_broken, told=told
            )
        return Parts((train, val, test), image_network, benchmark.facts)

    def read(self, columns: Columns, recipe: ImageRecipe) -> Opened:
        paths, store = image_paths(columns, self.name), PixelStore(recipe.image_size)
        with counting("decoding images") as told:
            rows, broken = store.fill(_root(columns), paths, told=told)
        if broken:
            raise DataError(
                f"{describe_broken(broken, len(set(paths)))}; mend them or remove their rows."
            )
        samples = ImageDataset(store, rows, np.zeros(len(rows)))
        return Opened(np.arange(len(rows)), samples, image_network)

    def as_dict(self) -> dict[str, Any]:
        return tabled(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(**content)


def _root(columns: Columns) -> Path:
    """The folder that paths are relative to."""
    if columns.root is None:
        raise DataError(
            f"{columns.name} names no folder of images: name the folder that holds both, or give "
            "--image-root."
        )
    return columns.root
