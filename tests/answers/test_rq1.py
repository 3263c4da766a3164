"""Verdicts follow the rule that the notebook states; objections are measured; answers name their world."""

import numpy as np
import pandas as pd
import pytest

from lib.answers import claims, rq1
from lib.evaluation import results
from lib.evaluation.results import Run
from lib.study import Study, load_parameters
from lib.study.answers import read_answers, save_answer
from tests.worlds import finish, save_scores


@pytest.fixture
def study(tmp_path):
    overrides = {"runs_dir": str(tmp_path), "backend_ids": ["mfcc", "musicnn_msd"], "n_bootstrap": 200}
    return Study(load_parameters("toy", overrides))


@pytest.fixture
def finished(study):
    return finish(study)


def rows(against, backend="musicnn_msd", p=0.001):
    """Comparisons of one backend: {against: (diff, ci_low, ci_high)}."""
    return pd.DataFrame(
        [
            {"backend_a": backend, "against": name, "diff": diff, "ci_low": low, "ci_high": high, "p_adjusted": p}
            for name, (diff, low, high) in against.items()
        ]
    )


FAR, NEAR, BELOW = (0.1, 0.08, 0.12), (0.02, -0.01, 0.05), (-0.1, -0.12, -0.08)


def primary(study):
    """What 70 makes of the primary recommender: comparisons in NDCG, verdicts, mean differences."""
    splits = results.TEST_SPLITS
    frame = pd.concat([claims.comparisons(study, "knn", split) for split in splits]).query("metric == 'NDCG'")
    decided = pd.concat(
        [
            rq1.verdicts(frame[frame["split"] == split], 0.01, 0.05, split).assign(split=split, recommender="knn")
            for split in splits
        ]
    )
    return frame, decided, pd.concat([claims.mean_differences(study, "knn", split, "NDCG@22") for split in splits])


@pytest.mark.parametrize(
    ("shuffled", "untrained", "artist", "p", "verdict"),
    [
        (FAR, FAR, FAR, 0.001, "viable"),
        (FAR, FAR, FAR, 0.2, "undecided"),  # an interval over users does not decide on shuffled
        (FAR, BELOW, FAR, 0.001, "informative but not viable"),
        (FAR, FAR, BELOW, 0.001, "informative but not viable"),
        (BELOW, FAR, FAR, 0.9, "not viable"),
        (FAR, NEAR, FAR, 0.001, "undecided"),
    ],
)
def test_the_cold_rule(shuffled, untrained, artist, p, verdict):
    frame = rows({"shuffled": shuffled, "untrained": untrained, "artist": artist}, p=p)
    assert rq1.verdicts(frame, 0.01, 0.05, "cold_test")["verdict"].tolist() == [verdict]


@pytest.mark.parametrize(
    ("mostpop", "verdict"),
    [(FAR, "useful alone"), (BELOW, "informative but not useful alone"), (NEAR, "undecided")],
)
def test_the_hot_rule(mostpop, verdict):
    frame = rows({"shuffled": FAR, "untrained": FAR, "mostpop": mostpop})
    assert rq1.verdicts(frame, 0.01, 0.05, "hot_test")["verdict"].tolist() == [verdict]


def test_a_network_whose_twin_has_not_run_is_undecided():
    frame = rows({"shuffled": FAR, "artist": FAR}, backend="mert_95m")
    found = rq1.verdicts(frame, 0.01, 0.05, "cold_test")
    assert found["verdict"].tolist() == ["undecided"]
    assert found["pretraining_helps"].tolist() == [None]


