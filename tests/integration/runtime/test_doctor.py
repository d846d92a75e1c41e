"""`doctor` over real HTTP against a GitHub with a state: every setting that somebody may loosen is named."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.local.codes import GITHUB_SILENT
from agent_runtime.local.settings import access, checklist, checks, codeowners, github_plans, planning
from agent_runtime.local.settings.model import Environment, Local, Repository, Unreadable
from agent_runtime.local.settings.observe import observe
from agent_runtime.model import config
from support import interpreter, settings_world, shapes
from support.github import FullGitHub
from support.settings_world import REPOSITORY, TOKEN, WORKFLOW, Clone, close_by_hand, writes


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered repository; tests don't change it."""
    return settings_world.render(tmp_path_factory.mktemp("rendered"))


@pytest.fixture
def clone(rendered: Path) -> Iterator[Clone]:
    """A repository with every setting as docs/SETUP_GUIDE.md says."""
    with settings_world.fresh() as github:
        closed = Clone(rendered, github)
        closed.setup()
        close_by_hand(github)
        github.requests.clear()
        yield closed


@pytest.fixture
def own(clone: Clone, tmp_path: Path) -> Clone:
    """The same with a clone that the test may change."""
    shutil.copytree(clone.root, tmp_path / "clone")
    return Clone(tmp_path / "clone", clone.github)


def test_the_key_of_the_app_that_proposes_updates_is_where_one_job_reads_it(clone: Clone) -> None:
    github = clone.github
    assert "agent-update" not in github.environments
    github.variables["AGENT_UPDATE_APP"] = "Iv1.app"
    github.secrets = ["AGENT_UPDATE_KEY"]

    opened = clone.doctor()
    (problem,) = opened["act-environment"]
    assert problem.startswith("environment agent-update: it does not exist")
    assert [line for line in opened["secrets"] if "AGENT_UPDATE_KEY is a secret of the repository" in line]

    assert "create agent-update: done" in clone.setup()
    assert github.branch_policies["agent-update"] == ["main"]
    github.secrets = []
    (problem,) = clone.doctor()["secrets"]
    assert (
        problem
        == "AGENT_UPDATE_APP names an App, and agent-update holds no AGENT_UPDATE_KEY: updates can't be proposed"
    )

    github.environment_secrets["agent-update"] = ["AGENT_UPDATE_KEY"]
    assert clone.doctor() == {}


def test_from_a_fresh_repository_to_a_closed_gate_and_back(rendered: Path) -> None:
    with settings_world.fresh() as github:
        somebody = Clone(rendered, github)
        opened = somebody.doctor()
        assert set(opened) == {
            "gate-environment",
            "act-environment",
            "token-permissions",
            "pinned-actions",
            "default-branch",
        }
        assert "it does not exist" in opened["gate-environment"][0]
        somebody.setup(dry_run=True)
        assert somebody.doctor() == opened
        assert writes(github) == []
        somebody.setup()
        assert set(somebody.doctor()) == {"token-permissions", "pinned-actions", "default-branch"}
        close_by_hand(github)
        assert somebody.doctor() == {}
        assert "nothing to change" in somebody.setup()
        assert somebody.doctor() == {}
        github.environments["agent-approval"]["can_admins_bypass"] = True
        assert somebody.doctor() == {"gate-environment": ["environment agent-approval: administrators can bypass it"]}


@pytest.fixture(scope="module")
def rendered_whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with every environment that answers can ask for; tests don't change it."""
    answers = {
        "auto_approval": "yes",
        "advanced": "yes",
        "investigate_secrets": "METRICS_TOKEN,CA_BUNDLE",
        "act_secrets": "DEPLOY_TOKEN",
    }
    return settings_world.render(tmp_path_factory.mktemp("whole"), **answers)


def test_each_environment_that_the_answers_ask_for_is_made_once_and_missed_when_it_is_gone(
    rendered_whole: Path,
) -> None:
    with settings_world.fresh() as github:
        somebody = Clone(rendered_whole, github)
        somebody.setup()
        close_by_hand(github)
        assert somebody.doctor() == {}
        secured = ["agent-act", "agent-auto", "agent-investigate"]
        assert list(github.environments) == ["agent-approval", *secured]
        for name in secured:
            assert github.branch_policies[name] == ["main"]
            assert [rule["type"] for rule in github.environments[name]["protection_rules"]] == ["branch_policy"]
            assert github.environments[name]["can_admins_bypass"] is False
        github.requests.clear()
        assert "nothing to change" in somebody.setup()
        assert writes(github) == []

        for name in secured:  # what makes a second gate that nobody sees; setup leaves what protects more
            rules = github.environments[name]["protection_rules"]
            rules.append(_gate(github)["protection_rules"][1])
            said = f"environment {name}: its job waits for a click of bob, sre, too, which no page explains"
            found = somebody.doctor().get("act-environment", [])
            assert [problem.startswith(said) for problem in found] == ([] if name == "agent-act" else [True])
            assert said in somebody.said_by_doctor()
            rules.pop()

        for name in secured:
            kept = github.environments.pop(name), github.branch_policies.pop(name)
            (problem,) = somebody.doctor()["act-environment"]
            assert problem.startswith(f"environment {name}: it does not exist")
            github.requests.clear()
            somebody.setup()
            assert writes(github) == [f"PUT {name}", f"POST {name}/deployment-branch-policies"]
            assert (github.environments[name], github.branch_policies[name]) == kept
        assert not [path for _, path in github.requests if "/labels" in path], "no issue is the gate here"


