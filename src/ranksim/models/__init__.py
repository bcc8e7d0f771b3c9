"""Encoders and the regressor that puts one linear output on top."""

from ranksim.models.bilstm import BiLSTM, TextEncoder
from ranksim.models.regressor import Regressor

__all__ = ["BiLSTM", "Regressor", "TextEncoder"]
