"""Benchmarks and what they are made of: texts, word vectors, splits, verified downloads."""

from ranksim.data.benchmark import Benchmark
from ranksim.data.split import Split, balanced_split
from ranksim.data.text import TextSamples

__all__ = ["Benchmark", "Split", "TextSamples", "balanced_split"]
