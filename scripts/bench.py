"""Measures and prints the tables of bench.sh; see there. Runs in the `tests` environment of python-env.sh."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp

SCRIPTS = Path(__file__).resolve().parent
WARM_UP_EPOCHS = 3
# Largest number of passes of the factored solver when it must reach the package's loss and may not stop when it has converged.
MOST_PASSES = 500
# Epochs in the package's tutorials.
PACKAGE_EPOCHS = 1_000
# Smallest simulated panel: with only 22 genes, many voxels would have no count at all.
SMALLEST_PANEL = 150
# Makes glibc keep freed memory instead of returning it to the system, which saves the package its page faults.
TUNED_MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass
class Shape:
    cells: int
    voxels: int
    genes: int
    epochs: int

    @property
    def name(self) -> str:
        return f"{self.cells}x{self.voxels}x{self.genes}"


SHAPES = [
    Shape(20_000, 2_000, 250, 13),
    Shape(11_759, 1_550, 995, 13),
    Shape(11_759, 4_840, 22, 13),
    Shape(58_022, 162, 1_408, 13),
    Shape(58_022, 4_951, 253, 8),
]
# Whose runs take hardly more than a start, reading and writing; measured with --before.
SMALL = Shape(1_000, 200, 150, 30)
# Memory traffic of an epoch of Adam, in matrices of C x V numbers, at least: logits and two moments, each read and written once.
TRAFFIC = 6
PROGRAMS = ["tangram f32", "package", "tangram bf16", "package tuned"]


def run(command: list, **keywords) -> None:
    subprocess.run([str(part) for part in command], check=True, **keywords)


def prepare(shape: Shape, tangram: Path, folder: Path) -> dict:
    """Simulates the tissue, chooses the training genes and writes the package's input; once per folder."""
    about = folder / "about.json"
    if not about.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        n_genes = max(shape.genes, SMALLEST_PANEL)
        run(
            [tangram, "simulate", "--out", folder / "tissue", "--cells", shape.cells, "--voxels", shape.voxels]
            + ["--spots", 10, "--genes", n_genes, "--panel", n_genes, "--density", 0.15, "--seed", 1, "--quiet"]
        )
        cells = anndata.read_h5ad(folder / "tissue/cells.h5ad")
        voxels = anndata.read_h5ad(folder / "tissue/voxels.h5ad")

        def totals(matrix, axis):
            return np.asarray(matrix.sum(axis=axis), dtype=np.float64).ravel()

        both = set(cells.var_names[totals(cells.X, 0) > 0]) & set(voxels.var_names[totals(voxels.X, 0) > 0])
        names = sorted(both)
        step = len(names) / min(shape.genes, len(names))
        genes = [names[int(i * step)] for i in range(min(shape.genes, len(names)))]
        (folder / "genes.txt").write_text("".join(f"{gene}\n" for gene in genes))

        library = totals(cells.X, 1)
        factors = np.divide(np.median(library[library > 0]), library, out=np.zeros_like(library), where=library > 0)
        S = (sp.diags(factors) @ cells.X[:, cells.var_names.get_indexer(genes)]).astype(np.float32)
        G = voxels.X[:, voxels.var_names.get_indexer(genes)].astype(np.float32)
        prior = totals(voxels.X, 1)
        np.savez(folder / "problem.npz", S=S.toarray(), G=G.toarray(), d=prior / prior.sum())
        about.write_text(json.dumps({"genes": len(genes), "input_bytes": 8 * int(S.nnz + G.nnz), "density": S.nnz / np.prod(S.shape)}))
    return json.loads(about.read_text())


def measured(folder: Path, command: list, environment: dict | None = None) -> dict:
    out = folder / "measured.json"
    out.unlink(missing_ok=True)
    run([sys.executable, SCRIPTS / "measure.py", out, *command], env={**os.environ, **(environment or {})}, stdout=sys.stderr)
    return json.loads(out.read_text())


