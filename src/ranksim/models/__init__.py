"""Encoders, and the regressor that puts a linear head on top."""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes

if TYPE_CHECKING:
    from ranksim.models.checkpoints import (
        load_checkpoint,
        read_checkpoint,
        read_checkpoint_section,
    )
    from ranksim.models.encoders import BiLSTM, ConvEncoder, GRUEncoder, MLPEncoder, TextEncoder
    from ranksim.models.heads import Head, QuantileHead, ScaleHead, UVoteHead
    from ranksim.models.pretrained import SentenceEncoder, load_tokenizer
    from ranksim.models.regressor import (
        FrozenEncoder,
        MeanRegressor,
        PrecomputedFeatures,
        Regressor,
    )
    from ranksim.models.vision import ImageEncoder

__all__ = [
    "BiLSTM",
    "ConvEncoder",
    "FrozenEncoder",
    "GRUEncoder",
    "Head",
    "ImageEncoder",
    "MLPEncoder",
    "MeanRegressor",
    "PrecomputedFeatures",
    "QuantileHead",
    "Regressor",
    "ScaleHead",
    "SentenceEncoder",
    "TextEncoder",
    "UVoteHead",
    "load_checkpoint",
    "load_tokenizer",
    "read_checkpoint",
    "read_checkpoint_section",
]

_MODULES = {
    "checkpoints": ("load_checkpoint", "read_checkpoint", "read_checkpoint_section"),
    "encoders": ("BiLSTM", "ConvEncoder", "GRUEncoder", "MLPEncoder", "TextEncoder"),
    "heads": ("Head", "QuantileHead", "ScaleHead", "UVoteHead"),
    "pretrained": ("SentenceEncoder", "load_tokenizer"),
    "regressor": ("FrozenEncoder", "MeanRegressor", "PrecomputedFeatures", "Regressor"),
    "vision": ("ImageEncoder",),
}
# estimators and their settings are known without PyTorch
__getattr__, __dir__ = lazy_attributes(
    __name__,
    {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names},
)
