"""What the benchmarks share: timing two things side by side, and one table with targets."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Comparison:
    """One measured thing against its reference.

    Arguments:
        name: what was measured, and against what.
        seconds: median wall time of the thing.
        reference_seconds: median wall time of the reference, measured in turns with it.
        target: the highest ratio that is accepted.
        rounds: how many times each of the two ran.
    """

    name: str
    seconds: float
    reference_seconds: float
    target: float
    rounds: int

    @property
    def ratio(self) -> float:
        """How many times as long as the reference."""
        return self.seconds / self.reference_seconds

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        return self.ratio <= self.target

    @property
    def row(self) -> str:
        """Its line of the table, without the word at the end."""
        return (
            f"| {self.name} (median of {self.rounds}) | {self.seconds * 1000:.0f} ms "
            f"| {self.reference_seconds * 1000:.0f} ms | {self.ratio:.2f} | <= {self.target} |"
        )


@dataclass(frozen=True)
class Limit:
    """One measured thing that may take so long and no longer.

    Arguments:
        name: what was measured.
        seconds: median wall time.
        target: the most seconds that are accepted, on the machine of docs/decisions/0003-dependencies.md.
        rounds: how many times it ran.
    """

    name: str
    seconds: float
    target: float
    rounds: int

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        return self.seconds <= self.target

    @property
    def row(self) -> str:
        """Its line of the table, without the word at the end."""
        return f"| {self.name} (median of {self.rounds}) | {self.seconds * 1000:.0f} ms | | | <= {self.target} s |"


def limit(name: str, thing: Callable[[int], object], *, target: float, rounds: int) -> Limit:
    """Run it `rounds` times after one round to warm up, and take the median.

    Arguments:
        thing: called with the number of the round; what is measured.
    """
    times = []
    for number in range(rounds + 1):
        start = time.perf_counter()
        thing(number)
        if number:
            times.append(time.perf_counter() - start)
    return Limit(name, statistics.median(times), target, rounds)


def compare(
    name: str, thing: Callable[[int], object], reference: Callable[[int], object], *, target: float, rounds: int
) -> Comparison:
    """Run both in turns, `rounds` times each after one round to warm up, and compare the medians.

    Arguments:
        thing: called with the number of the round; what is measured.
        reference: called the same way; what it is held against.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        # Turns change sides: a machine that slows down or speeds up favours neither.
        order = (0, 1) if number % 2 else (1, 0)
        for side in order:
            start = time.perf_counter()
            (thing, reference)[side](number)
            took = time.perf_counter() - start
            if number:
                times[side].append(took)
        print(f"\r{name}: {number} of {rounds}", end="", file=sys.stderr, flush=True)
    print("\r\033[K" if sys.stderr.isatty() else "", end="\n", file=sys.stderr)
    return Comparison(name, statistics.median(times[0]), statistics.median(times[1]), target, rounds)


def table(measured: Sequence[Comparison | Limit]) -> str:
    """Return the results as one Markdown table."""
    lines = ["| measured | here | reference | ratio | target | |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    lines += [f"{each.row} {'ok' if each.holds else 'MISSED'} |" for each in measured]
    return "\n".join(lines)


def run(command: list[str], folder: Path) -> None:
    """Run a command quietly in `folder`; its output is shown when it fails."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")


def commit(folder: Path) -> Path:
    """Make a git repository with one commit of what is in `folder`."""
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.invalid", "-c", "commit.gpgsign=false"]
    run(["git", "init", "--quiet", "--initial-branch=main"], folder)
    run(["git", "add", "--all"], folder)
    run(["git", *identity, "commit", "--quiet", "--message=bench"], folder)
    return folder


def snapshot(folder: Path) -> Path:
    """Make a git repository in `folder` with one commit of this working tree, uncommitted work included."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return commit(folder)
