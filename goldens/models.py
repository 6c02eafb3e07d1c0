"""A model given as data, built and trained in real Keras and in plain PyTorch, float32 and float64.

Input: a layer list (the `model` metadata of the golden file), initial weights, images, labels.
Output per framework and precision: first-batch gradients, predictions, the loss of every step,
final weights. Invariant: weights are named `<layer>/<weight>` and laid out as in Keras everywhere.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

from store import HERE, save_golden

BATCH, BATCHES, STEPS = 32, 10, 100
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7
# At the default rate float32 runs drift apart from float64 within tens of steps, Keras' own too (Adam divides tiny
# gradients by their size). At this rate they stay together for all steps: what differs then is a fault.
CALM_RATE = 2e-5
BN_EPSILON, BN_MOMENTUM = 1e-3, 0.99
RUNS = [(f, b) for f in ("keras", "torch") for b in (64, 32)]


def layer(class_name, name, inbound, **config):
    return {"class_name": class_name, "name": name, "inbound": [inbound] if isinstance(inbound, str) else inbound, "config": config}


def cifar_images():
    sys.path.insert(0, os.path.join(HERE, "../bench/peers"))
    import cifar

    images, labels = cifar.load()
    return images[: BATCH * BATCHES], labels[: BATCH * BATCHES]


def batch(data, index, dtype):
    """Scaled in the precision of the run: x / 255."""
    rows = slice(index * BATCH, (index + 1) * BATCH)
    return data["images"][rows].astype(dtype) / np.array(255, dtype), data["labels"][rows]


# ---- Keras ----


def keras_model(description):
    import keras

    tensors = {}
    for item in description:
        config = {k: tuple(v) if isinstance(v, list) else v for k, v in item["config"].items()}
        made = getattr(keras.layers, item["class_name"])(name=item["name"], **config) if item["inbound"] else None
        inputs = [tensors[name] for name in item["inbound"]]
        if made is None:
            tensors[item["name"]] = first = keras.Input(config["shape"], name=item["name"])
        else:
            tensors[item["name"]] = made(inputs if len(inputs) > 1 else inputs[0])
    return keras.Model(first, tensors[description[-1]["name"]])


def keras_weights(model):
    return {f"{part.name}/{v.name}": v for part in model.layers for v in part.weights}


def initial_weights(description, seed):
    """Keras' own initial weights; run in a process of its own (see main)."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    keras.utils.set_random_seed(seed)
    model = keras_model(description)
    return {k: np.array(v) for k, v in keras_weights(model).items()}


