"""Convert the TensorFlow checkpoints inside the `musicnn` wheel to safetensors, without TensorFlow.

A TensorFlow checkpoint is two files. ``.index`` is a sorted-string table: blocks of key-value entries whose keys share
prefixes, found through an index block that the 48-byte footer points to; a value is a protobuf message with the
tensor's type, shape, offset and size. ``.data-00000-of-00001`` is the tensors' raw little-endian buffers. The format
is described in TensorFlow's ``tensor_bundle.proto`` and in LevelDB's ``table_format.md``.

Optimiser slots (Adam) and the tagger's output layer, which no embedding needs, are left out. Kernels are stored in
torch's order (out, in, time, frequency), dense weights as (out, in).
"""

import argparse
import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np

from lib.study.tables import write_atomically

WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
FOLDERS = {
    "musicnn_msd": "MSD_musicnn",
    "musicnn_mtt": "MTT_musicnn",
    "vgg_msd": "MSD_vgg",
    "vgg_mtt": "MTT_vgg",
}
_FOOTER_BYTES = 48
_TABLE_MAGIC = 0xDB4775248B80FB57
_FLOAT32 = 1

# Which numbered layer of the checkpoint is which layer here. TensorFlow numbers layers in the order of their creation.
_MUSICNN_CONVOLUTIONS = ("timbral38", "timbral67", "temporal128", "temporal64", "temporal32", "mid1", "mid2", "mid3")
_MUSICNN_NORMS = ("input", *_MUSICNN_CONVOLUTIONS, "pooled", "dense")
_VGG_CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
_VGG_NORMS = ("input", *_VGG_CONVOLUTIONS)


def read_checkpoint(index, data):
    """Read every float32 tensor of a TensorFlow checkpoint.

    Parameters
    ----------
    index : bytes
        Content of the ``.index`` file.
    data : bytes
        Content of the only ``.data`` file.

    Returns
    -------
    dict of str to numpy.ndarray
        Tensors by name, in TensorFlow's order of axes.

    Raises
    ------
    ValueError
        If the footer's magic number is not that of a sorted-string table.

    Examples
    --------
    >>> tensors = read_checkpoint(index_bytes, data_bytes)  # doctest: +SKIP
    >>> tensors["1CNN/kernel"].shape  # doctest: +SKIP
    (3, 3, 1, 128)
    """
    footer = index[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != _TABLE_MAGIC:
        raise ValueError(
            "Expected the index of a TensorFlow checkpoint, but its last 8 bytes are not the table's magic number; "
            "give the .index file as it is in the wheel."
        )
    position = 0
    handle = []
    for _ in range(4):  # two handles (metaindex, index), each an offset and a size
        value, position = _varint(footer, position)
        handle.append(value)
    tensors = {}
    for _, block in _entries(index, handle[2], handle[3]):
        offset, position = _varint(block, 0)
        size, _ = _varint(block, position)
        for name, message in _entries(index, offset, size):
            if name:  # the empty key holds the header
                tensor = _tensor(message, data)
                if tensor is not None:
                    tensors[name.decode()] = tensor
    return tensors


def convert_tensors(backend, tensors):
    """Name, select and transpose the tensors one network needs.

    Parameters
    ----------
    backend : str
        One of `FOLDERS`.
    tensors : dict of str to numpy.ndarray
        As `read_checkpoint` returns.

    Returns
    -------
    dict of str to numpy.ndarray
        ``<layer>.weight``, ``<layer>.bias`` of convolutions and the dense layer, and ``<layer>.gamma``, ``.beta``,
        ``.mean``, ``.variance`` of batch normalisations; float32.

    Examples
    --------
    >>> arrays = convert_tensors("vgg_msd", tensors)  # doctest: +SKIP
    >>> arrays["conv1.weight"].shape  # doctest: +SKIP
    (128, 1, 3, 3)
    """
    musicnn = backend.startswith("musicnn")
    convolutions = _MUSICNN_CONVOLUTIONS if musicnn else _VGG_CONVOLUTIONS
    names = ["conv2d" + (f"_{i}" if i else "") if musicnn else f"{i + 1}CNN" for i in range(len(convolutions))]
    arrays = {}
    for layer, name in zip(convolutions, names, strict=True):
        kernel = tensors[f"{name}/kernel"].transpose(3, 2, 0, 1)  # (time, frequency, in, out) -> torch's order
        if layer.startswith("mid"):  # the features stand on the frequency axis there: a convolution over time
            kernel = kernel[:, 0].transpose(0, 2, 1)
        arrays[f"{layer}.weight"] = kernel
        arrays[f"{layer}.bias"] = tensors[f"{name}/bias"]
    if musicnn:
        arrays["dense.weight"] = tensors["dense/kernel"].T
        arrays["dense.bias"] = tensors["dense/bias"]
    for i, layer in enumerate(_MUSICNN_NORMS if musicnn else _VGG_NORMS):
        name = "batch_normalization" + (f"_{i}" if i else "")
        for ours, theirs in (("mean", "moving_mean"), ("variance", "moving_variance")):
            arrays[f"{layer}.{ours}"] = tensors[f"{name}/{theirs}"]
        for key in ("gamma", "beta"):
            arrays[f"{layer}.{key}"] = tensors[f"{name}/{key}"]
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}


