"""RQ2: how backends compare under one recommender, what a study of its size can tell, and the answer.

Differences are paired over listeners and all pairs of backends are judged at once, by flipping the signs of whole
listeners. That knows these very tracks alone: where a recommender ran under many permutations of tracks, a difference
must exceed theirs too. The rule is that of the notebook: a smallest detectable difference first, then `better`,
`worse`, `equivalent within δ` or `undecided` by the simultaneous interval and both tests.
"""

import itertools

import numpy as np
import pandas as pd

from lib.evaluation import correlation, results, statistics
from lib.evaluation.effects import differing, minimum_detectable_difference
from lib.evaluation.results import Run

__all__ = [
    "agreement",
    "arranged",
    "as_comparisons",
    "compare_pairs",
    "detectable",
    "groups",
    "ranks",
    "scores",
    "seed_differences",
    "together",
    "verdicts",
]


TEST = "max-T over all pairs by flipping signs of listeners, two-sided"
TEST_BOTH = "larger p of two max-T over all pairs: flipping signs of listeners, and permutations of tracks; two-sided"
FEWEST_PERMUTATIONS = 19  # with fewer no p lies at .05 or below
N_FLIPS = 9999
POWER = 0.8
ORACLE = "factors"  # what taste follows in a mock world: no backend can know more
ROWS_AT_A_TIME = 512


def scores(study, recommender, split, label):
    """Scores of listeners on the real vectors of every backend that ran.

    Parameters
    ----------
    study : Study
    recommender : str
        Name from the table in params.
    split : {'hot_test', 'cold_test'}
    label : str
        Metric with cut-off, like ``NDCG@50``.

    Returns
    -------
    DataFrame
        One row a listener, one column a backend, averaged over seeds; pseudo-backends of labels are left out.

    Raises
    ------
    ValueError
        Where two backends were scored on different listeners.
    """
    by_backend = {}
    for backend in study.parameters.backend_ids:
        found = results.per_user(study, Run(recommender, backend), split)
        if found is not None:
            by_backend[backend] = found.set_index("user_id")[label]
    return _one_table(by_backend)


def seed_differences(study, recommender, split, label, pairs):
    """By how much the mean difference of each pair moves from training to training.

    Parameters
    ----------
    study : Study
    recommender, split, label : str
        As for `scores`.
    pairs : DataFrame
        ``backend_a, backend_b``.

    Returns
    -------
    DataFrame
        ``n_seeds, seed_low, seed_high``: trainings, and the smallest and largest mean difference of seeds of one
        number, in the order of `pairs`. A recommender that draws nothing has 0 trainings and no range.
    """
    if recommender in study.named("knn"):
        return pd.DataFrame({"n_seeds": 0, "seed_low": np.nan, "seed_high": np.nan}, index=pairs.index)
    means = {}
    for backend in {*pairs["backend_a"], *pairs["backend_b"]}:
        found = results.per_seed(study, Run(recommender, backend), split)
        means[backend] = np.array([]) if found is None else found.groupby("seed")[label].mean().to_numpy()
    rows = []
    for a, b in zip(pairs["backend_a"], pairs["backend_b"], strict=True):
        n = min(len(means[a]), len(means[b]))
        moved = means[a][:n] - means[b][:n]
        rows.append((n, moved.min() if n else np.nan, moved.max() if n else np.nan))
    return pd.DataFrame(rows, columns=["n_seeds", "seed_low", "seed_high"], index=pairs.index)


