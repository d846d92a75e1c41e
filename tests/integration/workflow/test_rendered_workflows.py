"""What every rendering holds: GitHub's parser, actionlint, zizmor as auditor and the linter find nothing."""

from __future__ import annotations

import re
import subprocess
from itertools import product as product_of
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent_runtime.local.linter import lint
from agent_runtime.model import config
from agent_runtime.model.config import Config
from support.engines import clone_template, combinations, run_copier
from support.environment import REPOSITORY, require_tool
from support.harness.node import ActionsService
from support.rendering import (
    ACT_PERMISSIONS,
    ACTIONS,
    APPROVAL_TEMPLATE,
    APPROVAL_WORKFLOW,
    ATTEST_TEMPLATE,
    ATTEST_WORKFLOW,
    BROAD,
    TEMPLATE,
    TRIGGERS,
    WORKFLOW,
    product,
    render,
    render_issue_gate,
    render_workflow,
    write_repository,
)

ACTIONLINT = REPOSITORY / "template" / ".github" / "actionlint.yml"
COMBINATIONS = combinations()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template of this working tree as a repository."""
    return clone_template(tmp_path_factory.mktemp("template") / "gated-agents")


def zizmor(folder: Path) -> str:
    """What zizmor says of all workflows and actions below a folder; empty when it finds nothing."""
    command = [require_tool("zizmor"), "--offline", "--persona=auditor", "--no-config", "--quiet", "--no-progress"]
    done = subprocess.run([*command, "."], cwd=folder, capture_output=True, text=True, check=False)
    assert "No findings to report" in done.stdout or done.returncode != 0
    return "" if done.returncode == 0 else done.stdout + done.stderr


def actionlint(service: ActionsService, name: str, text: str) -> list[str]:
    """What actionlint says of a workflow of an agent repository, but for what .github/actionlint.yml there ignores."""
    settings = yaml.safe_load(ACTIONLINT.read_text(encoding="utf-8"))["paths"]
    ignored = [each for glob, path in settings.items() if Path(name).match(glob) for each in path["ignore"]]
    return [
        f"{name}:{finding['line']}: {finding['message']} [{finding['kind']}]"
        for finding in service.actionlint(name, text)
        if not any(re.search(pattern, finding["message"]) for pattern in ignored)
    ]


def complaints(service: ActionsService, project: Path, settings: Config) -> list[str]:
    """What GitHub's parser, actionlint and the linter say of a project."""
    found = [str(violation) for violation in lint(project, settings)]
    for path in sorted((project / ".github").rglob("*.yml")):
        name, text = path.relative_to(project).as_posix(), path.read_text(encoding="utf-8")
        if path.parent.name == "workflows":
            found += service.parse_workflow(name, text)["errors"] + actionlint(service, name, text)
        elif path.name == "action.yml":
            found += service.parse_action(name, text)["errors"]
    return found


@pytest.mark.threat("T1", "T12", "T28", "T29", "T30", "T32")
@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_combination_of_answers_is_clean(
    service: ActionsService, template: Path, tmp_path: Path, name: str
) -> None:
    answers = COMBINATIONS[name]

    project = run_copier(template, tmp_path / "project", answers)

    assert complaints(service, project, config.load(project)) == []
    assert zizmor(project) == ""
    assert (project / WORKFLOW).read_text(encoding="utf-8") == render(TEMPLATE, answers)
    by_issue = answers["repository_plan"] in config.PLANS_WITH_ISSUE_GATE
    for name, source, there in (
        (APPROVAL_WORKFLOW, APPROVAL_TEMPLATE, by_issue),
        (ATTEST_WORKFLOW, ATTEST_TEMPLATE, not by_issue),  # GitHub offers both where an environment can have reviewers
    ):
        assert (project / name).exists() == there
        assert (project / name).read_text(encoding="utf-8") == render(source, answers) if there else True


def test_every_answer_with_every_plan_is_clean(service: ActionsService, tmp_path: Path) -> None:
    for number, answers in enumerate(product()):
        assert complaints(service, *write_repository(tmp_path / str(number), answers)) == [], answers
    assert zizmor(tmp_path) == ""


def test_the_static_workflows_of_the_template_are_clean(service: ActionsService) -> None:
    for path in sorted((REPOSITORY / "template" / ".github" / "workflows").glob("*.yml")):
        name, text = f".github/workflows/{path.name}", path.read_text(encoding="utf-8")
        assert service.parse_workflow(name, text)["errors"] == []
        assert actionlint(service, name, text) == []


