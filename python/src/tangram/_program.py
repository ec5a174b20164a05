"""Starts the program and passes on what it says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


class TangramError(RuntimeError):
    """The program has failed. The text is what it said; `code` is its exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class UsageError(TangramError):
    """The arguments are wrong."""


class InputError(TangramError):
    """An input is missing, damaged or does not match the others."""


class OutputError(TangramError):
    """The output exists already, or cannot be written."""


class NotEnoughMemory(TangramError):
    """The mapping needs more memory than there is."""


_ERRORS = {2: UsageError, 3: InputError, 4: OutputError, 5: NotEnoughMemory}


def program() -> str:
    """The program: TANGRAM_PROGRAM, or `tangram` on the PATH."""
    named = os.environ.get("TANGRAM_PROGRAM")
    found = named or shutil.which("tangram")
    if not found or not Path(found).is_file():
        where = f"TANGRAM_PROGRAM={named} is no file" if named else "no program `tangram` on the PATH"
        raise FileNotFoundError(f"{where}: build it with `cargo build --release`, then set TANGRAM_PROGRAM=target/release/tangram")
    return found


def call(arguments: Sequence[str | os.PathLike[str]], *, progress: bool) -> str:
    """Runs a command of the program; gives what it printed for programs (`--json`).

    progress: pass its messages on to standard output, line by line, which a notebook shows
    """
    command = [program(), *[os.fspath(a) for a in arguments], "--json"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    said: list[str] = []

    def listen() -> None:
        assert running.stderr is not None
        for line in running.stderr:
            said.append(line.rstrip("\n"))
            if progress:
                print(said[-1], flush=True)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        assert running.stdout is not None
        printed = running.stdout.read()
        code = running.wait()
    except BaseException:
        # An interrupted notebook cell stops the program in its own orderly way.
        running.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
        running.wait()
        raise
    finally:
        listener.join(timeout=10)
    if code != 0:
        begin = next((i for i, line in enumerate(said) if line.startswith("error: ")), max(len(said) - 3, 0))
        text = "\n".join(said[begin:]).removeprefix("error: ") or f"tangram ended with code {code}"
        raise _ERRORS.get(code, TangramError)(text, code)
    return printed