def measure_program(program: str, shape: Shape, folder: Path, tangram: Path, reference: str, threads: int) -> dict:
    if program.startswith("tangram"):
        run_folder = folder / "run"
        cost = measured(
            folder,
            [tangram, "map", "--quiet", "--force", *inputs(folder), "--out", run_folder]
            + ["--solver", "adam", "--prior", "rna", "--epochs", shape.epochs, "--threads", threads, "--keep", "top:10"]
            + ["--precision", program.split()[1]],
        )
        epochs_s = np.diff(history(run_folder)["elapsed_s"])
    else:
        out = folder / "reference"
        cost = measured(
            folder,
            [reference, SCRIPTS / "reference.py", folder / "problem.npz", out, "--no-mapping"]
            + ["--epochs", shape.epochs, "--threads", threads],
            TUNED_MALLOC if program.endswith("tuned") else None,
        )
        epochs_s = np.array(json.loads((out / "result.json").read_text())["epochs_s"])
    seconds = float(np.median(epochs_s[WARM_UP_EPOCHS - 1 :]))
    print(f"  {program:14} {seconds:8.3f} s per epoch, peak {cost['peak_bytes'] / 1e9:6.2f} GB", file=sys.stderr)
    if cost["others"] > 0.05:
        print(f"  warning: other processes used {cost['others']:.0%} of the machine during this run", file=sys.stderr)
    return {"seconds": seconds, "peak": cost["peak_bytes"]}


def package_loss(shape: Shape, folder: Path, tangram: Path, threads: int) -> float:
    """The loss after 1,000 epochs of Adam; once per folder.

    Computed by tangram's Adam, because the package would take hours. The two agree to 1e-5 (crates/mapper/tests/parity.rs).
    """
    kept = folder / "adam-1000.json"
    if not kept.exists():
        print(f"bench: {PACKAGE_EPOCHS} epochs of Adam at {shape.name}, once", file=sys.stderr)
        out = folder / "adam"
        run(
            [tangram, "map", "--quiet", "--force", *inputs(folder), "--out", out, "--threads", threads]
            + ["--solver", "adam", "--epochs", PACKAGE_EPOCHS, "--keep", "top:1"]
        )
        kept.write_text(json.dumps({"loss": float(history(out)["total"][-1])}))
    return json.loads(kept.read_text())["loss"]


def inputs(folder: Path) -> list:
    tissue = folder / "tissue"
    return ["--cells", tissue / "cells.h5ad", "--voxels", tissue / "voxels.h5ad", "--genes", folder / "genes.txt"]


def history(run_folder: Path):
    return np.genfromtxt(run_folder / "history.tsv", names=True, delimiter="\t")


def measure_mirror(precision: str, shape: Shape, folder: Path, tangram: Path, threads: int, target: float) -> dict:
    """Runs the factored solver until it has converged."""
    out = folder / "mirror"
    cost = measured(
        folder,
        [tangram, "map", "--quiet", "--force", *inputs(folder), "--out", out, "--threads", threads]
        + ["--goal", "package", "--keep", "none", "--precision", precision],
    )
    passes = history(out)
    longer = passes
    if passes["total"].min() > target:
        # It converged before it reached the loss. Measure how long it takes when it may not stop there.
        go_on = folder / "mirror-on"
        run(
            [tangram, "map", "--quiet", "--force", *inputs(folder), "--out", go_on, "--threads", threads]
            + ["--goal", "package", "--keep", "none", "--precision", precision]
            + ["--tolerance", 0, "--epochs", MOST_PASSES]
        )
        longer = history(go_on)
    reached = np.flatnonzero(longer["total"] <= target)
    at = int(reached[0]) if len(reached) else None
    result = {
        "pass": float(np.median(np.diff(passes["elapsed_s"]))),
        "passes": None if at is None else at + 1,
        "seconds": None if at is None else float(longer["elapsed_s"][at]),
        "loss": float(passes["total"].min()),
        "all_passes": len(passes["total"]),
        "all_seconds": float(passes["elapsed_s"][-1]),
        "peak": cost["peak_bytes"],
    }
    until = "the loss was not reached" if at is None else f"{result['seconds']:.1f} s to the loss"
    print(f"  mirror {precision:7} {result['pass']:8.3f} s per pass, {until}", file=sys.stderr)
    if cost["others"] > 0.05:
        print(f"  warning: other processes used {cost['others']:.0%} of the machine during this run", file=sys.stderr)
    return result


