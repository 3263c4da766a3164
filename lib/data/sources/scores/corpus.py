"""Scores of music21's corpus: which there are, and their notes as plain numbers.

Finding scores reads file names and ABC headers only and does not import music21; parsing does, once a score, and keeps
the notes as JSON. Only collections without restrictions in their files are used. Tunes of ABC books are cut from the
book's text and parsed singly. Nothing of the corpus is copied into the repository.
"""

import importlib.metadata
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

from lib.study.tables import write_atomically

NOTES_VERSION = 1  # raise it when what is stored for a score changes
FORBIDDEN = ("palestrina", "essenFolksong", "leadSheet", "monteverdi", "trecento", "josquin")
KEYS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
MIN_NOTES, MIN_QUARTERS = 16, 8.0  # shorter scores would loop into a stutter
MAX_NOTES = 2000

# At most so many scores are taken of a collection (a little below what it holds), in the order of filling up.
CAPACITY = {
    "bach_chorales": 340,
    "airds_airs": 900,
    "ryans_mammoth": 800,
    "oneills_airs": 400,
    "oneills_dances": 900,
    "northumbrian": 100,
    "american_fife": 22,
    "quartets": 16,
    "salon": 12,
}
LABELS = {
    "bach_chorales": "Bach chorales",
    "airds_airs": "Aird's Airs",
    "ryans_mammoth": "Ryan's Mammoth Collection",
    "oneills_airs": "O'Neill's airs",
    "oneills_dances": "O'Neill's dances",
    "northumbrian": "Northumbrian Minstrelsy",
    "american_fife": "American fife tunes",
    "quartets": "String quartets",
    "salon": "Salon pieces and songs",
}
_QUARTETS = {  # movements of fewer than 2,000 notes and their keys
    "haydn/opus1no1": {1: "Bb", 2: "Bb", 4: "Bb", 5: "Bb"},
    "haydn/opus74no1": {3: "C"},
    "mozart/k80": {1: "G", 2: "G", 3: "G", 4: "G"},
    "mozart/k155": {2: "A", 3: "D"},
    "mozart/k156": {1: "G", 2: "Em", 3: "G", 4: "Em"},
    "mozart/k458": {2: "Bb"},
    "beethoven/opus18no1": {3: "F"},
}
_SALON = {  # title, and the key where it is known
    "schumann_clara/polonaise_op1n1.mxl": ("Polonaise, op. 1 no. 1", "Eb"),
    "schumann_clara/polonaise_op1n2.mxl": ("Polonaise, op. 1 no. 2", "C"),
    "schumann_clara/polonaise_op1n3.mxl": ("Polonaise, op. 1 no. 3", "D"),
    "schumann_clara/polonaise_op1n4.mxl": ("Polonaise, op. 1 no. 4", "C"),
    "schumann_robert/opus48no2.mxl": ("Dichterliebe, no. 2", "A"),
    "schumann_robert/opus41no1/movement2.mxl": ("String quartet, op. 41 no. 1, movement 2", "Am"),
    "chopin/mazurka06-2.krn": ("Mazurka, op. 6 no. 2", "C#m"),
    "joplin/maple_leaf_rag.mxl": ("Maple Leaf Rag", "Ab"),
    "handel/rinaldo/Lascia_chio_pianga.mxl": ("Lascia ch'io pianga", "A"),
    "verdi/laDonnaEMobile.mxl": ("La donna è mobile", "Bb"),
    "johnson_j_r/lift_every_voice.mxl": ("Lift Every Voice and Sing", "Ab"),
    "liliuokalani/aloha_oe.mxl": ("Aloha 'Oe", "G"),
    "cpebach/h186.mxl": ("Sonata, H. 186", None),
    "mozart/k545/movement1_exposition.mxl": ("Sonata, K. 545, exposition", "C"),
}
_COMPOSERS = {"haydn": "Haydn", "mozart": "Mozart", "beethoven": "Beethoven"}
_ABC_MODES = {
    "": "major", "maj": "major", "ion": "major", "mix": "major", "lyd": "major",
    "m": "minor", "min": "minor", "aeo": "minor", "dor": "minor", "phr": "minor",
}  # fmt: skip
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class ScoreError(ValueError):
    """A score or the corpus is not what it has to be."""


