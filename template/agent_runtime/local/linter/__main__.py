"""python -m agent_runtime.local.linter [FOLDER] [--explain CODE]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from agent_runtime import codes
from agent_runtime.local.linter import lint, rules
from agent_runtime.model import config


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Print one line for each violation; return 0 when there is none and 2 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m agent_runtime.local.linter",
        description="Check that the workflows of a repository keep the gate closed.",
    )
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="the repository (default: here)")
    parser.add_argument("--explain", metavar="CODE", help="say what a rule demands and why, for example CON05")
    options = parser.parse_args(arguments)
    if options.explain:
        if options.explain.upper() not in rules.WHY:
            print(f"there is no rule {options.explain}; known: {', '.join(rules.WHY)}", file=sys.stderr)
            return codes.EXIT_BAD_INPUT
        print(rules.explain(options.explain.upper()))
        return codes.EXIT_OK
    try:
        violations = lint(Path(options.folder), config.load(Path(options.folder)))
    except codes.AgentError as error:
        print(error.line(), file=sys.stderr)
        return codes.EXIT_BAD_INPUT
    for violation in violations:
        print(violation)
    if violations:
        print("python -m agent_runtime.local.linter --explain CODE says why, and how to fix it.", file=sys.stderr)
    return codes.EXIT_BAD_INPUT if violations else codes.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
