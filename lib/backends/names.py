"""Names of backends: how figures and tables call each id, and which id a name in the papers means."""

LABELS = {
    "mfcc": "MFCC",
    "musicnn_msd": "MusiCNN (MSD)",
    "musicnn_mtt": "MusiCNN (MTT)",
    "vgg_msd": "VGG (MSD)",
    "vgg_mtt": "VGG (MTT)",
    "musicnn_untrained": "MusiCNN (untrained)",
    "vgg_untrained": "VGG (untrained)",
    "mert_95m": "MERT 95M",
    "mert_330m": "MERT 330M",
    "music2vec": "Music2Vec",
    "musicfm": "MusicFM",
    "encodecmae": "EncodecMAE",
    "jukebox": "Jukebox",
    "mule": "MULE",
    "muq": "MuQ",
    "muq_mulan": "MuQ-MuLan",
}

# Left: as the two papers, their code and the published tables spell it (arXiv 2409.08987 and 2604.23077). Their MERT is
# the 330M checkpoint and their MusiCNN is MSD_musicnn, as their extraction scripts say.
PAPER_NAMES = {
    "mfcc": "mfcc",
    "MFCC": "mfcc",
    "musicnn": "musicnn_msd",
    "MusiCNN": "musicnn_msd",
    "mert": "mert_330m",
    "MERT": "mert_330m",
    "music2vec": "music2vec",
    "Music2Vec": "music2vec",
    "musicfm": "musicfm",
    "MusicFM": "musicfm",
    "encodecmae": "encodecmae",
    "EncodecMAE": "encodecmae",
    "jukemir": "jukebox",
    "Jukebox": "jukebox",
    "mule": "mule",
    "MULE": "mule",
    "muq_msd": "muq",
    "MuQ": "muq",
    "muq_mulan": "muq_mulan",
    "MuQ-MuLan": "muq_mulan",
}
