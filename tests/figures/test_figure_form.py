"""What holds for every figure: letters of 6 points and more, none cut or over another, no title but of panels.

Drawn from frames with long names and awkward sizes, as wide as a thesis's text.
"""

import itertools
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from lib import figures
from lib.data import realism
from lib.evaluation import layers, list_properties
from lib.figures import data as data_figures
from lib.figures import difference_panels, looks
from lib.figures import rq2 as rq2_figures
from lib.figures import rq3 as rq3_figures
from lib.figures import scarcity as scarcity_figures
from lib.figures.backends import layer_curves, layer_maps, shared_labels
from lib.figures.data import listening_histograms
from lib.figures.recommenders import list_panels, training_curves, tuning_panels

WIDTH, SMALLEST = 6.3, 6.0
SPLITS = ["hot_test", "cold_test"]
IDS = ["mfcc", "musicnn_msd", "musicnn_mtt", "vgg_msd", "vgg_mtt"]
NAMES = [name for name in looks.RECOMMENDERS if name not in ("pop", "recbole_itemknn")]


@pytest.fixture(autouse=True)
def style():
    figures.use_style(9)
    yield
    plt.close("all")


def shown(figure):
    """Texts that are seen, with their boxes: ticks outside an axis's limits are not."""
    figure.canvas.draw()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            hidden |= {id(tick.label1) for tick in ticks if not low - 1e-9 <= tick.get_loc() <= high + 1e-9}
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text().strip() and text.get_visible()]
    texts = [text for text in texts if id(text) not in hidden and (text.axes is None or text.axes.axison)]
    boxes = [(text, text.get_window_extent()) for text in texts]
    return [(text, box) for text, box in boxes if box.width > 1 and box.height > 1]


def faults(figure):
    """What is wrong with a figure's form, as sentences."""
    texts = shown(figure)
    found = [f"{text.get_text()} has {text.get_fontsize()} pt" for text, _ in texts if text.get_fontsize() < SMALLEST]
    right, top = figure.bbox.width + 1, figure.bbox.height + 1
    found += [
        f"{text.get_text()} is cut"
        for text, box in texts
        if box.x0 < -1 or box.y0 < -1 or box.x1 > right or box.y1 > top
    ]
    upright = [(text, box) for text, box in texts if text.get_rotation() % 90 == 0]
    for (one, box), (other, second) in itertools.combinations(upright, 2):
        across = min(box.x1, second.x1) - max(box.x0, second.x0)
        if across > 1 and min(box.y1, second.y1) - max(box.y0, second.y0) > 1.5:
            found.append(f"{one.get_text()!r} lies over {other.get_text()!r}")
    if figure.get_suptitle():
        found.append(f"title {figure.get_suptitle()}")
    if figure.get_size_inches()[0] > WIDTH + 0.01:
        found.append(f"{figure.get_size_inches()[0]:.2f} inches wide")
    return found


def values(n, rng=None, low=0.05, high=0.4):
    """Means with intervals."""
    value = (rng or np.random.default_rng(0)).uniform(low, high, n)
    return pd.DataFrame({"value": value, "ci_low": value - 0.02, "ci_high": value + 0.03})


def crossed(rng=None, **columns):
    """A line a combination, with means."""
    frame = pd.DataFrame(itertools.product(*columns.values()), columns=list(columns))
    return pd.concat([frame, values(len(frame), rng)], axis=1)


def differences(frame):
    return frame.assign(diff=frame["value"] - 0.2, ci_low=frame["ci_low"] - 0.2, ci_high=frame["ci_high"] - 0.2)


def of_controls():
    rows = crossed(recommender=["knn", "bimodal_collaborative"], control=list(looks.CONTROLS)[:5], split=SPLITS)
    rows = pd.concat([rows, crossed(recommender=["mostpop", "chance"], control=["–"], split=SPLITS)])
    rows = rows.assign(metric="NDCG", k=50, seed=-1)
    todo = dict.fromkeys(SPLITS, SimpleNamespace(cutoffs=[50]))
    return figures.by_control(rows, todo, SPLITS, "musicnn_msd", WIDTH)


def of_measures():
    measures = [
        "NDCG@50",
        "Coverage@50",
        "Gini@50",
        "Novelty@50",
        "PopularityLift@50",
        "Diversity@50",
        "KnownArtist@50",
    ]
    rows = crossed(line=[*NAMES, "bert4rec (ids alone)"], measure=measures)
    source = [list_properties.IDS if "(" in line else list_properties.VECTORS for line in rows["line"]]
    return list_panels(rows.assign(source=source), "measure", WIDTH)


def against():
    rows = differences(crossed(recommender=NAMES[:9], against=["shuffled", "profile_swap", "collaborative", "chance"]))
    return figures.dots(rows, WIDTH, panel="recommender", label="against", scale="real − other, NDCG@50", reference=0.0)


def a_forest():
    rows = differences(crossed(recommender=NAMES, backend=IDS, split=SPLITS)).assign(k=50)
    return difference_panels.by_split(
        rows, SPLITS, WIDTH, group="recommender", groups=NAMES, colour="backend", scale="real − shuffled",
        margins=dict.fromkeys(SPLITS, 0.02),
    )  # fmt: skip


