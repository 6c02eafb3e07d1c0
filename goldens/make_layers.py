"""Golden cases of single layers, from real Keras: outputs, gradients, updated statistics.

Output: layers.safetensors beside this file (naming: README.md). Every case runs twice in
float64, on Keras' TensorFlow and on its PyTorch backend; the file holds TensorFlow's numbers
(PyTorch's for the cases of FROM_TORCH) and making it fails if the two disagree.
Invariant: inputs, weights and output weights g are float32-representable, so that a float32
device sees exactly the numbers that the float64 reference saw.
"""

import math
import zlib

import numpy as np

from two_backends import f32, make, use_float64

# On TensorFlow these have a constant rounded to float32 somewhere, or compute in float32 whatever the input is.
FROM_TORCH = ("up_bilinear", "rescaling", "act_gelu", "act_leaky_relu")


def case(name, class_name, config, *inputs, training=False, scale=1.0):
    return {
        "name": name, "class_name": class_name, "config": config,
        "inputs": [list(i) for i in inputs], "training": training, "scale": scale,
    }


def conv_cases():
    conv = "Conv2D"
    yield case("conv_1x1", conv, dict(filters=5, kernel_size=[1, 1]), (2, 6, 5, 7))
    yield case("conv_1x1_stride2_valid", conv, dict(filters=6, kernel_size=[1, 1], strides=[2, 2]), (2, 7, 6, 3))
    yield case("conv_1x1_stride2_same", conv, dict(filters=6, kernel_size=[1, 1], strides=[2, 2], padding="same", use_bias=False), (2, 7, 8, 3))
    yield case("conv_1x1_one_channel", conv, dict(filters=1, kernel_size=[1, 1]), (3, 4, 4, 1))
    yield case("conv_3x3_valid", conv, dict(filters=5, kernel_size=[3, 3]), (2, 8, 8, 3))
    yield case("conv_3x3_int_size", conv, dict(filters=4, kernel_size=3), (2, 7, 7, 3))
    yield case("conv_3x3_valid_odd", conv, dict(filters=7, kernel_size=[3, 3], padding="valid", activation="relu"), (3, 9, 7, 5))
    yield case("conv_3x3_same", conv, dict(filters=5, kernel_size=[3, 3], padding="same"), (2, 7, 8, 3))
    yield case("conv_3x3_same_relu", conv, dict(filters=9, kernel_size=[3, 3], padding="same", activation="relu"), (1, 5, 5, 7))
    yield case("conv_3x3_stride2_valid_even", conv, dict(filters=5, kernel_size=[3, 3], strides=[2, 2]), (2, 8, 8, 3))
    yield case("conv_3x3_stride2_valid_odd", conv, dict(filters=5, kernel_size=[3, 3], strides=[2, 2]), (2, 9, 7, 3))
    yield case("conv_3x3_stride2_same_even", conv, dict(filters=5, kernel_size=[3, 3], strides=[2, 2], padding="same"), (2, 8, 8, 3))
    yield case("conv_3x3_stride2_same_odd", conv, dict(filters=5, kernel_size=[3, 3], strides=[2, 2], padding="same"), (2, 9, 7, 3))
    yield case("conv_3x3_stride2_same_mixed", conv, dict(filters=3, kernel_size=[3, 3], strides=[2, 2], padding="same", dilation_rate=[1, 1], groups=1, use_bias=True, activation="relu"), (2, 8, 7, 5))
    yield case("conv_3x3_stride3_same", conv, dict(filters=3, kernel_size=[3, 3], strides=[3, 3], padding="same"), (2, 8, 10, 2))
    yield case("conv_3x3_stride21_same", conv, dict(filters=4, kernel_size=[3, 3], strides=[2, 1], padding="same"), (2, 7, 6, 3))
    yield case("conv_5x5_valid", conv, dict(filters=3, kernel_size=[5, 5]), (2, 9, 8, 3))
    yield case("conv_5x5_same", conv, dict(filters=3, kernel_size=[5, 5], padding="same", use_bias=False), (2, 7, 6, 5))
    yield case("conv_5x5_stride2_same", conv, dict(filters=4, kernel_size=[5, 5], strides=[2, 2], padding="same"), (2, 10, 9, 3))
    yield case("conv_7x7_stride2_same", conv, dict(filters=6, kernel_size=[7, 7], strides=[2, 2], padding="same", use_bias=False), (1, 14, 14, 3))
    yield case("conv_2x2_same", conv, dict(filters=3, kernel_size=[2, 2], padding="same"), (2, 5, 6, 3))
    yield case("conv_4x4_stride2_same", conv, dict(filters=3, kernel_size=[4, 4], strides=[2, 2], padding="same"), (2, 8, 7, 3))
    yield case("conv_4x4_stride4_patches", conv, dict(filters=7, kernel_size=[4, 4], strides=[4, 4]), (2, 9, 8, 3))
    yield case("conv_1x3", conv, dict(filters=3, kernel_size=[1, 3], padding="same"), (2, 5, 6, 3))
    yield case("conv_3x1_valid", conv, dict(filters=3, kernel_size=[3, 1]), (2, 5, 6, 3))
    yield case("conv_3x3_dilation2_valid", conv, dict(filters=3, kernel_size=[3, 3], dilation_rate=[2, 2]), (2, 9, 8, 3))
    yield case("conv_3x3_dilation2_same", conv, dict(filters=5, kernel_size=[3, 3], dilation_rate=[2, 2], padding="same"), (2, 7, 8, 3))
    yield case("conv_3x3_dilation21_same", conv, dict(filters=2, kernel_size=[3, 3], dilation_rate=[2, 1], padding="same"), (1, 7, 6, 3))
    yield case("conv_3x3_groups2", conv, dict(filters=6, kernel_size=[3, 3], groups=2), (2, 6, 7, 4))
    yield case("conv_3x3_groups2_stride2_same", conv, dict(filters=10, kernel_size=[3, 3], strides=[2, 2], padding="same", groups=2, use_bias=False), (2, 7, 8, 6))
    yield case("conv_1x1_groups3", conv, dict(filters=9, kernel_size=[1, 1], groups=3, activation="relu"), (2, 5, 4, 6))
    yield case("conv_3x3_groups_all", conv, dict(filters=5, kernel_size=[3, 3], groups=5, padding="same"), (2, 6, 5, 5))
    yield case("conv_3x3_no_bias", conv, dict(filters=5, kernel_size=[3, 3], use_bias=False), (2, 6, 6, 3))
    yield case("conv_3x3_whole_input", conv, dict(filters=3, kernel_size=[3, 3]), (4, 3, 3, 5))
    yield case("conv_3x3_seed_first", conv, dict(filters=32, kernel_size=[3, 3], activation="relu"), (1, 16, 16, 3))
    yield case("conv_3x3_seed_second", conv, dict(filters=64, kernel_size=[3, 3], activation="relu"), (1, 9, 9, 32))
    yield case("conv_3x3_wide_same", conv, dict(filters=33, kernel_size=[3, 3], padding="same", activation="silu"), (2, 8, 8, 17))
    depth = "DepthwiseConv2D"
    yield case("depthwise_3x3", depth, dict(kernel_size=[3, 3]), (2, 7, 6, 5))
    yield case("depthwise_3x3_same", depth, dict(kernel_size=[3, 3], padding="same", use_bias=False), (2, 6, 7, 3))
    yield case("depthwise_3x3_multiplier2", depth, dict(kernel_size=[3, 3], depth_multiplier=2, activation="relu"), (2, 6, 7, 3))
    yield case("depthwise_3x3_stride2_same_even", depth, dict(kernel_size=[3, 3], strides=[2, 2], padding="same"), (2, 8, 8, 5))
    yield case("depthwise_3x3_stride2_same_odd", depth, dict(kernel_size=[3, 3], strides=[2, 2], padding="same", depth_multiplier=2), (2, 7, 9, 3))
    yield case("depthwise_5x5_stride2_same", depth, dict(kernel_size=[5, 5], strides=[2, 2], padding="same", use_bias=False), (2, 9, 8, 7))
    yield case("depthwise_3x3_dilation2", depth, dict(kernel_size=[3, 3], dilation_rate=[2, 2], padding="same"), (1, 7, 8, 3))


