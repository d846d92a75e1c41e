"""`setup` over real HTTP against a GitHub with a state: what it sends, what it leaves alone, and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.local.codes import (
    APPROVER_UNUSABLE,
    GATE_STILL_OPEN,
    PLAN_WITHOUT_GATE,
    REPOSITORY_UNKNOWN,
    RIGHTS_MISSING,
)
from agent_runtime.local.settings import planning
from agent_runtime.local.settings.model import Approver, BranchPolicy, Environment, Gate, Repository
from support import settings_world, shapes
from support.github import FullGitHub
from support.settings_world import REPOSITORY, TOKEN, Clone, writes

BRANCHES = {"protected_branches": False, "custom_branch_policies": True}
BOB = {"type": "User", "id": shapes.number("bob")}
SRE = {"type": "Team", "id": shapes.number("acme/sre")}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered repository; tests don't change it."""
    return settings_world.render(tmp_path_factory.mktemp("rendered"))


@pytest.fixture
def clone(root: Path) -> Iterator[Clone]:
    """A fresh repository on GitHub."""
    with settings_world.fresh() as github:
        yield Clone(root, github)


def test_both_environments_are_created_as_a_gate_and_a_second_run_changes_nothing(clone: Clone) -> None:
    said = clone.setup()
    assert "the gate is closed" in said and "nothing to change" not in said
    gate, act = clone.github.environments["agent-approval"], clone.github.environments["agent-act"]
    assert planning.current_body(gate) == {
        "wait_timer": 0,
        "prevent_self_review": True,
        "reviewers": [SRE, BOB],
        "can_admins_bypass": False,
        "deployment_branch_policy": BRANCHES,
    }
    assert planning.current_body(act) == {
        "wait_timer": 0,
        "prevent_self_review": False,
        "reviewers": [],
        "can_admins_bypass": False,
        "deployment_branch_policy": BRANCHES,
    }
    assert clone.github.branch_policies == {"agent-approval": ["main"], "agent-act": ["main"]}
    assert writes(clone.github) == [
        "PUT agent-approval",
        "POST agent-approval/deployment-branch-policies",
        "PUT agent-act",
        "POST agent-act/deployment-branch-policies",
    ]
    clone.github.requests.clear()
    assert "nothing to change" in clone.setup()
    assert writes(clone.github) == []


def test_a_dry_run_prints_the_exact_requests_and_sends_none(clone: Clone) -> None:
    said = clone.setup(dry_run=True, wait_minutes=5)
    assert writes(clone.github) == []
    assert clone.github.environments == {}
    first = said[said.index("\n{") : said.index("\n}") + 2]
    assert json.loads(first)["wait_timer"] == 5
    assert [line.split(" ")[0] for line in said.splitlines() if line.startswith(("PUT", "POST", "DELETE"))] == [
        "PUT",
        "POST",
        "PUT",
        "POST",
    ]
    assert "4 requests would be sent" in said
    clone.setup(wait_minutes=5)
    assert "nothing to change" in clone.setup(dry_run=True)


def test_the_command_line_says_the_same(clone: Clone) -> None:
    done = clone.command("setup", "--dry-run", "--reviewer", "alice", "--reviewer", "bob")
    assert (done.returncode, done.stderr) == (0, "")
    assert "PUT /repos/acme/checkout-restart/environments/agent-approval" in done.stdout
    assert str(shapes.number("alice")) in done.stdout
    done = clone.command("setup", "--wait-timer", "soon")
    assert (done.returncode, "INP006" in done.stderr) == (2, True)
    done = clone.command("setup")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("loosen", "fixed"),
    [
        (lambda settings: settings.update(can_admins_bypass=True), "can_admins_bypass"),
        (lambda settings: settings["protection_rules"][1].update(prevent_self_review=False), "prevent_self_review"),
        (lambda settings: settings["protection_rules"].pop(1), "reviewers"),
        (
            lambda settings: settings["protection_rules"][1]["reviewers"].append(
                {"type": "User", "reviewer": shapes.user("mallory")}
            ),
            "reviewers",
        ),
        (lambda settings: settings.update(deployment_branch_policy=None), "deployment_branch_policy"),
        (
            lambda settings: settings.update(
                deployment_branch_policy={"protected_branches": True, "custom_branch_policies": False}
            ),
            "deployment_branch_policy",
        ),
    ],
)
def test_a_loosened_setting_is_fixed_with_one_request(clone: Clone, loosen: Any, fixed: str) -> None:
    clone.setup()
    clone.github.requests.clear()
    loosen(clone.github.environments["agent-approval"])
    said = clone.setup()
    assert writes(clone.github) == ["PUT agent-approval"]
    assert fixed in said
    assert "nothing to change" in clone.setup()


