"""Say what differs between the results of two runs: ``python workflow/compare_runs.py A B``.

A and B are folders of one study each, such as ``runs/toy``. Metrics, permutations, comparisons, scores per user, lists,
vectors and the numbers of the three answers are compared exactly. Exit code 0: equal; 1: something differs or is in
one folder alone; 2: a folder is not there.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

from lib.backends.vectors import VectorStore
from lib.study.tables import read_parquet

TABLES = ("metrics", "permutations", "comparisons", "item_retrieval", "mir_probes", "worlds", "layers")
FOLDERS = ("data", "per_user", "recommendations", "scarcity")
DIGESTS = ("made_of",)  # columns that name the code that made a row: another layout is no other result
NAMED = 5  # differences of one kind that are named one by one


def main():
    """Compare the two folders that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, metavar="A", help="a study's folder of results, such as runs/toy")
    parser.add_argument("b", type=Path, metavar="B", help="the folder to compare it with")
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest difference that counts as none (0)")
    options = parser.parse_args()
    for folder in (options.a, options.b):
        if not folder.is_dir():
            print(f"compare_runs: expected a folder of results, found none at {folder}", file=sys.stderr)
            return 2
    found = list(differences(options.a, options.b, options.tolerance))
    equal = [sentence for sentence, differs in found if not differs]
    print("\n".join([*equal, *(f"differs: {sentence}" for sentence, differs in found if differs)]))
    return int(any(differs for _, differs in found))


def differences(a, b, tolerance=0.0):
    """Compare two folders of results.

    Parameters
    ----------
    a, b : Path
        Folders of one study each.
    tolerance : float
        Largest absolute difference between two numbers that counts as none.

    Yields
    ------
    (str, bool)
        A sentence per kind of result, and whether it says that something differs.
    """
    for name in TABLES:
        yield from _tables(name, {f"{name}.parquet"}, a, b, tolerance)
    for folder in FOLDERS:
        files = {path.relative_to(root).as_posix() for root in (a, b) for path in (root / folder).glob("*.parquet")}
        yield from _tables(folder, files, a, b, tolerance)
    yield from _vectors(a, b, tolerance)
    yield from _answers(a, b, tolerance)


def _tables(kind, files, a, b, tolerance):
    there = [name for name in sorted(files) if (a / name).is_file() or (b / name).is_file()]
    if not there:
        return
    sentences = [(name, _table(a / name, b / name, tolerance)) for name in there]
    faults = [f"{name}: {sentence}" for name, sentence in sentences if sentence]
    if not faults:
        yield f"{kind}: {len(there)} table(s) equal", False
        return
    more = f" … and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    yield f"{kind}: {len(faults)} of {len(there)} table(s): {'; '.join(faults[:NAMED])}{more}", True


def _table(a, b, tolerance):
    """What differs between two tables whose rows may come in any order; None where nothing does."""
    for path, other in ((a, b), (b, a)):
        if not path.is_file():
            return f"only in {other.parent}"
    left, right = (read_parquet(path).drop(columns=list(DIGESTS), errors="ignore") for path in (a, b))
    if list(left.columns) != list(right.columns):
        return f"columns {list(left.columns)} and {list(right.columns)}"
    if len(left) != len(right):
        return f"{len(left)} and {len(right)} rows"
    keys = [name for name in left if not pd.api.types.is_float_dtype(left[name]) and _sortable(left[name])]
    left, right = (
        frame.sort_values(keys, ignore_index=True, kind="stable") if keys else frame for frame in (left, right)
    )
    for name in left:
        sentence = _column(name, left[name], right[name], tolerance)
        if sentence:
            return sentence
    return None


def _sortable(column):
    return not len(column) or isinstance(column.iloc[0], str | int | float | np.generic | pd.Timestamp | type(None))


def _column(name, left, right, tolerance):
    if pd.api.types.is_float_dtype(left) and pd.api.types.is_float_dtype(right):
        gap = np.abs(left.to_numpy(float) - right.to_numpy(float))
        unequal = ~((gap <= tolerance) | (left.isna() & right.isna()).to_numpy())
        largest = f", by up to {np.nanmax(gap):.3g}" if np.isfinite(gap).any() else ""
    else:
        unequal = (left.map(repr) != right.map(repr)).to_numpy()
        largest = ""
    return f"{name} in {unequal.sum()} of {len(unequal)} rows{largest}" if unequal.any() else None


def _vectors(a, b, tolerance):
    stores = [VectorStore(root / "vectors.lance") for root in (a, b)]
    names = [set(store.names()) for store in stores]
    faults = [f"{name} only in one" for name in sorted(names[0] ^ names[1])]
    both = sorted(names[0] & names[1])
    for name in both:
        left, right = (store.read(name) for store in stores)
        if list(left.ids) != list(right.ids) or left.values.shape != right.values.shape:
            faults.append(f"{name}: other tracks or another width")
        elif (gap := float(np.abs(left.values - right.values).max(initial=0))) > tolerance:
            faults.append(f"{name}: by up to {gap:.3g}")
    if both or faults:
        yield (f"vectors: {'; '.join(faults)}", True) if faults else (f"vectors: {len(both)} table(s) equal", False)


def _answers(a, b, tolerance):
    paths = [root / "answers.json" for root in (a, b)]
    if not any(path.is_file() for path in paths):
        return
    if not all(path.is_file() for path in paths):
        yield "answers: only in one", True
        return
    left, right = (dict(_leaves(json.loads(path.read_text()))) for path in paths)
    names = sorted(set(left) | set(right))
    faults = [name for name in names if not _alike(left.get(name), right.get(name), tolerance)]
    shown = "; ".join(f"{name} {left.get(name)!r} and {right.get(name)!r}" for name in faults[:NAMED])
    yield (f"answers: {shown}", True) if faults else (f"answers: {len(names)} values equal", False)


def _leaves(value, name=""):
    """Numbers and words of nested JSON, each with its path."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(part, f"{name}.{key}".lstrip("."))
    else:
        yield name, value


def _alike(left, right, tolerance):
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) <= tolerance or (left != left and right != right)
    return left == right


if __name__ == "__main__":
    sys.exit(main())
