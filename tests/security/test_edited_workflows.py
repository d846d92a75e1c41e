"""Attacks that edit the workflow: whoever takes a part of the gate away is told so by the contract."""

from __future__ import annotations

import pytest

from agent_runtime.local import contract
from workflow.rendering import SETUP_ACTION, render_workflow

NAME = ".github/workflows/agent-investigate-act.yml"
WORKFLOW = render_workflow("manual+alert+schedule", "contents")
ACTION = SETUP_ACTION.read_text(encoding="utf-8")
INVESTIGATE, APPROVE, ACT, RECORD = "investigate", "approve", "act", "record"


def edited(job: str, old: str, new: str, text: str = WORKFLOW) -> str:
    """The workflow with the first `old` after the start of a job replaced."""
    start = text.index(f"\n  {job}:\n") if job else 0
    assert old in text[start:], old
    return text[:start] + text[start:].replace(old, new, 1)


def refusals(text: str, path: str = NAME) -> set[str]:
    """The rules that a file breaks."""
    return {violation.code for violation in contract.lint_workflow(text, path)}


def test_the_workflow_as_it_is_rendered_breaks_no_rule() -> None:
    assert refusals(WORKFLOW) == set() == refusals(ACTION, ".github/actions/setup-agent/action.yml")


@pytest.mark.threat("T1")
@pytest.mark.parametrize(
    "expression",
    ["inputs.resource", "github.event.client_payload.note", "needs.investigate.outputs.action", "github.head_ref"],
)
def test_t1_no_expression_reaches_a_script(expression: str) -> None:
    for job, command in ((INVESTIGATE, "investigate"), (ACT, "act")):
        run = f"run: python agent_runner.py {command}"
        # In act the step is no longer the one that may hold the secret.
        expected = {"CON11", "CON33"} | ({"CON07"} if job is ACT else set())
        found = refusals(edited(job, run, f"run: python agent_runner.py {command} '${{{{ {expression} }}}}'"))
        assert found == expected


@pytest.mark.threat("T5")
@pytest.mark.parametrize(
    "edit",
    [
        (APPROVE, "run: python agent_runner.py approve", 'run: cat agent-run/x >> "$GITHUB_ENV"'),
        (ACT, "run: python agent_runner.py act", 'run: echo "$PWD/agent-run-in" >> "$GITHUB_PATH"; true'),
        (ACT, "          TRACE_ID:", "          PYTHONPATH: agent-run-in\n          TRACE_ID:"),
        (ACT, "          TRACE_ID:", "          BASH_ENV: agent-run-in/x\n          TRACE_ID:"),
        (ACT, "          TRACE_ID:", "          GITHUB_API_URL: https://evil.example\n          TRACE_ID:"),
    ],
    ids=["GITHUB_ENV", "GITHUB_PATH", "PYTHONPATH", "BASH_ENV", "GITHUB_API_URL"],
)
def test_t5_nothing_decides_which_program_a_later_step_runs(edit: tuple[str, str, str]) -> None:
    assert "CON17" in refusals(edited(*edit))


@pytest.mark.threat("T6", "T13")
@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\ufeff"])
def test_t6_t13_no_line_ends_for_the_linter_and_goes_on_for_github(sign: str) -> None:
    """A comment that swallows the environment for GitHub, and ends before it for PyYAML."""
    gate = "    environment: agent-approval\n"
    assert refusals(edited(APPROVE, gate, f"    # the gate{sign}{gate}")) == {"CON01"}
    assert "CON01" in refusals(edited(APPROVE, gate, f"    # the gate{sign}\n{gate}"))


@pytest.mark.threat("T5")
@pytest.mark.parametrize(
    "edit",
    [
        (ACT, "          TRACE_ID:", "          ${{ insert }}: ${{ fromJSON(vars.ENVS) }}\n          TRACE_ID:"),
        (ACT, "          persist-", "          ${{ insert }}: ${{ fromJSON(vars.INPUTS) }}\n          persist-"),
        (APPROVE, "environment: agent-approval", "environment: !!null agent-approval"),
        ("", "name: Agent Runtime", "%YAML 1.1\n---\nname: Agent Runtime"),
    ],
    ids=["merged variables", "merged inputs", "a tag", "another YAML"],
)
def test_t5_no_line_means_more_than_stands_there(edit: tuple[str, str, str]) -> None:
    text = edited(*edit)
    assert refusals(text[text.index("%YAML") :] if "%YAML" in text else text) == {"CON01"}


