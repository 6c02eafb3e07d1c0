"""What both peers share: command line, timing windows, the one JSON line.

Input: a stream of "so many images are done" ticks; output: median, min and max of
images per second over windows of about half a second that begin after the warm-up.
Invariant: a window is closed only at a tick, so that it holds whole batches.
"""

import argparse
import json
import resource
import statistics
import time

import cifar

WARM_UP_SECONDS = 3.0
WINDOW_SECONDS = 0.5


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", default=cifar.DEFAULT, help="folder of the CIFAR-10 binary files")
    parser.add_argument("--mode", choices=["train", "predict"], default="train")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time, after the warm-up")
    parser.add_argument("--threads", type=int, default=0, help="0: what the framework chooses")
    parser.add_argument("--channels-last", action="store_true", help="NHWC memory (PyTorch; Keras always is)")
    parser.add_argument("--compile", action="store_true", help="torch.compile, or jit_compile=True (XLA)")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    return parser


class Windows:
    """`tick(images)` after every batch; true once the measured time is over."""

    def __init__(self, seconds, warm_up=WARM_UP_SECONDS):
        self.seconds = seconds
        self.warm_up = warm_up
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
            if now - self.begin >= self.warm_up:
                self.window = now
            return False
        self.images += images
        elapsed = now - self.window
        if elapsed >= WINDOW_SECONDS:
            self.rates.append(self.images / elapsed)
            self.images, self.window = 0, now
        return now - self.begin >= self.warm_up + self.seconds and bool(self.rates)


def report(peer, args, windows, version, **more):
    rates = windows.rates
    line = {
        "peer": peer,
        "mode": args.mode,
        "batch_size": args.batch_size,
        "threads": args.threads,
        "channels_last": args.channels_last,
        "compile": args.compile,
        **more,
        "images_per_second": {
            "median": round(statistics.median(rates), 1),
            "min": round(min(rates), 1),
            "max": round(max(rates), 1),
        },
        "windows": len(rates),
        # Linux gives ru_maxrss in KiB.
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "version": version,
    }
    if not args.json:
        r = line["images_per_second"]
        print(f"{peer} {args.mode}: {r['median']:.0f} images/s ({r['min']:.0f} to {r['max']:.0f})")
    print(json.dumps(line))
