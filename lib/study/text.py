"""Numbers and splits as people read them, in tables and sentences."""

import math

__all__ = ["mean_with_interval", "tracks_of"]


def mean_with_interval(rows):
    """Cells like ``.123 [.101, .145]`` from columns ``value, ci_low, ci_high``, or ``.123`` without an interval."""
    return [
        f"{value:.3f}" if math.isnan(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"
        for value, low, high in zip(rows["value"], rows["ci_low"], rows["ci_high"], strict=True)
    ]


def signed_with_interval(difference, low, high):
    """A difference like ``+0.123 [+0.101, +0.145]``, or ``+0.123`` without an interval.

    Examples
    --------
    >>> signed_with_interval(0.1, -0.02, 0.3), signed_with_interval(0.1, math.nan, math.nan)
    ('+0.100 [-0.020, +0.300]', '+0.100')
    """
    return f"{difference:+.3f}" + ("" if math.isnan(low) else f" [{low:+.3f}, {high:+.3f}]")


def tracks_of(split):
    """Name of a panel: ``hot tracks`` or ``cold tracks``."""
    return f"{split.split('_')[0]} tracks"
