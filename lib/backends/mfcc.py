"""MFCC: what timbre sounds like without any network; the baseline of 1980."""

import numpy as np

from lib.backends import Backend

N_MFCC = 20
_HOP = 512
_DELTA_FRAMES = 9  # librosa's width of a delta


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
