"""A study's folder: its data, what follows from them, and the layout that all of it has."""

import os
import shutil
from pathlib import Path

from lib.study.answers import begin
from lib.study.provenance import data_fingerprint
from lib.study.tables import write_parquet

__all__ = ["forget_results", "is_of_earlier_layout", "note_layout"]

LAYOUT = "2"  # of a study's folder, in its file .layout; raised when older results must not be mixed with newer ones
KEPT = ("data", "given", "vectors.lance", "executed", "logs", "manifest.json")  # when data change; all else goes


def save_data(study, tables):
    """Write the tables of a study's ``data/``; where they differ from what was there, all results of the old ones go.

    Parameters
    ----------
    study : Study
    tables : dict of {str: DataFrame or Path}
        Name to table, or to a Parquet file beside ``data/`` that is moved there. Tables that were there and are not
        named go.

    Returns
    -------
    bool
        Whether anything changed.
    """
    before = data_fingerprint(study.path("data"))
    for path in study.path("data").glob("*.parquet"):
        if path.stem not in tables:
            path.unlink()
    for name, table in tables.items():
        path = study.path("data", f"{name}.parquet")
        if isinstance(table, Path):
            os.replace(table, path)
        else:
            write_parquet(table, path)
    changed = before != data_fingerprint(study.path("data"))
    if changed:
        forget_results(study)
        note_layout(study)
    begin(study)
    return changed


def forget_results(study, keep=()):
    """Delete what a study's jobs made of its data: everything in its folder but what does not follow from the data.

    Kept are `KEPT` and hidden files: data, vectors (each is of a clip and a network), and the records of runs.

    Parameters
    ----------
    study : Study
    keep : iterable of str
        Further names in the study's folder that stay.
    """
    for path in study.path().glob("[!.]*"):
        if path.name in {*KEPT, *keep}:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_of_earlier_layout(study):
    """Tell whether a study's folder holds results of another layout than today's."""
    layout = study.path(".layout")
    there = any(path.name not in KEPT for path in study.path().glob("[!.]*"))
    return there and (not layout.is_file() or layout.read_text() != LAYOUT)


def note_layout(study):
    """Write down that a study's folder has today's layout."""
    study.path(".layout").write_text(LAYOUT)
