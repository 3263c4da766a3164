"""What a study of real records shows, to stand beside one of simulated listeners."""

import pandas as pd

from lib.evaluation import results
from lib.study import Study, load_parameters

__all__ = ["beside", "public_study"]


STUDIES = ("music4all_onion", "onion_sample")  # the first that has run is shown


def public_study(study, needs):
    """Return the first of `STUDIES` that has a file of results, or None."""
    for name in STUDIES:
        found = Study(load_parameters(name, {"runs_dir": study.parameters.runs_dir}))
        if name != study.name and found.path(needs).is_file():
            return found
    return None


def beside(study):
    """NDCG of what needs no audio, in a study and among real records.

    Parameters
    ----------
    study : Study

    Returns
    -------
    (DataFrame or None, str)
        One row a split and recommender that both have, chance among them: ``study, real`` like ``.123 [.101, .145]``;
        None where no study of `STUDIES` has run. The sentence says what real records allow to be said.

    Examples
    --------
    >>> beside(study)[1]  # doctest: +SKIP
    'Real records have not been run: make workbook STUDY=onion_sample …'
    """
    if study.world == "real":
        return None, "These are real records."
    real = public_study(study, "metrics.parquet")
    if real is not None:
        return _side_by_side(study, real)
    return None, (
        "Real records have not been run: 'make workbook STUDY=onion_sample' needs the records that "
        "docs/cards/music4all_onion.md names. Nothing is known here of real listeners."
    )


def _side_by_side(study, real):
    columns = {f"{study.name}, {study.world}": _scores(study), f"{real.name}, {real.world}": _scores(real)}
    table = pd.DataFrame(columns).dropna()
    audio = (
        "with its audio" if real.parameters.backend_ids else "without audio: nothing of RQ1 to RQ3 can be asked of it"
    )
    return table, (
        f"{real.name} holds real records {audio}. What it allows is the worth of listening alone, above; its cut-offs "
        "and candidates are its own, so compare each column with its chance."
    )


def _scores(study):
    metrics = results.at_primary(results.current(study), results.tasks(study))
    shown = (metrics["backend"] == results.NO_BACKEND) & (metrics["control"] == "real")
    return results.table(metrics[shown], ["recommender"])["NDCG@k"].droplevel("k")
