#!/usr/bin/env python3
"""Damages files in every way, and has the program read them: it must say what is wrong, and never crash, hang or take the memory.

    scripts/fuzz.py --tangram target/release/tangram [--files 10000] [--seed 1] [--jobs 2] [--kinds h5ad,zarr,…] [--seconds 20] [--keep DIR]

Takes the small files of crates/store/tests/python/make_files.py (so TANGRAM_PYTHON must name a Python that can make them, see
scripts/python-env.sh), a simulated tissue, a run and a sweep. Each is damaged (bytes flipped, cut, swapped, numbers made huge, links in a
circle, pipes in the place of files …), and read by `inspect` and a mapping of two epochs, or by the commands that read such a file. The same
seed makes the same files.

A command fails the test if it ends with a code that means a defect (1, 70, 101), by a signal, prints that it panicked, takes more than
20 s or more than 2 GB. Prints a table of what was tried and what failed, keeps the files that failed in DIR, and ends with 1 if any did.
"""

import argparse
import collections
import concurrent.futures
import json
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
# Of processor time, and of the clock unless --seconds says otherwise: on a busy machine the clock says little.
SECONDS = 20
BYTES = 2 << 30
DEFECTS = {1, 70, 101}
HUGE = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 1 << 40, 1 << 33]
# What HDF5 marks its structures with: most bytes of a small file are numbers, whose damage says little.
MARKS = [b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"BTHD", b"BTLF", b"\x89HDF"]


# --- damage ------------------------------------------------------------------------------------------------


def place(data, rng):
    """Where to damage binary data: half the time near one of HDF5's structures."""
    if rng.random() < 0.5:
        mark = rng.choice(MARKS)
        found = []
        at = data.find(mark)
        while at >= 0 and len(found) < 200:
            found.append(at)
            at = data.find(mark, at + 1)
        if found:
            return min(rng.choice(found) + rng.randrange(0, 160), len(data) - 1)
    return rng.randrange(len(data))


def damage_bytes(data, rng):
    data = bytearray(data)
    if not data:
        return bytes([rng.randrange(256)])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = place(data, rng)
        how = rng.randrange(9)
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at] = rng.randrange(256)
        elif how == 2:
            width = rng.choice([1, 2, 4, 8])
            value = rng.choice(HUGE) & ((1 << (8 * width)) - 1)
            data[at : at + width] = value.to_bytes(width, "little")
        elif how == 3:
            del data[rng.randrange(len(data)) :]
            data = data or bytearray(b"\0")
        elif how == 4:
            n, other = rng.choice([1, 8, 64, 512]), rng.randrange(len(data))
            one, two = data[at : at + n], data[other : other + n]
            if len(one) == len(two):
                data[at : at + n], data[other : other + n] = two, one
        elif how == 5:
            n = rng.choice([1, 8, 64, 512, 4096])
            data[at : at + n] = bytes(len(data[at : at + n]))
        elif how == 6:
            n = rng.choice([1, 8, 64])
            data[at:at] = rng.randbytes(n)
        elif how == 7:
            n = rng.choice([1, 8, 64, 512])
            del data[at : at + n]
            data = data or bytearray(b"\0")
        else:
            for i in range(at, min(at + rng.choice([4, 16, 64]), len(data))):
                data[i] = rng.randrange(256)
    return bytes(data)


def damage_text(data, rng):
    text = data.decode("utf-8", "replace")
    for _ in range(rng.choice([1, 1, 2, 3])):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        how = rng.randrange(10)
        numbers = [i for i, c in enumerate(text) if c.isdigit()]
        if how <= 2 and numbers:
            i = rng.choice(numbers)
            value = rng.choice([str(rng.choice(HUGE)), "-1", "1e308", "nan", "0.5", "9" * 40, ""])
            end = i
            while end < len(text) and text[end].isdigit():
                end += 1
            text = text[:i] + value + text[end:]
        elif how == 3:
            del lines[at]
            text = "\n".join(lines)
        elif how == 4:
            lines.insert(at, lines[rng.randrange(len(lines))])
            text = "\n".join(lines)
        elif how == 5:
            text = text[: rng.randrange(len(text) + 1)]
        elif how == 6:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
            text = "\n".join(lines)
        elif how == 7:
            i = rng.randrange(len(text) + 1)
            text = text[:i] + rng.choice(["\0", "\x1b[31m", "é", "{", "[", '"', "\n", "\t", "x" * 5000, "[" * 300]) + text[i:]
        elif how == 8:
            words = ["float32", "int64", "csr_matrix", "csc_matrix", "dataframe", "categorical", "string-array", "dict", "true", "null", "bytes", "gzip", "vlen-utf8"]
            here = [w for w in words if w in text]
            if here:
                text = text.replace(rng.choice(here), rng.choice(words), rng.choice([1, -1]))
        else:
            return damage_bytes(text.encode(), rng)
    return text.encode("utf-8", "replace")


def is_text(path):
    return path.suffix in {".json", ".toml", ".tsv", ".csv", ".mtx", ".txt"} or path.name.startswith(".z")


