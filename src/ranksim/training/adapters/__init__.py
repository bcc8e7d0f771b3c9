"""From anyone's columns to what a network reads: a reader for each kind of input.

A reader is made from the training samples of a plan, opens its parts, reads new data in the same
way, and is written down as JSON beside a model's weights.
"""

from ranksim.training.adapters.base import (
    AdaptedParts,
    AdaptedTable,
    DataAdapter,
    LabelSamples,
    adapter_from_dict,
    adapter_type,
)

__all__ = [
    "AdaptedParts",
    "AdaptedTable",
    "DataAdapter",
    "LabelSamples",
    "adapter_from_dict",
    "adapter_type",
]