REPORT_BY_ID = "artifact-ids: ${{ needs.investigate.outputs.report_artifact_id }}"


@pytest.mark.threat("T7")
@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        ((ACT, REPORT_BY_ID, "name: investigation-report"), "CON14"),
        ((ACT, REPORT_BY_ID, "pattern: '*'"), "CON14"),
        ((ACT, "digest-mismatch: error", "digest-mismatch: ignore"), "CON14"),
        ((ACT, "digest-mismatch: error", "digest-mismatch: error\n          run-id: 1"), "CON14"),
        ((INVESTIGATE, "retention-days: 90", "retention-days: 90\n          overwrite: true"), "CON23"),
    ],
    ids=["by name", "by pattern", "any digest", "another run", "overwritten"],
)
def test_t7_an_artifact_is_fetched_by_its_id_and_never_replaced(edit: tuple[str, str, str], rule: str) -> None:
    assert rule in refusals(edited(*edit))


@pytest.mark.threat("T10")
def test_t10_every_job_runs_the_commit_of_the_run() -> None:
    for job in (INVESTIGATE, APPROVE, ACT, RECORD):
        assert refusals(edited(job, "ref: ${{ github.sha }}", "ref: main")) == {"CON13"}
        assert refusals(edited(job, "          ref: ${{ github.sha }}\n", "")) == {"CON13"}


@pytest.mark.threat("T12")
def test_t12_nothing_comes_out_of_a_cache() -> None:
    cache = "      - uses: actions/cache@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1\n"
    for job in (INVESTIGATE, ACT):
        assert refusals(
            edited(job, "      - name: Set up the agent\n", cache + "      - name: Set up the agent\n")
        ) == {"CON16", "CON33"}
    pip = edited("", 'python-version: "3.13"', 'python-version: "3.13"\n        cache: pip', ACTION)
    assert refusals(pip, ".github/actions/setup-agent/action.yml") == {"CON16"}


@pytest.mark.threat("T13")
@pytest.mark.parametrize("name", ["agent-approvals", "production", "${{ inputs.resource }}", "${{ vars.GATE }}"])
def test_t13_no_job_names_an_environment_that_github_would_create_open(name: str) -> None:
    assert refusals(edited(APPROVE, "environment: agent-approval", f"environment: {name}")) == {"CON04"}
    assert refusals(edited(ACT, "environment: agent-act", f"environment: {name}")) == {"CON04"}


@pytest.mark.threat("T17")
def test_t17_one_click_is_for_one_job() -> None:
    second = edited(RECORD, "    if: always()\n", "    if: always()\n    environment: agent-approval\n")
    assert refusals(second) == {"CON05"}
    many = edited(ACT, "    outputs:\n", "    strategy: {matrix: {n: [1, 2]}}\n    outputs:\n")
    assert refusals(many) == {"CON22"}


@pytest.mark.threat("T18")
@pytest.mark.parametrize(
    "condition", ["always()", "needs.approve.result != 'failure'", "!cancelled()", "success() || failure()"]
)
def test_t18_act_does_not_run_after_anything_but_a_successful_approve(condition: str) -> None:
    assert refusals(edited(ACT, "if: needs.approve.result == 'success'", f"if: ${{{{ {condition} }}}}")) == {"CON19"}


@pytest.mark.threat("T24")
def test_t24_a_newer_run_takes_nothing_from_an_older_one() -> None:
    assert refusals(edited("", "cancel-in-progress: false", "cancel-in-progress: true")) == {"CON21"}
    assert refusals(edited(ACT, "cancel-in-progress: false", "cancel-in-progress: true")) == {"CON21"}
    group = "agent-act-${{ needs.investigate.outputs.resource }}"
    assert refusals(edited(ACT, group, "${{ github.run_id }}")) == {"CON21"}


