"""Timing scripts, and what makes their figures."""
