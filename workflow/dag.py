"""The jobs of a study: one row per notebook says what it runs on, what it needs, what it reads and what it writes.

Derived from the rows: the Snakefile, the fingerprints in ``done/``, the plan, the order of ``make notebooks``, chapters
of the book, the map in 00_index, and the tables in README and docs/notebooks.md.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from lib import backends, recommenders
from lib.backends import pseudo
from lib.data import sources
from lib.data.sources.recordings import SUFFIXES
from lib.study import ROOT, SMALL_RANDOM, resolve
from lib.study.tables import read_parquet

NOTEBOOKS = ROOT / "notebooks"
WORLD = ("listening_source", "content_strength", "factor_weights")  # whose listening it is: in every caption
LOOKS = ("text_width", "font_size", "font_family")
FREE = ("study_name", "runs_dir", *WORLD, *LOOKS)  # every notebook may read these
EVERY = ("executed/*", "logs/*", "done/*", "figures/*", "manifest.json")  # what every job may write
CHAPTERS = {"1": "Data", "2": "Spaces"} | dict.fromkeys("3456", "Recommenders")  # of the book, by a notebook's number
CHAPTERS |= {"7": "Answers", "8": "Listening", "9": "Thesis"}
ALL, OWN, ONE, STUDY, TRAINED = "all", "own", "one", "study", "trained"
WHICH = {  # which jobs of another row a job needs
    ALL: lambda study, job, other: True,
    OWN: lambda study, job, other: other in (job.backend, backends.UNTRAINED.get(job.backend)),
    ONE: lambda study, job, other: other == study.one_backend,
    STUDY: lambda study, job, other: other in study.parameters.backend_ids,  # no twins
    TRAINED: lambda study, job, other: other in study.trained_on,
}


@dataclass(frozen=True, eq=False)
class Row:
    """One notebook and its jobs.

    Attributes
    ----------
    notebook, title : str
        Stem of its file, and what it is about, as README says it.
    needs : dict of {str: str}
        Other notebooks, and which of their jobs: a key of `WHICH`.
    reads : tuple of str
        Parameters that decide its results; "name?" where all that matters is whether there is any.
        ``workflow/execute.py`` refuses a job that reads another.
    writes : tuple of str
        Files under runs/<study>/ whose content goes into ``done/``. ``{backend}`` and ``{name}`` (of a recommender in
        `makes`) are filled in; after '#' stands the part of a file that other jobs write to as well.
    shares : tuple of str
        Further files, whose content the ones in `writes` decide, or which are stores with digests of their own.
    over : callable, optional
        (study, extended) -> backends, one job for each; None is a single job.
    when : callable
        study -> whether the notebook runs at all.
    extended : bool
        Whether only ``make extended`` adds it; ``make workbook`` keeps it up to date from then on.
    makes : callable, optional
        study -> named recommenders whose lists and scores it writes; without any it does not run.
    networks : callable, optional
        (study, backend) -> backends whose network's code it runs.
    costly : bool
        Whether it, or what needs it, trains, extracts or permutes: code that draws does not run it again.
    gpu, sources : bool
        Whether a GPU speeds it up; whether it reads files that the study does not make.
    seconds : callable
        (study, backend) -> CPU seconds, roughly.
    megabytes : int
        Peak memory in the demo.
    """

    notebook: str
    title: str
    needs: dict = field(default_factory=dict)
    reads: tuple = ()
    writes: tuple = ()
    shares: tuple = ()
    over: Callable | None = None
    when: Callable = lambda study: True
    extended: bool = False
    makes: Callable | None = None
    networks: Callable = lambda study, backend: []
    costly: bool = False
    gpu: bool = False
    sources: bool = False
    seconds: Callable = lambda study, backend: 0
    megabytes: int = 500

    @property
    def name(self):
        """Name of its rule: the notebook's without its number."""
        return self.notebook.partition("_")[2]


class Job(NamedTuple):
    """A row on one backend, or on none."""

    row: Row
    backend: str | None = None

    @property
    def name(self):
        """Name of the job, as in its executed copy and its done file."""
        return f"{self.row.notebook}.{self.backend}" if self.backend else self.row.notebook


def networks(study, extended=False):
    """All that a study extracts or imports: its backends, then untrained twins, each once."""
    own = [name for name in study.parameters.backend_ids if name != pseudo.FACTORS]
    return own + sorted({backends.UNTRAINED[name] for name in own if name in backends.UNTRAINED})


def _heard(study, extended):
    return [*study.parameters.backend_ids, *study.parameters.label_columns]


def _trained(study, extended):
    return study.trained_on


