"""Did the workbook find what was planted? From measured worlds (`lib.answers.known_truth`) to rates with intervals.

Two tests of a correlation over backends are held against each other. The *pairing* test (`lib.evaluation.correlation`)
asks how often so strong a correlation comes about if scores are paired with backends at random: its units are the
backends. The *arrangement* test asks how often it comes about if vectors are permuted over tracks, one permutation for
all backends at once, as for RQ1: its unit is the world. In a world without content backends that hear alike share the
luck of one arrangement of tracks, so that they are not independent units: the more they share, the more the pairing
test finds.
"""

import numpy as np
import pandas as pd
from scipy import stats

from lib.answers.backend_pairs import compare_pairs
from lib.answers.known_truth import SPLITS, TASKS, WORLDS
from lib.answers.rq3 import arrangement_test
from lib.evaluation.correlation import exact_correlation, smallest_p
from lib.evaluation.statistics import holm, max_t

__all__ = [
    "ARRANGEMENT",
    "BEST",
    "BY_BOTH",
    "PAIRING",
    "PAIRS",
    "PRIMARY",
    "RANKED",
    "RECOVERED",
    "above_nominal",
    "correlations",
    "null",
    "table",
    "target_reached",
    "what_so_few_decide",
]


ALPHA = 0.05
TARGET = 0.95  # share of worlds in which the planted task should be recovered
PRIMARY = "mean z"  # of all four probes; that of RQ3 is of those alone that tell backends apart
KEYS = ["world", "strength", "seed"]
FEWER = 12  # backends of a world that are looked at alone: so many a study could have
FIRST, FOUND = "planted task ranks first", "planted task ranks first, p <= .05"
# questions by the columns of tables that they stand in
RECOVERED = {FIRST: "first", FOUND: "first, pairing p <= .05", "mean z found, p <= .05": "mean z, pairing p <= .05"}
RANKED = {f"{task} ranks first": task for task in TASKS}
BEST = {"planted best backend ranks first": "first", "planted best backend among the first three": "first three"}
WRONG, RIGHT = "a worse backend called better", "pairs told apart rightly"
PAIRS = {WRONG: "a worse called better", RIGHT: RIGHT}
OF_PAIRS = (RIGHT,)  # counted over pairs, not over worlds
BY_BOTH = {FOUND: "by pairing", f"{FOUND} by both tests": "by both tests"}
PAIRING = {f"{task}: p <= .05 by pairing": f"{task}, pairing" for task in [*TASKS, PRIMARY]}
PAIRING |= {"any task: p <= .05 by pairing, Holm": "any task, pairing"}
ARRANGEMENT = {f"{task}: p <= .05 by arrangement": f"{task}, arrangement" for task in [*TASKS, PRIMARY]}
ARRANGEMENT |= {
    "any task: p <= .05 by arrangement, max-T": "any task, arrangement",
    "any task: p <= .05 by both tests": "any task, both tests",
    "any backend beats shuffled, max-T": "any backend beats shuffled",
}
RATE_COLUMNS = ["world", "strength", "n_backends", "split", "question", "count", "worlds", "rate", "low", "high"]


def correlations(backends, n_backends):
    """Correlate every task's scores with NDCG over the first backends of every world.

    Parameters
    ----------
    backends : DataFrame
        As `lib.answers.known_truth.Measured.backends`, of any number of worlds.
    n_backends : int

    Returns
    -------
    DataFrame
        world, strength, seed, n_backends, split, task (one of `TASKS`, or `PRIMARY`), rho, p (exact, pairing), p_holm
        (over the tasks; of `PRIMARY` p itself), first (whether no other task's rho is higher), p_arrangement and
        p_arrangement_adjusted (max-T over tasks; NaN where nothing was permuted).

    Examples
    --------
    >>> from lib.answers.known_truth import Size, measure
    >>> correlations(measure("key", 1.0, 0, Size(80, 60, 12, 5)).backends, 5).shape
    (10, 12)
    """
    rows = []
    chosen = backends[backends["backend"] < n_backends]
    for key, world in chosen.groupby(KEYS, sort=False):
        real = world[world["permutation"] < 0].sort_values("backend")
        scores = _scores(real, seed=key[2])
        for split in SPLITS.values():
            found = {task: exact_correlation(values, real[split]) for task, values in scores.items()}
            table = pd.DataFrame({"task": list(found), "rho": [one["estimate"] for one in found.values()]})
            table["p"] = [one["p"] for one in found.values()]
            table["p_holm"] = [*holm(table["p"][: len(TASKS)]), table["p"].iloc[-1]]
            table["first"] = [*stands_out(table["rho"][: len(TASKS)]), False]
            table[["p_arrangement", "p_arrangement_adjusted"]] = _arrangement(world, split, scores)
            rows.append(table.assign(**dict(zip(KEYS, key, strict=True)), n_backends=n_backends, split=split))
    order = [*KEYS, "n_backends", "split", "task", "rho", "p", "p_holm", "first"]
    return pd.concat(rows, ignore_index=True)[[*order, "p_arrangement", "p_arrangement_adjusted"]]