def dense_cases():
    yield case("dense_2d", "Dense", dict(units=5), (3, 7))
    yield case("dense_2d_relu", "Dense", dict(units=9, activation="relu"), (4, 6))
    yield case("dense_2d_softmax", "Dense", dict(units=10, activation="softmax"), (5, 11))
    yield case("dense_2d_no_bias", "Dense", dict(units=1, use_bias=False), (3, 4))
    yield case("dense_3d", "Dense", dict(units=6, activation="tanh"), (2, 3, 5))
    yield case("dense_4d", "Dense", dict(units=3), (2, 3, 4, 5))


def pool_cases():
    for kind, label in [("MaxPooling2D", "maxpool"), ("AveragePooling2D", "avgpool")]:
        # AveragePooling2D has no default pool size in Keras.
        yield case(f"{label}_default", kind, {} if kind == "MaxPooling2D" else dict(pool_size=2), (2, 6, 8, 3))
        yield case(f"{label}_2_odd", kind, dict(pool_size=[2, 2]), (2, 7, 9, 3))
        yield case(f"{label}_2_same_odd", kind, dict(pool_size=[2, 2], padding="same"), (2, 7, 5, 3))
        yield case(f"{label}_3_stride2", kind, dict(pool_size=[3, 3], strides=[2, 2]), (2, 9, 8, 3))
        yield case(f"{label}_3_stride2_same_even", kind, dict(pool_size=[3, 3], strides=[2, 2], padding="same"), (2, 8, 8, 5))
        yield case(f"{label}_3_stride2_same_odd", kind, dict(pool_size=[3, 3], strides=[2, 2], padding="same"), (2, 7, 9, 3))
        yield case(f"{label}_3_stride1_same", kind, dict(pool_size=[3, 3], strides=[1, 1], padding="same"), (1, 5, 6, 2))
        yield case(f"{label}_2x3", kind, dict(pool_size=[2, 3]), (2, 6, 10, 3))
        yield case(f"{label}_3x1_stride12_same", kind, dict(pool_size=[3, 1], strides=[1, 2], padding="same"), (2, 5, 7, 3))
        yield case(f"{label}_2_stride3", kind, dict(pool_size=2, strides=3), (2, 8, 9, 3))
    for kind, label in [("GlobalAveragePooling2D", "gap"), ("GlobalMaxPooling2D", "gmp")]:
        yield case(label, kind, {}, (3, 5, 4, 7))
        yield case(f"{label}_keepdims", kind, dict(keepdims=True), (2, 3, 6, 3))


