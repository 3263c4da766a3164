"""How good a list is, and how sure we are: metrics, runs, statistics, permutations."""

from lib.evaluation.metrics import (
    CANDIDATES_PER_PLACE,
    LARGEST_DEFAULT,
    METRICS,
    Task,
    chance,
    cutoff,
    discounts,
    evaluate_files,
    ideal,
    per_user,
    recommend_and_score,
    score_ranks,
    summarise,
    tasks,
    validator,
)

__all__ = [
    "CANDIDATES_PER_PLACE",
    "LARGEST_DEFAULT",
    "METRICS",
    "Task",
    "chance",
    "cutoff",
    "discounts",
    "evaluate_files",
    "ideal",
    "per_user",
    "recommend_and_score",
    "score_ranks",
    "summarise",
    "tasks",
    "validator",
]
