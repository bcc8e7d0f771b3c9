"""Formatting, storage, downloads and provenance that all packages share."""
