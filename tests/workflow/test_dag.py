"""What runs in a study, after what and when again, follows from the rows of the graph and from its parameters."""

import functools
import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from lib import recommenders
from lib.evaluation import tuning, variants
from lib.study import ROOT, Parameters, Study, load_parameters
from lib.study.provenance import code_digest
from workflow import dag, digests

STUDIES = sorted(path.stem for path in (ROOT / "params").glob("*.yaml") if path.stem != "base")
SPACES = "20 mfcc musicnn_msd musicnn_mtt musicnn_untrained vgg_msd vgg_mtt vgg_untrained"
FIVE = "mfcc musicnn_msd musicnn_mtt vgg_msd vgg_mtt"
SEVEN = f"artist genre {FIVE}"
# before the graph was one table: of each study, {number of a notebook: backends}
EXPECTED = {
    (
        "toy",
        "",
        False,
    ): f"00; 10; 11; {SPACES}; 21; 30 {SEVEN}; 31; 40 artist mfcc musicnn_msd; 50 artist mfcc musicnn_msd; "
    "60; 61 artist musicnn_msd; 64; 70; 71; 72; 74; 80; 90",
    (
        "demo",
        "",
        False,
    ): f"00; 10; 11; {SPACES}; 21; 30 {SEVEN}; 31; 40 {SEVEN}; 50 {SEVEN}; 60; 61 artist musicnn_msd; 64; "
    "70; 71; 72; 74; 80; 90",
    (
        "demo",
        "",
        True,
    ): f"00; 10; 11; {SPACES}; 21; 22; 30 {SEVEN}; 31; 40 {SEVEN}; 50 {SEVEN}; 60; 61 {SEVEN}; 62; 63; 64; "
    "70; 71; 72; 73; 74; 80; 90",
    ("full_mock", "", False): "00; 10; 11; 30 factors; 60; 64; 70; 71; 72; 74; 80; 90",
    ("onion_sample", "", True): "00; 10; 11; 60; 63; 64; 80; 90",
    ("my_dataset", "none", False): f"00; 10; 12; {SPACES}; 21; 31; 80; 90",
    (
        "my_dataset",
        "",
        False,
    ): f"00; 10; 11; 12; {SPACES}; 21; 30 {FIVE}; 31; 40 {FIVE}; 50 {FIVE}; 60; 61 musicnn_msd; 64; 70; 71; 72; 80; 90",
}


def study_of(tmp_path, name="toy", **changes):
    return Study(load_parameters(name, {"runs_dir": str(tmp_path)} | changes))


def names(study, extended=False):
    return [job.name for job in dag.jobs(study, extended)]


def job(name, backend=None):
    return dag.Job(dag.ROW[name], backend)


def mark_done(study, name):
    done = study.path("done", f"{name}.done.json")
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text("{}")


def expected_jobs(text):
    for part in text.split("; "):
        number, *backends = part.split()
        yield from [dag.Job(dag.ROW[number], name).name for name in backends or [None]]


@pytest.mark.parametrize(("case", "text"), EXPECTED.items(), ids=lambda case: "-".join(map(str, case))[:30])
def test_the_graph_lists_the_jobs_that_it_always_had(case, text, tmp_path):
    name, listening, extended = case
    study = study_of(tmp_path, name, **({"listening_source": listening} if listening else {}))
    assert sorted(names(study, extended)) == sorted(expected_jobs(text))