def of_pairs():
    pairs = pd.DataFrame(itertools.combinations(IDS, 2), columns=["backend_a", "backend_b"])
    pairs = differences(pd.concat([pairs, values(len(pairs))], axis=1))
    pairs = pairs.assign(low=pairs["ci_low"] - 0.01, high=pairs["ci_high"] + 0.01, verdict="undecided")
    pairs.loc[:2, "verdict"] = ["better", "worse", "equivalent within δ"]
    return rq2_figures.forest_of_pairs(
        dict.fromkeys(SPLITS, pairs), dict.fromkeys(SPLITS, 0.02), WIDTH, dict.fromkeys(SPLITS, "NDCG@50")
    )


def of_places():
    places = pd.DataFrame({"backend": IDS, "rank": range(1, 6), "ci_low": [1, 1, 2, 3, 4], "ci_high": [2, 3, 4, 5, 5]})
    return rq2_figures.critical_differences(dict.fromkeys(SPLITS, (places, [IDS[:3], IDS[2:]])), WIDTH)


def of_costs():
    rows = crossed(backend=IDS).assign(seconds=[0.01, 0.15, 0.15, 0.1, 0.1], frontier=[True, False, True, False, False])
    label = dict.fromkeys(SPLITS, "NDCG@50")
    near = rows.assign(seconds=[0.02, 0.03, 0.05, 0.06, 0.07])  # within one decade: no power of ten in sight
    return tuple(rq2_figures.cost_benefit(dict.fromkeys(SPLITS, costs), WIDTH, label) for costs in (rows, near))


def of_widths():
    rows = differences(crossed(backend=IDS, split=SPLITS)).assign(k=50)
    return rq2_figures.widths(rows, WIDTH, dict.fromkeys(SPLITS, "NDCG@50"))


def of_worlds():
    frame, means = crossed(backend=IDS, world=range(20)), crossed(backend=IDS)
    return rq2_figures.worlds(dict.fromkeys(SPLITS, (frame, means)), WIDTH, dict.fromkeys(SPLITS, "NDCG@50"))


def beside_published():
    rows = crossed(recommender=["knn_raw", "shallow_net", "bert4rec", "hybrid"], backend=IDS)
    rows = rows.rename(columns={"value": "ours", "ci_low": "ours_low", "ci_high": "ours_high"})
    return rq2_figures.beside_published(rows.assign(published=np.linspace(0.001, 0.05, len(rows))), WIDTH)


def of_probes():
    ids = [*IDS, "musicnn_untrained", "vgg_untrained"]
    labels = {"collection": "classification", "instrument_family": "classification", "key_mirex": "key"}
    rows = crossed(label=[*labels, "tempo", "density"], model=["linear", "mlp"], backend=ids)
    task = rows["label"].map(labels).fillna("regression")
    twins = rows["backend"].str.endswith("_untrained")
    return rq3_figures.probe_panels(rows.assign(task=task, chance=0.1, untrained=twins), WIDTH)


def of_points():
    ids = [*IDS, "musicnn_untrained", "vgg_untrained"]
    panels = ["collection", "instrument family", "key, MIREX", "tempo"]
    rows = crossed(panel=panels, backend=ids).rename(columns={"value": "x", "ci_low": "x_low", "ci_high": "x_high"})
    y = values(len(rows), np.random.default_rng(1)).set_axis(["y", "y_low", "y_high"], axis=1)
    twins = rows["backend"].str.endswith("_untrained")
    rows = pd.concat([rows, y], axis=1).assign(untrained=twins, task="classification")
    return rq3_figures.scatter(rows, panels, WIDTH, ylabel="NDCG@25, cold")


def of_correlations():
    labels = ["tagging, MagnaTagATune, ROC-AUC", "key, GiantSteps, accuracy (weighted)", "genre, GTZAN, accuracy"]
    rows = crossed(label=labels, recommender=NAMES[-7:], split=SPLITS).assign(n=5, cannot="", rho_q=0.5)
    return rq3_figures.heat_map(rows.assign(rho=np.linspace(-1, 1, len(rows))), WIDTH)


def of_scarcity():
    runs = [(name, "none" if name in NAMES[2:8] else "musicnn_msd") for name in [*NAMES[:12], "bimodal"]]
    rows = [
        crossed(
            np.random.default_rng(place), recommender=[name], backend=[backend], split=SPLITS, share=[0.05, 0.5, 1.0]
        )
        for place, (name, backend) in enumerate([*runs, ("chance", "none")])
    ]
    rows = pd.concat([pd.concat(rows).assign(axis=axis, k=50) for axis in ("history", "catalogue")], ignore_index=True)
    return scarcity_figures.drawn(rows, WIDTH, scarcity_figures.styles(rows))


