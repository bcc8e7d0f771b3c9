"""Shared helpers for formatting, storage, downloads, progress and provenance."""
