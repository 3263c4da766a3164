"""What a backend's own module says of it: `Entry`, the entry of an untrained twin, and words that entries share."""

from dataclasses import dataclass, replace

OVERLAPS = ("none", "unlikely", "possible", "likely", "unknown")
NOTHING_LEARNED = "none: nothing was learned from any recording"
RANDOM = "none: random weights"
CALIBRATED = "none: random weights, batch-norm statistics of train clips"
FREE = "any use, commercial too, if the licence's notice goes along"
NOT_FOR_MONEY = "research and other non-commercial use, if the authors are named"
MEAN = "mean over time"
LEVEL_REMOVED = "It does not hear level: a clip is brought to mean 0 and deviation 1 first, as published."
MILLION_SONGS = (  # overlap of the Million Song Dataset, with and without its tags
    "likely: the Million Song Dataset holds a million commercial songs, so popular tracks of Music4All will be among "
    "them; how many is not known, as no published list joins the two. "
)
UNLISTED = (
    "unknown: the recordings are not listed; commercial tracks of Music4All may be among them, but neither tags nor "
    "listeners were targets"
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a backend before its module makes it: how it is called and drawn, and what its card says.

    Attributes
    ----------
    dim : int
        Numbers in a vector.
    sample_rate : int
        Rate of the waveforms it reads, in Hz.
    licence, citation, training : str
        One line each: of the weights, of the publication, of what the network was trained on.
    label : str
        Name in tables and figures; empty: the id.
    colour : str
        Fixed colour in figures, as matplotlib takes it; empty: grey. A twin is drawn as the trained network, hollow.
    marker : str or tuple
        Fixed marker in figures, as matplotlib takes it, or `lying` or `standing` for a bar.
    paper_names : tuple of str
        Names of this checkpoint in the two papers, their code and the published tables (arXiv 2409.08987, 2604.23077).
    overlap : str
        Whether it may have been trained on tracks of Music4All, or on what their listeners said of them: a word of
        `OVERLAPS`, a colon, why. From the publications that `citation` names, no list of recordings compared.
    untrained : str or None
        Id of the twin with random weights.
    hub, revision : str or None
        Repository on the Hugging Face hub and the commit that is read; None where nothing is fetched, and `revision`
        None also where no commit is pinned: the newest is read, and the weights' digest says which it was.
    files : tuple of str
        Names of the published files that are read.
    parameters : float or None
        Numbers in the network, in millions.
    megabytes : int or None
        Size of the files on disk.
    frame_rate : float or None
        Hidden states per second, where a layer and a pooling can be chosen.
    architecture, layer, pooling : str
        One line each: the network, and what is read out of it where nothing else is asked for.
    use : str
        What the licence of the weights allows, in plain words.
    where : str
        Where the weights are if not on a hub.
    traps : tuple of str
        Sentences: what goes wrong easily, or went wrong in published code.
    packages : tuple of str
        Optional packages that it needs, as they are imported (requirements-extra.txt).
    cpu_seconds : float
        Seconds of one core per clip of 30 s, without decoding (benchmarks/backends.md).
    adapter : str
        Module in `lib.backends.networks` that declared it; filled in when it is found.
    """

    dim: int
    sample_rate: int
    licence: str
    citation: str
    training: str
    label: str = ""
    colour: str = ""
    marker: str | tuple = ""
    paper_names: tuple[str, ...] = ()
    overlap: str = NOTHING_LEARNED
    untrained: str | None = None
    hub: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    parameters: float | None = None
    megabytes: int | None = None
    frame_rate: float | None = None
    architecture: str = ""
    layer: str = ""
    pooling: str = ""
    use: str = ""
    where: str = ""
    traps: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    adapter: str = ""


def untrained_twin(trained, label, training, *, packages=()):
    """Return the entry of a network of random weights; the card of the trained one says what they share.

    Parameters
    ----------
    trained : Entry
    label, training : str
        As in `Entry`; `training` is `RANDOM` or `CALIBRATED`.
    packages : tuple of str
        Optional packages that the network itself needs.

    Returns
    -------
    Entry
    """
    nothing = {"untrained": None, "hub": None, "revision": None, "files": (), "megabytes": None, "where": ""}
    nothing |= {"traps": (), "paper_names": (), "colour": "", "marker": "", "overlap": NOTHING_LEARNED}
    said = {"label": label, "training": training, "packages": packages}
    return replace(trained, licence="none needed: no trained weights", use="any use", **said, **nothing)
