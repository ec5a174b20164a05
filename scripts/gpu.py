"""The measuring and the tables of gpu.sh; see there. Runs in the `tests` environment of python-env.sh."""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from bench import Shape, columns, history, inputs, prepare, run

SCRIPTS = Path(__file__).resolve().parent
PRECISIONS = ["f32", "tf32", "bf16"]
# Logits and two moments read and written once each, logits read once more for P: the least an epoch of Adam moves, in matrices of
# C V numbers.
TRAFFIC = 7
BLOCK_BYTES, FEWEST_CELLS = 64 << 20, 2048


class Sizes:
    """What is measured: as on a GPU, or small."""

    def __init__(self, small: bool):
        self.shapes = ["2000x300x40", "3000x400x60"] if small else ["58022x4951x253", "100000x10000x1000"]
        self.large = "6000x1000x100" if small else "1000000x100000x1000"
        self.converged = Shape(1_500, 200, 150, 0) if small else Shape(58_022, 4_951, 253, 0)
        self.epochs = 60 if small else 1_000
        self.timed = 6 if small else 20
        self.blocks = [1, 4] if small else [16, 64, 256, 1024]


def numbers(shape: str) -> tuple[int, int, int]:
    cells, voxels, genes = (int(n) for n in shape.split("x"))
    return cells, voxels, genes


def block_of(shape: str) -> str:
    """Cells of a block as the program chooses them, with voxels and genes."""
    cells, voxels, genes = numbers(shape)
    return f"{min(cells, max(FEWEST_CELLS, BLOCK_BYTES // (4 * voxels)))}x{voxels}x{genes}"


class GpuMemory:
    """The most memory that the card's processes held while something ran, in bytes; None where nvidia-smi does not tell."""

    def __enter__(self):
        self.peak, self.done = None, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while not self.done.is_set():
            try:
                told = subprocess.run(query, capture_output=True, text=True, check=True).stdout
            except (OSError, subprocess.CalledProcessError):
                return
            self.peak = max(self.peak or 0, max(int(line) for line in told.split()) << 20)
            time.sleep(0.2)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


