"""Saved models: train, save and load them, predict new data, and score predictions."""

from ranksim.evaluation.predictions import Predictions
from ranksim.inference.saved_model import Model, load_model

__all__ = ["Model", "Predictions", "load_model"]
