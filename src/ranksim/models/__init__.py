"""Encoders and the regressor that puts one linear output on top."""

from ranksim.models.bilstm import BiLSTM, TextEncoder
from ranksim.models.frozen import Frozen, Given
from ranksim.models.mlp import MLPEncoder
from ranksim.models.published import load_published, read_published, read_recipe
from ranksim.models.regressor import Regressor
from ranksim.models.series import ConvEncoder, GRUEncoder
from ranksim.models.vision import ImageEncoder

__all__ = [
    "BiLSTM",
    "ConvEncoder",
    "Frozen",
    "GRUEncoder",
    "Given",
    "ImageEncoder",
    "MLPEncoder",
    "Regressor",
    "TextEncoder",
    "load_published",
    "read_published",
    "read_recipe",
]
