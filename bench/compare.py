"""Our training (or predicting) speed beside the peers', in alternating rounds on one machine.

Input: the path of the `thalweg` binary; every round runs each contender once, in turning
order, so that a slow minute of the machine hits all alike. Output: one Markdown table and
one JSON file. Invariants: ratios are taken within a round, then the median over rounds; a run
during which others used the machine is marked (PyTorch on all cores falls fortyfold when
another process holds one of them, because its threads spin at every barrier).

    python bench/compare.py target/release/thalweg --rounds 5 --seconds 10
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
OURS = "thalweg"
# Cores that others may keep busy in a run that counts as undisturbed.
QUIET = 0.1
PEERS = {
    "pytorch": ["pytorch_seed.py"],
    "pytorch channels_last": ["pytorch_seed.py", "--channels-last"],
    "pytorch channels_last, fused Adam": ["pytorch_seed.py", "--channels-last", "--fused"],
    "pytorch compiled": ["pytorch_seed.py", "--channels-last", "--fused", "--compile"],
    "keras": ["keras_seed.py"],
    "keras, 16 steps per execution": ["keras_seed.py", "--steps-per-execution", "16"],
}
DEFAULT_PEERS = ["pytorch", "pytorch channels_last", "pytorch channels_last, fused Adam", "keras", "keras, 16 steps per execution"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?", help="path of the thalweg command; left out: the peers alone")
    parser.add_argument("--recipe", default=os.path.join(ROOT, "examples/cifar10.toml"))
    parser.add_argument("--mode", choices=["train", "predict"], default="train")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=0, help="for the peers; 0: all cores")
    parser.add_argument("--data", help="folder of the CIFAR-10 binary files (peers)")
    parser.add_argument("--peers", nargs="*", default=DEFAULT_PEERS, choices=list(PEERS), metavar="PEER", help=f"of: {'; '.join(PEERS)}")
    parser.add_argument("--python", default=sys.executable, help="the Python that has torch and keras")
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait for a quiet machine before each run, at most")
    parser.add_argument("--retries", type=int, default=0, help="how often to repeat a run that others disturbed")
    parser.add_argument("--date", default=time.strftime("%Y-%m-%d"))
    parser.add_argument("--out", help="without ending; default bench/results/compare_MODE_bBATCH")
    args = parser.parse_args()
    args.threads = args.threads or len(os.sched_getaffinity(0))
    args.out = args.out or os.path.join(HERE, f"results/compare_{args.mode}_b{args.batch_size}")
    if args.binary and not os.access(args.binary, os.X_OK):
        parser.error(f"{args.binary} is no program; build it first: cargo build --release")
    return args


def command(name, args):
    shared = ["--batch-size", str(args.batch_size), "--seconds", str(args.seconds), "--json"]
    if name == OURS:
        return [os.path.abspath(args.binary), "bench", args.mode, args.recipe, *shared]
    script, *options = PEERS[name]
    if args.mode == "predict":
        options = [o for o in options if o != "--fused"]
    data = ["--data", args.data] if args.data else []
    return [
        args.python, os.path.join(HERE, "peers", script), *options, "--mode", args.mode,
        "--threads", str(args.threads), *data, *shared,
    ]


def processor_seconds():
    """(used by anyone or stolen by the host, used by our finished children, wall clock)."""
    with open("/proc/stat") as lines:
        user, nice, system, _, _, irq, softirq, steal = [int(f) for f in lines.readline().split()[1:9]]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return used, children.ru_utime + children.ru_stime, time.monotonic()


def others_share(before, after):
    """Cores that others kept busy meanwhile, on average."""
    used, own, wall = (b - a for a, b in zip(before, after))
    return max(0.0, (used - own) / wall)


def wait_for_quiet(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = processor_seconds()
        time.sleep(2)
        if others_share(before, processor_seconds()) < QUIET:
            return


def measure(name, args):
    """The least disturbed of up to 1 + retries runs; the first undisturbed one ends the search."""
    runs = []
    while len(runs) <= args.retries and not (runs and runs[-1]["cores_used_by_others"] <= QUIET):
        wait_for_quiet(args.wait)
        runs.append(run_once(name, args))
    return min(runs, key=lambda run: run["cores_used_by_others"])


def run_once(name, args):
    """The contender's JSON line (the last line of its output that is an object) and who disturbed it."""
    before = processor_seconds()
    done = subprocess.run(command(name, args), capture_output=True, text=True, cwd=ROOT)
    busy = others_share(before, processor_seconds())
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            return {**json.loads(line), "cores_used_by_others": round(busy, 3)}
    sys.exit(f"{name} printed no result (exit {done.returncode}):\n{' '.join(command(name, args))}\n{done.stderr[-2000:]}")


