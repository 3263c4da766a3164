"""The data set ``scores``: scores of music21's corpus, each rendered in two arrangements on the user's own machine.

Tunes of one part get a second in the manner of their book (`lib.data.sources.scores.accompaniment`). What is true of
every track is known: collection, instrument family, key and mode, meter, tempo, density, register. The factors are
crossed (`lib.data.sources.scores.arrangements`): instruments, tempo factor, transposition and room do not depend on the
collection.

ABC tunes carry key, mode and meter as notated (dorian, phrygian and aeolian count as minor; mixolydian and lydian as
major); of quartets and salon pieces the key is known; for chorales, whose notated mode is often a program's default,
the last bass note decides among the keys of the signature, else a notated 'minor', else music21's analysis
(Krumhansl-Schmuckler): key_source says which. The tempo is the score's mark, or the default of its meter times a drawn
factor, times the arrangement's factor. Of tunes every third is minor as far as the book has any.
"""

import json
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.sources.scores import arrangements, corpus, rendering
from lib.data.sources.scores.accompaniment import accompany
from lib.study.provenance import file_hash
from lib.study.tables import write_atomically

# Beats a minute where the score has no mark; the beat is that of score_notes.beat_in_quarters
DEFAULT_TEMPO = {"2/2": 88.0, "4/4": 108.0, "2/4": 92.0, "3/4": 112.0, "3/8": 60.0, "3/2": 76.0}
COMPOUND_TEMPO = 96.0
OTHER_TEMPO = 100.0
TEMPO_LIMITS = (45.0, 170.0)  # marks are clipped to what dancers and singers can follow
STALE_SECONDS = 3600
_ORDERED_BY_MODE = 3  # every third tune is minor


def describe():
    """What the data set is, in a sentence or two."""
    return (
        "Scores from music21's corpus (Bach chorales, fiddle and song books, quartets, salon pieces), each rendered in "
        "two crossed arrangements with a General MIDI soundfont; artist, collection, instrument family, key, mode, "
        "meter, tempo and density are known exactly. Synthetic sound, no listeners."
    )


def licence():
    """Under which terms the parts stand."""
    return (
        "Scores: public-domain music in encodings distributed with music21 (BSD-3-Clause), without collections that "
        "carry restrictions of their own. Soundfont TimGM6mb: GPL-2, used in place from the installed pretty_midi. "
        "Rendered clips stay on the machine that made them and are not distributed."
    )


def cite():
    """What to cite."""
    return (
        "M. S. Cuthbert and C. Ariza, music21: A Toolkit for Computer-Aided Musicology and Symbolic Music Data, "
        "ISMIR 2010. Soundfont: T. Brechbill, TimGM6mb, 2004. Synthesiser: B. Schelling, TinySoundFont, "
        "with the Python package tinysoundfont (N. Whitehead)."
    )


def events():
    """None: nobody has listened to these clips (``lib.data.mock.listeners`` makes mock listeners)."""
    return None


