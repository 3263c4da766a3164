"""Parameters are checked against one model; paths do not depend on where one stands."""

import ast
import json
import random

import nbformat
import pandas as pd
import pytest

from lib.evaluation import tuning
from lib.recommenders import KINDS, create, options
from lib.study import ROOT, ParameterError, load_parameters, open_study
from lib.study import parameters as parameter_module
from lib.study import study as studies
from workflow import api_page, digests

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
STUDIES = sorted(path.stem for path in (ROOT / "params").glob("*.yaml") if path.stem != "base")


def parameters_cell(path):
    return "\n".join(cell.source for cell in parameters_cells(path))


def parameters_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if digests.names_parameters(cell.metadata.get("tags", []))]


def assigned(source):
    """Names and literals of an annotated parameters cell."""
    return {node.target.id: ast.literal_eval(node.value) for node in ast.parse(source).body}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_in_params_is_valid(name):
    assert load_parameters(name).study_name == name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_defaults_equal_base_under_toy(path):
    toy = load_parameters("toy").model_dump()
    for name, value in assigned(parameters_cell(path)).items():
        assert toy[name] == value, f"{path.stem}: {name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_line_has_type_and_meaning(path):
    source = parameters_cell(path)
    for node in ast.parse(source).body:
        lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
        assert isinstance(node, ast.AnnAssign), lines
        assert any("  # " in line for line in lines), lines


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_one_cell_holds_at_most_eight_parameters(path):
    """Those that a reader would turn; papermill injects below the one cell that is tagged `parameters`."""
    assert [tag for cell in parameters_cells(path) for tag in cell.metadata["tags"]] == ["parameters"]
    assert 1 <= len(assigned(parameters_cell(path))) <= 8


def test_no_parameter_shadows_a_module():
    # papermill puts every key of a YAML file into the notebook's globals, over what was imported
    modules = {name for package in api_page.PACKAGES for name in api_page.names(f"lib.{package}")}
    assert "results" in modules
    assert not modules & set(parameter_module.Parameters.model_fields)


def test_a_misspelt_parameter_is_named_with_its_neighbour():
    with pytest.raises(ParameterError, match=r"Unknown parameter 'n_user'.*did you mean 'n_users'"):
        open_study({"study_name": "toy", "n_user": 3})


def test_an_ill_typed_parameter_is_named():
    with pytest.raises(ParameterError, match=r"'n_users'.*found 'many'"):
        load_parameters("toy", {"n_users": "many"})


def test_an_unknown_study_lists_the_known_ones():
    with pytest.raises(ParameterError, match=r"params/tyo.yaml.*toy"):
        load_parameters("tyo")


def test_broken_yaml_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "params").mkdir()
    for name in ("base", "toy"):
        (tmp_path / "params" / f"{name}.yaml").write_text((ROOT / "params" / f"{name}.yaml").read_text())
    (tmp_path / "params" / "odd.yaml").write_text("study_name: [odd\n")
    monkeypatch.setattr(parameter_module, "ROOT", tmp_path)
    with pytest.raises(ParameterError, match=r"YAML in params/odd.yaml"):
        load_parameters("odd")


def test_notebook_values_override_the_study(capsys):
    study = open_study({"study_name": "toy", "n_users": 7, "_private": 1, "In": [], "figures": ast})
    assert study.parameters.n_users == 7
    assert "study toy" in capsys.readouterr().out


def test_the_set_up_cell_can_run_again_after_others_left_literals(capsys):
    namespace = {"study_name": "toy"}
    open_study(namespace)
    namespace |= {"k": 22, "rows": [], "n_users": 9}
    assert open_study(namespace).parameters.n_users == 9
    assert "differs from params/toy.yaml: n_users=9" in capsys.readouterr().out


CELL = 'study_name: str = "{study}"  # a file in params/\nn_users: int = {n_users}  # listeners\nseed: int = 42'