def compare(before: Path, now: Path, shapes: list[Shape], work: Path, rounds: int, threads: int) -> None:
    """Prints what two builds of tangram take, one after the other in every round, whichever began the round before second."""
    table = [["cells x voxels x genes", "solver", "s per pass before", "now", "now / before", "whole run s before", "now", "now / before"]]
    table[0].append("loss")
    # A picture is no part of what both can do.
    help_texts = {program: subprocess.run([program, "map", "--help"], check=True, capture_output=True, text=True).stdout for program in (before, now)}
    no_report = {program: ["--no-report"] if "--no-report" in text else [] for program, text in help_texts.items()}
    for shape in shapes:
        folder = work / shape.name
        about = prepare(shape, now, folder)
        for solver in ("mirror f32", "mirror f64", "adam f32"):
            name, precision = solver.split()
            settings = ["--solver", name, "--precision", precision, "--epochs", 2 * shape.epochs if name == "mirror" else shape.epochs]
            settings += ["--tolerance", 0, "--keep", "top:10", "--threads", threads]
            spent, whole, losses = {before: [], now: []}, {before: [], now: []}, {}
            for turn in range(rounds):
                for program in (before, now) if turn % 2 == 0 else (now, before):
                    out = folder / "compared"
                    command = [program, "map", "--quiet", "--force", *inputs(folder), "--out", out, *settings, *no_report[program]]
                    begun = time.monotonic()
                    run(command, stdout=subprocess.DEVNULL)
                    whole[program].append(time.monotonic() - begun)
                    passes = history(out)
                    spent[program].append(float(np.median(np.diff(passes["elapsed_s"])[WARM_UP_EPOCHS - 1 :])))
                    losses[program] = passes["total"][-1]
            table.append([f"{shape.cells:,} x {shape.voxels:,} x {about['genes']:,}", solver])
            for seconds in (spent, whole):
                least = [min(seconds[before]), min(seconds[now])]
                table[-1] += [f"{least[0]:.4g}", f"{least[1]:.4g}", f"{least[1] / least[0]:.3f}"]
            apart = losses[now] - losses[before]
            table[-1].append("the same" if apart == 0 else f"{apart:+.1e}")
            print("  " + "  ".join(table[-1]), file=sys.stderr)
    print(f"\nTwo builds, least of {rounds} rounds, {threads} threads; whole run: reading, checks, training, scores, files, no report")
    print(columns(table))


