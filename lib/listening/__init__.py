"""Hearing what is recommended: notebook 80."""