def convert_wheel(wheel, out):
    """Write one safetensors file for each network of the wheel.

    Parameters
    ----------
    wheel : path-like
        ``musicnn-0.1.0-py3-none-any.whl``; its SHA-256 is checked.
    out : path-like
        Folder to write to; it is made if it is missing.

    Returns
    -------
    list of pathlib.Path
        The files written, in the order of `FOLDERS`.

    Raises
    ------
    FileNotFoundError, ValueError
        If the wheel is missing, or is not the one whose checksum is known.

    Examples
    --------
    >>> convert_wheel("musicnn-0.1.0-py3-none-any.whl", "weights")  # doctest: +SKIP
    """
    from safetensors.numpy import save_file

    wheel, out = Path(wheel), Path(out)
    if not wheel.is_file():
        raise FileNotFoundError(f"Expected a wheel at {wheel}, found no file; `pip download --no-deps musicnn==0.1.0`.")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise ValueError(
            f"Expected the wheel musicnn 0.1.0 with SHA-256 {WHEEL_SHA256}, found {found} in {wheel.name}; "
            "download it again with `pip download --no-deps musicnn==0.1.0`."
        )
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with zipfile.ZipFile(wheel) as archive:
        for backend, folder in FOLDERS.items():
            index = archive.read(f"musicnn/{folder}/.index")
            data = archive.read(f"musicnn/{folder}/.data-00000-of-00001")
            arrays = convert_tensors(backend, read_checkpoint(index, data))
            target = out / f"{backend}.safetensors"
            with write_atomically(target) as temporary:
                # one entry of metadata: several would be written in an order that changes from run to run
                save_file(arrays, str(temporary), metadata={"source": f"musicnn 0.1.0 (ISC), {folder}"})
                temporary.chmod(0o644)  # safetensors writes for the owner alone
            written.append(target)
    return written


def main(arguments=None):
    """Command line: convert WHEEL into the safetensors files of `--out`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.backends.weights.convert",
        description="Convert the four networks in the wheel musicnn 0.1.0 to safetensors, without TensorFlow.",
        epilog="The wheel: pip download --no-deps musicnn==0.1.0 (ISC licence, see NOTICE.md).",
    )
    parser.add_argument("wheel", help="musicnn-0.1.0-py3-none-any.whl; its SHA-256 is checked")
    parser.add_argument("--out", required=True, help="folder the .safetensors files are written to")
    options = parser.parse_args(arguments)
    try:
        for path in convert_wheel(options.wheel, options.out):
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _varint(buffer, position):
    """Decode one base-128 varint; return (value, next position)."""
    value = shift = 0
    while True:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _entries(table, offset, size):
    """Yield (key, value) of one uncompressed block; keys are stored as what differs from the key before."""
    block = table[offset : offset + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        yield key, block[position : position + length]
        position += length


def _fields(message):
    """Yield (field number, value) of a protobuf message: int for numbers, bytes for what is nested."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(message, position)
        elif kind == 2:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        else:  # 1: eight bytes, 5: four bytes (the checksum)
            width = 8 if kind == 1 else 4
            value, position = message[position : position + width], position + width
        yield tag >> 3, value


def _tensor(message, data):
    """Cut the tensor that a BundleEntry describes out of the data; None where it is not float32."""
    kind, shape, offset, size = 0, [], 0, 0
    for field, value in _fields(message):
        if field == 1:
            kind = value
        elif field == 2:
            shape = [dict(_fields(axis)).get(1, 0) for number, axis in _fields(value) if number == 2]
        elif field == 4:
            offset = value
        elif field == 5:
            size = value
    if kind != _FLOAT32:
        return None
    return np.frombuffer(data, dtype="<f4", count=size // 4, offset=offset).reshape(shape)


if __name__ == "__main__":
    sys.exit(main())