def stands_out(values):
    """Whether a value is the highest, and the only one so high: bool, one a value.

    Examples
    --------
    >>> stands_out([0.6, 0.6, 0.1]).tolist(), stands_out([0.6, 0.5, 0.1]).tolist()
    ([False, False, False], [True, False, False])
    """
    values = np.asarray(values, float)
    highest = values >= values.max() - 1e-12
    return highest & (highest.sum() == 1)


def _scores(real, seed):
    """Scores of each task, and their mean z, by name; equal ones are told apart at random, which keeps tests exact."""
    columns = [f"score_{task}" for task in TASKS]
    scores = real[columns].to_numpy()
    scores = scores + 1e-9 * np.random.default_rng(seed).random(scores.shape)
    z = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    return dict(zip(TASKS, scores.T, strict=True)) | {PRIMARY: z.mean(axis=1)}


def _arrangement(world, split, scores):
    """Two-sided p over permutations of tracks, alone and by max-T over the tasks, one row a task."""
    if world["permutation"].max() < 0:
        return np.full((len(scores), 2), np.nan)
    wide = world.pivot(index="permutation", columns="backend", values=split).sort_index().to_numpy()
    values = np.array(list(scores.values()))
    n = len(TASKS)
    tested = [arrangement_test(part, wide[0], wide[1:]) for part in (values[:n], values[n:])]
    return pd.concat(tested)[["p", "p_adjusted"]].to_numpy()


def rate(hits):
    """How often something happened, with Wilson's 95 % interval.

    Parameters
    ----------
    hits : sequence of bool

    Returns
    -------
    dict
        count, worlds, rate, low, high.

    Examples
    --------
    >>> {name: round(value, 3) for name, value in rate([True] * 39 + [False]).items()}
    {'count': 39, 'worlds': 40, 'rate': 0.975, 'low': 0.871, 'high': 0.996}
    """
    hits = np.asarray(hits, bool)
    low, high = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return {
        "count": int(hits.sum()),
        "worlds": len(hits),
        "rate": float(hits.mean()),
        "low": float(low),
        "high": float(high),
    }


def planted(found):
    """How often the planted task is recovered.

    Parameters
    ----------
    found : DataFrame
        From `correlations`, of worlds in which taste follows something.

    Returns
    -------
    DataFrame
        `RATE_COLUMNS`. Questions: ``<task> ranks first`` for every task, and for the planted one ``ranks first and
        p <= .05`` (Holm over tasks); of all worlds ``mean z found`` (positive, p <= .05). Where arrangements were
        permuted too, ``and by both tests``.
    """
    rows = []
    for key, group in found.groupby(["world", "strength", "n_backends", "split"], sort=False):
        by_task = {task: part for task, part in group.groupby("task", sort=False)}
        asked = {f"{task} ranks first": by_task[task]["first"] for task in TASKS}
        if len(WORLDS[key[0]]) == 1:
            own = by_task[key[0]]
            asked[FIRST] = own["first"]
            asked[FOUND] = own["first"] & (own["p_holm"] <= ALPHA)
            if own["p_arrangement"].notna().all():
                both = own[["p_holm", "p_arrangement_adjusted"]].max(axis=1) <= ALPHA
                asked[f"{FOUND} by both tests"] = own["first"] & both
        primary = by_task[PRIMARY]
        asked["mean z found, p <= .05"] = (primary["rho"] > 0) & (primary["p"] <= ALPHA)
        rows += [_line(key, question, hits) for question, hits in asked.items()]
    return pd.DataFrame(rows, columns=RATE_COLUMNS)


