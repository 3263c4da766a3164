"""MIR tasks on the vectors that are recommended from: folds, resuming, what is informative, mean z."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.answers import mir
from lib.backends.vectors import Vectors, VectorStore
from lib.evaluation import probes
from lib.study import Study, load_parameters


def quiet(iterable, **_):
    return iterable


def study(tmp_path, name="toy", **overrides):
    return Study(load_parameters(name, {"runs_dir": str(tmp_path), **overrides}))


def scores_world(n_scores=50, seed=0):
    """Two clips a score, each of an artist that spans scores, as among rendered scores."""
    draws = np.random.default_rng(seed)
    n = 2 * n_scores
    return pd.DataFrame(
        {
            "track_id": [f"t{number:03d}" for number in range(n)],
            "score_id": np.repeat([f"s{number}" for number in range(n_scores)], 2),
            "artist": draws.choice(["a", "b", "c"], n),
            "instrument_family": draws.choice(["organ", "voice"], n),
            "key": draws.choice(["C", "D"], n),
            "mode": draws.choice(["major", "minor"], n),
            "tempo": draws.uniform(60, 160, n),
        }
    )


def music4all_world(n_artists=60, seed=0):
    """As the published tables: several songs an artist, lists of genres and tags, Spotify's numbers."""
    draws = np.random.default_rng(seed)
    n = 4 * n_artists
    genres = draws.choice(["rock", "pop", "jazz"], n)
    return pd.DataFrame(
        {
            "track_id": [f"t{number:03d}" for number in range(n)],
            "artist": np.repeat([f"artist {number}" for number in range(n_artists)], 4),
            "genres": [f"{genre},indie" if number % 3 else genre for number, genre in enumerate(genres)],
            "tags": ["live, slow" if number % 2 else "slow" for number in range(n)],
            "collection": genres,
            "key": draws.choice(["C", "D"], n),
            "mode": draws.choice(["major", "minor", ""], n),
            **{name: draws.uniform(0, 1, n) for name in ("valence", "energy", "danceability")},
            "tempo": draws.uniform(60, 160, n),
        }
    )


def brief(tmp_path):
    labels = {"key": "key", "tempo": "number"}
    return study(tmp_path, backend_ids=["mfcc", "musicnn_msd"], mir_labels=labels)


def stored(opened, tracks, seed=0):
    """Vectors of two backends and a twin, of which one knows the tempo."""
    draws = np.random.default_rng(seed)
    store = VectorStore(opened.path("vectors.lance"))
    for name in ("mfcc", "musicnn_msd", "musicnn_untrained"):
        values = draws.standard_normal((len(tracks), 5))
        if name == "musicnn_msd":
            values[:, 0] = tracks["tempo"] / 20
        store.replace(name, Vectors.of(tracks["track_id"], values), {})
    return store


def test_folds_share_no_score(tmp_path):
    tracks = scores_world()
    planned, refused = mir.questions(study(tmp_path), tracks)
    assert set(planned) == {"instrument_family", "key", "tempo"}
    assert not refused
    for drawn in planned.values():
        for fold in drawn.folds:
            for one, other in [(fold.train, fold.test), *fold.inner]:
                assert not set(tracks["score_id"].iloc[one]) & set(tracks["score_id"].iloc[other])


def test_folds_share_no_artist_on_music4all(tmp_path):
    tracks = music4all_world()
    planned, refused = mir.questions(study(tmp_path, "music4all_onion"), tracks)
    expected = {"genres", "tags", "collection", "key", "mode", "valence", "energy", "danceability", "tempo"}
    assert set(planned) == expected
    assert not refused
    for drawn in planned.values():
        for fold in drawn.folds:
            for one, other in [(fold.train, fold.test), *fold.inner]:
                assert not set(tracks["artist"].iloc[one]) & set(tracks["artist"].iloc[other])


def test_an_own_collection_keeps_recordings_and_artists_together(tmp_path):
    opened = study(tmp_path, "my_dataset")
    tracks = scores_world().rename(columns={"score_id": "recording_id", "instrument_family": "composer"})
    tracks["artist"] = np.repeat([f"artist {number}" for number in range(25)], 4)
    drawn = mir.questions(opened, tracks)[0]["composer"]
    for fold in drawn.folds:
        for column in ("recording_id", "artist"):
            assert not set(tracks[column].iloc[fold.train]) & set(tracks[column].iloc[fold.test])


