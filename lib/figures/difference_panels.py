"""Differences of recommenders and backends to what they are held against, one panel a split."""

from lib import figures
from lib.study.text import tracks_of

__all__ = ["by_split"]


_LINE, _GAP = 0.07, 0.08  # inches, of an interval among others, and between groups; less, and markers overlap
_AXIS, _LEGEND = 0.6, 0.3  # inches, of what stands around them


def by_split(frame, splits, text_width, *, group, groups, colour, scale, margins=None):
    """Forests of differences side by side, hot tracks beside cold ones, that share their groups of lines.

    Parameters
    ----------
    frame : DataFrame
        ``split, k, diff, ci_low, ci_high`` and the columns named next.
    splits : list of str
        A panel each.
    text_width : float
        Of the thesis, inches.
    group : str
        Column that names a group of lines.
    groups : list of str
        Which groups, top first.
    colour : str
        Column with backends; where there are several, a legend names them.
    scale : str
        What is subtracted from what; metric and cut-off are added.
    margins : dict of {str: float}, optional
        Smallest effect of interest on each split, drawn as a band around 0.

    Returns
    -------
    Figure
    """
    several = frame[colour].nunique() > 1
    group_height = max(0.22, _GAP + _LINE * frame[colour].nunique())  # as high as its name at least
    height = _AXIS + _LEGEND * several + group_height * len(groups)
    figure, axes = figures.panels(
        text_width, 1, len(splits), ratio=height * len(splits) / text_width, sharey=True, squeeze=False
    )
    for panel, split in zip(axes[0], splits, strict=True):
        own = frame[frame["split"] == split]
        figures.forest(panel, own, group=group, groups=groups, colour=colour, margin=(margins or {}).get(split))
        panel.set(title=tracks_of(split), xlabel=f"{scale}, NDCG@{own['k'].iloc[0]}")
    if several:
        handles, names = axes[0, 0].get_legend_handles_labels()
        figures.legend(figure, dict(zip(names, handles, strict=True)))
    return figure
