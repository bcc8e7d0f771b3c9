"""Resampling of tables for regression (NumPy only)."""

from ranksim.imbalance.resampling.samplers import (
    RESAMPLERS,
    SMOGN,
    SMOTER,
    WERCS,
    RandomOverSampler,
    RandomUnderSampler,
    Resampler,
    ResamplerName,
    make_resampler,
)

__all__ = [
    "RESAMPLERS",
    "SMOGN",
    "SMOTER",
    "WERCS",
    "RandomOverSampler",
    "RandomUnderSampler",
    "Resampler",
    "ResamplerName",
    "make_resampler",
]
