"""The gate-contract linter: the real workflow passes, and each rule catches the smallest edit that breaks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.local import contract
from conftest import REPOSITORY
from workflow.rendering import ACT_PERMISSIONS, SETUP_ACTION, TRIGGERS, render_workflow

NAME = ".github/workflows/agent-investigate-act.yml"
WORKFLOW = render_workflow("manual+alert+schedule", "issues")
AUTO = render_workflow("manual", "issues", auto_approval="yes")
ACTION = SETUP_ACTION.read_text(encoding="utf-8")
CI = """\
name: CI
on: [push, pull_request]
permissions: {}
jobs:
  test:
    runs-on: ubuntu-latest
    timeout-minutes: 10
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - run: make test
"""


def found(text: str, path: str = NAME) -> set[str]:
    return {violation.code for violation in contract.lint_workflow(text, path)}


def edited(text: str, *edits: tuple[str, str]) -> str:
    """`text` with each first occurrence replaced; an edit that finds nothing is a mistake of the test."""
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def inside(text: str, job: str, old: str, new: str) -> str:
    """`text` with the first occurrence of `old` after the start of the job `job` replaced."""
    start = text.index(f"\n  {job}:\n")
    return text[:start] + edited(text[start:], (old, new))


@pytest.mark.parametrize("auto_approval", ["no", "yes"])
@pytest.mark.parametrize("act_permissions", ACT_PERMISSIONS)
@pytest.mark.parametrize("triggers", TRIGGERS)
def test_every_rendering_keeps_the_contract(triggers: str, act_permissions: str, auto_approval: str) -> None:
    text = render_workflow(triggers, act_permissions, auto_approval=auto_approval)
    assert contract.lint_workflow(text, NAME) == []


def test_without_protected_environments_nothing_runs_without_asking() -> None:
    assert "act-auto" not in render_workflow(auto_approval="yes", repository_plan="private-free")


_CONDITION = "    if: needs.investigate.outputs.decision == 'auto'\n"
_PERMISSIONS = (
    "    permissions:\n      contents: read # check out the agent\n"
    "      actions: read # what ran before, and is the gate still real?\n"
)
# Each edit widens what runs without asking.
WIDENED = {
    "it may write": ({"CON06", "CON30"}, ("      contents: read", "      contents: write")),
    "it may write anything": (
        {"CON06", "CON08"},
        (
            _PERMISSIONS,
            "    permissions: write-all\n",
        ),
    ),
    "it gets an identity": ({"CON06", "CON30"}, ("      actions: read", "      id-token: write")),
    "it reads something else": ({"CON30"}, ("      actions: read", "      packages: read")),
    "it says nothing about permissions": (
        {"CON08"},
        (
            _PERMISSIONS,
            "",
        ),
    ),
    "it uses the environment of act": ({"CON04"}, ("environment: agent-auto", "environment: agent-act")),
    "it uses the gate": ({"CON04"}, ("environment: agent-auto", "environment: agent-approval")),
    "it uses another environment": ({"CON04"}, ("environment: agent-auto", "environment: production")),
    "it uses a computed environment": ({"CON04"}, ("environment: agent-auto", "environment: ${{ inputs.resource }}")),
    "it uses no environment": ({"CON04"}, ("    environment: agent-auto\n", "")),
    "it runs after a review": ({"CON30"}, ("decision == 'auto'", "decision == 'review'")),
    "it runs after anything": ({"CON30"}, (_CONDITION, "")),
    "it runs always": ({"CON30"}, (_CONDITION, "    if: always()\n")),
    "it runs after either": ({"CON30"}, ("decision == 'auto'", "decision != 'denied'")),
    "it runs after both words": ({"CON30"}, ("decision == 'auto'", "decision == 'auto' || true")),
    "it needs nothing": ({"CON03"}, ("    needs: investigate\n", "")),
    "it needs approve": ({"CON03"}, ("    needs: investigate\n", "    needs: [investigate, approve]\n")),
    "it reads the secret of act": ({"CON07"}, ("secrets.AGENT_AUTO_TOKEN", "secrets.AGENT_ACT_TOKEN")),
    "it reads two secrets": (
        {"CON07"},
        ("${{ secrets.AGENT_AUTO_TOKEN }}", "${{ secrets.AGENT_AUTO_TOKEN || secrets.AGENT_ACT_TOKEN }}"),
    ),
    "it reads all secrets": ({"CON07"}, ("${{ secrets.AGENT_AUTO_TOKEN }}", "${{ toJSON(secrets) }}")),
    "it has no lock": (
        {"CON21"},
        ("      group: agent-act-${{ needs.investigate.outputs.resource }}\n", "      group: agent\n"),
    ),
    "it has a lock of its own": ({"CON21"}, ("      group: agent-act-", "      group: agent-auto-")),
    "it is interrupted": ({"CON21"}, ("cancel-in-progress: false", "cancel-in-progress: true")),
    "it may be dropped while it waits": ({"CON21"}, ("      queue: max\n", "")),
    "it runs many times": ({"CON22"}, ("    runs-on:", "    strategy: {matrix: {x: [1, 2]}}\n    runs-on:")),
    "it goes on after a failure": ({"CON19"}, ("        id: act\n", "        id: act\n        if: always()\n")),
    "it calls another workflow": (
        {"CON02"},
        ("    steps:\n", "    uses: ./.github/workflows/other.yml\n    x-steps:\n"),
    ),
    "its claim is left out after a failure": ({"CON23"}, ("        if: always()\n", "")),
    "it fetches a report by name": (
        {"CON14"},
        ("artifact-ids: ${{ needs.investigate.outputs.report_artifact_id }}", "name: investigation-report"),
    ),
}


@pytest.mark.threat("T23")
@pytest.mark.parametrize("case", WIDENED)
def test_t23_no_widening_of_what_runs_without_asking_passes(case: str) -> None:
    codes_found, (old, new) = WIDENED[case]
    assert found(inside(AUTO, "act-auto", old, new)) >= codes_found


@pytest.mark.threat("T23")
@pytest.mark.parametrize(
    ("code", "edit"),
    [
        ("CON03", (", act-auto]", "]")),
        ("CON03", ("    needs: [investigate, approve]\n", "    needs: [investigate, approve, act-auto]\n")),
        ("CON05", ("  record:\n", "  another:\n    environment: agent-auto\n  record:\n")),
        ("CON05", ("  record:\n", "  another:\n    environment: {name: Agent-Auto}\n  record:\n")),
    ],
)
def test_t23_the_other_jobs_know_their_place_beside_it(code: str, edit: tuple[str, str]) -> None:
    assert code in found(edited(AUTO, edit))


@pytest.mark.threat("T23")
def test_t23_no_other_workflow_uses_its_environment() -> None:
    assert found(edited(CI, ("    runs-on:", "    environment: agent-auto\n    runs-on:")), "ci.yml") == {"CON05"}


def test_the_composite_action_and_a_plain_workflow_keep_it_too() -> None:
    assert contract.lint_workflow(ACTION, ".github/actions/setup-agent/action.yml") == []
    assert contract.lint_workflow(CI, "ci.yml") == []


# Each edit breaks these rules and no other.
BROKEN = {
    "not YAML": ("CON01", edited(WORKFLOW, ("jobs:", "jobs: ["))),
    "a key twice": ("CON01", edited(WORKFLOW, ("    name: Act\n", "    name: Act\n    name: Act\n"))),
    "an anchor": ("CON01", edited(WORKFLOW, ("name: Investigate\n", "name: &x Investigate\n"))),
    "two documents": ("CON01", WORKFLOW + "---\njobs: {}\n"),
    "a step that is none": ("CON01", inside(WORKFLOW, "record", "    steps:\n", "    steps:\n      - x\n")),
    "a job is missing": ("CON02", WORKFLOW[: WORKFLOW.index("\n  # Runs whatever happened")] + "\n"),
    "act does not need approve": (
        "CON03",
        edited(WORKFLOW, ("needs: [investigate, approve]\n", "needs: investigate\n")),
    ),
    "approve needs nothing": ("CON03", inside(WORKFLOW, "approve", "    needs: investigate\n", "")),
    "record needs only some": ("CON03", edited(WORKFLOW, ("[investigate, approve, act]", "[investigate, act]"))),
    "act without environment": ("CON04", edited(WORKFLOW, ("    environment: agent-act\n", ""))),
    "another environment": ("CON04", edited(WORKFLOW, ("environment: agent-approval", "environment: production"))),
    "an environment from an input": (
        "CON04",
        edited(WORKFLOW, ("environment: agent-approval", "environment: ${{ inputs.resource }}")),
    ),
    "an environment without a deployment": (
        "CON04",
        edited(WORKFLOW, ("environment: agent-act", "environment: {name: agent-act, deployment: false}")),
    ),
    "record in the environment of act": (
        "CON05",
        inside(WORKFLOW, "record", "    if: always()\n", "    if: always()\n    environment: Agent-Act\n"),
    ),
    "record in an environment from an expression": (
        "CON05",
        inside(
            WORKFLOW, "record", "    if: always()\n", "    if: always()\n    environment: {name: '${{ vars.X }}'}\n"
        ),
    ),
    "investigate may write": ("CON06", edited(WORKFLOW, ("contents: read", "contents: write"))),
    "approve gets an id-token": ("CON06", inside(WORKFLOW, "approve", "actions: read", "id-token: write")),
    "a secret in investigate": (
        "CON07",
        edited(
            WORKFLOW, ("          AGENT_DIS", "          AGENT_OWN_KEY: ${{ secrets.LLM_KEY }}\n          AGENT_DIS")
        ),
    ),
    "a secret by index": (
        "CON07",
        edited(
            WORKFLOW, ("          AGENT_DIS", "          AGENT_OWN_KEY: ${{ secrets['LLM_KEY'] }}\n          AGENT_DIS")
        ),
    ),
    "another secret in record": (
        "CON07",
        edited(
            WORKFLOW,
            ("          NEEDS:", "          AGENT_OWN_KEY: ${{ secrets.AIMGENTIX_API_KEY }}\n          NEEDS:"),
        ),
    ),
    "the audit key in investigate": (
        "CON07",
        edited(
            WORKFLOW,
            ("          AGENT_DIS", "          AGENT_OWN_KEY: ${{ secrets.AIMGENTIX_API_KEY }}\n          AGENT_DIS"),
        ),
    ),
    "all secrets": (
        "CON07",
        edited(
            WORKFLOW, ("          AGENT_DIS", "          AGENT_OWN_KEY: ${{ toJSON(secrets) }}\n          AGENT_DIS")
        ),
    ),
    "a secret for the whole job act": (
        "CON07",
        inside(WORKFLOW, "act", "    outputs:\n", "    env:\n      AGENT_OWN_KEY: ${{ secrets.KEY }}\n    outputs:\n"),
    ),
    "the token of the repository as a default": (
        "CON08",
        edited(WORKFLOW, ("permissions: {}", "permissions: read-all")),
    ),
    "a job without permissions": (
        "CON08",
        inside(
            inside(WORKFLOW, "approve", "      actions: read # who approved? (GitHub's own record)\n", ""),
            "approve",
            "    permissions:\n      contents: read # check out the agent\n",
            "",
        ),
    ),
    "a job without a limit": ("CON09", edited(WORKFLOW, ("    timeout-minutes: 20\n", ""))),
    "a limit of a day": ("CON09", edited(WORKFLOW, ("timeout-minutes: 20", "timeout-minutes: 1440"))),
    "an action by its tag": (
        "CON10",
        edited(WORKFLOW, ("upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f", "upload-artifact@v7")),
    ),
    "a short commit": (
        "CON10",
        edited(WORKFLOW, ("upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f", "upload-artifact@bbbca2d")),
    ),
    "a local action elsewhere": ("CON10 CON33", edited(WORKFLOW, ("./.github/actions", "./../actions"))),
    "an expression in a script": (
        "CON11 CON33",
        edited(
            WORKFLOW, ("agent_runner.py investigate", "agent_runner.py investigate --resource '${{ inputs.resource }}'")
        ),
    ),
    "record only on success": ("CON12", inside(WORKFLOW, "record", "    if: always()\n", "")),
    "record unless cancelled": (
        "CON12",
        inside(WORKFLOW, "record", "    if: always()\n", "    if: ${{ !cancelled() }}\n"),
    ),
    "credentials are kept": ("CON13", edited(WORKFLOW, ("persist-credentials: false", "persist-credentials: true"))),
    "the newest commit": ("CON13", inside(WORKFLOW, "act", "ref: ${{ github.sha }}", "ref: main")),
    "another repository": (
        "CON13",
        edited(WORKFLOW, ("persist-credentials: false", "persist-credentials: false\n          repository: a/b")),
    ),
    "an artifact by its name": (
        "CON14",
        edited(
            WORKFLOW,
            ("artifact-ids: ${{ needs.investigate.outputs.report_artifact_id }}", "name: investigation-report"),
        ),
    ),
    "an artifact of another run": (
        "CON14",
        edited(
            WORKFLOW, ("digest-mismatch: error", "digest-mismatch: error\n          run-id: ${{ inputs.trace_id }}")
        ),
    ),
    "a digest that only warns": ("CON14", edited(WORKFLOW, ("digest-mismatch: error", "digest-mismatch: warn"))),
    "a pull request starts it": ("CON15", edited(WORKFLOW, ("  schedule:\n", "  pull_request:\n  schedule:\n"))),
    "another workflow starts it": ("CON15", edited(WORKFLOW, ("  schedule:\n", "  workflow_run:\n  schedule:\n"))),
    "a cache": (
        "CON16 CON33",
        edited(
            WORKFLOW,
            (
                "      - name: Investigate\n",
                "      - uses: actions/cache@3d3c42e5aac5ba805825da76410c181273ba90b1\n      - name: Investigate\n",
            ),
        ),
    ),
    "a cache of an action": (
        "CON16",
        edited(ACTION, ('python-version: "3.13"', 'python-version: "3.13"\n        cache: pip')),
    ),
    "another GitHub": (
        "CON17",
        inside(
            WORKFLOW, "act", "          TRACE_ID:", "          GITHUB_API_URL: http://127.0.0.1\n          TRACE_ID:"
        ),
    ),
    "a foreign token": (
        "CON17",
        edited(WORKFLOW, ("GITHUB_TOKEN: ${{ github.token }}", "GITHUB_TOKEN: ${{ vars.TOKEN }}")),
    ),
    "a search path": ("CON17", edited(WORKFLOW, ("jobs:\n", "env:\n  PYTHONPATH: agent-run-in\njobs:\n"))),
    "code from another folder": (
        "CON17",
        edited(WORKFLOW, ("        id: act\n", "        id: act\n        working-directory: agent-run-in\n")),
    ),
    "another shell": ("CON17", edited(WORKFLOW, ("        id: act\n", "        id: act\n        shell: python {0}\n"))),
    "another default": ("CON17", edited(WORKFLOW, ("jobs:\n", "defaults: {run: {shell: sh}}\njobs:\n"))),
    "a variable for later steps": (
        "CON17 CON33",
        edited(WORKFLOW, ("run: python agent_runner.py approve", 'run: echo "PATH=x" >> "$GITHUB_ENV"')),
    ),
    "a failure that is none": (
        "CON18",
        edited(WORKFLOW, ("        id: act\n", "        id: act\n        continue-on-error: true\n")),
    ),
    "act after a rejection": (
        "CON19",
        edited(
            WORKFLOW, ("if: needs.approve.result == 'success'", "if: always() && needs.approve.result != 'cancelled'")
        ),
    ),
    "act without asking approve": ("CON19", edited(WORKFLOW, ("    if: needs.approve.result == 'success'\n", ""))),
    "the effect after a failed download": (
        "CON19 CON33",
        edited(WORKFLOW, ("        id: act\n", "        id: act\n        if: ${{ !cancelled() }}\n")),
    ),
    "a click for nothing": (
        "CON20",
        edited(
            WORKFLOW,
            ("if: needs.investigate.outputs.decision == 'review'", "if: needs.investigate.outputs.decision != 'none'"),
        ),
    ),
    "an action is interrupted": (
        "CON21",
        inside(WORKFLOW, "act", "cancel-in-progress: false", "cancel-in-progress: true"),
    ),
    "an approved action is dropped while it waits": ("CON21", inside(WORKFLOW, "act", "      queue: max\n", "")),
    "the newest waiting action drops the others": ("CON21", inside(WORKFLOW, "act", "queue: max", "queue: single")),
    "two actions at a time": (
        "CON21",
        edited(WORKFLOW, ("group: agent-act-${{ needs.investigate.outputs.resource }}", "group: ${{ github.run_id }}")),
    ),
    "a lock for each run, by a resource in words": (
        "CON21",
        edited(
            WORKFLOW, ("group: agent-act-${{ ", "group: needs.investigate.outputs.resource-${{ github.run_id }} # ")
        ),
    ),
    "a lock for each run and resource": (
        "CON21",
        edited(WORKFLOW, ("group: agent-act-${{ ", "group: agent-${{ github.run_id }}-${{ ")),
    ),
    "a mapping that interrupts stands nowhere in the file": (
        "CON21",
        edited(
            WORKFLOW,
            (
                "concurrency:\n  group: agent-run-${{ github.run_id }}\n  cancel-in-progress: false\n",
                "concurrency: ${{ fromJSON(vars.GROUP) }}\n",
            ),
        ),
    ),
    "an action for each of many": (
        "CON22",
        inside(WORKFLOW, "act", "    outputs:\n", "    strategy: {matrix: {n: [1, 2]}}\n    outputs:\n"),
    ),
    "evidence of success only": (
        "CON23",
        edited(WORKFLOW, ("        id: report\n        if: always()\n", "        id: report\n")),
    ),
    "evidence for a week": ("CON23", edited(WORKFLOW, ("retention-days: 90", "retention-days: 7"))),
    "evidence that can be replaced": (
        "CON23",
        edited(WORKFLOW, ("retention-days: 90", "retention-days: 90\n          overwrite: true")),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_smallest_break_is_caught_by_its_own_rules_alone(name: str) -> None:
    expected, text = BROKEN[name]
    assert found(text) == set(expected.split())


def test_every_rule_is_broken_by_some_edit() -> None:
    widened = {code for codes_found, _ in WIDENED.values() for code in codes_found}
    of_the_steps = {"CON33", "CON34", "CON35", "CON36"}  # see test_gate_steps.py
    of_the_issue_gate = {"CON31", "CON32"}  # see test_contract_issue_gate.py
    assert {code for expected, _ in BROKEN.values() for code in expected.split()} | widened | of_the_steps == set(
        contract.RULES
    ) - of_the_issue_gate


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("CON05", edited(CI, ("    timeout-minutes", "    environment: agent-act\n    timeout-minutes"))),
        ("CON08", edited(CI, ("permissions: {}\n", ""))),
        ("CON09", edited(CI, ("    timeout-minutes: 10\n", ""))),
        ("CON10", edited(CI, ("checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "checkout@main"))),
        ("CON11", edited(CI, ("make test", "make ${{ github.head_ref }}"))),
        ("CON13", edited(CI, ("          persist-credentials: false\n", "          fetch-depth: 1\n"))),
        ("CON15", edited(CI, ("[push, pull_request]", "pull_request_target"))),
    ],
)
def test_other_workflows_are_held_to_what_concerns_them(code: str, text: str) -> None:
    assert found(text, "ci.yml") == {code}


def test_a_renamed_agent_workflow_is_still_known_by_its_jobs() -> None:
    renamed = edited(WORKFLOW, ("name: Agent Runtime - Investigate & Act", "name: Nightly"))
    assert found(edited(renamed, ("    environment: agent-act\n", "")), "nightly.yml") == {"CON04", "CON35"}


def test_a_violation_says_where() -> None:
    text = edited(WORKFLOW, ("timeout-minutes: 20", "timeout-minutes: 0"))
    line = text[: text.index("timeout-minutes: 0")].count("\n") + 1
    assert [str(violation) for violation in contract.lint_workflow(text, NAME)] == [
        f"{NAME}:{line}: CON09 the job investigate has no timeout-minutes"
    ]


def test_every_rule_is_registered_and_explained() -> None:
    for code, rule in contract.RULES.items():
        assert codes.describe(code).title == rule.title
        explanation = contract.explain(code)
        assert explanation.startswith(f"{code}: {rule.title}\n")
        assert rule.why in explanation and rule.mend in explanation


# ------------------------------------------------------------------------------------------------------ command line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with the agent workflow, a plain workflow and the composite action."""
    for path, text in (
        (".github/workflows/agent-investigate-act.yml", WORKFLOW),
        (".github/workflows/ci.yml", CI),
        (".github/actions/setup-agent/action.yml", ACTION),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def lint(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent_runtime.local.contract", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY / "template")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_line_is_silent_about_a_closed_gate(folder: Path) -> None:
    result = lint(folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_command_line_prints_a_line_for_each_violation_and_exits_2(folder: Path) -> None:
    (folder / NAME).write_text(edited(WORKFLOW, ("    environment: agent-act\n", "")), encoding="utf-8")
    (folder / ".github/workflows/ci.yml").write_text(edited(CI, ("permissions: {}\n", "")), encoding="utf-8")

    result = lint(folder, ".github/workflows/")

    assert result.returncode == 2
    assert [line.split(": ")[1][:5] for line in result.stdout.splitlines()] == ["CON04", "CON08"]
    assert "--explain" in result.stderr


def test_command_line_follows_the_workflow_into_its_local_actions(folder: Path) -> None:
    action = folder / ".github/actions/setup-agent/action.yml"
    action.write_text(edited(ACTION, ("setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97", "setup-python@v7")))
    assert "setup-agent/action.yml:8: CON10" in lint(folder, NAME).stdout

    action.unlink()
    assert "setup-agent/action.yml:1: CON01 can't be read" in lint(folder, NAME).stdout


def test_command_line_follows_the_workflow_into_workflows_that_it_calls(folder: Path) -> None:
    caller = folder / ".github/workflows/deploy.yml"
    text = (
        "name: x\non: push\npermissions: {}\njobs:\n  call: {permissions: {}, uses: ./.github/workflows/called.yml}\n"
    )
    caller.write_text(text)
    (folder / ".github/workflows/called.yml").write_text(edited(CI, ("permissions: {}\n", "")))
    assert lint(folder, str(caller)).stdout.endswith("called.yml:1: CON08 permissions: {} is missing at the top\n")
    (folder / ".github/workflows/called.yml").write_text(CI)
    assert lint(folder, str(caller)).returncode == 0


def test_command_line_misses_a_missing_workflow(folder: Path) -> None:
    (folder / NAME).unlink()
    result = lint(folder)
    assert (result.returncode, "CON02" in result.stdout) == (2, True)

    result = lint(folder, "nowhere.yml")
    assert (result.returncode, result.stdout) == (2, "nowhere.yml:1: CON01 can't be read: FileNotFoundError\n")


def test_command_line_explains(folder: Path) -> None:
    result = lint(folder, "--explain", "con14")
    assert result.returncode == 0
    assert result.stdout == contract.explain("CON14") + "\n"
    assert lint(folder, "--explain", "CON99").returncode == 2


# ------------------------------------------------------------------------------------------------- whatever the text


@settings(max_examples=200, deadline=None)
@given(text=st.text())
@example("a: " + "[" * 5000)
@example("jobs: {act: {steps: [1, {with: []}, {uses: {}}], needs: {a: b}, environment: [x]}}")
@example("jobs: {approve: 1, act: [], record: null, investigate: {permissions: 1}}\non: 3\npermissions: []")
@example("")
@example("\ud800")
@example("? [a]\n: b")
@example("!!python/object/apply:os.system ['true']")
def test_no_text_crashes_it(text: str) -> None:
    contract.lint_workflow(text, NAME)


LINES = WORKFLOW.splitlines(keepends=True)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_edit_of_the_workflow_crashes_it(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(lines) - 1))
        edit = data.draw(st.sampled_from(["delete", "double", "indent", "dedent", "value", "list", "move"]))
        if edit == "delete" and len(lines) > 1:
            del lines[at]
        elif edit == "double":
            lines.insert(at, lines[at])
        elif edit == "indent":
            lines[at] = "  " + lines[at]
        elif edit == "dedent":
            lines[at] = lines[at].removeprefix("  ")
        elif edit == "value":
            lines[at] = (
                lines[at].split(":")[0]
                + ": "
                + data.draw(st.sampled_from(["[]", "{}", "1", "null", "x", "${{"]))
                + "\n"
            )
        elif edit == "list":
            lines[at] = lines[at].replace(": ", ": [", 1)
        else:
            lines.insert(at, lines.pop())
    for violation in contract.lint_workflow("".join(lines), NAME):
        assert violation.code in contract.RULES
        assert 1 <= violation.line <= len(lines) + 1