def in_a_kernel(*cells):
    """Globals of a kernel that has executed some cells, as IPython keeps them."""
    namespace = {"In": ["", *cells, "study = open_study(globals())"]}
    for cell in cells:
        exec(cell, namespace)
    return namespace


@pytest.mark.parametrize(
    ("cells", "n_users"),
    [
        ([CELL.format(study="toy", n_users=120)], 120),
        ([CELL.format(study="toy", n_users=7)], 7),
        ([CELL.format(study="demo", n_users=120)], 1000),  # toy's default is no choice for demo
        ([CELL.format(study="demo", n_users=7)], 7),
        ([CELL.format(study="toy", n_users=120), "# Parameters\nstudy_name = 'demo'\n"], 1000),
        ([CELL.format(study="toy", n_users=120), "# Parameters\nstudy_name = 'demo'\nn_users = 120\n"], 120),
        ([CELL.format(study="toy", n_users=120), "n_users = 9\nk = 3"], 9),  # a later cell changes one
        ([CELL.format(study="toy", n_users=120), "alpha = 0.5"], 120),
    ],
)
def test_cell_defaults_do_not_override_another_study(cells, n_users):
    parameters = open_study(in_a_kernel(*cells)).parameters
    assert parameters.n_users == n_users
    assert parameters.alpha == 0.05  # a literal of a later cell is no parameter


def test_a_misspelt_name_in_a_parameters_cell_is_refused():
    with pytest.raises(ParameterError, match=r"Unknown parameter 'n_user'"):
        open_study(in_a_kernel('study_name: str = "toy"\nn_user: int = 3'))


def test_opening_a_study_sets_seeds_and_style():
    matplotlib = pytest.importorskip("matplotlib")
    import lib.figures  # noqa: F401

    matplotlib.rcParams["font.size"] = 30
    open_study({"study_name": "toy", "font_size": 8})
    first = random.random()
    open_study({"study_name": "toy"})
    assert random.random() == first
    assert matplotlib.rcParams["font.size"] == 9


def test_streams_of_draws_differ_and_repeat():
    study = studies.Study(load_parameters("toy"))
    assert study.rng("a").random() == study.rng("a").random()
    assert study.rng("a").random() != study.rng("b").random()
    other = studies.Study(load_parameters("toy", {"seed": 1}))
    assert study.rng("a").random() != other.rng("a").random()


def test_parameters_are_json(tmp_path):
    assert json.loads(json.dumps(load_parameters("demo").model_dump()))["study_name"] == "demo"


