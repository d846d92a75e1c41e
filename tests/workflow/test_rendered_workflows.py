"""What every rendering holds: GitHub's parser, actionlint, zizmor as auditor and the linter find nothing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from agent_runtime.local.linter import lint
from agent_runtime.model import config
from conftest import REPOSITORY, require_tool
from template.engines import clone_template, combinations, run_copier
from workflow.harness.node import ActionsService
from workflow.rendering import (
    ACT_PERMISSIONS,
    SETUP_ACTION,
    SETUP_GATE,
    TRIGGERS,
    render_issue_gate,
    render_workflow,
    write_repository,
)

WORKFLOW = ".github/workflows/agent-investigate-act.yml"
APPROVAL_WORKFLOW = ".github/workflows/agent-act-on-approval.yml"
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


def complaints(service: ActionsService, project: Path) -> list[str]:
    """What GitHub's parser, actionlint and the linter say of a project."""
    found = [str(violation) for violation in lint(project, config.load(project))]
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

    assert complaints(service, project) == []
    assert zizmor(project) == ""
    plan, permissions = answers["repository_plan"], answers["act_permissions"]
    assert (project / WORKFLOW).read_text(encoding="utf-8") == render_workflow(
        answers["triggers"], permissions, auto_approval=answers["auto_approval"], repository_plan=plan
    )
    approval = project / APPROVAL_WORKFLOW
    assert approval.exists() == (plan in ("private-team", "private-free"))
    if approval.exists():
        assert approval.read_text(encoding="utf-8") == render_issue_gate(act_permissions=permissions)[1]


def test_every_trigger_with_every_permission_is_clean(service: ActionsService, tmp_path: Path) -> None:
    for triggers in TRIGGERS:
        for number, permissions in enumerate(ACT_PERMISSIONS):
            auto = ("no", "yes")[number % 2]
            given = {"triggers": triggers, "act_permissions": permissions}
            project, _ = write_repository(tmp_path / f"{triggers}-{number}", {**given, "auto_approval": auto})
            assert complaints(service, project) == []
            by_issue = {**given, "repository_plan": ("private-team", "private-free")[number % 2]}
            gate, _ = write_repository(tmp_path / f"{triggers}-{number}-issue", by_issue)
            assert complaints(service, gate) == []
    assert zizmor(tmp_path) == ""


def test_the_workflows_of_this_repository_are_clean(service: ActionsService) -> None:
    for path in sorted((REPOSITORY / ".github" / "workflows").glob("*.yml")):
        name, text = path.name, path.read_text(encoding="utf-8")
        assert service.parse_workflow(name, text)["errors"] == []
        assert service.actionlint(name, text) == []


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
    ],
)
def test_each_checker_would_complain(service: ActionsService, tmp_path: Path, old: str, new: str, who: str) -> None:
    project, settings = write_repository(tmp_path, {})
    text = (project / WORKFLOW).read_text(encoding="utf-8")
    assert old in text
    broken = text.replace(old, new, 1)
    (project / WORKFLOW).write_text(broken, encoding="utf-8")

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
    ]
    if "alert" in triggers:
        assert tree["on"]["repository_dispatch"] == {"types": ["alert-triggered"]}
    if "schedule" in triggers:
        assert tree["on"]["schedule"] == [{"cron": "5 4 * * 1"}]


@pytest.mark.parametrize("permissions", ACT_PERMISSIONS)
def test_the_answers_decide_what_act_may_write_and_no_other_job_may(service: ActionsService, permissions: str) -> None:
    jobs = service.parse_workflow(WORKFLOW, render_workflow(act_permissions=permissions))["tree"]["jobs"]

    reads = {"contents": "read", "actions": "read"}
    granted = {scope.strip(): "write" for scope in permissions.split(",") if scope}
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "investigate": reads,
        "seal": reads,
        "approve": reads,
        "act": reads | granted,
        "record": reads,
    }


