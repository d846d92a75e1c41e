"""The demo in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support import interpreter
from support.environment import REPOSITORY

TIMEOUT_SECONDS = 180


@contextmanager
def running_demo(out: Path, *options: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start the demo in a process group of its own; nothing of the group is left when the block ends."""
    command = [interpreter.python(), str(REPOSITORY / "tools" / "demo.py"), "--out", str(out), *options]
    process = subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, **streams)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_anything_left(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process of the demo's group still runs, a moment after the demo ended."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True
