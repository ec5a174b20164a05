"""Measures a card, in steps of their own time limits: runs in the folder that `gpu.sh pack` made. Needs Python and torch, nothing else.

Every step prints its lines at once and adds them to results.txt, so that a cut leaves all that was measured.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PRECISIONS = ["f32", "tf32", "fp16", "bf16"]
# How far the final loss of a rounded run may be above that of single precision.
GATES = {"f32": 1e-4, "tf32": 5e-4, "fp16": 5e-4, "bf16": 2e-3}
# Logits and two moments read and written once each, logits read once more for P: the least an epoch of Adam moves, in matrices of
# C V numbers.
TRAFFIC = 7
BLOCK_BYTES, FEWEST_CELLS = 64 << 20, 2048


class Sizes:
    """What is measured: as on a GPU, or small. `passes`: of a training, by shape."""

    def __init__(self, small: bool):
        self.shapes = ["1500x200x40", "2000x300x60"] if small else ["58022x4951x253", "100000x10000x1000"]
        self.passes = dict(zip(self.shapes, [8, 6] if small else [12, 6]))
        self.large = "4000x500x100" if small else "1000000x100000x1000"
        self.converged = self.shapes[0]
        self.epochs = 60 if small else 1_000
        self.most_passes = 60 if small else 200


def expectation(solver: str, shape: str, passes: int) -> str:
    return f"{solver} {shape} {passes}"


def numbers(shape: str) -> tuple[int, int, int]:
    cells, voxels, genes = (int(n) for n in shape.split("x"))
    return cells, voxels, genes


def block_of(shape: str) -> str:
    """Cells of a block as the program chooses them, with voxels and genes."""
    cells, voxels, genes = numbers(shape)
    return f"{min(cells, max(FEWEST_CELLS, BLOCK_BYTES // (4 * voxels)))}x{voxels}x{genes}"


class Results:
    """Lines for people, and for programs as JSON, on disk when they are printed."""

    def __init__(self, path: Path):
        self.file = path.open("a", encoding="utf-8")

    def say(self, line: str, **fields) -> None:
        print(line, flush=True)
        self.file.write(line + "\n")
        if fields:
            self.file.write("  json " + json.dumps(fields) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())


class Step:
    """A command with a time limit, whose lines come as they are printed."""

    def __init__(self, command: list, limit: float):
        self.command, self.limit = [str(part) for part in command], limit
        self.failure = None

    def lines(self):
        errors = tempfile.TemporaryFile("w+", errors="replace")
        process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, cwd=HERE
        )
        ends = time.monotonic() + self.limit
        # A group of its own, so that what the command started ends with it.
        def cut(*_) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        previous = signal.signal(signal.SIGALRM, cut)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, self.limit))
        try:
            yield from process.stdout
            process.wait()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
            if process.poll() is None:
                cut()
                process.wait()
        if process.returncode != 0:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
            self.failure = f"cut after {self.limit:.0f} s" if time.monotonic() >= ends else last[0][:300]


class Kit:
    def __init__(self, given: argparse.Namespace):
        self.given, self.results = given, Results(given.results)
        self.ends = time.monotonic() + 60 * given.minutes
        self.small, self.device = given.small, "torch-cpu" if given.small else "cuda"
        self.sizes, self.rates = Sizes(given.small), None
        expected = HERE / "expected.json"
        self.expected = json.loads(expected.read_text()) if expected.exists() else {}

    def run(self, what: str, limit: float, command: list):
        """The JSON objects that a command prints, one a line; says why where it does not end well."""
        left = self.ends - time.monotonic()
        if left < 2:
            self.results.say(f"{what}: not measured: the {self.given.minutes:g} minutes are over")
            return
        step = Step(command, min(limit, left))
        for line in step.lines():
            try:
                yield json.loads(line)
            except ValueError:
                pass
        if step.failure is not None:
            self.results.say(f"{what}: not measured to the end: {step.failure}")

    def passes(self, what: str, limit: float, solver: str, shape: str, passes: int, precisions: list[str], *more):
        command = [HERE / "passes", solver, self.device, shape, passes, ",".join(precisions), "--threads", self.given.threads]
        yield from self.run(what, limit, [*command, *more])

    def versions(self) -> None:
        for found in self.run("versions", 60, [sys.executable, HERE / "gpu_versions.py"]):
            self.results.say("versions: " + ", ".join(f"{k} {v}" for k, v in found.items()), **found)
        for found in self.run("program", 30, [HERE / "passes", "device", self.device]):
            self.results.say("program: " + ", ".join(f"{k}: {v}" for k, v in found.items()), **found)

    def measure_rates(self) -> None:
        of_torch = "cpu" if self.small else "cuda"
        command = [sys.executable, HERE / "gpu_rates.py", of_torch, *map(block_of, self.sizes.shapes)]
        for found in self.run("rates", 75, command):
            self.rates = found
            self.results.say(f"rates: {found['device']} copies {found['copied'] / 1e9:,.0f} GB/s (read and written)", **found)
            for shape, of in found["products"].items():
                each = [f"{p} {'none' if of[p] is None else format(of[p] / 1e12, '.2f')}" for p in PRECISIONS]
                soft = found["softmax"][shape]
                self.results.say(f"rates: block {shape}: TFLOP/s {', '.join(each)}; softmax and conversion {soft * 1e3:.2f} ms")

    def training(self, solver: str, shape: str, precisions: list[str], limit: float) -> None:
        passes = self.sizes.passes[shape]
        cells, voxels, genes = numbers(shape)
        expected = self.expected.get(expectation(solver, shape, passes))
        for found in self.passes(f"{solver} {shape}", limit, solver, shape, passes, precisions):
            precision, device_s = found["precision"], found["device_s"]
            line = f"{solver} {shape} {precision}: {found['median_s']:.4f} s a pass, {device_s:.4f} of it on the device"
            if self.rates and (rate := self.rates["products"][block_of(shape)][precision]):
                line += f", {4 * cells * voxels * genes / device_s / rate:.0%} of its product rate"
            if self.rates and solver == "adam":
                line += f", {device_s * self.rates['copied'] / (TRAFFIC * 4 * cells * voxels):.2f} x the traffic floor"
            if found["gpu_bytes"] is not None:
                line += f", {found['gpu_bytes'] / 1e9:.2f} GB of the card"
            line += f"; loss after {passes} passes {found['loss']:.6f}"
            if expected is None:
                line += ", of the native kernels not computed beforehand"
            else:
                apart = found["loss"] - expected
                line += f", native {expected:.6f}, apart {apart:+.1e}" + ("" if abs(apart) < GATES[precision] else ": OUT OF ITS GATE")
            self.results.say(line, expected=expected, **found)

    def to_the_loss(self) -> None:
        shape, epochs = self.sizes.converged, self.sizes.epochs
        problem, out = self.given.work / "problem.npz", self.given.work / "reference"
        self.given.work.mkdir(parents=True, exist_ok=True)
        target, threads = None, self.given.threads
        what = f"package {shape}"
        if (missing := self.without_package()) is not None:
            self.results.say(f"{what}: not measured: {missing}")
        else:
            for _ in self.run("problem", 60, [HERE / "passes", "write", shape, problem]):
                pass
            command = [sys.executable, HERE / "reference.py", problem, out, "--no-mapping", "--epochs", epochs, "--threads", threads]
            for _ in self.run(what, 90, [*command, "--device", "cpu" if self.small else "cuda"]):
                pass
            if (out / "result.json").exists():
                found = json.loads((out / "result.json").read_text())
                target = found["history"]["total"][-1]
                self.results.say(
                    f"{what}: {found['seconds_per_epoch']:.4f} s an epoch, {found['seconds']:.1f} s to {target:.5f} in {epochs} epochs",
                    **{k: v for k, v in found.items() if isinstance(v, (int, float, str))},
                )
        if target is None:
            return
        for solver, precisions in (("mirror", ["fp16", "tf32", "f32"]), ("adam", ["f32"])):
            passes = self.sizes.most_passes if solver == "mirror" else epochs
            more = ["--target", target, "--tissue"]
            for found in self.passes(f"{solver} to the loss", 45, solver, shape, passes, precisions, *more):
                told = f"not in {passes} passes, least {found['least_loss']:.5f}"
                if found["reached_pass"] is not None:
                    told = f"after {found['reached_pass']} passes, {found['reached_s']:.2f} s"
                self.results.say(f"to the package's loss, {solver} {found['precision']}: {told}", **found)

    def without_package(self) -> str | None:
        if not (HERE / "package").is_dir():
            return "the kit was packed without it"
        return None if importlib.util.find_spec("numpy") else "it needs numpy, which this Python has not"

    def large(self) -> None:
        shape = self.sizes.large
        cells, voxels, genes = numbers(shape)
        for found in self.passes(f"mirror {shape}", 120, "mirror", shape, 3, ["fp16", "tf32", "bf16"]):
            line = f"mirror {shape} {found['precision']}: {found['median_s']:.3f} s a pass, {found['device_s']:.3f} of it on the device"
            line += f" ({4 * cells * voxels * genes / found['device_s'] / 1e12:.1f} TFLOP/s)"
            if found["gpu_bytes"] is not None:
                line += f", {found['gpu_bytes'] / 1e9:.1f} GB of the card"
            self.results.say(line, **found)

    def same_bits(self) -> None:
        shape = self.sizes.shapes[0]
        for solver, precision in (("mirror", "fp16"), ("mirror", "tf32"), ("adam", "f32")):
            runs = list(self.passes(f"bits of {solver}", 40, solver, shape, 5, [precision, precision]))
            if len(runs) == 2:
                one, two = runs
                same = one["bits"] == two["bits"]
                told = "the same bits" if same else f"not the same bits: losses {one['loss']!r} and {two['loss']!r}"
                self.results.say(f"twice, {solver} {precision}: {told}", same=same)

    def all(self) -> None:
        begun = time.monotonic()
        where = "NOT A GPU: small sizes on the cores, which only show that this works" if self.small else "cuda"
        self.results.say(f"== {time.strftime('%Y-%m-%d %H:%M:%S')}, {where}, {self.given.threads} threads")
        self.versions()
        self.measure_rates()
        for shape, limits in zip(self.sizes.shapes, [(60, 30), (100, 45)]):
            self.training("mirror", shape, PRECISIONS, limits[0])
            self.training("adam", shape, ["f32"], limits[1])
        self.to_the_loss()
        self.large()
        self.same_bits()
        self.results.say(f"== {time.monotonic() - begun:.0f} s in all")


def expect(given: argparse.Namespace) -> None:
    """Computes by the native kernels what trainings come to: `pack` runs this where there is no card."""
    found = {}
    for small in (True, False):
        sizes = Sizes(small)
        for shape in sizes.shapes if small or given.expect == "all" else []:
            cells, voxels, _ = numbers(shape)
            for solver in ("mirror", "adam"):
                if solver == "adam" and cells * voxels > 500_000_000:
                    continue  # 12 bytes a cell and voxel: more than the machines that pack have
                passes = sizes.passes[shape]
                command = [HERE / "passes", solver, "cpu", shape, passes, "f32", "--threads", given.threads]
                told = subprocess.run([str(p) for p in command], check=True, stdout=subprocess.PIPE, text=True).stdout
                found[expectation(solver, shape, passes)] = json.loads(told)["loss"]
                print(f"gpu: {solver} {shape}: {found[expectation(solver, shape, passes)]:.6f}", file=sys.stderr)
    (HERE / "expected.json").write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--small", action="store_true", help="small sizes on the cores")
    arguments.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the machine; default all")
    arguments.add_argument("--minutes", type=float, default=8.0, help="after which nothing more is begun, and what runs is cut")
    arguments.add_argument("--results", type=Path, default=HERE / "results.txt")
    arguments.add_argument("--work", type=Path, default=HERE / "work")
    arguments.add_argument("--expect", choices=["small", "all"], help=argparse.SUPPRESS)
    given = arguments.parse_args()
    given.results, given.work = given.results.resolve(), given.work.resolve()
    if given.expect:
        expect(given)
    else:
        Kit(given).all()


if __name__ == "__main__":
    main()
