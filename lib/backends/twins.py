"""Normalisation statistics of the untrained twins: from which train clips they come, and how they are set.

A network of random weights whose batch normalisations still have their neutral statistics is worse than untrained: its
channels are far from unit scale. So a twin gets the statistics of train clips. This is the one place for what all such
twins share; `lib.backends.architectures.musicnn` alone sets them itself, patch by patch, for its layers normalise after
the ReLU and its maps are too large to hold.
"""

import hashlib

import numpy as np


def require(name, clips):
    """Refuse to make a twin without clips.

    Parameters
    ----------
    name : str
        Id of the twin.
    clips : list of numpy.ndarray or None
        What `create` was given.

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    >>> require("vgg_untrained", [np.zeros(16000)])
    """
    if clips is None or not len(clips):
        raise ValueError(
            f"Expected calibration clips for {name}, found none: its batch normalisations need the statistics of train "
            f'clips; call create("{name}", calibration=[waveforms of train clips], seed=0).'
        )


def refuse(name, clips):
    """Refuse clips for a trained network, whose statistics are its own.

    Parameters
    ----------
    name : str
        Id of the backend.
    clips : list of numpy.ndarray or None
        What `create` was given.

    Raises
    ------
    ValueError
        If there are any.

    Examples
    --------
    >>> refuse("vgg_msd", None)
    """
    if clips is not None:
        raise ValueError(f"Expected no calibration clips for {name}, which is trained; leave `calibration` out.")


def evenly(count, most):
    """Choose at most `most` of `count` things, evenly spaced, the first and the last among them.

    Parameters
    ----------
    count, most : int
        At least 1.

    Returns
    -------
    numpy.ndarray
        int64 indices, shape (min(count, most),), ascending.

    Examples
    --------
    >>> evenly(50, 8).tolist()
    [0, 7, 14, 21, 28, 35, 42, 49]
    """
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def calibrate(network, run):
    """Set the statistics of every batch normalisation to those of its input, front to back in one pass.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; its `BatchNorm1d` and `BatchNorm2d` are changed in place.
    run : callable
        Takes nothing; sends the calibration clips through the network once.

    Examples
    --------
    >>> calibrate(network, lambda: network(clips))  # doctest: +SKIP
    """
    import torch

    def measure(norm, inputs):
        by_channel = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(by_channel.mean(1))
        norm.running_var.copy_(by_channel.var(1, correction=0))

    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
    norms = [part for part in network.modules() if isinstance(part, kinds)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        with torch.inference_mode():
            run()
    finally:
        for hook in hooks:
            hook.remove()


def identity(clips, what, draw, seed):
    """What identifies a twin, for its fingerprint: the draw of its weights and its calibration clips.

    Parameters
    ----------
    clips : torch.Tensor
        As they set the statistics, shape (count, ...).
    what : str
        What one of them is, in the plural.
    draw : str
        How the weights are drawn.
    seed : int
        Which draw.

    Returns
    -------
    dict of {str: str}
        `checkpoint` and `revision` of the backend.

    Examples
    --------
    >>> identity(torch.zeros(2, 5), "windows", "Glorot uniform", 0)["checkpoint"]  # doctest: +SKIP
    'random weights (Glorot uniform, seed 0)'
    """
    found = hashlib.sha256(clips.numpy().tobytes()).hexdigest()[:12]
    return {
        "checkpoint": f"random weights ({draw}, seed {seed})",
        "revision": f"calibrated on {len(clips)} {what}, sha256 {found}",
    }
