"""Networks in torch and what they share: imported when a backend is made, never when backends are listed.

`frames` is the base of networks that give hidden states over time, `waveform` that of HuBERT and data2vec, `conformer`
the network of MusicFM and MuQ; each other module is named as the module of `lib.backends.networks` that it serves.
"""
