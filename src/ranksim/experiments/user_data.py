"""Resolve the options of ``compare`` and ``fit`` to the specification of user data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ranksim.data.images.table import IMAGE_COLUMNS
from ranksim.data.spec import DataLocation, make_user_spec
from ranksim.data.split_plan import read_split_column
from ranksim.training.task_loading import DataSource, read_user_data


def resolve_user_data(location: DataLocation, options: Mapping[str, Any]) -> DataSource:
    """Build the source of user data, with columns that the data itself decides.

    These are the image column of a folder of images, if no inputs are named, and the column
    ``split``, if it names all three parts and nothing else is said about the split.

    Args:
        location: where the data lies.
        options: see :func:`ranksim.data.spec.make_user_spec`.

    Raises:
        DataError: the data cannot be read.
        UsageError: options that contradict each other or would do nothing.
    """
    columns = read_user_data(location)
    inputs = ("text", "image", "window", "features")
    if columns.root is not None and not any(options.get(name) for name in inputs):
        image = next((name for name in IMAGE_COLUMNS if name in columns.names), None)
        options = {**options, "image": image}
    spec = make_user_spec({**options, "image_root": location.image_root})
    split = read_split_column(columns, spec)
    return DataSource(dataclasses.replace(spec, split=split), location)