def run_keras(description, data, bits):
    if bits == 64:
        from two_backends import use_float64

        keras = use_float64("tensorflow")
    else:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    dtype = np.dtype(f"float{bits}")
    model = keras_model(description)
    named = keras_weights(model)
    for k, v in named.items():
        assert v.dtype == dtype.name
        v.assign(data[k].astype(dtype))
    trainable = {k: v for k, v in named.items() if v.trainable}
    loss_of = keras.losses.SparseCategoricalCrossentropy()
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    optimizer.build(list(trainable.values()))
    out = {}

    x, y = batch(data, 0, dtype)
    out["predictions"] = model(x, training=False).numpy()

    def loss_and_gradients(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        return loss, tape.gradient(loss, [v.value for v in trainable.values()])

    @tf.function
    def step(x, y):
        loss, gradients = loss_and_gradients(x, y)
        optimizer.apply(gradients, list(trainable.values()))
        return loss

    moving = {k: np.array(v) for k, v in named.items() if not v.trainable}
    for k, g in zip(trainable, loss_and_gradients(x, y)[1]):
        out[f"grad/{k}"] = g.numpy()
    for k, v in moving.items():
        named[k].assign(v)

    losses = []
    for i in range(STEPS):
        losses.append(step(*batch(data, i % BATCHES, dtype)).numpy())
    assert losses[0].dtype == dtype
    out["loss"] = np.array(losses)
    for k, v in named.items():
        out[f"final/{k}"] = v.numpy()
    out["final/predictions"] = model(x, training=False).numpy()

    for k, v in named.items():
        v.assign(data[k].astype(dtype))
    for v in optimizer.variables:
        v.assign(np.zeros(v.shape, v.dtype))
    optimizer.learning_rate = CALM_RATE
    out["calm_loss"] = np.array([step(*batch(data, i % BATCHES, dtype)).numpy() for i in range(STEPS)])
    assert out["calm_loss"][0] == losses[0]
    return out


# ---- PyTorch ----


def torch_forward(description, weights, x, training):
    """Logits of a batch [n, h, w, c]; batch normalisation updates its statistics in training."""
    import torch
    import torch.nn.functional as F

    tensors = {}
    for item in description:
        name, config, kind = item["name"], item["config"], item["class_name"]
        inputs = [tensors[i] for i in item["inbound"]]

        def w(weight):
            return weights.get(f"{name}/{weight}")

        def pair(key, default):
            value = config.get(key, default)
            return value if isinstance(value, list) else [value, value]

        if kind == "InputLayer":
            y = x.permute(0, 3, 1, 2)
        elif kind == "Conv2D":
            y, kernel, strides = inputs[0], w("kernel").permute(3, 2, 0, 1), pair("strides", 1)
            if config.get("padding") == "same":
                pads = []
                for size, k, s in zip(y.shape[2:], kernel.shape[2:], strides):
                    total = max((-(-size // s) - 1) * s + k - size, 0)
                    pads = [total // 2, total - total // 2] + pads
                y = F.pad(y, pads)
            y = F.conv2d(y, kernel, w("bias"), strides)
        elif kind == "BatchNormalization":
            y = F.batch_norm(
                inputs[0], w("moving_mean"), w("moving_variance"), w("gamma"), w("beta"), training,
                1 - BN_MOMENTUM, BN_EPSILON,
            )
        elif kind == "MaxPooling2D":
            y = F.max_pool2d(inputs[0], pair("pool_size", 2))
        elif kind == "GlobalAveragePooling2D":
            y = inputs[0].mean((2, 3))
        elif kind == "Flatten":
            y = inputs[0].permute(0, 2, 3, 1).flatten(1)
        elif kind == "Dense":
            y = inputs[0] @ w("kernel") + w("bias")
        elif kind == "Add":
            y = sum(inputs[1:], inputs[0])
        else:
            assert kind == "Activation", kind
            y = inputs[0]
        activation = config.get("activation")
        if activation == "relu":
            y = torch.relu(y)
        else:
            # The softmax of the last layer belongs to the loss.
            assert activation is None or item is description[-1] and activation == "softmax"
        tensors[name] = y
    return y


def keras_adam(rate=LEARNING_RATE):
    """Keras' Adam in PyTorch: epsilon is added before the bias correction, not after as in torch.optim."""
    import torch

    m, v, t = {}, {}, 0

    def apply(variables):
        nonlocal t
        t += 1
        alpha = rate * (1 - BETA_2**t) ** 0.5 / (1 - BETA_1**t)
        with torch.no_grad():
            for k, p in variables.items():
                m.setdefault(k, torch.zeros_like(p)).add_((p.grad - m[k]) * (1 - BETA_1))
                v.setdefault(k, torch.zeros_like(p)).add_((p.grad**2 - v[k]) * (1 - BETA_2))
                p.sub_(m[k] * alpha / (v[k].sqrt() + EPSILON))

    return apply


def run_torch(description, data, bits):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    dtype = np.dtype(f"float{bits}")
    out = {}
    x, y = [torch.from_numpy(a) for a in batch(data, 0, dtype)]

    def fresh():
        named = {k: torch.tensor(v.astype(dtype)) for k, v in data.items() if "/" in k}
        return named, {k: v.requires_grad_() for k, v in named.items() if "/moving_" not in k}

    def probabilities(named):
        with torch.no_grad():
            return F.softmax(torch_forward(description, named, x, False), 1).numpy()

    def train(named, trainable, apply):
        losses = []
        for i in range(STEPS):
            bx, by = [torch.from_numpy(a) for a in batch(data, i % BATCHES, dtype)]
            for p in trainable.values():
                p.grad = None
            loss = F.cross_entropy(torch_forward(description, named, bx, True), by.long())
            loss.backward()
            if i == 0:
                out.update({f"grad/{k}": p.grad.numpy().copy() for k, p in trainable.items()})
            apply(trainable)
            losses.append(loss.item())
        return np.array(losses, dtype)

    named, trainable = fresh()
    native = torch.optim.Adam(trainable.values(), lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON)
    out["loss_torch_adam"] = train(named, trainable, lambda _: native.step())
    named, trainable = fresh()
    out["predictions"] = probabilities(named)
    out["loss"] = train(named, trainable, keras_adam())
    out.update({f"final/{k}": v.detach().numpy() for k, v in named.items()})
    out["final/predictions"] = probabilities(named)
    named, trainable = fresh()
    out["calm_loss"] = train(named, trainable, keras_adam(CALM_RATE))
    return out


# ---- both ----


def compare(results, names_of_moving):
    """Prints how far the runs are apart; fails unless the two float64 runs agree."""
    k64, t64 = results["keras", 64], results["torch", 64]
    worst = 0.0
    for key, a in k64.items():
        b = t64[key]
        if key.removeprefix("final/") in names_of_moving and key.endswith("moving_variance"):
            continue
        if key == "final/predictions" and names_of_moving:
            # PyTorch predicts with its unbiased moving variance.
            continue
        worst = max(worst, float(np.max(np.abs(a - b))))
    print(f"float64: Keras and PyTorch agree to {worst:.2g} (gradients, losses, weights, predictions)")
    assert worst < 1e-8, worst
    start = BN_MOMENTUM**STEPS
    for key in names_of_moving:
        if not key.endswith("moving_variance"):
            continue
        # PyTorch's moving variance is of the unbiased kind: n / (n - 1) of Keras' part that was learnt.
        ratio = (t64[f"final/{key}"] - start) / (k64[f"final/{key}"] - start)
        n = round(1 / (1 - 1 / ratio.mean()))
        assert n % BATCH == 0 and np.allclose(ratio, n / (n - 1), rtol=1e-11, atol=0), (key, n, ratio)
    reference = k64["loss"]
    for label, run, key in [
        ("Keras float32, calm", results["keras", 32], "calm_loss"),
        ("PyTorch float32, calm", results["torch", 32], "calm_loss"),
        ("Keras float32", results["keras", 32], "loss"),
        ("PyTorch float32, Keras' Adam", results["torch", 32], "loss"),
        ("PyTorch float32, its own Adam", results["torch", 32], "loss_torch_adam"),
        ("PyTorch float64, its own Adam", t64, "loss_torch_adam"),
    ]:
        off = np.abs(run[key].astype(np.float64) - (k64["calm_loss"] if key == "calm_loss" else reference))
        at = {n: f"{off[:n].max():.2g}" for n in (1, 10, 30, 100)}
        print(f"{label}: loss off Keras float64 by at most {at} (first n steps), mean {off.mean():.2g}")
    for label, run in [("Keras", results["keras", 32]), ("PyTorch", results["torch", 32])]:
        off = max(
            float(np.max(np.abs(run[k] - k64[k])) / np.max(np.abs(k64[k]))) for k in k64 if k.startswith("grad/")
        )
        print(f"{label} float32 gradients: off by at most {off:.2g} of the largest of their tensor")


def main(script, file, description, data, seed, metadata):
    """`data`: images and labels, stored as they are; the initial weights are Keras' own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", help="internal: init, keras64, keras32, torch64 or torch32")
    parser.add_argument("--data", help="internal: file with the inputs")
    parser.add_argument("--raw", help="internal: write here")
    args = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if args.run == "init":
        save_file(initial_weights(description, seed), args.raw)
        return
    if args.run:
        framework, bits = args.run[:-2], int(args.run[-2:])
        run = run_keras if framework == "keras" else run_torch
        result = run(description, load_file(args.data), bits)
        save_file({k: np.ascontiguousarray(v) for k, v in result.items()}, args.raw)
        return

    def child(name, *more):
        raw = os.path.join(folder, name)
        subprocess.run([sys.executable, script, "--run", name, "--raw", raw, *more], check=True)
        return load_file(raw)

    with tempfile.TemporaryDirectory() as folder:
        inputs = {**data, **child("init")}
        path = os.path.join(folder, "inputs")
        save_file({k: np.ascontiguousarray(v) for k, v in inputs.items()}, path)
        results = {(f, b): child(f"{f}{b}", "--data", path) for f, b in RUNS}

    moving = [k for k in inputs if "/moving_" in k]
    compare(results, moving)
    tensors = dict(inputs)
    frameworks = [("", "keras"), ("torch/", "torch")] if moving else [("", "keras")]
    for prefix, framework in frameworks:
        for key, value in results[framework, 64].items():
            if key == "loss":
                tensors[f"{prefix}loss64"] = value
            elif key == "calm_loss":
                tensors[f"{prefix}calm_loss64"] = value
            elif key == "loss_torch_adam":
                tensors[f"{prefix}loss64_torch_adam"] = value
            elif key.startswith("final/") and key != "final/predictions":
                tensors[prefix + key] = value.astype(np.float32)
            else:
                tensors[prefix + key] = value
        for key, value in results[framework, 32].items():
            if key in ("loss", "calm_loss"):
                tensors[f"{prefix}{key}32"] = value
            elif key.startswith("grad/"):
                tensors[f"{prefix}grad32/{key[5:]}"] = value
    if not moving:
        for bits in (64, 32):
            for key in ("loss", "calm_loss"):
                tensors[f"torch/{key}{bits}"] = results["torch", bits][key]
    save_golden(file, tensors, {"model": json.dumps(description), "training": json.dumps(metadata)})


TRAINING = {
    "scale": "x / 255", "batch_size": BATCH, "batches": BATCHES, "steps": STEPS,
    "order": "step i takes rows 32 * (i % 10) to 32 * (i % 10) + 31",
    "loss": {"class_name": "SparseCategoricalCrossentropy", "config": {}},
    "optimizer": {
        "class_name": "Adam",
        "config": {"learning_rate": LEARNING_RATE, "beta_1": BETA_1, "beta_2": BETA_2, "epsilon": EPSILON},
    },
}