def _hybrids(study, extended):
    """Where hybrids are trained: on one backend and on artists, in make extended and after it on all."""
    few = {study.one_backend, "artist"}
    there = {name for name in study.trained_on if is_done(study, f"61_hybrids.{name}")}
    return [name for name in study.trained_on if extended or name in few | there]


def _shallow(study):
    return study.options("shallow_net", *recommenders.own(vectors=True))


def _sequential(study):
    return {name: options for name, options in study.options("bert4rec").items() if not options.get("ids")}


def _both(study):
    with_ids = {name: options for name, options in study.options("bert4rec").items() if options.get("ids")}
    return study.options("hybrid", "bimodal") | with_ids


def _listeners(study):
    return study.has_listeners


def _compared(study):
    return study.has_listeners and bool(study.parameters.backend_ids)


def _varied(study):
    return _compared(study) and bool(study.parameters.variant_table) and study.one_backend in study.trained_on


# Measured on two cores, one thread per job; only for the plan and for what starts first.
NOTEBOOK_SECONDS = 8.0
SECONDS_PER = {"rendered clip": 0.4, "decoded clip": 0.02, "imported vector": 0.001, "probed clip": 0.3}


def n_tracks(study):
    """Tracks: made ones by their number, prepared ones as counted, others by the sound files in their folder."""
    p = study.parameters
    if p.dataset in sources.GENERATED:
        return p.n_tracks
    tracks = study.path("data", "tracks.parquet")
    if tracks.is_file():
        return len(read_parquet(tracks))
    return sum(path.suffix.lower() in SUFFIXES for path in resolve(p.dataset_folder).rglob("*"))


def seconds_per_clip(name):
    """CPU seconds of a backend for a clip of 30 s."""
    known = backends.REGISTRY.get(name)
    return known.cpu_seconds + SECONDS_PER["decoded clip"] if known else SECONDS_PER["imported vector"]


def _rendering(study, backend):
    return study.parameters.n_tracks * SECONDS_PER["rendered clip"] if study.parameters.dataset == "scores" else 0


def _extraction(study, backend):
    return n_tracks(study) * seconds_per_clip(backend) * study.parameters.clip_seconds / 30


def _layers(study, backend):
    passing = 0 if study.parameters.layers_backend == SMALL_RANDOM else _extraction(study, layered(study)[0])
    return passing + n_tracks(study) * SECONDS_PER["probed clip"]


def _permuting(study, backend):
    p = study.parameters
    return p.n_permutations * p.n_users * min(n_tracks(study), 2000) * 7.5e-8


def _training(seconds_per_pair, *, seeds_alone=False):
    """Seconds of a job that trains on own vectors, the twin's, permuted and random ones; on labels it trains once."""

    def seconds(study, backend):
        p = study.parameters
        alone = seeds_alone or backend in p.label_columns
        trainings = p.n_seeds if alone else 2 * p.n_seeds + p.n_trained_permutations + 1
        return trainings * p.n_users * p.tracks_per_user * seconds_per_pair

    return seconds


def layered(study, backend=None):
    """The transformer whose layers are compared, as a list; empty where a study names none."""
    name = study.parameters.layers_backend
    return [("mert_95m" if name == SMALL_RANDOM else name)] if name else []