@pytest.mark.threat("T25")
def test_t25_nobody_is_asked_about_nothing() -> None:
    asked = "if: needs.investigate.outputs.decision == 'review'"
    for other in ("if: needs.investigate.outputs.decision != 'none'", "if: needs.investigate.result == 'success'"):
        assert refusals(edited(APPROVE, asked, other)) == {"CON20"}


@pytest.mark.threat("T26")
def test_t26_nothing_before_the_gate_can_write_or_sign_in_elsewhere() -> None:
    for job in (INVESTIGATE, APPROVE, RECORD):
        assert refusals(edited(job, "contents: read", "contents: write")) == {"CON06"}
        assert refusals(edited(job, "actions: read", "id-token: write")) == {"CON06"}
    assert refusals(edited("", "permissions: {}", "permissions: write-all")) == {"CON08"}


@pytest.mark.threat("T26", "T27")
@pytest.mark.parametrize("secret", ["secrets.LLM_API_KEY", "secrets['LLM_API_KEY']", "toJSON(secrets)"])
def test_t26_t27_no_secret_is_handed_to_what_the_agent_can_read(secret: str) -> None:
    given = f"          AGENT_OWN_KEY: ${{{{ {secret} }}}}\n          AGENT_DISABLED:"
    assert refusals(edited(INVESTIGATE, "          AGENT_DISABLED:", given)) == {"CON07"}
    whole_job = edited(ACT, "    outputs:\n", f"    env:\n      AGENT_OWN_KEY: ${{{{ {secret} }}}}\n    outputs:\n")
    assert refusals(whole_job) == {"CON07"}


@pytest.mark.threat("T28")
def test_t28_no_checkout_leaves_a_token_behind() -> None:
    for job in (INVESTIGATE, APPROVE, ACT, RECORD):
        assert refusals(edited(job, "persist-credentials: false", "persist-credentials: true")) == {"CON13"}
        assert refusals(edited(job, "          persist-credentials: false\n", "")) == {"CON13"}


@pytest.mark.threat("T29")
@pytest.mark.parametrize("event", ["pull_request_target", "workflow_run", "issues", "push"])
def test_t29_no_stranger_starts_the_agent(event: str) -> None:
    assert refusals(edited("", "  schedule:\n", f"  {event}:\n  schedule:\n")) == {"CON15"}


@pytest.mark.threat("T30")
@pytest.mark.parametrize("version", ["v7", "main", "3d3c42e", "V7.0.1"])
def test_t30_no_tag_and_no_branch_names_the_code_that_runs(version: str) -> None:
    pinned = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
    for job in (INVESTIGATE, APPROVE, ACT, RECORD):
        assert "CON10" in refusals(edited(job, pinned, f"actions/checkout@{version}"))


@pytest.mark.threat("T32")
@pytest.mark.parametrize("name", ["github.actor", "github.triggering_actor", "github.event.sender.login"])
def test_t32_no_name_of_a_bot_opens_a_job(name: str) -> None:
    trusted = f"{name} == 'trusted[bot]'"
    asked = edited(APPROVE, "outputs.decision == 'review'", f"outputs.decision == 'review' && {trusted}")
    assert refusals(asked) == {"CON20"}
    opened = edited(ACT, "needs.approve.result == 'success'", f"needs.approve.result == 'success' || {trusted}")
    assert refusals(opened) == {"CON19"}


@pytest.mark.threat("T34")
def test_t34_what_a_job_leaves_behind_is_kept_however_it_ended() -> None:
    for job in (INVESTIGATE, APPROVE, ACT):
        assert refusals(edited(job, "        if: always()\n", "")) == {"CON23"}
        assert refusals(edited(job, "retention-days: 90", "retention-days: 7")) == {"CON23"}
    assert refusals(edited(RECORD, "    if: always()\n", "")) == {"CON12"}
