"""MFCC: what timbre sounds like without any network; the baseline of 1980."""

import numpy as np

from lib.backends.backend import Backend
from lib.backends.entries import Entry

N_MFCC = 20
_HOP = 512
_DELTA_FRAMES = 9  # librosa's width of a delta


ENTRIES = {
    "mfcc": Entry(
        label="MFCC",
        colour="#7a7a7a",
        marker="o",
        paper_names=("mfcc", "MFCC"),
        dim=60,
        sample_rate=22050,
        licence="none needed: computed by librosa (ISC)",
        use="any use",
        citation="S. Davis and P. Mermelstein, 'Comparison of parametric representations for monosyllabic word "
        "recognition', IEEE TASSP 28(4), 1980; B. McFee et al., 'librosa', SciPy 2015",
        training="none: a formula",
        architecture="20 mel-frequency cepstral coefficients a frame and their deltas; no network",
        layer="the coefficients",
        pooling="mean and standard deviation over time, and the standard deviation of the deltas",
        where="nowhere: computed",
        traps=(
            "The level is heard: the first coefficient follows it.",
            "Published MFCC vectors have 40 to 104 numbers, by their choice of coefficients; these have 60.",
        ),
        cpu_seconds=0.01,
    )
}


class MFCC(Backend):
    """Means and spreads of 20 cepstral coefficients and spread of their deltas: 60 numbers.

    The mean of the deltas is left out: it is the last frame less the first, divided by the length.
    """

    name = "mfcc"
    checkpoint = f"librosa, {N_MFCC} coefficients"
    revision = ""
    layer = "mfcc"
    pooling = "mean, standard deviation, standard deviation of deltas over time; shorter clips than 9 frames looped"

    def _embed_features(self, features):
        return np.stack([self._clip(waveform) for waveform in features])

    def _clip(self, waveform):
        import librosa

        needed = (_DELTA_FRAMES - 1) * _HOP
        if len(waveform) < needed:
            waveform = np.resize(waveform, needed)
        coefficients = librosa.feature.mfcc(y=waveform, sr=self.sample_rate, n_mfcc=N_MFCC, hop_length=_HOP)
        deltas = librosa.feature.delta(coefficients, width=_DELTA_FRAMES)
        return np.concatenate([coefficients.mean(axis=1), coefficients.std(axis=1), deltas.std(axis=1)])


def create(name):
    """Make the MFCC backend; `name` is its id and there are no options."""
    return MFCC()
