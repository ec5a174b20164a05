#!/usr/bin/env python3
"""Stops mappings and sweeps at random moments, and damages checkpoints: what goes on must end with the bits of a run left alone.

    scripts/faults.py signals [--tangram PATH] [--times 300] [--seed 1] [--sweeps 20]
    scripts/faults.py checkpoints [--tangram PATH] [--times 500] [--seed 1]

`signals` sends KILL, TERM, USR2, INT or HUP to `map` (alone and under mpirun, both solvers, batches, cells read from disk) and to
`sweep run`; a third is aimed at the start and at reading, a third at scoring and writing. Where strace may be used, the deletion of files is
slowed in some. Then the same command goes on with --resume until it is done. `checkpoints` changes bits and digits of every file of
a checkpoint, cuts it, removes it or puts another in its place; an older checkpoint that is whole must be gone on from.

Each prints a table of what was tried and what failed, and ends with 1 if anything did.
"""

import argparse
import collections
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP]
# What a process alone may say of each; 0 where the signal came when all was done.
CODES = {signal.SIGKILL: {-9, 0}, signal.SIGTERM: {75, 0}, signal.SIGUSR2: {75, 0}, signal.SIGINT: {130, 0}, signal.SIGHUP: {130, 0}}
WAYS = {
    "mirror": ["--tolerance", "0", "--epochs", "60"],
    "batches": ["--tolerance", "0", "--epochs", "60", "--batches", "4"],
    "streamed": ["--tolerance", "0", "--epochs", "40", "--stream", "on"],
    "adam": ["--solver", "adam", "--epochs", "150"],
}
ENVIRONMENT = os.environ | {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def content(run):
    """What of a run must not depend on interruptions: every file but the two that tell times, and the history without them."""
    found = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = str(path.relative_to(run))
        if name == "history.tsv":
            lines = path.read_text().splitlines()
            found[name] = "\n".join(line.rsplit("\t", 1)[0] for line in lines)
        elif name == "files.tsv":
            sizes = (line.split("\t") for line in path.read_text().splitlines()[1:])
            found[name] = "\n".join(f"{n}" for _, n in sizes)
        elif name != "run.toml" and "uns/training" not in name and "uns/tangram" not in name:
            found[name] = sha256(path.read_bytes())
    return found


def left_over(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".") or p.name.endswith(".checkpoint")]


class Work:
    def __init__(self, root, tangram):
        self.root, self.tangram = root, tangram

    def make(self, cells=500, voxels=60, genes=60):
        self.do("simulate", "--quiet", "--cells", cells, "--voxels", voxels, "--spots", 10, "--genes", genes, "--panel", genes, "--out", "tissue")

    def do(self, *arguments):
        done = subprocess.run([self.tangram, *map(str, arguments)], cwd=self.root, env=ENVIRONMENT, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"faults: tangram {' '.join(map(str, arguments))}: {done.stderr}")

    def map(self, way, ranks, out, *more):
        launcher = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
        tissue = self.root / "tissue"
        inputs = ["--cells", tissue / "cells.h5ad", "--voxels", tissue / "voxels.h5ad"]
        fixed = ["--keep", "all", "--threads", "1", "--quiet", "--checkpoint-minutes", "0.0005", "--out", out]
        return [*launcher, self.tangram, "map", "--no-report", *map(str, inputs), *WAYS[way], *map(str, fixed), *more]


def start(command, folder, slow, environment=ENVIRONMENT):
    if slow:
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=unlink,unlinkat", "-e", "inject=unlink,unlinkat:delay_enter=3000", *command]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)