def test_keys_are_tonic_and_mode_and_missing_where_one_is(tmp_path):
    tracks = music4all_world()
    drawn = mir.questions(study(tmp_path, "music4all_onion"), tracks)[0]["key"]
    used = np.concatenate([fold.test for fold in drawn.folds])
    assert set(drawn.labels[used]) == {"C major", "C minor", "D major", "D minor"}
    assert drawn.left_out == (tracks["mode"] == "").sum()


def test_labels_that_cannot_be_asked_say_why(tmp_path):
    opened = study(tmp_path, mir_labels={"mood": "class", "tempo": "number", "mode": "class"})
    planned, refused = mir.questions(opened, scores_world().assign(mode="major"))
    assert list(planned) == ["tempo"]
    assert refused["mood"] == "The tracks have no such column."
    assert "at least two values" in refused["mode"]


def test_a_label_does_not_change_the_folds_of_another(tmp_path):
    tracks = scores_world()
    alone = mir.questions(study(tmp_path, mir_labels={"tempo": "number"}), tracks)[0]["tempo"]
    among = mir.questions(study(tmp_path), tracks)[0]["tempo"]
    assert all((a.test == b.test).all() for a, b in zip(alone.folds, among.folds, strict=True))


def test_measured_finds_what_a_backend_knows_and_resumes(tmp_path, monkeypatch):
    opened, tracks = brief(tmp_path), scores_world()
    store = stored(opened, tracks)
    planned, _ = mir.questions(opened, tracks)
    first = mir.measured(opened, store, tracks, planned, quiet)
    found = mir.scores(first).set_index(["label", "model", "backend"])["value"]
    assert found["tempo", "linear", "musicnn_msd"] > 0.8
    assert found["tempo", "linear", "mfcc"] < 0.2
    assert set(first["label"]) == {"key", "key_mirex", "tempo"}
    assert first.groupby("backend")["untrained"].first().to_dict() == {
        "mfcc": False, "musicnn_msd": False, "musicnn_untrained": True,
    }  # fmt: skip

    def never(*_):
        raise AssertionError("probed again")

    monkeypatch.setattr(probes, "score", never)
    pd.testing.assert_frame_equal(mir.measured(opened, store, tracks, planned, quiet), first)
    store.replace("mfcc", Vectors.of(tracks["track_id"], np.ones((len(tracks), 2))), {})
    with pytest.raises(AssertionError, match="probed again"):
        mir.measured(opened, store, tracks, planned, quiet)