def test_what_protects_more_stays(clone: Clone) -> None:
    clone.setup(wait_minutes=10)
    act = clone.github.environments["agent-act"]
    act["can_admins_bypass"] = True
    act["protection_rules"] = shapes.protection_rules(
        [{"type": "User", "reviewer": shapes.user("alice")}], prevent_self_review=True, wait_timer=3, branches=True
    )
    clone.setup()
    after = planning.current_body(clone.github.environments["agent-act"])
    assert after == {
        "wait_timer": 3,
        "prevent_self_review": True,
        "reviewers": [{"type": "User", "id": shapes.number("alice")}],
        "can_admins_bypass": False,
        "deployment_branch_policy": BRANCHES,
    }
    gate = planning.current_body(clone.github.environments["agent-approval"])
    assert gate is not None and gate["wait_timer"] == 10


def test_other_branches_are_named_and_removed_only_when_readable(clone: Clone) -> None:
    clone.setup()
    clone.github.branch_policies["agent-act"] = ["release/*", "main", "tag:main"]
    clone.github.requests.clear()
    with pytest.raises(codes.GateRefused) as refused:
        clone.setup()
    assert refused.value.code == GATE_STILL_OPEN
    assert "release/*" in refused.value.message and "tag:main" in refused.value.message
    assert writes(clone.github) == []
    assert "--exact" in clone.setup(dry_run=True)
    clone.setup(exact=True)
    assert clone.github.branch_policies["agent-act"] == ["main"]
    assert [line.split("/")[0] for line in writes(clone.github)] == ["DELETE agent-act"] * 2


