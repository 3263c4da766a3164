"""Vectors that others have made: read from files as they are published, and put into a study's store.

Read are the feature files of Music4All-Onion (``id_<feature>.tsv.bz2``: the first column ``id``, then numbers: the
backend ``onion_<feature>``), ``.npy`` beside a list of ids (the papers' ``trackid_sorted.csv`` too), and Parquet with
one list column (Yambda's ``normalized_embed``) or one column a dimension. Pickles are never loaded.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lib.provenance import file_hash
from lib.study import resolve
from lib.vectors import Vectors

PREFIX = "onion_"
SUFFIXES = (".tsv.bz2", ".tsv", ".csv")
ID_NAMES = ("id", "track_id", "trackid", "item_id")


class ReadyMadeError(ValueError):
    """A file holds no vectors; the sentence says what it holds."""


def is_ready_made(backend):
    """Whether a backend's vectors are read from a published file.

    Examples
    --------
    >>> is_ready_made("onion_musicnn"), is_ready_made("musicnn_msd")
    (True, False)
    """
    return backend.startswith(PREFIX)


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
        Such as `lib.progress.progress`.

    Returns
    -------
    Vectors
        float32; memory is that of the result and a block of text.

    Raises
    ------
    ReadyMadeError
        For columns that hold no numbers (``id_tags_dict`` holds Python literals, which are never evaluated), missing
        values, doubled ids, and damaged files.
    """
    path = Path(path)
    try:
        reader = pa.csv.open_csv(
            pa.input_stream(path, compression="bz2" if path.suffix == ".bz2" else None),
            pa.csv.ReadOptions(block_size=2**24),
            pa.csv.ParseOptions(delimiter=_separator(path), quote_char=False),
            pa.csv.ConvertOptions(column_types={"id": pa.string()}),
        )
        names = reader.schema.names
        if names[0] != "id" or len(names) < 2:
            raise ReadyMadeError(f"Expected the columns id and numbers in {path.name}, found {', '.join(names[:4])}.")
        wrong = [f.name for f in list(reader.schema)[1:] if not (_is_number(f.type) or pa.types.is_null(f.type))]
        if wrong:
            raise ReadyMadeError(
                f"Expected numbers in every column of {path.name} but id, found others in {', '.join(wrong[:3])}: it "
                "holds no vectors."
            )
        ids, parts = [], []
        for batch in progress(reader, label=f"read {path.name}", unit="block") if progress else reader:
            ids += batch.column(0).to_pylist()
            columns = [column.cast(pa.float32()).to_numpy(zero_copy_only=False) for column in batch.columns[1:]]
            parts.append(np.stack(columns, axis=1))
    except (pa.ArrowInvalid, OSError, EOFError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0][:200].rstrip(".")
        raise ReadyMadeError(
            f"Expected a whole table of numbers in {path.name}, found it cut or damaged ({said}): fetch it again."
        ) from None
    return _checked(ids, np.concatenate(parts), path)


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
    return _checked(listed, values.astype(np.float32), path)


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


def import_onion(study, backend, store, tracks, progress=None):
    """Fill a study's table of an ``onion_<feature>`` backend from the file in its data set's (or log's) folder."""
    p = study.parameters
    folder = next(
        (f for f in (p.listening_folder, p.dataset_folder) if f and _has(resolve(f), backend)), p.dataset_folder
    )
    path = onion_file(resolve(folder), backend)
    return import_vectors(read_features(path, progress), backend, store, tracks, path)


def export_vectors(vectors, path):
    """Write vectors for others: ``.parquet`` (track_id, vector), or ``.npy`` with its ids beside it in ``.ids.txt``."""
    from lib.tables import write_atomically, write_parquet

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


def _separator(path):
    import bz2

    with (bz2.open if path.suffix == ".bz2" else open)(path, "rt", encoding="utf-8") as lines:
        line = lines.readline()
    return max("\t,;", key=line.count)


def _is_number(kind):
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _parquet(path):
    try:
        table = pa.parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ReadyMadeError(f"Expected Parquet in {path.name}, found a damaged or other file ({error}).") from None
    ids = next((name for name in ID_NAMES if name in table.column_names), None)
    lists = [f.name for f in table.schema if pa.types.is_list(f.type) or pa.types.is_fixed_size_list(f.type)]
    wide = [f.name for f in table.schema if _is_number(f.type) and f.name != ids]
    if ids is None or not (len(lists) >= 1 or wide):
        raise ReadyMadeError(
            f"Expected ids ({', '.join(ID_NAMES)}) and a list of numbers a row, or a column a dimension, in "
            f"{path.name}, found {', '.join(table.column_names[:6])}."
        )
    if lists:
        chosen = "normalized_embed" if "normalized_embed" in lists else lists[0]
        values = np.array(table[chosen].to_pylist(), dtype=np.float32)
    else:
        values = table.select(wide).to_pandas().to_numpy(np.float32)
    return _checked(table[ids].cast(pa.string()).to_pylist(), values, path)


def _listed(path):
    """Ids in the order of the rows: a line each, or the id column of a CSV."""
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [name.strip('"') for name in lines[0].split(",")]
    column = next((name for name in ID_NAMES if name in names), None)
    if column is None:
        return [line.strip() for line in lines if line.strip()]
    return pd.read_csv(path, dtype=str, keep_default_na=False)[column].tolist()


def _checked(ids, values, path):
    names = pd.Series(ids, dtype=object)
    if names.duplicated().any():
        raise ReadyMadeError(
            f"Expected each id once in {path.name}, found {names[names.duplicated()].iloc[0]!r} more than once."
        )
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise ReadyMadeError(
            f"Expected a number in every column of {path.name}, found none or infinity for {int(bad.sum())} of "
            f"{len(names)} ids, the first being {names[bad].iloc[0]!r}: leave these rows out."
        )
    return Vectors.of(names.astype(str), values)