def compare_pairs(table, rng, *, alpha=0.05, couples=None, n_resamples=2000, n_flips=N_FLIPS):
    """Differences of all pairs of backends, judged at once.

    Parameters
    ----------
    table : DataFrame
        One row a listener, one column a backend.
    rng : numpy.random.Generator
    alpha : float
        Family-wise error over all pairs.
    couples : list of (str, str), optional
        Which pairs form the family; all of them by default.
    n_resamples : int
        Of listeners, behind the interval of one pair alone.
    n_flips : int

    Returns
    -------
    DataFrame
        ``backend_a, backend_b, diff, sd`` (of the difference over listeners)``, ci_low, ci_high`` (this pair alone,
        BCa), ``low, high`` (simultaneous over all pairs), ``t, p, p_adjusted, n_users, n_differ`` (listeners whose
        scores differ). No rows below two backends; so few listeners that no p can lie below alpha give infinite
        simultaneous limits.

    Notes
    -----
    A flip changes the sign of all differences of a listener together, so that the dependence of pairs is kept. p is
    (1 + flips at least as extreme in |t|) / (1 + flips); ``p_adjusted`` is step-down max-T (Westfall and Young 1993,
    algorithm 2.8 with |t|). Simultaneous limits are ``diff ± c sd / √n``, c being the 1 − alpha quantile of the largest
    |t| of *centred* differences under the same flips. Where differences are not symmetric both hold for many listeners.

    Examples
    --------
    >>> table = pd.DataFrame({"mfcc": [0.0, 0.1, 0.2, 0.1], "muq": [0.5, 0.7, 0.8, 0.9]})
    >>> found = compare_pairs(table, np.random.default_rng(0))
    >>> round(float(found["diff"][0]), 3), bool(found["p_adjusted"][0] > 0.05)  # four listeners: no p below 2/16
    (-0.625, True)
    """
    couples = list(itertools.combinations(table.columns, 2)) if couples is None else couples
    columns = ["backend_a", "backend_b", "diff", "sd", "ci_low", "ci_high", "low", "high", "t", "p", "p_adjusted"]
    if not couples:
        return pd.DataFrame(columns=[*columns, "n_users", "n_differ"])
    differences = np.stack([(table[a] - table[b]).to_numpy(float) for a, b in couples], axis=1)
    n = len(table)
    frame = pd.DataFrame(couples, columns=columns[:2])
    counts = {"n_users": n, "n_differ": differing(differences)}
    if n < 2:
        frame = frame.assign(diff=differences.mean(axis=0) if n else np.nan, sd=np.nan, ci_low=-np.inf, ci_high=np.inf)
        return frame.assign(low=-np.inf, high=np.inf, t=0.0, p=1.0, p_adjusted=1.0, **counts)
    mean, sd = differences.mean(axis=0), differences.std(axis=0, ddof=1)
    low, high = statistics.bootstrap_means(differences, rng, n_resamples=n_resamples)
    tested, critical = _flipped(differences, rng, n_flips, alpha)
    half = np.full(len(sd), np.inf) if np.isinf(critical) else critical * sd / np.sqrt(n)
    frame = frame.assign(diff=mean, sd=sd, ci_low=low, ci_high=high, low=mean - half, high=mean + half)
    return frame.assign(**tested, **counts)


def arranged(study, recommender, split, label, pairs):
    """Whether the difference of each pair exceeds what it is when vectors are dealt to tracks at random.

    Parameters
    ----------
    study : Study
    recommender, split, label : str
        As for `scores`.
    pairs : DataFrame
        ``backend_a, backend_b``.

    Returns
    -------
    DataFrame
        ``p_arranged`` (family-wise over the pairs, in their order) and ``n_permutations``; NaN and 0 where fewer than
        `FEWEST_PERMUTATIONS` ran under the same numbers for all backends.

    Notes ----- The statistic is the absolute difference of two backends' means over listeners, judged by
    ``lib.evaluation.statistics.max_t``. A permutation deals the vectors of all backends to tracks alike, so that what
    they have in common is kept. Flipping signs of listeners holds the tracks fixed, and many listeners of few tracks
    share the tracks' luck.

    Examples
    --------
    >>> arranged(study, "knn", "hot_test", "NDCG@50", pairs)["p_arranged"]  # doctest: +SKIP
    """
    unknown = pd.DataFrame({"p_arranged": np.nan, "n_permutations": 0}, index=pairs.index)
    names = sorted({*pairs["backend_a"], *pairs["backend_b"]})
    metric, k = label.split("@")
    rows = results.read_permutations(study)
    permuted = results.permuted(rows, recommender, split, metric, int(k)).reindex(columns=names).dropna()
    if not names or len(permuted) < FEWEST_PERMUTATIONS:
        return unknown
    real = scores(study, recommender, split, label)[names].mean()
    moved = (permuted[pairs["backend_a"]].to_numpy() - permuted[pairs["backend_b"]].to_numpy()).astype(float)
    found = real[pairs["backend_a"]].to_numpy() - real[pairs["backend_b"]].to_numpy()
    p = statistics.max_t(np.abs(found), np.abs(moved))["p_adjusted"].to_numpy()
    return unknown.assign(p_arranged=p, n_permutations=len(permuted))


