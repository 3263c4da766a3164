"""Vectors that others have made: read from files as they are published, and put into a study's store.

Read are the feature files of Music4All-Onion (``id_<feature>.tsv.bz2``: the first column ``id``, then numbers: the
backend ``onion_<feature>``), ``.npy`` beside a list of ids (the papers' ``trackid_sorted.csv`` too), and Parquet with
one list column (Yambda's ``normalized_embed``) or one column a dimension. Pickles are never loaded.
"""

import bz2
import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from lib.backends.vectors import Vectors
from lib.study import resolve
from lib.study.provenance import file_hash

__all__ = ["fill", "is_ready_made"]


PREFIX = "onion_"
GIVEN = "given_"  # imported once by ``python -m lib import``
SUFFIXES = (".tsv.bz2", ".tsv", ".csv")
ID_NAMES = ("id", "track_id", "trackid", "item_id")
BLOCK_BYTES = 2**24  # of text parsed at a time
ROWS = 65_536  # of Parquet read at a time
SORTED_AT_ONCE = 64  # columns


class ReadyMadeError(ValueError):
    """A file holds no vectors; the sentence says what it holds."""


def is_ready_made(backend):
    """Whether a backend's vectors come from a file: ``onion_<feature>``, or ``given_<name>``.

    Examples
    --------
    >>> is_ready_made("onion_musicnn"), is_ready_made("musicnn_msd")
    (True, False)
    """
    return backend.startswith((PREFIX, GIVEN))


def onion_file(folder, backend):
    """The feature file of a backend ``onion_<feature>`` in a folder.

    Raises
    ------
    FileNotFoundError
        The sentence says what it is called and where it comes from.
    """
    name = f"id_{backend.removeprefix(PREFIX)}"
    for suffix in SUFFIXES:
        path = Path(folder) / f"{name}{suffix}"
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"Expected {name}{SUFFIXES[0]} in {folder} for the backend {backend}, found no such file: get it from "
        "Zenodo record 15394646 (Music4All-Onion)."
    )


def read_features(path, progress=None):
    """Read a feature file: ids in the first column, numbers in all others.

    Parameters
    ----------
    path : str or Path
        Tab- or comma-separated, plain or .bz2, with a header line.
    progress : callable, optional
        Such as `lib.study.progress.progress`.

    Returns
    -------
    Vectors
        float32; memory is at most one and three quarters of the result and a block of text.

    Raises
    ------
    ReadyMadeError
        For columns that hold no numbers (``id_tags_dict`` holds Python literals, which are never evaluated), missing
        values, doubled ids, and damaged files.
    """
    path = Path(path)
    try:
        names, first, separator = _head(path)
        if names[0] != "id" or len(names) < 2:
            raise ReadyMadeError(f"Expected the columns id and numbers in {path.name}, found {', '.join(names[:4])}.")
        wrong = [name for name, value in zip(names[1:], first[1:], strict=False) if not _is_numeric(value)]
        if wrong:
            raise ReadyMadeError(
                f"Expected numbers in every column of {path.name} but id, found others in {', '.join(wrong[:3])}: it "
                "holds no vectors."
            )
        reader = pa.csv.open_csv(
            pa.input_stream(path, compression="bz2" if path.suffix == ".bz2" else None),
            pa.csv.ReadOptions(block_size=BLOCK_BYTES),
            pa.csv.ParseOptions(delimiter=separator, quote_char=False if separator == "\t" else '"'),
            # types are given: a column that begins with whole numbers would else be taken for one of them
            pa.csv.ConvertOptions(column_types=dict.fromkeys(names[1:], pa.float32()) | {"id": pa.string()}),
        )
        found = _Rows(path)
        for batch in progress(reader, label=f"read {path.name}", unit="block") if progress else reader:
            columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns[1:]]
            found.add(batch.column(0).to_pylist(), np.stack(columns, axis=1))
    except (pa.ArrowInvalid, OSError, EOFError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0][:200].rstrip(".")
        raise ReadyMadeError(
            f"Expected a whole table of numbers in {path.name}, found it cut, damaged or with other content ({said}): "
            "fetch it again."
        ) from None
    return found.vectors()


