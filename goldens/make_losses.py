"""Golden losses (value and gradient) and metrics (value after each of three batches) from Keras.

Output: losses.safetensors beside this file (naming: README.md), float64, both backends agreeing.
Invariant: no prediction sits where float32 and float64 fall on different sides (ties, thresholds,
1 - epsilon under a logarithm), so that a float32 device can be held to these numbers.
"""

import inspect
import zlib

import numpy as np

from two_backends import f32, make, use_float64

CLASSES = 5
# Keras itself differs here: on TensorFlow it clips and then normalises, on PyTorch the other way
# about, so that clipped classes get another gradient. The file has TensorFlow's.
APART = ("loss/sparse_clipped",)


def loss_cases():
    """(name, class, config, y_true kind, y_pred kind, shape of y_pred)."""
    for logits in (False, True):
        kind, tag = ("logits", "logits") if logits else ("softmax", "probabilities")
        config = {"from_logits": True} if logits else {}
        sparse = "SparseCategoricalCrossentropy"
        yield f"sparse_{tag}", sparse, config, "class", kind, (6, CLASSES)
        yield f"sparse_{tag}_column", sparse, config, "class column", kind, (4, 10)
        yield f"sparse_{tag}_map", sparse, config, "class", kind, (2, 3, 4, CLASSES)
        for smoothing in (0.0, 0.1):
            end = "_smooth" if smoothing else ""
            more = {**config, **({"label_smoothing": smoothing} if smoothing else {})}
            yield f"categorical_{tag}{end}", "CategoricalCrossentropy", more, "onehot", kind, (6, CLASSES)
            kind2 = "logits" if logits else "sigmoid"
            yield f"binary_{tag}{end}", "BinaryCrossentropy", more, "binary", kind2, (7, 1)
            yield f"binary_{tag}{end}_wide", "BinaryCrossentropy", more, "binary", kind2, (4, 3)
        yield f"categorical_{tag}_soft", "CategoricalCrossentropy", config, "soft", kind, (4, CLASSES)
        yield f"categorical_{tag}_map", "CategoricalCrossentropy", config, "onehot", kind, (2, 3, 2, CLASSES)
    # Probabilities that do not add up to one, and clipped zeros and ones.
    yield "sparse_unnormalised", "SparseCategoricalCrossentropy", {}, "class", "sigmoid", (5, CLASSES)
    yield "categorical_unnormalised", "CategoricalCrossentropy", {}, "onehot", "sigmoid", (5, CLASSES)
    yield "sparse_clipped", "SparseCategoricalCrossentropy", {}, "class", "hard", (5, CLASSES)
    yield "sparse_clipped_target", "SparseCategoricalCrossentropy", {}, "class", "hard", (5, CLASSES)
    yield "categorical_clipped", "CategoricalCrossentropy", {}, "onehot", "hard", (5, CLASSES)
    yield "binary_clipped", "BinaryCrossentropy", {}, "binary", "hard binary", (8, 1)
    yield "sparse_large_logits", "SparseCategoricalCrossentropy", {"from_logits": True}, "class", "large", (5, CLASSES)
    yield "binary_large_logits", "BinaryCrossentropy", {"from_logits": True}, "binary", "large", (6, 2)
    for label, cls in [("mse", "MeanSquaredError"), ("mae", "MeanAbsoluteError"), ("huber", "Huber")]:
        yield label, cls, {}, "value", "value", (5, 3)
        yield f"{label}_column", cls, {}, "value", "value", (6, 1)
        yield f"{label}_map", cls, {}, "value", "value", (2, 3, 4, 2)
    yield "huber_delta_half", "Huber", {"delta": 0.5}, "value", "value", (5, 3)
    yield "huber_delta_two", "Huber", {"delta": 2.0}, "value", "value", (5, 3)


