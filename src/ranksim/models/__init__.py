"""Encoders and the regressor that puts one linear output on top."""

from ranksim.models.bilstm import BiLSTM, TextEncoder
from ranksim.models.frozen import Frozen, Given
from ranksim.models.published import load_published, read_published, read_recipe
from ranksim.models.regressor import Regressor
from ranksim.models.vision import ImageEncoder

__all__ = [
    "BiLSTM",
    "Frozen",
    "Given",
    "ImageEncoder",
    "Regressor",
    "TextEncoder",
    "load_published",
    "read_published",
    "read_recipe",
]
