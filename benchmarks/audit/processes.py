"""Starting the workers that use an SDK, ending them in every way there is, and counting what arrived."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from audit.adapters import OURS, Sdk
from audit.environments import HERE, SDK, plain
from audit.sink import SinkProcess

PATIENCE_SECONDS = 45.0
"""A process that has not ended so long after its last event is killed."""

SETTLE_SECONDS = 0.1
"""The sink may still be reading what a dead process had sent."""


@dataclass(frozen=True)
class Ended:
    """How a worker ended.

    Attributes:
        captured: how many events it captured.
        delivered: distinct events at the sink when it had ended.
        drained: the same, after `journal drain` for our SDK; for a peer there is nothing to drain.
        loop_seconds: what capturing all events took.
        exit_seconds: from the last captured event to the end of the process.
        killed: it did not end by itself.
        errors: lines on stderr.
    """

    captured: int
    delivered: int
    drained: int
    loop_seconds: float
    exit_seconds: float
    killed: bool
    errors: int


class Bench:
    """A folder, a sink and the peers' interpreter, for as long as SDKs are measured."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-audit-")))
        self.environment: Mapping[str, str] = plain(self.folder, HERE.parent, SDK)
        self.sink = self._stack.enter_context(SinkProcess(self.python, self.environment, self.folder))
        closed = self._stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it, and connections are refused
        self.closed_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Make an empty folder for one worker, and remove it."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a worker."""
        return [str(self.python), "-m", "audit.worker", *arguments]

    def timed_calls(self, task: str, sdk: Sdk, rounds: int, events: int) -> tuple[list[int], float, int]:
        """Return the nanoseconds of each call, the processor seconds of all, and how many events arrived.

        Args:
            task: capture, or large.
        """
        self.sink.prepare("ok")
        with self.scratch() as folder:
            command = self.command(task, sdk.opener, self.sink.url, str(folder), str(rounds), str(events))
            done = subprocess.run(
                command, env=self.environment, cwd=folder, capture_output=True, text=True, check=False, timeout=600
            )
            if done.returncode:
                raise RuntimeError(f"{sdk.name} failed:\n{done.stderr}")
        said = json.loads(done.stdout)
        return said["nanoseconds"], said["cpu_seconds"], self.sink.delivered

    def end(self, sdk: Sdk, how: str, events: int, mode: str = "ok") -> Ended:
        """Let a worker capture events and end it.

        Args:
            how: return, raise, exit (`os._exit`), SIGTERM, SIGKILL, cancel (bash is the parent, as in a step of GitHub
                Actions) or work (the same with the real times, and the worker continues capturing until it is killed).
            mode: of the sink, or refused.
        """
        self.sink.prepare("ok" if mode == "refused" else mode)
        url = self.closed_url if mode == "refused" else self.sink.url
        with self.scratch() as folder:
            journal = folder / "journal"
            journal.mkdir(mode=0o700)
            errors = folder / "stderr"
            ending = how if how in ("return", "raise", "exit", "work") else "wait"
            command = self.command("end", sdk.opener, url, str(journal), ending, str(events))
            if how in ("cancel", "work"):
                step = folder / "step.sh"
                step.write_text(" ".join(f"'{word}'" for word in command) + "\n")
                command = ["bash", "-e", str(step)]
            with errors.open("wb") as stderr:
                process = subprocess.Popen(
                    command,
                    env=self.environment,
                    cwd=folder,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    start_new_session=True,
                )
            said, killed = _finish(process, how)
            ended_at = time.monotonic()
            time.sleep(SETTLE_SECONDS)
            delivered = self.sink.delivered
            lines = len(errors.read_text(errors="replace").splitlines())
            drained = self._drain(journal) if sdk.is_ours else delivered
        captured_at = said.get("captured_at", ended_at)
        return Ended(
            captured=said.get("captured", events),
            delivered=delivered,
            drained=drained,
            loop_seconds=said.get("loop_seconds", 0.0),
            exit_seconds=ended_at - captured_at,
            killed=killed,
            errors=lines,
        )

    def _drain(self, journal: Path) -> int:
        """Deliver what the journal has, as the job's last step does, and return what has arrived altogether."""
        self.sink.set_mode("ok")
        command = [str(self.python), "-m", "aimgentix", "journal", "drain", "--dir", str(journal)]
        done = subprocess.run(
            [*command, "--api-url", self.sink.url],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{OURS.name}: drain failed: {done.stderr}")
        return self.sink.delivered

    def start_seconds(self, statement: str) -> tuple[float, float]:
        """Return wall and processor time of a fresh interpreter that runs one statement."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run(
            [self.python, "-c", statement], env=self.environment, cwd=self.folder, capture_output=True, check=True
        )
        took = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _finish(process: subprocess.Popen[str], how: str) -> tuple[dict[str, Any], bool]:
    """Bring a worker to its end; return what it said last, and whether it had to be killed for not ending."""
    output = cast(IO[str], process.stdout)
    try:
        line = output.readline()
        said: dict[str, Any] = json.loads(line) if line else {}
        if how in ("SIGTERM", "SIGKILL"):
            process.send_signal(getattr(signal, how))
        elif how in ("cancel", "work"):
            _cancel(process, (0.2, 0.1) if how == "cancel" else (7.5, 2.5))
            if (
                how == "work"
            ):  # the last event may be on its way to the sink and not be reported yet, or the other way round
                said["captured"] = sum(1 for _ in output)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            return said, True
        return said, False
    finally:
        with contextlib.suppress(ProcessLookupError):  # the worker outlives bash otherwise
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output.close()


def _cancel(process: subprocess.Popen[str], pauses: tuple[float, float]) -> None:
    """Do what GitHub's runner does to a cancelled step: SIGINT to bash, SIGTERM to bash, the whole tree killed."""
    process.send_signal(signal.SIGINT)
    time.sleep(pauses[0])
    process.send_signal(signal.SIGTERM)
    time.sleep(pauses[1])
    os.killpg(process.pid, signal.SIGKILL)
