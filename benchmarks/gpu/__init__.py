"""Correctness and speed on a GPU, in one command: ``make gpu``."""