def test_what_was_interrupted_is_kept(tmp_path, monkeypatch):
    opened, tracks = brief(tmp_path), scores_world()
    store, calls, true = stored(opened, tracks), [], probes.score
    planned, _ = mir.questions(opened, tracks)

    def killed(*given):
        calls.append(given)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return true(*given)

    monkeypatch.setattr(probes, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        mir.measured(opened, store, tracks, planned, quiet)
    before = len(calls)
    mir.measured(opened, store, tracks, planned, quiet)
    assert len(calls) - before == 3 * 2 * 2 - 4  # of six pairs by two models, two were done


def test_without_backends_or_labels_nothing_fails(tmp_path):
    opened = study(tmp_path, backend_ids=[])
    folds = mir.measured(opened, VectorStore(opened.path("vectors.lance")), scores_world(), {}, quiet)
    scores, told = mir.scores(folds), mir.informative(folds)
    assert folds.empty
    assert scores.empty
    assert told.empty
    assert mir.mean_z(folds, told).empty
    assert list(mir.mean_z(folds, told).columns) == list(scores.columns)


def folds_of(values, spread=0.02, seed=0, hard=None, **told):
    """Five folds of each backend about its value; `hard` moves a fold for all backends alike."""
    draws = np.random.default_rng(seed)
    hard = np.zeros(5) if hard is None else hard
    rows = [
        {"backend": name, "fold": fold, "score": value + hard[fold] + spread * draws.standard_normal()}
        for name, value in values.items()
        for fold in range(5)
    ]
    usual = {"label": "tempo", "task": "regression", "model": "linear", "untrained": False}
    return pd.DataFrame(rows).assign(**(usual | told), n_train=80, n_test=20, chance=0.0)


def test_a_probe_is_informative_where_backends_spread_beyond_its_error():
    apart = mir.informative(folds_of({"a": 0.1, "b": 0.3, "c": 0.5}))
    alike = mir.informative(folds_of({"a": 0.3, "b": 0.3, "c": 0.3}))
    assert apart["informative"].tolist() == [True]
    assert alike["informative"].tolist() == [False]


def test_folds_that_are_hard_for_all_do_not_hide_what_backends_differ_by():
    hard = np.array([-0.3, 0.2, 0.0, 0.3, -0.2])
    assert mir.informative(folds_of({"a": 0.1, "b": 0.3, "c": 0.5}, hard=hard))["informative"].tolist() == [True]


def test_the_rule_seldom_calls_equal_backends_apart():
    """Over 60 worlds of five equal backends."""
    called = [
        mir.informative(folds_of(dict.fromkeys("abcde", 0.3), seed=seed))["informative"].item() for seed in range(300)
    ]
    assert np.mean(called) <= 0.03


def test_one_backend_tells_nothing_apart():
    told = mir.informative(folds_of({"a": 0.1}))
    assert told["informative"].tolist() == [False]


def test_untrained_twins_do_not_make_a_probe_informative():
    both = pd.concat([folds_of({"a": 0.3, "b": 0.3}), folds_of({"c": 0.9}, untrained=True)])
    assert mir.informative(both)["informative"].tolist() == [False]


def constant(label, values, untrained=()):
    """Five folds alike of each backend."""
    rows = folds_of(values, spread=0, label=label)
    return rows.assign(untrained=rows["backend"].isin(untrained))


def test_mean_z_by_hand():
    """tempo 0, 1, 2 and mode 4, 2, 0: z of a is (-1 + 1) / 2 = 0, of a twin at tempo 3, mode 4 it is (2 + 1) / 2."""
    values = {"tempo": (0, 1, 2, 3), "mode": (4, 2, 0, 4), "noise": (9, 0, 0, 0)}
    names = ["a", "b", "c", "twin"]
    folds = [constant(label, dict(zip(names, own, strict=True)), ["twin"]) for label, own in values.items()]
    told = pd.DataFrame({"label": list(values), "model": "linear", "informative": [True, True, False]})
    found = mir.mean_z(pd.concat(folds), told).set_index("backend")
    assert found["value"].to_dict() == {"a": 0.0, "b": 0.0, "c": 0.0, "twin": 1.5}
    assert (found["label"] == mir.MEAN_Z).all()


def test_mean_z_has_the_interval_of_a_probe_at_the_alpha_that_is_asked():
    """Of one probe, the probe's own in units of the spread: t with 4 degrees of freedom, not 1.96 standard errors."""
    folds = folds_of({"a": 0.1, "b": 0.3, "c": 0.5})
    told = mir.informative(folds)
    for alpha in (0.05, 0.2):
        scores = mir.scores(folds, alpha)
        spread = scores["value"].std(ddof=1)
        found = mir.mean_z(folds, told, alpha)
        assert found["se"].to_numpy() == pytest.approx(scores["se"].to_numpy() / spread)
        half = stats.t.ppf(1 - alpha / 2, 4) * found["se"]
        assert (found["ci_high"] - found["value"]).to_numpy() == pytest.approx(half.to_numpy())


def test_mean_z_of_two_probes_errs_less_than_one_of_them():
    """Independent errors of equal size: over many worlds the standard error shrinks by the root of two."""
    squares = []
    for seed in range(200):
        values = {"a": 0.1, "b": 0.3, "c": 0.5}
        tempo, mode = folds_of(values, seed=seed), folds_of(values, seed=1000 + seed, label="mode")
        told = mir.informative(pd.concat([tempo, mode]))
        both, one = (mir.mean_z(own, told)["se"] ** 2 for own in (pd.concat([tempo, mode]), tempo))
        squares.append((both.mean(), one.mean()))
    both, one = np.mean(squares, axis=0)
    assert both / one == pytest.approx(0.5, abs=0.05)


def test_a_key_counts_once():
    folds = pd.concat([constant("key", {"a": 0.0, "b": 1.0}), constant("key_mirex", {"a": 1.0, "b": 0.0})])
    told = pd.DataFrame({"label": ["key", "key_mirex"], "model": "linear", "informative": True})
    assert mir.mean_z(folds, told).set_index("backend")["value"]["a"] == pytest.approx(np.sqrt(0.5))


def test_at_most_so_many_tracks_by_whole_groups(tmp_path):
    opened, tracks = study(tmp_path, backend_ids=["mfcc"], mir_tracks=31), scores_world()
    store = stored(opened, tracks)
    found = mir.common(opened, store, tracks)
    assert len(found) == 30
    assert (found.groupby("score_id").size() == 2).all()
    store.replace("mfcc", Vectors.of(tracks["track_id"][:10], np.ones((10, 2))), {})
    assert len(mir.common(opened, store, tracks)) == 10
