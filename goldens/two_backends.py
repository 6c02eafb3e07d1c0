"""Runs a golden script on Keras' TensorFlow and on its PyTorch backend and holds them together.

Input: a `compute(backend)` that gives tensors and metadata; output: TensorFlow's tensors, after
every one was compared with PyTorch's in float64. Each backend gets its own process.
Invariant: nothing is written when the two disagree.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from store import save_golden

TOLERANCE = 1e-12
FLOAT32_TOLERANCE = 1e-6


def use_float64(backend):
    """Keras on this backend, all in float64. Must come before the first `import keras`."""
    os.environ["KERAS_BACKEND"] = backend
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    from keras.src.backend.common import dtypes

    # Keras rounds float64 results to float32 on every backend but TensorFlow; not here.
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    core = keras.src.backend.core

    def exactly(convert):
        # TensorFlow would take a Python float to float32 first.
        return lambda x, *args, **kw: convert(np.array(x) if isinstance(x, float) else x, *args, **kw)

    core.cast = keras.src.backend.cast = exactly(core.cast)
    core.convert_to_tensor = keras.src.backend.convert_to_tensor = exactly(core.convert_to_tensor)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    keras.config.set_image_data_format("channels_last")
    return keras


def f32(values):
    """Rounded to float32, held in float64."""
    return np.asarray(values, np.float32).astype(np.float64)


def make(script, name, compute, from_torch=(), apart=()):
    """Key prefixes: `from_torch`: TensorFlow rounds to float32, so PyTorch's numbers are kept;
    `apart`: Keras' backends differ, TensorFlow's are kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", help="internal: compute on this backend only")
    parser.add_argument("--raw", help="internal: write here")
    args = parser.parse_args()
    if args.backend:
        tensors, metadata = compute(args.backend)
        metadata = {k: json.dumps(v) for k, v in metadata.items()}
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, args.raw, metadata)
        return

    with tempfile.TemporaryDirectory() as folder:
        files = {b: os.path.join(folder, b) for b in ("tensorflow", "torch")}
        for backend, path in files.items():
            subprocess.run([sys.executable, script, "--backend", backend, "--raw", path], check=True)
        result, other = load_file(files["tensorflow"]), load_file(files["torch"])
        with safe_open(files["tensorflow"], "np") as file:
            metadata = file.metadata()

    assert result.keys() == other.keys()
    worst, bad = 0.0, []
    for key in sorted(result):
        a, b = result[key], other[key]
        assert a.shape == b.shape, key
        difference = float(np.max(np.abs(a.astype(np.float64) - b) / (1 + np.abs(b)), initial=0.0))
        if key.startswith(tuple(apart)):
            continue
        tolerance = TOLERANCE
        if key.startswith(tuple(from_torch)):
            tolerance, result[key] = FLOAT32_TOLERANCE, b
        else:
            worst = max(worst, difference)
        if difference > tolerance:
            bad.append(f"{key}: {difference:.3g}")
    print(f"TensorFlow and PyTorch agree to {worst:.2g}")
    if bad:
        sys.exit("the backends disagree:\n" + "\n".join(bad))
    save_golden(name, result, metadata)
