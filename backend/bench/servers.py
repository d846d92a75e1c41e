"""Real servers for measurements and tests: the backend, and a PostgreSQL of its own, both on the loopback interface."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

BACKEND = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"


class ServerFailed(RuntimeError):
    """A server did not start; the message ends with what it printed."""


def reserve_port() -> socket.socket:
    """Return a socket that keeps a port of its own for a server, until it is closed.

    A port that was only found to be free may be another program's by the time the server starts, and then that program
    answers in its place. A bound socket that does not listen keeps everybody off the port but a server with
    SO_REUSEADDR, as all of them here have, and connections are refused while there is none.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((HOST, 0))
    return keeper


class Backend:
    """A backend process, started as the guide says. Its output goes to `log`.

    Args:
        folder: where its SQLite file and its log go.
        database_url: where it stores; default a SQLite file in `folder`.
        settings: further environment variables; an empty one is not set. Without others callers here need no key.
        options: further options for uvicorn.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str | None = None,
        settings: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self._keeper = reserve_port()
        self.port: int = self._keeper.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self.log = folder / "backend.log"
        self.database_url = database_url or f"sqlite:///{folder / 'audit.db'}"
        wanted = {"DATABASE_URL": self.database_url, "AIMGENTIX_AUTH": "local", **(settings or {})}
        self._environment = {name: value for name, value in {**os.environ, **wanted}.items() if value}
        self._command = [
            *tied("KILL"),
            sys.executable,
            "-m",
            "uvicorn",
            "app.main:app",
            "--host",
            HOST,
            "--port",
            str(self.port),
            *options,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        """Start the process and, unless the caller wants otherwise, wait until it answers.

        Raises:
            ServerFailed: it ended, or did not answer within a minute.
        """
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, cwd=BACKEND, env=self._environment, stdout=log, stderr=log)
        if wait:
            self.wait()
        return self

    def wait(self, seconds: float = 60) -> None:
        """Wait until the process answers."""
        assert self.process
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerFailed(f"the backend ended with {self.process.returncode}\n{self.output()}")
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        raise ServerFailed(f"the backend does not answer\n{self.output()}")

    def output(self) -> str:
        """Return all that the process printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """End the process as a power cut would, as far as a process can do that."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask the process to end, wait until it has, and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(how)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServerFailed(f"the backend did not end\n{self.output()}") from None
        finally:
            self.process = None

    def memory_bytes(self) -> int:
        """Return how much memory the process has resident."""
        assert self.process
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def processor_seconds(self) -> float:
        """Return what the process has taken of a processor so far."""
        assert self.process
        return spent_by(self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            self._keeper.close()


class Postgres:
    """A PostgreSQL cluster in a temporary folder, with default settings but for its port. It is removed at the end.

    PostgreSQL refuses to run as root; then the system's user `postgres` runs it.
    """

    def __init__(self) -> None:
        self._bin = postgres_binaries()
        if self._bin is None:
            raise ServerFailed("PostgreSQL's programs are not installed")
        self._folder = Path(tempfile.mkdtemp(prefix="aimgentix-pg-"))
        self._data = self._folder / "data"
        self._as: list[str] = []
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as = [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        self._keeper = reserve_port()
        self.port: int = self._keeper.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._initialise()

    def _initialise(self) -> None:
        assert self._bin
        options = ["-D", str(self._data), "-U", "audit", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [*tied("KILL", *self._as), str(self._bin / "initdb"), *options],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(f"initdb ended with {done.returncode}\n{done.stdout.decode(errors='replace')}")

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            ServerFailed: it ended, or did not answer within a minute.
        """
        assert self._bin
        options = {"listen_addresses": HOST, "port": str(self.port), "unix_socket_directories": str(self._folder)}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        log_file = self._folder / "log"
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*tied("QUIT", *self._as), str(self._bin / "postgres"), "-D", str(self._data), *settings],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                psycopg.connect(self._url("postgres"), connect_timeout=5).close()
                return self
            except psycopg.OperationalError:
                time.sleep(0.02)
        raise ServerFailed(f"PostgreSQL does not answer\n{log_file.read_text(errors='replace')}")

    def stop(self, how: str = "fast") -> None:
        """Stop the server: `fast` ends its sessions, `immediate` ends it like a crash."""
        if self._process is not None:
            self._process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how])
            self._process.wait(60)
            self._process = None

    def processor_seconds(self) -> float:
        """Return what the server and the sessions that it has now have taken of a processor so far."""
        assert self._process
        pid = self._process.pid
        sessions = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return spent_by(pid) + sum(spent_by(int(session)) for session in sessions)

    @property
    def socket_folder(self) -> Path:
        """The folder of its Unix socket."""
        return self._folder

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        self._databases += 1
        name = f"audit{self._databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as session:
            session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://audit@{HOST}:{self.port}/{database}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop("immediate")
        finally:
            self._keeper.close()
            shutil.rmtree(self._folder, ignore_errors=True)


def spent_by(pid: int) -> float:
    """Return the seconds of a processor that a process, and its children that have ended, have taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def tied(end: str, *options: str) -> list[str]:
    """Return the beginning of a command whose process gets the signal `end` when this one ends, however it ends.

    Args:
        options: further options of `setpriv`; where it is missing, and none are needed, the process is not tied.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None and not options:
        return []
    return [setpriv or "setpriv", *options, f"--pdeathsig={end}", "--"]


def postgres_binaries() -> Path | None:
    """Return the folder with PostgreSQL's programs, or None. Debian keeps them apart from all others."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None
