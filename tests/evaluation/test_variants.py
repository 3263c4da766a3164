"""Variants of recommenders: what differs from what, under the same draws, and how the difference is told."""

import numpy as np
import pandas as pd
import pytest
from worlds import numbered_vectors, write_parts

from lib.evaluation import results, trainings, variants
from lib.evaluation.results import Run
from lib.study import Study, load_parameters
from lib.study.tables import write_parquet

N_USERS, N_HOT, N_COLD = 24, 20, 8
NET = {"kind": "shallow_net", "scaling": "none", "width": 4, "max_epochs": 2}
HYBRID = {"kind": "hybrid", "scaling": "none", "width": 4, "max_epochs": 3}


def study_in(folder, **changes):
    tables = {"recommender_table": {"knn": {"kind": "knn", "scaling": "auto"}, "net": NET, "hybrid": HYBRID}}
    small = {"runs_dir": str(folder), "n_seeds": 2, "n_bootstrap": 200}
    return Study(load_parameters("toy", tables | small | changes))


@pytest.fixture
def vectors(rng):
    return numbered_vectors(rng, N_HOT + N_COLD)


@pytest.fixture
def study(tmp_path, rng, vectors):
    """Listeners with six train tracks each, two validation and two test tracks, and cold ones."""
    study = study_in(tmp_path)
    write_parts(study, vectors, rng, n_users=N_USERS, n_hot=N_HOT)
    return study


def with_variants(study, table):
    return study_in(study.runs, variant_table=table)


def silent(jobs, **_):
    return jobs


def ran(study, vectors, n_runs=2):
    table = variants.table(study)
    return table, variants.run(study, table, "x", vectors, results.tasks(study), n_runs, progress=silent)


def test_a_variant_has_the_options_of_its_recommender_but_for_its_own(tmp_path):
    study = study_in(tmp_path, variant_table={"b": {"of": "net", "width": 8}, "a": {"of": "knn", "scaling": "none"}})
    table = variants.table(study)
    assert table["b"] == NET | {"of": "net", "width": 8}
    assert list(table) == ["net", "b", "knn", "a"]
    assert "of" not in table["net"]


def test_variants_of_one_recommender_stand_together(tmp_path):
    given = {"a": {"of": "net"}, "b": {"of": "knn"}, "c": {"of": "net"}}
    assert list(variants.table(study_in(tmp_path, variant_table=given))) == ["net", "a", "c", "knn", "b"]


@pytest.mark.parametrize("options", [{"of": "nett"}, {"width": 3}])
def test_a_variant_of_nothing_is_refused_by_name(tmp_path, options):
    with pytest.raises(ValueError, match="variant_table, 'a': of: unknown name"):
        variants.table(study_in(tmp_path, variant_table={"a": options}))


def test_a_variant_cannot_overwrite_a_recommender_of_other_options(tmp_path):
    with pytest.raises(ValueError, match="'hybrid' as it stands in recommender_table"):
        variants.table(study_in(tmp_path, variant_table={"hybrid": {"of": "net", "width": 3}}))


def test_the_tables_of_params_are_options_that_exist():
    from lib import recommenders

    for name in ("toy", "demo"):
        for options in variants.table(Study(load_parameters(name))).values():
            options = {key: value for key, value in options.items() if key not in ("of", "validate")}
            assert recommenders.create(options.pop("kind"), **options)


def test_every_variant_of_params_differs_from_what_it_is_of():
    from lib import recommenders

    for name in ("toy", "demo"):
        table = variants.table(Study(load_parameters(name)))
        for options in table.values():
            if "of" in options:
                default = recommenders.options(options["kind"]) | {"of": options["of"], "validate": "NDCG"}
                assert default | options != default | table[options["of"]]


def test_a_variant_without_a_difference_lists_the_same_tracks(study, vectors):
    study = with_variants(study, {"same": {"of": "net"}, "other": {"of": "net", "anchor": "item"}})
    table, _ = ran(study, vectors)
    lists = {
        name: [pd.read_parquet(study.path("recommendations", Run(name, "x").file(s, "hot_test"))) for s in (0, 1)]
        for name in table
    }
    for seed in (0, 1):
        pd.testing.assert_frame_equal(lists["same"][seed], lists["net"][seed])
        assert not lists["other"][seed].equals(lists["net"][seed])
    assert not lists["net"][0].equals(lists["net"][1])
    effects = variants.effects(study, table, "x", results.tasks(study), 2).set_index(["variant", "split"])
    same = effects.loc["same", ["diff", "ci_low", "ci_high", "lowest", "highest"]]
    assert (same == 0).all(axis=None)
    assert (effects.loc["same", "p_adjusted"] == 1).all()
    assert (effects.loc["other", "diff"] != 0).any()