def norm_cases():
    bn, x = "BatchNormalization", (4, 3, 5, 3)
    yield case("bn_infer", bn, {}, x, scale=2.0)
    yield case("bn_train", bn, {}, x, training=True, scale=2.0)
    yield case("bn_train_2d", bn, {}, (6, 5), training=True, scale=2.0)
    yield case("bn_infer_2d", bn, {}, (6, 5), scale=2.0)
    yield case("bn_train_options", bn, dict(momentum=0.9, epsilon=1e-5), x, training=True)
    yield case("bn_infer_options", bn, dict(momentum=0.9, epsilon=1e-2), x)
    yield case("bn_train_no_center", bn, dict(center=False), x, training=True)
    yield case("bn_train_no_scale", bn, dict(scale=False), x, training=True)
    yield case("bn_train_plain", bn, dict(center=False, scale=False), x, training=True)
    yield case("bn_infer_plain", bn, dict(center=False, scale=False), x)
    yield case("bn_train_batch1", bn, {}, (1, 4, 4, 9), training=True)


ACTIVATIONS = [
    "relu", "relu6", "leaky_relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "softmax", "hard_swish",
    "linear", "elu", "selu", "softplus", "hard_sigmoid",
]


def other_cases():
    for name in ACTIVATIONS:
        yield case(f"act_{name}", "Activation", dict(activation=name), (5, 11), scale=4.0)
    yield case("act_softmax_4d", "Activation", dict(activation="softmax"), (2, 3, 2, 5), scale=4.0)
    yield case("flatten_4d", "Flatten", {}, (2, 3, 4, 5))
    yield case("flatten_3d", "Flatten", {}, (3, 4, 2))
    yield case("reshape", "Reshape", dict(target_shape=[4, 6]), (2, 3, 8))
    yield case("reshape_infer", "Reshape", dict(target_shape=[-1, 2, 3]), (2, 6, 4))
    yield case("add_2", "Add", {}, (2, 3, 4, 5), (2, 3, 4, 5))
    yield case("add_3", "Add", {}, (2, 7), (2, 7), (2, 7))
    yield case("multiply_2", "Multiply", {}, (2, 3, 4, 5), (2, 3, 4, 5))
    yield case("multiply_3", "Multiply", {}, (3, 4), (3, 4), (3, 4))
    yield case("multiply_broadcast", "Multiply", {}, (2, 3, 4, 5), (2, 1, 1, 5))
    yield case("concat_last", "Concatenate", {}, (2, 3, 4, 5), (2, 3, 4, 2))
    yield case("concat_last_3", "Concatenate", dict(axis=-1), (2, 4), (2, 1), (2, 6))
    yield case("concat_axis1", "Concatenate", dict(axis=1), (2, 3, 4, 5), (2, 1, 4, 5))
    yield case("pad_int", "ZeroPadding2D", dict(padding=1), (2, 3, 4, 3))
    yield case("pad_pair", "ZeroPadding2D", dict(padding=[2, 1]), (2, 3, 4, 3))
    yield case("pad_nested", "ZeroPadding2D", dict(padding=[[0, 1], [2, 3]]), (2, 3, 4, 3))
    yield case("up_nearest", "UpSampling2D", {}, (2, 3, 4, 3))
    yield case("up_nearest_2x3", "UpSampling2D", dict(size=[2, 3], interpolation="nearest"), (2, 3, 4, 3))
    yield case("up_bilinear", "UpSampling2D", dict(interpolation="bilinear"), (2, 3, 4, 3))
    yield case("up_bilinear_2x3", "UpSampling2D", dict(size=[2, 3], interpolation="bilinear"), (2, 3, 4, 3))
    yield case("rescaling", "Rescaling", dict(scale=1 / 255), (2, 3, 4, 3), scale=100.0)
    yield case("rescaling_offset", "Rescaling", dict(scale=1 / 127.5, offset=-1.0), (2, 3, 4, 3), scale=100.0)
    yield case("normalization", "Normalization", dict(axis=-1, mean=[0.5, 0.25, -1.0], variance=[0.25, 2.0, 0.0625]), (2, 3, 4, 3))
    yield case("normalization_scalar", "Normalization", dict(axis=None, mean=0.5, variance=0.25), (2, 5))


