"""The agent workflow as its template renders it, without the rest of the repository around it."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2

from conftest import REPOSITORY

TEMPLATE = REPOSITORY / "template" / ".github" / "workflows" / "agent-investigate-act.yml.jinja"
APPROVAL_TEMPLATE = TEMPLATE.with_name("agent-act-on-approval.yml.jinja")
SETUP_ACTION = REPOSITORY / "template" / ".github" / "actions" / "setup-agent" / "action.yml"
SETUP_GATE = REPOSITORY / "template" / ".github" / "actions" / "setup-gate" / "action.yml"

TRIGGERS = ("manual", "manual+alert", "manual+schedule", "manual+alert+schedule")
ACT_PERMISSIONS = ("", "contents", "issues, pull-requests", "actions,contents,deployments,id-token,packages,statuses")


def defaults() -> dict[str, str]:
    """The answer to each question that has one of its own."""
    questions = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
    found = {name: value[0] if isinstance(value, list) else value for name, value in questions.items()}
    return {name: value for name, value in found.items() if isinstance(value, str) and "{" not in value}


def render_workflow(
    triggers: str = "manual+alert",
    act_permissions: str = "",
    schedule_cron: str = "17 */6 * * *",
    auto_approval: str = "no",
    repository_plan: str = "public",
    template: Path = TEMPLATE,
) -> str:
    """Render a workflow for these answers, as Copier and Cookiecutter do (undefined names are errors)."""
    environment = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    answers = {
        "triggers": triggers,
        "act_permissions": act_permissions,
        "schedule_cron": schedule_cron,
        "auto_approval": auto_approval,
        "repository_plan": repository_plan,
    }
    return environment.from_string(template.read_text(encoding="utf-8")).render(cookiecutter={**defaults(), **answers})


def render_issue_gate(triggers: str = "manual+alert", act_permissions: str = "") -> tuple[str, str]:
    """Render both workflows of a repository whose gate is an issue: the one that asks, and the one that acts."""
    asking, acting = (
        render_workflow(triggers, act_permissions, repository_plan="private-free", template=template)
        for template in (TEMPLATE, APPROVAL_TEMPLATE)
    )
    return asking, acting