def is_caught(pid, which):
    """Whether a process handles a signal: before that, while the loader is at work, it ends the process as it ends any other."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return int(caught.split()[1], 16) >> (which - 1) & 1 == 1


def children(pid):
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def processes(pid, name):
    """Processes below `pid` that run the program, but for the one that tries files."""
    found = []
    for child in children(pid):
        try:
            command = Path(f"/proc/{child}/comm").read_text().strip()
        except OSError:
            continue
        if command == name:
            found.append(child)
        found += processes(child, name)
    return found


def kill_all(child, name):
    """Kills a process and those of the program below it, and waits until they are gone; a launcher puts its own into other groups."""
    below = processes(child.pid, name)
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has come to its end meanwhile
    for pid in below:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    child.communicate()
    while any(Path(f"/proc/{pid}/exe").exists() for pid in below):
        time.sleep(0.01)


def finished(child, seconds=300):
    try:
        _, errors = child.communicate(timeout=seconds)
        return child.returncode, errors
    except subprocess.TimeoutExpired:
        kill_all(child, "tangram")
        return None, "did not end"


def moment(rng, took):
    part = rng.choice(["begin", "middle", "end"])
    low, high = {"begin": (0, 0.35), "middle": (0.3, 0.8), "end": (0.7, 1.0)}[part]
    return part, took * rng.uniform(low, high)


def signals(work, times, sweeps, seed):
    can_slow = shutil.which("strace") is not None and subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode == 0
    name = Path(work.tangram).name
    rng = random.Random(seed)
    whole, took = {}, {}
    for way in WAYS:
        for ranks in (1, 2):
            began = time.monotonic()
            code, errors = finished(start(work.map(way, ranks, f"whole-{way}-{ranks}"), work.root, False), 300)
            if code != 0:
                sys.exit(f"faults: {way} on {ranks}: {errors}")
            took[way, ranks] = time.monotonic() - began
            whole[way, ranks] = content(work.root / f"whole-{way}-{ranks}")
    table, failures = collections.Counter(), []
    for number in range(times):
        way, ranks, which = rng.choice(list(WAYS)), rng.choice([1, 1, 2]), rng.choice(SIGNALS)
        part, after = moment(rng, took[way, ranks])
        slow = can_slow and ranks == 1 and rng.random() < 0.15
        folder = work.root / f"try-{number}"
        folder.mkdir()
        said = f"{number}: {way} on {ranks}, {which.name} {part}, {after:.2f} s{', slow deletion' if slow else ''}"
        child = start(work.map(way, ranks, "run", "--resume"), folder, slow)
        time.sleep(after * (3 if slow else 1))
        aims = processes(child.pid, name) if ranks > 1 or slow else [child.pid]
        if ranks > 1 and rng.random() < 0.3:
            aims = [child.pid]
        caught = True
        if aims and child.poll() is None:
            aim = rng.choice(aims)
            try:
                caught = is_caught(aim, which)
                os.kill(aim, which)
            except ProcessLookupError:
                pass
        code, errors = finished(child)
        wrong = None
        allowed = CODES[which] | (set() if caught else {-which})
        if code is None:
            wrong = "did not end"
        elif ranks == 1 and not slow and code not in allowed:
            wrong = f"exit code {code}: {errors[-300:]}"
        for _ in range(6):
            if wrong or (folder / "run/run.toml").exists() and code == 0:
                break
            code, errors = finished(start(work.map(way, ranks, "run", "--resume"), folder, False))
        if not wrong:
            # Complete or not, going on once more must find everything, and clean up.
            code, errors = finished(start(work.map(way, ranks, "run", "--resume"), folder, False))
            if code != 0:
                wrong = f"going on ended with {code}: {errors[-300:]}"
            elif content(folder / "run") != whole[way, ranks]:
                other = content(folder / "run")
                names = [n for n in whole[way, ranks] | other if whole[way, ranks].get(n) != other.get(n)]
                wrong = f"other content: {', '.join(names[:3])}"
            elif left_over(folder):
                wrong = f"left behind: {left_over(folder)}"
        table[f"map, {ranks} ranks" if ranks > 1 else "map, alone", which.name, "failed" if wrong else "good"] += 1
        if wrong:
            failures.append(f"{said}: {wrong}")
            print(failures[-1], file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder)
    stop_sweeps(work, rng, sweeps, table, failures)
    show(table, failures)
    return failures


def stop_sweeps(work, rng, sweeps, table, failures):
    if not sweeps:
        return
    tissue = work.root / "tissue"
    new = ["sweep", "new", "loo", "--cells", tissue / "cells.h5ad", "--voxels", tissue / "voxels.h5ad", "--folds-per-task", 6, "--epochs", 20, "--out"]
    work.do(*new, "sweep")
    run = [work.tangram, "sweep", "run", "sweep", "--all", "--quiet", "--threads", "1"]

    def scores(folder):
        done = subprocess.run([work.tangram, "sweep", "collect", "sweep", "--quiet", "--out", "collected"], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
        file = folder / "collected/scores.tsv"
        return done.returncode, file.read_bytes() if file.exists() else done.stderr

    folder = work.root / "whole-sweep"
    folder.mkdir()
    shutil.copytree(work.root / "sweep", folder / "sweep")
    began = time.monotonic()
    finished(start(run, folder, False), 300)
    took, whole = time.monotonic() - began, scores(folder)
    if whole[0] != 0:
        sys.exit(f"faults: sweep: {whole[1]}")
    for number in range(sweeps):
        which = rng.choice(SIGNALS)
        folder = work.root / f"sweep-{number}"
        folder.mkdir()
        shutil.copytree(work.root / "sweep", folder / "sweep")
        part, after = moment(rng, took)
        child = start(run, folder, False)
        time.sleep(after)
        caught = True
        if child.poll() is None:
            caught = is_caught(child.pid, which)
            child.send_signal(which)
        code, errors = finished(child)
        wrong = None if code in CODES[which] | (set() if caught else {-which}) else f"exit code {code}: {errors[-300:]}"
        for _ in range(4):
            if code == 0:
                break
            code, errors = finished(start(run, folder, False))
        if not wrong and scores(folder) != whole:
            wrong = f"other scores ({code}: {errors[-300:]})"
        table["sweep run", which.name, "failed" if wrong else "good"] += 1
        if wrong:
            failures.append(f"sweep {number}: {which.name} {part}, {after:.2f} s: {wrong}")
            print(failures[-1], file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder)


def show(table, failures):
    print(f"{'':14} {'':16} {'tried':>6} {'failed':>6}")
    for what, how in sorted({(a, b) for a, b, _ in table}):
        good, failed = table[what, how, "good"], table[what, how, "failed"]
        print(f"{what:14} {how:16} {good + failed:6} {failed:6}")
    print(f"{'all':14} {'':16} {sum(table.values()):6} {len(failures):6}")


# --- checkpoints -------------------------------------------------------------------------------------------


def damage(path, other, how, rng):
    data = bytearray(path.read_bytes())
    digits = [i for i, b in enumerate(data) if chr(b).isdigit()]
    if how == "bit" and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "digit" and digits:
        i = rng.choice(digits)
        data[i] = ord(rng.choice([d for d in "0123456789" if ord(d) != data[i]]))
    elif how == "cut":
        del data[rng.randrange(max(len(data), 1)) :]
    elif how == "other file":
        data = bytearray(other.read_bytes())
    elif how == "removed":
        path.unlink()
        return
    elif how == "longer":
        data += rng.randbytes(rng.choice([1, 100]))
    else:
        data += b"0"
    path.write_bytes(data)


def checkpoints(work, times, seed):
    rng = random.Random(seed)
    table, failures = collections.Counter(), []
    kept = {}
    for way in ("mirror", "adam", "batches"):
        ranks = 2 if way == "mirror" else 1
        code, errors = finished(start(work.map(way, ranks, "run"), work.root, False), 300)
        if code != 0:
            sys.exit(f"faults: {errors}")
        whole = content(work.root / "run")
        shutil.rmtree(work.root / "run")
        # Stopped in the middle, with two checkpoints; a pause after every pass makes sure that there is a middle.
        slow = ENVIRONMENT | {"TANGRAM_TEST_PAUSE_MS": "20"}
        for attempt in range(40):
            child = start(work.map(way, ranks, "run"), work.root, False, slow)
            steps = []
            while child.poll() is None and len(steps) < 2:
                steps = sorted((work.root / "run.checkpoint").glob("0*/checkpoint.json"))
                time.sleep(0.002)
            kill_all(child, Path(work.tangram).name)
            steps = sorted((work.root / "run.checkpoint").glob("0*/checkpoint.json"))
            for partial in work.root.glob(".run*"):
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
            if len(steps) == 2 and not (work.root / "run").exists():
                break
            for folder in ("run", "run.checkpoint"):
                shutil.rmtree(work.root / folder, ignore_errors=True)
        else:
            sys.exit(f"faults: {way} was never stopped with two checkpoints")
        place = work.root / f"stopped-{way}"
        place.mkdir()
        (work.root / "run.checkpoint").rename(place / "run.checkpoint")
        kept[way] = place, whole, ranks
    hows = ["bit", "digit", "cut", "other file", "removed", "longer"]
    for number in range(times):
        way = rng.choice(list(kept))
        place, whole, ranks = kept[way]
        folder = work.root / f"try-{number}"
        shutil.copytree(place, folder)
        # What was being removed when the run was killed has lost its checkpoint.json, and is none of the two.
        whole_ones = (folder / "run.checkpoint").glob("0*/checkpoint.json")
        newest, older = sorted((file.parent for file in whole_ones), reverse=True)
        files = sorted(p for p in newest.rglob("*") if p.is_file())
        # Every file in its turn, so that none is left out.
        path, how = files[number % len(files)], hows[(number // len(files)) % len(hows)]
        other = rng.choice([p for p in older.rglob("*") if p.is_file()] + files)
        before = path.read_bytes()
        damage(path, other, how, rng)
        changed = not path.exists() or path.read_bytes() != before
        command = [w for w in work.map(way, ranks, "run", "--resume") if w != "--quiet"]
        child = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        said, _ = child.communicate(timeout=600)
        wrong = None
        if child.returncode != 0:
            wrong = f"exit code {child.returncode}: {said[-300:]}"
        elif "resuming from the checkpoint" not in said:
            wrong = f"begun anew: {said[-300:]}"
        elif changed and "is damaged" not in said and path.exists() and how != "removed":
            wrong = "the damage was not noticed"
        elif content(folder / "run") != whole:
            wrong = "other numbers"
        table[way, how, "failed" if wrong else "good"] += 1
        if wrong:
            failures.append(f"{number}: {way}, {path.relative_to(folder)}, {how}: {wrong}")
            print(failures[-1], file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder)
    show(table, failures)
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["signals", "checkpoints"])
    parser.add_argument("--tangram", default=str(REPOSITORY / "target/release/tangram"))
    parser.add_argument("--times", type=int)
    parser.add_argument("--sweeps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cells", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        work = Work(Path(root), str(Path(arguments.tangram).resolve()))
        work.make(cells=arguments.cells)
        if arguments.what == "signals":
            failures = signals(work, 300 if arguments.times is None else arguments.times, arguments.sweeps, arguments.seed)
        else:
            failures = checkpoints(work, 500 if arguments.times is None else arguments.times, arguments.seed)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