def test_the_secrets_that_the_answers_name_are_looked_for_where_they_belong(rendered_whole: Path) -> None:
    with settings_world.fresh() as github:
        somebody = Clone(rendered_whole, github)
        somebody.setup()
        close_by_hand(github)

        def notes() -> list[str]:
            found = json.loads(somebody.command("doctor", "--json").stdout)["checks"]
            (secrets,) = [check["findings"] for check in found if check["name"] == "secrets"]
            return [each["problem"] for each in secrets if each["state"] == "note"]

        assert notes() == [
            "agent-act holds no DEPLOY_TOKEN",
            "agent-auto holds no DEPLOY_TOKEN",
            "agent-investigate holds no CA_BUNDLE",
            "agent-investigate holds no METRICS_TOKEN",
        ]
        held = {"agent-act": ["DEPLOY_TOKEN"], "agent-auto": ["DEPLOY_TOKEN"]}
        held["agent-investigate"] = ["METRICS_TOKEN", "CA_BUNDLE"]
        github.environment_secrets = held
        assert (notes(), somebody.doctor()) == ([], {})

        held["agent-investigate"].append("DEPLOY_TOKEN")
        github.branch_policies["agent-auto"].append("dev")
        github.secrets, github.organization_secrets = ["DEPLOY_TOKEN", "METRICS_TOKEN"], ["DEPLOY_TOKEN"]
        github.variables["DEPLOY_TOKEN"] = "hunter2"
        opened = somebody.doctor()
        assert opened["act-environment"] == [
            "environment agent-auto: it may be used from [main, dev] instead of main only"
        ]
        assert opened["secrets"] == [
            "agent-investigate holds DEPLOY_TOKEN, with which act() changes something",
            "DEPLOY_TOKEN is in the repository's secrets, where every job reads it before the approval",
            "DEPLOY_TOKEN is in the organisation's secrets, where every job reads it before the approval",
            "DEPLOY_TOKEN is a variable, which everybody who reads the repository's settings or logs can see",
        ]
        # What another repository would be given is none of this one's.
        github.secrets = ["AGENT_ACT_TOKEN"]
        assert "AGENT_ACT_TOKEN" not in str(somebody.doctor()["secrets"])


@pytest.mark.parametrize("plan", ["public", "private-team", "private-free"])
def test_messages_need_their_environment_and_their_addresses(plan: str, tmp_path: Path) -> None:
    answers = {"advanced": "yes", "notify": "yes", "repository_plan": plan, "approvers": "bob,carol"}
    root = settings_world.render(tmp_path, **answers)
    in_environment = plan != "private-free"
    with settings_world.fresh() as github:
        github.people |= {"carol": "write"}
        if plan != "public":
            github.visibility, github.plan = "private", plan.partition("-")[2]
            github.workflows["agent-act-on-approval.yml"] = "active"
        somebody = Clone(root, github)
        place = "agent-notify" if in_environment else "the repository"
        missing = f"{place} holds no AGENT_NOTIFY_URLS, so nobody gets a message"
        before = somebody.doctor()
        assert before["secrets"] == [missing]
        absent = [line for line in before.get("act-environment", []) if line.startswith("environment agent-notify:")]
        assert len(absent) == in_environment and all("it does not exist" in line for line in absent)

        somebody.setup()
        assert ("agent-notify" in github.environments) == in_environment
        assert "nothing to change" in somebody.setup()
        assert somebody.doctor()["secrets"] == [missing]
        assert "act-environment" not in somebody.doctor()
        if in_environment:
            assert github.branch_policies["agent-notify"] == ["main"]
            github.environment_secrets["agent-notify"] = ["AGENT_NOTIFY_URLS"]
        else:
            github.secrets = ["AGENT_NOTIFY_URLS"]
        assert "secrets" not in somebody.doctor()

        github.variables["AGENT_NOTIFY_URLS"] = "slack://hunter2"
        (problem,) = somebody.doctor()["secrets"]
        assert problem.startswith("AGENT_NOTIFY_URLS is a variable") and "hunter2" not in problem


def test_where_the_key_of_the_audit_backend_may_go_is_looked_at(own: Clone) -> None:
    def secrets() -> list[tuple[str, str]]:
        found = json.loads(own.command("doctor", "--json").stdout)["checks"]
        (check,) = [check["findings"] for check in found if check["name"] == "secrets"]
        return [(each["state"], each["problem"]) for each in check if "AGENT_ACT_TOKEN" not in each["problem"]]

    own.github.secrets = ["AIMGENTIX_API_KEY"]
    own.github.variables = {"AIMGENTIX_API_URL": "https://Audit.example.com/v2"}
    anywhere = "audit_host is empty, so AIMGENTIX_API_KEY is sent to whatever host AIMGENTIX_API_URL names"
    assert secrets() == [("note", anywhere)]
    config = own.root / ".github" / "agent-config.yml"
    config.write_text(config.read_text().replace("audit_host: ''", "audit_host: 'audit.example.com'"))
    assert secrets() == []
    own.github.secrets.append("AIMGENTIX_API_URL")
    own.github.variables["AIMGENTIX_API_URL"] = "https://evil.example"
    assert secrets() == [("note", "AIMGENTIX_API_URL is a secret and a variable: the secret counts")]
    own.github.secrets.pop()
    for address in ("https://evil.example", "https://audit.example.com:444", "https://audit.example.com@evil.example"):
        own.github.variables["AIMGENTIX_API_URL"] = address
        ((state, problem),) = secrets()
        assert state == "open" and "audit_host allows audit.example.com only" in problem


