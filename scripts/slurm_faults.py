#!/usr/bin/env python3
"""Faults of a real Slurm that take longer than a test may: each ends with the result of a run without Slurm, and a table says so.

    scripts/slurm_faults.py [--tangram PATH] [CASE ...]

Starts clusters of virtual nodes by scripts/slurm-sandbox.sh, one after the other: without accounting, with accounting, and one whose
preemption sends the job's own signal. Needs root. Ends with 1 if a case failed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SANDBOX = REPOSITORY / "scripts/slurm-sandbox.sh"
MAP = ["--threads", "1", "--reduce", "exact", "--solver", "adam", "--keep", "top:3", "--epochs", "60"]
PATIENCE = 600


class Failed(Exception):
    pass


class Cluster:
    def __init__(self, root, tangram, tissue, name, **settings):
        self.tangram, self.tissue = tangram, tissue
        self.work = root / f"work-{name}"
        self.work.mkdir()
        own = {"SLURM_SANDBOX_DIR": str(root / f"slurm-{name}"), "NODES": "4", "MAX_ARRAY": "1001", "BASE_PORT": "24300"}
        self.environment = os.environ | own | settings

    def __enter__(self):
        self.control("start")
        shown = subprocess.run(
            ["bash", "-c", f"eval \"$('{SANDBOX}' env)\"; env -0"], env=self.environment, capture_output=True, text=True, check=True
        ).stdout
        pairs = (line.split("=", 1) for line in shown.split("\0") if "=" in line)
        self.environment |= {k: v for k, v in pairs if k == "SLURM_CONF" or k.startswith("OMPI_")}
        return self

    def __exit__(self, *_):
        subprocess.run(["bash", str(SANDBOX), "stop"], env=self.environment, capture_output=True)

    def control(self, *words):
        done = subprocess.run(["bash", str(SANDBOX), *words], env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"slurm-sandbox {' '.join(words)}: {done.stderr[-500:]}")

    def do(self, *words, check=True):
        done = subprocess.run([str(w) for w in words], cwd=self.work, env=self.environment, capture_output=True, text=True)
        if check and done.returncode:
            raise Failed(f"{' '.join(map(str, words))}: {done.stdout[-300:]}{done.stderr[-600:]}")
        return done.stdout

    def program(self, *words):
        return self.do(self.tangram, *words)

    def json(self, *words):
        return json.loads(self.program(*words, "--json"))

    def inputs(self):
        return ["--cells", self.tissue / "cells.h5ad", "--voxels", self.tissue / "voxels.h5ad"]

    def profile(self, name, pause=0, nodes=None, **fields):
        text = (REPOSITORY / "configs/clusters/sandbox.toml").read_text()
        for field, value in fields.items():
            lines = [line for line in text.splitlines() if not line.startswith(f"{field} =")]
            text = "\n".join([*lines, f'{field} = "{value}"', ""])
        if nodes:
            others = [f'"vn{i}"' for i in range(1, 5) if i not in nodes]
            text += f"exclude = [{', '.join(others)}]\n"
        if pause:
            text += f'[environment]\nTANGRAM_TEST_PAUSE_MS = "{pause}"\n'
        (self.work / f"{name}.toml").write_text(text)
        return f"{name}.toml"

    def wait(self, what, so):
        until = time.monotonic() + PATIENCE
        while not so():
            if time.monotonic() > until:
                raise Failed(f"{what}: not within {PATIENCE} s; {self.do('squeue', '--states=all')}")
            time.sleep(0.3)

    def alive(self, job):
        return self.do("squeue", "--noheader", f"--jobs={job}", check=False).strip() != ""

    def node_of(self, job):
        """The first node of a job, which has its batch script and rank 0."""
        shown = self.do("scontrol", "show", "job", job)
        return next(w.split("=")[1] for w in shown.split() if w.startswith("BatchHost="))

    def submit_map(self, profile, out, *more):
        words = ["submit", "map", "--profile", profile, *self.inputs(), *MAP, "--checkpoint-minutes", "0.01", "--out", out, *more]
        return self.json(*words)["job"]

    def under_way(self, out):
        self.wait(f"{out} is under way", lambda: any((self.work / f"{out}.checkpoint").glob("0*/checkpoint.json")))

    def new_sweep(self, name, per_task=1):
        words = ["sweep", "new", "kfold", "--folds", 8, "--folds-per-task", per_task, *self.inputs(), "--epochs", 30, "--tolerance", 0]
        self.program(*words, "--quiet", "--out", name)

    def attempts(self, name):
        return [json.loads(p.read_text()) for p in sorted((self.work / name / "attempts").glob("*.json"))]


def history(run):
    """The history of a run without its last column, which tells times."""
    return [line.rsplit("\t", 1)[0] for line in (run / "history.tsv").read_text().splitlines()]


class Local:
    """What all must end with: the same mapping and the same sweep, without Slurm."""

    def __init__(self, cluster):
        self.folder = cluster.work / "local"
        cluster.program("map", *cluster.inputs(), *MAP, "--quiet", "--out", self.folder)
        self.history = history(self.folder)
        cluster.new_sweep("local-sweep")
        cluster.program("sweep", "run", "local-sweep", "--all", "--quiet")
        cluster.program("sweep", "collect", "local-sweep", "--quiet")
        self.sweep = self.of(cluster.work / "local-sweep")

    @staticmethod
    def of(sweep):
        return [(sweep / name).read_bytes() for name in ("scores.tsv", "predictions.h5ad")]

    def check_map(self, run):
        if history(run) != self.history:
            raise Failed(f"{run}: another history than without Slurm")

    def check_sweep(self, sweep):
        if self.of(sweep) != self.sweep:
            raise Failed(f"{sweep}: other results than without Slurm")


def mapped(cluster, local, job, out):
    cluster.wait(f"{out} is done", lambda: (cluster.work / out / "run.toml").is_file() or not cluster.alive(job))
    local.check_map(cluster.work / out)


def collected(cluster, local, name):
    cluster.wait(f"{name} is collected", (cluster.work / name / "scores.tsv").is_file)
    local.check_sweep(cluster.work / name)


def urgent(cluster, node):
    cluster.do("sbatch", "--partition=urgent", f"--nodelist=vn{node}", "--exclusive", "--time=1", "--output=/dev/null", "--wrap=true")


# --- the cases; each gives a word on what happened -------------------------------------------------------


def preempted_mapping(cluster, local):
    profile = cluster.profile("spot", pause=150, nodes=[3], partition="spot")
    job = cluster.submit_map(profile, "preempted")
    cluster.under_way("preempted")
    urgent(cluster, 3)
    mapped(cluster, local, job, "preempted")
    return "came back by itself"


def preempted_sweep(cluster, local):
    cluster.new_sweep("spot", per_task=4)
    cluster.program("sweep", "submit", "spot", "--profile", cluster.profile("spot", pause=150, nodes=[3], partition="spot"))
    cluster.wait("a fold is done", lambda: any(a["items"] for a in cluster.attempts("spot")))
    urgent(cluster, 3)
    collected(cluster, local, "spot")
    stopped = sum(a["state"] == "stopped" for a in cluster.attempts("spot"))
    return f"{stopped} attempts kept their folds"


def node_of_rank_0(launcher):
    def case(cluster, local):
        profile = cluster.profile(launcher, pause=150, nodes=[1, 2, 4], launcher=launcher)
        out = f"ranks-{launcher}"
        job = cluster.submit_map(profile, out, "--ranks", "2", "--nodes", "2")
        cluster.under_way(out)
        node = cluster.node_of(job).removeprefix("vn")
        cluster.control("kill-node", node)
        cluster.wait("the job has left its node", lambda: "Restarts=0" not in cluster.do("scontrol", "show", "job", job))
        cluster.control("start-node", node)
        mapped(cluster, local, job, out)
        return f"vn{node} was killed, Slurm began the job again"

    return case


def excluded_node(cluster, local):
    cluster.new_sweep("excluded", per_task=8)
    cluster.program("sweep", "submit", "excluded", "--profile", cluster.profile("plain-slow", pause=150, nodes=[1, 2]))
    cluster.wait("a fold is done", lambda: any(a["items"] for a in cluster.attempts("excluded")))
    array = json.loads((cluster.work / "excluded/submissions/001.json").read_text())["arrays"][0]["job"]
    # Slurm itself is not to begin it again.
    cluster.do("scontrol", "update", f"JobId={array}", "Requeue=0")
    node = cluster.attempts("excluded")[0]["who"]["host"]
    cluster.control("kill-node", node.removeprefix("vn"))
    cluster.wait("the node is known to have failed", lambda: "node failed" in cluster.json("sweep", "status", "excluded")["again"])
    cluster.control("start-node", node.removeprefix("vn"))
    shown = cluster.program("sweep", "resume", "excluded", "--dry-run")
    lines = [line for line in shown.splitlines() if line.startswith("#SBATCH --exclude=")]
    if not all(node in line for line in lines) or not lines:
        raise Failed(f"{node} is not excluded: {lines}")
    cluster.program("sweep", "resume", "excluded")
    collected(cluster, local, "excluded")
    nodes = {a["who"]["host"] for a in cluster.attempts("excluded")[1:]}
    if node in nodes:
        raise Failed(f"{node} was used again")
    return f"{node} failed, resumed on {', '.join(sorted(nodes))}"


def collector_killed(cluster, local):
    cluster.new_sweep("collector")
    slow = cluster.profile("held", nodes=[1, 2])
    cluster.program("sweep", "submit", "collector", "--profile", slow)
    collector = json.loads((cluster.work / "collector/submissions/001.json").read_text())["collector"]["job"]
    cluster.do("scancel", collector)
    cluster.wait("all tasks are done", lambda: cluster.json("sweep", "status", "collector")["done"] == 8)
    told = cluster.program("sweep", "status", "collector")
    if "sweep collect" not in told or (cluster.work / "collector/scores.tsv").exists():
        raise Failed(f"status does not say how to go on: {told}")
    cluster.program("sweep", "collect", "collector", "--quiet")
    collected(cluster, local, "collector")
    return "status says `sweep collect`, which does it"


def line_break_in_a_path(cluster, local):
    name = 'a "line\nbreak" 50%j'
    (cluster.work / name).mkdir()
    profile = cluster.profile("plain", nodes=[1, 2])
    sweep = f"{name}/sweep"
    cluster.new_sweep(sweep)
    cluster.program("sweep", "submit", sweep, "--profile", profile)
    collected(cluster, local, sweep)
    job = cluster.submit_map(profile, f"{name}/run")
    mapped(cluster, local, job, f"{name}/run")
    if not any((cluster.work / name).glob("run.*.log")):
        raise Failed("no log")
    return "a sweep and a mapping, with their logs"


def frozen_node(cluster, local):
    """A node stops answering, its job is begun again elsewhere, and the old script wakes up."""
    profile = cluster.profile("frozen", pause=150, nodes=[1, 2])
    job = cluster.submit_map(profile, "frozen")
    cluster.under_way("frozen")
    node = cluster.node_of(job).removeprefix("vn")
    first = int((Path(cluster.environment["SLURM_SANDBOX_DIR"]) / f"run/vn{node}.pid").read_text())
    everything = [first, *below(first)]
    for pid in everything:
        os.kill(pid, 19)
    try:
        cluster.wait("the job is begun again", lambda: "Restarts=0" not in cluster.do("scontrol", "show", "job", job))
        cluster.wait("it runs", lambda: "JobState=RUNNING" in cluster.do("scontrol", "show", "job", job))
    finally:
        for pid in everything:
            try:
                os.kill(pid, 18)
            except ProcessLookupError:
                pass
    mapped(cluster, local, job, "frozen")
    shown = cluster.do("scontrol", "show", "job", job)
    if "Restarts=1 " not in shown:
        raise Failed("the old script began its successor again")
    return "begun again once, and not by the script that woke up"


def below(pid):
    try:
        own = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [p for child in own for p in (child, *below(child))]


CLUSTERS = {
    "without accounting": {"ACCT": "none"},
    "with accounting": {"ACCT": "dbd"},
    "preemption sends USR2": {"ACCT": "none", "PREEMPT_SIGNAL": "1"},
}
CASES = {
    "preempted-mapping": (preempted_mapping, ["without accounting", "preemption sends USR2"]),
    "preempted-sweep": (preempted_sweep, ["preemption sends USR2"]),
    "rank-0-srun": (node_of_rank_0("srun-pmix"), ["without accounting"]),
    "rank-0-mpirun": (node_of_rank_0("mpirun"), ["without accounting"]),
    "excluded-node": (excluded_node, ["without accounting", "with accounting"]),
    "collector-killed": (collector_killed, ["without accounting"]),
    "line-break": (line_break_in_a_path, ["without accounting"]),
    "frozen-node": (frozen_node, ["without accounting"]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tangram", default=REPOSITORY / "target/debug/tangram", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} [default: all]")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    if os.geteuid() != 0:
        sys.exit("slurm_faults: only root can start a cluster")
    root = Path(tempfile.mkdtemp(prefix="slurm-faults-"))
    tangram, rows = arguments.tangram.resolve(), []
    sizes = ["--cells", "400", "--voxels", "90", "--spots", "10", "--genes", "60", "--panel", "50"]
    subprocess.run([tangram, "simulate", "--quiet", "--out", "tissue", *sizes], cwd=root, check=True)
    for number, (name, settings) in enumerate(CLUSTERS.items()):
        chosen = [c for c in arguments.cases or CASES if name in CASES[c][1]]
        if not chosen:
            continue
        with Cluster(root, tangram, root / "tissue", str(number), **settings) as cluster:
            local = Local(cluster)
            for case in chosen:
                began = time.monotonic()
                try:
                    word, good = CASES[case][0](cluster, local), True
                except (Failed, OSError, StopIteration, subprocess.SubprocessError) as error:
                    word, good = str(error), False
                rows.append((case, name, good, time.monotonic() - began, word))
                print(f"{case:20} {name:24} {'as alone' if good else 'FAILED':9} {rows[-1][3]:5.0f} s  {word}", flush=True)
    failed = sum(not row[2] for row in rows)
    print(f"{len(rows)} tried, {failed} failed")
    if failed:
        sys.exit(f"slurm_faults: see {root}")
    shutil.rmtree(root)


main()
