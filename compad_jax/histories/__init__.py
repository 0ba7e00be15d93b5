"""Histories: on disk, and as training samples."""
