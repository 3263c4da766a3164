"""What is read of a study's results."""

from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd

from lib.backends import pseudo
from lib.backends.vectors import Vectors, VectorStore
from lib.evaluation import results
from lib.study import ROOT, Study, load_parameters
from lib.study.tables import write_parquet


def test_primary_rows_are_of_ndcg_at_the_first_cut_off_of_their_own_split():
    """Canary: 6 is the first cut-off on cold tracks and a later one on hot ones."""
    todo = {"hot_test": SimpleNamespace(cutoffs=(22, 6)), "cold_test": SimpleNamespace(cutoffs=(6,))}
    rows = [(s, m, k) for s in ("hot_test", "cold_test", "val") for m in ("Recall", "NDCG") for k in (6, 22)]
    frame = pd.DataFrame(rows, columns=["split", "metric", "k"]).assign(value=range(12))
    found = results.at_primary(frame, todo)
    assert found[["split", "k"]].values.tolist() == [["hot_test", 22], ["cold_test", 6]]
    assert set(found["metric"]) == {"NDCG"}
    assert list(found.columns) == list(frame.columns)


def test_stored_vectors_are_those_of_the_store_or_of_a_label(tmp_path):
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path), "label_columns": {"artist": "artist"}}))
    tracks = pd.DataFrame({"track_id": ["a", "b", "c"], "artist": ["x", "y", "x"]})
    write_parquet(tracks, study.path("data", "tracks.parquet"))
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    VectorStore(study.path("vectors.lance")).replace("mfcc", Vectors.of(tracks["track_id"], values), {})
    assert pseudo.stored(study, "mfcc").values.tolist() == values.tolist()
    assert pseudo.stored(study, "artist").values.tolist() == [[1.0], [0.0], [1.0]]


def test_preparation_saves_its_figure_after_the_data_that_would_delete_it():
    cells = nbformat.read(ROOT / "notebooks" / "10_prepare_data.ipynb", as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert text.index("preparation.save(") < text.index("figures.save(")