def null(found):
    """How often something is found where there is nothing.

    Parameters
    ----------
    found : DataFrame
        From `correlations`, of worlds called `nothing`.

    Returns
    -------
    DataFrame
        `RATE_COLUMNS`. Questions: p <= .05 of each task and of the mean z by the pairing test, any task after Holm;
        where arrangements were permuted too, the same by that test and by both.
    """
    rows = []
    for key, group in found.groupby(["world", "strength", "n_backends", "split"], sort=False):
        wide = group.pivot(index="seed", columns="task")
        tasks = list(TASKS)
        asked = {f"{task}: p <= .05 by pairing": wide["p"][task] <= ALPHA for task in [*tasks, PRIMARY]}
        asked["any task: p <= .05 by pairing, Holm"] = (wide["p_holm"][tasks] <= ALPHA).any(axis=1)
        if group["p_arrangement"].notna().all():
            for task in [*tasks, PRIMARY]:
                asked[f"{task}: p <= .05 by arrangement"] = wide["p_arrangement"][task] <= ALPHA
            adjusted = wide["p_arrangement_adjusted"][tasks]
            asked["any task: p <= .05 by arrangement, max-T"] = (adjusted <= ALPHA).any(axis=1)
            both = np.maximum(adjusted, wide["p_holm"][tasks])
            asked["any task: p <= .05 by both tests"] = (both <= ALPHA).any(axis=1)
        rows += [_line(key, question, hits) for question, hits in asked.items()]
    return pd.DataFrame(rows, columns=RATE_COLUMNS)


def beats_shuffled(backends):
    """How often RQ1's test finds any backend better than shuffled, where arrangements were permuted.

    Parameters
    ----------
    backends : DataFrame
        As `lib.answers.known_truth.Measured.backends`.

    Returns
    -------
    DataFrame
        `RATE_COLUMNS`.
    """
    rows = []
    for (world, strength, n_backends), group in backends.groupby(["world", "strength", "n_backends"], sort=False):
        if group["permutation"].max() < 0:
            continue
        for split in SPLITS.values():
            hits = []
            for _, one in group.groupby("seed"):
                wide = one.pivot(index="permutation", columns="backend", values=split).sort_index()
                tested = max_t(wide.loc[-1].to_numpy(), wide.drop(index=-1).to_numpy())
                hits.append((tested["p_adjusted"] <= ALPHA).any())
            key = (world, strength, n_backends, split)
            rows.append(_line(key, "any backend beats shuffled, max-T", hits))
    return pd.DataFrame(rows, columns=RATE_COLUMNS)


def best_backend(backends, n_backends):
    """How often the planted best backend, the first of each world, is named best.

    Parameters
    ----------
    backends : DataFrame
        As `lib.answers.known_truth.Measured.backends`, of worlds in which taste follows something.
    n_backends : int

    Returns
    -------
    DataFrame
        `RATE_COLUMNS`; questions: it has the highest NDCG, it is among the three highest.
    """
    real = backends[(backends["permutation"] < 0) & (backends["backend"] < n_backends)]
    rows = []
    for (world, strength), group in real.groupby(["world", "strength"], sort=False):
        for split in SPLITS.values():
            ranks = group.pivot(index="seed", columns="backend", values=split).rank(axis=1, ascending=False)[0]
            key = (world, strength, n_backends, split)
            rows.append(_line(key, "planted best backend ranks first", ranks <= 1))
            rows.append(_line(key, "planted best backend among the first three", ranks <= 3))
    return pd.DataFrame(rows, columns=RATE_COLUMNS)


