"""What the trials of codes share: how one is written, and the repositories and servers in which it is played.

A trial belongs to one code and yields attempts.  The first meets the code.  Then the trial does what the code's remedy
says, and the same again no longer meets it.  Where only a person can do it, `by_hand` says what is left to them.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from agent_runtime import codes
from support import gate_world, settings_world, simulated
from support.gate_world import GateWorld
from support.github import FullGitHub

Attempt = Callable[[], object]
Play = Callable[["Lab"], Iterator[Attempt]]


@dataclass(frozen=True)
class Trial:
    """One code, and how it is met.

    Arguments:
        play: yields the attempts.
        by_hand: what a person must do; empty where the remedy is tried.
    """

    code: str
    play: Play
    by_hand: str


TRIALS: dict[str, Trial] = {}


def trial(code: str, by_hand: str = "") -> Callable[[Play], Play]:
    """Make a function the trial of a code."""

    def keep(play: Play) -> Play:
        assert code not in TRIALS, code
        TRIALS[code] = Trial(code, play, by_hand)
        return play

    return keep


def both(code: str, wrong: Callable[[Lab], object], right: Callable[[Lab], object]) -> None:
    """A trial of two attempts that need nothing in between."""

    @trial(code)
    def play(lab: Lab) -> Iterator[Attempt]:
        yield lambda: wrong(lab)
        yield lambda: right(lab)


@cache
def _acted(root: Path) -> Path:
    """Play a run in a new repository; trials get copies."""
    code, text, _ = simulated.make(root).simulate("--approve")
    assert code == codes.EXIT_OK, text
    return root


def said(attempt: Attempt) -> str:
    """What somebody reads who tries this: output, error, or the lines of problems."""
    try:
        answer = attempt()
    except codes.AgentError as problem:
        return problem.line()
    if isinstance(answer, CompletedProcess):
        return str(answer.stdout) + str(answer.stderr)
    return str(answer)


@dataclass
class Lab:
    """Places for one trial.

    Arguments:
        folder: empty.
        rendered: a rendered repository, committed; trials get copies.
        stack: closes what is open.
    """

    folder: Path
    rendered: Path
    stack: ExitStack
    places: int = 0

    def place(self) -> Path:
        """A name in which nothing is yet."""
        self.places += 1
        return self.folder / str(self.places)

    def github(self, github: FullGitHub) -> FullGitHub:
        """Let GitHub serve until the trial ends."""
        return self.stack.enter_context(github)

    def world(self, **texts: str) -> GateWorld:
        """A repository behind environments, and a run of it that has just begun."""
        github = self.github(FullGitHub(gate_world.REPOSITORY))
        gate_world.close_the_gate(github)
        return GateWorld(gate_world.make_root(self.place() / "repository", **texts), github)

    def clone(self) -> simulated.Clone:
        """A repository whose world is one file."""
        return simulated.make(self.place())

    def acted(self) -> tuple[simulated.Clone, Path]:
        """The same after a run that was approved, and the run's bundle."""
        root = Path(shutil.copytree(_acted(self.rendered.with_name("acted")), self.place(), symlinks=True))
        return simulated.Clone(root), root / "out" / "record" / "agent-run" / "audit-bundle"

    def project(self) -> Path:
        """A rendered repository."""
        return Path(shutil.copytree(self.rendered, self.place()))

    def settings(self) -> settings_world.Clone:
        """The rendered repository, and a GitHub with its own default settings."""
        return settings_world.Clone(self.rendered, self.github(settings_world.fresh()))

    def serve(self, answer: Callable[[str], tuple[int, str]]) -> str:
        """Serve what a function of the bearer token answers; return where."""

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, text = answer(self.headers.get("Authorization", "").partition("Bearer ")[2])
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = answer

            def log_message(self, *_: Any) -> None:
                pass

        server = self.stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.stack.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"
