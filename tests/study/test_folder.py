"""What of a study's folder stays when its data change."""

import pandas as pd

from lib.study import Study, folder, load_parameters


def test_changed_data_delete_all_that_was_made_of_the_old(tmp_path):
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path)}))
    assert folder.save_data(study, {"tracks": pd.DataFrame({"track_id": ["a"]})})
    made = ("item_retrieval.parquet", "worlds.parquet", "figures/x.png", "done/x.json", "a_file_of_a_later_version")
    kept = ("vectors.lance/x", "given/x.parquet", "executed/x.ipynb", "logs/x.log", "manifest.json", ".workflow.json")
    for name in (*made, *kept):
        path = study.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert not folder.save_data(study, {"tracks": pd.DataFrame({"track_id": ["a"]})})
    assert all(study.path(name).is_file() for name in (*made, *kept))
    assert folder.save_data(study, {"tracks": pd.DataFrame({"track_id": ["b"]})})
    assert not [name for name in made if study.path(name).exists()]
    assert all(study.path(name).is_file() for name in kept)
    assert not folder.is_of_earlier_layout(study)
