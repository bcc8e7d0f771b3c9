"""Training by Lightning: recipes, the module, one run. Needs the extra ``bench``."""
