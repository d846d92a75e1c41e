"""What every rendering holds: GitHub's parser, actionlint, zizmor as auditor and the gate contract find nothing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from agent_runtime.local import contract
from conftest import REPOSITORY, require_tool
from template.engines import clone_template, combinations, run_copier
from workflow.harness.node import ActionsService
from workflow.rendering import ACT_PERMISSIONS, SETUP_ACTION, TRIGGERS, render_issue_gate, render_workflow

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
    """What GitHub's parser, actionlint and the gate contract say of a project."""
    found = [str(violation) for violation in contract.lint_paths([project / ".github" / "workflows"])]
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


def write_project(folder: Path, workflow: str, approval_workflow: str = "") -> Path:
    """A project with the agent workflows and their composite action alone."""
    files = {WORKFLOW: workflow, ".github/actions/setup-agent/action.yml": SETUP_ACTION.read_text()}
    if approval_workflow:
        files |= {APPROVAL_WORKFLOW: approval_workflow, ".github/agent-config.yml": "approval_gate: issue\n"}
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def test_every_trigger_with_every_permission_is_clean(service: ActionsService, tmp_path: Path) -> None:
    for triggers in TRIGGERS:
        for number, permissions in enumerate(ACT_PERMISSIONS):
            auto = ("no", "yes")[number % 2]
            text = render_workflow(triggers, permissions, auto_approval=auto)
            project = write_project(tmp_path / f"{triggers}-{number}", text)
            assert complaints(service, project) == []
            gate = write_project(tmp_path / f"{triggers}-{number}-issue", *render_issue_gate(triggers, permissions))
            assert complaints(service, gate) == []
    assert zizmor(tmp_path) == ""


def test_the_workflows_of_this_repository_are_clean(service: ActionsService) -> None:
    for path in sorted((REPOSITORY / ".github" / "workflows").glob("*.yml")):
        name, text = path.name, path.read_text(encoding="utf-8")
        assert service.parse_workflow(name, text)["errors"] == []
        assert service.actionlint(name, text) == []
        assert contract.lint_workflow(text, name) == []


@pytest.mark.parametrize(
    ("old", "new", "who"),
    [
        ("agent_runner.py investigate", "agent_runner.py investigate ${{ inputs.resource }}", "zizmor contract"),
        ("actions: read # who approved?", "actions: write # who approved?", "contract"),
        ("environment: agent-act", "enviroment: agent-act", "parser contract actionlint zizmor"),
        ("steps.report.outputs", "steps.reprot.outputs", "actionlint contract"),
        ("upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f", "upload-artifact@v7", "zizmor contract"),
        ("queue: max", "queue: many", "parser contract"),
        ("queue: max", "qeue: max", "parser contract actionlint"),
    ],
)
def test_each_checker_would_complain(service: ActionsService, tmp_path: Path, old: str, new: str, who: str) -> None:
    text = render_workflow()
    assert old in text
    project = write_project(tmp_path, text.replace(old, new, 1))
    broken = (project / WORKFLOW).read_text(encoding="utf-8")

    found = {
        "zizmor": bool(zizmor(project)),
        "contract": bool(contract.lint_workflow(broken, WORKFLOW)),
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
    assert (automatic["environment"], automatic["needs"]) == ("agent-auto", "investigate")
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
        "ask": {"contents": "read", "issues": "write"},
        "record": reads,
    }
    assert {name: job["permissions"] for name, job in acting.items()} == {
        "approve": {**reads, "issues": "read"},
        "act": {**reads, "issues": "read", **granted, "contents": "write"},
        "record": {**reads, "issues": "write"},
    }
    assert not [name for job in (asking, acting) for name in job if "environment" in job[name]]


def test_actionlint_is_told_to_pass_over_one_key_of_the_agent_workflows(service: ActionsService) -> None:
    """When this fails because actionlint knows the key, .github/actionlint.yml has to go."""
    key = 'unexpected key "queue" for "concurrency" section. expected one of "cancel-in-progress", "group"'
    found = [*service.actionlint(WORKFLOW, render_workflow(auto_approval="yes"))]
    found += service.actionlint(APPROVAL_WORKFLOW, render_issue_gate()[1])

    assert [finding["message"] for finding in found] == [key] * 3


def suppressions(workflow: str) -> list[tuple[str, str]]:
    """What zizmor is told to pass over: the value, and the rule."""
    lines = [line.split(" # zizmor: ") for line in workflow.splitlines()]
    return sorted((line[0].strip(), line[1].split("]")[0] + "]") for line in lines if len(line) > 1)


def test_suppressions_name_one_rule_and_one_value_each() -> None:
    assert suppressions(render_workflow("manual+alert+schedule", "issues")) == [
        ("AIMGENTIX_API_KEY: ${{ secrets.AIMGENTIX_API_KEY }}", "ignore[secrets-outside-env]"),
        *[("uses: ./.github/actions/setup-agent", "ignore[self-repository]")] * 4,
    ]
    asking, acting = render_issue_gate("manual+alert+schedule", "issues")
    setup, audit = ("uses: ./.github/actions/setup-agent", "ignore[self-repository]"), "ignore[secrets-outside-env]"
    key = ("AIMGENTIX_API_KEY: ${{ secrets.AIMGENTIX_API_KEY }}", audit)
    assert suppressions(asking) == [key, *[setup] * 3]
    token = ("AGENT_ACT_TOKEN: ${{ secrets.AGENT_ACT_TOKEN }}", audit)
    assert suppressions(acting) == [token, key, key, ("issue_comment:", "ignore[dangerous-triggers]"), *[setup] * 3]
    assert "zizmor" not in SETUP_ACTION.read_text(encoding="utf-8")
