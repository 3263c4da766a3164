"""Figures of a month against pandas on the records, distances against scipy, verdicts on worlds that are known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from lib import figures
from lib.backends.vectors import Vectors
from lib.data import realism
from lib.evaluation import overlap
from lib.figures import data as data_figures
from lib.study import Study, load_parameters

SAMPLE = "music4all-onion-sample"


def listening(rng, n_users=400, n_tracks=900, mean=12.0, hours=None, again=0.3):
    """Pairs of a month, drawn without lib.data.mock.listeners."""
    sizes = np.minimum(1 + rng.poisson(rng.gamma(0.8, mean / 0.8, n_users)), n_tracks)
    weight = 1 / np.arange(1, n_tracks + 1) ** 0.7
    chosen = [rng.choice(n_tracks, size, replace=False, p=weight / weight.sum()) for size in sizes]
    user = np.repeat(np.arange(n_users), sizes)
    hour = rng.choice(24, len(user), p=hours)
    seconds = rng.integers(0, 28, len(user)) * 86400 + hour * 3600 + rng.integers(0, 3600, len(user))
    return pd.DataFrame(
        {
            "user_id": user.astype(str),
            "track_id": np.concatenate(chosen).astype(str),
            "timestamp": pd.Timestamp("2019-02-01", tz="UTC") + pd.to_timedelta(seconds, unit="s"),
            "count": 1 + rng.poisson(again, len(user)),
        }
    )


@pytest.fixture(scope="module")
def pairs():
    return listening(np.random.default_rng(1))


@pytest.fixture(scope="module")
def other():
    return listening(np.random.default_rng(2), mean=20, again=0.6)


def gaps_of(pairs):
    """Minutes between consecutive first plays, listener by listener."""
    minutes = []
    for _, own in pairs.groupby("user_id"):
        minutes.extend(np.diff(np.sort(own["timestamp"].to_numpy())) / np.timedelta64(1, "m"))
    return np.array(minutes)


def value(table, figure, distance):
    return table.loc[(table["figure"] == figure) & (table["distance"] == distance), "value"].item()


# figures


def test_a_month_by_hand():
    times = ["2019-02-01 10:00", "2019-02-01 10:30", "2019-02-02 10:30", "2019-02-03 23:59"]
    made = realism.profile(
        pd.DataFrame(
            {
                "user_id": ["a", "a", "a", "b"],
                "track_id": ["x", "y", "z", "x"],
                "timestamp": pd.to_datetime(times, utc=True),
                "count": [1, 2, 1, 4],
            }
        )
    )
    assert (made.listeners, made.tracks, made.pairs, made.plays, made.days) == (2, 3, 4, 8, 3)
    assert made.tracks_a_user == {1: 1, 3: 1}
    assert made.plays_a_pair == {1: 2, 2: 1, 4: 1}
    assert made.plays_a_track == {1: 1, 2: 1, 5: 1}
    assert (made.gap_share_30min, made.gap_share_day) == (0.5, 0.5)  # 30 min and 1 day exactly count in both
    assert (made.repeat_share, made.repeat_play_share) == (0.5, 0.5)
    assert made.top_share(1 / 3) == pytest.approx(5 / 8)
    assert made.gini == pytest.approx(1 / 3)  # Lorenz: 0, 5/8, 7/8, 1; mean over pairs |x - y| / 2 mean
    assert made.weekdays == [0, 0, 0, 0, 2, 1, 1]
    assert made.hours[10] == 3
    assert made.hours[23] == 1


def test_figures_are_those_of_the_records(pairs):
    made = realism.profile(pairs)
    gaps = gaps_of(pairs)
    assert made.gap_share_30min == pytest.approx((gaps <= 30).mean())
    assert made.gap_share_day == pytest.approx((gaps >= 1440).mean())
    per_user = pairs.groupby("user_id").size()
    assert made.quantile("tracks_a_user", 0.9) == np.quantile(per_user, 0.9, method="inverted_cdf")
    plays = np.sort(pairs.groupby("track_id")["count"].sum())[::-1]
    n = round(0.1 * len(plays))
    assert made.top_share(n / len(plays)) == pytest.approx(plays[:n].sum() / plays.sum())
    means = np.abs(plays[:, None] - plays[None, :]).mean() / (2 * plays.mean())
    assert made.gini == pytest.approx(means)
    assert np.array(made.hours).sum() == np.array(made.weekdays).sum() == len(pairs)


def test_a_profile_survives_its_file_and_holds_no_ids(pairs, tmp_path):
    named = pairs.assign(user_id="person " + pairs["user_id"], track_id="work " + pairs["track_id"])
    made = realism.profile(named, "here", np.random.default_rng(0))
    realism.write(made, tmp_path / "month.json")
    text = (tmp_path / "month.json").read_text()
    assert "person" not in text
    assert "work" not in text
    found = realism.read(tmp_path / "month.json")
    assert replace(found, **{name: getattr(made, name) for name in realism.FIGURES}) == made
    distances = realism.compare(found, made)
    assert (
        distances.loc[distances["distance"] == realism.KS, "value"].max() < 0.02
    )  # 5 of 400 listeners, and of the concentration


def test_no_cell_of_a_written_profile_points_at_a_few(pairs, tmp_path):
    made = realism.profile(pairs)
    assert min(made.tracks_a_user.values()) < realism.SMALLEST_CELL  # so the next line can fail
    realism.write(made, tmp_path / "month.json")
    found = realism.read(tmp_path / "month.json")
    for name in ("tracks_a_user", "plays_a_pair", "plays_a_track"):
        assert min(getattr(found, name).values()) >= realism.SMALLEST_CELL, name
        assert sum(getattr(found, name).values()) == sum(getattr(made, name).values()), name


def test_fewer_than_a_cell_are_one_cell(tmp_path):
    few = realism.profile(listening(np.random.default_rng(0), n_users=3))
    realism.write(few, tmp_path / "few.json")
    assert list(realism.read(tmp_path / "few.json").tracks_a_user.values()) == [3]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 2, "hours": []}', "user_id\ttrack_id"])
def test_a_file_that_holds_no_profile_is_a_sentence(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(realism.ProfileError, match=r"^Expected a profile of version 2 in x\.json, found .*: make it"):
        realism.read(tmp_path / "x.json")


def test_no_pairs_are_a_sentence(pairs):
    with pytest.raises(realism.ProfileError, match="found none: choose another date"):
        realism.profile(pairs.iloc[:0])


# the month of a study


def parts(users_with_cold):
    frames = {name: [] for name in ("train", "val", "cold_val", "hot_test", "cold_test")}
    for number in range(4):
        frames["val" if number % 2 else "hot_test"].append((f"u{number}", "hot"))
        if number < users_with_cold:
            frames["cold_val" if number % 2 else "cold_test"].append((f"u{number}", "cold"))
    frames["hot_test"].append(("u0", "hot too"))
    return {name: pd.DataFrame(rows, columns=["user_id", "track_id"]) for name, rows in frames.items()}


def test_a_month_leaves_out_who_heard_cold_tracks_as_the_sample_does():
    assert sorted(realism.month_of(parts(2))["user_id"]) == ["u2", "u3"]


def test_where_most_heard_cold_tracks_all_stay_with_their_hot_pairs():
    month = realism.month_of(parts(3))
    assert sorted(month["user_id"]) == ["u0", "u0", "u1", "u2", "u3"]
    assert "cold" not in set(month["track_id"])


# distances


def test_distances_of_counts_are_scipys_on_the_records(pairs, other):
    table = realism.compare(realism.profile(pairs), realism.profile(other))
    for figure, of in {
        "tracks a listener": lambda log: log.groupby("user_id").size(),
        "plays a pair": lambda log: log["count"],
        "plays a track": lambda log: log.groupby("track_id")["count"].sum(),
    }.items():
        a, b = of(pairs).to_numpy(), of(other).to_numpy()
        assert value(table, figure, realism.KS) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
        moved = stats.wasserstein_distance(np.log10(a), np.log10(b))
        assert value(table, figure, realism.WASSERSTEIN) == pytest.approx(moved, abs=1e-12)


def test_distances_of_gaps_are_scipys_up_to_their_cells(pairs, other):
    table = realism.compare(realism.profile(pairs), realism.profile(other))
    a, b = gaps_of(pairs), gaps_of(other)
    figure = "minutes between first plays"
    raw = stats.ks_2samp(a, b).statistic
    assert raw - 0.02 < value(table, figure, realism.KS) <= raw + 1e-12
    moved = stats.wasserstein_distance(np.log10(np.maximum(a, 1 / 60)), np.log10(np.maximum(b, 1 / 60)))
    assert value(table, figure, realism.WASSERSTEIN) == pytest.approx(moved, abs=0.02)
    middle = (realism.GAP_EDGES[1:] + realism.GAP_EDGES[:-1]) / 2
    cells = [middle[np.searchsorted(realism.GAP_EDGES, minutes, side="right") - 1] for minutes in (a, b)]
    inside = [cell[(minutes != 30) & (minutes != 1440)] for cell, minutes in zip(cells, (a, b), strict=True)]
    assert value(table, figure, realism.KS) == pytest.approx(stats.ks_2samp(*inside).statistic, abs=1e-3)


def test_divergences_of_hours_and_weekdays_are_scipys(pairs, other):
    table = realism.compare(realism.profile(pairs), realism.profile(other))
    for figure, field in {"hours": "hour", "weekdays": "weekday"}.items():
        p, q = (getattr(log["timestamp"].dt, field).value_counts().sort_index() for log in (pairs, other))
        wanted = jensenshannon(p, q, base=2) ** 2
        assert value(table, figure, realism.JENSEN_SHANNON) == pytest.approx(wanted, abs=1e-12)


# verdicts


def test_halves_of_the_same_listeners_are_alike(pairs):
    half = pairs["user_id"].astype(int) % 2 == 0
    table = realism.compare(realism.profile(pairs[half]), realism.profile(pairs[~half]))
    assert set(table["verdict"]) <= {"alike", "somewhat"}
    assert (table["verdict"] == "alike").sum() >= len(table) - 1


def test_what_is_planted_is_found_and_said_and_the_rest_is_left_alone(pairs):
    night = np.r_[np.full(6, 0.15), np.full(18, 0.1 / 18)]
    planted = listening(np.random.default_rng(3), mean=1.0, hours=night, n_users=2000)
    table = realism.compare(realism.profile(planted), realism.profile(pairs), "mock listeners").set_index("figure")
    assert set(table.loc[["tracks a listener"], "verdict"]) == {"unlike"}
    assert table.loc["hours", "verdict"] == "unlike"
    assert table.loc["pairs played again", "verdict"] == "alike"
    assert table.loc["weekdays", "verdict"] == "alike"
    said = table.loc["tracks a listener", "in_words"].iloc[0]
    assert said.startswith("Half of mock listeners hear at most 1 new tracks, of public ones ")
    assert "fall 1" in table.loc["hours", "in_words"]


def test_few_listeners_widen_the_yardstick(pairs):
    public = realism.public_profile()
    few = realism.compare(realism.profile(pairs[pairs["user_id"].astype(int) < 20]), public)
    many = realism.compare(public, public)
    wider = np.sqrt((1 / 20 + 1 / 2459) / (4 / 2459))
    floor = public.floor["tracks a listener: Kolmogorov-Smirnov"]
    assert few["alike"].iloc[0] == pytest.approx(floor * wider)
    assert many["alike"].iloc[0] == 0.05  # the floor of two wholes, .043, is below the absolute yardstick
    assert (few["alike"].to_numpy() >= many["alike"].to_numpy()).all()


def test_listeners_of_one_track_each_have_no_gaps(pairs):
    single = realism.profile(pairs.drop_duplicates("user_id"))
    table = realism.compare(single, realism.profile(pairs))
    assert "minutes between first plays" not in set(table["figure"])
    assert np.isfinite(table["value"]).all()


def test_what_weakens_a_comparison_is_said(pairs):
    public = realism.public_profile()
    assert realism.cautions(public, public) == []
    week = realism.profile(pairs[(pairs["timestamp"].dt.day <= 7) & (pairs["user_id"].astype(int) < 50)])
    said = realism.cautions(week, public)
    assert said[0].startswith("The periods differ, 7 days against 28")
    assert said[-1].startswith(f"One side has {week.listeners} listeners")
    once = realism.cautions(realism.profile(pairs.assign(count=1)), public)
    assert any(sentence.startswith("One side knows first plays only") for sentence in once)
    assert not any(sentence.startswith("One side knows") for sentence in said)


# the published month


def test_the_carried_profile_is_the_samples(shared_data, tmp_path):
    made = realism.published_month(shared_data / SAMPLE, np.random.default_rng(0))
    realism.write(made, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(realism.PUBLIC.read_text())


def test_the_carried_profile_has_the_known_figures():
    public = realism.public_profile()
    assert (public.listeners, public.tracks, public.pairs) == (2459, 23625, 48787)
    assert [public.quantile("tracks_a_user", q) for q in (0.1, 0.5, 0.75, 0.9)] == [2, 11, 25, 48]
    assert public.quantile("tracks_a_user", 0.99) == pytest.approx(113, rel=0.02)
    assert [round(public.share("plays_a_pair", n), 3) for n in (1, 2, 3)] == [0.769, 0.137, 0.039]
    assert public.gap_share_30min == pytest.approx(0.53, abs=0.005)
    assert public.gap_share_day == pytest.approx(0.18, abs=0.005)
    assert 100 * public.hours[18] / public.pairs == pytest.approx(6.25, abs=0.2)
    assert "CC BY-NC-SA 4.0" in public.about["records"]
    assert set(public.floor) == {
        f"{row.figure}: {row.distance}" for row in realism.compare(public, public).itertuples()
    }


def test_the_floor_is_what_halves_of_the_sample_differ_by(shared_data):
    times = pd.read_csv(shared_data / SAMPLE / "userid_trackid_timestamp.tsv", sep="\t", dtype=str)
    per_user = times.groupby("user_id").size().to_numpy()
    rng = np.random.default_rng(5)
    found = []
    for _ in range(40):
        order = rng.permutation(len(per_user))
        found.append(stats.ks_2samp(per_user[order[::2]], per_user[order[1::2]]).statistic)
    floor = realism.public_profile().floor["tracks a listener: Kolmogorov-Smirnov"]
    assert np.quantile(found, 0.5) < floor < 1.5 * max(found)


def test_two_profiles_make_six_panels_with_both_sides(pairs, tmp_path):
    public = realism.public_profile()
    figure, drawn = data_figures.listening(realism.profile(pairs), public, ("mock", "public"), 6.3)
    assert len(figure.axes) == 6
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert drawn.groupby("panel")["side"].nunique().tolist() == [2] * 6
    assert drawn.loc[drawn["panel"].isin(["tracks_a_user", "gaps"]), "y"].max() == pytest.approx(100)
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path)}))
    figures.save(figure, "listening-realism", drawn, study, "Both.")
    first = study.path("figures", "listening-realism--toy-mock.pdf").read_bytes()
    again, _ = data_figures.listening(realism.profile(pairs), public, ("mock", "public"), 6.3)
    figures.save(again, "listening-realism", drawn, study, "Both.")
    assert study.path("figures", "listening-realism--toy-mock.pdf").read_bytes() == first


# does a public set fit one's own


def tracks_of(n, names, prefix="t"):
    ids = [f"{prefix}{number:04d}" for number in range(n)]
    return pd.DataFrame({"track_id": ids, "artist": names, "title": "", "path": ""}).set_index("track_id")


def space(rng, n, centre, prefix="t", spread=1.0):
    ids = [f"{prefix}{number:04d}" for number in range(n)]
    return Vectors.of(ids, centre + spread * rng.normal(size=(n, 12)))


def test_an_archive_without_listeners_is_told_what_the_public_set_supplies():
    public = realism.public_profile()
    own = (overlap.collection(tracks_of(300, "")), None)
    table = overlap.fit_table(own, (public.about["collection"], public))
    assert table.loc[("collection", "tracks"), "own"] == "300"
    assert table.loc[("collection", "tracks"), "ratio"] == pytest.approx(300 / 55262)
    assert set(table["own"].iloc[1:]) == {"no listeners yet"}
    assert (
        "supply 21,018 with a median of 142 tracks" in overlap.fit_words(own, (public.about["collection"], public))[1]
    )


def test_a_collection_beside_itself_is_similar_throughout(pairs):
    own = (overlap.collection(tracks_of(900, ""), pairs), realism.profile(pairs))
    table = overlap.fit_table(own, own)
    assert set(table["verdict"]) == {"similar"}
    assert set(table["ratio"]) == {1.0}
    assert own[0]["tracks a listener, median"] == pairs.groupby("user_id").size().median()


def test_groups_are_scores_then_artists_then_tracks():
    tracks = tracks_of(3, ["bach", "bach", ""]).assign(score_id=["s1", "", None])
    assert overlap.groups(tracks).tolist() == ["score_id s1", "artist bach", "track t0002"]


def test_nearest_public_tracks_are_those_of_a_loop(rng):
    own, public = space(rng, 9, 0, "o"), space(rng, 60, 0)
    artist = np.repeat([f"a{n:02d}" for n in range(20)], 3)
    mine_by = np.array(["a00", "a07"] + ["unknown to the public"] * 7)
    frame, among = overlap.nearest_public(own, public, mine_by, artist, rng)
    scaled = (public.values - public.values.mean(0)) / public.values.std(0)
    mine = (own.values - public.values.mean(0)) / public.values.std(0)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    for row in range(9):
        values = [-2 if artist[i] == mine_by[row] else cosine(mine[row], scaled[i]) for i in range(60)]
        assert frame["nearest"][row] == public.ids[int(np.argmax(values))]
        assert frame["cosine"][row] == pytest.approx(max(values), abs=1e-5)
    loop = [max(cosine(scaled[i], scaled[j]) for j in range(60) if artist[i] != artist[j]) for i in range(60)]
    assert np.allclose(among, np.sort(loop), atol=1e-5)
    assert frame["quantile"].between(0, 1).all()


def test_the_same_music_overlaps_and_other_music_does_not():
    artists, mine = [f"a{n % 80}" for n in range(400)], [f"b{n % 25}" for n in range(100)]
    found = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        public, same = space(rng, 400, 0), space(rng, 100, 0, "o")
        found.append(overlap.told_apart(same, public, mine, artists, rng, n_resamples=100))
    alike = found[-1]
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([one.ci_low <= 0.5 <= one.ci_high for one in found]) >= 0.7
    assert alike.n_groups == 105
    frame, among = overlap.nearest_public(same, public, mine, artists, rng)
    assert overlap.covered(frame, among) > 0.85
    distant = Vectors.of(same.ids, np.eye(12)[0] * 9 + np.random.default_rng(5).normal(size=(100, 12)) * 4)
    apart = overlap.told_apart(distant, public, mine, artists, rng)
    assert apart.auc > 0.95
    assert apart.ci_low > 0.9
    assert "are told at once from public ones" in overlap.overlap_words(frame, among, apart)
    assert "cannot be told from" in overlap.overlap_words(frame, among, overlap.TwoSamples(0.52, 0.45, 0.59, 105))


def test_music_of_other_directions_is_not_covered(rng):
    """Public music that varies along three directions, and own music along these or along others."""
    these, others = rng.normal(size=(2, 3, 12))
    public = Vectors.of([f"p{n:03d}" for n in range(300)], rng.normal(size=(300, 3)) @ these)
    names = [f"o{n:03d}" for n in range(50)]
    shares = []
    for directions in (these, others):
        own = Vectors.of(names, rng.normal(size=(50, 3)) @ directions)
        shares.append(overlap.covered(*overlap.nearest_public(own, public, names, public.ids, rng)))
    assert shares[0] > 0.85
    assert shares[1] < 0.2


def test_knowing_the_artists_is_no_telling_apart():
    """The known wrong way: random folds recognise artists; folds of whole artists do not."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rng = np.random.default_rng(6)
    centres = rng.normal(size=(40, 12)) * 3
    values = np.repeat(centres, 12, axis=0) + rng.normal(size=(480, 12)) * 0.2
    artists = np.repeat([f"a{n}" for n in range(40)], 12)
    own = Vectors.of([f"o{n:03d}" for n in range(120)], values[:120])
    public = Vectors.of([f"p{n:03d}" for n in range(360)], values[120:])
    right = overlap.told_apart(own, public, artists[:120], artists[120:], rng)
    label = np.repeat([1, 0], [120, 360])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    wrong = cross_val_predict(LogisticRegression(), values, label, cv=folds, method="decision_function")
    assert stats.mannwhitneyu(wrong[:120], wrong[120:]).statistic / (120 * 360) > right.auc + 0.1
    assert right.ci_high - right.ci_low > 0.1  # ten own artists say little, however many tracks they have


