"""Behind the click stands the runtime and nothing else: every step of the gate's jobs is the template's."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_runtime.local import contract, gate_steps
from runtime.test_contract import ACTION, CI, edited, inside
from workflow.rendering import render_issue_gate, render_workflow

NAME = ".github/workflows/agent-investigate-act.yml"
ACTING_NAME = ".github/workflows/agent-act-on-approval.yml"
WHOLE = render_workflow("manual+alert+schedule", "id-token", auto_approval="yes")
PLAIN = render_workflow("manual+alert+schedule", "")
ASKING, ACTING = render_issue_gate("manual", "id-token")
COMMIT = "3d3c42e5aac5ba805825da76410c181273ba90b1"
VERIFY = "      - name: Verify, then execute the plan\n"


def found(text: str, path: str = NAME, gate: str = "environment") -> set[str]:
    return {violation.code for violation in contract.lint_workflow(text, path, gate)}


def of(shape: str) -> tuple[str, str, str]:
    """A workflow by its shape, its file and the gate of its repository."""
    return {
        "whole": (WHOLE, NAME, "environment"),
        "asking": (ASKING, NAME, "issue"),
        "acting": (ACTING, ACTING_NAME, "issue"),
    }[shape]


# Where a job runs the runtime, and with which words.
PHASES = [
    ("whole", "investigate", "investigate"),
    ("whole", "approve", "approve"),
    ("whole", "act", "act --report agent-run-in/investigation-report.json"),
    ("whole", "act-auto", "act --auto --report agent-run-in/investigation-report.json"),
    ("whole", "record", "record --inputs agent-run-in"),
    ("whole", "record", "deliver agent-run/audit-bundle"),
    ("asking", "investigate", "investigate"),
    ("asking", "ask", "ask --report agent-run-in/investigation-report.json"),
    ("asking", "record", "record --inputs agent-run-in"),
    ("acting", "approve", "approve"),
    ("acting", "act", "act"),
    ("acting", "record", "record --inputs agent-run-in"),
]


@pytest.mark.threat("T8", "T17")
@pytest.mark.parametrize(("shape", "job", "words"), PHASES)
@pytest.mark.parametrize(
    "script",
    [
        "./deploy.sh",
        "'true'",
        "python agent_runner.py --help",
        "|\n          {phase}\n          ./deploy.sh",
        "{phase} &",
    ],
)
def test_t8_t17_nothing_but_the_runtime_runs_behind_the_click(shape: str, job: str, words: str, script: str) -> None:
    text, path, gate = of(shape)
    phase = "python agent_runner.py " + words
    assert found(text, path, gate) == set()
    assert "CON33" in found(inside(text, job, f"run: {phase}\n", f"run: {script.format(phase=phase)}\n"), path, gate)


STEPS = {
    "a script": "      - run: ./deploy.sh\n",
    "a script with the secret": "      - env:\n          AGENT_OWN_T: ${{ secrets.T }}\n        run: ./deploy.sh\n",
    "the runtime twice": "      - run: python agent_runner.py act\n",
    "an action": f"      - uses: acme/deploy@{COMMIT}\n",
    "an action with the secret": f"      - uses: acme/deploy@{COMMIT}\n        with: {{t: '${{{{ secrets.T }}}}'}}\n",
    "a local action": "      - uses: ./.github/actions/deploy\n",
    "a container": f"      - uses: docker://alpine@sha256:{'a' * 64}\n",
    "a second checkout": f"      - uses: actions/checkout@{COMMIT}\n        with: {{ref: '${{{{ github.sha }}}}', "
    "persist-credentials: false}\n",
}


@pytest.mark.threat("T8", "T17")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("shape", "job"),
    sorted({(shape, job) for shape, job, _ in PHASES}),
)
def test_t8_t17_no_step_stands_beside_the_template_s(shape: str, job: str, step: str) -> None:
    text, path, gate = of(shape)
    first = inside(text, job, "    steps:\n", "    steps:\n" + STEPS[step])
    assert "CON33" in found(first, path, gate)
    before = inside(text, job, "      - name: Set up the agent\n", STEPS[step] + "      - name: Set up the agent\n")
    assert "CON33" in found(before, path, gate)
    keep = text.index("        if: always()\n", text.index(f"\n  {job}:\n"))
    last = text.index("          retention-days: 90\n", keep) + len("          retention-days: 90\n")
    assert "CON33" in found(text[:last] + STEPS[step] + text[last:], path, gate)


@pytest.mark.threat("T8", "T17")
@pytest.mark.parametrize(
    ("job", "old", "new"),
    [
        ("act", "        id: act\n", "        id: act\n        if: vars.X == 'y'\n"),
        ("act", "        id: act\n", ""),
        ("act", "        id: act\n", "        id: result\n"),
        ("approve", "        id: approve\n", "        id: approve\n        if: github.actor != 'bob'\n"),
        ("act", "./.github/actions/setup-agent", "./.github/actions/Setup-Agent"),
        ("act", "./.github/actions/setup-agent", "./.github/workflows/setup-agent"),
        ("act", "      - name: Set up the agent\n", "      - name: Set up the agent\n        if: vars.X\n"),
        ("act", "outputs.report_artifact_id }}", "outputs.plan_digest }}"),
        ("act", "          name: action-result\n", "          name: other-result\n"),
        ("act", "          path: agent-run/\n", "          path: agent-run/journal/\n"),
        ("act", "          name: action-result\n", "          name: action-result\n          archive: false\n"),
        ("record", "        if: needs.act.outputs.result_artifact_id != ''\n", "        if: vars.X\n"),
        ("record", "        if: always() # a part", "        if: failure() # a part"),
    ],
)
def test_t8_t17_a_step_is_the_template_s_in_everything_that_decides(job: str, old: str, new: str) -> None:
    assert found(inside(PLAIN, job, old, new)) == {"CON33"}


def test_a_missing_step_is_named_and_the_copy_for_the_backend_may_be_missing() -> None:
    deliver = PLAIN.index("\n      # The bundle is the trail; the backend gets a copy")
    assert found(PLAIN[:deliver]) == set()
    keep = PLAIN.index("\n      - name: Keep the bundle")
    said = [str(violation) for violation in contract.lint_workflow(PLAIN[:keep], NAME)]
    assert len(said) == 1
    assert said[0].endswith(
        "CON33 the job record lacks its step 7: uses: actions/upload-artifact "
        "(name: audit-bundle, path: agent-run/audit-bundle/)"
    )


@pytest.mark.threat("T26")
@pytest.mark.parametrize("action", gate_steps.CREDENTIALS)
def test_t26_act_may_turn_its_id_token_into_credentials(action: str) -> None:
    """By known actions alone, without a secret or a condition, and only where a human approved."""
    step = f"      - uses: {action}@{COMMIT} # v1\n        with: {{role-to-assume: '${{{{ vars.ROLE }}}}'}}\n"
    for shape in ("whole", "acting"):
        text, path, gate = of(shape)
        assert found(inside(text, "act", VERIFY, step + VERIFY), path, gate) == set()
    assert found(inside(PLAIN, "act", VERIFY, step + VERIFY)) == {"CON33"}
    for job in ("investigate", "approve", "act-auto", "record"):
        setup = "      - name: Set up the agent\n"
        granted = inside(WHOLE, job, "      contents: read", "      id-token: write")
        assert {"CON06", "CON33"} <= found(inside(granted, job, setup, step + setup))
    for more in ("        if: vars.X\n", "        env: {AGENT_OWN_X: y}\n"):
        assert "CON33" in found(inside(WHOLE, "act", VERIFY, step + more + VERIFY))
    secret = step.replace("vars.ROLE", "secrets.ROLE")
    assert found(inside(WHOLE, "act", VERIFY, secret + VERIFY)) == {"CON07"}


@pytest.mark.threat("T27")
@pytest.mark.parametrize("where", ["with", "env"])
def test_t27_a_secret_reaches_only_the_step_that_verifies(where: str) -> None:
    own = "          AGENT_OWN_KEY: ${{ secrets.KEY }}\n"
    told = "          TARGET_RESOURCE: ${{ needs.investigate.outputs.resource }}\n"
    assert found(inside(WHOLE, "act", told, own + told)) == set()
    given = f"      - name: Set up the agent\n        {where}:\n{own}"
    assert found(inside(WHOLE, "act", "      - name: Set up the agent\n", given)) == {"CON07"}


@pytest.mark.threat("T27")
@pytest.mark.parametrize(
    "hidden",
    ["'}}' && secrets.KEY", "format('}}{0}', secrets.KEY)", "'it''s }}' && secrets.KEY", "'a' }} ${{ secrets.KEY"],
)
def test_t27_no_quoted_brace_hides_a_secret(hidden: str) -> None:
    own = f"          AGENT_OWN_KEY: ${{{{ {hidden} }}}}\n          AGENT_DISABLED:"
    assert found(inside(PLAIN, "investigate", "          AGENT_DISABLED:", own)) == {"CON07"}


VALUES = [
    ("whole", "investigate", "${{ vars.AGENT_DISABLED }}", "'no'"),
    ("whole", "act", "          AGENT_DISABLED: ${{ vars.AGENT_DISABLED }}\n", ""),
    ("whole", "act", "APPROVED_DIGEST: ${{ needs.investigate.outputs.plan_digest }}", "APPROVED_DIGEST: abc"),
    ("whole", "act", "${{ needs.investigate.outputs.report_sha256 }}", "${{ vars.REPORT_SHA256 }}"),
    ("whole", "act", "${{ needs.investigate.outputs.resource }}\n          APPROVED", "x${{ '' }}\n          APPROVED"),
    ("whole", "act", "${{ vars.AIMGENTIX_API_URL }}", "https://evil.example"),
    ("whole", "act", "${{ secrets.AGENT_ACT_TOKEN }}", "${{ secrets.OTHER }}"),
    ("whole", "act", "GITHUB_TOKEN: ${{ github.token }}", "AGENT_OWN_TOKEN: ${{ github.token }}"),
    ("whole", "approve", "${{ needs.investigate.outputs.approvals_before }}", "'0'"),
    ("whole", "record", "${{ toJSON(needs) }}", "'{}'"),
    ("whole", "investigate", "plan_digest: ${{ steps.investigate.outputs.plan_digest }}", "plan_digest: abc"),
    ("whole", "investigate", "${{ steps.report.outputs.artifact-id }}", "${{ inputs.resource }}"),
    ("whole", "investigate", "      decision: ${{ steps.investigate.outputs.decision }}\n", ""),
    ("whole", "act", "    outputs:\n", "    outputs:\n      more: ${{ steps.act.outputs.more }}\n"),
    ("asking", "ask", "${{ needs.investigate.outputs.report_artifact_sha256 }}", "abc"),
    ("acting", "approve", "${{ steps.approve.outputs.plan_digest }}", "${{ github.event.comment.body }}"),
    ("acting", "act", "${{ needs.approve.outputs.plan_digest }}", "${{ github.event.comment.body }}"),
]


@pytest.mark.threat("T8", "T10")
@pytest.mark.parametrize(("shape", "job", "old", "new"), VALUES)
def test_t8_t10_every_value_comes_from_where_the_template_takes_it(shape: str, job: str, old: str, new: str) -> None:
    text, path, gate = of(shape)
    assert found(inside(text, job, old, new), path, gate) == {"CON34"}


OWN = {
    "inputs.action_context": True,
    "github.event.client_payload.zone": True,
    "toJSON(github)": True,
    "vars.ZONE || github['actor']": True,
    "vars.ZONE || 'inputs'": False,
    "github.repository": False,
}


@pytest.mark.threat("T8", "T10")
@pytest.mark.parametrize("source", OWN)
def test_t8_t10_what_acts_is_told_nothing_by_the_initiator_past_the_plan(source: str) -> None:
    zone = "AGENT_OWN_ZONE: ${{ " + source + " }}\n"
    login = (
        f"      - uses: google-github-actions/auth@{COMMIT}\n        with:\n          project_id: ${{{{ {source} }}}}\n"
    )
    for text in (
        edited(WHOLE, ("jobs:\n", f"env:\n  {zone}jobs:\n")),
        inside(WHOLE, "act", "          AGENT_DIS", f"          {zone}          AGENT_DIS"),
        inside(WHOLE, "act-auto", "          AGENT_DIS", f"          {zone}          AGENT_DIS"),
        inside(WHOLE, "act", VERIFY, login + VERIFY),
    ):
        assert found(text) == ({"CON34"} if OWN[source] else set())
    assert found(inside(WHOLE, "investigate", "          AGENT_DIS", f"          {zone}          AGENT_DIS")) == set()


def test_what_is_not_used_may_be_left_out() -> None:
    text = WHOLE
    for line in ("AIMGENTIX_API_URL: ${{ vars.AIMGENTIX_API_URL }}", "AGENT_ACT_TOKEN: ${{ secrets.AGENT_ACT_TOKEN }}"):
        text = inside(text, "act", f"          {line}\n", "")
    assert found(text) == set()


STEERING = [
    "HTTPS_PROXY",
    "https_proxy",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "NODE_OPTIONS",
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
    "BASH_FUNC_python%%",
    "GIT_CONFIG_COUNT",
    "SHELLOPTS",
    "HOSTALIASES",
    "OPENSSL_CONF",
    "AGENT_DISABLED",
    "AIMGENTIX_REDACT_ENV",
    "SERVICES_FILE",
    "agent_own_x",
    "<<",
]


@pytest.mark.threat("T5")
@pytest.mark.parametrize("name", STEERING)
def test_t5_no_variable_steers_the_programs_of_a_gate(name: str) -> None:
    for level in (
        edited(PLAIN, ("jobs:\n", f"env:\n  {name}: x\njobs:\n")),
        inside(PLAIN, "act", "    steps:\n", f"    env:\n      {name}: x\n    steps:\n"),
        inside(PLAIN, "act", "      - name: Set up the agent\n", f"      - env:\n          {name}: x\n"),
    ):
        assert found(level) == {"CON17"}
    if name != "AGENT_DISABLED":
        assert found(inside(PLAIN, "act", "          AGENT_DIS", f"          {name}: x\n          AGENT_DIS")) == {
            "CON17"
        }
    setup = edited(
        ACTION, ("    - name: Set up Python\n", f"    - name: Set up Python\n      env:\n        {name}: x\n")
    )
    assert found(setup, ".github/actions/setup-agent/action.yml") == {"CON17"}


@pytest.mark.threat("T5")
@pytest.mark.parametrize(
    ("job", "old", "new"),
    [
        ("act", "    steps:\n", "    env: ${{ fromJSON(vars.ENVS) }}\n    steps:\n"),
        ("act", "    runs-on: ubuntu-latest\n", "    runs-on: ubuntu-latest\n    container: evil/image:latest\n"),
        ("act", "    runs-on: ubuntu-latest\n", "    runs-on: ubuntu-latest\n    services: {x: {image: evil/image}}\n"),
        ("investigate", "    runs-on: ubuntu-latest\n", "    runs-on: ubuntu-latest\n    container: {image: a/b}\n"),
        ("act", "    runs-on: ubuntu-latest\n", "    runs-on: ${{ vars.RUNNER }}\n"),
        ("act", "    runs-on: ubuntu-latest\n", "    runs-on: [self-hosted, '${{ inputs.resource }}']\n"),
    ],
)
def test_t5_nobody_chooses_another_machine(job: str, old: str, new: str) -> None:
    assert found(inside(PLAIN, job, old, new)) == {"CON17"}


def test_a_team_s_own_runner_and_values_are_welcome() -> None:
    text = edited(PLAIN, ("runs-on: ubuntu-latest", "runs-on: [self-hosted, production]"))
    assert (
        found(inside(text, "act", "          AGENT_DIS", "          AGENT_OWN_ZONE: b\n          AGENT_DIS")) == set()
    )


@pytest.mark.threat("T7")
@pytest.mark.parametrize("path", ["", "          path: .\n", "          path: ./\n", "          path: agent_runtime\n"])
def test_t7_no_archive_is_laid_over_the_code(path: str) -> None:
    assert "CON14" in found(inside(PLAIN, "act", "          path: agent-run-in\n", path))


@pytest.mark.threat("T10")
@pytest.mark.parametrize("more", ["path: elsewhere", "submodules: true", "github-server-url: https://evil.example"])
def test_t10_checkout_has_no_other_settings(more: str) -> None:
    assert found(inside(PLAIN, "act", "          persist-cred", f"          {more}\n          persist-cred")) == {
        "CON13"
    }


CALL = f"\n  extra:\n    uses: evil/repo/.github/workflows/x.yml@{COMMIT}\n    permissions:\n      contents: read\n"


@pytest.mark.threat("T13")
def test_t13_no_workflow_of_others_may_use_the_environments() -> None:
    assert found(edited(PLAIN, ("jobs:\n", "jobs:" + CALL))) == {"CON05"}
    assert found(edited(CI, ("jobs:\n", "jobs:" + CALL)), "ci.yml") == set()
    assert found(edited(CI, ("jobs:\n", "jobs:" + CALL + "    secrets: inherit\n")), "ci.yml") == {"CON05"}


@pytest.mark.threat("T1")
@pytest.mark.parametrize("key", ["args", "entrypoint"])
def test_t1_what_a_container_is_started_with_is_a_script(key: str) -> None:
    step = f"      - uses: docker://alpine@sha256:{'a' * 64}\n        with: {{{key}: '${{{{ github.head_ref }}}}'}}\n"
    assert found(edited(CI, ("      - run:", step + "      - run:")), "ci.yml") == {"CON11"}
    assert (
        found(edited(CI, ("      - run:", step.replace("${{ github.head_ref }}", "x") + "      - run:")), "ci.yml")
        == set()
    )


# ------------------------------------------------------------------------------------------------- in a repository


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    """The workflows of a repository."""
    for path, text in ((NAME, PLAIN), (".github/actions/setup-agent/action.yml", ACTION)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path / ".github" / "workflows"


@pytest.mark.threat("T17")
@pytest.mark.parametrize("name", ["agent-nightly.yml", "nightly.yaml", "agent-investigate-act.yaml"])
def test_t17_no_second_workflow_asks_the_same_people(workflows: Path, name: str) -> None:
    assert contract.lint_paths([workflows]) == []
    (workflows / name).write_text(edited(PLAIN, ("name: Agent Runtime - ", "name: ")), encoding="utf-8")
    (violation,) = contract.lint_paths([workflows])
    assert (violation.code, Path(violation.path).name) == ("CON35", name)
    assert violation.message == "the workflow of an environment gate must be the file agent-investigate-act.yml"


@pytest.mark.threat("T25", "T34")
@pytest.mark.parametrize(
    ("shape", "job", "old", "new"),
    [
        ("whole", "act", "    name: Act\n", "    name: Deploy\n"),
        ("whole", "act", "    name: Act\n", ""),
        ("whole", "act", "    name: Act\n", "    name: act\n"),
        ("whole", "act-auto", 'name: "Act without asking: ', 'name: "Deploy: '),
        ("whole", "act-auto", "outputs.resource }} (plan", "outputs.trace_id }} (plan"),
        ("whole", "approve", "    name: Approve ${{ needs.investigate.outputs.action }}", "    name: Approve note"),
        ("acting", "act", 'name: "Act on approval: ', 'name: "Deploy: '),
    ],
)
def test_t25_t34_no_action_hides_from_github_s_history(shape: str, job: str, old: str, new: str) -> None:
    """Rate limits find what was done by the names of the jobs."""
    text, path, gate = of(shape)
    assert found(inside(text, job, old, new), path, gate) == {"CON36"}


def test_blanks_in_a_job_s_name_are_free() -> None:
    assert found(WHOLE.replace("${{ ", "${{").replace(" }}", "}}")) == set()
    assert found(inside(WHOLE, "record", "    name: Record\n", "    name: Write it down\n")) == set()


@pytest.mark.threat("T5")
def test_t5_no_action_hides_behind_another(workflows: Path) -> None:
    """GitHub takes action.yml, whatever lies beside it."""
    folder = workflows.parent / "actions" / "setup-agent"
    (folder / "action.yaml").write_text(ACTION, encoding="utf-8")
    assert [violation.code for violation in contract.lint_paths([workflows])] == ["CON01"]
    (folder / "action.yml").write_text(edited(ACTION, ("@5fda3b95a4ea91299a34e894583c3862153e4b97", "@v7")))
    assert sorted(violation.code for violation in contract.lint_paths([workflows])) == ["CON01", "CON10"]
