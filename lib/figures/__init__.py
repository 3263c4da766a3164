"""All drawing, and what a thesis takes in: notebook 90."""

from lib.figures.style import (
    BAND,
    CHANCE,
    GREY,
    RULE,
    by_control,
    dots,
    forest,
    legend,
    maps,
    means,
    panels,
    save,
    save_table,
    use_style,
)

__all__ = [
    "BAND",
    "CHANCE",
    "GREY",
    "RULE",
    "by_control",
    "dots",
    "forest",
    "legend",
    "maps",
    "means",
    "panels",
    "save",
    "save_table",
    "use_style",
]