def test_sides_that_cannot_be_compared_are_sentences(rng):
    own, public = space(rng, 20, 0, "o"), space(rng, 40, 0)
    narrow = Vectors.of(own.ids, own.values[:, :5])
    with pytest.raises(overlap.OverlapError, match="found 5 and 12 dimensions: extract both"):
        overlap.nearest_public(narrow, public, own.ids, public.ids, rng)
    with pytest.raises(overlap.OverlapError, match="several artists or scores, found one"):
        overlap.nearest_public(own, public, own.ids, ["bach"] * 40, rng)
    with pytest.raises(overlap.OverlapError, match="at least 5 artists or scores on both sides, found 1 and 40"):
        overlap.told_apart(own, public, ["me"] * 20, public.ids, rng)


def test_a_map_has_every_own_track_and_knows_it(rng):
    own, public = space(rng, 7, 0), space(rng, 11, 1)  # the same ids on both sides
    both, is_own = overlap.together(own, public, rng)
    assert len(both) == 18
    assert is_own.sum() == 7
    assert np.array_equal(both.values[is_own], own.values)
    layout = pd.DataFrame({"track_id": both.ids, "x": 0.0, "y": 1.0})
    drawn = data_figures.collections(layout, is_own, 6.3)[1]
    assert drawn["side"].value_counts().to_dict() == {"public": 11, "own": 7}