@pytest.mark.parametrize(
    ("old", "new", "who"),
    [
        ("agent_runner.py investigate", "agent_runner.py investigate ${{ inputs.resource }}", "zizmor linter"),
        ("actions: read # who approved?", "actions: write # who approved?", "linter"),
        ("environment: agent-act", "enviroment: agent-act", "parser linter actionlint zizmor"),
        ("steps.report.outputs", "steps.reprot.outputs", "actionlint linter"),
        ("upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f", "upload-artifact@v7", "zizmor linter"),
        ("queue: max", "queue: many", "parser linter"),
        ("queue: max", "qeue: max", "parser linter actionlint"),
        ("cache-mode: none", "cache_mode: none", "parser linter actionlint"),
        ("cache-mode: none", "cache-mode: write", "linter"),
        ("deployment: false", "deployments: false", "parser linter actionlint"),
    ],
)
def test_each_checker_would_complain(service: ActionsService, tmp_path: Path, old: str, new: str, who: str) -> None:
    project, settings = write_repository(tmp_path, {"investigate_secrets": "METRICS_TOKEN"})
    path = project / WORKFLOW
    text = path.read_text(encoding="utf-8")
    assert old in text
    broken = text.replace(old, new, 1)
    path.write_text(broken, encoding="utf-8")

    found = {
        "zizmor": bool(zizmor(project)),
        "linter": bool(lint(project, settings)),
        "parser": bool(service.parse_workflow(WORKFLOW, broken)["errors"]),
        "actionlint": bool(actionlint(service, WORKFLOW, broken)),
    }

    assert {name for name, complained in found.items() if complained} == set(who.split())


@pytest.mark.parametrize("triggers", TRIGGERS)
def test_the_answers_decide_what_starts_a_run(service: ActionsService, triggers: str) -> None:
    tree = service.parse_workflow(WORKFLOW, render_workflow(triggers, schedule_cron="5 4 * * 1"))["tree"]

    expected = {"manual": "workflow_dispatch", "alert": "repository_dispatch", "schedule": "schedule"}
    assert set(tree["on"]) == {expected[word] for word in triggers.split("+")}
    assert list(tree["on"]["workflow_dispatch"]["inputs"]) == [
        "resource",
        "action_context",
        "trigger_source",
        "trace_id",
        "dry_run",
        "ask_again",
    ]
    if "alert" in triggers:
        assert tree["on"]["repository_dispatch"] == {"types": ["alert-triggered"]}
    if "schedule" in triggers:
        assert tree["on"]["schedule"] == [{"cron": "5 4 * * 1"}]


READS = {"contents": "read", "actions": "read"}
# Of the one job that has an identity token without an environment; it runs no team code.
SIGNS = READS | {"id-token": "write", "attestations": "write"}


def permissions_of(service: ActionsService, text: str) -> dict[str, dict[str, str]]:
    """The permissions of each job, as GitHub's parser reads them."""
    tree = service.parse_workflow(WORKFLOW, text)["tree"]
    return {name: job["permissions"] for name, job in tree["jobs"].items()}


@pytest.mark.parametrize("permissions", ACT_PERMISSIONS)
def test_the_answers_decide_what_act_may_write_and_no_other_job_may(service: ActionsService, permissions: str) -> None:
    granted = {scope.strip(): "write" for scope in permissions.split(",") if scope}
    text = render_workflow(act_permissions=permissions, auto_approval="yes")
    read_only = dict.fromkeys(("investigate", "seal", "approve", "approve-second", "act-auto", "record"), READS)
    assert permissions_of(service, text) == {**read_only, "act": READS | granted, "attest": SIGNS}
    assert permissions_of(service, render_workflow(template=ATTEST_TEMPLATE)) == {"attest": SIGNS}

    asking, acting = render_issue_gate(act_permissions=permissions)
    issues = {"issues": "read"}
    assert permissions_of(service, asking) == {
        **dict.fromkeys(("investigate", "seal", "record"), READS),
        "ask": READS | {"issues": "write"},
    }
    assert permissions_of(service, acting) == {
        "approve": READS | issues,
        "claim": READS | issues | {"contents": "write"},
        "act": READS | issues | granted,
        "record": READS | {"issues": "write"},
    }