def columns(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    line = "| " + " | ".join("-" * width for width in widths) + " |"
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([text[0], line, *text[1:]])


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("rows", nargs="*", type=int, help="rows to measure, 1 to 5; default: all")
    arguments.add_argument("--epochs", type=int, help="epochs of each Adam run; default 13, in row 5: 8")
    arguments.add_argument("--rounds", type=int, default=2, help="how often all programs run, one after the other; default 2")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--tangram", type=Path, required=True)
    arguments.add_argument("--before", type=Path, help="another build of tangram, to compare with instead of the package")
    arguments.add_argument("--reference", help="a Python that has the package; not needed with --before")
    arguments.add_argument("--work", type=Path, required=True)
    given = arguments.parse_args()
    chosen = given.rows or list(range(1, len(SHAPES) + 1))
    if not all(1 <= row <= len(SHAPES) for row in chosen):
        arguments.error(f"rows go from 1 to {len(SHAPES)}")
    if given.epochs is not None and given.epochs <= WARM_UP_EPOCHS:
        arguments.error(f"--epochs must be more than {WARM_UP_EPOCHS}: the first {WARM_UP_EPOCHS} epochs are not timed")
    if given.before:
        shapes = [SMALL, *(SHAPES[row - 1] for row in chosen)]
        compare(given.before.resolve(), given.tangram.resolve(), shapes, given.work, given.rounds, given.threads)
        return

    times = [["cells x voxels x genes", *(f"{program} s" for program in PROGRAMS)]]
    times[0] += ["package / f32", "package / bf16", "tuned / f32", "tuned / bf16"]
    memory = [["cells x voxels x genes", *(f"{program} GB" for program in PROGRAMS)]]
    memory[0] += ["f32 less inputs / (4 C V)", "and less an idle process", "package / (4 C V)"]
    converged = [["cells x voxels x genes", "loss of 1,000 epochs", "precision", "s per pass", "passes to it", "s to it"]]
    converged[0] += ["package s", "package / mirror", "passes in total", "s in total", "loss", "GB", "package GB", "GEMM rate"]
    reached = [["cells x voxels x genes", "GEMM f32", "GEMM bf16", "f32: GEMM rate", "bandwidth", "bf16: GEMM rate", "bandwidth"]]

    shapes = [SHAPES[row - 1] for row in chosen]
    for shape in shapes:
        shape.epochs = given.epochs or shape.epochs
        print(f"bench: preparing {shape.name}", file=sys.stderr)
        prepare(shape, given.tangram, given.work / shape.name)
        package_loss(shape, given.work / shape.name, given.tangram, given.threads)
    print("bench: rates of the machine", file=sys.stderr)
    rates_command = [given.reference, str(SCRIPTS / "machine.py"), str(given.threads)]
    rates_command += [f"{shape.voxels}x{shape.genes}" for shape in shapes]
    machine = json.loads(subprocess.run(rates_command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    idle = measured(given.work, [given.tangram, "--version"])["peak_bytes"]

    for shape in shapes:
        folder = given.work / shape.name
        about = prepare(shape, given.tangram, folder)
        name = f"{shape.cells:,} x {shape.voxels:,} x {about['genes']:,}"
        print(f"bench: {name}, {about['density']:.0%} dense", file=sys.stderr)
        target = package_loss(shape, folder, given.tangram, given.threads)
        rounds, mirror = [], {"f32": [], "bf16": []}
        for _ in range(given.rounds):
            for precision, results in mirror.items():
                results.append(measure_mirror(precision, shape, folder, given.tangram, given.threads, target))
            rounds.append(
                {
                    program: measure_program(program, shape, folder, given.tangram, given.reference, given.threads)
                    for program in PROGRAMS
                }
            )

        def over_rounds(value):
            return statistics.median(value(results) for results in rounds)

        def ratio(slow, fast):
            return over_rounds(lambda results: results[slow]["seconds"] / results[fast]["seconds"])

        seconds = {program: over_rounds(lambda results: results[program]["seconds"]) for program in PROGRAMS}
        peak = {program: max(results[program]["peak"] for results in rounds) for program in PROGRAMS}
        times.append([name, *(f"{seconds[program]:.3f}" for program in PROGRAMS)])
        times[-1] += [
            f"{ratio(slow, fast):.2f}" for slow in ("package", "package tuned") for fast in ("tangram f32", "tangram bf16")
        ]
        matrix = 4 * shape.cells * shape.voxels
        memory.append([name, *(f"{peak[program] / 1e9:.2f}" for program in PROGRAMS)])
        ours = peak["tangram f32"] - about["input_bytes"]
        memory[-1] += [f"{ours / matrix:.2f}", f"{(ours - idle) / matrix:.2f}", f"{peak['package'] / matrix:.2f}"]
        rates = machine["products"][f"{shape.voxels}x{shape.genes}"]
        operations = 4 * shape.cells * shape.voxels * about["genes"]
        reached.append([name, f"{rates['f32'] / 1e9:.0f} GFLOP/s", f"{rates['bf16'] / 1e9:.0f} GFLOP/s"])
        for precision, results in mirror.items():
            first = results[0]
            each = statistics.median(result["pass"] for result in results)
            converged.append([name, f"{target:.5f}", precision, f"{each:.3f}", str(first["passes"] or "not reached")])
            package = PACKAGE_EPOCHS * seconds["package"]
            if first["passes"] is None:
                converged[-1] += ["", f"{package:.0f}", ""]
            else:
                spent = statistics.median(result["seconds"] for result in results)
                converged[-1] += [f"{spent:.1f}", f"{package:.0f}", f"{package / spent:.0f}"]
            whole = statistics.median(result["all_seconds"] for result in results)
            converged[-1] += [str(first["all_passes"]), f"{whole:.1f}", f"{first['loss']:.5f}"]
            most = max(result["peak"] for result in results)
            converged[-1] += [f"{most / 1e9:.2f}", f"{peak['package'] / 1e9:.2f}", f"{operations / each / rates['f32']:.0%}"]
        for precision in ("f32", "bf16"):
            spent = seconds[f"tangram {precision}"]
            reached[-1] += [
                f"{operations / spent / rates[precision]:.0%}",
                f"{TRAFFIC * matrix / spent / machine['triad']:.0%}",
            ]

    print(
        f"\nThe factored solver until it reaches the loss of {PACKAGE_EPOCHS:,} epochs of the package, and until it converges; the package's seconds"
        f"\nare {PACKAGE_EPOCHS:,} times its seconds per epoch; GEMM rate: 4 C V K operations per pass, relative to libtorch's f32 product"
    )
    print(columns(converged))
    print(f"\nAdam: seconds per epoch, median after the first {WARM_UP_EPOCHS} epochs, {given.threads} threads, {given.rounds} rounds")
    print(columns(times))
    print(f"\nPeak memory of the whole process; an idle process with libtorch holds {idle / 1e9:.2f} GB")
    print(columns(memory))
    print(f"\nShare of the machine's rates (4 C V K operations and {4 * TRAFFIC} C V bytes per epoch; triad {machine['triad'] / 1e9:.0f} GB/s)")
    print(columns(reached))


if __name__ == "__main__":
    main()
