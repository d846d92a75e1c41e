"""How long `python agent_runner.py --help` takes in a generated repository, against `import pydantic` alone.

    python benchmarks/cli_start.py [--rounds N]

Both run in the generated repository with the same interpreter, and with byte code compiled by the round that warms up.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import copier
from measure import Comparison, compare, run, snapshot, table

TARGET = 1.3


def measure(rounds: int) -> list[Comparison]:
    """Compare the start of the command line with the import of one library."""
    with tempfile.TemporaryDirectory(prefix="bench-start-") as scratch:
        folder = Path(scratch)
        target = folder / "agent"
        template = str(snapshot(folder / "template"))
        copier.run_copy(template, target, data={"agent_name": "Bench"}, defaults=True, quiet=True, unsafe=False)
        return [
            compare(
                "agent_runner.py --help, against import pydantic",
                lambda _: run([sys.executable, "agent_runner.py", "--help"], target),
                lambda _: run([sys.executable, "-c", "import pydantic"], target),
                target=TARGET,
                rounds=rounds,
            )
        ]


def main() -> int:
    """Measure, print the table, and return 1 if the target is missed."""
    parser = argparse.ArgumentParser(description="Compare the start of agent_runner.py with import pydantic.")
    parser.add_argument("--rounds", type=int, default=31, help="how often each runs (default: 31)")
    comparisons = measure(parser.parse_args().rounds)
    print(table(comparisons))
    return 0 if all(c.holds for c in comparisons) else 1


if __name__ == "__main__":
    raise SystemExit(main())