def test_pretraining_helps_only_where_a_twin_was_beaten():
    found = rq1.verdicts(
        pd.concat(
            [
                rows({"shuffled": FAR, "untrained": BELOW, "artist": FAR}),
                rows({"shuffled": FAR, "artist": FAR}, backend="mfcc"),
            ]
        ),
        0.01,
        0.05,
        "cold_test",
    ).set_index("backend")
    assert found.loc["musicnn_msd", "pretraining_helps"] is False  # significant, but the wrong way round
    assert found.loc["mfcc", "pretraining_helps"] is None
    assert found.loc["mfcc", "verdict"] == "viable"


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (FAR, "useful as side information"),
        (BELOW, "not useful as side information"),
        (NEAR, "undecided"),
    ],
)
def test_audio_beside_ids_has_to_add_more_than_the_smallest_effect(study, interval, verdict):
    of_both = rows({"id_only": interval}).assign(recommender="bert4rec_ids")
    of_audio = rows({"id_only": FAR}).assign(recommender="bert4rec")  # has no ids: nothing is beside anything
    frame = pd.concat([of_both, of_audio])
    found = rq1.side_information(study, frame, {"bert4rec_ids": 0.01, "bert4rec": 0.01})
    assert found[["recommender", "verdict"]].to_numpy().tolist() == [["bert4rec_ids", verdict]]


def test_the_answer_names_its_world_and_all_keys_exist_from_the_start(finished):
    assert {read_answers(finished)[key]["status"] for key in ("rq1", "rq2", "rq3")} == {"not_run"}
    save_answer(finished, "rq1", rq1.answer_rq1(finished, "knn", *primary(finished), 0.01))
    found = read_answers(finished)
    assert found["world"] == "mock"
    assert found["content_strength"] == finished.parameters.content_strength
    answer = found["rq1"]
    assert (answer["status"], answer["verdict"]) == ("decided", "instrument_works")
    assert answer["statement"].startswith("In a simulated world where")
    assert answer["statement"].endswith("Decided: the instrument works.")
    assert answer["ci"][0] < answer["estimate"] < answer["ci"][1]
    assert f"{answer['test']}, P = 99, smallest family-wise p = 0.010, n = 60 listeners" in answer["statement"]
    assert "on cold tracks with 2 of 2 backends" in answer["statement"]


def test_in_a_null_world_finding_something_is_a_failure_of_the_instrument(finished):
    null = Study(finished.parameters.model_copy(update={"content_strength": 0.0}))
    assert rq1.answer_rq1(null, "knn", *primary(null), 0.01)["verdict"] == "instrument_fails"


@pytest.mark.parametrize(("upper", "verdict"), [(0.005, "instrument_fails"), (0.05, None)])
def test_finding_too_little_is_failure_only_where_an_effect_is_excluded(finished, upper, verdict):
    frame, decided, differences = primary(finished)
    answer = rq1.answer_rq1(
        finished, "knn", frame, decided.assign(audio_informs=False), differences.assign(ci_high=upper), 0.01
    )
    assert answer["verdict"] == verdict
    assert answer["status"] == ("undecided" if verdict is None else "decided")
    assert ("too small" in answer["statement"]) == (verdict is None)


def test_among_real_listeners_the_verdict_is_about_them(finished):
    real = Study(finished.parameters.model_copy(update={"listening_source": "music4all_onion"}))
    answer = rq1.answer_rq1(real, "knn", *primary(real), 0.01)
    assert answer["statement"].startswith("Among real listeners")
    assert answer["verdict"] == "hot tracks: useful alone; cold tracks: viable"
    assert answer["status"] == "decided"


def test_a_recommender_has_the_verdict_that_its_backends_share():
    def verdict(*names):
        rows = [
            {"backend": str(n), "audio_informs": True, "pretraining_helps": None, "verdict": name}
            for n, name in enumerate(names)
        ]
        return rq1.by_recommender(pd.DataFrame(rows).assign(recommender="knn", split="cold_test")).iloc[0]

    assert tuple(verdict(*["viable"] * 4, "undecided")[["status", "verdict"]]) == ("decided", "viable")
    assert tuple(verdict("viable", "viable", "undecided")[["status", "verdict"]]) == ("undecided", "undecided")
    assert tuple(verdict("viable", "not viable")[["status", "verdict"]]) == ("decided", "depends on the backend")
    assert verdict("viable", "viable")["helps"] == "0 of 0"