def test_paths_count_from_the_repository(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    study = studies.Study(load_parameters("toy"))
    assert study.path("data") == ROOT / "runs" / "toy" / "data"
    assert studies.resolve(study.relative(ROOT / "README.md")) == ROOT / "README.md"
    assert studies.resolve(study.relative(tmp_path / "x.wav")) == tmp_path / "x.wav"


def tuned(study, name, kind, winner, fixed=None):
    table = pd.DataFrame({"validation": [0.5]})
    grid = {option: [value] for option, value in winner.items()}
    tuning.write(study.tuned, tuning.Search(name, kind, fixed or {}, grid), table, winner, 0)


@pytest.fixture
def with_table(tmp_path, monkeypatch):
    """A study with two recommenders of one kind, in a repository where nothing is tuned yet."""
    table = {"bpr": {}, "narrow": {"kind": "bpr", "width": 8}, "ease": {"kind": "ease"}}
    parameters = load_parameters("toy", {"recommender_table": table})
    monkeypatch.setattr(studies, "ROOT", tmp_path)
    return studies.Study(parameters)


def test_untuned_recommenders_are_as_the_table_says(with_table):
    assert with_table.named("bpr") == {"bpr": {}, "narrow": {"width": 8}}


def test_tuned_options_fill_what_the_table_leaves_open_and_replace_nothing(with_table):
    tuned(with_table, "bpr", "bpr", {"lr": 0.1, "width": 32})
    assert with_table.named("bpr")["narrow"] == {"lr": 0.1, "width": 8}  # not tuned itself: as its like
    tuned(with_table, "narrow", "bpr", {"lr": 0.2, "width": 64}, fixed={"width": 8})
    assert with_table.named("bpr") == {"bpr": {"lr": 0.1, "width": 32}, "narrow": {"lr": 0.2, "width": 8}}
    assert with_table.named("ease") == {"ease": {}}


def test_what_was_tuned_under_another_table_is_passed_over(with_table):
    tuned(with_table, "narrow", "bpr", {"lr": 0.2}, fixed={"width": 64})
    tuned(with_table, "ease", "ease", {"l2": 3.0})  # its kind is no option
    assert with_table.named("bpr")["narrow"] == {"width": 8}
    assert with_table.named("ease")["ease"] == {"l2": 3.0}


def test_tuned_options_are_those_of_the_study_itself(with_table):
    tuned(with_table, "bpr", "bpr", {"lr": 0.1})
    other = studies.Study(with_table.parameters.model_copy(update={"study_name": "demo"}))
    assert other.named("bpr")["bpr"] == {}


def test_options_tuned_for_another_kind_are_refused(with_table):
    tuned(with_table, "narrow", "ease", {"l2": 3.0})
    with pytest.raises(tuning.TuningError, match=r"'narrow' in toy\.json to be of kind bpr, found ease"):
        with_table.named("bpr")


@pytest.mark.parametrize("name", STUDIES)
def test_tables_name_recommenders_and_options_that_exist(name):
    parameters = load_parameters(name)
    table = {own: {"kind": own} | given for own, given in parameters.recommender_table.items()}
    for given in table.values():
        assert create(**given).kind == given["kind"]
    for own, grid in parameters.tuning_grids.items():
        assert set(grid) <= set(options(table.get(own, {"kind": own})["kind"])), own


def test_no_kind_of_recommender_is_forgotten_by_the_table():
    named = {given.get("kind", own) for own, given in load_parameters("base").recommender_table.items()}
    assert set(KINDS) - named == {"recbole_bert4rec"}  # to check ours against; no study runs it


def test_what_is_tuned_in_the_repository_fits_the_tables():
    # a name or option that is no more would sit there unused, or stop the workbook
    for path in sorted((ROOT / "params" / "tuned").glob("*.json")):
        study = studies.Study(load_parameters(path.stem))
        table = study.parameters.recommender_table
        for name, entry in json.loads(path.read_text()).items():
            kind = table[name].get("kind", name)
            named = study.named(kind)[name]
            assert create(kind, **named).kind == kind
            assert entry["winner"].items() <= named.items(), f"{name} was tuned beside other options; tune it again"


@pytest.mark.parametrize("name", ["base", "toy"])
def test_grids_search_what_the_table_leaves_open(name):
    parameters = load_parameters(name)
    for own, grid in parameters.tuning_grids.items():
        assert not set(grid) & set(parameters.recommender_table[own])


@pytest.mark.parametrize("name", ["base", "toy"])
def test_the_scaling_of_what_is_trained_on_vectors_is_searched_or_standardised(name):
    parameters = load_parameters(name)
    for own, given in parameters.recommender_table.items():
        kind = given.get("kind", own)
        if "scaling" in options(kind) and kind != "knn":
            assert "scaling" not in given
            assert options(kind)["scaling"] == "standardise"
            assert "scaling" in parameters.tuning_grids.get(own, parameters.tuning_grids[kind])


@pytest.mark.parametrize(
    ("changes", "one"),
    [
        ({}, "musicnn_msd"),
        ({"backend": "artist"}, "artist"),
        ({"backend_ids": ["mfcc", "vgg_mtt"]}, "mfcc"),
        ({"backend_ids": []}, ""),
    ],
)
def test_a_notebook_on_one_backend_is_about_one_that_the_study_has(changes, one):
    assert studies.Study(load_parameters("toy", changes)).one_backend == one
