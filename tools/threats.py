"""Write `docs/reference/threats.md`: for each threat the tests that carry its mark, `@pytest.mark.threat("T7")`.

Usage: python tools/threats.py --write | --check
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL = REPOSITORY / "template" / "specs" / "threat-model.md"
PAGE = REPOSITORY / "docs" / "reference" / "threats.md"
TESTS = REPOSITORY / "tests"

VERDICTS = ("stopped", "partly stopped", "yours")
_INTRODUCTION = """\
# The tests of each threat

Every threat of the [model](../../template/specs/threat-model.md) that software stops, wholly or in part, has tests that
try it. This page is written by `tools/threats.py`.
"""


@dataclass(frozen=True)
class Threat:
    """One section of the page.

    Arguments:
        number: such as T7 or T17b.
        parts: what stands behind Verdict, Defence and Yours, on one line each.
    """

    number: str
    title: str
    parts: dict[str, str]


def read_threats(text: str) -> list[Threat]:
    """Return the model's threats in their order."""
    found = []
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        section, *_ = re.split(r"^## ", part, flags=re.MULTILINE)
        heading, _, body = section.partition("\n")
        number, _, title = heading.partition(" ")
        joined = re.sub(r"\n  +", " ", body)
        parts = {key: value.strip() for key, value in re.findall(r"^- \*\*(.+?):\*\*(.*)$", joined, flags=re.MULTILINE)}
        found.append(Threat(number, title, parts))
    return found


def marked_tests(folder: Path = TESTS) -> dict[str, list[str]]:
    """Return the tests below `folder` that carry a threat's number, by number, as `tests/file.py::name`."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        if "node_modules" in path.parts:
            continue
        for name, node in tests_of(ast.parse(path.read_text(encoding="utf-8"))):
            for number in _numbers(node):
                found.setdefault(number, []).append(f"{path.relative_to(folder.parent).as_posix()}::{name}")
    return found


def tests_of(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The tests that pytest collects from a module: functions `test_*`, and those of classes `Test*`."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name.startswith("test_"):
                    yield f"{node.name}::{inner.name}", inner


def _numbers(node: ast.FunctionDef) -> list[str]:
    return [
        str(argument.value)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.threat"
        for argument in decorator.args
        if isinstance(argument, ast.Constant)
    ]


def render(threats: list[Threat], tests: dict[str, list[str]]) -> str:
    """Return the page for these threats and tests."""
    lines = [_INTRODUCTION]
    for threat in threats:
        lines.append(f"## {threat.number} {threat.title}\n\n{threat.parts.get('Verdict', '')}\n")
        lines += [f"- `{test}`" for test in tests.get(threat.number, [])]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the page")
    mode.add_argument("--check", action="store_true", help="exit 1 when the page is not up to date")
    options = parser.parse_args()
    text = render(read_threats(MODEL.read_text(encoding="utf-8")), marked_tests())
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE.relative_to(REPOSITORY)} is not up to date: run python tools/threats.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
