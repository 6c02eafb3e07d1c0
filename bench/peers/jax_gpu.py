"""Training steps of the seed CNN in JAX on a GPU: the whole step, Adam and the gathering of its batch included, is one jitted
function whose state is donated.

Input: a batch size, and how many steps one call does (`lax.scan`). The images lie on the device as uint8. Output: one JSON
line with images per second and the time of a step, as pytorch_gpu.py gives them. Invariant: a window is closed only when the
device is done.

Made of noise: the time of a step does not depend on what is in the images. On a machine without a GPU it runs on the CPU, to
try the script.
"""

import argparse
import functools
import json
import statistics
import time

import jax
import jax.numpy as jnp
from jax import lax

IMAGES = 50_000
WARM_UP_CALLS = 3
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1, help="steps of one call")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16, on f32 weights")
    parser.add_argument("--precision", default="tensorfloat32", help="of products in f32; JAX's name")
    parser.add_argument("--seconds", type=float, default=5.0)
    return parser.parse_args()


def weights(key):
    """Kernels and biases of the two convolutions and the two dense layers, in Keras' layouts."""
    shapes = [(3, 3, 3, 32), (3, 3, 32, 64), (6 * 6 * 64, 64), (64, 10)]
    glorot = jax.nn.initializers.glorot_uniform()
    keys = jax.random.split(key, len(shapes))
    return [(glorot(k, s), jnp.zeros(s[-1])) for k, s in zip(keys, shapes)]


def convolved(x, kernel, bias):
    """Convolution, ReLU and 2 x 2 maximum."""
    x = lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    window = (1, 2, 2, 1)
    return lax.reduce_window(jax.nn.relu(x + bias), -jnp.inf, lax.max, window, window, "VALID")


def loss_of(params, images, labels, dtype):
    params = jax.tree.map(lambda w: w.astype(dtype), params)
    x = images.astype(dtype) / 255
    for kernel, bias in params[:2]:
        x = convolved(x, kernel, bias)
    (hidden, hidden_bias), (last, last_bias) = params[2:]
    x = jax.nn.relu(x.reshape(x.shape[0], -1) @ hidden + hidden_bias)
    logits = jax.nn.log_softmax((x @ last + last_bias).astype(jnp.float32))
    return -jnp.mean(jnp.take_along_axis(logits, labels[:, None], axis=1))


def adam(params, grads, first, second, step):
    """As Keras' Adam: the bias correction is in the rate."""
    rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    first = jax.tree.map(lambda m, g: m + (g - m) * (1 - BETA_1), first, grads)
    second = jax.tree.map(lambda v, g: v + (g * g - v) * (1 - BETA_2), second, grads)
    new = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + EPSILON), params, first, second)
    return new, first, second


def training(args, images, labels):
    """A function from a state and the numbers of the images of some steps to the next state and the losses."""
    dtype = jnp.bfloat16 if args.bf16 else jnp.float32

    def step(state, pick):
        params, first, second, count = state
        loss, grads = jax.value_and_grad(loss_of)(params, images[pick], labels[pick], dtype)
        count += 1
        return (*adam(params, grads, first, second, count.astype(jnp.float32)), count), loss

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(state, picks):
        return lax.scan(step, state, picks)

    return steps


def picks(args, key):
    """Numbers of images, [steps, batch] a call, of shuffled epochs, on the device."""
    each = args.steps * args.batch_size
    if each > IMAGES:
        raise SystemExit(f"{args.steps} steps of {args.batch_size} images are more than an epoch of {IMAGES}")
    while True:
        key, use = jax.random.split(key)
        order = jax.random.permutation(use, IMAGES)[: IMAGES // each * each]
        yield from order.reshape(-1, args.steps, args.batch_size)


def main():
    args = arguments()
    jax.config.update("jax_default_matmul_precision", args.precision)
    keys = jax.random.split(jax.random.key(0), 4)
    images = jax.random.randint(keys[0], (IMAGES, 32, 32, 3), 0, 256, jnp.uint8)
    labels = jax.random.randint(keys[1], (IMAGES,), 0, 10)
    params = weights(keys[2])
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    state, steps, batches = (params, *zeros, jnp.zeros((), jnp.int32)), training(args, images, labels), picks(args, keys[3])
    losses = []
    for _ in range(WARM_UP_CALLS):
        state, loss = steps(state, next(batches))
        losses.append(float(loss[-1]))
    speeds, began = [], time.perf_counter()
    while time.perf_counter() - began < args.seconds:
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < 0.5:
            state, loss = steps(state, next(batches))
            count += args.steps
        losses.append(float(jax.block_until_ready(loss)[-1]))
        speeds.append(count * args.batch_size / (time.perf_counter() - start))
    median = statistics.median(speeds)
    print(json.dumps({
        "images_per_second": {"median": round(median, 1), "min": round(min(speeds), 1), "max": round(max(speeds), 1)},
        "step_us": round(args.batch_size / median * 1e6, 2),
        "steps": args.steps, "bf16": args.bf16, "precision": args.precision, "batch_size": args.batch_size, "losses": [losses[0], losses[-1]],
        "device": jax.devices()[0].platform, "version": f"jax {jax.__version__}",
    }))


if __name__ == "__main__":
    main()
