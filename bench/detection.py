"""The blood-cell detector, trained with several seeds and judged on the test pictures, beside a PyTorch training of the same
network (bench/peers/pytorch_detector.py) with the same recipe, pictures and number of epochs.

    python bench/detection.py --data data --python VENV/bin/python --recipe bench/recipes/bccd_60.toml --out FILE.json

Output: a JSON file with every run and a line each; medians at the end. The judge is the same for both: COCO's evaluation.
Processor seconds count what both cores did, and do not count others who use the machine.
"""

import argparse
import json
import resource
import statistics
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lines(command):
    """What a command prints, and its seconds and processor seconds."""
    began, cpu = time.time(), children()
    out = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=True).stdout
    return out.splitlines(), {"seconds": round(time.time() - began), "cpu_seconds": round(children() - cpu)}


def ours(args, seed):
    run = f"bench-bccd-{seed}"
    command = [args.thalweg, "fit", args.recipe, "--data", args.data, "--seed", seed, "--run", run, "--json"]
    out, spent = lines(command)
    test = next(e for e in map(json.loads, out) if e.get("event") == "test")
    return {"AP50": test["AP50"], "AP": test["AP"]} | spent


def peer(args, seed):
    script = HERE / "peers" / "pytorch_detector.py"
    command = [args.python, script, "train", "--data", Path(args.data) / "bccd", "--recipe", args.recipe, "--seed", seed]
    command += ["--channels-last", "--fused"]
    out, spent = lines(command)
    found = json.loads(out[-1])
    return {"AP50": found["AP50"], "AP": found["AP"]} | spent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thalweg", default="target/release/thalweg")
    parser.add_argument("--data", default="data")
    parser.add_argument("--python", default="", help="of an environment with PyTorch; without it, no peer")
    parser.add_argument("--recipe", default=HERE.parent / "examples" / "bccd.toml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", default="detection.json")
    args = parser.parse_args()
    sides = {"thalweg": ours} | ({"pytorch": peer} if args.python else {})
    runs = {side: [] for side in sides}
    # Alternating, so that a machine that changes changes for both.
    for seed in args.seeds:
        for side, run in sides.items():
            runs[side].append({"seed": seed} | run(args, seed))
            print(side, json.dumps(runs[side][-1]), flush=True)
            medians = {s: {k: statistics.median(r[k] for r in all) for k in all[0] if k != "seed"} for s, all in runs.items() if all}
            Path(args.out).write_text(json.dumps({"runs": runs, "medians": medians}, indent=1) + "\n")
    print(json.dumps(medians))


if __name__ == "__main__":
    main()
