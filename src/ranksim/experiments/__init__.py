"""Sweeps over methods and seeds: run, store, reproduce, tune and time trainings."""
