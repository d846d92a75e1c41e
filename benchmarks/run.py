"""Run the benchmarks of the template and print one table with the targets: `make bench`.

The audit trail and updates have their own, which take half an hour each: `make bench-audit` and `make bench-update`.
"""

from __future__ import annotations

import argparse

import cli_start
import copier_copy
import gate_job
import run_jobs
from measure import table


def main() -> int:
    """Measure everything, print the table, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Run every benchmark and print one table with the targets.")
    parser.add_argument("--rounds", type=int, help="how often each runs (default: each benchmark's own number)")
    rounds = parser.parse_args().rounds
    measured = [
        *copier_copy.measure(rounds or 11),
        *cli_start.measure(rounds or 31),
        *gate_job.measure(rounds or 15),
        *run_jobs.measure(rounds or 7),
    ]
    print(table(measured))
    return 0 if all(each.holds for each in measured) else 1


if __name__ == "__main__":
    raise SystemExit(main())
