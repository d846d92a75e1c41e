"""How long a copy of this template takes, against a template of one file, with the same Copier.

    python benchmarks/copier_copy.py [--rounds N]

Every template is a git repository with one commit and no tags, because that is how Copier reads a template.  Each copy
is a process of its own.  Copier itself takes some milliseconds for each file: it starts git, and compiles each part of
its path.  The comparison with a template of the same files, all of them plain, shows how much is left beside that.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from measure import Comparison, commit, compare, run, snapshot, table

# docs/decisions/0010-many-small-files.md says why these.
TARGET = 2.0
PLAIN_TARGET = 1.2
SCRIPT = """
import sys, copier
copier.run_copy(sys.argv[1], sys.argv[2], data={"agent_name": "Bench"}, defaults=True, quiet=True, unsafe=False)
"""


QUESTION = "_subdirectory: template\nagent_name:\n  type: str\n  help: Name?\n"


def one_file_template(folder: Path) -> Path:
    """Make the smallest template that still asks a question: one question, one rendered file."""
    (folder / "template").mkdir(parents=True)
    (folder / "copier.yml").write_text(QUESTION, encoding="utf-8")
    (folder / "template" / "README.md.jinja").write_text("# {{ agent_name }}\n", encoding="utf-8")
    return commit(folder)


def plain_template(folder: Path, source: Path) -> Path:
    """Make a template of the very files that a copy of `source` gives, with nothing to render in any of them."""
    run([sys.executable, "-c", SCRIPT, str(source), str(folder / "template")], source)
    (folder / "copier.yml").write_text(QUESTION, encoding="utf-8")
    return commit(folder)


def measure(rounds: int) -> list[Comparison]:
    """Compare the two templates through the command line and through the Python interface."""
    with tempfile.TemporaryDirectory(prefix="bench-copy-") as scratch:
        folder = Path(scratch)
        ours = snapshot(folder / "ours")
        reference = one_file_template(folder / "reference")
        plain = plain_template(folder / "plain", ours)

        def cli(source: Path, number: int) -> None:
            target = str(folder / f"cli-{source.name}-{number}")
            answers = ["--defaults", "--data", "agent_name=Bench"]
            run([sys.executable, "-m", "copier", "copy", "--quiet", *answers, str(source), target], folder)

        def api(source: Path, number: int) -> None:
            target = str(folder / f"api-{source.name}-{number}")
            run([sys.executable, "-c", SCRIPT, str(source), target], folder)

        one_file = "copier copy, against a template of one file"
        return [
            compare(
                f"{one_file} (command line)", partial(cli, ours), partial(cli, reference), target=TARGET, rounds=rounds
            ),
            compare(f"{one_file} (Python)", partial(api, ours), partial(api, reference), target=TARGET, rounds=rounds),
            compare(
                "copier copy, against the same files without questions or expressions",
                partial(cli, ours),
                partial(cli, plain),
                target=PLAIN_TARGET,
                rounds=rounds,
            ),
        ]


def main() -> int:
    """Measure, print the table, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Compare a copy of this template with one of a one-file template.")
    parser.add_argument("--rounds", type=int, default=11, help="how often each runs (default: 11)")
    comparisons = measure(parser.parse_args().rounds)
    print(table(comparisons))
    return 0 if all(c.holds for c in comparisons) else 1


if __name__ == "__main__":
    raise SystemExit(main())