def cpu():
    with open("/proc/cpuinfo") as lines:
        model = next((l.split(":", 1)[1].strip() for l in lines if l.startswith("model name")), "unknown")
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def our_version(binary):
    done = subprocess.run([binary, "--version"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def summary(name, runs, ours):
    """One row: median of the rounds' medians, the whole spread, ours over theirs."""
    medians = [r["images_per_second"]["median"] for r in runs]
    row = {
        "name": name,
        "images_per_second": round(statistics.median(medians), 1),
        "round_medians": medians,
        "slowest_window": min(r["images_per_second"]["min"] for r in runs),
        "fastest_window": max(r["images_per_second"]["max"] for r in runs),
        "peak_mb": max(r["peak_mb"] for r in runs),
        "cores_used_by_others": max(r["cores_used_by_others"] for r in runs),
    }
    if ours:
        ratios = [o["images_per_second"]["median"] / m for o, m in zip(ours, medians)]
        row["ours_is_times_faster"] = {
            "median": round(statistics.median(ratios), 2), "min": round(min(ratios), 2), "max": round(max(ratios), 2),
        }
    for key in ("version", "step_us", "latency_us", "planned_mb", "device"):
        if key in runs[-1]:
            row[key] = runs[-1][key]
    return row


def table(result):
    lines = [
        f"# {result['mode']}, seed CNN, batch {result['batch_size']}",
        "",
        f"{result['date']}, {result['cpu']}; {result['rounds']} alternating rounds of {result['seconds']:g} s; "
        f"load before: {result['load_before']}; peers on {result['peer_threads']} threads.",
        "",
        "| | images/s | round medians | windows | peak MB | cores used by others | ours is faster by |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        m, r = row["round_medians"], row.get("ours_is_times_faster")
        ratio = f"{r['median']:.2f} ({r['min']:.2f} to {r['max']:.2f})" if r and row["name"] != OURS else ""
        lines.append(
            f"| {row['name']} | {row['images_per_second']:.0f} | {min(m):.0f} to {max(m):.0f} "
            f"| {row['slowest_window']:.0f} to {row['fastest_window']:.0f} | {row['peak_mb']:.0f} "
            f"| {row['cores_used_by_others']:.2f} | {ratio} |"
        )
    versions = dict.fromkeys(str(row["version"]) for row in result["rows"] if "version" in row)
    if any(row["cores_used_by_others"] > QUIET for row in result["rows"]):
        lines += ["", "**Disturbed: other processes used the machine during some runs; do not quote these numbers.**"]
    return "\n".join([*lines, "", "Versions: " + "; ".join(versions) + ".", ""])


def main():
    args = arguments()
    names = ([OURS] if args.binary else []) + args.peers
    runs = {name: [] for name in names}
    load = ", ".join(f"{l:.2f}" for l in os.getloadavg())
    for i in range(args.rounds):
        at = i % len(names)
        for name in names[at:] + names[:at]:
            runs[name].append(measure(name, args))
            last = runs[name][-1]
            rate, busy = last["images_per_second"]["median"], last["cores_used_by_others"]
            print(f"round {i + 1}: {name}: {rate:.0f} images/s (others: {busy:.2f} cores)", file=sys.stderr, flush=True)

    ours = runs.get(OURS)
    if ours and "version" not in ours[-1]:
        ours[-1]["version"] = our_version(args.binary)
    result = {
        "mode": args.mode, "batch_size": args.batch_size, "rounds": args.rounds, "seconds": args.seconds,
        "date": args.date, "cpu": cpu(), "load_before": load, "peer_threads": args.threads,
        "rows": [summary(name, runs[name], ours) for name in names],
        "runs": runs,
    }
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    with open(args.out + ".json", "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    text = table(result)
    with open(args.out + ".md", "w") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