SCORES, LISTS = ("per_user/{name}.{backend}.*.parquet",), ("recommendations/{name}.{backend}.*.parquet",)
SCORED = (*LISTS, "metrics.parquet")
LEARNED = (*SCORED, "training.parquet", "permutations.parquet", "checkpoints/*")
CUT = ("cutoffs_hot", "cutoffs_cold")
FIT = ("recommender_table", *CUT, "n_seeds", "device", "n_bootstrap", "seed")
FITS = (*FIT, "label_columns", "n_trained_permutations")
NAMED = ("recommender_table", *CUT, "backend_ids", "label_columns", "trained_backends")  # results that count
SPACES = {"10_prepare_data": ALL, "20_extract_embeddings": STUDY}
VECTORS = {"10_prepare_data": ALL, "20_extract_embeddings": OWN}
TRAININGS = ("40_shallow_net", "50_bert4rec", "61_hybrids")
EVERYTHING = {"30_knn": ALL, **dict.fromkeys(TRAININGS, ALL), "60_baselines": ALL}
# fmt: off
ROWS = (
    Row("10_prepare_data", "tracks, listening, and the split by time into hot and cold",
        reads=("dataset", "dataset_folder", "n_tracks", "clip_seconds", "excerpt_step", "labels_table",
            "listening_folder", "log_file", "log_columns", "time_zone", "n_users", "tracks_per_user", "cold_share",
            "listening_habits", "public_log", "positives", "split_preset", "test_date", "val_users", "min_val_users",
            "seed", *CUT, "backend_ids?"),
        writes=("data/*.parquet",), shares=("data/new/*", "answers.json"),
        costly=True, sources=True, seconds=_rendering),
    Row("11_listening_realism", "where the listening is like a public month",
        needs={"10_prepare_data": ALL}, when=_listeners, reads=("public_log",), sources=True),
    Row("12_fit_to_public", "whether a public collection fits one's own archive",
        needs=SPACES, when=lambda study: study.parameters.dataset == "recordings",
        reads=("public_log", "backend", "seed", "backend_ids", "clip_seconds"), sources=True),
    Row("20_extract_embeddings", "one vector per clip and backend",
        needs={"10_prepare_data": ALL}, over=networks, networks=lambda study, backend: [backend],
        reads=("dataset_folder", "listening_folder", "layer", "pooling", "device", "batch_size"),
        writes=("vectors.lance#{backend}",), shares=("failed/{backend}.parquet",),
        costly=True, gpu=True, seconds=_extraction, megabytes=1200),
    Row("21_inspect_embeddings", "neighbours to listen to, and maps",
        needs={"20_extract_embeddings": ALL}, when=networks, reads=("backend_ids", "same_recording", "seed")),
    Row("22_layers_and_pooling", "which layer of a transformer, pooled how",
        needs=SPACES, when=layered, networks=layered, extended=True,
        reads=("layers_backend", "probe_labels", "same_recording", "device", "batch_size", "alpha", "seed",
            "backend_ids"),
        writes=("layers.parquet",), shares=("layers.lance/*",), costly=True, seconds=_layers),
    Row("30_knn", "nearest neighbours with every control",
        needs=VECTORS, over=_heard, when=_listeners, makes=lambda study: study.options("knn"),
        reads=("label_columns", "recommender_table", *CUT, "n_permutations", "n_bootstrap", "seed"),
        writes=SCORES, shares=(*SCORED, "permutations.parquet"), costly=True, seconds=_permuting),
    Row("31_item_retrieval", "an archive without listeners: do near tracks share a composer, a work, a tag?",
        needs={"20_extract_embeddings": ALL}, when=networks,
        reads=("relevant_by", "same_recording", "mir_labels", "n_permutations", "n_bootstrap", "alpha", "seed",
            "backend_ids"),
        writes=("item_retrieval.parquet",)),
    Row("40_shallow_net", "one learned layer on frozen vectors",
        needs=VECTORS, over=_trained, when=_listeners, makes=_shallow,
        reads=FITS, writes=SCORES, shares=LEARNED, costly=True, gpu=True, seconds=_training(0.6e-4), megabytes=800),
    Row("50_bert4rec", "a transformer over listening sequences, on the same vectors",
        needs=VECTORS, over=_trained, when=_listeners, makes=_sequential,
        reads=FITS, writes=SCORES, shares=LEARNED, costly=True, gpu=True, seconds=_training(2.5e-4), megabytes=1300),
    Row("60_baselines", "listening without sound: popularity, ItemKNN, EASE, BPR, LightGCN, SASRec, chance",
        needs={"10_prepare_data": ALL}, when=_listeners, reads=(*FIT, "positives", "split_preset", "test_date"),
        writes=("per_user/*.none.*.parquet",), shares=("recommendations/*.none.*.parquet", *LEARNED[1:]),
        costly=True, seconds=_training(7.5e-4, seeds_alone=True), megabytes=1000),
    Row("61_hybrids", "audio and listening together",
        needs={"30_knn": OWN, "60_baselines": ALL, "20_extract_embeddings": OWN}, over=_hybrids, when=_listeners,
            makes=_both,
        reads=(*FITS, "backend_ids?", "trained_backends?"), writes=SCORES, shares=LEARNED,
        costly=True, gpu=True, seconds=_training(4.3e-4), megabytes=1300),
    Row("62_published_vs_corrected", "what each published setting is worth",
        needs=dict.fromkeys(TRAININGS, ONE), when=_varied, extended=True,
        reads=(*FIT, "variant_table", "backend", "backend_ids", "label_columns", "alpha"),
        shares=(*LEARNED, "per_user/*.parquet"),
        costly=True, gpu=True, seconds=_training(3e-3, seeds_alone=True), megabytes=1300),
    Row("63_tuning", "options chosen on validation",
        needs={"10_prepare_data": ALL, "20_extract_embeddings": TRAINED},
            when=lambda study: study.has_listeners and bool(study.parameters.tuning_grids), extended=True,
        reads=(*FIT, "backend_ids", "label_columns", "trained_backends", "tuning_grids"), writes=("tuned.json",),
        costly=True, gpu=True,
            seconds=lambda study, backend: study.parameters.n_users * study.parameters.tracks_per_user * 6e-3,
            megabytes=1300),
    Row("64_beyond_accuracy", "coverage, novelty, short histories",
        needs={"30_knn": ONE, **dict.fromkeys(TRAININGS, ONE), "60_baselines": ALL}, when=_listeners,
        reads=(*NAMED, "backend", "n_bootstrap", "seed")),
    Row("70_rq1_viability", "RQ1: does audio inform, does pretraining help?", needs=EVERYTHING, when=_compared,
        reads=(*NAMED, "alpha", "backend", "same_recording", "dataset", "n_seeds", "n_bootstrap",
            "seed"),
        writes=("comparisons.parquet#controls", "answers.json#rq1")),
    Row("71_rq2_backends", "RQ2: how do backends compare?", needs=EVERYTHING, when=_compared,
        reads=(*NAMED, "alpha", "n_seeds", "n_bootstrap", "n_worlds", "seed", "n_users",
            "tracks_per_user", "cold_share", "positives", "split_preset", "test_date", "val_users"),
        writes=("comparisons.parquet#pairs", "answers.json#rq2", "worlds.parquet")),
    Row("72_rq3_mir_correlation", "RQ3: does doing well in MIR tasks mean doing well in recommendation?",
        needs=EVERYTHING, when=_compared,
        reads=(*NAMED, "mir_labels", "mir_groups", "mir_tracks", "alpha", "seed"),
        writes=("mir_probes.parquet", "answers.json#rq3")),
    Row("73_data_scarcity", "how little listening is enough",
        needs=EVERYTHING, when=lambda study: _compared(study) and bool(study.parameters.scarcity_recommenders),
            extended=True,
        reads=("backend", "backend_ids", "scarcity_recommenders", "scarcity_shares", "label_columns", "alpha", *FIT),
        writes=("scarcity/*/*.parquet",), costly=True, gpu=True, megabytes=1300),
    Row("74_does_it_measure", "worlds where the right answer is known",
        needs=SPACES, when=lambda study: _compared(study) and study.world == "mock",
        reads=("seed", "backend_ids")),
    Row("80_listen", "hear what is recommended, and why",
        needs=SPACES | EVERYTHING, when=lambda study: study.has_listeners or bool(networks(study)),
        reads=("backend", "backend_ids", "label_columns", "recommender_table", "variant_table", "compare",
            "same_recording", "seed")),
    Row("90_export_thesis", "what goes into the thesis",
        reads=(*NAMED, "alpha", "clip_seconds", "n_bootstrap", "n_permutations", "n_seeds",
            "n_trained_permutations", "n_worlds", "seed", "split_preset", "test_date"),
        writes=("thesis/*",)),
    Row("00_index", "the questions, the map, where the answers stand", needs={"90_export_thesis": ALL},
        reads=NAMED),
)
# fmt: on
ROW = {row.notebook: row for row in ROWS} | {row.notebook[:2]: row for row in ROWS}
ROW["90"].needs.update(dict.fromkeys([row.notebook for row in ROWS[:-2]], ALL))