@dataclass(frozen=True)
class Score:
    """One score of the corpus; key (but of chorales), meter and tempo (of ABC tunes) are known beforehand.

    ``path`` is relative to the corpus, ``number`` the tune's X field, ``tonic`` a pitch class, ``beats_a_minute``
    the notated tempo in the meter's beat.
    """

    score_id: str
    collection: str
    path: str
    number: int | None = None
    title: str = ""
    tonic: int | None = None
    mode: str | None = None
    meter: str | None = None
    beats_a_minute: float | None = None


def corpus_folder():
    """Folder of music21's corpus in the user's own installation, found without importing music21.

    Raises
    ------
    ScoreError
        When music21 or its corpus is missing.

    Examples
    --------
    >>> (corpus_folder() / "bach").is_dir()
    True
    """
    spec = importlib.util.find_spec("music21")
    folder = Path(spec.submodule_search_locations[0]) / "corpus" if spec else None
    if folder is None or not (folder / "bach").is_dir():
        raise ScoreError(
            "Expected the package music21 with its corpus, found none: install it with `pip install music21`."
        )
    return folder


def beat_in_quarters(meter):
    """Length of a meter's beat in quarter notes (dotted in compound meters; one beat a bar in 3/8).

    Examples
    --------
    >>> beat_in_quarters("6/8"), beat_in_quarters("2/2"), beat_in_quarters("3/4")
    (1.5, 2.0, 1.0)
    """
    beats, unit = (int(part) for part in meter.split("/"))
    compound = (beats > 3 and beats % 3 == 0) or meter == "3/8"
    return (3 if compound else 1) * 4 / unit


def catalogue(corpus=None):
    """All scores that may be rendered, by collection.

    Parameters
    ----------
    corpus : Path, optional
        The corpus folder; the installed one by default.

    Returns
    -------
    dict of str to list of Score
        Keys are those of ``CAPACITY``; scores in a fixed order.

    Examples
    --------
    >>> sorted(catalogue())[0]
    'airds_airs'
    """
    corpus = Path(corpus) if corpus else corpus_folder()
    books = {name: [] for name in CAPACITY}
    books["bach_chorales"] = [
        Score(f"bach_chorales-{path.stem}", "bach_chorales", f"bach/{path.name}", title=_bach_title(path.stem))
        for path in sorted((corpus / "bach").glob("bwv*.mxl"))
        if path.stat().st_size < 12_000  # larger ones are concerto and cantata movements
    ]
    for folder, movements in _QUARTETS.items():
        composer, work = folder.split("/")
        for movement, key in movements.items():
            title = f"{_COMPOSERS[composer]}: quartet {work}, movement {movement}"
            name, path = f"quartets-{composer}-{work}-{movement}", f"{folder}/movement{movement}.mxl"
            books["quartets"].append(Score(name, "quartets", path, None, title, *_abc_key(key)))
    for path, (title, key) in _SALON.items():
        name = "salon-" + path.rsplit(".", 1)[0].replace("/", "-")
        books["salon"].append(Score(name, "salon", path, None, title, *_abc_key(key or "")))
    for name, files in _abc_files(corpus).items():
        books[name] = _tunes(name, files, corpus)
    return books


def notes(score, folder, corpus=None):
    """Notes of a score, parsed by music21 once and kept in `folder`.

    Parameters
    ----------
    score : Score
    folder : Path
        Where ``<score_id>.json`` is kept.
    corpus : Path, optional
        The corpus folder; the installed one by default.

    Returns
    -------
    dict
        ``notes``: list of [onset, duration (both in quarters), MIDI pitch, velocity, part]; ``quarters``: length;
        ``tonic`` (0..11), ``mode``, ``key_source`` (how they are known), ``meter``, ``beats_a_minute`` or None,
        ``title``; or ``rejected``: why the score cannot be used.

    Examples
    --------
    >>> notes(catalogue()["airds_airs"][0], "notes")["meter"]  # doctest: +SKIP
    '2/2'
    """
    kept = Path(folder) / f"{score.score_id}.json"
    stamp = f"{NOTES_VERSION}/music21 {importlib.metadata.version('music21')}"
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
        if content["version"] == stamp:
            return content
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        pass  # absent, damaged or of another version: parse it again
    content = {"version": stamp, "score_id": score.score_id, **_parse(score, Path(corpus or corpus_folder()))}
    with write_atomically(kept) as beside:
        beside.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return content


