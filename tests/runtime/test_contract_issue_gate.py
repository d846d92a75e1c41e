"""The linter on the two workflows of an issue gate, and on attempts to pass for one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_runtime import codes
from agent_runtime.local import contract
from agent_runtime.model import config
from runtime.test_contract import CI, edited, inside
from runtime.test_simulate import CONFIG
from workflow.rendering import ACT_PERMISSIONS, TRIGGERS, render_issue_gate, render_workflow

ASKING_NAME = ".github/workflows/agent-investigate-act.yml"
ACTING_NAME = ".github/workflows/agent-act-on-approval.yml"
WHOLE = render_workflow("manual+alert+schedule", "deployments")
ASKING, ACTING = render_issue_gate("manual+alert+schedule", "deployments")


def found(text: str, path: str = ACTING_NAME, gate: str = "issue") -> set[str]:
    return {violation.code for violation in contract.lint_workflow(text, path, gate)}


def test_every_rendering_keeps_the_contract() -> None:
    for triggers in TRIGGERS:
        for permissions in ACT_PERMISSIONS:
            asking, acting = render_issue_gate(triggers, permissions)
            assert found(asking, ASKING_NAME) == found(acting) == set()


def test_each_gate_has_its_own_workflows_and_the_stronger_one_needs_no_choice() -> None:
    """Who writes an `act` without an environment into a repository of the other gate has not opened it."""
    assert found(WHOLE, ASKING_NAME, "environment") == set()
    assert found(WHOLE, ASKING_NAME) == {"CON32"}
    assert found(ASKING, ASKING_NAME, "environment") == {"CON32"}
    assert found(ACTING, gate="environment") == {"CON32"}
    assert [violation.code for violation in contract.lint_workflow(ACTING, ACTING_NAME)] == ["CON32"]


ACT = ACTING[ACTING.index("  act:\n") : ACTING.index("\n  # Runs whatever")]

# Each edit breaks these rules and no other.
BROKEN = {
    "ask is missing": ("CON02", inside(ASKING, "ask", "    steps:", "    stps:")),
    "ask needs nothing": ("CON03", edited(ASKING, ("    needs: investigate\n", ""))),
    "record forgets ask": ("CON03", edited(ASKING, ("needs: [investigate, ask]", "needs: investigate"))),
    "ask in the environment of act": (
        "CON05",
        inside(ASKING, "ask", "    permissions:", "    environment: agent-act\n    permissions:"),
    ),
    "ask may write contents": ("CON06", inside(ASKING, "ask", "contents: read", "contents: write")),
    "ask may write anything": ("CON06", inside(ASKING, "ask", "issues: write", "pull-requests: write")),
    "investigate opens the issue": ("CON06", edited(ASKING, ("contents: read", "issues: write"))),
    "the asking record writes issues": ("CON06", inside(ASKING, "record", "actions: read", "issues: write")),
    "a secret in ask": (
        "CON07",
        inside(
            ASKING, "ask", "          TRACE_ID:", "          AGENT_OWN_KEY: ${{ secrets.LLM_KEY }}\n          TRACE_ID:"
        ),
    ),
    "ask after a failure": (
        "CON20",
        edited(ASKING, ("if: needs.investigate.outputs.decision == 'review'", "if: always()")),
    ),
    "act does not need approve": ("CON03", edited(ACTING, ("    needs: approve\n", ""))),
    "act in an environment": (
        "CON05",
        inside(ACTING, "act", "    permissions:", "    environment: agent-act\n    permissions:"),
    ),
    "approve may write issues": ("CON06", inside(ACTING, "approve", "issues: read", "issues: write")),
    "record may write contents": ("CON06", inside(ACTING, "record", "contents: read", "contents: write")),
    "record gets an id-token": ("CON06", inside(ACTING, "record", "issues: write", "id-token: write")),
    "a secret in approve": (
        "CON07",
        inside(
            ACTING, "approve", "          GITHUB_", "          AGENT_OWN_KEY: ${{ secrets.KEY }}\n          GITHUB_"
        ),
    ),
    "approve without a limit": ("CON09", inside(ACTING, "approve", "    timeout-minutes: 10\n", "")),
    "a comment in a script": (
        "CON11 CON33",
        inside(
            ACTING, "approve", "agent_runner.py approve", "agent_runner.py approve '${{ github.event.comment.body }}'"
        ),
    ),
    "record of every comment": (
        "CON12",
        edited(ACTING, ("    if: always() && needs.approve.result != 'skipped'", "    if: always()")),
    ),
    "record on success only": (
        "CON12",
        edited(ACTING, ("    if: always() && needs.approve.result != 'skipped'\n", "")),
    ),
    "the commit of a comment": (
        "CON13",
        inside(ACTING, "act", "ref: ${{ github.sha }}", "ref: ${{ github.event.comment.body }}"),
    ),
    "an artifact of another run": (
        "CON14",
        edited(
            ACTING,
            ("digest-mismatch: error", "digest-mismatch: error\n          run-id: ${{ github.event.issue.number }}"),
        ),
    ),
    "edited comments too": ("CON15", edited(ACTING, ("types: [created]", "types: [created, edited]"))),
    "comments of any type": ("CON15", edited(ACTING, ("    types: [created]\n", ""))),
    "a second trigger": ("CON15", edited(ACTING, ("  issue_comment:", "  workflow_dispatch:\n  issue_comment:"))),
    "act after a refusal": (
        "CON19",
        edited(ACTING, ("if: needs.approve.result == 'success'", "if: needs.approve.result != 'skipped'")),
    ),
    "any comment starts a runner": (
        "CON20",
        edited(ACTING, ("      github.event.issue.state == 'open'\n      && ", "      ")),
    ),
    "bots start a runner": ("CON20", edited(ACTING, ("user.type == 'User'", "user.type != 'Mannequin'"))),
    "two actions at a time": (
        "CON21",
        edited(ACTING, ("agent-act-${{ needs.approve.outputs.resource }}", "${{ github.run_id }}")),
    ),
    "an action for each of many": (
        "CON22",
        inside(ACTING, "act", "    outputs:\n", "    strategy: {matrix: {n: [1, 2]}}\n    outputs:\n"),
    ),
    "the agent runs for a comment": (
        "CON31",
        edited(ACTING, ("jobs:\n", "jobs:\n  investigate: {timeout-minutes: 1, permissions: {}, steps: [{run: x}]}\n")),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_smallest_break_is_caught_by_its_own_rules_alone(name: str) -> None:
    expected, text = BROKEN[name]
    assert found(text, ASKING_NAME if "\n  ask:\n" in text else ACTING_NAME) == set(expected.split())


def test_act_has_no_place_beside_ask() -> None:
    act = ACT.replace("needs: approve\n", "needs: [investigate, ask]\n").replace("needs.approve.", "needs.ask.")
    assert "CON31" in found(edited(ASKING, ("\n  # Runs whatever", f"\n{act}\n  # Runs whatever")))


# ------------------------------------------------------------------------------------------------- in a repository


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The workflows of a repository whose gate is an issue."""
    files = {
        ASKING_NAME: ASKING,
        ACTING_NAME: ACTING,
        ".github/workflows/ci.yml": CI,
        ".github/agent-config.yml": "approval_gate: issue\n",
        ".github/actions/setup-agent/action.yml": "runs: {using: composite, steps: []}\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.threat("T26")
@pytest.mark.parametrize(
    "source",
    [
        "secrets.AGENT_ACT_TOKEN",
        "SECRETS['agent_act_token']",
        "toJSON( secrets )",
        "secrets.X || secrets.AGENT_ACT_TOKEN",
        "join(secrets.*, ',')",
        "secrets[format('AGENT_{0}_TOKEN', 'ACT')]",
    ],
)
def test_t26_no_other_workflow_reads_the_token_where_no_environment_keeps_it(source: str) -> None:
    text = edited(CI, ("    steps:\n", "    env:\n      X: ${{ " + source + " }}\n    steps:\n"))
    assert {each.code for each in contract.lint_workflow(text, "ci.yml", "issue")} == {"CON07"}
    assert contract.lint_workflow(text, "ci.yml") == []
    assert contract.lint_workflow(text.replace(source, "secrets['OTHER'] || secrets.X"), "ci.yml", "issue") == []


def codes_of(folder: Path, *paths: str) -> list[str]:
    wanted = [folder / path for path in paths or (".github/workflows",)]
    return [violation.code for violation in contract.lint_paths(wanted)]


# To PyYAML the second half is a line of its own, to others it is part of the comment.
SWALLOWED = "# the gate\u2028approval_gate: issue\n"


@pytest.mark.threat("T13")
@pytest.mark.parametrize("more", [SWALLOWED, "agent: other\n", "a: &a 1\n"])
def test_t13_the_configuration_says_one_thing_to_every_reader(folder: Path, more: str) -> None:
    config.load(folder_with(folder, CONFIG))
    with pytest.raises(codes.BadInput) as refused:
        config.load(folder_with(folder, CONFIG + more))
    assert refused.value.code == "INP007"


def folder_with(folder: Path, text: str) -> Path:
    """The folder with this configuration."""
    (folder / ".github" / "agent-config.yml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.threat("T13")
def test_the_repository_says_which_gate_it_has(folder: Path) -> None:
    assert codes_of(folder) == codes_of(folder, ASKING_NAME, ACTING_NAME) == []
    path = folder / ".github" / "agent-config.yml"
    for text in ("approval_gate: environment\n", "approval_gate: [issue]\n", "{", "", "- issue\n", "\udcff", SWALLOWED):
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        assert codes_of(folder) == ["CON32", "CON32"], text
    path.unlink()
    assert codes_of(folder, ACTING_NAME) == ["CON32"]


def test_one_workflow_without_the_other_is_half_a_gate(folder: Path) -> None:
    (folder / ACTING_NAME).unlink()
    assert codes_of(folder) == ["CON02"]
    (folder / ACTING_NAME).write_text(ACTING)
    (folder / ".github/workflows/agent-second.yml").write_text(ACTING)
    assert codes_of(folder) == ["CON02", "CON35"]