def deciding_p(pairs):
    """The larger family-wise p of a pair, over listeners and over permutations of tracks where these are known.

    Examples
    --------
    >>> deciding_p(pd.DataFrame({"p_adjusted": [0.01, 0.01], "p_arranged": [0.2, np.nan]})).tolist()
    [0.2, 0.01]
    """
    known = [name for name in ("p_adjusted", "p_arranged") if name in pairs]
    return pairs[known].astype(float).max(axis=1)


def verdicts(pairs, delta, alpha=0.05):
    """What the simultaneous interval of each pair, and the permutations of tracks, say of it.

    Parameters
    ----------
    pairs : DataFrame
        From `compare_pairs`; with ``n_seeds, seed_low, seed_high`` where models are trained, and with ``p_arranged``
        where many permutations of tracks ran.
    delta : float
        Smallest effect of interest; NaN, or not above 0, where there is none to be equivalent within.
    alpha : float
        Family-wise error.

    Returns
    -------
    Series of str
        ``equivalent within δ`` where the interval lies inside ±δ, whether it holds 0 or not; else ``better`` (a above
        b) or ``worse`` where it leaves 0 out and ``p_arranged``, where known, is at most alpha; else ``undecided``. A
        trained model needs two trainings or more, and the sign of the difference to be that of each: else it is
        undecided.
    """
    alike = (pairs["low"] > -delta) & (pairs["high"] < delta) if delta > 0 else np.zeros(len(pairs), bool)
    verdict = np.select(
        [alike, pairs["low"] > 0, pairs["high"] < 0], ["equivalent within δ", "better", "worse"], "undecided"
    ).astype(object)
    if "p_arranged" in pairs:
        verdict[(~alike & (pairs["p_arranged"] > alpha)).to_numpy()] = "undecided"
    if "n_seeds" in pairs:
        once = pairs["n_seeds"] == 1
        several = pairs["n_seeds"] > 1
        turns = several & ~alike & (np.sign(pairs["seed_low"]) != np.sign(pairs["seed_high"]))
        verdict[(once | turns).to_numpy()] = "undecided"
    return pd.Series(verdict, index=pairs.index, dtype=object)


def detectable(pairs, delta, alpha=0.05, power=POWER):
    """The smallest difference that each pair would show, before any difference is looked at.

    Parameters
    ----------
    pairs : DataFrame
        ``sd, n_users``, one row a pair of one family.
    delta : float
        Smallest effect of interest.
    alpha, power : float

    Returns
    -------
    DataFrame
        ``detectable`` (in units of the metric; Bonferroni over the pairs, so that max-T finds no less) and
        ``users_needed`` (listeners among whom δ would show; NaN without a δ above 0).
    """
    n_tests = max(1, len(pairs))
    found = [
        minimum_detectable_difference(sd, int(n), alpha, power, n_tests) if sd > 0 else (0.0 if sd == 0 else np.inf)
        for sd, n in zip(pairs["sd"], pairs["n_users"], strict=True)
    ]
    found = pd.Series(found, index=pairs.index, dtype=float)
    needed = np.ceil(pairs["n_users"] * (found / delta) ** 2) if delta > 0 else np.nan
    return pd.DataFrame({"detectable": found, "users_needed": needed}, index=pairs.index)