def pair_verdicts(backends, users, n_flips=999):
    """How often RQ2's comparison of all pairs calls a worse backend better, and how many pairs it tells apart rightly.

    Worse is the backend that hears what taste follows through more blur. Worlds where taste follows several factors
    have no such order and are passed over.

    Parameters
    ----------
    backends, users : DataFrame
        As in `lib.answers.known_truth.Measured`, of any number of worlds; the first `FEWER` backends are compared.
    n_flips : int
        Of signs of listeners, as in `lib.answers.backend_pairs.compare_pairs`.

    Returns
    -------
    DataFrame
        `RATE_COLUMNS`. Questions: a worse backend called better (share of worlds in which any of the pairs is), pairs
        told apart rightly (share of pairs; those of one world are not independent, so that its interval is too short).
    """
    columns = [f"b{number:02d}" for number in range(FEWER)]
    blurs = backends[backends["permutation"] < 0].set_index([*KEYS, "backend"]).sort_index()
    found = {}
    for (world, strength, seed, split), group in users.groupby([*KEYS, "split"], sort=False):
        if len(WORLDS[world]) != 1:
            continue
        blur = blurs.loc[(world, strength, seed), f"blur_{world}"]
        pairs = compare_pairs(group[columns], np.random.default_rng(seed), alpha=ALPHA, n_resamples=2, n_flips=n_flips)
        a, b = (pairs[side].str[1:].astype(int).map(blur) for side in ("backend_a", "backend_b"))
        decided, right = pairs["p_adjusted"] <= ALPHA, (pairs["diff"] > 0) == (a < b)
        hits = found.setdefault((world, strength, FEWER, split), {question: [] for question in PAIRS})
        hits[WRONG].append((decided & ~right).any())
        hits[RIGHT] += list(decided & right)
    rows = [_line(key, question, hits) for key, asked in found.items() for question, hits in asked.items()]
    return pd.DataFrame(rows, columns=RATE_COLUMNS)


def levels(found):
    """Share of null worlds with p at or below each level, for each way of testing.

    Parameters
    ----------
    found : DataFrame
        As for `null`.

    Returns
    -------
    DataFrame
        n_backends, split, test (pairing, arrangement), level, share, tests.
    """
    grid = np.arange(0.01, 1.001, 0.01).round(2)
    rows = []
    for (n_backends, split), group in found[found["task"] != PRIMARY].groupby(["n_backends", "split"], sort=False):
        for test, column in (("pairing", "p"), ("arrangement", "p_arrangement")):
            p = group[column].dropna().to_numpy()
            if len(p):
                share = (p[:, None] <= grid + 1e-9).mean(axis=0)
                one = {"n_backends": n_backends, "split": split, "test": test, "level": grid, "share": share}
                rows.append(pd.DataFrame(one | {"tests": len(p)}))
    return pd.concat(rows, ignore_index=True)


def target_reached(rates, strength):
    """Say whether the planted task is recovered in `TARGET` of the worlds by pairing, and how often by both tests.

    RQ3 is claimed only where pairing and arrangement both reject, so that no rate of the first stands alone.

    Parameters
    ----------
    rates : DataFrame
        As for `table`.
    strength : float
        Content strength.

    Returns
    -------
    str
        A line for each number of backends.

    Examples
    --------
    >>> one = {"kind": "planted", "world": "key", "strength": 1.0, "n_backends": 12, "split": "cold", "question": FOUND}
    >>> target_reached(pd.DataFrame([one | rate([True, False])]), 1.0).split(": ")[1]
    'first and significant by pairing alone in 95% of worlds not reached by key cold 0.500; by both tests'
    """
    own = rates[(rates["strength"] == strength) & rates["question"].isin(BY_BOTH)]
    lines = []
    for n, group in own[(own["kind"] == "planted") & (own["question"] == FOUND)].groupby("n_backends"):
        short = group[group["rate"] < TARGET]
        verdict = f"not reached by {_missed(short)}" if len(short) else "reached on every task, cold and hot"
        both = own[(own["kind"] == "arranged") & (own["question"] != FOUND) & (own["n_backends"] == n)]
        lines.append(
            f"In a simulated world, n = {n} backends: first and significant by pairing alone in {TARGET:.0%} of worlds "
            f"{verdict}; by both tests: {_by_both(both)}."
        )
    return "\n".join(lines)


def _missed(short):
    return ", ".join(f"{one.world} {one.split} {one.rate:.3f}" for one in short.itertuples())


