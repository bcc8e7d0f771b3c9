"""What a saved model is: a network, what reads data for it, and the label density it has seen."""

from ranksim.bench.model.predictions import Predictions
from ranksim.bench.model.saved import Model, load_model

__all__ = ["Model", "Predictions", "load_model"]
