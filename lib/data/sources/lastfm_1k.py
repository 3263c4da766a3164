"""The data set ``lastfm_1k``: the listening of 992 Last.fm users, 2005 to 2009, as O. Celma published it.

One file, ``userid-timestamp-artid-artname-traid-traname.tsv``: six TAB-separated columns without header, times in UTC.
A track without a MusicBrainz id is known by artist and title (joined by ' - '): a third of them have none.
"""

import pyarrow as pa
import pyarrow.compute as pc

from lib.data import logs

LOG = "userid-timestamp-artid-artname-traid-traname.tsv"
NAMES = ("user_id", "timestamp", "artist_id", "artist", "track_id", "title")
WHERE = "http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html (lastfm-dataset-1K.tar.gz)"


def describe():
    """What the data set is, in a sentence or two."""
    return "Last.fm 1K: 19,150,868 listens of 992 users, 2005 to 2009, with artist and title. Real listening, no audio."


def licence():
    """Under which terms it stands."""
    return "Non-commercial use, by the licence file that comes with it (Last.fm's data, distributed with permission)."


def cite():
    """What to cite."""
    return "O. Celma, Music Recommendation and Discovery in the Long Tail, Springer 2010."


def validate(folder):
    """Say whether the log is there; a sentence for what is not."""
    try:
        logs.published(folder, LOG, WHERE)
    except FileNotFoundError as error:
        return [str(error)]
    return []


def tracks():
    """None: the tracks are those of the log."""
    return None


def events(folder, log_file):
    """Stream the listening log.

    Parameters
    ----------
    folder : str or Path
    log_file : str
        Its name; empty for the published one.

    Yields
    ------
    pyarrow.Table
        See `lib.data.logs.batches`.

    Raises
    ------
    FileNotFoundError
        Where it is not there; the sentence says where to get it.
    """
    return logs.batches(logs.published(folder, log_file or LOG, WHERE), names=NAMES, derive={"track_id": _known_as})


def _known_as(batch):
    """MusicBrainz id of a track, or artist and title where it has none."""
    named = pc.binary_join_element_wise(batch["artist"], batch["title"], " - ")
    return pc.if_else(pc.equal(batch["track_id"], ""), named, batch["track_id"]).cast(pa.string())