def of_trainings():
    names, controls = NAMES[-5:], ["real", "untrained", "shuffled", "random", "id_only"]
    rows = pd.DataFrame(
        itertools.product(names, controls, range(1, 41)), columns=["recommender", "control", "epoch"]
    ).assign(seed=0, best_epoch=20)
    return training_curves(rows.assign(loss=5 / rows["epoch"], validation=0.3 - 0.2 / rows["epoch"]), WIDTH)


def of_neighbours():
    rows = crossed(label=["collection", "instrument_family", "mode", "artist"], backend=IDS)
    return shared_labels(
        rows.rename(columns={"value": "shared"}).assign(by_chance=0.1), list(rows["label"].unique()), WIDTH
    )


def of_maps():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(itertools.product(IDS, range(60)), columns=["backend", "track_id"])
    family = np.array([f"instrument family {n}" for n in range(12)])[rows["track_id"] % 12]
    return figures.maps(rows.assign(x=rng.normal(size=300), y=rng.normal(size=300), family=family), "family", WIDTH)


def of_tuning():
    grid = {"scaling": ["none", "centre", "standardise", "whiten"], "width": [128, 256]}
    table = pd.DataFrame(itertools.product(*grid.values()), columns=list(grid))
    behind = -np.linspace(0, 0.1, len(table))
    table = table.assign(
        validation=0.4 + behind, refused="", behind=behind, ci_low=behind - 0.01, ci_high=behind + 0.01
    )
    names = ["itemknn", "shallow_net", "bert4rec", "hybrid", "bimodal"]
    return tuning_panels(dict.fromkeys(names, table), dict.fromkeys(names, grid), WIDTH)


def of_layers():
    rows = crossed(label=["instrument_family", "key", "meter", "pitch_mean"], pooling=layers.POOLINGS, layer=range(7))
    rows = rows.assign(above=rows["value"], task="classification", chance=0.1, backend="mert_95m")
    simple = crossed(label=rows["label"].unique(), backend=["mfcc", "musicnn_msd"])
    return layer_curves(rows, simple, (6, "mean"), WIDTH), layer_maps(rows, (6, "mean"), WIDTH)


def of_listening():
    rng = np.random.default_rng(0)
    n = 4000
    when = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 2_400_000, n), unit="s")
    pairs = pd.DataFrame({"user_id": rng.integers(0, 300, n), "track_id": rng.zipf(1.5, n) % 400, "timestamp": when})
    pairs = pairs.drop_duplicates(["user_id", "track_id"]).assign(count=1)
    profile = realism.profile(pairs.astype({"user_id": str, "track_id": str}))
    names = ("mock listeners", "public listeners")
    return (
        listening_histograms(pairs, WIDTH).figure,
        data_figures.listening(profile, profile, names, WIDTH)[0],
    )


def of_collections():
    rng = np.random.default_rng(0)
    layout = pd.DataFrame(rng.normal(size=(90, 2)), columns=["x", "y"]).assign(track_id="t")
    near = pd.DataFrame({"cosine": rng.uniform(0, 1, 50)})
    return (
        data_figures.collections(layout, np.arange(90) < 30, WIDTH)[0],
        data_figures.nearness(near, rng.uniform(0, 1, 60), WIDTH)[0],
    )


DRAWN = [
    of_controls, of_measures, against, a_forest, of_pairs, of_places, of_costs, of_widths, of_worlds, beside_published,
    of_probes, of_points, of_correlations, of_scarcity, of_trainings, of_neighbours, of_maps, of_tuning, of_layers,
    of_listening, of_collections,
]  # fmt: skip


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_nothing_is_small_cut_or_over_another(draw):
    drawn = draw()
    for figure in drawn if isinstance(drawn, tuple) else (drawn,):
        assert faults(figure) == []


def test_what_is_wrong_is_found():
    """Canary: a small letter, a label over another, one that leaves the figure, and a title are all told."""
    figure, axes = figures.panels(WIDTH, 1, 2)
    figure.suptitle("a title")
    figure.set_layout_engine("none")
    axes[0].text(0.5, 0.5, "small", fontsize=5)
    axes[0].text(0.2, 0.2, "one word")
    axes[0].text(0.22, 0.2, "another")
    axes[1].text(0.9, 0.5, "a word that leaves the figure")
    told = " ".join(faults(figure))
    assert "small has 5.0 pt" in told
    assert "'one word' lies over 'another'" in told
    assert "a word that leaves the figure is cut" in told
    assert "title a title" in told


def test_one_thing_has_one_colour_and_marker_in_every_figure():
    """A backend in a forest, at its cost, in its place and in a scatter; a recommender under scarcity and alone."""
    wanted = looks.look("vgg_mtt")
    for figure in (a_forest(), of_places(), of_costs()[0], of_points()):
        lines = [line for axes in figure.axes for line in axes.lines if line.get_marker() == wanted.marker]
        assert lines
        assert {matplotlib.colors.to_hex(line.get_color()) for line in lines} == {wanted.colour}
    ease = [line for line in of_scarcity().axes[0].lines if line.get_marker() == looks.look("ease").marker]
    assert {line.get_color() for line in ease} == {looks.look("ease").colour}