def test_a_setting_that_github_does_not_take_is_not_a_success(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FullGitHub._put_environment

    def forgetful(github: FullGitHub, name: str, given_name: str, body: Any) -> Any:
        return whole(github, name, given_name, {**body, "can_admins_bypass": True})

    monkeypatch.setattr(FullGitHub, "_put_environment", forgetful)
    with pytest.raises(codes.GateRefused) as refused:
        clone.setup()
    assert refused.value.code == GATE_STILL_OPEN
    assert "administrators can bypass" in refused.value.message


@pytest.mark.parametrize("plan", ["free", "pro", "team"])
def test_a_private_repository_without_reviewers_learns_what_to_choose(clone: Clone, plan: str) -> None:
    clone.github.visibility, clone.github.plan = "private", plan
    with pytest.raises(codes.GateRefused) as refused:
        clone.setup()
    assert refused.value.code == PLAN_WITHOUT_GATE
    assert f"plan {plan}" in refused.value.message
    assert "make the repository public" in refused.value.message and "Enterprise" in refused.value.message
    assert writes(clone.github) == []


@pytest.mark.parametrize(("plan", "status"), [("free", 404), ("team", 422)])
def test_a_plan_that_github_does_not_show_is_named_in_its_refusal(
    clone: Clone, plan: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.github.visibility, clone.github.plan = "private", plan
    monkeypatch.setattr(
        shapes, "organization", lambda login, _plan, reported=shapes.organization: reported(login, None)
    )
    with pytest.raises(codes.GateRefused) as refused:
        clone.setup()
    assert refused.value.code == PLAN_WITHOUT_GATE
    assert f"HTTP {status}" in refused.value.message and "make the repository public" in refused.value.message


def test_an_enterprise_repository_is_protected_like_a_public_one(clone: Clone) -> None:
    clone.github.visibility, clone.github.plan = "private", "enterprise"
    assert "the gate is closed" in clone.setup()


def test_without_administrator_rights_nothing_is_sent(clone: Clone) -> None:
    clone.github.administrator = False
    with pytest.raises(codes.GateRefused) as refused:
        clone.setup()
    assert refused.value.code == RIGHTS_MISSING
    assert writes(clone.github) == []


def test_missing_and_foreign_tokens_are_reported(clone: Clone) -> None:
    done = clone.command("setup", GH_TOKEN="")
    assert (done.returncode, "SET001" in done.stderr, "GH_TOKEN" in done.stderr) == (2, True, True)
    done = clone.command("setup", GH_TOKEN="ghp_foreign")
    assert (done.returncode, "SET001" in done.stderr, "401" in done.stderr) == (2, True, True)
    assert "ghp_foreign" not in done.stderr + done.stdout
    done = clone.command("setup", GH_TOKEN="", GITHUB_TOKEN=TOKEN)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "name", ["acme", "acme/", "acme/a/b", "acme/..", "-acme/x", "acme/x?y", "acme/x y", "acme/x\n"]
)
def test_a_repository_that_is_none_is_bad_input(clone: Clone, name: str) -> None:
    with pytest.raises(codes.BadInput) as refused:
        clone.setup(repository=name)
    assert refused.value.code == codes.USAGE
    assert clone.github.requests == []


def test_a_repository_that_is_not_there_is_bad_input(clone: Clone) -> None:
    with pytest.raises(codes.BadInput) as refused:
        clone.setup(repository="acme/another")
    assert refused.value.code == REPOSITORY_UNKNOWN


@pytest.mark.parametrize(
    ("reviewers", "problem"),
    [
        (("nobody-of-this-name",), "no user of this name"),
        (("acme",), "not a person"),
        (("outsider",), "may not read the repository"),
        (("acme/ghosts",), "no such team"),
        (("acme/outsiders",), "has no access"),
        (("globex/sre",), "only teams of an organisation that owns"),
        (tuple(f"reviewer{number}" for number in range(7)), "at most 6"),
    ],
)
def test_an_approver_who_cannot_review_is_named(clone: Clone, reviewers: tuple[str, ...], problem: str) -> None:
    clone.github.people["outsider"] = "none"
    clone.github.people.update({f"reviewer{number}": "read" for number in range(7)})
    clone.github.teams["outsiders"] = False
    with pytest.raises(codes.BadInput) as refused:
        clone.setup(reviewers=reviewers)
    assert refused.value.code == APPROVER_UNUSABLE
    assert problem in refused.value.message
    assert writes(clone.github) == []


def test_a_lonely_reviewer_is_remarked(clone: Clone) -> None:
    assert "bob is the only reviewer" in clone.setup(reviewers=("bob",))
    assert "only reviewer" not in clone.setup(reviewers=("bob", "alice"))


@pytest.mark.parametrize("minutes", [-1, 43_201])
def test_a_wait_timer_out_of_range_is_bad_input(clone: Clone, minutes: int) -> None:
    with pytest.raises(codes.BadInput):
        clone.setup(wait_minutes=minutes)


def test_a_race_is_not_a_failure(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else adds the branch (303) and removes a superfluous one (404) in between."""
    whole = FullGitHub.answer

    def racing(github: FullGitHub, method: str, path: str, *rest: Any) -> Any:
        if method in ("POST", "DELETE"):
            whole(github, method, path, *rest)
        return whole(github, method, path, *rest)

    monkeypatch.setattr(FullGitHub, "answer", racing)
    assert "the gate is closed" in clone.setup()
    clone.github.branch_policies["agent-act"].append("dev")
    assert "the gate is closed" in clone.setup(exact=True)
    assert clone.github.branch_policies == {"agent-approval": ["main"], "agent-act": ["main"]}


_ids = st.integers(1, 2**40)
_reviewers = st.lists(st.tuples(st.sampled_from(["User", "Team"]), _ids), max_size=6, unique=True)
_policies = st.lists(
    st.tuples(st.sampled_from(["main", "dev", "release/*", "ma*"]), st.sampled_from(["branch", "tag"])),
    max_size=4,
    unique=True,
)


@st.composite
def _environments(draw: st.DrawFn, name: str) -> Environment:
    """Any environment that GitHub can hold, or none."""
    if draw(st.booleans()):
        return Environment(None)
    branches = draw(st.sampled_from([None, BRANCHES, {"protected_branches": True, "custom_branch_policies": False}]))
    reviewers = [_reviewer(kind, number) for kind, number in draw(_reviewers)]
    settings = dict(
        shapes.environment(REPOSITORY, name),
        can_admins_bypass=draw(st.booleans()),
        deployment_branch_policy=branches,
        protection_rules=shapes.protection_rules(
            reviewers,
            prevent_self_review=draw(st.booleans()),
            wait_timer=draw(st.integers(0, 43_200)),
            branches=bool(branches),
        ),
    )
    policies = draw(_policies) if branches == BRANCHES else []
    entries = [BranchPolicy(number, pattern, kind) for number, (pattern, kind) in enumerate(policies)]
    return Environment(settings, tuple(entries))


@given(
    _environments("agent-approval"),
    _environments("agent-act"),
    st.lists(_ids, min_size=1, max_size=6, unique=True),
    st.one_of(st.none(), st.integers(0, 43_200)),
)
def test_from_any_settings_one_run_closes_the_gate_and_the_next_finds_nothing(
    approval: Environment, act: Environment, approvers: list[int], wait_minutes: int | None
) -> None:
    seen = Gate(
        Repository(REPOSITORY, "main", "public", "Organization", None, True),
        {"agent-approval": approval, "agent-act": act},
        tuple(Approver(f"r{number}", "User", number) for number in approvers),
    )
    answers = planning.Answers("public", wait_minutes, exact=True)
    after = _applied(seen, planning.changes(answers, seen))
    assert planning.still_open(after) == ()
    assert planning.changes(answers, after).calls == ()
    # Without --exact nothing is ever removed.
    careful = planning.changes(planning.Answers("public", wait_minutes), seen)
    assert "DELETE" not in [call.method for call in careful.calls]


def _applied(seen: Gate, changes: planning.Changes) -> Gate:
    """The settings after the plan's requests."""
    environments = dict(seen.environments)
    for call in changes.calls:
        name = call.path.split("/")[5]
        before = environments[name]
        policies = before.branch_policies
        settings = before.settings
        if call.method == "DELETE":
            policies = tuple(policy for policy in policies if str(policy.id) != call.path.rpartition("/")[2])
        elif call.method == "POST":
            assert call.body == {"name": "main", "type": "branch"}
            policies = (*policies, BranchPolicy(99, "main", "branch"))
        else:
            assert call.body is not None
            settings = dict(
                shapes.environment(REPOSITORY, name),
                can_admins_bypass=call.body["can_admins_bypass"],
                deployment_branch_policy=call.body["deployment_branch_policy"],
                protection_rules=shapes.protection_rules(
                    [_reviewer(each["type"], each["id"]) for each in call.body.get("reviewers", [])],
                    prevent_self_review=call.body.get("prevent_self_review", False),
                    wait_timer=call.body.get("wait_timer", 0),
                    branches=True,
                ),
            )
        environments[name] = Environment(settings, policies)
    return Gate(seen.repository, environments, seen.approvers)


def _reviewer(kind: str, number: int) -> dict[str, Any]:
    return {"type": kind, "reviewer": {"id": number, "login": f"r{number}", "slug": f"r{number}"}}


@pytest.mark.parametrize("command", ["setup", "doctor"])
def test_an_address_of_github_enterprise_server_is_refused_before_the_token_goes_there(
    clone: Clone, command: str
) -> None:
    done = clone.command(command, GITHUB_API_URL="https://github.example.com/api/v3")
    assert (done.returncode, "RUN007: this is on github.example.com" in done.stderr) == (2, True), done.stderr