def all_cases():
    cases = [*conv_cases(), *dense_cases(), *pool_cases(), *norm_cases(), *other_cases()]
    names = [c["name"] for c in cases]
    assert len(names) == len(set(names))
    return cases


def weight_values(rng, name, shape):
    values = rng.standard_normal(shape)
    if name == "gamma":
        values = 1 + 0.3 * values
    elif name == "moving_variance":
        values = rng.uniform(0.5, 2.0, shape)
    elif name == "kernel":
        values = values / np.sqrt(np.prod(shape[:-1]))
    return f32(values)


def build(c):
    import keras

    config = dict(c["config"])
    if config.get("activation") == "gelu_tanh":
        return keras.layers.Activation(lambda x: keras.ops.gelu(x, approximate=True))
    for key, value in config.items():
        if isinstance(value, list) and key != "mean" and key != "variance":
            config[key] = tuple(tuple(v) if isinstance(v, list) else v for v in value)
    return getattr(keras.layers, c["class_name"])(**config)


def split_groups(keras, layer, c, x):
    """Grouped convolution as one ungrouped convolution a group: TensorFlow has no CPU gradient of it."""
    ops, groups = keras.ops, c["config"]["groups"]
    parts = zip(ops.split(x, groups, axis=-1), ops.split(layer.kernel, groups, axis=-1))
    y = ops.concatenate(
        [ops.conv(a, k, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate) for a, k in parts], -1
    )
    y = y + layer.bias if layer.use_bias else y
    return layer.activation(y)