def read_vectors(path, ids=None):
    """Read vectors from ``.npy`` with a list of ids, Parquet, or a feature file.

    Parameters
    ----------
    path : str or Path
    ids : str or Path, optional
        For ``.npy``: one id a line, or a CSV whose column ``trackid`` (or id, track_id, item_id) holds them in the
        order of the rows.

    Returns
    -------
    Vectors

    Raises
    ------
    ReadyMadeError
        Where ids and rows do not match, or the file holds something else.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix != ".npy":
        return read_features(path)
    if ids is None:
        raise ReadyMadeError(f"Expected a list of ids beside {path.name}, found none: name the file that holds them.")
    try:
        values = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ReadyMadeError(f"Expected an array of numbers in {path.name}, found other content ({error}).") from None
    listed = _listed(Path(ids))
    if values.ndim != 2 or len(values) != len(listed):
        raise ReadyMadeError(
            f"Expected a row of {path.name} for each of the {len(listed)} ids of {Path(ids).name}, found an array of "
            f"shape {values.shape}."
        )
    if values.dtype.kind not in "fiu":
        raise ReadyMadeError(f"Expected an array of numbers in {path.name}, found one of type {values.dtype}.")
    found = _Rows(path)
    found.add(listed, values)
    return found.vectors()


def import_vectors(vectors, name, store, tracks, source):
    """Put vectors into a study's store, those of its tracks alone.

    Parameters
    ----------
    vectors : Vectors
    name : str
        Table of the store.
    store : VectorStore
    tracks : DataFrame
        ``track_id, path``.
    source : Path
        Where the vectors come from, for the metadata.

    Returns
    -------
    DataFrame
        ``track_id, path, reason`` of tracks without a vector.

    Raises
    ------
    ReadyMadeError
        Where not a single track has one.
    """
    kept = vectors.select(tracks["track_id"])
    if not len(kept):
        raise ReadyMadeError(
            f"Expected vectors of the study's {len(tracks)} tracks in {source.name}, found none (its first id is "
            f"{str(vectors.ids[0])!r}): are these other ids?"
        )
    known = {"name": name, "checkpoint": source.name, "revision": f"sha256 {file_hash(source)}", "sample_rate": ""}
    known |= {
        "layer": "ready-made",
        "pooling": "as published",
        "dim": str(vectors.dim),
        "fingerprint": file_hash(source),
    }
    store.replace(name, kept, known)
    missing = tracks.loc[~kept.has(tracks["track_id"]), ["track_id", "path"]]
    return missing.assign(reason=f"no row in {source.name}").reset_index(drop=True)


def fill(study, backend, store, tracks, progress=None):
    """Fill a study's table of a ready-made backend, and say which tracks have no vector.

    Parameters
    ----------
    study : Study
    backend : str
        ``onion_<feature>``: read from the file in the folder of its data set or log. ``given_<name>``: what
        ``python -m lib import`` has kept.
    store : VectorStore
        The study's.
    tracks : DataFrame
    progress : callable, optional

    Returns
    -------
    DataFrame
        As from `import_vectors`.

    Raises
    ------
    FileNotFoundError
        Where there is nothing to read; the sentence says what to do.
    """
    if backend.startswith(GIVEN):
        path = given_path(study, backend)
        if not path.is_file():
            raise FileNotFoundError(
                f"Expected vectors of {backend} in {study.relative(path)}, found none: run 'python -m lib import "
                f"{study.name} {backend} FILE' first."
            )
        return import_vectors(read_vectors(path), backend, store, tracks, path)
    p = study.parameters
    folder = next(
        (f for f in (p.listening_folder, p.dataset_folder) if f and _has(resolve(f), backend)), p.dataset_folder
    )
    path = onion_file(resolve(folder), backend)
    return import_vectors(read_features(path, progress), backend, store, tracks, path)


def given_path(study, backend):
    """Where a study keeps vectors that were given to it; results do not go there, so no run removes it."""
    return study.path("given", f"{backend}.parquet")


def export_vectors(vectors, path):
    """Write vectors for others: ``.parquet`` (track_id, vector), or ``.npy`` with its ids beside it in ``.ids.txt``."""
    from lib.study.tables import write_atomically, write_parquet

    path = Path(path)
    if path.suffix == ".parquet":
        write_parquet(pd.DataFrame({"track_id": vectors.ids, "vector": list(vectors.values)}), path)
        return
    with write_atomically(path.with_suffix(".ids.txt")) as beside:
        beside.write_text("\n".join(vectors.ids) + "\n")
    with write_atomically(path.with_suffix(".npy")) as beside:
        np.save(beside, vectors.values)


def _has(folder, backend):
    try:
        return bool(onion_file(folder, backend))
    except FileNotFoundError:
        return False


def _head(path):
    """Names of the columns, values of the first row, separator."""
    with (bz2.open if path.suffix == ".bz2" else open)(path, "rt", encoding="utf-8-sig", newline="") as lines:
        header, row = lines.readline().rstrip("\r\n"), lines.readline().rstrip("\r\n")
    separator = max("\t,;", key=header.count)
    if separator == "\t":
        return header.split(separator), row.split(separator), separator
    names, *values = csv.reader([line for line in (header, row) if line], delimiter=separator)
    return names, values[0] if values else [], separator


def _is_numeric(text):
    """Whether text is a number, or empty (a missing one, of which `_Rows` tells the ids)."""
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True


def _is_number(kind):
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _parquet(path):
    try:
        file = pa.parquet.ParquetFile(path)
        schema = file.schema_arrow
        ids = next((name for name in ID_NAMES if name in schema.names), None)
        lists = [f.name for f in schema if _is_list(f.type) and _is_number(f.type.value_type)]
        # pandas writes an index that is not a plain count as a column of this name
        wide = [f.name for f in schema if _is_number(f.type) and f.name != ids and not f.name.startswith("__index_")]
        if ids is None or not (lists or wide):
            raise ReadyMadeError(
                f"Expected ids ({', '.join(ID_NAMES)}) and a list of numbers a row, or a column a dimension, in "
                f"{path.name}, found {', '.join(schema.names[:6])}."
            )
        lists = [name for name in ("normalized_embed",) if name in lists] or lists
        columns = lists[:1] or wide
        found = _Rows(path)
        for batch in file.iter_batches(ROWS, columns=[ids, *columns]):
            found.add(batch[ids].cast(pa.string()).to_pylist(), _block(batch, columns, bool(lists), path))
    except (pa.ArrowInvalid, OSError) as error:
        raise ReadyMadeError(f"Expected Parquet in {path.name}, found a damaged or other file ({error}).") from None
    return found.vectors()


def _is_list(kind):
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _block(batch, columns, is_list, path):
    """Numbers of a batch, a row each."""
    if not is_list:
        return np.stack([batch[name].to_numpy(zero_copy_only=False) for name in columns], axis=1)
    lists = batch[columns[0]]
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    if len(set(lengths.tolist())) > 1 or lists.null_count:
        raise ReadyMadeError(
            f"Expected lists of one length in every row of {path.name}, found none or others in column {columns[0]}."
        )
    return lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1)


class _Rows:
    """Ids and vectors as they come, block by block, in one float32 array that grows."""

    def __init__(self, path):
        self._path, self._ids, self._values = path, [], None
        self._bad = []

    def add(self, ids, block):
        """Append rows, and note the ids of those that are not all finite."""
        if self._values is None:
            self._values = np.empty((0, block.shape[1]), np.float32)
        if block.shape[1] != self._values.shape[1]:
            raise ReadyMadeError(
                f"Expected {self._values.shape[1]} numbers in every row of {self._path.name}, found {block.shape[1]}."
            )
        before, after = len(self._ids), len(self._ids) + len(ids)
        if after > len(self._values):
            # grown in place where the system can: a list of blocks, put together, would need twice the memory
            self._values.resize((max(after, len(self._values) * 5 // 4), block.shape[1]), refcheck=False)
        with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which is refused
            self._values[before:after] = block
        self._ids += ids
        bad = ~np.isfinite(self._values[before:after]).all(axis=1)
        self._bad += [ids[row] for row in np.flatnonzero(bad)]

    def vectors(self):
        """All rows, sorted by id; a sentence where an id is missing or doubled, or a value is no number."""
        if not self._ids:
            raise ReadyMadeError(f"Expected a row for each track in {self._path.name}, found none: fetch it again.")
        if not all(self._ids):
            raise ReadyMadeError(f"Expected an id in every row of {self._path.name}, found an empty one: drop it.")
        names = pd.Series(self._ids, dtype=object)
        if names.duplicated().any():
            raise ReadyMadeError(
                f"Expected each id once in {self._path.name}, found {names[names.duplicated()].iloc[0]!r} more than "
                "once."
            )
        if self._bad:
            raise ReadyMadeError(
                f"Expected a number in every column of {self._path.name}, found none or infinity for "
                f"{len(self._bad)} of {len(names)} ids, the first being {self._bad[0]!r}: leave these rows out."
            )
        self._values.resize((len(names), self._values.shape[1]), refcheck=False)
        ids = names.to_numpy().astype(str)
        order = np.argsort(ids)
        for start in range(0, self._values.shape[1], SORTED_AT_ONCE):
            part = self._values[:, start : start + SORTED_AT_ONCE]
            part[:] = part[order]
        return Vectors(ids[order], self._values)


def _listed(path):
    """Ids in the order of the rows: a line each, or the id column of a CSV."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    names = [name.strip('"') for name in lines[0].split(",")] if lines else []
    column = next((name for name in ID_NAMES if name in names), None)
    if column is None:
        return [line.strip() for line in lines if line.strip()]
    return pd.read_csv(path, dtype=str, keep_default_na=False)[column].tolist()
