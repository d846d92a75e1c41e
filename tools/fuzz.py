"""Try the property tests with many more examples than `make test` does, and count them: `make fuzz`.

    python tools/fuzz.py [--examples N] [--only GROUP ...]

Each group is about one kind of text that comes from outside.  The examples are new ones each time, and a property that
does not hold is printed with the smallest example that shows it; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

GROUPS = {
    "reports": ("unit/runtime/test_documents.py", "unit/runtime/test_pages.py"),
    "contexts": ("unit/runtime/test_inputs.py", "unit/runtime/test_outputs.py"),
    "alert payloads": ("unit/runtime/test_alert_payload.py", "integration/repository/test_alertmanager_bridge.py"),
    "policies": (
        "unit/runtime/test_policy.py",
        "unit/runtime/test_patterns.py",
        "unit/runtime/test_protected_paths.py",
    ),
    "comments": ("unit/runtime/test_issue_gate.py",),
    "plans and the gate": ("unit/runtime/test_plan.py", "unit/runtime/test_gate.py"),
    "text for people": ("unit/runtime/test_escape.py",),
    "journals and events": ("unit/sdk/test_chain.py", "unit/sdk/test_events.py", "unit/sdk/test_redaction.py"),
}
_CASES = re.compile(r"- (\d+) passing, (\d+) failing, and (\d+) invalid test cases")


def run(files: tuple[str, ...], examples: int) -> tuple[int, int, int, str]:
    """Run the properties of these files; return pytest's exit code, properties, cases and its output."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "hypothesis"]
    command += ["--hypothesis-show-statistics", "--hypothesis-profile=fuzz"]
    done = subprocess.run(
        [*command, *(f"tests/{file}" for file in files)],
        cwd=ROOT,
        env={**_environment(), "FUZZ_EXAMPLES": str(examples)},
        capture_output=True,
        text=True,
        check=False,
    )
    cases = sum(sum(map(int, found)) for found in _CASES.findall(done.stdout))
    properties = len(re.findall(r"^  - during generate phase", done.stdout, re.MULTILINE))
    return done.returncode, properties, cases, done.stdout


def _environment() -> dict[str, str]:
    # CI draws the same examples each time; here they shall be new.
    return {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}


def main() -> int:
    """Fuzz group after group and print a table."""
    parser = argparse.ArgumentParser(description="Run the property tests with many examples, and count them.")
    parser.add_argument("--examples", type=int, default=2000, help="for each property (default: 2000)")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), help="these groups")
    options = parser.parse_args()
    print("| what is fuzzed | properties | cases | seconds | |\n| --- | ---: | ---: | ---: | --- |", flush=True)
    failed = 0
    total = 0
    for name in options.only:
        started = time.monotonic()
        code, properties, cases, output = run(GROUPS[name], options.examples)
        total += cases
        failed += bool(code)
        verdict = "failed" if code else "ok"
        print(f"| {name} | {properties} | {cases:,} | {time.monotonic() - started:.0f} | {verdict} |", flush=True)
        if code:
            print(output, file=sys.stderr)
    print(f"\n{total:,} cases, {failed} groups failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