class Bench:
    def __init__(self, given: argparse.Namespace):
        self.given = given
        told = subprocess.run([given.python, "-c", "import torch; print(torch.cuda.is_available())"], capture_output=True, text=True)
        self.small = given.small or told.stdout.strip() != "True"
        self.device, self.of_torch = ("torch-cpu", "cpu") if self.small else ("cuda", "cuda")
        self.sizes = Sizes(self.small)
        self.work = given.work / ("small" if self.small else "gpu")
        self.work.mkdir(parents=True, exist_ok=True)

    def passes(self, solver: str, shape: str, precision: str, timed: int, block: int | None = None) -> float:
        """Median seconds of a pass."""
        command = [self.given.passes, solver, self.device, shape, timed, precision, self.given.threads]
        command += [] if block is None else [block]
        told = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout
        result = json.loads(told)
        print(f"  {solver} {shape} {precision}: {result['median_s']:.4f} s", file=sys.stderr)
        return result["median_s"]

    def solvers(self, rates: dict) -> str:
        head = ["solver", "cells x voxels x genes", "precision", "s", "GEMM rate", "copy rate", "s that do not grow with cells"]
        rows = [head]
        for shape in self.sizes.shapes:
            cells, voxels, genes = numbers(shape)
            quarter = f"{cells // 4}x{voxels}x{genes}"
            for solver in ("mirror", "adam"):
                for precision in PRECISIONS:
                    spent = self.passes(solver, shape, precision, self.sizes.timed)
                    fixed = max(0.0, (4 * self.passes(solver, quarter, precision, self.sizes.timed) - spent) / 3)
                    products = 4 * cells * voxels * genes / spent / rates["products"][block_of(shape)][precision]
                    moved = TRAFFIC * 4 * cells * voxels / spent / rates["copied"]
                    row = [solver, shape, precision, f"{spent:.4f}", f"{products:.0%}"]
                    rows.append([*row, f"{moved:.0%}" if solver == "adam" else "", f"{fixed:.4f}"])
        return columns(rows)

    def blocks(self) -> str:
        shape = self.sizes.shapes[0]
        rows = [["MB of a block", *(f"{solver} {precision} s" for solver in ("mirror", "adam") for precision in ("f32", "bf16"))]]
        for block in self.sizes.blocks:
            spent = [
                self.passes(solver, shape, precision, self.sizes.timed, block)
                for solver in ("mirror", "adam")
                for precision in ("f32", "bf16")
            ]
            rows.append([str(block), *(f"{s:.4f}" for s in spent)])
        return columns(rows)

    def package(self, shape: str) -> float | None:
        """Seconds per epoch of the package on the device."""
        cells, voxels, genes = numbers(shape)
        problem, out = self.work / f"{shape}.npz", self.work / "reference"
        if not problem.exists():
            chance = np.random.default_rng(1)
            S = chance.random((cells, genes), dtype=np.float32)
            S *= chance.random((cells, genes), dtype=np.float32) < 0.15
            np.savez(problem, S=S, G=chance.random((voxels, genes), dtype=np.float32), d=np.full(voxels, 1 / voxels))
        command = [self.given.python, SCRIPTS / "reference.py", problem, out, "--no-mapping", "--epochs", self.sizes.timed]
        command += ["--threads", self.given.threads, "--device", self.of_torch]
        try:
            run(command, stdout=sys.stderr)
        except subprocess.CalledProcessError:
            print(f"gpu: the package does not run at {shape} with {self.given.python}", file=sys.stderr)
            return None
        return json.loads((out / "result.json").read_text())["seconds_per_epoch"]

    def map(self, out: str, *flags) -> dict:
        shape = self.sizes.converged
        command = [self.given.tangram, "map", "--quiet", "--force", *inputs(self.work / shape.name), "--out", self.work / out]
        run([*command, "--device", self.device, "--threads", self.given.threads, *flags])
        return history(self.work / out)

    def converged(self, package: float | None) -> str:
        shape = self.sizes.converged
        prepare(shape, self.given.tangram, self.work / shape.name)
        adam = self.map("adam", "--solver", "adam", "--epochs", self.sizes.epochs, "--keep", "top:1")
        target, spent = float(adam["total"][-1]), float(adam["elapsed_s"][-1])
        rows = [["solver", "precision", "passes to the loss", "s to the loss", f"loss ({target:.5f} is to be reached)"]]
        if package is not None:
            who = f"package, epochs as timed at {self.sizes.shapes[0]}"
            rows.append([who, "f32", str(self.sizes.epochs), f"{package * self.sizes.epochs:.2f}", ""])
        rows.append(["adam", "f32", str(self.sizes.epochs), f"{spent:.2f}", f"{target:.5f}"])
        for precision in PRECISIONS:
            flags = ["--goal", "package", "--keep", "none", "--tolerance", 0, "--epochs", 200, "--precision", precision]
            mirror = self.map("mirror", *flags)
            at = np.flatnonzero(mirror["total"] <= target)
            told = ["not in 200", ""] if not len(at) else [str(at[0] + 1), f"{mirror['elapsed_s'][at[0]]:.2f}"]
            rows.append(["mirror", precision, *told, f"{mirror['total'].min():.5f}"])
        return columns(rows)

    def large(self) -> str:
        rows = [["cells x voxels x genes", "precision", "s a pass", "GB of the card"]]
        for precision in PRECISIONS:
            with GpuMemory() as memory:
                spent = self.passes("mirror", self.sizes.large, precision, 4)
            peak = "not told" if memory.peak is None else f"{memory.peak / 1e9:.1f}"
            rows.append([self.sizes.large, precision, f"{spent:.3f}", peak])
        return columns(rows)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--small", action="store_true", help="small sizes on the cores")
    arguments.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the machine; default all")
    arguments.add_argument("--tangram", type=Path, required=True)
    arguments.add_argument("--passes", type=Path, required=True)
    arguments.add_argument("--python", required=True)
    arguments.add_argument("--work", type=Path, required=True)
    bench = Bench(arguments.parse_args())
    command = [bench.given.python, SCRIPTS / "gpu_rates.py", bench.of_torch, *map(block_of, bench.sizes.shapes)]
    told = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout
    rates = json.loads(told)

    if bench.small:
        print("\nNot measured on a GPU: small sizes on the cores, which only show that this works.")
    print(f"\n{rates['device']}, torch {rates['torch']}: copies {rates['copied'] / 1e9:,.0f} GB/s (read and written); products, TFLOP/s")
    head = ["cells of a block x voxels x genes", *PRECISIONS]
    print(columns([head, *([shape, *(f"{of[p] / 1e12:.2f}" for p in PRECISIONS)] for shape, of in rates["products"].items())]))
    print(f"\nSeconds per pass or epoch; shares of those rates for 4 C V K operations, and for Adam {TRAFFIC * 4} C V bytes")
    print(bench.solvers(rates))
    print(f"\nOther blocks at {bench.sizes.shapes[0]}, seconds")
    print(bench.blocks())
    package = [bench.package(shape) for shape in bench.sizes.shapes]
    print("\nThe package on the same device, seconds per epoch")
    told = ["not run" if s is None else f"{s:.4f}" for s in package]
    print(columns([["cells x voxels x genes", "s"], *map(list, zip(bench.sizes.shapes, told))]))
    print(f"\nTo the loss of {bench.sizes.epochs:,} epochs of Adam at {bench.sizes.converged.name}, simulated tissue")
    print(bench.converged(package[0]))
    print("\nThe factored solver at size")
    print(bench.large())


if __name__ == "__main__":
    main()