def is_done(study, name):
    """Tell whether a job of this name is done."""
    return study.path("done", f"{name}.done.json").is_file()


def _runs(row, study, extended):
    if row.extended and not (extended or is_done(study, row.notebook)):
        return False
    return bool(row.when(study)) and (row.makes is None or bool(row.makes(study)))


def jobs(study, extended=False):
    """All jobs of a study in stage order, the index last.

    Parameters
    ----------
    study : Study
    extended : bool
        Whether to add what ``make extended`` adds. What it has made once is there without.

    Returns
    -------
    list of Job
    """
    rows = [row for row in ROWS if _runs(row, study, extended)]
    return [Job(row, name) for row in rows for name in (row.over(study, extended) if row.over else [None])]


def needed(study, job, there):
    """Jobs among `there` that have to be done before one can run."""
    return [
        other
        for other in there
        if other.row.notebook in job.row.needs and WHICH[job.row.needs[other.row.notebook]](study, job, other.backend)
    ]


def seconds(study, job):
    """CPU seconds of a job, roughly."""
    return NOTEBOOK_SECONDS + job.row.seconds(study, job.backend)


def priorities(study, there):
    """Seconds from the start of each job to the end of the study along the longest path, as {name: int}."""
    found = dict.fromkeys((job.name for job in there), 0)
    for job in sorted(there, key=lambda job: -level(job.row)):
        found[job.name] += round(seconds(study, job))
        for other in needed(study, job, there):
            found[other.name] = max(found[other.name], found[job.name])
    return found


@functools.cache
def level(row):
    """Number of rows on the longest way from the start to a row."""
    return max((level(ROW[name]) + 1 for name in row.needs), default=0)