def ranks(table, rng, *, n_resamples=2000):
    """Places of backends by mean score, with intervals over listeners.

    Parameters
    ----------
    table : DataFrame
        One row a listener, one column a backend.
    rng : numpy.random.Generator
    n_resamples : int

    Returns
    -------
    DataFrame
        ``backend, value, rank, ci_low, ci_high`` (95 % percentile limits of the place among resampled listeners)
        ``, share_first``; best first, ranks from 1, equal means share theirs.

    Examples
    --------
    >>> table = pd.DataFrame({"a": [0.1, 0.2], "b": [0.8, 0.9]})
    >>> ranks(table, np.random.default_rng(0), n_resamples=100)["backend"].tolist()
    ['b', 'a']
    """
    from scipy import stats

    values = table.to_numpy(float)
    means = statistics.resampled_means(values, rng, n_resamples)
    drawn = stats.rankdata(-means.round(12), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if len(values) > 1 else (np.nan, np.nan)
    frame = pd.DataFrame(
        {
            "backend": table.columns,
            "value": values.mean(axis=0),
            "rank": stats.rankdata(-values.mean(axis=0).round(12)),
            "ci_low": low,
            "ci_high": high,
            "share_first": (drawn == drawn.min(axis=1, keepdims=True)).mean(axis=0) if len(values) > 1 else np.nan,
        }
    )
    return frame.sort_values("rank", kind="stable", ignore_index=True)


def groups(order, pairs, alpha=0.05):
    """Groups of backends, neighbours in rank, among whom no pair was shown to differ.

    Parameters
    ----------
    order : sequence of str
        Backends, best first.
    pairs : DataFrame
        ``backend_a, backend_b, p_adjusted``, and ``p_arranged`` where known.
    alpha : float

    Returns
    -------
    list of list of str
        Each as large as it can be, none inside another; a backend that differs from both neighbours is in none. Not
        to differ is not to be equal: who belongs to two groups is undecided between them.

    Examples
    --------
    >>> pairs = pd.DataFrame({"backend_a": list("aab"), "backend_b": list("bcc"), "p_adjusted": [0.4, 0.01, 0.3]})
    >>> groups(["a", "b", "c"], pairs)
    [['a', 'b'], ['b', 'c']]
    """
    differ = {
        frozenset(pair)
        for *pair, p in zip(pairs["backend_a"], pairs["backend_b"], deciding_p(pairs), strict=True)
        if p <= alpha
    }
    found, reached = [], 0
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and all(frozenset((name, order[stop])) not in differ for name in order[start:stop]):
            stop += 1
        if stop - start > 1 and stop > reached:
            found.append(list(order[start:stop]))
            reached = stop
    return found


def agreement(values):
    """How far columns order the backends alike, by exact rank correlation.

    Parameters
    ----------
    values : dict of {str: Series}
        Mean score of backends under each recommender, split or source, indexed by backend.

    Returns
    -------
    DataFrame
        ``first, second, n, rho, rho_low, rho_high, p_rho, tau, p_tau, note``, one row a pair of columns, of the
        backends that both have. `note` says where so few backends cannot decide; the p values are exact.
    """
    rows = []
    for first, second in itertools.combinations(values, 2):
        both = pd.concat([values[first], values[second]], axis=1, join="inner").dropna().to_numpy(float)
        n = len(both)
        row = {"first": first, "second": second, "n": n, "note": correlation.cannot_decide(n).split(":")[0]}
        if n >= 3 and (np.ptp(both, axis=0) > 0).all():
            rho, tau = (correlation.exact_correlation(*both.T, method) for method in ("spearman", "kendall"))
            row |= {"rho": rho["estimate"], "rho_low": rho["ci_low"], "rho_high": rho["ci_high"], "p_rho": rho["p"]}
            row |= {"tau": tau["estimate"], "p_tau": tau["p"]}
        rows.append(row)
    order = ["first", "second", "n", "rho", "rho_low", "rho_high", "p_rho", "tau", "p_tau", "note"]
    return pd.DataFrame(rows).reindex(columns=order)


def together(by_family):
    """Frames of several families of pairs as one.

    Parameters
    ----------
    by_family : dict of {(str, str): DataFrame}
        Recommender and split to pairs; families of one backend have none.

    Returns
    -------
    DataFrame
        With the columns ``recommender, split`` before those of the frames.
    """
    filled = [frame.assign(recommender=key[0], split=key[1]) for key, frame in by_family.items() if len(frame)]
    frame = pd.concat(filled or [next(iter(by_family.values())).assign(recommender="", split="")], ignore_index=True)
    return frame[["recommender", "split", *frame.columns.drop(["recommender", "split"])]]


def as_comparisons(study, verdicts, label):
    """Pairs of backends as rows of ``comparisons.parquet`` (see docs: contracts).

    Parameters
    ----------
    study : Study
    verdicts : DataFrame
        From `together`, of `compare_pairs` joined with `arranged`.
    label : dict of {str: str}
        Split to metric with cut-off, like ``NDCG@50``.

    Returns
    -------
    DataFrame
        Intervals are those of each pair alone, `p_adjusted` holds over the pairs of one recommender on one split and
        is the larger of two (`deciding_p`) where `test` says so.
    """
    metric = verdicts["split"].map(label).str.split("@", expand=True).reindex(columns=[0, 1])
    seeds = [
        len(list(study.path("per_user").glob(Run(row.recommender, row.backend_a).file("*", row.split))))
        for row in verdicts.itertuples()
    ]
    return verdicts.assign(
        metric=metric[0],
        k=metric[1].astype("int64"),
        control_a="real",
        control_b="real",
        p_adjusted=deciding_p(verdicts),
        test=np.where(verdicts["p_arranged"].notna(), TEST_BOTH, TEST),
        n_seeds=seeds,
    )


def _one_table(by_backend):
    """Columns of scores on the same listeners as one frame."""
    if not by_backend:
        return pd.DataFrame()
    first, index = next((name, column.index) for name, column in by_backend.items())
    for name, column in by_backend.items():
        if len(column) != len(index) or not column.index.isin(index).all():
            raise ValueError(
                f"Expected every backend scored on the same listeners, found {len(index)} of {first} and "
                f"{len(column)} of {name}; run the recommender's notebook for both on the same data."
            )
    return pd.DataFrame({name: column.reindex(index) for name, column in by_backend.items()})


def _flipped(differences, rng, n_flips, alpha):
    """t, p and adjusted p of columns under flips of whole rows, and the critical value of simultaneous limits."""
    n, m = differences.shape
    centred = differences - differences.mean(axis=0)
    observed = np.abs(_t(differences.sum(axis=0), np.square(differences).sum(axis=0), n))
    order = np.argsort(-observed, kind="stable")
    reached, stepped, largest = np.zeros(m), np.zeros(m), []
    squares, squares_centred = (np.square(part).sum(axis=0) for part in (differences, centred))
    for start in range(0, n_flips, ROWS_AT_A_TIME):
        signs = rng.integers(0, 2, size=(min(ROWS_AT_A_TIME, n_flips - start), n)) * 2.0 - 1.0
        t = np.abs(_t(signs @ differences, squares, n))
        reached += (t >= observed - 1e-9).sum(axis=0)
        maxima = np.maximum.accumulate(t[:, order[::-1]], axis=1)[:, ::-1]
        stepped += (maxima >= observed[order] - 1e-9).sum(axis=0)
        largest.append(np.abs(_t(signs @ centred, squares_centred, n)).max(axis=1))
    adjusted = np.empty(m)
    adjusted[order] = np.maximum.accumulate((1 + stepped) / (1 + n_flips))
    t = _t(differences.sum(axis=0), squares, n)
    critical = np.quantile(np.concatenate(largest), 1 - alpha, method="higher")
    if 2.0 ** (1 - n) > alpha:
        critical = np.inf  # so few listeners that no flip is rarer than alpha
    return {"t": t, "p": (1 + reached) / (1 + n_flips), "p_adjusted": adjusted}, critical


def _t(sums, squares, n):
    """Paired t statistics from sums and sums of squares of n differences; 0 where nothing differs."""
    variance = np.maximum(squares - np.square(sums) / n, 0) / (n - 1)
    floor = 1e-12 * np.maximum(squares, 1e-300)  # all differences alike: as large a t as is kept finite
    return np.where(squares > 1e-24, sums / np.sqrt(n) / np.sqrt(np.maximum(variance, floor)), 0.0)