def test_a_policy_that_asks_nobody_is_looked_at(own: Clone) -> None:
    rules = "auto_approve:\n  - {type: '*'}\n"
    policy = next((own.root / ".github" / "agent-policies").glob("*.yml"))
    policy.write_text(policy.read_text() + rules)
    notes = json.loads(own.command("doctor", "--json").stdout)["checks"]
    (found,) = [check["findings"] for check in notes if check["name"] == "policy"]
    assert [(each["state"], each["problem"]) for each in found] == [
        ("open", "auto_approve[0] of the policy asks nobody about every action on every resource"),
        (
            "note",
            "the policy has rules of auto_approve, and auto_approval is false in .github/agent-config.yml: a human is "
            "asked about everything",
        ),
    ]


def test_where_an_issue_is_the_gate_no_answer_helps_a_policy_that_asks_nobody(own: Clone) -> None:
    policy = next((own.root / ".github" / "agent-policies").glob("*.yml"))
    policy.write_text(policy.read_text() + "auto_approve:\n  - {type: restart_service}\n")
    config = own.root / ".github" / "agent-config.yml"
    config.write_text(config.read_text().replace("approval_gate: environment", "approval_gate: issue"))
    checks = json.loads(own.command("doctor", "--json").stdout)["checks"]
    (found,) = [check["findings"] for check in checks if check["name"] == "policy"]
    assert [(each["state"], "where an issue is the gate" in each["problem"]) for each in found] == [("note", True)]
    assert "auto_approval=yes" not in found[0]["fix"]


@pytest.mark.threat("T15")
def test_a_schedule_that_its_only_approver_last_changed_is_found(tmp_path: Path) -> None:
    """By GitHub's own word where a run has begun since the workflow changed; else by who changed it."""
    root = settings_world.render(tmp_path, triggers="manual+schedule", approvers="bob")
    path = f".github/workflows/{WORKFLOW}"
    with settings_world.fresh() as github:
        somebody = Clone(root, github)
        somebody.setup()
        close_by_hand(github)
        assert somebody.doctor() == {}, "nobody has pushed the workflow yet"
        never = (
            "scheduled runs count as started by whoever last changed the schedule: bob, the only approver, so nobody"
        )
        for changed, actor, is_found in (
            (("Bob", "2026-11-20T00:00:00Z"), None, True),
            (("alice", "2026-11-20T00:00:00Z"), None, False),
            (("alice", "2026-11-20T00:00:00Z"), "bob", True),
            (("alice", "2026-11-22T00:00:00Z"), "bob", False),
        ):
            github.changed[path], github.runs = changed, []
            if actor:
                run = {"title": "x [-]", "event": "schedule", "actor": actor, "file": WORKFLOW}
                github.add_run("7", created="2026-11-21T00:00:00Z", **run)
            found = somebody.doctor().get("approvers", [])
            assert [problem.casefold().startswith(never) for problem in found] == [True] * is_found
        github.people["carol"] = "write"
        github.changed[path] = ("bob", "2026-11-22T00:00:00Z")
        config = root / ".github" / "agent-config.yml"
        config.write_text(config.read_text().replace("  - 'bob'", "  - 'bob'\n  - 'carol'"))
        somebody.setup()
        assert "approvers" not in somebody.doctor()


def test_it_only_reads(clone: Clone) -> None:
    clone.doctor()
    assert {method for method, _ in clone.github.requests} == {"GET"}
    assert not [path for _, path in clone.github.requests if "/labels" in path], "no issue is the gate here"


def _gate(github: FullGitHub) -> dict[str, Any]:
    return github.environments["agent-approval"]


def _rule(github: FullGitHub, kind: str) -> Any:
    return next(rule for rule in github.rules if rule["type"] == kind)


def _without(github: FullGitHub, kind: str) -> None:
    github.rules = [rule for rule in github.rules if rule["type"] != kind]


def _wait(github: FullGitHub) -> None:
    _gate(github)["protection_rules"].append({"id": 3, "node_id": "T", "type": "wait_timer", "wait_timer": 60})


def _outsider(github: FullGitHub) -> None:
    _gate(github)["protection_rules"][1]["reviewers"].append({"type": "User", "reviewer": shapes.user("mallory")})