def torch_by_hand(c):
    """Formulas in plain PyTorch where Keras' PyTorch backend is no float64 reference; None elsewhere."""
    import torch
    import torch.nn.functional as F

    config = c["config"]
    if c["class_name"] == "AveragePooling2D" and config.get("padding") == "same":
        # That backend pads both sides alike; TensorFlow puts the odd row and column at the end.
        pool, strides = config["pool_size"], config.get("strides", config["pool_size"])
        pads = []
        for size, k, s in zip(c["inputs"][0][1:3], pool, strides):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            pads = [total // 2, total - total // 2] + pads

        def average(x):
            def total(t):
                return F.avg_pool2d(F.pad(t, pads), pool, strides, divisor_override=1)

            x = x.permute(0, 3, 1, 2)
            return (total(x) / total(torch.ones_like(x))).permute(0, 2, 3, 1)

        return average
    if c["class_name"] != "Activation":
        return None
    return {
        "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "leaky_relu": lambda x: torch.where(x > 0, x, 0.2 * x),
        "hard_sigmoid": lambda x: torch.clamp(x + 3, 0, 6) / 6,
        "hard_swish": lambda x: x * torch.clamp(x + 3, 0, 6) / 6,
        "silu": lambda x: x / (1 + torch.exp(-x)),
        "relu6": lambda x: torch.clamp(x, 0, 6),
    }.get(config["activation"])


def compute(backend):
    """All tensors of all cases on one backend, and the case list with the weights' names."""
    keras = use_float64(backend)
    tensors, listed = {}, []
    for c in all_cases():
        name = c["name"]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        inputs = [f32(c["scale"] * rng.standard_normal(shape)) for shape in c["inputs"]]
        layer = build(c)
        shapes = [tuple(i.shape) for i in inputs]
        layer.build(shapes if len(shapes) > 1 else shapes[0])
        # A Normalization holds its given mean and variance as constants of the config, not as weights.
        variables = [] if c["class_name"] == "Normalization" else list(layer.weights)
        weights = [v.name for v in variables]
        for v in variables:
            values = weight_values(rng, v.name, tuple(v.shape))
            v.assign(values)
            tensors[f"{name}/w/{v.name}"] = values.astype(np.float32)
        trainable = [v for v in variables if v.trainable]

        def forward(xs):
            if c["config"].get("groups", 1) > 1 and backend == "tensorflow":
                return split_groups(keras, layer, c, xs[0])
            if c["class_name"] == "BatchNormalization":
                return layer(xs[0], training=c["training"])
            return layer(xs if len(xs) > 1 else xs[0])

        def output_weights(shape):
            return f32(rng.standard_normal(tuple(shape)))

        if backend == "tensorflow":
            import tensorflow as tf

            xs = [tf.constant(i) for i in inputs]
            with tf.GradientTape() as tape:
                tape.watch(xs)
                out = forward(xs)
                g = output_weights(out.shape)
                # Some layers go through float32 on the way (see FROM_TORCH).
                total = tf.reduce_sum(tf.cast(out, "float64") * g)
            grads = tape.gradient(total, xs + [v.value for v in trainable])
            out, grads = out.numpy(), [np.asarray(d) for d in grads]
        else:
            import torch

            xs = [torch.tensor(i, requires_grad=True) for i in inputs]
            by_hand = torch_by_hand(c)
            out = by_hand(xs[0]) if by_hand else forward(xs)
            g = output_weights(out.shape)
            grads = torch.autograd.grad((out * torch.tensor(g)).sum(), xs + [v.value for v in trainable])
            out, grads = out.detach().numpy(), [d.numpy() for d in grads]

        for i, x in enumerate(inputs):
            tensors[f"{name}/in{i}"] = x.astype(np.float32)
        tensors[f"{name}/g"] = g.astype(np.float32)
        tensors[f"{name}/out"] = out.astype(np.float64)
        for i, d in enumerate(grads[: len(xs)]):
            tensors[f"{name}/din{i}"] = d.astype(np.float64)
        for v, d in zip(trainable, grads[len(xs) :]):
            tensors[f"{name}/dw/{v.name}"] = d.astype(np.float64)
        if c["class_name"] == "BatchNormalization" and c["training"]:
            for v in (layer.moving_mean, layer.moving_variance):
                tensors[f"{name}/after/{v.name}"] = keras.ops.convert_to_numpy(v).astype(np.float64)
        listed.append({
            "name": name, "class_name": c["class_name"], "config": c["config"], "inputs": c["inputs"],
            "output": list(out.shape), "training": c["training"], "weights": weights,
            "trainable": [v.name for v in trainable],
        })
    return tensors, {"cases": listed}


if __name__ == "__main__":
    make(__file__, "layers.safetensors", compute, FROM_TORCH)
