"""The commands that README and the start-up log give a newcomer work as they are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from app.log.cosigning import fetch_witnessed
from backend_client import Client, event, eventually
from bench.servers import BACKEND, reserve_port, tied

from support.environment import require_tool

README = (BACKEND / "README.md").read_text(encoding="utf-8")
GUIDE = (BACKEND.parent / "template" / "docs" / "SETUP_GUIDE.md").read_text(encoding="utf-8")


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    """A folder `backend` as it is in a fresh clone."""
    ignored = shutil.ignore_patterns("__pycache__", "*.db*", ".mypy_cache", ".ruff_cache")
    return Path(shutil.copytree(BACKEND, tmp_path / "backend", ignore=ignored))


def environment() -> dict[str, str]:
    """What a terminal has in which nothing was set for the backend, with this Python's programs first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIMGENTIX_", "DATABASE_URL"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}


def block(word: str, page: str = README) -> str:
    """Return the first block of commands that has this word."""
    return next(text for text in re.findall(r"^```(?:sh)?\n(.*?)^```$", page, re.DOTALL | re.M) if word in text)


@contextmanager
def served(folder: Path, page: str = README) -> Iterator[tuple[int, Path]]:
    """Start the backend with a page's own command, but for the port and what installs; give the port and the log."""
    enter, install, serve = block("uvicorn app.main:app", page).splitlines()
    assert (enter, install) == ("cd backend", "pip install -r requirements.txt")
    log = folder / "log"
    with reserve_port() as keeper, log.open("wb") as output:
        port: int = keeper.getsockname()[1]
        words = serve.replace("8000", str(port)).split()
        assert words[0] == "uvicorn"
        with subprocess.Popen(
            [*tied("KILL"), sys.executable, "-m", *words], cwd=folder, env=environment(), stdout=output, stderr=output
        ) as process:
            try:
                eventually(lambda: f"http://0.0.0.0:{port}" in log.read_text(encoding="utf-8"))
                yield port, log
            finally:
                process.terminate()


def shell(folder: Path, commands: str) -> str:
    done = subprocess.run(
        ["sh", "-eu", "-c", commands],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


def test_a_key_and_a_first_event(backend: Path) -> None:
    require_tool("curl")
    with served(backend) as (port, _):

        def ready(word: str) -> str:
            return block(word).replace("8000", str(port))

        made = shell(backend, ready("AUDITOR_KEY=") + 'echo "$AIMGENTIX_API_KEY $AUDITOR_KEY"').split()
        keys = "AIMGENTIX_API_KEY={} AUDITOR_KEY={}\n".format(*made)
        said = shell(backend, keys + ready("curl -sS"))
        for _ in range(3):
            assert Client(port, made[0]).post(event()).status == 201

        shell(backend, keys + ready("> events.ndjson"))
        whole = (backend / "events.ndjson").read_bytes()
        assert whole.count(b"\n") == 4
        (backend / "events.ndjson").write_bytes(whole[:-100])  # it broke off
        shell(backend, keys + ready("after=$LAST"))
        again = (backend / "whole.ndjson").read_bytes()
        assert again.startswith(whole)
        behind = [json.loads(line) for line in again[len(whole) :].splitlines()]
        assert {one["metadata"]["step"] for one in behind} <= {"read", "exporting", "exported"}, (
            "only that it was read and exported"
        )
    stored, _, read = said.partition("}")
    assert f"`{stored}}}`" in README
    assert [one["trace_id"] for one in json.loads(read)["events"]] == ["first-try"]


def test_a_generated_repository_has_the_same_commands(backend: Path) -> None:
    with served(backend, GUIDE) as (port, _):
        said = shell(backend, block("AUDITOR_KEY=", GUIDE).replace("8000", str(port)))
    assert [one["trace_id"] for one in json.loads(said.partition("}")[2])["events"]] == ["first-try"]


def test_the_start_shows_how_to_make_the_first_key(backend: Path) -> None:
    with served(backend) as (port, log):
        (reported,) = [text for text in log.read_text(encoding="utf-8").splitlines() if "there is none yet" in text]
        (command,) = re.findall(r"`(python -m app keys create [^`]*)`", reported)
        key = shell(backend, command).strip()
        assert Client(port, key).post(event()).status == 201
        assert Client(port).post(event()).status == 401


def test_the_transparency_log(backend: Path) -> None:
    """README's commands for it, in their order."""
    require_tool("curl")
    (backend / "bundle.zip").write_bytes(b"evidence")
    with reserve_port() as first, reserve_port() as second:
        port, witness_port = first.getsockname()[1], second.getsockname()[1]

        def ready(word: str) -> str:
            return block(word).replace("8000", str(port)).replace("8001", str(witness_port))

        shell(backend, ready("log-key create log.key"))
        create, serve = ready("--witness").splitlines()
        shell(backend, create)
        shell(backend, ready("cat > log.policy"))
        with running(backend, serve, f"http://127.0.0.1:{witness_port}"):
            with running(backend, ready("AIMGENTIX_LOG_POLICY="), f"http://127.0.0.1:{port}"):
                made = shell(backend, ready("AUDITOR_KEY=") + 'echo "$AIMGENTIX_API_KEY $AUDITOR_KEY"').split()
                keys = f"AIMGENTIX_API_KEY={made[0]} AUDITOR_KEY={made[1]}\n"
                assert '"index":0,"status":"logged"' in shell(backend, keys + ready("/v1/log/entries"))
                eventually(lambda: cosigned(witness_port))
                shell(backend, keys + ready("/v1/log/proof?digest"))
            said = shell(backend, ready("verify bundle.tlog-proof"))
            assert "verified: " in said
            assert "cosigned by neighbour" in said
            said = shell(backend, ready("log-check"))
            assert "1 entries in the log" in said
            assert "verified: mirror is the log audit.example.com/log" in said


def cosigned(port: int) -> bool:
    """Whether the witness has cosigned a tree that isn't empty."""
    note = fetch_witnessed(f"http://127.0.0.1:{port}", "audit.example.com/log")
    return note is not None and "\n1\n" in note.text


@contextmanager
def running(folder: Path, command: str, ready: str) -> Iterator[None]:
    """Run a command that doesn't end by itself, from when it says that it is ready."""
    log = folder / f"log-{len(list(folder.glob('log-*')))}"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [
                *tied("KILL"),
                "sh",
                "-c",
                f"exec env {command.replace('uvicorn ', 'python -m uvicorn ')}",
            ],
            cwd=folder,
            env=environment(),
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            eventually(lambda: ready in log.read_text(encoding="utf-8"))
            yield
        finally:
            process.terminate()