def test_only_a_login_and_the_attestation_get_an_identity_token(service: ActionsService) -> None:
    tree = service.parse_workflow(WORKFLOW, render_workflow(investigate_oidc="yes"))["tree"]
    assert tree["jobs"]["investigate"]["permissions"] == READS | {"id-token": "write"}
    assert tree["jobs"]["investigate"]["environment"] == {"name": "agent-investigate", "deployment": False}
    signing = {name for name, job in tree["jobs"].items() if "id-token" in job["permissions"]}
    assert signing == {"investigate", "attest"}
    called = service.parse_workflow(ATTEST_WORKFLOW, render_workflow(template=ATTEST_TEMPLATE))["tree"]
    assert tree["jobs"]["attest"]["uses"] == f"./{ATTEST_WORKFLOW}" and set(called["on"]) == {"workflow_call"}
    assert [step.get("uses", step.get("run")).split("@")[0] for step in called["jobs"]["attest"]["steps"]] == [
        "actions/checkout",
        "./.github/actions/setup-gate",
        "python -I -S agent_runtime/__main__.py attest",
        "actions/attest",
        "actions/upload-artifact",
    ]


def test_where_there_are_no_environments_no_job_names_one(service: ActionsService) -> None:
    for text in render_issue_gate(investigate_secrets="METRICS_TOKEN"):
        jobs = service.parse_workflow(WORKFLOW, text)["tree"]["jobs"]
        assert not [name for name, job in jobs.items() if "environment" in job]
    _, acting = render_issue_gate(repository_plan="private-team")
    jobs = service.parse_workflow(APPROVAL_WORKFLOW, acting)["tree"]["jobs"]
    assert [name for name, job in jobs.items() if "environment" in job] == ["act"]


def test_what_acts_without_asking_takes_the_same_lock(service: ActionsService) -> None:
    jobs = service.parse_workflow(WORKFLOW, render_workflow(auto_approval="yes"))["tree"]["jobs"]
    assert (jobs["act-auto"]["environment"], jobs["act-auto"]["needs"]) == ("agent-auto", "seal")
    assert jobs["act-auto"]["concurrency"] == jobs["act"]["concurrency"]


WORDS = ("success", "failure", "skipped")


def runs(
    service: ActionsService, condition: str, needs: dict[str, Any], *, cancelled: bool = False, app: str = ""
) -> bool:
    """Whether a job with this condition runs, by GitHub's own evaluation, after jobs that ended so."""
    results = {job["result"] for job in needs.values()}
    status = {"success": results <= {"success"} and not cancelled, "failure": "failure" in results}
    found = service.evaluate(
        condition, {"needs": needs, "vars": {"AGENT_UPDATE_APP": app}}, {**status, "cancelled": cancelled}
    )
    return bool(found["truthy"])


def conditions(service: ActionsService, name: str, text: str) -> dict[str, str]:
    """The condition of each job, with the `success()` that GitHub adds where none asks how the jobs before ended."""
    return {job["id"]: job["if"] for job in service.parse_workflow(name, text)["jobs"]}


@pytest.mark.threat("T13", "T14", "T34")
def test_what_acts_runs_behind_each_approval_that_the_plan_needs_and_never_else(service: ActionsService) -> None:
    found = conditions(service, WORKFLOW, render_workflow(auto_approval="yes"))
    for decision, ended, cancelled in product_of(("review", "auto", "denied"), WORDS, (False, True)):
        needs: dict[str, Any] = {"seal": {"result": ended, "outputs": {"decision": decision, "approvals": "1"}}}
        goes_on = ended == "success" and not cancelled
        assert runs(service, found["approve"], needs, cancelled=cancelled) == (goes_on and decision == "review")
        assert runs(service, found["act-auto"], needs, cancelled=cancelled) == (goes_on and decision == "auto")
    for wanted, seal, first, second, cancelled in product_of(("1", "2"), WORDS, WORDS, WORDS, (False, True)):
        needs = {"seal": {"result": seal, "outputs": {"decision": "review", "approvals": wanted}}}
        needs |= {"approve": {"result": first}, "approve-second": {"result": second}}
        approved = (seal, first) == ("success", "success") and not cancelled
        acts = approved and (wanted == "1" or second == "success")
        assert runs(service, found["act"], needs, cancelled=cancelled) == acts, needs
        if second == "skipped":
            del needs["approve-second"]
            assert runs(service, found["approve-second"], needs, cancelled=cancelled) == (approved and wanted == "2")

    found = conditions(service, APPROVAL_WORKFLOW, render_issue_gate()[1])
    for first, claimed, cancelled in product_of(WORDS, WORDS, (False, True)):
        needs = {"approve": {"result": first}}
        may = first == "success" and not cancelled
        assert runs(service, found["claim"], needs, cancelled=cancelled) == may
        needs["claim"] = {"result": claimed}
        assert runs(service, found["act"], needs, cancelled=cancelled) == (may and claimed == "success")
        assert runs(service, found["record"], needs, cancelled=cancelled) == (first != "skipped")