@pytest.mark.parametrize("permissions", ACT_PERMISSIONS)
def test_what_runs_without_asking_never_gets_more_than_reading(service: ActionsService, permissions: str) -> None:
    text = render_workflow(act_permissions=permissions, auto_approval="yes")
    jobs = service.parse_workflow(WORKFLOW, text)["tree"]["jobs"]
    without = service.parse_workflow(WORKFLOW, render_workflow(act_permissions=permissions))["tree"]["jobs"]

    automatic = jobs.pop("act-auto")
    assert automatic["permissions"] == {"contents": "read", "actions": "read"}
    assert (automatic["environment"], automatic["needs"]) == ("agent-auto", "seal")
    assert automatic["concurrency"] == jobs["act"]["concurrency"]
    assert {name: job for name, job in jobs.items() if name != "record"} == {
        name: job for name, job in without.items() if name != "record"
    }


@pytest.mark.parametrize("permissions", ACT_PERMISSIONS)
def test_where_an_issue_is_the_gate_only_act_and_what_writes_issues_may_write(
    service: ActionsService, permissions: str
) -> None:
    asking, acting = (
        service.parse_workflow(WORKFLOW, text)["tree"]["jobs"]
        for text in render_issue_gate(act_permissions=permissions)
    )

    reads = {"contents": "read", "actions": "read"}
    granted = {scope.strip(): "write" for scope in permissions.split(",") if scope}
    assert {name: job["permissions"] for name, job in asking.items()} == {
        "investigate": reads,
        "seal": reads,
        "ask": {**reads, "issues": "write"},
        "record": reads,
    }
    assert {name: job["permissions"] for name, job in acting.items()} == {
        "approve": {**reads, "issues": "read"},
        "claim": {**reads, "issues": "read", "contents": "write"},
        "act": {**reads, "issues": "read", **granted},
        "record": {**reads, "issues": "write"},
    }
    assert not [name for job in (asking, acting) for name in job if "environment" in job[name]]


def test_actionlint_is_told_to_pass_over_three_keys_of_the_agent_workflows(service: ActionsService) -> None:
    """When this fails because actionlint knows a key, its line in .github/actionlint.yml has to go."""
    found = service.actionlint(WORKFLOW, render_workflow(auto_approval="yes", investigate_oidc="yes"))
    found += service.actionlint(APPROVAL_WORKFLOW, render_issue_gate()[1])

    told = {finding["message"].partition(". expected one of ")[0] for finding in found}
    assert told == {
        'unexpected key "queue" for "concurrency" section',
        'unexpected key "deployment" for "environment" section',
        'unexpected key "cache-mode" for "job" section',
    }


def suppressions(workflow: str) -> list[tuple[str, str]]:
    """What zizmor is told to pass over: the value, and the rule."""
    lines = [line.split(" # zizmor: ") for line in workflow.splitlines()]
    return sorted((line[0].strip(), line[1].split("]")[0] + "]") for line in lines if len(line) > 1)


def test_suppressions_name_one_rule_and_one_value_each() -> None:
    local = [f"uses: ./.github/actions/{name}" for name in ("prepare-act", "prepare-investigate", "setup-agent")]
    own = {(use, "ignore[self-repository]") for use in (*local, "uses: ./.github/actions/setup-gate")}
    audit = "ignore[secrets-outside-env]"
    backend = {
        ("AIMGENTIX_API_KEY: ${{ secrets.AIMGENTIX_API_KEY }}", audit),
        ("AIMGENTIX_API_URL: ${{ secrets.AIMGENTIX_API_URL || vars.AIMGENTIX_API_URL }}", audit),
    }
    asking, acting = render_issue_gate("manual+alert+schedule", "issues")

    assert set(suppressions(render_workflow("manual+alert+schedule", "issues"))) == own | backend
    assert set(suppressions(asking)) == (own | backend) - {(local[0], "ignore[self-repository]")}
    assert set(suppressions(acting)) == ((own | backend) - {(local[1], "ignore[self-repository]")}) | {
        ("AGENT_ACT_TOKEN: ${{ secrets.AGENT_ACT_TOKEN }}", audit),
        ("issue_comment:", "ignore[dangerous-triggers]"),
    }
    for action in (SETUP_ACTION, SETUP_GATE):
        assert "zizmor" not in action.read_text(encoding="utf-8")
