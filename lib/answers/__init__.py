"""The three questions, and what their answers rest on: notebooks 70 to 74."""

__all__ = [
    "audit",
    "backend_pairs",
    "claims",
    "cost",
    "duplicates",
    "known_truth",
    "learning_curves",
    "mir",
    "planted_taste",
    "published_mir",
    "real_records",
    "recovery",
    "rq1",
    "rq2",
    "rq3",
    "worlds",
]