def test_effects_are_paired_and_averaged_over_the_seeds_that_both_have(study):
    study = with_variants(study, {"v": {"of": "net"}})
    todo = results.tasks(study)
    users = todo["hot_test"].users
    base = np.linspace(0, 0.5, len(users))
    shift = {("net", 0): 0.1, ("net", 1): 0.2, ("net", 2): 9.0, ("v", 0): 0.2, ("v", 1): 0.4}
    for split in ("hot_test", "cold_test"):
        label = f"NDCG@{todo[split].cutoffs[0]}"
        for (name, seed), by in shift.items():
            scores = pd.DataFrame({"user_id": users, label: base + by})
            write_parquet(scores, study.path("per_user", Run(name, "x").file(seed, split)))
    found = variants.effects(study, variants.table(study), "x", todo, 2)
    assert found["split"].tolist() == ["hot_test", "cold_test"]
    numbers = found[["corrected", "diff", "ci_low", "ci_high", "lowest", "highest"]].to_numpy()
    np.testing.assert_allclose(numbers, [[base.mean() + 0.15, 0.15, 0.15, 0.15, 0.1, 0.2]] * 2)
    once = variants.effects(study, variants.table(study), "x", todo, 1)
    np.testing.assert_allclose(once["diff"], 0.1)  # older runs of more seeds are no part of it
    np.testing.assert_allclose(found["p"], 1e-4)
    np.testing.assert_allclose(found["p_adjusted"], 2e-4)


def test_effects_say_which_run_is_missing(study):
    study = with_variants(study, {"v": {"of": "net"}})
    with pytest.raises(ValueError, match="scores of v on hot_test, found none"):
        variants.effects(study, variants.table(study), "x", results.tasks(study), 1)


def test_variants_are_trained_less_often_and_what_is_deterministic_once(study, vectors):
    study = with_variants(study, {"v": {"of": "net", "width": 3}, "raw": {"of": "knn", "scaling": "none"}})
    _, (rows, history) = ran(study, vectors, n_runs=1)
    seeds = rows[rows["seed"] >= 0].groupby("recommender")["seed"].nunique()
    assert seeds.to_dict() == {"net": 2, "v": 1, "knn": 1, "raw": 1}
    assert set(history["recommender"]) == {"net", "v"}


def test_published_validation_ends_training_by_its_own_loss(study, vectors):
    study = with_variants(study, {"v": {"of": "hybrid", "validate": "published"}})
    _, (_, history) = ran(study, vectors, n_runs=1)
    by_loss = history[history["recommender"] == "v"]["validation"]
    assert by_loss.between(-4, 0).all()  # the loss lies in [0, 4], NDCG in [0, 1]
    assert (history[history["recommender"] == "hybrid"]["validation"] >= 0).all()
    folders = {path.name for path in study.path("checkpoints").iterdir()}
    assert folders == {"hybrid.x.real.0.NDCG@5", "hybrid.x.real.1.NDCG@5", "v.x.real.0.published"}


@pytest.mark.parametrize(("of", "validate"), [("net", "published"), ("hybrid", "loss")])
def test_a_validation_that_does_not_exist_is_refused(study, of, validate):
    with pytest.raises(ValueError, match=r"variant_table, 'v': (validate: unknown|Expected validate published of)"):
        with_variants(study, {"v": {"of": of, "validate": validate}})


def test_scalings_are_tried_of_recommenders_alone(study):
    study = with_variants(study, {"v": {"of": "net", "width": 3}})
    found = variants.scaled(study, variants.table(study), 6)
    assert list(found) == ["net", "net_centre", "net_standardise"]  # too few tracks to whiten by
    assert found["net_centre"] == NET | {"of": "net", "scaling": "centre"}


def test_a_scaling_that_nobody_names_is_the_default_and_not_tried_twice(study):
    net = {"kind": "shallow_net", "width": 4}
    found = variants.scaled(study, {"net": net, "pop": {"kind": "mostpop"}}, 6)
    assert list(found) == ["net_none", "net_centre", "net"]
    assert found["net"] == net | {"of": "net", "scaling": "standardise"}


def test_validation_chooses_among_scalings_whatever_the_test_says(study):
    kinds = ("none", "centre", "standardise", "whiten")
    found = {f"net_{kind}": NET | {"of": "net", "scaling": kind} for kind in kinds}
    todo = results.tasks(study)
    values = {"val": [0.1, 0.4, 0.3, 0.2], "hot_test": [0.9, 0.1, 0.1, 0.1], "cold_test": [0.0, 0.1, 0.2, 0.3]}
    rows = pd.DataFrame(
        [
            {"recommender": name, "split": split, "seed": seed, "metric": "NDCG", "k": k, "value": value + (seed == 1)}
            for split, each in values.items()
            for name, value in zip(found, each, strict=True)
            for seed in (0, 1)
            for k in (todo[split].cutoffs[0],)
        ]
    )
    table = variants.by_scaling(rows, found, todo)
    assert table.index.tolist() == [("net", kind) for kind in kinds]
    assert table["best"].tolist() == [False, True, False, False]
    assert table["hot_test"].tolist() == values["hot_test"]


def test_wrong_rows_are_those_of_the_order_of_first_appearance(vectors):
    train = pd.DataFrame({"user_id": list("uuvv"), "track_id": ["t09", "t03", "t09", "elsewhere"]})
    found = variants.wrong_rows(train, vectors)
    assert found["track_id"].tolist() == ["t00", "t01", "t00"]
    assert found["user_id"].tolist() == list("uuv")


def test_options_of_a_variant_are_not_those_of_the_model(study, vectors):
    todo = results.tasks(study)
    options = NET | {"of": "net", "validate": "NDCG"}
    trainings.run(study, "n", options, "x", {"real": [vectors]}, todo, progress=silent)
    assert options == NET | {"of": "net", "validate": "NDCG"}