def _by_both(rates):
    if rates.empty:
        return "not measured"
    missed = _missed(rates[rates["rate"] < TARGET])
    worlds = f"{rates['worlds'].max()} worlds a kind"
    return f"{missed}, others in {TARGET:.0%} or more of {worlds}" if missed else f"in {TARGET:.0%} or more of {worlds}"


def above_nominal(rates, kind):
    """Say how many tests fire more often than nominal where nothing is planted, and how often.

    Parameters
    ----------
    rates : DataFrame
        As for `table`.
    kind : {'unplanted', 'arranged'}

    Returns
    -------
    str
        How many rates have their interval above .05, with the smallest and the largest of these.

    Examples
    --------
    >>> one = {"kind": "unplanted", "world": "nothing", "n_backends": 12, "split": "hot", "question": "p by pairing"}
    >>> above_nominal(pd.DataFrame([one | rate([True] * 9)]), "unplanted").split(", ")[1]
    '1 of 1 rates lie above .05 with their whole interval (1.000).'
    """
    nothing = rates[(rates["kind"] == kind) & (rates["world"] == "nothing")]
    above = nothing[nothing["low"] > ALPHA]["rate"]
    ends = dict.fromkeys(f"{end:.3f}" for end in (above.min(), above.max()))
    span = f" ({' to '.join(ends)})" if len(above) else ""
    n = f"{len(above)} of {len(nothing)}"
    return f"In simulated worlds without content, {n} rates lie above .05 with their whole interval{span}."


def what_so_few_decide(n, alpha=ALPHA):
    """Say what n backends can decide by pairing: the one declared pair, and one task of all after Holm.

    Parameters
    ----------
    n : int
    alpha : float
        Two-sided.

    Returns
    -------
    str

    Examples
    --------
    >>> what_so_few_decide(5).split("; ")[1]
    'after Holm over 4 tasks it is 0.067: undecided is all that naming one task can come to'
    """
    least = smallest_p(n)
    held = min(1.0, len(TASKS) * least)
    one = "can decide, at full agreement" if least <= alpha else "cannot decide"
    named = "naming one task can decide" if held <= alpha else "undecided is all that naming one task can come to"
    return (
        f"n = {n} backends: the smallest exact p by pairing is {least:.2g} (rho = ±1), so that the one declared pair "
        f"of RQ3 {one}; after Holm over {len(TASKS)} tasks it is {held:.2g}: {named}; claimed is only what the "
        "arrangement test finds too."
    )


def _line(key, question, hits):
    return dict(zip(RATE_COLUMNS[:4], key, strict=True)) | {"question": question} | rate(hits)


def table(rates, kind, questions, strength):
    """Rates as text with their intervals: a line for each world and split, a column for each question and n.

    Parameters
    ----------
    rates : DataFrame
        `RATE_COLUMNS` and kind (planted, unplanted or arranged), as in docs/calibration.csv.
    kind : {'planted', 'unplanted', 'arranged'}
    questions : dict of {str: str}
        Question to the name of its column.
    strength : float
        Content strength; 0 where nothing is planted.

    Returns
    -------
    DataFrame
        Cells like ``.975 [.871, .996]``; an en dash where something was not asked.

    Examples
    --------
    >>> one = {"kind": "planted", "world": "key", "strength": 1.0, "n_backends": 12, "split": "cold", "question": "q"}
    >>> table(pd.DataFrame([one | rate([True, False])]), "planted", {"q": "asked"}, 1.0).iloc[0, 0]
    '0.500 [0.095, 0.905]'
    """
    wanted = (rates["kind"] == kind) & (rates["strength"] == strength) & rates["question"].isin(questions)
    shown = rates[wanted]
    named = shown.assign(
        question=shown["question"].map(questions),
        cell=[f"{one.rate:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in shown.itertuples()],
    )
    wide = named.pivot(index=["world", "split"], columns=["question", "n_backends"], values="cell")
    wide = wide[[column for question in questions.values() for column in wide.columns if column[0] == question]].fillna(
        "–"
    )
    wide.columns = [f"{question}, n = {n}" for question, n in wide.columns]
    places = list(WORLDS)
    return wide.sort_index(key=lambda level: level.map(places.index) if level.name == "world" else level)
