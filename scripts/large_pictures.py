"""Times figures and a report of many voxels; called by large-pictures.sh: large_pictures.py TANGRAM WORK_DIR"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

MEASURE = Path(__file__).with_name("measure.py")
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
OPENINGS = 3


def browser() -> str:
    named = os.environ.get("TANGRAM_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        sys.exit("no Chromium: install one, or name it by TANGRAM_CHROMIUM")
    return found


class Bench:
    def __init__(self, tangram: Path, work: Path) -> None:
        self.tangram, self.work = tangram, work

    def measured(self, *arguments: object) -> dict:
        record = self.work / "measured.json"
        command = [sys.executable, MEASURE, record, self.tangram, *map(str, arguments)]
        subprocess.run(command, check=True, cwd=self.work, stdout=subprocess.DEVNULL)
        return json.loads(record.read_text())

    def map(self, name: str, voxels: int, genes: int) -> Path:
        run = self.work / name
        if not (run / "run.toml").exists():
            tissue = self.work / f"{name}-tissue"
            shutil.rmtree(tissue, ignore_errors=True)
            sizes = ["--cells", 2000, "--voxels", voxels, "--spots", 10, "--genes", genes, "--panel", genes]
            self.measured("simulate", "--out", tissue, *sizes, "-q")
            inputs = ["--cells", tissue / "cells.h5ad", "--voxels", tissue / "voxels.h5ad"]
            self.measured("map", *inputs, "--out", run, "--epochs", 5, "--drop-empty", "--no-report", "--force", "-q")
        return run


def opened(report: Path) -> float:
    """Seconds from opening the report until all its maps are drawn, in a browser of its own."""
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        chromium = playwright.chromium.launch(executable_path=browser(), args=flags)
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        start = time.perf_counter()
        page.goto(report.as_uri())
        page.wait_for_selector(".run[data-ready=yes]", timeout=120_000)
        page.wait_for_function(
            "n => [...document.querySelectorAll('.map .plot')].filter(p => p.data && p.data[0].x.length === n).length >= 2",
            arg=100_000,
            timeout=120_000,
        )
        # Twice through the loop of frames: what was drawn is on the screen.
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seconds = time.perf_counter() - start
        chromium.close()
    if errors:
        sys.exit(f"the report has errors: {errors}")
    return seconds


def main(tangram: Path, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(tangram, work)
    run = bench.map("million", 1_000_000, 24)
    print("| 1,000,000 voxels | seconds | peak memory | MB |\n|---|---|---|---|")
    for figure in ("map", "types", "genes"):
        for ending in ("svg", "png"):
            out = work / f"{figure}.{ending}"
            cost = bench.measured("plot", figure, "--mapping", run, "--out", out, "--force", "-q")
            seconds, peak, size = cost["seconds"], cost["peak_bytes"] / 1e9, out.stat().st_size / 1e6
            print(f"| `{figure}` as {ending.upper()} | {seconds:.1f} | {peak:.2f} GB | {size:.1f} |", flush=True)
    run, report = bench.map("wide", 100_000, 200), work / "report.html"
    cost = bench.measured("report", run, "--out", report, "--force", "-q")
    times = " ".join(f"{opened(report):.1f}" for _ in range(OPENINGS))
    size = report.stat().st_size / 1e6
    print("\n| report of 100,000 voxels × 200 genes | |\n|---|---|")
    print(f"| written | {cost['seconds']:.1f} s, {cost['peak_bytes'] / 1e9:.2f} GB |")
    print(f"| size | {size:.1f} MB |\n| opened | {times} s |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
