"""Images, given by their paths."""

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
from ranksim.training.adapters.base import AdaptedSplits, AdaptedTable
from ranksim.training.factory import image_network
from ranksim.training.modality import IMAGE
from ranksim.training.recipe import ImageRecipe


@dataclass(frozen=True)
class ImageAdapter:
    """A vision model over images.

    Args:
        name: column of the paths, relative to the folder of the table.
    """

    kind: ClassVar[str] = IMAGE
    name: str

    @classmethod
    def fit(cls, plan: SplitPlan, recipe: ImageRecipe) -> Self:
        return cls(*plan.inputs)

    def adapt_splits(self, plan: SplitPlan, recipe: ImageRecipe) -> AdaptedSplits:
        assert isinstance(plan.options, ImageSpec)
        paths = image_paths(plan.table, self.name)
        table = ImageTable(tuple(paths[row] for row in plan.rows), plan.labels).with_split(
            plan.split
        )
        images = ImagePlan(IMAGE, _image_root(plan.table), table, plan.bins)
        with progress_counter("decoding images") as progress:
            benchmark, (train, val, test) = load_images(
                images,
                recipe.image_size,
                skip_broken=plan.options.skip_broken,
                on_progress=progress,
            )
        return AdaptedSplits((train, val, test), image_network, benchmark.facts)

    def adapt_table(self, table: Table, recipe: ImageRecipe) -> AdaptedTable:
        paths, cache = image_paths(table, self.name), PixelCache(recipe.image_size)
        with progress_counter("decoding images") as progress:
            rows, broken = cache.add_images(_image_root(table), paths, on_progress=progress)
        if broken:
            description = describe_broken(broken, len(set(paths)))
            raise DataError(f"{description}; repair them or remove their rows.")
        samples = ImageDataset(cache, rows, np.zeros(len(rows)))
        return AdaptedTable(np.arange(len(rows)), samples, image_network)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(**content)


def _image_root(table: Table) -> Path:
    """Return the folder to which image paths are relative."""
    if table.root is None:
        raise DataError(
            f"{table.name} has no image folder: name the folder that holds both table and images, "
            "or give --image-root."
        )
    if not table.root.is_dir():
        raise DataError(f"{table.root} is not a folder: name the image folder with --image-root.")
    return table.root
