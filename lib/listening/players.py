"""Players: the sound of tracks as a browser plays it, with nothing to fetch.

Sound travels as MP3, mono, whatever the file is: every browser plays it, and a clip of 30 s is a quarter of a megabyte.
As FLAC it would be a megabyte in every executed copy that has a player.
"""

import base64
import functools
import html
import io

from lib.data import audio
from lib.study import resolve

__all__ = ["players"]


MIME = "audio/mpeg"
SAMPLE_RATE = 44100  # Hz
_QUALITY = 0.5  # of LAME's variable bit rate, 0 the best to 1 the smallest
_KEPT = 64  # clips, a quarter of a megabyte each


class NoSoundError(ValueError):
    """A track cannot be played; the sentence says why."""


def sound(path):
    """A file's sound as MP3.

    Parameters
    ----------
    path : str
        As in the column ``path`` of a study's tracks; relative ones count from the repository's root.

    Returns
    -------
    bytes
        Mono, 44,100 Hz, variable bit rate.

    Raises
    ------
    NoSoundError
        Where the track has no audio, its file is gone, or its file cannot be decoded.

    Examples
    --------
    >>> len(sound("runs/cache/scores/audio/00331ee64726d1bc.flac")) > 10_000  # doctest: +SKIP
    True
    """
    if not path:
        raise NoSoundError("This track has no audio: the study has none, or none of this track.")
    file = resolve(path)
    if not file.is_file():
        raise NoSoundError(
            f"Expected this track's clip as {file.name}, found no such file: run 10_prepare_data, which makes it again."
        )
    try:
        return _encoded(str(file), file.stat().st_mtime_ns)
    except audio.AudioError as error:
        raise NoSoundError(str(error).replace(str(file), file.name)) from None


def players(tracks, ids, captions=None):
    """A player for each of some tracks, its sound inside, or a sentence where there is none.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id`` (a column, or the index), ``title, path``.
    ids : sequence of str
        Which tracks, in the order of the players.
    captions : sequence of str, optional
        What stands beside each; the titles by default.

    Returns
    -------
    IPython.display.HTML
    """
    from IPython.display import HTML

    tracks = tracks.set_index("track_id") if "track_id" in tracks else tracks
    captions = [tracks.at[track, "title"] or track for track in ids] if captions is None else captions
    if not any(tracks.loc[list(ids), "path"]):
        return HTML("<em>Nothing to hear: none of these tracks has audio in this study.</em>")
    rows = [_player(tracks.at[track, "path"], text) for track, text in zip(ids, captions, strict=True)]
    return HTML(f'<div class="workbook-players">{"".join(rows)}</div>')


def _player(path, caption):
    text = html.escape(str(caption))
    style = "display:flex;align-items:center;gap:1em;margin:.3em 0"
    try:
        data = base64.b64encode(sound(path)).decode()
        heard = (
            f'<audio controls preload="metadata" style="height:2.2em;flex:none;width:20em" aria-label="{text}" '
            f'src="data:{MIME};base64,{data}"></audio>'
        )
    except NoSoundError as error:
        heard = f"<em>{html.escape(str(error))}</em>"
    return f'<div class="workbook-player" style="{style}">{heard}<span>{text}</span></div>'


@functools.lru_cache(_KEPT)
def _encoded(file, changed):
    """MP3 of a file; `changed`, its time of change, makes a new version a new entry."""
    import soundfile

    memory = io.BytesIO()
    soundfile.write(
        memory,
        audio.load(file, SAMPLE_RATE),
        SAMPLE_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=_QUALITY,
    )
    return memory.getvalue()
