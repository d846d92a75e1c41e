"""Write `docs/reference/threats.md`: for each threat the tests that carry its mark, `@pytest.mark.threat("T7")`.

Below stand the attacks that once got through, each with its threat and the tests that try it.

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


# What once got through, when somebody tried: the attack, its threat, and the tests that try it since.
_HIJACKED = "tests/e2e/security/test_hijacked_runs.py::"
_EDITED = "tests/integration/security/test_edited_workflows.py::"
_LINTER = "tests/integration/runtime/test_linter.py::"
GOT_THROUGH: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "The reviewer reads plan A, and plan B runs: the agent's process, or one that it leaves behind, rewrites what "
        "the page or the seal is made of",
        "T40",
        (
            _HIJACKED + "test_what_it_patches_on_its_machine_stays_there",
            _HIJACKED + "test_a_process_that_it_leaves_behind_reaches_no_other_job",
            _HIJACKED + "test_what_it_replaces_after_its_upload_is_not_sealed",
        ),
    ),
    (
        "A reviewer starts the agent with the token of a workflow, and approves it",
        "T15",
        (_HIJACKED + "test_a_run_that_a_workflow_started_is_refused_before_the_agent_runs",),
    ),
    (
        "A bundle is rewritten whole, its digests too: only the digest that somebody kept elsewhere finds it",
        "T36",
        ("tests/integration/runtime/test_simulate.py::TestBundle::test_a_whole_forgery_is_found_by_the_digest_alone",),
    ),
    ("One click starts another job that needs `approve`", "T17", (_EDITED + "test_an_edit_is_refused",)),
    (
        "What the agent prints is a workflow command: a notice in the runtime's name, a mask that makes outputs vanish",
        "T4",
        (
            _HIJACKED + "test_workflow_commands_that_it_prints_are_not_carried_out",
            _HIJACKED + "test_workflow_commands_that_its_module_prints_while_it_is_loaded_are_not_carried_out",
        ),
    ),
    (
        "A variable that `act` reads is changed after the approval",
        "T10",
        ("tests/e2e/workflow/test_sealed_variables.py::test_a_variable_that_is_not_as_it_was_sealed_is_refused",),
    ),
    (
        "Artifacts of earlier runs, or the runs, are deleted, and rate limits leave room again",
        "T25",
        (
            _HIJACKED + "test_a_run_that_deletes_what_it_left_uses_its_rate_limit_up_all_the_same",
            "tests/unit/runtime/test_rate_limits.py::test_a_run_that_is_gone_from_the_list_counts_for_every_limit",
        ),
    ),
    (
        "The default branch keeps stale approvals, takes one's own last push, or a repository's `AGENT_DISABLED` hides "
        "the organisation's",
        "T22",
        ("tests/integration/runtime/test_doctor.py::test_whatever_somebody_loosens_is_named",),
    ),
    (
        "Another workflow has the concurrency group of `act` and cancels it",
        "T24",
        (_LINTER + "test_workflows_that_touch_the_gate_are_refused",),
    ),
    (
        "What is asked for stands behind 800 findings",
        "T14",
        ("tests/unit/runtime/test_pages.py::test_t14_the_page_has_what_a_decision_needs_in_this_order",),
    ),
    (
        "`AIMGENTIX_API_URL` is changed in the settings, and the key goes to another host",
        "T35",
        (
            "tests/integration/runtime/test_record.py::"
            "test_the_key_of_the_audit_backend_goes_to_the_host_of_the_configuration_only",
        ),
    ),
    (
        "Four runs about one resource, started by hand, ask four times",
        "T25",
        ("tests/e2e/workflow/test_alerts.py::test_a_plan_that_waits_is_not_asked_for_again_unless_somebody_wants_it",),
    ),
    (
        "A reviewer whom nobody named as an approver approves",
        "T15",
        ("tests/integration/runtime/test_approvals.py::test_the_click_of_a_reviewer_who_is_not_named_ends_the_run",),
    ),
    (
        "The action that sets the gate's machines up is edited",
        "T8",
        (_EDITED + "test_an_edit_of_an_action",),
    ),
    (
        "A workflow of another repository is handed the gate's secrets, one by one",
        "T26",
        (_LINTER + "test_workflows_that_touch_the_gate_are_refused",),
    ),
    (
        "`snapshot` on `act`, a job before `investigate`, another `run-name`",
        "T17",
        (_EDITED + "test_an_edit_is_refused",),
    ),
    (
        "A job of another workflow is called `Act` or `Approve ...`",
        "T17",
        (_LINTER + "test_workflows_that_touch_the_gate_are_refused",),
    ),
)


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
    lines.append("## What once got through\n\n| attack | threat | tried by |\n| --- | --- | --- |")
    for attack, number, named in GOT_THROUGH:
        lines.append(f"| {attack} | {number} | {', '.join(f'`{test.rpartition(chr(58))[2]}`' for test in named)} |")
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
