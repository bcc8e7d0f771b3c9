"""Label bins and, built on them, everything that balances labels. numpy alone."""

from ranksim.balance.bins import LabelBins

__all__ = ["LabelBins"]
