"""Ten epochs of the seed program for three seeds: our mean test accuracy beside that of real Keras.

Runs `thalweg fit examples/cifar10.toml --seed S --json` and reads bench/results/keras_accuracy.json (made by
peers/keras_accuracy.py with the same settings). Writes bench/results/accuracy.json.

    python3 bench/accuracy.py [--binary target/release/thalweg] [--seeds 0 1 2]
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def cpu_model():
    with open("/proc/cpuinfo") as f:
        return next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.processor())


def run(binary, seed, folder):
    command = [binary, "fit", os.path.join(ROOT, "examples/cifar10.toml"), "--seed", str(seed), "--run", f"seed{seed}", "--json"]
    output = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    done = json.loads(output.strip().splitlines()[-1])
    assert done["event"] == "done", done
    return {"seed": seed, "test_accuracy": done["val_accuracy"], "test_loss": done["val_loss"], "accuracy": done["accuracy"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=os.path.join(ROOT, "target/release/thalweg"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for seed in args.seeds:
            runs.append(run(os.path.abspath(args.binary), seed, folder))
            print(runs[-1], flush=True)
    ours = sum(r["test_accuracy"] for r in runs) / len(runs)
    with open(os.path.join(HERE, "results/keras_accuracy.json")) as f:
        keras = json.load(f)["mean_test_accuracy"]
    result = {
        "what": "seed CNN, 10 epochs, batch 32, Adam defaults, x/255, full CIFAR-10: mean test accuracy",
        "thalweg": round(ours, 4),
        "keras": keras,
        "difference_points": round(100 * (ours - keras), 2),
        "runs": runs,
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
    }
    with open(os.path.join(HERE, "results/accuracy.json"), "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    print(f"thalweg {ours:.4f}, keras {keras:.4f}: {result['difference_points']:+.2f} points")


if __name__ == "__main__":
    main()
