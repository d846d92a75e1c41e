"""Attacks that edit a workflow of the gate: whoever takes a part of the gate away is found by the linter."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.local.linter import expected, lint
from agent_runtime.local.linter.compare import compare
from agent_runtime.local.linter.values import Unreadable, Value, read
from support.rendering import (
    APPROVAL_TEMPLATE,
    APPROVAL_WORKFLOW,
    ATTEST_TEMPLATE,
    ATTEST_WORKFLOW,
    TEMPLATE,
    WORKFLOW,
    configuration,
    render,
    write_repository,
)

ANSWERS = {
    "triggers": "manual+alert+schedule",
    "act_permissions": "contents",
    "auto_approval": "yes",
    "investigate_secrets": "METRICS_TOKEN",
    "investigate_oidc": "yes",
}
BY_ISSUE = {"repository_plan": "private-team", "act_permissions": "contents"}
GATES = {
    "gate": (WORKFLOW, TEMPLATE, ANSWERS),
    "asks": (WORKFLOW, TEMPLATE, BY_ISSUE),
    "signs": (ATTEST_WORKFLOW, ATTEST_TEMPLATE, ANSWERS),
    "acts": (APPROVAL_WORKFLOW, APPROVAL_TEMPLATE, BY_ISSUE),
}


@cache
def original(gate: str) -> tuple[str, Value]:
    """A workflow of the gate as it is rendered, and as the linter expects it."""
    path, template, answers = GATES[gate]
    return render(template, answers), expected.workflows(configuration(answers))[Path(path).name]


def edited(job: str, old: str, new: str, gate: str) -> str:
    """The workflow with the first `old` after the start of a job replaced."""
    text, _ = original(gate)
    start = text.index(f"\n  {job}:\n") if job else 0
    assert old in text[start:], old
    return text[:start] + text[start:].replace(old, new, 1)


def refusals(text: str, gate: str) -> set[str]:
    """The rules that a workflow breaks."""
    try:
        found = read(text.encode())
    except Unreadable:
        return {"CON01"}
    return {each.code for each in compare(original(gate)[1], found) if each.code}


def case(id: str, job: str, old: str, new: str, *codes: str, gate: str = "gate") -> Any:
    """One edit, and the rules that it breaks."""
    return pytest.param(job, old, new, set(codes), gate, id=id)


CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
VERIFY, EXECUTE = "run: python -I -S agent_runtime/__main__.py authorize", "          python agent_runner.py execute"
STEPS, OUTPUTS = "    steps:\n", "    outputs:\n"
RESOURCE = "TARGET_RESOURCE: ${{ needs.seal.outputs.resource }}"
DEPLOY = "  deploy:\n    needs: [{}]\n    runs-on: ubuntu-latest\n    steps:\n      - run: make deploy\n\n"
RECORD_COMMENT = "  # Runs whatever happened. Fails"
SECOND = " && (needs.seal.outputs.approvals == '1' || needs.approve-second.result == 'success')"
MANY = "    strategy: {matrix: {n: [1, 2]}}\n    outputs:\n"


@pytest.mark.threat(
    "T1",
    "T5",
    "T6",
    "T7",
    "T8",
    "T10",
    "T12",
    "T13",
    "T17",
    "T18",
    "T23",
    "T24",
    "T25",
    "T26",
    "T27",
    "T28",
    "T29",
    "T30",
    "T32",
    "T34",
)
@pytest.mark.parametrize(
    ("job", "old", "new", "codes", "gate"),
    [
        # Another job.
        *[
            case(f"a job behind {need}", "", RECORD_COMMENT, DEPLOY.format(need) + RECORD_COMMENT, "CON31")
            for need in ("investigate, approve", "seal", "act")
        ],
        case(
            "a job before investigate",
            "",
            "jobs:\n",
            "jobs:\n  first:\n    runs-on: x\n    steps: []\n",
            "CON31",
        ),
        case("investigate waits for it", "investigate", STEPS, "    needs: first\n    steps:\n", "CON03"),
        case("a job of another gate", "", "jobs:\n", "jobs:\n  ask:\n    runs-on: x\n    steps: []\n", "CON31"),
        case("no seal", "", "\n  seal:\n", "\n  seal2:\n", "CON02", "CON31"),
        case("the called workflow", "act", STEPS, "    uses: ./.github/workflows/x.yml\n    steps:\n", "CON37"),
        case("many acts", "act", OUTPUTS, MANY, "CON22"),
        # Order and conditions.
        case("act without approve", "act", "[seal, approve, approve-second]", "[seal, approve-second]", "CON03"),
        case("act without the second", "act", "[seal, approve, approve-second]", "[seal, approve]", "CON03"),
        case("a second beside the first", "approve-second", "needs: [seal, approve]", "needs: seal", "CON03"),
        case("no second", "approve-second", "approvals == '2'", "approvals == '3'", "CON20"),
        *[
            case(f"act {word}", "act", SECOND, word, "CON19")
            for word in (
                "",
                " && needs.approve-second.result != 'failure'",
                SECOND.replace("== '1'", "!= '2'"),
                SECOND.replace("'success'", "'skipped'"),
                SECOND.replace("(", "").replace(")", ""),
            )
        ],
        case("approve without seal", "approve", "needs: seal", "needs: investigate", "CON03"),
        *[
            case(f"act after {word}", "act", "&& needs.approve.result == 'success' ", word, "CON19")
            for word in ("", "|| github.actor == 'trusted[bot]' ", "&& needs.approve.result != 'failure' ")
        ],
        case("act-auto on a review", "act-auto", "decision == 'auto'", "decision == 'review'", "CON19"),
        case("asks about nothing", "approve", "decision == 'review'", "decision != 'none'", "CON20"),
        case("no record", "record", "    if: always()\n", "", "CON12"),
        case("seal skipped", "seal", "    if: ${{ !cancelled() }}", "    if: false", "CON20"),
        # Environments, permissions, what runs it.
        *[
            case(f"{job} in {name}", job, f"environment: agent-{own}", f"environment: {name}", "CON04")
            for job, own in (
                ("approve", "approval"),
                ("approve-second", "approval-second"),
                ("act", "act"),
                ("act-auto", "auto"),
            )
            for name in ("production", "${{ vars.GATE }}")
        ],
        case("one click for both", "approve-second", "agent-approval-second", "agent-approval", "CON04"),
        case("no environment", "approve", "    environment: agent-approval\n", "", "CON04"),
        case("record waits too", "record", STEPS, "    environment: agent-approval\n    steps:\n", "CON04"),
        case("a deployment", "investigate", "deployment: false", "deployment: true", "CON04"),
        *[
            case(f"{job} writes", job, "contents: read", "contents: write", "CON06")
            for job in ("investigate", "seal", "approve", "record", "act-auto")
        ],
        case("seal signs in", "seal", "actions: read", "id-token: write", "CON06"),
        case(
            "all permissions",
            "approve",
            "    permissions:\n",
            "    permissions: write-all\n    x:\n",
            "CON06",
            "CON37",
        ),
        case("writes by default", "", "permissions: {}", "permissions: write-all", "CON08"),
        case("snapshot", "act", STEPS, "    snapshot: image\n    steps:\n", "CON17"),
        case("container", "act", STEPS, "    container: evil\n    steps:\n", "CON17"),
        case("services", "seal", STEPS, "    services: {x: {image: evil}}\n    steps:\n", "CON17"),
        case("runner", "seal", "runs-on: ubuntu-latest", "runs-on: [self-hosted, theirs]", "CON17"),
        case("runner by input", "act", "runs-on: ubuntu-latest", "runs-on: ${{ inputs.resource }}", "CON17"),
        case("defaults", "", "jobs:\n", "defaults: {run: {shell: python}}\njobs:\n", "CON17"),
        case("variables of all", "", "jobs:\n", "env: {PYTHONPATH: x}\njobs:\n", "CON17"),
        case("variables of a job", "act", STEPS, "    env: {BASH_ENV: x}\n    steps:\n", "CON17"),
        case("cache", "act", "    cache-mode: none\n", "", "CON16"),
        case("cache of seal", "seal", "cache-mode: none", "cache-mode: write", "CON16"),
        case("longer act", "act", "timeout-minutes: 30", "timeout-minutes: 300", "CON09"),
        case("shorter record", "record", "timeout-minutes: 10", "timeout-minutes: 1", "CON09"),
        case("no limit", "approve", "    timeout-minutes: 10\n", "", "CON09"),
        case("too long", "seal", "timeout-minutes: 10", "timeout-minutes: 400", "CON09"),
        # Triggers, names, locks.
        *[
            case(f"on {event}", "", "  schedule:\n", f"  {event}:\n  schedule:\n", "CON15")
            for event in ("pull_request_target", "workflow_run", "issues", "push", "workflow_call")
        ],
        case("another cron", "", "17 */6", "* *", "CON15"),
        case(
            "a default resource",
            "",
            "        type: string\n",
            "        type: string\n        default: x\n",
            "CON15",
        ),
        case("run-name", "", "run-name: ${{ inputs.resource ||", "run-name: ${{ inputs.title ||", "CON36"),
        case("name of the workflow", "", "name: Agent Runtime -", "name: Checks -", "CON36"),
        case(
            "approve without digest",
            "approve",
            "Approve plan ${{ needs.seal.outputs.plan_digest_short }}",
            "OK",
            "CON36",
        ),
        case("act by another name", "act", "    name: Act\n", "    name: Actions\n", "CON36"),
        case("Execute by another name", "act", "- name: Execute", "- name: Run", "CON33"),
        case("a second Execute", "act", "- name: Keep the result and the journal", "- name: Execute", "CON33"),
        case("runs cancel runs", "", "cancel-in-progress: false", "cancel-in-progress: true", "CON21"),
        case("acts cancel acts", "act", "cancel-in-progress: false", "cancel-in-progress: true", "CON21"),
        case("one waits", "act", "      queue: max\n", "", "CON21"),
        case("no lock", "act", "agent-act-${{ needs.seal.outputs.resource }}", "x-${{ github.run_id }}", "CON21"),
        # Steps.
        case("another script", "act", VERIFY, "run: 'true'", "CON33"),
        case("more in the script", "act", EXECUTE, EXECUTE + "; make deploy", "CON33"),
        *[
            case(f"{text} in a script", "act", EXECUTE, f"{EXECUTE} ${{{{ {text} }}}}", "CON11")
            for text in ("inputs.resource", "github.event.client_payload.note", "needs.seal.outputs.action")
        ],
        case(
            "a step before Verify",
            "act",
            "      - name: Verify",
            "      - run: make\n      - name: Verify",
            "CON33",
        ),
        case("no Verify", "act", "id: verify", "id: verify\n        if: false", "CON33"),
        case(
            "an action of others",
            "act",
            "      - name: Verify",
            f"      - uses: a/cache@{'0' * 40}\n      - name: Verify",
            "CON33",
        ),
        case("a failure passes", "act", "id: verify", "id: verify\n        continue-on-error: true", "CON18"),
        case("a job fails softly", "seal", STEPS, "    continue-on-error: true\n    steps:\n", "CON18"),
        case("another shell", "act", EXECUTE, EXECUTE + "\n        shell: sh {0}; true", "CON17"),
        case("another folder", "act", EXECUTE, EXECUTE + "\n        working-directory: x", "CON17"),
        *[
            case(f"{name} in a step", "act", RESOURCE, f"{RESOURCE}\n          {name}: x", "CON17")
            for name in ("PYTHONPATH", "BASH_ENV", "GITHUB_API_URL", "AGENT_OWN_CLUSTER")
        ],
        case(
            "one more secret",
            "investigate",
            "AGENT_JOB: investigate",
            "AGENT_JOB: investigate\n          K: ${{ secrets.K }}",
            "CON17",
        ),
        case("every secret", "investigate", "${{ secrets.METRICS_TOKEN }}", "${{ toJSON(secrets) }}", "CON34"),
        case("another digest", "act", "${{ needs.seal.outputs.plan_digest }}", "${{ inputs.trace_id }}", "CON34"),
        case("no kill switch", "act", "          AGENT_DISABLED: ${{ vars.AGENT_DISABLED }}\n", "", "CON34"),
        case(
            "an output of others",
            "seal",
            "decision: ${{ steps.seal",
            "decision: ${{ inputs.resource || steps.seal",
            "CON34",
        ),
        case(
            "one output more",
            "seal",
            OUTPUTS[:-1],
            "    outputs:\n      x: ${{ inputs.resource }}\n    old:",
            "CON34",
            "CON37",
        ),
        *[
            case(f"{job} of {ref or 'any commit'}", job, "          ref: ${{ github.sha }}\n", ref, "CON13")
            for job in ("investigate", "seal", "approve", "act", "record")
            for ref in ("", "          ref: main\n")
        ],
        case("kept credentials", "act", "persist-credentials: false", "persist-credentials: true", "CON13"),
        case(
            "another repository",
            "act",
            "persist-credentials: false",
            "repository: a/b\n          persist-credentials: false",
            "CON13",
        ),
        *[
            case(f"checkout@{ref}", "act", CHECKOUT, f"actions/checkout@{ref}", "CON10")
            for ref in ("v7", "main", "3d3c42e", "V7.0.1")
        ],
        case("checkout of others", "act", CHECKOUT, f"actionz/checkout@{'a' * 40}", "CON33"),
        case("setup of others", "seal", "./.github/actions/setup-gate", "./.github/actions/ours", "CON33"),
        case("setup above", "seal", "./.github/actions/setup-gate", "./.github/../evil", "CON10"),
        case("kept on success", "act", "        if: always()\n", "", "CON23"),
        case("kept for a week", "act", "retention-days: 90", "retention-days: 7", "CON23"),
        case("overwritten", "act", "retention-days: 90", "retention-days: 90\n          overwrite: true", "CON23"),
        case("by another name", "act", "name: action-result", "name: action-results", "CON23"),
        # What one reader sees and another doesn't.
        *[
            case(
                f"a comment that ends at {sign!a}",
                "approve",
                "    environment: agent-approval\n",
                f"    # gate{sign}    x: y\n",
                "CON01",
            )
            for sign in "\x85\u2028\u2029\x0b\x0c\ufeff\r"
        ],
        case(
            "merged variables",
            "act",
            RESOURCE,
            "${{ insert }}: ${{ fromJSON(vars.X) }}\n          " + RESOURCE,
            "CON01",
        ),
        case("a merge key", "act", RESOURCE, "<<: {X: y}\n          " + RESOURCE, "CON01"),
        case("a tag", "approve", "environment: agent-approval", "environment: !!null agent-approval", "CON01"),
        case("a key twice", "act", "    timeout-minutes:", "    environment: x\n    timeout-minutes:", "CON01"),
        # What GitHub signs.
        case("another workflow signs", "attest", "workflows/agent-attest.yml", "workflows/x.yml", "CON37"),
        case(
            "it signs another bundle",
            "attest",
            "${{ needs.record.outputs.bundle_id }}",
            "${{ inputs.trace_id }}",
            "CON37",
        ),
        case("it gets secrets", "attest", "    with:\n", "    secrets: inherit\n    with:\n", "CON37"),
        case("it may write more", "attest", "contents: read", "contents: write", "CON06"),
        case("it waits for nothing", "attest", "needs: record", "needs: seal", "CON03"),
        case("record signs in", "record", "actions: read", "id-token: write", "CON06"),
        case(
            "anybody starts it",
            "",
            "  workflow_call:\n",
            "  workflow_dispatch:\n  workflow_call:\n",
            "CON15",
            gate="signs",
        ),
        case(
            "a second job", "", "\njobs:\n", "\njobs:\n  own:\n    runs-on: x\n    steps: []\n", "CON31", gate="signs"
        ),
        case(
            "team code in it",
            "attest",
            "agent_runtime/__main__.py attest",
            "agent_runner.py attest",
            "CON33",
            gate="signs",
        ),
        case(
            "a step before it signs",
            "attest",
            "      - name: Sign\n",
            "      - run: make\n      - name: Sign\n",
            "CON33",
            gate="signs",
        ),
        case("another digest", "attest", "steps.bundle.outputs.digest", "inputs.bundle_digest", "CON23", gate="signs"),
        case("another predicate", "attest", "predicate.json", "own.json", "CON23", gate="signs"),
        case(
            "its refusal passes",
            "attest",
            "id: bundle\n",
            "id: bundle\n        continue-on-error: true\n",
            "CON18",
            gate="signs",
        ),
        case("it fails the run", "attest", "    continue-on-error: true\n", "", "CON18", gate="signs"),
        case(
            "it signs another file",
            "attest",
            "subject-name: bundle.json",
            "subject-path: own.json",
            "CON23",
            gate="signs",
        ),
        case("another kind of statement", "attest", "run-attestation/v1", "run-attestation/v2", "CON23", gate="signs"),
        case("it signs on its own machine", "attest", "runs-on: ubuntu-latest", "runs-on: own", "CON17", gate="signs"),
        case(
            "it signs in an environment", "attest", STEPS, "    environment: own\n    steps:\n", "CON04", gate="signs"
        ),
        case("it signs another commit", "attest", "ref: ${{ github.sha }}", "ref: main", "CON13", gate="signs"),
        case("another name", "", "name: Agent Runtime - Attest", "name: Agent", "CON36", gate="signs"),
        # Where an issue is the gate.
        case("any comment", "approve", "&& github.event.comment.user.type == 'User'", "", "CON20", gate="acts"),
        case("edited comments", "", "types: [created]", "types: [created, edited]", "CON15", gate="acts"),
        case("act without claim", "act", "needs: [approve, claim]", "needs: [approve]", "CON03", gate="acts"),
        case("its act anywhere", "act", "    environment: agent-act\n", "", "CON04", gate="acts"),
        case(
            "act where it is asked",
            "",
            "\n  record:\n",
            "\n  act:\n    runs-on: x\n  record:\n",
            "CON31",
            gate="asks",
        ),
        case("ask writes", "ask", "contents: read", "contents: write", "CON06", gate="asks"),
    ],
)
def test_an_edit_is_refused(job: str, old: str, new: str, codes: set[str], gate: str) -> None:
    assert refusals(edited(job, old, new, gate), gate) == codes


@pytest.mark.parametrize("gate", GATES)
def test_the_workflow_as_it_is_rendered_breaks_no_rule(gate: str) -> None:
    assert refusals(original(gate)[0], gate) == set()


@pytest.mark.threat("T8", "T30")
@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("setup-gate", "rm -rf", "true rm -rf", "CON24"),
        ("setup-gate", "--require-hashes", "--no-deps", "CON24"),
        ("setup-agent", "    - name: Install", "    - run: make\n      shell: bash\n    - name: Install", "CON24"),
        ("setup-gate", "# v7.0.0\n", "# v7\r    - {run: make, shell: bash}\n", "CON24"),
        ("setup-gate", "# v7.0.0\n", "# v8\n", ""),
        ("setup-agent", "@5fda3b95a4ea91299a34e894583c3862153e4b97", "@" + "a" * 40, ""),
        ("setup-agent", "@5fda3b95a4ea91299a34e894583c3862153e4b97", "@v7", "CON24"),
        ("setup-agent", "actions/setup-python@", "actionz/setup-python@", "CON24"),
        ("prepare-act", 'run: "true"', "run: ./login.sh", ""),
        ("prepare-act", 'run: "true"', "run: echo ${{ inputs.x }}", "CON11"),
        ("prepare-act", "    - name: N", f"    - uses: azure/login@{'a' * 40}\n    - name: N", ""),
        ("prepare-act", "    - name: N", "    - uses: azure/login@v2\n    - name: N", "CON10"),
        ("prepare-investigate", "    - name: N", "    - uses: docker://alpine:3\n    - name: N", "CON10"),
        ("prepare-investigate", "using: composite", "using: node24\n  main: x.js", "CON01"),
        ("prepare-investigate", "    - name: N", "    - uses: ./.github/actions/none\n    - name: N", "CON02"),
    ],
)
def test_an_edit_of_an_action(tmp_path: Path, name: str, old: str, new: str, code: str) -> None:
    root, config = write_repository(tmp_path, {})
    path = root / ".github" / "actions" / name / "action.yml"
    text = path.read_text(encoding="utf-8")
    assert old in text and lint(root, config) == []

    path.write_text(text.replace(old, new, 1), encoding="utf-8", newline="")

    assert {each.code for each in lint(root, config)} == ({code} if code else set())