@pytest.mark.threat("T10")
def test_the_apps_key_is_read_where_an_update_was_made_and_an_app_is_named(service: ActionsService) -> None:
    path = TEMPLATE.with_name("agent-update.yml")
    found = conditions(service, path.name, path.read_text(encoding="utf-8"))
    for ended, made, app in product_of(WORDS, ("true", ""), ("Iv1.app", "")):
        needs = {"find": {"result": "success"}, "make": {"result": ended, "outputs": {"made": made}}}
        proposes = ended == "success" and bool(made and app)
        assert runs(service, found["propose"], needs, app=app) == proposes
        assert runs(service, found["report"], needs, app=app) == (ended == "success" and not proposes)


# What actionlint 1.7.12 says of everything that an answer can bring.  When this fails because actionlint knows one of
# these keys, its line in template/.github/actionlint.yml has to go.
UNKNOWN = (
    'unexpected key "cache-mode" for "job" section.',
    'unexpected key "deployment" for "environment" section.',
    'unexpected key "queue" for "concurrency" section.',
    'label "act" is unknown.',
    'label "gate" is unknown.',
)


def test_actionlint_is_set_to_ignore_what_it_does_not_know_and_nothing_else(service: ActionsService) -> None:
    everything = BROAD["all of it"]
    found = [*service.actionlint(WORKFLOW, render(TEMPLATE, everything))]
    for text in render_issue_gate(**{**everything, "auto_approval": "no"}):
        found += service.actionlint(APPROVAL_WORKFLOW, text)

    assert {finding["message"].split(".")[0] + "." for finding in found} == set(UNKNOWN)
    settings = yaml.safe_load(ACTIONLINT.read_text(encoding="utf-8"))["paths"]
    (ignored,) = [path["ignore"] for path in settings.values()]
    assert all(any(re.search(pattern, finding["message"]) for finding in found) for pattern in ignored)


def suppressions(workflow: str) -> set[tuple[str, str]]:
    """What zizmor is set to ignore: the value, and the rule."""
    lines = [line.split(" # zizmor: ") for line in workflow.splitlines()]
    return {(line[0].strip(), line[1].split("]")[0] + "]") for line in lines if len(line) > 1}


LOCAL = {
    (f"uses: ./.github/actions/{name}", "ignore[self-repository]")
    for name in ("setup-gate", "setup-agent", "prepare-investigate", "prepare-act")
}
CALLED = {(f"uses: ./{ATTEST_WORKFLOW}", "ignore[self-repository]")}
OUTSIDE = "ignore[secrets-outside-env]"
BACKEND = {
    ("AIMGENTIX_API_URL: ${{ secrets.AIMGENTIX_API_URL || vars.AIMGENTIX_API_URL }}", OUTSIDE),
    ("AIMGENTIX_API_KEY: ${{ secrets.AIMGENTIX_API_KEY }}", OUTSIDE),
}


def test_suppressions_name_one_rule_and_one_value_each() -> None:
    reading = {"investigate_secrets": "METRICS_TOKEN"}
    assert (
        suppressions(render(TEMPLATE, {"triggers": "manual+alert+schedule", "act_permissions": "issues", **reading}))
        == LOCAL | BACKEND | CALLED
    )
    own = {(f"runs-on: {machine}", "ignore[self-hosted-runner]") for machine in ("self-hosted", "[self-hosted, act]")}
    assert suppressions(render(TEMPLATE, BROAD["all of it"])) == LOCAL | BACKEND | CALLED | own

    asking, acting = render_issue_gate(**reading)
    token = {("METRICS_TOKEN: ${{ secrets.METRICS_TOKEN }}", OUTSIDE)}
    assert suppressions(asking) == {pair for pair in LOCAL if "-act" not in pair[0]} | BACKEND | token
    token = {("AGENT_ACT_TOKEN: ${{ secrets.AGENT_ACT_TOKEN }}", OUTSIDE)}
    comments = {("issue_comment:", "ignore[dangerous-triggers]")}
    assert suppressions(acting) == {pair for pair in LOCAL if "invest" not in pair[0]} | BACKEND | token | comments
    assert not [path for path in ACTIONS.rglob("*.yml") if "zizmor" in path.read_text(encoding="utf-8")]
