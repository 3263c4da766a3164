"""Clips rendered from scores that come with music21: the audio of studies `toy` and `demo`."""
