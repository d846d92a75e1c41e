"""What the guide before this template promised: each claim has its test, and each deviation its reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

from support.environment import REPOSITORY
from support.rendering import render_workflow

PAGE = REPOSITORY / "docs" / "reference" / "guide.md"
REASONS = REPOSITORY / "template" / "docs" / "GITHUB_ACTIONS_RUNTIME.md"
TEMPLATE = REPOSITORY / "template"


def rows(page: Path, after: str = "") -> list[list[str]]:
    """The cells of a page's first table below a text, without the head."""
    text = page.read_text(encoding="utf-8").partition(after)[2] if after else page.read_text(encoding="utf-8")
    lines = re.search(r"^\|.*\n\|[ |-]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert lines
    return [[cell.strip() for cell in line.strip("|\n").split(" |")] for line in lines[1].splitlines()]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.FunctionDef)}


def test_each_claim_has_a_test_and_each_deviation_a_reason() -> None:
    found = rows(PAGE)
    reasons = [row[0] for row in rows(REASONS, "## Where this is stricter")]

    assert [row[0] for row in found] == [str(number) for number in range(1, len(found) + 1)]
    for number, _, shown, result, stricter in found:
        name, _, function = shown.strip("`").partition("::")
        path = REPOSITORY / name if name.startswith("template/") else REPOSITORY / "tests" / name
        assert function in functions(path), number
        assert (result == "stricter") == bool(stricter), number
        assert result.startswith(("as written", "stricter")), number
    assert {row[4] for row in found} - {""} == set(reasons), "none is without its claim, none without its reason"


def test_the_names_are_those_of_the_guide() -> None:
    name = ".github/workflows/agent-investigate-act.yml"
    workflow = yaml.safe_load(render_workflow())

    assert (TEMPLATE / f"{name}.jinja").is_file()
    assert workflow["name"] == "Agent Runtime - Investigate & Act"
    labels = {each["description"].partition(":")[0] for each in workflow[True]["workflow_dispatch"]["inputs"].values()}
    assert {"Trigger Source", "Trace ID", "Resource", "Action Context"} <= labels
    assert {"investigate", "approve", "act"} <= workflow["jobs"].keys()
    assert workflow["jobs"]["approve"]["environment"] == "agent-approval"
    for path in ("specs/github-actions-agent-runtime.md", "docs/GITHUB_ACTIONS_RUNTIME.md", "docs/SETUP_GUIDE.md"):
        assert (TEMPLATE / path).is_file()
    assert (TEMPLATE / "agent_runner.py.jinja").is_file()
