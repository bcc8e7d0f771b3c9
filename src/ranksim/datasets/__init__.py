"""Benchmark data sets: load them, prepare their files, and look up published results."""
