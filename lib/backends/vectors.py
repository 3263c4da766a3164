"""Vectors of tracks and the database that keeps them: LanceDB, one table a backend.

Reported numbers use exact search on the arrays read back from here: LanceDB's IVF indexes are approximate and not
reproducible (lancedb#1686). Lance is not fork-safe (lance#2405), so tables are read in the parent process.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

__all__ = ["VectorStore", "track_by_backend"]


@dataclass(frozen=True)
class Vectors:
    """Vectors that travel with the ids of their tracks.

    Parameters
    ----------
    ids : ndarray of str, shape (n,)
        Track ids, unique, ascending.
    values : ndarray of float32, shape (n, dim)
        One row a track.

    Raises
    ------
    ValueError
        When ids and rows differ in number, ids repeat or are not ascending, or a value is not finite.

    Examples
    --------
    >>> Vectors.of(["b", "a"], [[2.0], [1.0]]).take(["b"]).tolist()
    [[2.0]]
    """

    ids: np.ndarray
    values: np.ndarray

    def __post_init__(self):
        if self.values.ndim != 2 or len(self.ids) != len(self.values):
            raise ValueError(
                f"Expected one row of vectors for each of {len(self.ids)} ids, "
                f"found an array of shape {self.values.shape}."
            )
        if len(self.ids) > 1 and not (self.ids[1:] > self.ids[:-1]).all():
            raise ValueError(
                "Expected unique, ascending track ids, found others; build vectors with Vectors.of(ids, values)."
            )
        finite = np.isfinite(self.values).all(axis=1)
        if not finite.all():
            bad = ", ".join(self.ids[~finite][:3])
            raise ValueError(
                f"Expected finite vectors, "
                f"found NaN or infinity for {(~finite).sum()} track(s): {bad}; extract them again."
            )

    @classmethod
    def of(cls, ids, values):
        """Build from ids in any order; repeated ids are an error."""
        ids = np.asarray(ids, dtype=str)
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], np.ascontiguousarray(np.asarray(values, dtype=np.float32)[order]))

    def __len__(self):
        return len(self.ids)

    @property
    def dim(self):
        """Width of the vectors."""
        return self.values.shape[1]

    def has(self, ids):
        """Tell for each of `ids` whether it has a vector."""
        return np.isin(np.asarray(ids, dtype=str), self.ids)

    def rows(self, ids):
        """Row numbers of `ids`; a KeyError names those that are missing."""
        ids = np.asarray(ids, dtype=str)
        known = self.has(ids)
        if not known.all():
            raise KeyError(
                f"No vector for {(~known).sum()} of {len(ids)} tracks, the first being {str(ids[~known][0])!r}."
            )
        return np.searchsorted(self.ids, ids)

    def take(self, ids):
        """Vectors of `ids`, in that order, shape (len(ids), dim)."""
        return self.values[self.rows(ids)]

    def select(self, ids):
        """The same vectors restricted to those of `ids` that are here."""
        keep = np.isin(self.ids, np.asarray(ids, dtype=str))
        return Vectors(self.ids[keep], self.values[keep])


class VectorStore:
    """A folder of tables of vectors, one a backend.

    A table holds ``track_id`` and ``vector`` (a fixed-size list of float32) and, in its schema's metadata, what made
    the vectors (checkpoint, layer, pooling, rate). Writers take a file lock; a second writer waits.

    Parameters
    ----------
    path : Path
        The folder, made when first written.

    Examples
    --------
    >>> VectorStore("runs/toy/vectors.lance").names()  # doctest: +SKIP
    ['mfcc', 'musicnn_msd']
    """

    def __init__(self, path):
        self.path = Path(path)

    def _database(self):
        os.environ.setdefault("LANCEDB_LOG", "error")  # its Rust logger writes past Python, into the cells of notebooks
        import lancedb

        return lancedb.connect(self.path)

    def _lock(self, name):
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / f".{name}.lock")

    def names(self):
        """Names of the tables, ascending; one is there once its first version is, not while it is being made."""
        if not self.path.is_dir():
            return []
        listed = self._database().list_tables(limit=10_000).tables
        return sorted(name for name in listed if any((self.path / f"{name}.lance" / "_versions").glob("*.manifest")))

    def metadata(self, name):
        """What made the vectors of a table: a dict of str."""
        return {k.decode(): v.decode() for k, v in (self._open(name).schema.metadata or {}).items()}

    def dim(self, name):
        """Width of the vectors of a table, without reading them."""
        return self._open(name).schema.field("vector").type.list_size

    def ids(self, name):
        """Track ids in a table, ascending; empty where there is no such table."""
        if name not in self.names():
            return np.array([], dtype=str)
        return np.sort(np.asarray(self._arrow(name, ["track_id"])["track_id"].to_pylist(), dtype=str))

    def read(self, name):
        """All vectors of a table.

        Returns
        -------
        Vectors

        Raises
        ------
        FileNotFoundError
            When there is no such table; the sentence names the notebook that makes it.
        """
        table = self._arrow(name, ["track_id", "vector"])
        column = table["vector"].combine_chunks()
        width = column.type.list_size
        values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        return Vectors.of(table["track_id"].to_pylist(), values)

    def append(self, name, ids, values, metadata):
        """Add rows; ids that are already there are left as they are, and of one that comes twice the first counts.

        Parameters
        ----------
        name : str
            The table.
        ids : sequence of str, length n
        values : ndarray of float32, shape (n, dim)
        metadata : dict of str
            Written when the table is made.
        """
        with self._lock(name):
            known = set(self.ids(name))
            first = {}
            for row, track in enumerate(ids):
                first.setdefault(track, row)
            fresh = [row for track, row in first.items() if track not in known]
            if not fresh:
                return
            rows = _arrow_rows([ids[row] for row in fresh], np.asarray(values)[fresh], metadata)
            if known:
                self._open(name).add(rows)
            else:
                self._database().create_table(name, data=rows, mode="overwrite")

    def replace(self, name, vectors, metadata):
        """Make a table anew from `vectors`; Lance commits the new version as a whole."""
        with self._lock(name):
            self._database().create_table(
                name, data=_arrow_rows(vectors.ids, vectors.values, metadata), mode="overwrite"
            )

    def _open(self, name):
        if name not in self.names():
            raise FileNotFoundError(
                f"No vectors of backend {name!r} in {self.path.name}; it holds {self.names() or 'nothing'}. "
                f"Run 20_extract_embeddings with -p backend {name} first."
            )
        return self._database().open_table(name)

    def _arrow(self, name, columns):
        return self._open(name).search().select(columns).limit(None).to_arrow()


def _arrow_rows(ids, values, metadata):
    import pyarrow as pa

    values = np.ascontiguousarray(values, dtype=np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    schema = pa.schema([("track_id", pa.string()), ("vector", lists.type)]).with_metadata(
        {k: str(v) for k, v in metadata.items()}
    )
    return pa.table([pa.array(list(map(str, ids)), pa.string()), lists], schema=schema)


def track_by_backend(store, ids):
    """Which track has a vector in which table.

    Parameters
    ----------
    store : VectorStore
    ids : sequence of str
        The tracks that ought to be there.

    Returns
    -------
    DataFrame
        Indexed by track id, one column of bool a table.
    """
    ids = np.asarray(ids, dtype=str)
    return pd.DataFrame(
        {name: np.isin(ids, store.ids(name)) for name in store.names()}, index=pd.Index(ids, name="track_id")
    )