@pytest.mark.parametrize(
    ("name", "changes", "extended"), [("toy", {}, True), ("my_dataset", {"listening_source": "none"}, False)]
)
def test_snakemake_runs_the_jobs_of_the_graph(name, changes, extended, tmp_path):
    overrides = {"runs_dir": str(tmp_path / "runs")} | changes
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"study": name, "overrides": overrides, "extended": extended}))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--dry-run"]
    command += ["--directory", str(tmp_path), "--configfile", str(config), "--cores", "1"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    jobs = set(re.findall(r"output: done/(\S+)\.done\.json", found.stdout + found.stderr))
    assert jobs == set(names(study_of(tmp_path / "runs", name, **changes), extended))


def test_every_notebook_has_one_row_and_every_row_its_notebook():
    stems = [path.stem for path in dag.NOTEBOOKS.glob("[0-9]*.ipynb")]
    assert sorted(row.notebook for row in dag.ROWS) == sorted(stems)


def test_needs_form_no_circle_and_all_lead_to_the_index():
    levels = {row.notebook: dag.level(row) for row in dag.ROWS}  # a circle would not end
    assert all(levels[name] < levels[row.notebook] for row in dag.ROWS for name in row.needs)
    assert max(levels, key=levels.get) == "00_index"
    assert set(dag.ROW["90"].needs) == {row.notebook for row in dag.ROWS[:-2]}


@pytest.mark.parametrize("row", dag.ROWS, ids=lambda row: row.notebook)
def test_rows_read_known_parameters_and_all_that_their_cells_read(row):
    unknown = [name for name in row.reads if name.removesuffix("?") not in Parameters.model_fields]
    assert not unknown, f"{row.notebook} reads parameters that do not exist: {unknown}"
    assert digests.undeclared(job(row.notebook, "mfcc" if row.over else None), []) == []


@pytest.mark.parametrize("row", dag.ROWS, ids=lambda row: row.notebook)
def test_rows_read_what_their_notebook_names_in_any_branch(row):
    """Canary: 12 named a parameter after a condition that holds in no study of the tests."""
    notebook = json.loads((dag.NOTEBOOKS / f"{row.notebook}.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    named = set(re.findall(r"\b(?:p|parameters)\.(\w+)", code)) & set(Parameters.model_fields)
    assert digests.undeclared(job(row.notebook, "mfcc" if row.over else None), sorted(named)) == []


def test_what_a_costly_row_needs_is_costly():
    """Canary: Snakemake runs everything again after 10, so an edit in lib/figures would train all anew through it."""
    assert not [
        (row.notebook, name) for row in dag.ROWS if row.costly for name in row.needs if not dag.ROW[name].costly
    ]


def test_a_read_that_no_row_names_is_found():
    assert digests.undeclared(job("30", "mfcc"), ["seed", "backend", "font_size", "n_worlds"]) == ["n_worlds"]
    assert digests.undeclared(job("11"), ["backend"]) == ["backend"]


def test_jobs_wait_for_what_they_read(tmp_path):
    study = study_of(tmp_path)
    there = dag.jobs(study)

    def needed(name, backend=None):
        return {other.name for other in dag.needed(study, job(name, backend), there)}

    assert needed("10") == set()
    assert needed("30", "vgg_msd") == {f"20_extract_embeddings.{name}" for name in ("vgg_msd", "vgg_untrained")} | {
        "10_prepare_data"
    }
    assert needed("30", "artist") == {"10_prepare_data"}
    assert needed("64") >= {"30_knn.musicnn_msd", "50_bert4rec.musicnn_msd", "60_baselines"}
    assert not any(name.endswith("mfcc") for name in needed("64"))
    assert needed("00") == {"90_export_thesis"}
    assert needed("90") == {other.name for other in there[:-2]}


def test_what_most_depends_on_starts_first(tmp_path):
    study = study_of(tmp_path, "demo")
    first = dag.priorities(study, dag.jobs(study))
    assert first["10_prepare_data"] == max(first.values())
    assert first["60_baselines"] > first["11_listening_realism"]
    assert first["20_extract_embeddings.musicnn_msd"] > first["21_inspect_embeddings"]
    assert first["00_index"] == min(first.values()) > 0


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_names_recommenders_variants_and_grids_that_exist(name):
    study = Study(load_parameters(name))
    for named, options in study.parameters.recommender_table.items():
        kind = options.get("kind", named)
        recommenders.create(kind, **study.named(kind)[named])
    assert set(study.parameters.variant_table) <= set(variants.table(study))
    found, left_out = tuning.searches(study.parameters.recommender_table, study.parameters.tuning_grids, audio=True)
    assert not left_out
    assert {search.name for search in found} == set(study.parameters.tuning_grids)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_trains_what_its_table_names(name):
    study = Study(load_parameters(name))
    kinds = {options.get("kind", named) for named, options in study.parameters.recommender_table.items()}
    asked = {one.row.notebook for one in dag.jobs(study, extended=True)} & set(dag.TRAININGS)
    expected = {"40_shallow_net": {"shallow_net"}, "50_bert4rec": {"bert4rec"}, "61_hybrids": {"hybrid", "bimodal"}}
    wanted = {notebook for notebook, own in expected.items() if own & kinds and study.trained_on}
    assert asked == (wanted if study.has_listeners else set())


def test_hybrids_on_all_backends_are_extended_and_kept_up_to_date(tmp_path):
    study = study_of(tmp_path)

    def hybrids(extended):
        return [one.backend for one in dag.jobs(study, extended) if one.row.notebook == "61_hybrids"]

    assert hybrids(False) == ["musicnn_msd", "artist"]  # the study's one backend, and names of artists
    assert hybrids(True) == ["mfcc", "musicnn_msd", "artist"]
    mark_done(study, "61_hybrids.mfcc")
    assert hybrids(False) == ["mfcc", "musicnn_msd", "artist"]


def test_what_make_extended_adds_stays(tmp_path):
    study, name = study_of(tmp_path), "62_published_vs_corrected"
    assert name in names(study, True)
    assert name not in names(study)
    mark_done(study, name)
    assert name in names(study)
    for changes in ({"variant_table": {}}, {"backend_ids": ["vgg_mtt"]}, {"listening_source": "none"}):
        assert name not in names(study_of(tmp_path, **changes), True)


def test_a_job_depends_on_the_parameters_that_its_row_reads(tmp_path):
    jobs = [job("10"), job("20", "mfcc"), job("40", "mfcc"), job("61", "mfcc"), job("62"), job("70")]

    def changed(**changes):
        one, other = study_of(tmp_path), study_of(tmp_path, **changes)
        return {name.row.notebook[:2] for name in jobs if digests.digest(one, name) != digests.digest(other, name)}

    table = yaml.safe_load((ROOT / "params" / "toy.yaml").read_text())["recommender_table"]
    assert changed(recommender_table=table | {"more": {"kind": "mostpop"}}) == {"40", "61", "62", "70"}
    assert changed(variant_table={}) == {"62"}
    assert changed(backend="mfcc") == {"62", "70"}  # each job of 40 has a backend of its own
    assert changed(n_tracks=99) == {"10"}
    assert changed(n_users=99) == {"10"}
    assert changed(font_size=8) == {"70"}  # costly jobs are not run again for how a figure looks
    assert changed(backend_ids=["mfcc", "vgg_msd", "musicnn_msd"]) == {"62", "70"}
    assert changed(backend_ids=[]) >= {"10"}


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A function that edits a file in a copy of the library: the jobs of toy that then run again."""
    copy, study = tmp_path / "copy", study_of(tmp_path)
    shutil.copytree(ROOT / "lib", copy / "lib", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    monkeypatch.setattr(digests, "code_digest", functools.partial(code_digest, tree=copy))

    def every(of):
        digests._code_digest.cache_clear()
        return {one.name: of(study, one) for one in dag.jobs(study, extended=True)}

    def edit(file, of=digests.digest):
        before, path = every(of), copy / file
        path.write_text(path.read_text() + "\n# changed\n")
        return {name for name, after in every(of).items() if after != before[name]}

    yield edit
    digests._code_digest.cache_clear()


def test_an_edit_in_a_network_reruns_the_extraction_of_its_backends_and_of_no_other(edited):
    from lib import backends

    def file(name):
        return next(path for path in (ROOT / "lib").rglob(f"{backends.REGISTRY[name].adapter}.py")).relative_to(ROOT)

    def costly(found):
        return {name for name in found if dag.ROW[name.partition(".")[0]].costly}

    assert costly(edited(file("mfcc"))) == {"20_extract_embeddings.mfcc"}
    assert costly(edited(file("mert_95m"))) == {"22_layers_and_pooling"}
    reached = costly(edited(file("musicnn_msd")))
    own = ("musicnn_msd", "musicnn_mtt", "musicnn_untrained", "vgg_msd", "vgg_mtt", "vgg_untrained")
    assert reached == {f"20_extract_embeddings.{name}" for name in own}


def test_an_edit_in_figures_reruns_no_training_and_no_extraction(edited):
    again = edited("lib/figures/style.py")
    assert "70_rq1_viability" in again
    assert not [name for name in again if dag.ROW[name.partition(".")[0]].costly]


def test_figures_of_costly_jobs_are_known_to_be_of_earlier_drawing_code(edited):
    again = edited("lib/figures/style.py", of=digests.drawn_by)
    assert {"30_knn.mfcc", "40_shallow_net.artist", "20_extract_embeddings.mfcc"} <= again
    assert "70_rq1_viability" not in again  # it runs again by itself


def test_stale_pictures_are_of_jobs_whose_numbers_stand(tmp_path):
    study = study_of(tmp_path)
    there, one = dag.jobs(study), job("30", "mfcc")
    manifest = {"digest": {one.name: digests.digest(study, one)}, "drawn_by": {one.name: "earlier"}}
    mark_done(study, one.name)
    study.path("manifest.json").write_text(json.dumps(manifest))
    assert [stale.name for stale in digests.stale_pictures(study, there)] == [one.name]
    manifest["digest"][one.name] = "earlier too"  # runs again anyhow
    study.path("manifest.json").write_text(json.dumps(manifest))
    assert digests.stale_pictures(study, there) == []


def test_each_answering_job_has_its_own_part_of_what_several_write(tmp_path):
    study = study_of(tmp_path)
    rows = [("mfcc", "real", 0.1), ("mfcc", "shuffled", 0.2)]
    frame = pd.DataFrame(rows, columns=["backend_b", "control_b", "diff"])
    file = study.path("comparisons.parquet")
    file.parent.mkdir(parents=True)

    def changed(frame):
        before = [digests.made(study, job(name)) for name in ("70", "71")]
        frame.to_parquet(file)
        return [digests.made(study, job(name)) != old for name, old in zip(("70", "71"), before, strict=True)]

    assert changed(frame) == [True, True]
    assert changed(frame.assign(diff=[0.3, 0.2])) == [False, True]  # a pair of backends: 71
    assert changed(frame.assign(diff=[0.3, 0.4])) == [True, False]


def test_scores_of_one_job_are_not_those_of_another(tmp_path):
    study = study_of(tmp_path)
    for name in ("bert4rec", "bert4rec_ids"):
        path = study.path("per_user", f"{name}.mfcc.real.seed0.val.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert list(digests.made(study, job("50", "mfcc"))) == ["per_user/bert4rec.mfcc.real.seed0.val.parquet"]
    assert list(digests.made(study, job("61", "mfcc"))) == ["per_user/bert4rec_ids.mfcc.real.seed0.val.parquet"]


@pytest.mark.skipif(not (ROOT / "runs" / "toy" / "done").is_dir(), reason="needs a run of the study toy")
def test_rows_name_every_file_that_a_run_leaves():
    study = Study(load_parameters("toy"))
    known = [*dag.EVERY, *(text for one in dag.jobs(study, True) for text in digests.named_files(study, one))]
    known = [pattern.partition("#")[0].partition(".lance")[0] for pattern in known]
    left = {path.relative_to(study.path()) for path in study.path().rglob("*") if path.is_file()}
    shown = {path for path in left if not any(part.startswith(".") for part in path.parts)}
    later = ("book", "slides", "thesis_preview")  # make book, make slides, make thesis
    other = {path for path in shown if not any(_matches(path, pattern) for pattern in known)}
    assert not {path.as_posix() for path in other if not path.parts[0].startswith(later)}


def _matches(path, pattern):
    """Whether a pattern names a file or a folder above it."""
    return any(part.match(pattern) or part.name.startswith(f"{pattern}.lance") for part in (path, *path.parents[:-1]))
