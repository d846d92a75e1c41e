"""Kill updates at random moments: each repository is whole afterwards, as it was or updated."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from update.edits import CALM, Team
from update.history import ENVIRONMENT, Failed, History, commit_all, git
from update.trial import accepting, born, command, copy_of

_SECONDS = 120


@dataclass
class Killed:
    """What became of the killed updates.

    Arguments:
        updated: how many had handed the result over before.
        wrong: repositories that are neither as they were nor updated.
    """

    times: int = 0
    updated: int = 0
    wrong: list[str] = field(default_factory=list)


def kill(history: History, times: int, seed: int, folder: Path, say: Callable[[str], None]) -> Killed:
    """Kill updates of copies of one repository, every second one when its result is about to be handed back.

    Raises:
        Failed: the update does not work without a kill either.
    """
    random, found = Random(f"{seed}-kills"), Killed()
    birth = born(history, history.versions[-1], "copier", {"agent_name": "Bench"}, folder / "killed")
    project = copy_of(birth.folder, folder / "project")
    team = Team(project, random)
    for make in CALM:
        list(make(team))
    commit_all(project, "Do our work")
    before, started = _state(project), time.perf_counter()
    whole = copy_of(project, folder / "whole")
    process = _start([*command(history, whole), *accepting(birth.accept)], whole, folder)
    process.communicate()
    lasts, after = time.perf_counter() - started, _state(whole)
    if process.returncode or after == before:
        raise Failed(f"an update that nobody kills ends with {process.returncode}")
    for number in range(times):
        say(f"kill {number + 1} of {times}")
        victim = copy_of(project, folder / "victim")
        process = _start([*command(history, victim), *accepting(birth.accept)], victim, folder)
        if number % 2 and process.stdout:
            process.stdout.readline()  # what will change: all of it is made
            time.sleep(random.uniform(0, 0.4))
        else:
            time.sleep(random.uniform(0, lasts))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        _wait_for(victim)
        state = _state(victim)
        found.times += 1
        found.updated += state == after
        if state not in (before, after):
            found.wrong.append(f"kill {number + 1}: neither as it was nor updated")
        shutil.rmtree(victim)
    return found


def _start(words: list[str], root: Path, temporary: Path) -> subprocess.Popen[bytes]:
    environment = {**ENVIRONMENT, "TMPDIR": str(temporary)}
    return subprocess.Popen(
        words,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_for(root: Path) -> None:
    """Wait until what hands the result back, which no kill reaches, has ended."""
    lock, deadline = os.open(root / ".git", os.O_RDONLY), time.monotonic() + _SECONDS
    try:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.02)
            else:
                return
    finally:
        os.close(lock)
    raise Failed(f"an update that was killed still holds the lock after {_SECONDS} s")


def _state(root: Path) -> tuple[str, str, bool]:
    """The committed tree, what differs from it, and whether a journal is left."""
    return (
        git(root, "rev-parse", "HEAD^{tree}"),
        git(root, "status", "--porcelain"),
        (root / ".git/agent-update").exists(),
    )
