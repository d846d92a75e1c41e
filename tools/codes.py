"""Write or check `template/specs/codes.md`, the page that explains every code, from the registry itself.

Usage: python tools/codes.py --write | --check
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "template" / "specs" / "codes.md"

# Modules that keep codes of their own beside those of agent_runtime.codes.
MODULES = (
    "agent_runtime.codes",
    "agent_runtime.gate.deliver",
    "agent_runtime.gate.notify",
    "agent_runtime.local.codes",
    "agent_runtime.local.linter.rules",
    "agent_runtime.local.answers",
    "agent_runtime.local.check",
    "agent_runtime.local.update.problems",
    "agent_runtime.toolkit.errors",
)

FAMILIES = {
    "INP": "Input",
    "RUN": "Start",
    "RPT": "Report",
    "POL": "Policy",
    "GATE": "Gate",
    "IGATE": "Issue gate",
    "AGT": "Agent",
    "TRAIL": "Trail",
    "NOTE": "Messages",
    "SET": "Settings of the repository on GitHub",
    "CON": "Workflows",
    "ANS": "Answers of the template's questions",
    "CHK": "Check of the repository",
    "UPD": "Updates from the template",
    "TOOL": "Toolkit of the use cases",
}

INTRODUCTION = """\
# Codes

Every refusal and every bad input has a code. A code never changes its meaning and is never used again.
"""


def render() -> str:
    """Return the page's text."""
    sys.path[:0] = [str(REPOSITORY / "template"), str(REPOSITORY / "template" / "sdk")]
    for module in MODULES:
        importlib.import_module(module)
    codes = importlib.import_module("agent_runtime.codes")
    lines = [INTRODUCTION]
    for prefix, title in FAMILIES.items():
        entries = [code for id, code in sorted(codes.registered().items()) if id.rstrip("0123456789") == prefix]
        if not entries:
            continue
        lines.append(f"## {title}\n\n| code | what it says | what to do |\n| --- | --- | --- |")
        lines += [f"| `{code.id}` | {_cell(code.title)} | {_cell(code.fix)} |" for code in entries]
        lines.append("")
    unknown = [id for id in codes.registered() if id.rstrip("0123456789") not in FAMILIES]
    if unknown:
        raise SystemExit(f"codes without a family: {', '.join(unknown)}")
    return "\n".join(lines).rstrip("\n") + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the page")
    mode.add_argument("--check", action="store_true", help="exit 1 when the page is not up to date")
    options = parser.parse_args()
    text = render()
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE.relative_to(REPOSITORY)} is not up to date: run python tools/codes.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
