"""Benchmark data sets: loading, preparation and published results."""
