"""The machine that is measured on: what it is, and whether others use it meanwhile.

Input: /proc. Output: a description; the share of a core that other processes (or the host) took
between two readings. Invariant: our own finished children never count as others.
"""

import os
import resource
import time

# Cores that others may keep busy in a run that counts as undisturbed. PyTorch on all cores falls
# fortyfold when another process holds one of them, because its threads spin at every barrier.
QUIET = 0.1


def cpu():
    with open("/proc/cpuinfo") as lines:
        facts = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    known = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    widest = next((name for flag, name in known.items() if flag in flags), "no wide vectors")
    family = " ".join(facts.get(key, "?") for key in ("cpu family", "model", "stepping"))
    return f"{facts.get('model name', 'unknown')} (family, model, stepping {family}), {cores()} cores, {widest}"


def cores():
    return len(os.sched_getaffinity(0))


def load():
    return ", ".join(f"{average:.2f}" for average in os.getloadavg())


def processor_seconds():
    """(used by anyone or stolen by the host, used by our finished children, wall clock)."""
    with open("/proc/stat") as lines:
        user, nice, system, _, _, irq, softirq, steal = map(int, lines.readline().split()[1:9])
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
