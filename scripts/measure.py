"""Runs a command and records its time and memory: measure.py OUT.json COMMAND [ARGUMENT ...]

OUT.json holds `seconds` (wall clock), `peak_bytes` (largest resident memory) and `others` (share of the machine's cores that other
processes used during the run). The exit code is that of the command.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path


def busy_seconds() -> float:
    """Busy seconds of all cores since the machine started."""
    fields = [float(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def main(out: Path, command: list[str]) -> int:
    busy, started = busy_seconds(), time.perf_counter()
    status = subprocess.run(command).returncode
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    others = busy_seconds() - busy - usage.ru_utime - usage.ru_stime
    if status == 0:
        cost = {
            "seconds": seconds,
            "peak_bytes": usage.ru_maxrss * 1024,
            "others": max(0.0, others / seconds / (os.cpu_count() or 1)),
        }
        out.write_text(json.dumps(cost))
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
