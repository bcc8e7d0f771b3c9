"""Encoders and the regressor that puts one linear output on top."""

from ranksim.models.bilstm import BiLSTM, TextEncoder
from ranksim.models.frozen import Frozen, Given
from ranksim.models.regressor import Regressor

__all__ = ["BiLSTM", "Frozen", "Given", "Regressor", "TextEncoder"]
