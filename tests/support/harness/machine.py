"""The machine of one job: user, process and mount namespaces of its own, in which nothing of another job can be seen.

GitHub gives every job a fresh virtual machine; processes that a step leaves behind continue until the job ends, and die
with it.  `guest.py` runs inside, and this is the other end of its socket: a JSON object a message, its length in eight
bytes before it, and for a program the file that takes what it prints.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from support import compiled
from support.environment import missing

GUEST = Path(__file__).with_name("guest.py")
# What a program left behind may hold its output open; the runner waits this long for it (ProcessInvoker.cs).
_STREAMS_SECONDS = 5
# Whatever of these there is holds programs and settings of the system.
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "nix")


class MachineError(Exception):
    """A file of the machine can't be read or written; the message is the system's."""


@dataclass(frozen=True)
class Layout:
    """Where the parts of a runner lie on its machine."""

    home: str
    work: str
    tools: str


# https://docs.github.com/en/actions/reference/runners/github-hosted-runners#file-systems, and what the runner's
# ContainerInfo.cs makes of its folders where the job has a `container:`.
HOSTED = Layout(home="/home/runner", work="/home/runner/work", tools="/opt/hostedtoolcache")
CONTAINER = Layout(home="/github/home", work="/__w", tools="/__t")


@dataclass(frozen=True)
class Ended:
    """A program that ended; `late` where it was stopped after its time."""

    code: int
    output: bytes
    late: bool


class Machine:
    """A machine that is on until it is closed; a context manager.

    Arguments:
        folder: the outside of it: `home`, `work` and `tmp` lie below, and stay when the machine is gone.
        pythons: folders of interpreters and packages; each machine changes its own copy.
        reachable: folders that stand for the world outside, and are the same for every machine.
        kept: what the runner keeps in its memory, where root on the machine finds it.

    A machine that can't have namespaces of its own skips the test, and fails it where `CI=true`.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        *,
        pythons: Sequence[Path] = (),
        reachable: Sequence[Path] = (),
        kept: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.layout = layout
        for name in ("home", "work", "tmp", "root", "changes"):
            (folder / name).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        system = [f"/{name}" for name in _SYSTEM if os.path.lexists(f"/{name}")]
        interpreter = Path(sys.base_prefix).resolve()
        copies = sorted({interpreter, *(path for path in pythons if path.exists())})
        compiled.FOLDER.mkdir(parents=True, exist_ok=True)
        plan = {
            "root": str(folder / "root"),
            "system": system,
            "copies": [
                [str(path), str(folder / "changes" / str(number)), path == interpreter and str(compiled.interpreter())]
                for number, path in enumerate(copies)
            ],
            "read": [[str(compiled.FOLDER), compiled.ON_MACHINES]],
            "binds": [
                [str(folder / "tmp"), "/tmp"],
                [str(folder / "home"), layout.home],
                [str(folder / "work"), layout.work],
                *([str(path), str(path)] for path in reachable),
            ],
        }
        self._control, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [str(Path(sys.base_prefix) / "bin" / "python3"), "-I", "-S", str(GUEST), str(other.fileno())],
                env=dict(kept or {}),
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
            )
        reported = self._ask(plan)
        if "unavailable" in reported:
            self.close()
            missing(f"a job can't have a machine of its own: {reported['unavailable']}")

    @property
    def pid(self) -> int:
        """The process outside that stands for the machine."""
        return self._process.pid

    def run(self, command: Sequence[str], env: Mapping[str, str], cwd: str, seconds: float) -> Ended:
        """Run a program inside; `command` begins with its path."""
        reader, writer = os.pipe()
        request = {"operation": "run", "command": list(command), "env": dict(env), "cwd": cwd, "seconds": seconds}
        try:
            self._send(request, [writer])
        finally:
            os.close(writer)
        printed = bytearray()
        while not select.select([self._control], [], [], 0)[0]:
            ready, _, _ = select.select([self._control.fileno(), *([reader] if reader >= 0 else [])], [], [])
            if reader in ready and not _take(reader, printed):
                os.close(reader)
                reader = -1
        reported = self._receive()
        if reader >= 0:
            _take_rest(reader, printed)
        if "error" in reported:
            raise MachineError(reported["error"])
        return Ended(reported["code"], bytes(printed), reported["late"])

    def read(self, *paths: str) -> list[bytes | None]:
        """The contents of files; None where there is no regular file."""
        reported = self._request(operation="read", paths=list(paths))["files"]
        return [None if content is None else base64.b64decode(content) for content in reported]

    def write(self, files: Mapping[str, bytes], removed: Sequence[str] = ()) -> None:
        """Create or replace files by their paths, and remove others."""
        pairs = [[path, base64.b64encode(content).decode("ascii")] for path, content in files.items()]
        self._request(operation="write", files=pairs, removed=list(removed))

    def collect(self, path: str) -> list[tuple[str, bytes]]:
        """The files below a folder, or the one file, by their path; hidden ones are left out."""
        reported = self._request(operation="collect", path=path)["files"]
        return [(name, base64.b64decode(content or "")) for name, content in reported]

    def outside(self, path: str) -> Path:
        """Where a file of the job's folders is outside."""
        for name, inside in (("work", self.layout.work), ("home", self.layout.home), ("tmp", "/tmp")):
            if path == inside or path.startswith(inside + "/"):
                return self.folder / name / path[len(inside) :].lstrip("/")
        raise ValueError(path)

    def close(self) -> None:
        """Switch it off: every process in it dies."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _request(self, **request: Any) -> dict[str, Any]:
        reported = self._ask(request)
        if "error" in reported:
            raise MachineError(reported["error"])
        return reported

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._send(request, [])
        return self._receive()

    def _send(self, request: Mapping[str, Any], files: list[int]) -> None:
        data = json.dumps(request).encode()
        socket.send_fds(self._control, [len(data).to_bytes(8, "big")], files)
        self._control.sendall(data)

    def _receive(self) -> dict[str, Any]:
        head = self._control.recv(8, socket.MSG_WAITALL)
        data = self._control.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if head else b""
        if not data:
            raise RuntimeError(f"the machine ended: {self._process.wait()}")
        reported: dict[str, Any] = json.loads(data)
        return reported


def _take(reader: int, printed: bytearray) -> bool:
    data = os.read(reader, 65536)
    printed += data
    return bool(data)


def _take_rest(reader: int, printed: bytearray) -> None:
    """Read what the program printed last; nothing counts any more that its children print later."""
    until = time.monotonic() + _STREAMS_SECONDS
    while select.select([reader], [], [], max(0, until - time.monotonic()))[0]:
        if not _take(reader, printed):
            os.close(reader)
            return
    threading.Thread(target=_drain, args=(reader,), daemon=True).start()


def _drain(reader: int) -> None:
    with suppress(OSError), os.fdopen(reader, "rb") as file:
        while file.read(65536):
            pass
