"""Tests, their helpers and oracles."""
