"""Training with Lightning: methods, recipes, networks and the training loop (extra ``train``)."""