def test_objections_come_by_how_far_a_reference_may_be_ahead(finished):
    for split in results.TEST_SPLITS:
        save_scores(finished, Run("knn", "musicnn_msd", "untrained"), split, 0.53)
    differences = claims.mean_differences(finished, "knn", "hot_test", "NDCG@22")
    assert differences.set_index("against").loc["untrained", "n_backends"] == 1  # mfcc has no twin
    found = rq1.objections(finished, differences, 0.01, 999)
    assert found[0].startswith("beaten by the same network without training")
    assert found[1:] == ["one draw of the untrained twin's weights", "one world of 60 listeners and 2 backends"]
    assert "only 5 permutations" in rq1.objections(finished, differences, 0.01, 5)
    real = Study(load_parameters("toy", {"listening_source": "yambda"}))
    beaten = differences[differences["against"] == "shuffled"].assign(ci_low=0.5)
    assert len(rq1.objections(real, beaten, 0.01, 999)) == 3  # where nothing objects, the design does


def test_the_collaborative_baseline_is_chosen_on_validation(finished):
    assert claims.best_collaborative(finished) == "itemknn"  # ease does better in the test month alone
    frame = claims.comparisons(finished, "knn", "hot_test")
    assert set(frame.loc[frame["against"] == "collaborative", "backend_b"]) == {"itemknn"}
    cold = claims.mean_differences(finished, "knn", "cold_test", "NDCG@22")
    assert "collaborative" not in set(cold["against"])  # nobody has listened to a cold track


def test_mean_differences_are_of_listeners_and_agree_with_their_means(finished):
    row = claims.mean_differences(finished, "knn", "hot_test", "NDCG@22").set_index("against").loc["mostpop"]
    real = [
        results.per_user(finished, Run("knn", name), "hot_test")["NDCG@22"].mean() for name in ("mfcc", "musicnn_msd")
    ]
    mostpop = results.per_user(finished, Run("mostpop"), "hot_test")["NDCG@22"].mean()
    assert row["diff"] == pytest.approx(np.mean(real) - mostpop)
    assert row["n_users"] == 60


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((5, 3, 5, 5), ["Only 5 of 5 listeners"]),
        ((5, 3, 40, 600), ["Only 40 of 600 listeners"]),
        ((5, 1, 200, 600), ["1 seed"]),
        ((2, 3, 200, 600), ["2 backends"]),
        ((1, 1, 5, 5), ["5 listeners", "1 seed", "1 backend "]),
    ],
)
def test_what_a_small_study_cannot_say_is_said(size, said):
    n_backends, n_seeds, *counts = size
    compared = pd.DataFrame([counts], columns=["n_differ", "n_users"])
    found = rq1.cannot_conclude(n_backends, n_seeds, compared, trained=True)
    assert len(found) == len(said)
    assert all(word in sentence for word, sentence in zip(said, found, strict=True))


def test_five_listeners_get_an_answer_and_no_error(study):
    small = Study(study.parameters.model_copy(update={"backend_ids": ["mfcc"]}))
    rng = np.random.default_rng(0)
    for split in results.TEST_SPLITS:
        for run, mean in ((Run("knn", "mfcc"), 0.5), (Run("knn", "mfcc", "shuffled"), 0.1), (Run("chance"), 0.1)):
            save_scores(small, run, split, mean, n=5)
        frame = [
            {"split": split, "permutation": b, "metric": m, "k": 22, "value": rng.normal(0.1, 0.01)}
            for b in range(19)
            for m in ("HitRate", "Recall", "NDCG")
        ]
        results.save_permutations(small, Run("knn", "mfcc", "shuffled"), pd.DataFrame(frame))
    answer = rq1.answer_rq1(small, "knn", *primary(small), float("nan"))
    assert answer["n"] == 5
    assert answer["status"] in ("decided", "undecided")
