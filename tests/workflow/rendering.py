"""The agent workflow as its template renders it, without the rest of the repository around it."""

from __future__ import annotations

import jinja2

from conftest import REPOSITORY

TEMPLATE = REPOSITORY / "template" / ".github" / "workflows" / "agent-investigate-act.yml.jinja"
SETUP_ACTION = REPOSITORY / "template" / ".github" / "actions" / "setup-agent" / "action.yml"

TRIGGERS = ("manual", "manual+alert", "manual+schedule", "manual+alert+schedule")
ACT_PERMISSIONS = ("", "contents", "issues, pull-requests", "actions,contents,deployments,id-token,packages,statuses")


def render_workflow(
    triggers: str = "manual+alert",
    act_permissions: str = "",
    schedule_cron: str = "17 */6 * * *",
    auto_approval: str = "no",
    repository_plan: str = "public",
) -> str:
    """Render the workflow for these answers, as Copier and Cookiecutter do (undefined names are errors)."""
    environment = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    answers = {
        "triggers": triggers,
        "act_permissions": act_permissions,
        "schedule_cron": schedule_cron,
        "auto_approval": auto_approval,
        "repository_plan": repository_plan,
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(cookiecutter=answers)
