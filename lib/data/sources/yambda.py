"""The data set ``yambda``: listens of the Yandex Music service, as published on the Hugging Face hub.

Flat files of listens: uid, item_id, timestamp (whole seconds from an undisclosed origin, in steps of 5), is_organic,
played_ratio_pct and track_length_seconds. The origin here is `ORIGIN`, chosen so that dates are dates: differences and
order are real, calendar dates are not. How a listen ended follows from the share that was played.
"""

import pyarrow as pa
import pyarrow.compute as pc

from lib.data import logs

LOG = "listens.parquet"
ORIGIN = 1_514_764_800  # 1 January 2018, UTC, in seconds since 1970
WHERE = "https://huggingface.co/datasets/yandex/yambda (flat/50m/listens.parquet, or a larger one)"
COLUMNS = {"user_id": "uid", "track_id": "item_id"}


def describe():
    """What the data set is, in a sentence or two."""
    return (
        "Yambda: up to 4.6 billion listens of a million users of Yandex Music to 9.4 million tracks, with played "
        "shares and ready-made audio embeddings. Real listening, no audio, anonymous ids."
    )


def licence():
    """Under which terms it stands."""
    return "Apache-2.0."


def cite():
    """What to cite."""
    return "A. Ploshkin et al., Yambda-5B: A Large-Scale Multi-modal Dataset for Ranking and Retrieval, RecSys 2025."


def validate(folder):
    """Say whether the listens are there; a sentence for what is not."""
    try:
        logs.published(folder, LOG, WHERE)
    except FileNotFoundError as error:
        return [str(error)]
    return []


def tracks():
    """None: the tracks are those of the log."""
    return None


def events(folder, log_file):
    """Stream the listens.

    Parameters
    ----------
    folder : str or Path
    log_file : str
        Its name; empty for ``listens.parquet``.

    Returns
    -------
    iterator of pyarrow.Table
        See `lib.data.logs.batches`; event is skip (played < min(50 %, 240 s)), complete (>= 90 %) or play.

    Raises
    ------
    FileNotFoundError
        Where it is not there; the sentence says where to get it.
    lib.data.logs.LogError
        Also for another of Yambda's files (likes, the sequential ones).
    """
    path = logs.published(folder, log_file or LOG, WHERE)
    derive = {"timestamp": _time, "played_seconds": _played, "event": _outcome}
    return logs.batches(path, columns=COLUMNS, derive=derive)


def _column(batch, name):
    """Numbers of a column, or the sentence that says which file is meant."""
    if name not in batch.column_names:
        found = "no such column"
    elif pa.types.is_nested(batch[name].type):
        found = "lists"
    elif batch[name].null_count:
        found = f"{batch[name].null_count} of {len(batch)} empty"
    else:
        return batch[name].cast(pa.float64())
    raise logs.LogError(f"Expected a number {name} in every row of Yambda's listens, found {found}: get {WHERE}.")


def _time(batch):
    seconds = pc.add(_column(batch, "timestamp").cast(pa.int64()), ORIGIN)
    return pc.multiply(seconds, 10**6).cast(logs.TIME)


def _played(batch):
    share = pc.divide(_column(batch, "played_ratio_pct"), 100.0)
    return pc.multiply(share, _column(batch, "track_length_seconds"))


def _outcome(batch):
    share = _column(batch, "played_ratio_pct")
    enough = pc.min_element_wise(pc.multiply(_column(batch, "track_length_seconds"), 0.5), 240.0)
    ended = pc.if_else(pc.greater_equal(share, 90.0), "complete", "play")
    return pc.if_else(pc.less(_played(batch), enough), "skip", ended)
