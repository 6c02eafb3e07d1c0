"""Our speed beside the peers', in alternating rounds on one machine.

Input: the `thalweg` binary, the cases of cases.py (all, or those named). First every peer's
variant runs once per thread count; those near the best of their framework enter the rounds.
Every round then runs each contender once, in turning order, so that a slow minute of the machine
hits all alike. Output: one Markdown table and one JSON file. Invariants: ratios are taken within
a round, then the median over rounds; a run during which others used the machine is marked; a
peer that is missing or fails is named, never silently left out.

    python bench/compare.py seed-train-b32 seed-latency --rounds 5 --seconds 10
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import machine
from cases import CASES, HERE, PEERS

ROOT = os.path.dirname(HERE)
OURS = "Thalweg"


@dataclass
class Contender:
    """A program in the rounds and what its runs gave."""

    name: str
    framework: str
    command: list
    environment: dict = field(default_factory=dict)
    runs: list = field(default_factory=list)


class Failed(Exception):
    """A program that gave no result; says why in a line."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(CASES)}; none: all")
    parser.add_argument("--binary", default=os.path.join(ROOT, "target/release/thalweg"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time of a run")
    parser.add_argument("--frameworks", nargs="+", metavar="F", help="only peers whose framework begins so")
    parser.add_argument("--peers", nargs="+", metavar="P", help="these peers, by the names of the table, on all cores and without a trial")
    parser.add_argument("--margin", type=float, default=0.15, help="variants so near to their framework's best enter the rounds")
    parser.add_argument("--python", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--data", help="folder of the CIFAR-10 binary files (peers)")
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait for a quiet machine before each run, at most")
    parser.add_argument("--retries", type=int, default=0, help="how often to repeat a run that others disturbed")
    parser.add_argument("--date", default=time.strftime("%Y-%m-%d"))
    parser.add_argument("--out", default=os.path.join(HERE, "results/compare"), help="without ending")
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    if not os.access(args.binary, os.X_OK):
        parser.error(f"{args.binary} is no program; build it first: cargo build --release")
    unknown = [name for name in args.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    args.cases = args.cases or list(CASES)
    return args


def say(text):
    print(text, file=sys.stderr, flush=True)


def run_once(contender):
    """The contender's JSON line (the last line of its output that is an object) and who disturbed it."""
    if not shutil.which(contender.command[0]):
        raise Failed(f"{os.path.relpath(contender.command[0], ROOT)} is not there")
    before = machine.processor_seconds()
    done = subprocess.run(
        contender.command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **contender.environment}
    )
    busy = machine.others_share(before, machine.processor_seconds())
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{") and done.returncode == 0:
            return {**json.loads(line), "cores_used_by_others": round(busy, 3)}
    why = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
    raise Failed(f"exit {done.returncode}: {why}")


def measure(contender, args):
    """The least disturbed of up to 1 + retries runs; the first undisturbed one ends the search."""
    runs = []
    while len(runs) <= args.retries and not (runs and runs[-1]["cores_used_by_others"] <= machine.QUIET):
        machine.wait_for_quiet(args.wait)
        runs.append(run_once(contender))
    return min(runs, key=lambda run: run["cores_used_by_others"])


def contenders(case, args):
    """Ours, the peers' finalists, and a line for every peer that is left out."""
    ours = Contender(OURS, OURS, case.command(args.binary, args.seconds, args.python))
    tried, notes = [], []
    if args.peers:
        threads = machine.cores()
        chosen = [peer for peer in PEERS if peer.fits(case) and peer.name in args.peers]
        everyone = []
        for peer in chosen:
            command = peer.command(case, threads, args.seconds, args.python, args.data)
            everyone.append(Contender(peer.name, peer.framework, command, peer.environment(case, threads)))
        return ours, everyone, notes
    for peer in PEERS:
        if not peer.fits(case) or (args.frameworks and not peer.framework.startswith(tuple(args.frameworks))):
            continue
        for threads in [machine.cores()] if case.mode == "cold" else sorted({1, machine.cores()}):
            command = [peer.command(case, threads, seconds, args.python, args.data) for seconds in (2, args.seconds)]
            name = f"{peer.name}, {threads} thread{'s' if threads > 1 else ''}"
            trial = Contender(name, peer.framework, command[0], peer.environment(case, threads))
            try:
                value = case.value(measure(trial, args))
            except Failed as failure:
                notes.append(f"{case.title}: {peer.name} left out: {failure}")
                break
            trial.command = command[1]
            tried.append((case.times_faster(value, 1.0), trial))
            say(f"{case.title}: trial of {name}: {number(value)} {case.unit}")
    best = {}
    for speed, trial in tried:
        best[trial.framework] = max(speed, best.get(trial.framework, 0.0))
    return ours, [trial for speed, trial in tried if speed >= (1 - args.margin) * best[trial.framework]], notes


def compete(case, args):
    """The case's rows for the table and the notes."""
    ours, peers, notes = contenders(case, args)
    everyone = [ours, *peers]
    for i in range(args.rounds):
        at = i % len(everyone)
        for contender in everyone[at:] + everyone[:at]:
            contender.runs.append(measure(contender, args))
            last = contender.runs[-1]
            say(
                f"{case.title}: round {i + 1}: {contender.name}: {number(case.value(last))} {case.unit}"
                f" (others: {last['cores_used_by_others']:.2f} cores)"
            )
    for run in ours.runs:
        run.setdefault("data_mb", round(case.our_data_mb(), 1))
    rows = [row(case, contender, ours) for contender in everyone]
    rows[1:] = sorted(rows[1:], key=lambda r: r["ours_is_times_faster"]["median"])
    return rows, notes


def row(case, contender, ours):
    """Median of the rounds, the whole spread, ours over theirs."""
    values = [case.value(run) for run in contender.runs]
    # A cold start says nothing of memory.
    peaks = [(run["peak_mb"], run["peak_mb"] - run["data_mb"]) for run in contender.runs if "peak_mb" in run]
    ratios = [case.times_faster(case.value(o), value) for o, value in zip(ours.runs, values)]
    last = contender.runs[-1]
    result = {
        "name": contender.name,
        "unit": case.unit,
        "median": round(statistics.median(values), 1),
        "rounds": values,
        "ours_is_times_faster": None if contender is ours else spread(ratios),
        "peak_mb_with_and_without_data": [round(max(column), 1) for column in zip(*peaks)],
        "cores_used_by_others": max(run["cores_used_by_others"] for run in contender.runs),
        "runs": contender.runs,
    }
    return result | {key: last[key] for key in ("version", "device") if key in last}


def spread(ratios):
    return {"median": round(statistics.median(ratios), 2), "min": round(min(ratios), 2), "max": round(max(ratios), 2)}


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def table(result):
    lines = [
        f"# {OURS} and its peers",
        "",
        f"{result['date']}; {result['cpu']}; {result['rounds']} alternating rounds of {result['seconds']:g} s; "
        f"load before: {result['load_before']}.",
        "",
        "| | median | rounds | ours is faster by | peak MB | without data | cores used by others |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for case in result["cases"]:
        lines.append(f"| **{case['title']}** (target: {case['target']}) | | | | | | |")
        for r in case["rows"]:
            ratio = r["ours_is_times_faster"]
            peak, beyond = [f"{mb:.0f}" for mb in r["peak_mb_with_and_without_data"]] or ("", "")
            faster = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else ""
            lines.append(
                f"| {r['name']} | {number(r['median'])} {r['unit']} | {number(min(r['rounds']))} to {number(max(r['rounds']))}"
                f" | {faster} | {peak} | {beyond} | {r['cores_used_by_others']:.2f} |"
            )
    rows = [r for case in result["cases"] for r in case["rows"]]
    if any(r["cores_used_by_others"] > machine.QUIET for r in rows):
        lines += ["", "**Disturbed: other processes used the machine during some runs; do not quote those numbers.**"]
    versions = dict.fromkeys([result["version"], *(r["version"] for r in rows if "version" in r)])
    lines += ["", f"Versions: {'; '.join(versions)}."]
    if result["notes"]:
        lines += ["", *(f"- {note}" for note in result["notes"])]
    return "\n".join(lines) + "\n"


def our(binary, *words):
    return subprocess.run([binary, *words], capture_output=True, text=True).stdout.strip()


def write(result, out):
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    with open(out + ".json", "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    with open(out + ".md", "w") as file:
        file.write(table(result))


def main():
    args = arguments()
    result = {
        "date": args.date, "cpu": machine.cpu(), "rounds": args.rounds, "seconds": args.seconds,
        "load_before": machine.load(), "version": our(args.binary, "--version"), "cases": [], "notes": [],
    }
    for name in args.cases:
        case = CASES[name]
        try:
            rows, notes = compete(case, args)
        except Failed as failure:
            rows, notes = [], [f"{case.title}: {failure}"]
        result["cases"].append({"case": name, "title": case.title, "target": case.target, "rows": rows})
        result["notes"] += notes
        write(result, args.out)
    print(table(result))


if __name__ == "__main__":
    main()