def tracks(cache, *, n_tracks, clip_seconds, seed, soundfont=None, workers=None, progress=None):
    """Choose scores, arrange them, render what is not there yet, and describe it.

    Parameters
    ----------
    cache : str or Path
        Keeps ``audio/<track_id>.flac``, ``notes/<score_id>.json`` and ``checksums/``; may hold several sets.
    n_tracks : int
        Two for each score, at least 2. A larger set contains the smaller one of the same seed and clip length.
    clip_seconds : float
        Length of every clip.
    seed : int
        Of choice and arrangement.
    soundfont : Path, optional
        TimGM6mb of the installed pretty_midi by default.
    workers : int, optional
        Processes that render; min(2, processors) by default.
    progress : callable, optional
        ``lib.study.progress.progress`` or its like: ``progress(iterable, total=, label=, unit=)``.

    Returns
    -------
    DataFrame
        Sorted by track_id: track_id, path, duration (s), artist, title, score_id, collection, instrument_family, key,
        mode, meter, tempo (beats a minute as sounded), density (notes a second), pitch_mean and pitch_spread (MIDI),
        parts, arrangement, programs, transposition, tempo_factor, room, tilt (dB), key_source.

    Raises
    ------
    ValueError
        For sizes that cannot be; a sentence says which can.

    Examples
    --------
    >>> frame = tracks("scores", n_tracks=4, clip_seconds=2, seed=42)  # doctest: +SKIP
    >>> frame["score_id"].nunique()  # doctest: +SKIP
    2
    """
    folder = Path(cache)
    if n_tracks < 2 or clip_seconds <= 0:
        raise ValueError(f"Expected n_tracks >= 2 and clip_seconds > 0, found {n_tracks} and {clip_seconds}.")
    progress = progress or (lambda items, **_: items)
    soundfont = rendering.soundfont_path(soundfont)
    chosen = _choose(folder / "notes", (n_tracks + 1) // 2, seed, progress)
    plans = _plans(chosen, clip_seconds, seed, soundfont)[:n_tracks]
    known = _checksums(folder)
    audio = folder / "audio"
    _sweep(audio)
    paths = {plan["track_id"]: audio / f"{plan['track_id']}.flac" for plan in plans}
    hashes = {name: file_hash(path, 64) for name, path in paths.items() if path.is_file()}
    good = {name for name, found in hashes.items() if found == known.get(name, found)}  # damaged ones are made again
    missing = [plan for plan in plans if plan["track_id"] not in good]
    hashes.update(_render(missing, audio, clip_seconds, soundfont, workers, progress))
    _keep_checksums(folder, n_tracks, clip_seconds, seed, hashes)
    rows = [{"track_id": plan["track_id"], "path": str(paths[plan["track_id"]]), **plan["labels"]} for plan in plans]
    return pd.DataFrame(rows).sort_values("track_id", ignore_index=True)


def validate(folder):
    """Check every clip that `tracks` has made in a folder.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    list of str
        A sentence for each missing or damaged file; empty where all is well.
    """
    folder = Path(folder)
    known = _checksums(folder)
    if not known:
        return [f"Expected rendered clips under {folder}, found none: run notebook 10_prepare_data."]
    problems = []
    for name, expected in sorted(known.items()):
        path = folder / "audio" / f"{name}.flac"
        if not path.is_file():
            problems.append(f"Expected audio/{path.name}, found no such file: run notebook 10_prepare_data again.")
        elif file_hash(path, 64) != expected:
            problems.append(
                f"Expected audio/{path.name} as it was rendered, found {path.stat().st_size} other bytes: run "
                "notebook 10_prepare_data, which makes it again."
            )
    return problems


def quotas(n_scores):
    """How many scores of each collection: equal numbers, as far as a collection has them.

    Parameters
    ----------
    n_scores : int

    Returns
    -------
    dict of str to int
        No quota shrinks when n_scores grows.

    Examples
    --------
    >>> quotas(200)["salon"], quotas(200)["bach_chorales"]
    (12, 25)
    """
    most = sum(corpus.CAPACITY.values())
    if n_scores > most:
        raise ValueError(
            f"Expected at most {2 * most} tracks of the data set scores, found {2 * n_scores}: lower n_tracks."
        )
    filled = dict.fromkeys(corpus.CAPACITY, 0)
    while sum(filled.values()) < n_scores:
        for name, capacity in corpus.CAPACITY.items():
            if filled[name] < capacity and sum(filled.values()) < n_scores:
                filled[name] += 1
    return filled


def _rng(seed, *words):
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in words)])


def _choose(notes_folder, n_scores, seed, progress):
    """Notes of the chosen scores by collection: candidates in a seeded order, unusable ones passed over."""
    catalogue = corpus.catalogue()
    wanted = quotas(n_scores)
    orders = {name: iter(_in_order(catalogue[name], _rng(seed, "order", name))) for name in wanted}
    chosen = {name: [] for name in wanted}
    turns = [name for name, count in wanted.items() for _ in range(count)]
    for name in progress(turns, total=len(turns), label="reading scores", unit="score"):
        while True:
            score = next(orders[name], None)
            if score is None:
                raise ValueError(
                    f"Expected {wanted[name]} usable scores in {name}, found {len(chosen[name])}: lower n_tracks or "
                    "install another version of music21."
                )
            notes = corpus.notes(score, notes_folder)
            if "rejected" not in notes:
                chosen[name].append(notes)
                break
    return chosen


def _in_order(scores, rng):
    shuffled = [scores[i] for i in rng.permutation(len(scores))]
    minor = [score for score in shuffled if score.mode == "minor"]
    rest = [score for score in shuffled if score.mode != "minor"]
    order = []
    while minor or rest:
        turn = len(order) % _ORDERED_BY_MODE == 1
        order.append((minor if (turn and minor) or not rest else rest).pop(0))
    return order


