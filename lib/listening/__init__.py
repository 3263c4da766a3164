"""Hearing what is recommended: notebook 80."""

__all__ = ["archives", "players", "reasons", "room", "track_map"]