LOOSENED: dict[str, tuple[Callable[[FullGitHub], Any], str, str]] = {
    "gate removed": (lambda g: g.environments.pop("agent-approval"), "gate-environment", "does not exist"),
    "act removed": (lambda g: g.environments.pop("agent-act"), "act-environment", "does not exist"),
    "self-review": (
        lambda g: _gate(g)["protection_rules"][1].update(prevent_self_review=False),
        "gate-environment",
        "self-review",
    ),
    "no reviewers": (lambda g: _gate(g)["protection_rules"].pop(1), "gate-environment", "no required reviewers"),
    "an outsider reviews": (_outsider, "gate-environment", "mallory may approve"),
    "every branch": (lambda g: _gate(g).update(deployment_branch_policy=None), "gate-environment", "every branch"),
    "another branch": (lambda g: g.branch_policies["agent-act"].append("dev"), "act-environment", "[main, dev]"),
    "a tag": (lambda g: g.branch_policies["agent-approval"].append("tag:v*"), "gate-environment", "tag:v*"),
    "bypass of act": (
        lambda g: g.environments["agent-act"].update(can_admins_bypass=True),
        "act-environment",
        "administrators can bypass it",
    ),
    "a wait longer than the plan": (_wait, "gate-environment", "waits 60 minutes"),
    "a secret before the approval": (
        lambda g: g.environment_secrets.update({"agent-approval": ["AGENT_ACT_TOKEN"]}),
        "gate-environment",
        "AGENT_ACT_TOKEN",
    ),
    "a secret for every job": (
        lambda g: g.secrets.append("AGENT_ACT_TOKEN"),
        "secrets",
        "is in the repository's secrets",
    ),
    "a secret of the organisation": (
        lambda g: g.organization_secrets.append("AGENT_ACT_TOKEN"),
        "secrets",
        "is in the organisation's secrets",
    ),
    "a secret that is a variable": (
        lambda g: g.variables.update(AGENT_ACT_TOKEN="hunter2"),
        "secrets",
        "AGENT_ACT_TOKEN is a variable",
    ),
    "the backend's key that is a variable": (
        lambda g: g.variables.update(AIMGENTIX_API_KEY="hunter2"),
        "secrets",
        "AIMGENTIX_API_KEY is a variable",
    ),
    "a backend without a key": (
        lambda g: g.variables.update(AIMGENTIX_API_URL="https://audit.example.com"),
        "secrets",
        "no secret AIMGENTIX_API_KEY",
    ),
    "a backend without an address": (
        lambda g: g.variables.update(AIMGENTIX_API_URL="audit.example.com"),
        "secrets",
        "AIMGENTIX_API_URL is audit.example.com, not an address",
    ),
    "writing tokens": (
        lambda g: g.token_permissions.update(default_workflow_permissions="write"),
        "token-permissions",
        "may write",
    ),
    "approving jobs": (
        lambda g: g.token_permissions.update(can_approve_pull_request_reviews=True),
        "token-permissions",
        "approve pull requests",
    ),
    "unpinned actions": (
        lambda g: g.actions_permissions.update(sha_pinning_required=False),
        "pinned-actions",
        "not pinned",
    ),
    "no actions": (lambda g: g.actions_permissions.update(enabled=False), "pinned-actions", "is off"),
    "a sleeping workflow": (
        lambda g: g.workflows.update({WORKFLOW: "disabled_inactivity"}),
        "workflow",
        "disabled_inactivity",
    ),
    "a sleeping report": (
        lambda g: g.workflows.update({"agent-report.yml": "disabled_inactivity"}),
        "weekly-report",
        "the workflow agent-report.yml is disabled_inactivity",
    ),
    "no workflow": (lambda g: g.workflows.clear(), "workflow", "GitHub knows no workflow"),
    "pushes": (lambda g: _without(g, "pull_request"), "default-branch", "without a pull request"),
    "no code owners' review": (
        lambda g: _rule(g, "pull_request")["parameters"].update(require_code_owner_review=False),
        "default-branch",
        "without a review by code owners",
    ),
    "no approval": (
        lambda g: _rule(g, "pull_request")["parameters"].update(required_approving_review_count=0),
        "default-branch",
        "main takes pull requests without an approval",
    ),
    "stale approvals": (
        lambda g: _rule(g, "pull_request")["parameters"].update(dismiss_stale_reviews_on_push=False),
        "default-branch",
        "stays when something else is pushed to it",
    ),
    "one's own last push": (
        lambda g: _rule(g, "pull_request")["parameters"].update(require_last_push_approval=False),
        "default-branch",
        "whoever pushed last to a pull request to main may be the one who approves it",
    ),
    "no checks": (lambda g: _without(g, "required_status_checks"), "default-branch", "Check, lint, test"),
    "force pushes": (lambda g: _without(g, "non_fast_forward"), "default-branch", "force pushes"),
    "a bypass list": (
        lambda g: g.bypass_actors.append({"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}),
        "default-branch",
        "has 1 on its bypass list",
    ),
    "a broken owner": (
        lambda g: setattr(g, "codeowners_errors", [{"line": 3, "kind": "Unknown owner"}]),
        "codeowners",
        "line 3: Unknown owner",
    ),
    "no owners": (lambda g: setattr(g, "codeowners_errors", None), "codeowners", "finds no CODEOWNERS"),
    "the kill switch": (lambda g: g.variables.update(AGENT_DISABLED="true"), "kill-switch", "AGENT_DISABLED is 'true'"),
    "the organisation's kill switch": (
        lambda g: g.organization_variables.update(AGENT_DISABLED="maybe"),
        "kill-switch",
        "neither on nor off",
    ),
    "the organisation's kill switch, overruled": (
        lambda g: (g.organization_variables.update(AGENT_DISABLED="true"), g.variables.update(AGENT_DISABLED="false")),
        "kill-switch",
        "the organisation's AGENT_DISABLED is true, and the repository's, false, hides it",
    ),
    "the kill switch of one environment": (
        lambda g: g.environment_variables.update({"agent-act": {"AGENT_DISABLED": "true"}}),
        "kill-switch",
        "AGENT_DISABLED is 'true' (--env agent-act)",
    ),
    "the kill switch after a page of variables": (
        lambda g: g.variables.update({**{f"A{number:02}": "x" for number in range(40)}, "AGENT_DISABLED": "true"}),
        "kill-switch",
        "AGENT_DISABLED is 'true'",
    ),
    "a hidden kill switch": (
        lambda g: g.environment_variables.update({"agent-act": {"AGENT_DISABLED": "false"}}),
        "kill-switch",
        "hides the repository's variable",
    ),
    "an approver who left": (lambda g: g.people.pop("bob"), "approvers", "no user of this name"),
    "a team without members": (lambda g: setattr(g, "members", 0), "approvers", "has no members"),
    "a team without access": (lambda g: g.teams.update(sre=False), "approvers", "no access"),
    "no longer public": (lambda g: setattr(g, "visibility", "private"), "plan", "repository_plan is public"),
    "another name": (lambda g: setattr(g, "response_full_name", "acme/renamed"), "plan", "this is acme/renamed"),
}


@pytest.mark.threat("T13", "T21", "T22", "T26")
@pytest.mark.parametrize("name", LOOSENED)
def test_whatever_somebody_loosens_is_named(clone: Clone, name: str) -> None:
    loosen, check, problem = LOOSENED[name]
    assert clone.doctor() == {}
    loosen(clone.github)
    found = clone.doctor()
    assert check in found
    assert any(problem in each for each in found[check]), found


def test_every_check_can_turn_red() -> None:
    local = {"policy", "repository-check", "issue-gate"}  # the last: test_settings_issue_gate.py
    local.add("execution-protections")  # test_execution_protections.py
    assert {check for _, check, _ in LOOSENED.values()} | local == set(checks.CHECKS)


def test_classic_branch_protection_counts_too(clone: Clone) -> None:
    clone.github.rules = []
    clone.github.branch_protection = {
        "url": "https://api.github.com/repos/acme/checkout-restart/branches/main/protection",
        "required_pull_request_reviews": {
            "dismiss_stale_reviews": True,
            "require_code_owner_reviews": True,
            "required_approving_review_count": 1,
            "require_last_push_approval": True,
        },
        "required_status_checks": {"contexts": ["Check, lint, test"], "checks": []},
        "enforce_admins": {"url": "https://api.github.com/x", "enabled": True},
        "allow_force_pushes": {"enabled": False},
    }
    assert clone.doctor() == {}
    for part, inner, opened, said in (
        ("allow_force_pushes", "enabled", True, "main takes force pushes"),
        (
            "required_status_checks",
            "contexts",
            [],
            "main takes pull requests while the check 'Check, lint, test' fails",
        ),
    ):
        kept = dict(clone.github.branch_protection[part])
        clone.github.branch_protection[part][inner] = opened
        assert clone.doctor() == {"default-branch": [said]}
        clone.github.branch_protection[part] = kept
    clone.github.branch_protection["enforce_admins"]["enabled"] = False
    assert clone.doctor() == {"default-branch": ["administrators can go around the protection of main"]}
    reviews = clone.github.branch_protection["required_pull_request_reviews"]
    whole = dict(reviews)
    other: Any
    for key, other, problem in (
        ("required_approving_review_count", 0, "main takes pull requests without an approval"),
        ("dismiss_stale_reviews", False, "stays when something else is pushed to it"),
        ("require_last_push_approval", False, "whoever pushed last to a pull request to main"),
        ("bypass_pull_request_allowances", {"users": [{"login": "mallory"}]}, "some may push to main without"),
    ):
        reviews[key] = other
        assert any(problem in each for each in clone.doctor()["default-branch"]), key
        reviews.clear()
        reviews.update(whole)
    reviews["require_code_owner_reviews"] = False
    assert "main takes pull requests without a review by code owners" in clone.doctor()["default-branch"]


def test_what_the_token_may_not_read_is_open_and_says_so(clone: Clone) -> None:
    clone.github.administrator = False
    found = clone.doctor()
    assert "HTTP 403" in found["token-permissions"][0]
    assert {name: [each.partition(" can't be read: ")[0] for each in listed] for name, listed in found.items()} == {
        "secrets": [
            "the names of the repository's secrets",
            "the names of the organisation's secrets",
            "the repository's variables",
        ],
        "token-permissions": ["the default permissions of the jobs' token"],
        "pinned-actions": ["which actions may run"],
        "execution-protections": ["who and what may start the workflows"],
        "kill-switch": ["the variable AGENT_DISABLED"],
    }


def test_whatever_cannot_be_read_keeps_its_check_from_being_in_order(rendered_whole: Path) -> None:
    """What nobody could look at is not in order: each part of what is seen, one after another."""
    settings, hidden = config.load(rendered_whole), Unreadable(403, "HTTP 403")
    places = {**settings.every_environment(1), "agent-notify": ("AGENT_NOTIFY_URLS",)}
    known = Local(REPOSITORY, settings.approvers, 60, "public", (), None, "", "", environments=places, notify=True)
    with settings_world.fresh() as github:
        somebody = Clone(rendered_whole, github)
        github.variables["AGENT_UPDATE_APP"] = "Iv1.app"
        somebody.setup()
        found = observe(access.transport(somebody.environ()), REPOSITORY, settings)
    more = {**found.gate.environments, "agent-notify": Environment({"name": "agent-notify"})}
    seen = replace(found, gate=replace(found.gate, environments=more))
    assert "agent-update" in more and "agent-approval" in more

    def unreadable(**changes: object) -> list[str]:
        results = checks.check_all(replace(seen, **changes), known)  # type: ignore[arg-type]
        return [each.name for each in results if checks.State.UNREADABLE in {item.state for item in each.findings}]

    assert unreadable() == []
    for part, names in {
        "secrets": ["secrets"],
        "organization_secrets": ["secrets"],
        "variables": ["secrets", "kill-switch"],
        "token": ["token-permissions"],
        "actions": ["pinned-actions"],
        "workflow_state": ["workflow"],
        "report_state": ["weekly-report"],
        "codeowners_errors": ["codeowners"],
        "bypass": ["default-branch"],
        "schedule_actor": ["approvers"],
    }.items():
        assert unreadable(**{part: hidden}) == names
    assert unreadable(rules=hidden, protection=hidden) == ["default-branch"]
    assert unreadable(bypass={"default branch": None}) == ["default-branch"]
    assert unreadable(gate=replace(seen.gate, protections=hidden)) == ["execution-protections"]
    for name, place in more.items():
        for part, wanted in (("secrets", "secrets"), ("variables", "kill-switch")):
            others = {**more, name: replace(place, **{part: hidden})}  # type: ignore[arg-type]
            is_gate = (part, name) == ("secrets", "agent-approval")
            expected = ["gate-environment", "secrets"] if is_gate else [wanted]
            assert unreadable(gate=replace(seen.gate, environments=others)) == expected, name
    assert checks.Result("", "", (checks.OpenItem("", "", checks.State.UNREADABLE),)).state is checks.State.UNREADABLE


@pytest.mark.parametrize(
    ("visibility", "plan", "words"),
    [
        ("private", "free", "private repository of an organisation, plan free has no required reviewers"),
        ("private", "team", "private repository of an organisation, plan team has no required reviewers"),
        ("private", "enterprise", "repository_plan is public"),
        ("internal", None, "repository_plan is public"),
    ],
)
def test_it_knows_what_each_plan_allows(clone: Clone, visibility: str, plan: str | None, words: str) -> None:
    clone.github.visibility, clone.github.plan = visibility, plan
    assert any(words in problem for problem in clone.doctor()["plan"])


@pytest.mark.parametrize(
    ("visibility", "plan", "answer", "expected"),
    [
        ("public", "free", "public", github_plans.Protection.REVIEWERS),
        ("public", None, None, github_plans.Protection.REVIEWERS),
        ("internal", None, "public", github_plans.Protection.REVIEWERS),
        ("private", "enterprise", "private-free", github_plans.Protection.REVIEWERS),
        ("private", "pro", "private-enterprise", github_plans.Protection.BRANCHES),
        ("private", "team", "private-enterprise", github_plans.Protection.BRANCHES),
        ("private", "free", "private-enterprise", github_plans.Protection.NOTHING),
        ("private", None, "private-enterprise", github_plans.Protection.REVIEWERS),
        ("private", None, "private-free", github_plans.Protection.UNKNOWN),
        ("private", "of tomorrow", "public", github_plans.Protection.UNKNOWN),
    ],
)
def test_plans(visibility: str, plan: str | None, answer: str | None, expected: github_plans.Protection) -> None:
    seen = Repository(REPOSITORY, "main", visibility, "Organization", plan, True)
    assert github_plans.protection(seen, answer) is expected


@pytest.mark.parametrize(
    ("visibility", "plan", "fitting"),
    [
        ("public", "free", ("public",)),
        ("internal", None, ("private-enterprise",)),
        ("private", "pro", ("private-team",)),
        ("private", "team", ("private-team",)),
        ("private", "free", ("private-free",)),
        ("private", None, ("private-enterprise", "private-team", "private-free")),
    ],
)
def test_answers_that_fit_the_plan(visibility: str, plan: str | None, fitting: tuple[str, ...]) -> None:
    seen = Repository(REPOSITORY, "main", visibility, "Organization", plan, True)
    assert github_plans.fitting_answers(seen) == fitting
    if "public" not in fitting and "private-enterprise" not in fitting:
        assert f"python agent_runner.py update --set repository_plan={fitting[0]})" in github_plans.choices(seen)


def test_a_variable_of_an_environment_that_hides_a_sealed_one_is_found(own: Clone) -> None:
    config = own.root / ".github" / "agent-config.yml"
    config.write_text(config.read_text().replace("act_variables: []", "act_variables: ['CLUSTER']"))
    own.setup()
    before = own.doctor().get("act-environment", [])
    own.github.environment_variables = {"agent-act": {"REGION": "eu"}, "agent-approval": {"CLUSTER": "x"}}
    assert own.doctor().get("act-environment", []) == before == []
    own.github.environment_variables["agent-act"]["CLUSTER"] = "staging"
    (problem,) = own.doctor()["act-environment"]
    assert (
        problem.startswith("environment agent-act: its variable CLUSTER hides the repository's") and "GATE16" in problem
    )
    assert "gh variable delete CLUSTER --env agent-act" in own.command("doctor").stdout


def test_a_lonely_approver_is_a_note_and_nothing_open(own: Clone) -> None:
    for name in (".github/agent-config.yml", ".copier-answers.yml"):
        path = own.root / name
        path.write_text(path.read_text().replace("  - 'acme/sre'\n", "").replace("bob,acme/sre", "bob"))
    own.setup(reviewers=("bob",))
    assert own.doctor() == {}
    done = own.command("doctor")
    assert (done.returncode, "note: bob is the only approver" in done.stdout) == (0, True)


def test_the_files_of_the_repository_are_looked_at(own: Clone) -> None:
    (own.root / "agent_runtime" / "gate" / "checks.py").write_text("def check_run(*_): ...\n")
    policy = own.root / ".github" / "agent-policies" / "checkout-restart.yml"
    policy.write_text('name: x\nversion: 1\nallowed_actions:\n  - type: "*"\n    resources: ["*"]\n')
    owners = own.root / ".github" / "CODEOWNERS"
    owners.write_text(owners.read_text() + "/agent_runtime/\n")
    found = own.doctor()
    assert any("CHK004" in problem and "checks.py" in problem for problem in found["repository-check"])
    assert "allowed_actions[0] of the policy allows every action on every resource" in found["policy"]
    assert found["codeowners"][0].startswith(".github/CODEOWNERS gives no owner to agent_runtime/gate/checks.py, ")
    for unowned in ("agent_runtime/gate/policy.py", "sdk/aimgentix/redact.py", "requirements-dev.lock", "helpers.py"):
        (own.root / unowned).touch()
        owners.write_text(f"* @bob\n/{unowned}\n")
        assert own.doctor()["codeowners"] == [f".github/CODEOWNERS gives no owner to {unowned}"]
    owners.write_text(f"* @bob\n/{policy.relative_to(own.root)}\n")
    assert own.doctor()["codeowners"] == [f".github/CODEOWNERS gives no owner to {policy.relative_to(own.root)}"]
    owners.write_text("/docs/ @bob\n")
    assert " more" in own.doctor()["codeowners"][0]
    (own.root / "services.yml").write_text("services: {}\n")
    owners.write_text("* @bob\n/services.yml\n")
    assert own.doctor()["codeowners"] == [".github/CODEOWNERS gives no owner to services.yml"], (
        "its addresses get the token"
    )
    policy.write_text("nonsense: 1\n")
    owners.unlink()
    found = own.doctor()
    assert found["policy"] == ["there is no policy that can be read"]
    assert ".github/CODEOWNERS is missing" in found["codeowners"]


def test_questions_are_asked_until_somebody_ticks_them(own: Clone) -> None:
    before = own.command("doctor")
    assert before.returncode == 0
    asked = [line for line in before.stdout.splitlines() if line.startswith("  ? ")]
    assert len(asked) > 10
    path = own.root / "PRODUCTION_CHECKLIST.md"
    path.write_text(path.read_text().replace("- [ ]", "- [x]"))
    after = own.command("doctor")
    assert "?" not in after.stdout and "0 questions are not answered" in after.stdout
    document = json.loads(own.command("doctor", "--json").stdout)
    assert document["closed"] is True
    assert all(question["answered"] for question in document["questions"])
    path.unlink()
    assert own.doctor() == {
        "repository-check": ["PRODUCTION_CHECKLIST.md is missing, so nobody is asked its questions"]
    }


def test_the_checklist_names_every_check_and_no_other(rendered: Path) -> None:
    items = checklist.parse((rendered / "PRODUCTION_CHECKLIST.md").read_text())
    named = [name for item in items for name in item.checks]
    assert sorted(named) == sorted(checks.CHECKS)


def test_every_line_of_the_checklist_says_whose_it_is_and_how(rendered: Path) -> None:
    """Both ways: what doctor checks is marked as such, and nothing else is; the rest is what doctor asks."""
    text = (rendered / "PRODUCTION_CHECKLIST.md").read_text()
    items = checklist.parse(text)
    assert [item.section for item in items if item.section] == [item.section for item in items]
    assert {item.section for item in items} == {"Security", "Testing", "Documentation", "Monitoring"}
    for item in items:
        assert item.owner == ("checked by doctor" if item.checks else "yours"), item.text
        assert re.search(r"\. How: .+\.$", item.text), item.text
    assert text.count("\n- [ ] ") == len(items)
    with settings_world.fresh() as github:
        document = json.loads(Clone(rendered, github).command("doctor", "--json").stdout)
    assert [each["text"] for each in document["questions"]] == [item.text for item in items if item.owner == "yours"]
    assert {each["name"] for each in document["checks"]} == {name for item in items for name in item.checks}


def test_every_finding_says_how_to_fix_it(rendered: Path) -> None:
    with settings_world.fresh() as github:
        done = Clone(rendered, github).command("doctor", "--json")
    findings = [each for check in json.loads(done.stdout)["checks"] for each in check["findings"]]
    assert done.returncode == 3 and len(findings) > 5
    assert all(each["fix"] and each["problem"] for each in findings)


def test_commands_to_fix_stay_in_one_piece(rendered: Path) -> None:
    with settings_world.fresh() as github:
        done = Clone(rendered, github).command("doctor", COLUMNS="60")
    assert "-f default_workflow_permissions=read -F can_approve_pull_request_reviews=false\n" in done.stdout


def test_colour_is_for_terminals_that_want_it(clone: Clone) -> None:
    assert "\033" not in clone.command("doctor").stdout
    assert "\033[32mok" in _on_a_terminal(clone)
    assert "\033" not in _on_a_terminal(clone, NO_COLOR="1")
    assert "\033" not in _on_a_terminal(clone, TERM="dumb")


def _on_a_terminal(clone: Clone, **environ: str) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [interpreter.python(), "-B", "agent_runner.py", "doctor"],
        cwd=clone.root,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", **clone.environ(), **environ},
        stdout=theirs,
        stdin=subprocess.DEVNULL,
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            said += part
    os.close(ours)
    assert process.returncode == 0
    return said.decode()


def test_text_from_github_cannot_steer_the_terminal(clone: Clone) -> None:
    clone.github.variables["AGENT_DISABLED"] = "\033[2Jyes\r\u202e"
    done = clone.command("doctor")
    assert "\033" not in done.stdout and "\u202e" not in done.stdout and "\r" not in done.stdout
    assert done.returncode == 3


def test_what_it_cannot_use_is_bad_input(clone: Clone, own: Clone) -> None:
    done = clone.command("doctor", GH_TOKEN="")
    assert (done.returncode, "SET001" in done.stderr) == (2, True)
    done = clone.command("doctor", GH_TOKEN="ghp_foreign")
    assert (done.returncode, "SET001" in done.stderr, "ghp_foreign" in done.stderr) == (2, True, False)
    for command in ("doctor", "report"):
        done = clone.command(command, "--repo", "acme/another")
        assert (done.returncode, "SET002" in done.stderr) == (2, True)
    (own.root / ".github" / "agent-config.yml").unlink()
    done = own.command("doctor")
    assert (done.returncode, "INP007" in done.stderr) == (2, True)


def test_github_that_does_not_answer_is_refused(clone: Clone) -> None:
    clone.github.visibility = None  # type: ignore[assignment]
    clone.github.default_branch = None  # type: ignore[assignment]
    with pytest.raises(codes.GateRefused) as refused:
        clone.doctor()
    assert refused.value.code == GITHUB_SILENT
    assert TOKEN not in refused.value.line()


@pytest.mark.parametrize(
    ("pattern", "path", "owned"),
    [
        ("*", "a/b.py", True),
        ("*.py", "a/b.py", True),
        ("/*.py", "a/b.py", False),
        ("/.github/", ".github/workflows/x.yml", True),
        (".github/", ".github/CODEOWNERS", True),
        ("github/", ".github/CODEOWNERS", False),
        ("/docs", "docs/x.md", True),
        ("docs/*", "docs/x.md", True),
        ("docs/*", "docs/deep/x.md", False),
        ("docs/**", "docs/deep/x.md", True),
        ("**/checks.py", "agent_runtime/gate/checks.py", True),
        ("**/checks.py", "checks.py", True),
        ("agent_runtime/*.py", "x/agent_runtime/gate/checks.py", False),
        ("agent_runner.py", "sub/agent_runner.py", True),
        ("/agent_runner.py", "agent_runner.pyc", False),
        ("a.c", "abc", False),
    ],
)
def test_owners_by_pattern(pattern: str, path: str, owned: bool) -> None:
    assert codeowners.owners(f"# all\n{pattern} @bob # why\n", path) == (("@bob",) if owned else ())


def test_the_last_pattern_counts_and_may_name_nobody() -> None:
    text = "* @all\n/sdk/ @acme/sre bob@example.com\n/sdk/open/\n"
    assert codeowners.owners(text, "x") == ("@all",)
    assert codeowners.owners(text, "sdk/x") == ("@acme/sre", "bob@example.com")
    assert codeowners.owners(text, "sdk/open/x") == ()


@given(st.text(), st.text())
def test_any_text_is_a_codeowners_file_and_a_checklist(text: str, path: str) -> None:
    codeowners.owners(text, path)
    for item in checklist.parse(text):
        assert item.text


class TestTwoApprovals:
    """A policy that asks for two."""

    @pytest.fixture
    def asking(self, rendered: Path, tmp_path: Path) -> Iterator[Clone]:
        shutil.copytree(rendered, tmp_path / "clone")
        with settings_world.fresh() as github:
            github.people["carol"] = "write"
            asking = Clone(tmp_path / "clone", github)
            config = asking.root / ".github" / "agent-config.yml"
            config.write_text(config.read_text().replace("acme/sre", "carol"))
            self.ask(asking, "{type: restart, approvals: 2, approvers: [Bob, carol]}")
            yield asking

    @staticmethod
    def ask(clone: Clone, rule: str) -> None:
        policy = next((clone.root / ".github" / "agent-policies").glob("*.yml"))
        policy.write_text(f"name: p\nversion: 1\nallowed_actions:\n  - {rule}\n")

    def test_setup_creates_an_environment_for_each_and_a_second_run_changes_nothing(self, asking: Clone) -> None:
        asking.setup()
        first, second = (asking.github.environments[name] for name in ("agent-approval", "agent-approval-second"))
        assert planning.current_body(first) == planning.current_body(second)
        assert asking.github.branch_policies["agent-approval-second"] == ["main"]
        asking.github.requests.clear()
        assert "nothing to change" in asking.setup() and writes(asking.github) == []
        assert "gate-environment" not in asking.doctor() and "policy" not in asking.doctor()

    def test_doctor_finds_the_second_one_missing_or_open(self, asking: Clone) -> None:
        asking.setup()
        gate = asking.github.environments["agent-approval-second"]
        gate["can_admins_bypass"] = True
        assert asking.doctor()["gate-environment"] == [
            "environment agent-approval-second: administrators can bypass it"
        ]
        del asking.github.environments["agent-approval-second"]
        (problem,) = asking.doctor()["gate-environment"]
        assert problem.startswith("environment agent-approval-second: it does not exist")
        self.ask(asking, "{type: restart}")
        assert "gate-environment" not in asking.doctor()

    def test_doctor_finds_a_team_of_one_for_two_approvals(self, asking: Clone) -> None:
        config = asking.root / ".github" / "agent-config.yml"
        config.write_text(config.read_text().replace("'bob'", "'acme/sre'").replace("  - 'carol'\n", ""))
        self.ask(asking, "{type: restart, approvals: 2}")
        assert "policy" not in asking.doctor()
        asking.github.members = 1
        assert asking.doctor()["policy"] == [
            "the policy asks for 2 approvals by different people, and the approvers of .github/agent-config.yml are 1"
        ]

    def test_doctor_finds_whom_the_policy_names_and_github_does_not_ask(self, asking: Clone) -> None:
        asking.setup()
        self.ask(asking, "{type: restart, approvals: 2, approvers: [bob, dave]}")
        assert asking.doctor()["policy"] == [
            "allowed_actions[0] of the policy names dave, who is not among the approvers of .github/agent-config.yml",
            "allowed_actions[0] of the policy asks for 2 approvals, and 1 of the approvers of .github/agent-config.yml "
            "may give one",
        ]
