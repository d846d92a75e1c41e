"""A transparency log's keys, a witness that runs as a process of its own, and the policy that names both."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.bench.servers import BACKEND, HOST, reserve_port, tied

ORIGIN = "audit.example.com/log"


@dataclass(frozen=True)
class Witnessed:
    """Keys and policy, in a folder, and where the witness listens."""

    folder: Path
    port: int

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    @property
    def settings(self) -> dict[str, str]:
        """What a backend needs to keep the log."""
        return {"AIMGENTIX_LOG_KEY": str(self.folder / "log.key"), "AIMGENTIX_LOG_POLICY": str(self.policy)}


def app(*arguments: object) -> list[str]:
    """A command of the backend, to be run in its folder."""
    return [sys.executable, "-m", "app", *map(str, arguments)]


@contextmanager
def witnessed(folder: Path) -> Iterator[Witnessed]:
    """Make the keys as an operator does, and run the witness."""
    folder.mkdir()
    made = []
    for name, *more in (("log", ORIGIN), ("witness", "witness.example.com/1", "--witness")):
        command = app("log-key", "create", folder / f"{name}.key", "--name", *more)
        made.append(subprocess.run(command, cwd=BACKEND, check=True, capture_output=True, text=True).stdout.strip())
    with reserve_port() as keeper:
        port = keeper.getsockname()[1]
        text = f"log {made[0]}\nwitness neighbour {made[1]} http://{HOST}:{port}\nquorum neighbour\n"
        (folder / "policy").write_text(text, encoding="utf-8")
        options = ("--key", folder / "witness.key", "--log", folder / "log.key.pub", "--state", folder / "witness.db")
        process = subprocess.Popen([*tied("KILL"), *app("witness", *options, "--port", port)], cwd=BACKEND)
        try:
            _wait(port)
            yield Witnessed(folder, port)
        finally:
            process.terminate()
            process.wait(60)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the witness does not answer")