def damage_file(path, rng):
    data = path.read_bytes()
    path.write_bytes(damage_text(data, rng) if is_text(path) else damage_bytes(data, rng))


def damage_folder(folder, rng):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    for _ in range(rng.choice([1, 1, 2])):
        # No link to /dev/zero and no pipe, which an earlier damage may have put in their place.
        files = [f for f in files if f.is_file() and not f.is_symlink()]
        if not files:
            return
        file, how = rng.choice(files), rng.randrange(14)
        if how <= 8:
            damage_file(file, rng)
        elif how == 9:
            file.unlink()
        elif how == 10:
            other = rng.choice(files)
            one, two = file.read_bytes(), other.read_bytes()
            file.write_bytes(two)
            other.write_bytes(one)
        elif how == 11:
            link = file.parent / rng.choice(["self", "a", "c"])
            if not link.exists():
                link.symlink_to(rng.choice([file.parent, folder]))
        elif how == 12:
            file.unlink()
            os.mkfifo(file)
        else:
            file.unlink()
            file.symlink_to(rng.choice(["/dev/zero", "/dev/null", "nothing", file.name]))


def damage(path, rng):
    (damage_folder if path.is_dir() else damage_file)(path, rng)


# --- running -----------------------------------------------------------------------------------------------


def run(command, folder, limit):
    """(code, seconds, bytes, standard error); the code is negative after a signal, None after too long."""
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True)
        began, code = time.monotonic(), None
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() - began > limit:
                os.killpg(child.pid, signal.SIGKILL)
                _, _, usage = os.wait4(child.pid, 0)
                break
            time.sleep(0.004)
        child.returncode = code if code is not None else -9
        errors.seek(0)
        if usage.ru_utime + usage.ru_stime > SECONDS:
            code = None
        return code, time.monotonic() - began, usage.ru_maxrss << 10, errors.read(100_000).decode("utf-8", "replace")


def why_it_fails(code, size, errors):
    if code is None:
        return "too long"
    if code < 0:
        return f"signal {-code}"
    if code in DEFECTS:
        return f"exit code {code}"
    if "panicked at" in errors:
        return "panic"
    if size > BYTES:
        return f"{size >> 20} MB"
    if any(ord(c) < 32 and c not in "\n\t\r" for c in errors):
        return "control characters printed"
    return None


MAP = "--epochs 2 --threads 1 --quiet --keep none".split()


def commands(kind, name, work):
    """What reads the damaged file `name`."""
    cells, voxels = f"{work['tissue']}/cells.h5ad", f"{work['tissue']}/voxels.h5ad"
    pair = ["--cells", name, "--voxels", name]
    if kind in {"h5ad", "zarr", "10x", "mtx"}:
        return [["inspect", "--quiet", name], ["map", *pair, "--out", "out", *MAP]]
    if kind == "toml":
        return [["map", "--config", name, "--out", "out", *MAP[2:]]]
    if kind == "npy":
        adam = ["--solver", "adam", "--epochs", "2", "--threads", "1", "--quiet", "--keep", "all"]
        return [["map", "--cells", cells, "--voxels", voxels, "--init-logits", name, "--out", "out", *adam]]
    if kind == "genes":
        return [["map", "--cells", cells, "--voxels", voxels, "--genes", name, "--out", "out", *MAP]]
    if kind == "run":
        project = ["project", "--quiet", "--mapping", name, "--types", "obs:cell_type", "--out", "types.zarr"]
        return [["score", "--quiet", "--mapping", name], project, ["map", "--config", f"{name}/run.toml", "--out", "out", "--quiet"]]
    if kind == "sweep":
        return [["sweep", "status", "--quiet", name], ["sweep", "collect", "--quiet", name, "--out", "collected"]]
    raise ValueError(kind)


