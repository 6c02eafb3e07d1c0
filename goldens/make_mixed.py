"""Golden numbers of Keras' mixed precision: a small CNN in both policies, and the loss scale's course.

Output: mixed.safetensors beside this file (naming: README.md). Keras on PyTorch, on the CPU; what it computes in 16
bits depends on the order of sums, so the numbers are held to the tolerance of the type.
"""

import json
import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras import layers
from store import save_golden

POLICIES = ("mixed_bfloat16", "mixed_float16")
# Steps of the loss scale, and those whose gradient is not finite.
STEPS, BAD = 2060, (2, 3, 40, 2050)


def network(policy):
    """Convolution, batch normalisation, residual join, poolings, a softmax in f32 as Keras advises."""
    x = inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", dtype=policy, name="a")(x)
    y = layers.Conv2D(8, 3, padding="same", use_bias=False, dtype=policy, name="b")(x)
    y = layers.BatchNormalization(dtype=policy, name="n")(y)
    x = layers.ReLU(dtype=policy, name="r")(layers.Add(dtype=policy, name="s")([x, y]))
    x = layers.MaxPooling2D(2, dtype=policy, name="p")(x)
    x = layers.GlobalAveragePooling2D(dtype=policy, name="g")(x)
    x = layers.Dense(5, dtype=policy, name="d")(x)
    x = layers.Activation("softmax", dtype="float32", name="o")(x)
    return keras.Model(inputs, x)


def cnn(tensors):
    rng = np.random.default_rng(11)
    images = rng.random((6, 8, 8, 3), np.float32)
    tensors["images"] = images
    values = None
    for policy in ("float32", *POLICIES):
        model = network(policy)
        if values is None:
            values = [rng.normal(0, 0.3, v.shape).astype(np.float32) for v in model.variables]
            values = [np.abs(v) + 0.5 if "moving_variance" in m.path else v for v, m in zip(values, model.variables)]
            tensors.update({f"weight/{m.path}": v for v, m in zip(values, model.variables)})
        model.set_weights(values)
        tensors[f"{policy}/out"] = keras.ops.convert_to_numpy(model(images)).astype(np.float32)


def loss_scale(tensors):
    weight = keras.Variable(np.float32(1.0))
    inner = keras.optimizers.Adam(0.01)
    optimizer = keras.optimizers.LossScaleOptimizer(inner)
    optimizer.build([weight])
    rng = np.random.default_rng(3)
    scales, weights, counts, grads = [], [], [], []
    for step in range(STEPS):
        scale = float(optimizer.dynamic_scale.value)
        grad = np.float32(rng.normal()) if step not in BAD else np.float32(0.5)
        grads.append(grad)
        scaled = np.float32(np.inf) if step in BAD else np.float32(grad * scale)
        optimizer.apply([keras.ops.convert_to_tensor(scaled)], [weight])
        scales.append(float(optimizer.dynamic_scale.value))
        weights.append(float(weight.value))
        counts.append(int(inner.iterations.value))
    tensors["scale/grads"] = np.array(grads, np.float32)
    tensors["scale/scales"] = np.array(scales, np.float32)
    tensors["scale/weights"] = np.array(weights, np.float32)
    tensors["scale/counted"] = np.array(counts, np.int32)


if __name__ == "__main__":
    tensors = {}
    cnn(tensors)
    loss_scale(tensors)
    save_golden("mixed.safetensors", tensors, {"bad": json.dumps(BAD), "keras": keras.__version__})