def metric_cases():
    """(name, the name given to compile, class it resolves to, config, y_true kind, y_pred kind, columns)."""
    yield "accuracy_sparse", "accuracy", "SparseCategoricalAccuracy", {}, "class", "softmax", CLASSES
    yield "accuracy_sparse_column", "accuracy", "SparseCategoricalAccuracy", {}, "class column", "softmax", CLASSES
    yield "accuracy_categorical", "accuracy", "CategoricalAccuracy", {}, "onehot", "softmax", CLASSES
    yield "accuracy_binary", "accuracy", "BinaryAccuracy", {}, "binary", "sigmoid", 1
    for label, cls in [
        ("sparse_categorical_accuracy", "SparseCategoricalAccuracy"),
        ("categorical_accuracy", "CategoricalAccuracy"),
    ]:
        truth = "class" if label.startswith("sparse") else "onehot"
        yield label, label, cls, {}, truth, "softmax", CLASSES
        yield f"{label}_logits", label, cls, {}, truth, "logits", 10
    yield "binary_accuracy", "binary_accuracy", "BinaryAccuracy", {}, "binary", "sigmoid", 1
    yield "binary_accuracy_threshold", "binary_accuracy", "BinaryAccuracy", {"threshold": 0.3}, "binary", "sigmoid", 1
    yield "binary_accuracy_wide", "binary_accuracy", "BinaryAccuracy", {"threshold": 0.7}, "binary", "sigmoid", 3
    for label, cls, truth in [
        ("sparse_top_k_categorical_accuracy", "SparseTopKCategoricalAccuracy", "class"),
        ("top_k_categorical_accuracy", "TopKCategoricalAccuracy", "onehot"),
    ]:
        yield label, label, cls, {}, truth, "softmax", 10
        yield f"{label}_k3", label, cls, {"k": 3}, truth, "softmax", 10
    for label, cls in [("mean_squared_error", "MeanSquaredError"), ("mean_absolute_error", "MeanAbsoluteError")]:
        yield label, label, cls, {}, "value", "value", 3
        yield f"{label}_column", label, cls, {}, "value", "value", 1


def predictions(rng, kind, shape):
    x = rng.standard_normal(shape)
    if kind == "softmax":
        x = np.exp(2 * x)
        x = x / x.sum(-1, keepdims=True)
    elif kind == "sigmoid":
        x = 1 / (1 + np.exp(-2 * x))
    elif kind == "logits":
        x = 3 * x
    elif kind == "large":
        x = 60 * x
    elif kind == "hard":
        # Some exact zeros, one row of exact zeros and a one.
        x = np.maximum(x, 0)
        x = x / x.sum(-1, keepdims=True)
        x[0] = np.eye(shape[-1])[1]
    return f32(x)


def truths(rng, kind, shape):
    classes = rng.integers(0, shape[-1], shape[:-1])
    if kind == "class":
        return classes.astype(np.int32)
    if kind == "class column":
        return classes.astype(np.int32)[..., None]
    if kind == "onehot":
        return np.eye(shape[-1])[classes]
    if kind == "soft":
        # Multiples of 1/1024 that add up to exactly one: the fused gradient, softmax - y_true, needs that.
        soft = rng.uniform(0, 1, shape)
        soft = np.floor(1024 * soft / soft.sum(-1, keepdims=True)) / 1024
        soft[..., 0] += 1 - soft.sum(-1)
        return soft
    if kind == "binary":
        return rng.integers(0, 2, shape).astype(np.float64)
    return f32(rng.standard_normal(shape))


def example(rng, truth, kind, shape, weighted, target_clipped=False):
    """(y_true, y_pred, sample_weight or None). Two weights are 0 or above 1, to tell sums from means."""
    y_true, y_pred = truths(rng, truth, shape), predictions(rng, kind, shape)
    if kind == "hard binary":
        # Zero and one, but never a one whose truth is zero: log(1 - (1 - 1e-7)) has no float32 value.
        y_true = np.array([[1], [0], [1], [1], [0], [1], [0], [0]], np.float64)
        y_pred = f32(np.array([[0], [0], [1], [0.25], [0.75], [1], [0], [0.5]]))
    if kind == "hard" and truth == "class":
        # The truth is a live class, or in the "target" case a clipped one where there is one.
        order = np.argsort(y_pred, -1)
        y_true = (order[..., 0] if target_clipped else order[..., -1]).astype(np.int32)
    weight = None
    if weighted:
        weight = f32(rng.uniform(0, 2, shape[:-1]))
        weight.flat[0] = 0
        weight.flat[-1] = 2.5
    return y_true, y_pred, weight


