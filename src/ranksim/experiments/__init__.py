"""Method names, recipes, published figures, sweeps. Needs the extra ``train`` to train."""
