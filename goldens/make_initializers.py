"""What Keras' initializers ask of their random generator, for kernels of many shapes.

Output: initializers.json beside this file. The numbers are taken down where Keras calls its
generator, not derived from formulas, and then a real sample is held against them.
Invariant: only rules (limits, mean, stddev) are kept; samples are nobody's contract.
"""

import json
import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras.src.initializers import random_initializers

from store import HERE

NAMES = [
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal",
    "random_normal", "random_uniform", "truncated_normal", "zeros", "ones",
]
SHAPES = [
    ("dense kernel", [2304, 64]), ("dense kernel", [64, 10]), ("dense kernel", [7, 1]),
    ("conv kernel", [3, 3, 3, 32]), ("conv kernel", [3, 3, 32, 64]), ("conv kernel", [1, 1, 16, 5]),
    ("conv kernel", [5, 5, 7, 3]), ("conv kernel", [3, 1, 4, 6]), ("conv kernel", [7, 7, 3, 64]),
    ("conv kernel, groups 2 of 4 channels", [3, 3, 2, 6]), ("conv kernel, groups 8 of 32 channels", [3, 3, 4, 64]),
    ("depthwise kernel", [3, 3, 32, 1]), ("depthwise kernel, multiplier 2", [3, 3, 5, 2]),
    ("depthwise kernel", [5, 5, 96, 1]), ("bias", [10]),
]
LAYERS = {
    "Dense": {"units": 1}, "Conv2D": {"filters": 1, "kernel_size": 1}, "DepthwiseConv2D": {"kernel_size": 1},
    "BatchNormalization": {},
}


class Recorder:
    """Stands where Keras' random module stands and takes down the last call."""

    def __init__(self, real):
        self.real, self.call = real, None

    def __getattr__(self, name):
        if name not in ("uniform", "normal", "truncated_normal"):
            return getattr(self.real, name)

        def record(shape, **arguments):
            self.call = (name, arguments)
            return getattr(self.real, name)(shape, **arguments)

        return record


def rule(recorder, name, shape):
    recorder.call = None
    initializer = keras.initializers.get(name)
    values = np.asarray(initializer(tuple(shape)))
    if recorder.call is None:
        assert (values == values.flat[0]).all()
        return {"distribution": "constant", "value": float(values.flat[0])}
    distribution, given = recorder.call
    # Held against a real sample of the same rule, large enough for 1%.
    sample = np.asarray(getattr(recorder.real, distribution)((200_000,), **{**given, "seed": 1}))
    if distribution == "uniform":
        low, high = float(given["minval"]), float(given["maxval"])
        assert low <= sample.min() and sample.max() <= high and values.min() >= low and values.max() <= high
        assert abs(sample.std() / ((high - low) / 12**0.5) - 1) < 0.01
        return {"distribution": "uniform", "low": low, "high": high}
    mean, stddev = float(given["mean"]), float(given["stddev"])
    if distribution == "normal":
        assert abs(sample.std() / stddev - 1) < 0.01
        return {"distribution": "normal", "mean": mean, "stddev": stddev}
    assert distribution == "truncated_normal"
    effective = 0.87962566103423978 * stddev
    assert abs(sample.std() / effective - 1) < 0.01 and np.abs(sample - mean).max() <= 2 * stddev * (1 + 1e-6)
    return {
        "distribution": "truncated_normal", "mean": mean, "stddev": stddev,
        "low": mean - 2 * stddev, "high": mean + 2 * stddev, "stddev_after_cut": effective,
    }


def main():
    recorder = Recorder(random_initializers.random)
    random_initializers.random = recorder
    cases = []
    for kind, shape in SHAPES:
        fan_in, fan_out = random_initializers.compute_fans(tuple(shape))
        for name in NAMES:
            cases.append({
                "initializer": name, "kind": kind, "shape": shape, "fan_in": fan_in, "fan_out": fan_out,
                **rule(recorder, name, shape),
            })
    defaults = {}
    for layer, config in LAYERS.items():
        given = getattr(keras.layers, layer)(**config).get_config()
        defaults[layer] = {
            key: value["class_name"] for key, value in sorted(given.items()) if key.endswith("_initializer") and value
        }
    result = {
        "about": "truncated_normal draws from N(mean, stddev) and again until within two stddev of the mean",
        "keras": keras.__version__,
        "layer_defaults": defaults,
        "cases": cases,
    }
    path = os.path.join(HERE, "initializers.json")
    with open(path, "w") as file:
        rows = ",\n".join("  " + json.dumps(c) for c in cases)
        head = json.dumps({k: v for k, v in result.items() if k != "cases"}, indent=1)
        file.write(head[:-2] + ',\n "cases": [\n' + rows + "\n ]\n}\n")
    assert json.load(open(path)) == result
    print(f"initializers.json: {len(cases)} cases, {os.path.getsize(path) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