def _bach_title(stem):
    return "BWV " + stem.removeprefix("bwv")


def _abc_files(corpus):
    oneills = sorted((corpus / "oneills1850").glob("*.abc"))
    return {
        "airds_airs": sorted((corpus / "airdsAirs").glob("*.abc")),
        "ryans_mammoth": sorted((corpus / "ryansMammoth").glob("*.abc")),
        # O'Neill's numbers 1-625 are song airs, what follows are jigs, reels, hornpipes and marches
        "oneills_airs": [path for path in oneills if int(path.name[:4]) <= 600],
        "oneills_dances": [path for path in oneills if int(path.name[:4]) > 625],
        "northumbrian": [corpus / "miscFolk" / "northumbrianminstrelsyopus.abc"],
        "american_fife": [corpus / "miscFolk" / "americanfifeopus.abc"],
    }


def _tunes(collection, files, corpus):
    tunes, seen = [], set()
    for path in files:
        for text in _split_book(path.read_text(encoding="utf-8", errors="replace")):
            header = _abc_header(text)
            number = int(re.match(r"\s*(\d+)", header["X"])[1])
            one = number if collection != "ryans_mammoth" else path.stem  # there every file is X:1
            if one in seen or (collection == "american_fife" and number > 100):
                continue  # overlapping files repeat tunes; past 100 the fife book repeats itself in broken ABC
            seen.add(one)
            known = _abc_facts(header)
            if known is not None and not re.search(r"^V:", text, flags=re.MULTILINE):  # voices in turns come out wrong
                name = f"{collection}-{path.stem}" + ("" if one == path.stem else f"-{number:04d}")
                tunes.append(Score(name, collection, path.relative_to(corpus).as_posix(), number, **known))
    return tunes


def _split_book(text):
    """Texts of the tunes of an ABC book; a tune starts at its X field."""
    starts = [match.start() for match in re.finditer(r"^X:\s*\d+", text, flags=re.MULTILINE)]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _abc_header(text):
    fields = {}
    for line in text.splitlines():
        match = re.match(r"([A-Z]):(.*)", line)
        if match:
            fields.setdefault(match[1], match[2].split("%")[0].strip())
            if match[1] == "K":
                break
    return fields


def _abc_key(text):
    """Tonic and mode of an ABC key, or two Nones."""
    key = re.match(r"([A-G])([#b]?)\s*([A-Za-z]*)", text)
    mode = _ABC_MODES.get(key[3].lower()[:3]) if key else None
    if mode is None:
        return None, None
    return (_STEPS[key[1]] + {"#": 1, "b": -1, "": 0}[key[2]]) % 12, mode


def _abc_facts(header):
    """Title, key, mode, meter and tempo of a tune, or None where key or meter is not plainly notated."""
    tonic, mode = _abc_key(header.get("K", ""))
    meter = {"C": "4/4", "C|": "2/2"}.get(header.get("M", ""), header.get("M", ""))
    if mode is None or not re.fullmatch(r"\d+/\d+", meter):
        return None
    tempo = re.match(r"(\d+)/(\d+)\s*=\s*(\d+)", header.get("Q", ""))  # a bare Q:120 has no certain unit
    beats = None
    if tempo:
        beats = int(tempo[3]) * 4 * int(tempo[1]) / int(tempo[2]) / beat_in_quarters(meter)
    title = header.get("T", "").rstrip(". ") or f"no. {header['X']}"
    return {"title": title, "tonic": tonic, "mode": mode, "meter": meter, "beats_a_minute": beats}


