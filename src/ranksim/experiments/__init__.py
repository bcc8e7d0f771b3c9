"""Method names, recipes, published figures, sweeps. Needs the extra ``bench`` to train."""
