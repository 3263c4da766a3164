"""When and how much mock listeners listen: what a public log can tell, apart from who likes what.

`EVEN` spreads a listener's discoveries evenly over the year; the demo's worlds, whose sizes were chosen for power, use
it. `PUBLISHED` is fitted to the public month of Music4All-Onion (benchmarks/full_mock.md shows how well), and
`lib.data.mock.fit` fits them to any other public log.
"""

from typing import NamedTuple

# % of listening at hours 0..23, UTC, and on Monday..Sunday, in the published Music4All-Onion split
HOURS = (3.51, 2.94, 2.67, 2.53, 1.89, 1.96, 2.01, 2.36, 2.65, 3.35, 4.17, 4.82)
HOURS += (4.61, 5.13, 5.58, 5.96, 5.85, 6.08, 6.25, 5.75, 5.61, 5.39, 4.96, 3.97)
WEEKDAYS = (13.7, 14.9, 14.3, 14.6, 15.1, 14.4, 13.0)


class Habits(NamedTuple):
    """Figures of listening in time.

    Attributes
    ----------
    activity_shape : float
        Of the Gamma over listeners' numbers of tracks; .65 gives a median of .56 of the mean, as published (142, 256).
    month_shape : float or None
        Of the Gamma over a listener's months: the smaller, the more a listener's discoveries are crowded into some of
        them. None: every month alike.
    leave : float
        Where months differ: a listener of n tracks is gone before the test month with chance
        exp(−n / (leave · mean n)), since many have heard little because they were there for a short time; 0: nobody.
    test_month : float
        Discoveries of the test month relative to the others, where months differ.
    saturation : float
        Where months differ, discoveries of the test month fall with (tracks / mean)^−saturation: who has heard much
        finds less that is new.
    cold_appeal : float or None
        Appeal of a cold track in its month, next to that of another in all the year, to those who look out for new
        ones. None: its pairs are thinned to the test month's share, for everybody.
    cold_listeners : float
        Share of listeners who look out for new tracks; the others hear no cold one.
    growth : float
        Share of the tracks that came out within the year before the test date, where months differ.
    repeat_rate : float
        Mean of further plays of a middling pair by a middling listener.
    session_mean, session_spread : float
        Listens in a sitting: mean over listeners, and the log-normal spread of their own means.
    hours, weekdays : tuple of float
        Relative frequency of the hours 0..23 (UTC) and of Monday..Sunday.
    """

    activity_shape: float = 0.65
    month_shape: float | None = None
    leave: float = 0.0
    test_month: float = 1.0
    saturation: float = 0.0
    cold_appeal: float | None = None
    cold_listeners: float = 1.0
    growth: float = 0.0
    repeat_rate: float = 0.615
    session_mean: float = 9.0
    session_spread: float = 0.5
    hours: tuple = HOURS
    weekdays: tuple = WEEKDAYS


EVEN = Habits()
PUBLISHED = Habits(
    month_shape=2.5,
    leave=0.42,
    test_month=0.58,
    saturation=0.42,
    cold_appeal=2.3,
    cold_listeners=0.42,
    growth=0.13,
    repeat_rate=0.4,
    session_mean=6.0,
)
