"""From sound and listening logs to tracks, events and the parts of a split: notebooks 10 to 12."""

__all__ = ["outcomes", "overview", "preparation", "realism", "sources", "stream"]
