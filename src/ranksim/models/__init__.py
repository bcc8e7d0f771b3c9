"""Encoders and the regressor that puts one linear output on top."""

from ranksim.models.bilstm import BiLSTM, TextEncoder
from ranksim.models.checkpoints import load_checkpoint, read_checkpoint, read_checkpoint_recipe
from ranksim.models.frozen import FrozenEncoder, PrecomputedFeatures
from ranksim.models.mlp import MLPEncoder
from ranksim.models.regressor import Regressor
from ranksim.models.sentence import SentenceEncoder, load_tokenizer
from ranksim.models.series import ConvEncoder, GRUEncoder
from ranksim.models.vision import ImageEncoder

__all__ = [
    "BiLSTM",
    "ConvEncoder",
    "FrozenEncoder",
    "GRUEncoder",
    "ImageEncoder",
    "MLPEncoder",
    "PrecomputedFeatures",
    "Regressor",
    "SentenceEncoder",
    "TextEncoder",
    "load_checkpoint",
    "load_tokenizer",
    "read_checkpoint",
    "read_checkpoint_recipe",
]
