"""Images by their paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ranksim._utils.progress import progress_counter
from ranksim.data.images.dataset import ImageDataset, describe_broken
from ranksim.data.images.pixel_cache import PixelCache
from ranksim.data.images.table import ImageTable, image_paths
from ranksim.data.spec import ImageSpec
from ranksim.data.split_plan import SplitPlan
from ranksim.data.table import Table
from ranksim.datasets.image_benchmarks import ImagePlan, load_images
from ranksim.exceptions import DataError
from ranksim.training.adapters.base import AdaptedParts, AdaptedTable, to_plain_dict
from ranksim.training.factory import image_network
from ranksim.training.modality import IMAGE
from ranksim.training.recipe import ImageRecipe


@dataclass(frozen=True)
class ImageAdapter:
    """A vision model over images.

    Args:
        name: column of their paths, which are relative to the folder of the table.
    """

    kind: ClassVar[str] = IMAGE
    name: str

    @classmethod
    def fit(cls, plan: SplitPlan, recipe: ImageRecipe) -> Self:
        return cls(*plan.inputs)

    def parts(self, plan: SplitPlan, recipe: ImageRecipe) -> AdaptedParts:
        assert isinstance(plan.options, ImageSpec)
        paths = image_paths(plan.table, self.name)
        table = ImageTable(tuple(paths[row] for row in plan.rows), plan.labels).with_split(
            plan.split
        )
        images = ImagePlan(IMAGE, _root(plan.table), table, plan.bins)
        with progress_counter("decoding images") as told:
            benchmark, (train, val, test) = load_images(
                images, recipe.image_size, skip_broken=plan.options.skip_broken, on_progress=told
            )
        return AdaptedParts((train, val, test), image_network, benchmark.facts)

    def read(self, columns: Table, recipe: ImageRecipe) -> AdaptedTable:
        paths, store = image_paths(columns, self.name), PixelCache(recipe.image_size)
        with progress_counter("decoding images") as told:
            rows, broken = store.add_images(_root(columns), paths, on_progress=told)
        if broken:
            raise DataError(
                f"{describe_broken(broken, len(set(paths)))}; mend them or remove their rows."
            )
        samples = ImageDataset(store, rows, np.zeros(len(rows)))
        return AdaptedTable(np.arange(len(rows)), samples, image_network)

    def to_dict(self) -> dict[str, Any]:
        return to_plain_dict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(**content)


def _root(columns: Table) -> Path:
    """The folder that paths are relative to."""
    if columns.root is None:
        raise DataError(
            f"{columns.name} names no folder of images: name the folder that holds both, or give "
            "--image-root."
        )
    if not columns.root.is_dir():
        raise DataError(f"{columns.root} is not a folder: name the image folder with --image-root.")
    return columns.root
