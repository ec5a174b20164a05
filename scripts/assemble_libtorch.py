"""Extracts the CPU part of libtorch from the published PyTorch wheels.

    assemble_libtorch.py WHEELS OUT

Writes `include/`, `lib/`, `libtorch.check` (size and name of every library) and `libtorch.sha256` (their SHA-256, as sha256sum writes
it) to OUT. The CUDA libraries of the torch wheel are not extracted. libcudart and libcupti are, because libtorch_cpu.so of that wheel
links to them.
"""

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath

# Libraries in torch/lib that a CPU program does not load, by a part of their name.
LEFT_OUT = ("cuda", "python", "nvrtc", "nvshmem", "global_deps", "libshm")
FROM_NVIDIA = ("libcudart.so.", "libcupti.so.")


def destination(wheel: str, member: PurePosixPath) -> PurePosixPath | None:
    """The path of a member of a wheel below OUT, or None if it is not needed."""
    if wheel.startswith("torch-"):
        if member.parts[:2] == ("torch", "include"):
            return PurePosixPath(*member.parts[1:])
        in_lib = member.parts[:-1] in (("torch", "lib"), ("torch.libs",))
        if in_lib and ".so" in member.name and not any(word in member.name for word in LEFT_OUT):
            return PurePosixPath("lib") / member.name
    elif member.name.startswith(FROM_NVIDIA):
        return PurePosixPath("lib") / member.name
    return None


def main(wheels: Path, out: Path) -> None:
    for path in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(path) as wheel:
            for entry in wheel.infolist():
                goes_to = destination(path.name, PurePosixPath(entry.filename))
                if goes_to is None or entry.is_dir():
                    continue
                target = out / goes_to
                target.parent.mkdir(parents=True, exist_ok=True)
                with wheel.open(entry) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                if goes_to.parts[0] == "lib":
                    target.chmod(0o755)
    libraries = sorted((out / "lib").iterdir())
    if not (out / "include/torch/csrc/api/include/torch/torch.h").exists() or not any(
        library.name == "libtorch_cpu.so" for library in libraries
    ):
        sys.exit("setup: the torch wheel does not contain torch.h and libtorch_cpu.so where they were expected")
    check = "".join(f"{library.stat().st_size} {library.name}\n" for library in libraries)
    (out / "libtorch.check").write_text(check)
    sums = []
    for library in libraries:
        with library.open("rb") as file:
            sums.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {library.name}\n")
    (out / "libtorch.sha256").write_text("".join(sums))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
