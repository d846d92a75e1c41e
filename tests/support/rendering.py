"""The agent workflows as their templates render them, without the rest of the repository around them."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from agent_runtime.local import answers
from agent_runtime.local.linter import actions
from agent_runtime.model import config
from support.environment import REPOSITORY

TEMPLATE = REPOSITORY / "template" / ".github" / "workflows" / "agent-investigate-act.yml.jinja"
APPROVAL_TEMPLATE = TEMPLATE.with_name("agent-act-on-approval.yml.jinja")
ATTEST_TEMPLATE = TEMPLATE.with_name("agent-attest.yml.jinja")
CONFIG_TEMPLATE = REPOSITORY / "template" / ".github" / "agent-config.yml.jinja"
ACTIONS = REPOSITORY / "template" / ".github" / "actions"
SETUP_ACTION = ACTIONS / "setup-agent" / "action.yml"
SETUP_GATE = ACTIONS / "setup-gate" / "action.yml"

WORKFLOW = ".github/workflows/agent-investigate-act.yml"
APPROVAL_WORKFLOW = ".github/workflows/agent-act-on-approval.yml"
ATTEST_WORKFLOW = ".github/workflows/agent-attest.yml"

TRIGGERS = ("manual", "manual+alert", "manual+schedule", "manual+alert+schedule")
ACT_PERMISSIONS = ("", "contents", "issues, pull-requests", "actions,contents,deployments,id-token,packages,statuses")

_IMAGE = "ghcr.io/acme/tools:1@sha256:" + "0a" * 32
# Every answer that the workflows depend on, alone and together with others.
BROAD: dict[str, dict[str, str]] = {
    "as asked by default": {},
    "a token to read with": {"investigate_secrets": "METRICS_TOKEN", "investigate_variables": "CLUSTER, REGION"},
    "a login to read with": {"investigate_oidc": "yes"},
    "a container": {"investigate_container": _IMAGE},
    "nothing to act with": {"act_secrets": "", "act_variables": ""},
    "much to act with": {"act_secrets": "AGENT_ACT_TOKEN, VAULT_TOKEN", "act_variables": "CLUSTER,REGION"},
    "own machines": {
        "investigate_runner": "self-hosted, read",
        "act_runner": "self-hosted,act, x64",
        "gate_runner": "ubuntu-24.04",
    },
    "another Python": {"agent_python": "3.10", "act_timeout_minutes": "360"},
    "messages": {"notify": "yes"},
    "all of it": {
        "notify": "yes",
        "auto_approval": "yes",
        "investigate_secrets": "METRICS_TOKEN, LOGS_TOKEN",
        "investigate_variables": "CLUSTER",
        "investigate_oidc": "yes",
        "investigate_container": _IMAGE,
        "act_secrets": "AGENT_ACT_TOKEN,AGENT_OWN_KEY",
        "act_variables": "CLUSTER",
        "investigate_runner": "self-hosted",
        "act_runner": "self-hosted, act",
        "gate_runner": "gate",
        "agent_python": "3.8",
        "act_timeout_minutes": "5",
    },
}


def render(template: Path, given: dict[str, str]) -> str:
    """Render a file as Copier and Cookiecutter do (undefined names are errors); the rest is answered by default."""
    environment = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    known = {
        "agent_name": "Checkout Restart",
        "agent_slug": "checkout-restart",
        "github_repository": "acme/checkout-restart",
        "approvers": "octocat",
        "approval_ttl_minutes": "60",
        "use_case": "blank",
        "triggers": "manual+alert",
        "act_permissions": "",
        "schedule_cron": "17 */6 * * *",
        "auto_approval": "no",
        "repository_plan": "public",
        **given,
    }
    known = {**{question: answers.unasked(question, known) for question in answers.ADVANCED}, **known}
    return environment.from_string(template.read_text(encoding="utf-8")).render(cookiecutter=known)


def render_workflow(
    triggers: str = "manual+alert",
    act_permissions: str = "",
    schedule_cron: str = "17 */6 * * *",
    auto_approval: str = "no",
    repository_plan: str = "public",
    template: Path = TEMPLATE,
    **more: str,
) -> str:
    """Render a workflow for these answers."""
    given = {
        "triggers": triggers,
        "act_permissions": act_permissions,
        "schedule_cron": schedule_cron,
        "auto_approval": auto_approval,
        "repository_plan": repository_plan,
    }
    return render(template, {**given, **more})


def render_issue_gate(
    triggers: str = "manual+alert", act_permissions: str = "", repository_plan: str = "private-free", **more: str
) -> tuple[str, str]:
    """Render both workflows of a repository whose gate is an issue: the one that asks, and the one that acts."""
    asking, acting = (
        render_workflow(triggers, act_permissions, repository_plan=repository_plan, template=template, **more)
        for template in (TEMPLATE, APPROVAL_TEMPLATE)
    )
    return asking, acting


def write_repository(folder: Path, given: dict[str, str]) -> tuple[Path, config.Config]:
    """A repository with the workflows and actions that these answers make, and its configuration."""
    files = {WORKFLOW: render(TEMPLATE, given), ".github/agent-config.yml": render(CONFIG_TEMPLATE, given)}
    for name, template in ((APPROVAL_WORKFLOW, APPROVAL_TEMPLATE), (ATTEST_WORKFLOW, ATTEST_TEMPLATE)):
        text = render(template, given)
        if text:
            files[name] = text
    for path in (*ACTIONS.rglob("*.yml"), *TEMPLATE.parent.glob("*.yml")):
        files[path.relative_to(REPOSITORY / "template").as_posix()] = path.read_text(encoding="utf-8")
    digests = {name: actions.fingerprint(text.encode()) for name, text in files.items() if "/setup-" in name}
    files[actions.MANIFEST] = json.dumps({"files": digests})
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return folder, configuration(given)


@cache
def _configuration(text: str) -> config.Config:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ".github").mkdir()
        (Path(folder) / config.CONFIG_PATH).write_text(text, encoding="utf-8")
        return config.load(Path(folder))


def configuration(given: dict[str, str]) -> config.Config:
    """The configuration of a repository with these answers."""
    return _configuration(render(CONFIG_TEMPLATE, given))


def product() -> list[dict[str, Any]]:
    """Every plan with each of BROAD; triggers, permissions and automatic approval take turns."""
    found = []
    for number, (plan, more) in enumerate((plan, more) for plan in answers.PLANS for more in BROAD.values()):
        turn = {
            "repository_plan": plan,
            "triggers": TRIGGERS[number % 4],
            "act_permissions": ACT_PERMISSIONS[number // 2 % 4],
            "auto_approval": ("no", "yes")[number % 2],
            **more,
        }
        if plan == "private-free":
            turn["investigate_oidc"] = "no"
        found.append(turn)
    return found
