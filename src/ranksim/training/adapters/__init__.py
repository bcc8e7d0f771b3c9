"""Adapters from user data to network inputs, one per kind of data.

An adapter is fitted on the training samples of a split plan, converts its splits and new data in
the same way, and is saved as JSON with a model.
"""

from importlib import import_module
from typing import Any

from ranksim._utils.schema import validate_types
from ranksim.training.adapters.base import (
    AdaptedSplits,
    AdaptedTable,
    DataAdapter,
    LabelSamples,
    NetworkFactory,
)
from ranksim.training.modality import IMAGE, SENTENCES, SERIES, TABLE, TEXT

__all__ = [
    "AdaptedSplits",
    "AdaptedTable",
    "DataAdapter",
    "LabelSamples",
    "NetworkFactory",
    "adapter_from_dict",
    "adapter_type",
]

# module and class, imported on demand: some need optional packages
_ADAPTERS = {
    TABLE: ("table", "TableAdapter"),
    TEXT: ("text", "TextAdapter"),
    SENTENCES: ("sentences", "SentenceAdapter"),
    IMAGE: ("image", "ImageAdapter"),
    SERIES: ("series", "SeriesAdapter"),
}


def adapter_type(kind: str) -> type[DataAdapter]:
    """Import and return the adapter class of a kind of data."""
    if kind not in _ADAPTERS:
        raise ValueError(f"kind must be one of {', '.join(_ADAPTERS)}, got {kind!r}")
    module, name = _ADAPTERS[kind]
    adapter: type[DataAdapter] = getattr(import_module(f"{__name__}.{module}"), name)
    return adapter


def adapter_from_dict(content: dict[str, Any]) -> DataAdapter:
    """Restore an adapter of any kind from the result of its ``to_dict``."""
    content = dict(content)
    return validate_types(adapter_type(content.pop("kind")).from_dict(content))
