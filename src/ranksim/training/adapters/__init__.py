"""From anyone's columns to what a network reads: a reader for each kind of input.

A reader is made from the training samples of a plan, opens its parts, reads new data in the same
way, and is written down as JSON beside a model's weights.
"""

from ranksim.training.adapters.base import (
    LabelSamples,
    Opened,
    Parts,
    Reader,
    kind_of,
    reader_from_dict,
    reader_type,
)

__all__ = [
    "LabelSamples",
    "Opened",
    "Parts",
    "Reader",
    "kind_of",
    "reader_from_dict",
    "reader_type",
]
