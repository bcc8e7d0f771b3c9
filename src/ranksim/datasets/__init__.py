"""Benchmark data sets: fetching, preparation, published splits and tables."""