def stored(array):
    return array if array.dtype == np.int32 else array.astype(np.float32)


def compute_losses(keras, backend, tensors):
    listed = []
    for base, cls, config, truth, kind, shape in loss_cases():
        for weighted in (False, True):
            name = f"loss/{base}" + ("_weighted" if weighted else "")
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            y_true, y_pred, weight = example(rng, truth, kind, shape, weighted, "target" in base)
            loss = getattr(keras.losses, cls)(**config)
            if backend == "tensorflow":
                import tensorflow as tf

                x = tf.constant(y_pred)
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    value = loss(y_true, x, sample_weight=weight)
                gradient = tape.gradient(value, x).numpy()
                value = value.numpy()
            else:
                import torch

                x = torch.tensor(y_pred, requires_grad=True)
                rows, w = x, weight
                if len(shape) > 2 and cls == "SparseCategoricalCrossentropy":
                    # PyTorch has no gradient of that loss over a transposed map; flat rows mean the same.
                    rows, y_true_rows = x.reshape(-1, shape[-1]), y_true.reshape(-1)
                    w = None if weight is None else weight.reshape(-1)
                else:
                    y_true_rows = y_true
                value = loss(y_true_rows, rows, sample_weight=w)
                value.backward()
                value, gradient = value.detach().numpy(), x.grad.numpy()
            assert value.dtype == gradient.dtype == np.float64
            tensors[f"{name}/y_true"] = stored(y_true)
            tensors[f"{name}/y_pred"] = y_pred.astype(np.float32)
            if weighted:
                tensors[f"{name}/sample_weight"] = weight.astype(np.float32)
            tensors[f"{name}/loss"] = np.asarray(value).reshape(1)
            tensors[f"{name}/dy_pred"] = gradient
            listed.append({
                "name": name, "class_name": cls, "config": config, "weighted": weighted,
                "tensorflow_only": name.startswith(APART),
            })
    return listed


def compute_metrics(keras, tensors):
    listed = []
    for base, metric, cls, config, truth, kind, columns in metric_cases():
        for weighted in (False, True):
            name = f"metric/{base}" + ("_weighted" if weighted else "")
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            state, results = getattr(keras.metrics, cls)(**config), []
            for i, rows in enumerate((8, 8, 5)):
                y_true, y_pred, weight = example(rng, truth, kind, (rows, columns), weighted)
                # TensorFlow's top-k takes float32 only; it compares, so that nothing is lost.
                given = y_pred.astype(np.float32) if "TopK" in cls else y_pred
                state.update_state(y_true, given, sample_weight=weight)
                results.append(float(keras.ops.convert_to_numpy(state.result())))
                tensors[f"{name}/batch{i}/y_true"] = stored(y_true)
                tensors[f"{name}/batch{i}/y_pred"] = y_pred.astype(np.float32)
                if weighted:
                    tensors[f"{name}/batch{i}/sample_weight"] = weight.astype(np.float32)
            tensors[f"{name}/result"] = np.array(results)
            listed.append({"name": name, "metric": metric, "class_name": cls, "config": config, "weighted": weighted})
    return listed


def compute(backend):
    keras = use_float64(backend)
    for cls in ("SparseCategoricalCrossentropy",):
        if "label_smoothing" in inspect.signature(getattr(keras.losses, cls)).parameters:
            print(f"note: this Keras has {cls}(label_smoothing); no case has it yet")
    tensors = {}
    losses = compute_losses(keras, backend, tensors)
    metrics = compute_metrics(keras, tensors)
    return tensors, {"losses": losses, "metrics": metrics}


if __name__ == "__main__":
    make(__file__, "losses.safetensors", compute, apart=APART)
