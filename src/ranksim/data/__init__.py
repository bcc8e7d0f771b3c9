"""Input data: tables, texts, images, series, splits and label bins."""

from ranksim.data.splitting import Split, balanced_split
from ranksim.data.text import TextSamples

__all__ = ["Split", "TextSamples", "balanced_split"]