def _parse(score, corpus):
    from music21 import converter

    try:
        if score.number is None:  # never through music21's own cache, which is a pickle
            stream = converter.parse(corpus / score.path, forceSource=True, storePickle=False)
        else:
            stream = converter.parseData(_tune_text(score, corpus), format="abc")
        events, quarters = _events(stream)
    except Exception as error:  # music21 raises many kinds; whatever it is, this score is left out
        return {"rejected": f"music21 could not read it ({type(error).__name__})"}
    if not MIN_NOTES <= len(events) <= MAX_NOTES or quarters < MIN_QUARTERS:
        return {"rejected": f"{len(events)} notes in {quarters:g} quarters: too short or too long"}
    facts = {
        "title": score.title,
        "meter": score.meter or _meter(stream),
        "beats_a_minute": score.beats_a_minute,
        "tonic": score.tonic,
        "mode": score.mode,
        "key_source": "known" if score.number is None else "notated",
    }
    if score.tonic is None:
        facts |= _key(stream, events)
    if score.number is None:
        facts["beats_a_minute"] = _beats_a_minute(stream, facts["meter"])
    return {**facts, "source": score.path, "quarters": quarters, "notes": events}


def _tune_text(score, corpus):
    text = (corpus / score.path).read_text(encoding="utf-8", errors="replace")
    for tune in _split_book(text):
        if int(re.match(r"X:\s*(\d+)", tune)[1]) == score.number:
            return tune
    raise ScoreError(f"Expected tune {score.number} in {score.path} of music21's corpus, found none.")


def _events(stream):
    """Notes of all pitched parts, ties merged, chords as notes, without grace notes and chord symbols."""
    from music21 import harmony, instrument, note

    events, quarters = [], 0.0
    for part_number, part in enumerate(stream.parts):
        if any(isinstance(one, instrument.UnpitchedPercussion) for one in part.getInstruments(recurse=True)):
            continue
        bars = {round(float(bar.offset), 4) for bar in part.getElementsByClass("Measure")}
        quarters = max(quarters, float(part.highestTime))
        for one in part.stripTies().flatten().notes:
            if isinstance(one, harmony.Harmony | note.Unpitched) or one.duration.isGrace or one.quarterLength == 0:
                continue
            onset, length = round(float(one.offset), 4), round(float(one.quarterLength), 4)
            velocity = 78 + (12 if onset in bars else 0) + (6 if part_number == 0 else 0)
            events += [[onset, length, pitch.midi, velocity, part_number] for pitch in one.pitches]
    return sorted(events), quarters


def _key(stream, events):
    """Key and mode of a score whose encoding cannot be trusted to say them.

    Many encodings call everything major. So the last bass note decides where it is a tonic of the notated signature
    (of major, minor, or minor with the signature of dorian, as Bach's time wrote it); else a notated 'minor'; else
    music21's Krumhansl-Schmuckler analysis, between the signature's two keys.
    """
    signature = next(iter(stream.recurse().getElementsByClass("KeySignature")), None)
    sharps = signature.sharps if signature else 0
    major = sharps * 7 % 12
    end = max(onset + length for onset, length, *_ in events)
    bass = min(pitch for onset, length, pitch, *_ in events if abs(onset + length - end) < 0.01) % 12
    modes = {major: "major", (major + 9) % 12: "minor", (major + 2) % 12: "minor"}
    if bass in modes:
        return {"tonic": bass, "mode": modes[bass], "key_source": "signature and last bass note"}
    if getattr(signature, "mode", None) == "minor":
        return {"tonic": (major + 9) % 12, "mode": "minor", "key_source": "notated"}
    best = stream.analyze("key.krumhansl")
    for key in [best, *best.alternateInterpretations]:
        if key.sharps == sharps:
            return {"tonic": key.tonic.pitchClass, "mode": key.mode, "key_source": "analysed"}
    return {"tonic": best.tonic.pitchClass, "mode": best.mode, "key_source": "analysed"}


def _meter(stream):
    first = next(iter(stream.recurse().getElementsByClass("TimeSignature")), None)
    return first.ratioString if first else "4/4"


def _beats_a_minute(stream, meter):
    for mark in stream.recurse().getElementsByClass("MetronomeMark"):
        quarters = mark.getQuarterBPM()
        if quarters:
            return float(quarters) / beat_in_quarters(meter)
    return None
