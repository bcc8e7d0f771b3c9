"""Saved models: a network, the adapter that reads its data, and the training label density."""

from ranksim.evaluation.predictions import Predictions
from ranksim.inference.saved_model import Model, load_model

__all__ = ["Model", "Predictions", "load_model"]
