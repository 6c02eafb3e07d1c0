"""Writes a golden file: the same tensors and metadata always give the same bytes.

Input: name -> array, key -> string; output: a safetensors file. The library writes the
metadata in hash order, so the header is written again with the keys sorted.
"""

import json
import os
import struct

import numpy as np
from safetensors.numpy import save

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = ("float32", "float64", "int32", "uint8")


def save_golden(name, tensors, metadata):
    tensors = {k: np.ascontiguousarray(v) for k, v in tensors.items()}
    for key, value in tensors.items():
        assert str(value.dtype) in DTYPES, (key, value.dtype)
        if value.dtype.kind == "f":
            assert np.isfinite(value).all(), f"{key} is not finite"
    content = save(tensors, metadata)
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = os.path.join(HERE, name)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + content[8 + size :])
    print(f"{name}: {len(tensors)} tensors, {os.path.getsize(path) / 1024:.0f} KiB")
