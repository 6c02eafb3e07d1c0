"""Cold start: from process start to the first prediction of a saved seed CNN on one image file.

    python cold_start.py onnxruntime|pytorch|PATH-OF-THALWEG

Saves a model in a temporary folder, then starts the process again and again (the files are in the
page cache). Prints one JSON line: median milliseconds of a start.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "../..")


def save_ours(binary, folder):
    """A seed model, trained on a few images of the built-in sample."""
    with open(os.path.join(ROOT, "examples/cifar10.toml")) as recipe, open(os.path.join(folder, "seed.toml"), "w") as copy:
        copy.write(recipe.read().replace('"cifar10"', '"cifar10-sample"'))
    fit = [binary, "fit", "seed.toml", "--epochs", "1", "--limit", "64", "--run", "seed", "--json"]
    output = subprocess.run(fit, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    return os.path.join(folder, json.loads(output.splitlines()[-1])["model"])


def save_theirs(framework, folder):
    import torch

    import networks
    import onnx_runtime

    path = os.path.join(folder, "seed")
    if framework == "pytorch":
        torch.save(networks.network("seed", 32, 10).state_dict(), path)
    else:
        onnx_runtime.export("seed", 32, 10, 1, path)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what")
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()

    import numpy as np
    from PIL import Image

    peer = args.what in ("onnxruntime", "pytorch")
    with tempfile.TemporaryDirectory() as folder:
        image = os.path.join(folder, "image.png")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(image)
        if peer:
            command = [sys.executable, os.path.join(HERE, "first_prediction.py"), args.what, save_theirs(args.what, folder)]
        else:
            binary = os.path.abspath(args.what)
            command = [binary, "predict", save_ours(binary, folder)]
        times, end = [], time.monotonic() + args.seconds
        while len(times) < 5 or time.monotonic() < end:
            begin = time.perf_counter()
            subprocess.run([*command, image], check=True, stdout=subprocess.DEVNULL)
            times.append(1e3 * (time.perf_counter() - begin))
    # The first start is the warm-up: it brings the files into memory.
    print(json.dumps({"cold_ms": round(statistics.median(times[1:]), 2), "starts": len(times) - 1}))


if __name__ == "__main__":
    main()
