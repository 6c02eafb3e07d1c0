"""What all Python peers share: command line, images, the measuring loop, the one JSON line.

Input: batches and a function that does one step with them. Output: median, least and most
images per second over windows of about half a second, the median time of a step, peak memory.
Invariants: a window is closed only after a step, so that it holds whole batches; what comes
before the first window (tracing, compiling, warm-up) is never counted.
"""

import argparse
import json
import resource
import statistics
import time

import numpy as np

import cifar

WARM_UP_SECONDS = 2.0
WINDOW_SECONDS = 0.5


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, ["seed", "resnet18", "mobilenet_v2"])
    return parser


def add_arguments(parser, models):
    parser.add_argument("--model", choices=models, default=models[0])
    parser.add_argument("--mode", choices=["train", "predict"], default="train")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=32, help="32: CIFAR-10; otherwise noise")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time, after the warm-up")
    parser.add_argument("--threads", type=int, default=0, help="0: what the framework chooses")
    parser.add_argument("--data", default=cifar.DEFAULT, help="folder of the CIFAR-10 binary files")


def images(args):
    """uint8 images [n, h, w, c] and int32 labels [n], a whole number of batches."""
    if args.image_size == 32:
        pixels, labels = cifar.load(args.data, "train" if args.mode == "train" else "test")
    else:
        random, count = np.random.default_rng(0), max(64, 4 * args.batch_size)
        pixels = random.integers(0, 256, (count, args.image_size, args.image_size, 3), np.uint8)
        labels = random.integers(0, args.classes, count, np.int32)
    whole = len(labels) // args.batch_size * args.batch_size
    return pixels[:whole], labels[:whole]


def scaled(pixels):
    """What a network takes: float32 in 0 to 1."""
    return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)


class Windows:
    """`tick(images)` after every step; true once the measured time is over."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.rates = []
        self.images = 0
        # The first tick starts the clock: tracing and compiling are no part of the warm-up.
        self.begin = self.window = None

    def tick(self, images):
        now = time.perf_counter()
        if self.begin is None:
            self.begin = now
            return False
        if self.window is None:
            if now - self.begin >= WARM_UP_SECONDS:
                self.window = now
            return False
        self.images += images
        elapsed = now - self.window
        if elapsed >= WINDOW_SECONDS:
            self.rates.append(self.images / elapsed)
            self.images, self.window = 0, now
        return now - self.begin >= WARM_UP_SECONDS + self.seconds and bool(self.rates)


def run(args, batches, step):
    """Steps until the time is over: the windows, and the median seconds from a batch to its result."""
    windows, seconds = Windows(args.seconds), []
    for batch in batches:
        begin = time.perf_counter()
        step(*batch)
        seconds.append(time.perf_counter() - begin)
        if windows.tick(args.batch_size):
            return windows, statistics.median(seconds)


def report(args, windows, version, data, step_seconds=None):
    """Prints the line; `data` is the array that holds the images."""
    rates = windows.rates
    line = {
        "images_per_second": {
            "median": round(statistics.median(rates), 1),
            "min": round(min(rates), 1),
            "max": round(max(rates), 1),
        },
        "windows": len(rates),
        # Linux gives ru_maxrss in KiB.
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
        "data_mb": round(data.nbytes / 1e6, 1),
        "version": version,
    }
    if step_seconds is not None and args.mode == "predict" and args.batch_size == 1:
        line["latency_us"] = round(1e6 * step_seconds, 1)
    print(json.dumps(line))
