"""Encoders and the regressor that puts one linear output on top."""

from ranksim.models.checkpoints import load_checkpoint, read_checkpoint, read_checkpoint_section
from ranksim.models.encoders import BiLSTM, ConvEncoder, GRUEncoder, MLPEncoder, TextEncoder
from ranksim.models.pretrained import SentenceEncoder, load_tokenizer
from ranksim.models.regressor import FrozenEncoder, PrecomputedFeatures, Regressor
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
    "read_checkpoint_section",
]