def one(number, kind, original, seed, work, keep, tangram, limit):
    """Damages a file and tries it; gives (kind, original, [(code, why it failed)])."""
    rng = random.Random(f"{seed} {number}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        folder = Path(folder)
        path = folder / original.name
        if original.is_dir():
            shutil.copytree(original, path, symlinks=True)
        else:
            shutil.copy(original, path)
        damage(path, rng)
        results = []
        for arguments in commands(kind, path.name, work):
            for left in ("out", "types.zarr", "collected"):
                shutil.rmtree(folder / left, ignore_errors=True)
            code, seconds, size, errors = run([tangram, *arguments], folder, limit)
            failure = why_it_fails(code, size, errors)
            results.append((code, failure))
            if failure and keep:
                place = keep / f"{seed}-{number}-{original.name}"
                if not place.exists():
                    if path.is_dir():
                        shutil.copytree(path, place, symlinks=True, ignore=lambda d, names: [n for n in names if (Path(d) / n).is_fifo()])
                    else:
                        shutil.copy(path, place)
                with (keep / "failures.txt").open("a") as out:
                    out.write(f"{place.name}: {' '.join(arguments)}: {failure} ({seconds:.1f} s)\n{errors[-2000:]}\n")
        return kind, original, results


# --- originals ---------------------------------------------------------------------------------------------


def originals(work, tangram):
    """The files to damage, by kind."""
    python = os.environ.get("TANGRAM_PYTHON")
    if not python:
        sys.exit("fuzz: TANGRAM_PYTHON must name a Python with anndata: TANGRAM_PYTHON=$(bash scripts/python-env.sh tests)")
    made = work["root"] / "made"
    made.mkdir()
    subprocess.run([python, REPOSITORY / "crates/store/tests/python/make_files.py", made], check=True, stdout=subprocess.DEVNULL)

    def do(*arguments):
        subprocess.run([tangram, *map(str, arguments)], cwd=work["root"], check=True, stdout=subprocess.DEVNULL)

    tissue = work["tissue"]
    do("simulate", "--quiet", "--cells", 60, "--voxels", 9, "--spots", 4, "--genes", 24, "--panel", 24, "--out", tissue)
    both = ["--cells", tissue / "cells.h5ad", "--voxels", tissue / "voxels.h5ad"]
    do("map", *both, *MAP[:-2], "--keep", "all", "--out", "run")
    do("map", *both, *MAP, "--format", "h5ad", "--out", "run_h5ad")
    do("sweep", "new", "loo", *both, "--epochs", 2, "--out", "sweep")
    do("sweep", "run", "sweep", "--all", "--quiet")
    root = work["root"]
    (root / "settings.toml").write_text((root / "run/run.toml").read_text())
    shutil.copy(REPOSITORY / "configs/map.toml", root / "map.toml")
    (root / "genes.txt").write_text("\n".join(json.loads(subprocess.run([tangram, "inspect", "--json", tissue / "cells.h5ad"], check=True, capture_output=True).stdout)["first_names"][1]) + "\n")
    npy = root / "logits.npy"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (60, 9), }"
    header += b" " * (-(11 + len(header)) % 64) + b"\n"
    npy.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + random.Random(1).randbytes(0) + bytes(8 * 60 * 9))

    kinds = collections.defaultdict(list)
    for path in sorted(made.iterdir()):
        if path.name in {"bad", "truncated.h5ad", "text.h5ad"}:
            continue
        if path.suffix == ".h5ad":
            kinds["h5ad"].append(path)
        elif path.suffix == ".zarr":
            kinds["zarr"].append(path)
        elif path.suffix == ".h5":
            kinds["10x"].append(path)
        elif path.is_dir():
            kinds["mtx"].append(path)
    kinds["h5ad"] += [tissue / "cells.h5ad", tissue / "voxels.h5ad"]
    kinds["toml"] = [root / "settings.toml", root / "map.toml"]
    kinds["npy"] = [npy]
    kinds["genes"] = [root / "genes.txt"]
    kinds["run"] = [root / "run", root / "run_h5ad"]
    kinds["sweep"] = [root / "sweep"]
    return kinds


# Of a hundred files.
SHARES = {"h5ad": 40, "zarr": 22, "10x": 8, "mtx": 8, "toml": 4, "npy": 3, "genes": 1, "run": 9, "sweep": 5}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tangram", default=str(REPOSITORY / "target/release/tangram"))
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file, to repeat one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--kinds", default=",".join(SHARES))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="by the clock, for each command")
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    tangram = str(Path(arguments.tangram).resolve())
    keep = arguments.keep.resolve() if arguments.keep else None
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-originals-") as root:
        root = Path(root)
        work = {"root": root, "tissue": root / "tissue"}
        kinds = originals(work, tangram)
        wanted = arguments.kinds.split(",")
        weights = [SHARES[kind] for kind in wanted]
        tried, failed, codes = collections.Counter(), collections.Counter(), collections.defaultdict(collections.Counter)
        reasons = collections.Counter()

        def job(number):
            rng = random.Random(f"{arguments.seed} {number} kind")
            kind = rng.choices(wanted, weights)[0]
            return one(number, kind, rng.choice(kinds[kind]), arguments.seed, work, keep, tangram, arguments.seconds)

        began = time.monotonic()
        numbers = range(arguments.first, arguments.first + arguments.files)
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            for done, (kind, _, results) in enumerate(pool.map(job, numbers), 1):
                tried[kind] += 1
                failed[kind] += any(failure for _, failure in results)
                for code, failure in results:
                    codes[kind][code] += 1
                    if failure:
                        reasons[failure] += 1
                if done % 500 == 0:
                    print(f"{done} files, {sum(failed.values())} failed, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        print(f"{'kind':6}  {'files':>6}  {'failed':>6}  exit codes of its commands")
        for kind in wanted:
            spread = ", ".join(f"{code}: {n}" for code, n in sorted(codes[kind].items(), key=str))
            print(f"{kind:6}  {tried[kind]:6}  {failed[kind]:6}  {spread}")
        n_commands = sum(sum(c.values()) for c in codes.values())
        print(f"{'all':6}  {sum(tried.values()):6}  {sum(failed.values()):6}  {n_commands} commands in {time.monotonic() - began:.0f} s, seed {arguments.seed}")
        for reason, n in reasons.most_common():
            print(f"  {n} commands: {reason}")
        return 1 if any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