def _plans(chosen, clip_seconds, seed, soundfont):
    """Specification, schedule and labels of every track, score by score, collections in turn."""
    renderer = rendering.renderer_fingerprint(soundfont)
    by_collection = []
    for name, scores in chosen.items():
        pairs = arrangements.arrange(len(scores), _rng(seed, "arrange", name))
        by_collection.append([(name, notes, pair) for notes, pair in zip(scores, pairs, strict=True)])
    plans = []
    for turn in range(max(map(len, by_collection))):
        for scores in by_collection:
            if turn < len(scores):
                name, notes, pair = scores[turn]
                plans += [_plan(name, notes, one, float(clip_seconds), renderer) for one in pair]
    return plans


def _plan(collection, notes, arrangement, seconds, renderer):
    tempo = _tempo(notes, arrangement)
    quarters_a_minute = round(tempo * corpus.beat_in_quarters(notes["meter"]), 4)
    events = rendering.schedule(
        accompany(notes, collection), notes["quarters"], quarters_a_minute, arrangement.transposition, seconds
    )
    how = {"programs": list(arrangement.programs), "room": arrangement.room, "tilt": arrangement.tilt}
    specification = {
        "score_id": notes["score_id"],
        "notes": zlib.crc32(np.ascontiguousarray(np.round(events, 6)).tobytes()),
        "quarters_a_minute": quarters_a_minute,
        "transposition": arrangement.transposition,
        "seconds": seconds,
        "renderer": renderer,
        **how,
    }
    labels = {
        "duration": max(1, round(seconds * rendering.SAMPLE_RATE)) / rendering.SAMPLE_RATE,
        "artist": f"{corpus.LABELS[collection]} ({arrangement.ensemble})",
        "title": notes["title"],
        "score_id": notes["score_id"],
        "collection": collection,
        "instrument_family": arrangement.family,
        "key": corpus.KEYS[(notes["tonic"] + arrangement.transposition) % 12],
        "mode": notes["mode"],
        "meter": notes["meter"],
        "tempo": round(tempo, 2),
        "density": round(len(events) / seconds, 4),
        "pitch_mean": round(float(events[:, 2].mean()), 4),
        "pitch_spread": round(float(events[:, 2].std()), 4),
        "parts": len(set(events[:, 4])),
        "arrangement": arrangement.ensemble,
        "programs": "+".join(str(program) for program in dict.fromkeys(arrangement.programs)),
        "transposition": arrangement.transposition,
        "tempo_factor": arrangement.tempo_factor,
        "room": arrangement.room,
        "tilt": arrangement.tilt,
        "key_source": notes["key_source"],
    }
    return {"track_id": rendering.track_id(specification), "events": events, "how": how, "labels": labels}


def _tempo(notes, arrangement):
    """Beats a minute as sounded."""
    marked, meter = notes["beats_a_minute"], notes["meter"]
    if marked is None:
        compound = corpus.beat_in_quarters(meter) % 1.5 == 0
        default = DEFAULT_TEMPO.get(meter, COMPOUND_TEMPO if compound else OTHER_TEMPO)
        marked = default * arrangement.own_tempo
    return float(np.clip(marked, *TEMPO_LIMITS)) * arrangement.tempo_factor


def _sweep(audio):
    """Remove what killed runs left beside; younger files may be another run's."""
    for path in audio.glob(".*.part.flac"):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            path.unlink(missing_ok=True)


def _render(plans, audio, clip_seconds, soundfont, workers, progress):
    """Render plans in parallel; yields (track_id, hash of the file) as they come."""
    import joblib

    workers = min(workers or min(2, joblib.cpu_count()), max(1, len(plans)))
    # loky processes start afresh: neither a notebook's nor a script's own cells are run again in them
    pool = joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered")
    tasks = (
        joblib.delayed(_render_one)(plan["track_id"], audio, plan["events"], plan["how"], clip_seconds, soundfont)
        for plan in plans
    )
    yield from progress(pool(tasks), total=len(plans), label="rendering clips", unit="clip")


def _render_one(name, audio, events, how, clip_seconds, soundfont):
    path = audio / f"{name}.flac"
    return name, rendering.write_clip(path, events, **how, seconds=clip_seconds, soundfont=soundfont)


def _checksums(folder):
    """Hashes of all clips made in a folder, over all sets."""
    known = {}
    for path in sorted((folder / "checksums").glob("[!.]*.json")):
        known.update(json.loads(path.read_text(encoding="utf-8")))
    return known


def _keep_checksums(folder, n_tracks, clip_seconds, seed, hashes):
    path = folder / "checksums" / f"{n_tracks}x{clip_seconds:g}s-seed{seed}.json"
    with write_atomically(path) as beside:
        beside.write_text(json.dumps(hashes, indent=0, sort_keys=True), encoding="utf-8")
