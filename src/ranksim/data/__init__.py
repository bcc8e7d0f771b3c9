"""Load, encode and split input data: tables, texts, images and time series; choose label bins."""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes

if TYPE_CHECKING:
    from ranksim.data.splitting import Split, balanced_split
    from ranksim.data.text import TextSamples

__all__ = ["Split", "TextSamples", "balanced_split"]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        **dict.fromkeys(("Split", "balanced_split"), "ranksim.data.splitting"),
        "TextSamples": "ranksim.data.text",
    },
)
