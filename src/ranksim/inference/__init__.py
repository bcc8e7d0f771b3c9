"""Saved models: train, save and load them, predict new data, and score predictions."""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes

if TYPE_CHECKING:
    from ranksim.evaluation.predictions import Predictions
    from ranksim.inference.saved_model import Model, load_model

__all__ = ["Model", "Predictions", "load_model"]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Predictions": "ranksim.evaluation.predictions",
        **dict.fromkeys(("Model", "load_model"), "ranksim.inference.saved_model"),
    },
)
