"""How much processor time every job of a run takes: `simulate` of a generated repository, approved, job by job.

    python benchmarks/run_jobs.py [--rounds N]

Every step is a process of its own, started through a program that waits for it and asks the kernel for what it and its
children used.  GitHub bills minutes of a runner, and the set-up of a job (gate_job.py) comes on top of each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import copier
from measure import Limit, run, snapshot, table

# About twice what a job takes on the machine of docs/decisions/0003-dependencies.md: a limit for what grows unseen.
TARGET = 0.8
# The first word of a step's command line, and the job on GitHub that has the step.
JOBS = {
    "start": "start",
    "investigate": "investigate",
    "seal": "seal",
    "approve": "approve",
    "authorize": "act (Verify)",
    "execute": "act (Execute)",
    "record": "record",
}
WATCHED = """#!{python}
import os, sys
child = os.posix_spawn({python!r}, [{python!r}, *sys.argv[1:]], os.environ)
_, status, used = os.wait4(child, 0)
word = next(word for word in sys.argv[1:] if not word.startswith("-") and not word.endswith(".py"))
with open({log!r}, "a") as log:
    print(word, used.ru_utime + used.ru_stime, file=log)
sys.exit(os.waitstatus_to_exitcode(status))
"""
SIMULATE = """
import runpy, sys
sys.executable = sys.argv[1]
sys.argv = ["agent_runner.py", "simulate", "--approve", "--resource", "example"]
sys.path.insert(0, ".")
runpy.run_path("agent_runner.py", run_name="__main__")
"""


def measure(rounds: int) -> list[Limit]:
    """Simulate an approved run again and again, and take each job's median."""
    spent: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-jobs-") as scratch:
        folder = Path(scratch)
        project, log, python = folder / "agent", folder / "log", folder / "python"
        template = str(snapshot(folder / "template"))
        copier.run_copy(
            template,
            project,
            data={"agent_name": "Bench", "use_case": "blank"},
            defaults=True,
            quiet=True,
            unsafe=False,
        )
        python.write_text(WATCHED.format(python=sys.executable, log=str(log)), encoding="utf-8")
        python.chmod(0o755)
        for number in range(rounds + 1):  # the first round is to warm up
            log.write_text("", encoding="utf-8")
            run([sys.executable, "-c", SIMULATE, str(python)], project)
            for line in log.read_text(encoding="utf-8").splitlines() if number else []:
                word, seconds = line.split()
                spent[word].append(float(seconds))
    return [
        Limit(f"processor time of {job}", statistics.median(spent[word]), TARGET, rounds) for word, job in JOBS.items()
    ]


def main() -> int:
    """Measure, print the table, and return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description="Measure the processor time of every job of a run.")
    parser.add_argument("--rounds", type=int, default=7, help="how many runs (default: 7)")
    found = measure(parser.parse_args().rounds)
    print(table(found))
    return 0 if all(each.holds for each in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
