"""Training with Lightning: method grammar, recipes, the module and the fit loop. Needs the extra ``train``."""
