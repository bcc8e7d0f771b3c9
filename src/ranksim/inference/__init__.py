"""What a saved model is: a network, what reads data for it, and the label density it has seen."""

from ranksim.inference.predictions import Predictions
from ranksim.inference.saved_model import Model, load_model

__all__ = ["Model", "Predictions", "load_model"]
