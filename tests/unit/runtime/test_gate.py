"""Every check refuses what it is there for, with its code and a message that names it."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import checks, environment_checks
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.model import documents, plan
from agent_runtime.model.documents import Plan, Report
from agent_runtime.results import RiskLevel
from support import examples
from support.strategies import json_objects, json_values

APPROVED = plan.digest(examples.sealed())
BRANCH = "main"


def refusal(code: str, check: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """Expect `check` to refuse with `code`; return its message, which is one line without raw control characters."""
    with pytest.raises(codes.GateRefused) as caught:
        check(*arguments, **options)
    assert caught.value.code == code
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", caught.value.line())
    return caught.value.message


# GATE02, threat T8: another plan than the approved one.


def test_t8_the_approved_plan_passes() -> None:
    checks.check_digest(examples.sealed(), APPROVED)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a JSON value, containers included."""
    inner: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inner = [found for key, item in value.items() for found in leaves(item, (*path, key))]
    if isinstance(value, list):
        inner = [found for number, item in enumerate(value) for found in leaves(item, (*path, number))]
    return [path, *inner] if path else inner


REPORT = documents.plain(examples.report())
PATHS = leaves(REPORT["plan"])


def with_plan(path: tuple[Any, ...], change: Callable[[Any], Any]) -> dict[str, Any]:
    changed = copy.deepcopy(REPORT)
    place = changed["plan"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = change(place[path[-1]])
    return dict(changed)


def assert_refused(changed: dict[str, Any]) -> None:
    """Whoever edits the plan in a report gets no further than reading or the digest, whatever the edit."""
    try:
        found = documents.decode(Report, json.dumps(changed).encode(), "report")
    except codes.BadInput:
        return
    assert found.plan is not None
    assert plan.digest(found.plan) != APPROVED
    refusal(codes.GATE_DIGEST, checks.check_digest, found.plan, APPROVED)


@pytest.mark.threat("T8", "T11")
@given(st.sampled_from(PATHS), json_values)
def test_t8_any_edited_value_of_the_plan_is_refused(path: tuple[Any, ...], value: Any) -> None:
    changed = with_plan(path, lambda _: value)
    assume(plan.canonical(changed["plan"]) != plan.canonical(REPORT["plan"]))
    assert_refused(changed)


_SLIGHT: dict[type, Callable[[Any], Any]] = {
    str: lambda text: text + "0" if text else "x",
    bool: lambda value: not value,
    int: lambda number: number + 1,
    float: lambda number: number + 0.001,
    dict: lambda value: {**value, "added": 1},
    list: lambda value: [*value, "added"],
    type(None): lambda _: "added",
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_t8_the_slightest_edit_of_each_value_is_refused(path: tuple[Any, ...]) -> None:
    assert_refused(with_plan(path, lambda value: _SLIGHT[type(value)](value)))


@pytest.mark.threat("T8")
def test_t8_a_later_expiry_a_larger_number_and_a_further_step_are_refused_by_the_digest() -> None:
    for changes in (
        {"expires_at": "2026-11-22T12:00:01Z"},
        {"steps": (examples.step(parameters={"error_rate": 0.31, "requests": 241}),)},
        {"steps": (examples.step(action="delete_service"),)},
        {"steps": (examples.step(risk_level=RiskLevel.LOW),)},
        {"steps": (examples.step(), examples.step())},
        {"approvals": documents.Approvals(2, ())},
        {"variables": {"REGION": "eu-1"}},
        {"dry_run": True},
    ):
        edited = dataclasses.replace(examples.sealed(), **changes)
        message = refusal(codes.GATE_DIGEST, checks.check_digest, edited, APPROVED)
        assert APPROVED in message
        assert "on checkout" in message


@pytest.mark.parametrize("approved", ["", APPROVED.upper(), APPROVED[:12], " " + APPROVED, "\u202e" * 64, "0" * 64])
def test_t8_anything_but_the_whole_lower_case_digest_is_refused(approved: str) -> None:
    refusal(codes.GATE_DIGEST, checks.check_digest, examples.sealed(), approved)


# GATE16, threat T10: what `act` reads from outside the repository.


@pytest.mark.threat("T10")
@pytest.mark.parametrize(
    ("sealed", "seen", "said"),
    [
        ({"A": "1"}, {"A": "2"}, "A was '1' and is '2'"),
        ({"A": "prod"}, {"A": "Prod"}, "A was 'prod' and is 'Prod'"),
        ({"A": "prod"}, {"A": "prod "}, "A was 'prod' and is 'prod '"),
        ({"A": "1"}, {"A": ""}, "A was '1' and is ''"),
        ({"A": ""}, {"A": "1"}, "A was '' and is '1'"),
        ({"A": "1"}, {}, "A was '1' and is ''"),
        ({}, {"A": "1"}, "A was '' and is '1'"),
        ({"A": "1", "B": "2"}, {"A": "2", "B": "1"}, "A was '1' and is '2' in this job; B was '2' and is '1'"),
    ],
)
def test_t10_a_variable_is_refused_where_a_single_letter_of_it_is_another(
    sealed: dict[str, str], seen: dict[str, str], said: str
) -> None:
    found = examples.sealed(variables=sealed)
    checks.check_variables(found, dict(reversed(sealed.items())))
    message = refusal(codes.GATE_VARIABLES, checks.check_variables, found, seen)
    assert message.endswith(f"since the plan was sealed: {said} in this job")


# GATE03, threats T10 and T19: another run, attempt or commit.


def test_t19_the_same_run_and_attempt_pass_whoever_started_them() -> None:
    checks.check_run(examples.run(), examples.run(actor="bob", triggering_actor="carol", ref="refs/heads/x", event="x"))


@pytest.mark.threat("T10", "T19")
@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"repository": "acme/other"}, "repository is acme/other, the plan was sealed in acme/checkout-restart"),
        ({"run_id": "4712"}, "run_id is 4712, the plan was sealed in 4711"),
        ({"run_attempt": 2}, "run_attempt is 2, the plan was sealed in 1"),
        ({"sha": "0" * 40}, "sha is " + "0" * 40),
        ({"workflow": "Other"}, "workflow is Other"),
    ],
)
def test_t10_t19_another_run_attempt_or_commit_is_refused(changes: dict[str, Any], reported: str) -> None:
    assert reported in refusal(codes.GATE_RUN, checks.check_run, examples.run(), examples.run(**changes))


@pytest.mark.threat("T8", "T14", "T17b", "T19")
@pytest.mark.parametrize("attempt", [0, 2, 3])
def test_t19_a_plan_of_a_later_attempt_is_refused_in_that_attempt_too(attempt: int) -> None:
    """A click names the run: whoever read the first attempt's page would approve a plan that nobody saw."""
    again = examples.run(run_attempt=attempt)
    for check, arguments in ((checks.check_run, (again, again)), (checks.check_first_attempt, (again,))):
        message = refusal(codes.GATE_RUN, check, *arguments)
        assert f"this is attempt {attempt} of run 4711" in message
        assert "a click approves a run" in message


def test_t19_all_differences_are_reported() -> None:
    message = refusal(codes.GATE_RUN, checks.check_run, examples.run(), examples.run(run_id="1", run_attempt=3))
    assert message.count("the plan was sealed in") == 2


# GATE14, threat T15: another workflow started it, or an app that nobody named.

NAMED = ("alert-bridge[bot]", "Copilot")


@pytest.mark.threat("T15")
@pytest.mark.parametrize("login", ["github-actions[bot]", "GitHub-Actions[bot]"])
@pytest.mark.parametrize("role", ["actor", "triggering_actor"])
def test_t15_a_run_that_another_workflow_started_is_refused(role: str, login: str) -> None:
    message = refusal(codes.GATE_INITIATOR, checks.check_initiator, examples.run(**{role: login}), (*NAMED, login))
    assert message.startswith(f"{login} started this run")


@pytest.mark.threat("T15")
@pytest.mark.parametrize("login", ["other[bot]", "copilot", "alert-bridge[bot]x", "", "\u0430lice"])
@pytest.mark.parametrize("role", ["actor", "triggering_actor"])
def test_t15_an_app_that_the_policy_does_not_name_is_refused_with_what_to_add(role: str, login: str) -> None:
    message = refusal(codes.GATE_INITIATOR, checks.check_initiator, examples.run(**{role: login}), NAMED[:1])
    assert message.startswith("the app ")
    assert message.endswith(f'by pull request: initiators: ["{checks.show(login)}"]')


@pytest.mark.parametrize("login", ["alice", "Alice-B", "alice_acme", "Alert-Bridge[bot]", "Copilot", "github-actions"])
def test_people_and_named_apps_start_runs(login: str) -> None:
    checks.check_initiator(examples.run(actor=login, triggering_actor=login), NAMED)


# GATE04, threat T20: a stale approval.

EXPIRES = examples.ISSUED + timedelta(minutes=60)


@given(st.timedeltas(timedelta(minutes=-65), timedelta(microseconds=-1)))
@example(timedelta(microseconds=-1))
@example(timedelta(minutes=-65))
def test_t20_a_plan_counts_from_just_before_its_sealing_until_it_expires(offset: timedelta) -> None:
    checks.check_not_expired(examples.sealed(), EXPIRES + offset)


@pytest.mark.threat("T20")
@given(st.timedeltas(timedelta(0), timedelta(days=10_000)), st.integers(-12, 14))
@example(timedelta(0), 0)
def test_t20_any_time_from_the_expiry_on_is_refused_in_any_time_zone(offset: timedelta, zone: int) -> None:
    now = (EXPIRES + offset).astimezone(timezone(timedelta(hours=zone)))
    assert "expired at 2026-11-22T12:00:00Z" in refusal(
        codes.GATE_EXPIRED, checks.check_not_expired, examples.sealed(), now
    )


def test_t20_the_message_shows_how_late_it_is() -> None:
    for late, reported in (
        (timedelta(seconds=5), "5 seconds ago; it was valid for 60 minutes"),
        (timedelta(seconds=1), "1 second ago"),
        (timedelta(seconds=90), "90 seconds ago"),
        (timedelta(minutes=90), "90 minutes ago"),
        (timedelta(minutes=14), "14 minutes ago"),
        (timedelta(hours=5), "5 hours ago"),
        (timedelta(days=29), "29 days ago"),
    ):
        assert reported in refusal(codes.GATE_EXPIRED, checks.check_not_expired, examples.sealed(), EXPIRES + late)


def test_t20_a_time_without_zone_is_refused() -> None:
    refusal(codes.GATE_EXPIRED, checks.check_not_expired, examples.sealed(), datetime(2026, 11, 22, 11, 30))


@given(st.timedeltas(timedelta(minutes=5, microseconds=1), timedelta(days=1000)))
def test_t20_a_plan_from_the_future_is_refused(ahead: timedelta) -> None:
    message = refusal(codes.GATE_EXPIRED, checks.check_not_expired, examples.sealed(), examples.ISSUED - ahead)
    assert "in the future" in message


@pytest.mark.threat("T20")
@pytest.mark.parametrize(
    ("issued_at", "expires_at", "reported"),
    [
        ("2026-11-22T11:00:00Z", "2026-12-22T11:00:01Z", "longer than 30 days"),
        ("2026-11-22T11:00:00Z", "9999-12-31T23:59:59Z", "longer than 30 days"),
        ("2026-11-22T11:00:00Z", "2026-11-22T11:00:00Z", "not after it was sealed"),
        ("2026-11-22T11:00:01Z", "2026-11-22T11:00:00Z", "not after it was sealed"),
    ],
)
def test_t20_times_that_make_no_sense_are_refused(issued_at: str, expires_at: str, reported: str) -> None:
    odd = dataclasses.replace(examples.sealed(), issued_at=issued_at, expires_at=expires_at)
    assert reported in refusal(codes.GATE_EXPIRED, checks.check_not_expired, odd, examples.ISSUED)


# GATE05: the policy of this commit.

POLICY = b"""\
name: checkout
version: 1
allowed_actions:
  - {type: restart_service, resources: [checkout], conditions: [{parameter: requests, operator: at_least, value: 100}]}
denied_actions:
  - {type: "delete*"}
"""


def with_step(sealed: Plan, **changes: Any) -> Plan:
    """The plan with some fields changed: those of its one step there, the others in the plan."""
    of_step = {key: changes.pop(key) for key in list(changes) if key in documents.Step.__dataclass_fields__}
    steps = (dataclasses.replace(sealed.steps[0], **of_step), *sealed.steps[1:])
    return dataclasses.replace(sealed, **{"steps": steps, **changes})


def under_policy(**changes: Any) -> Plan:
    sealed = examples.sealed()
    stamp = dataclasses.replace(sealed.policy, digest=hashlib.sha256(POLICY).hexdigest())
    return with_step(sealed, **{"policy": stamp, **changes})


def test_t10_the_plan_passes_under_the_policy_that_it_was_sealed_under() -> None:
    checks.check_policy(under_policy(), parse_policy(POLICY, "p.yml"))


@pytest.mark.threat("T10", "T22")
def test_t10_another_policy_is_refused_even_when_it_allows_the_plan() -> None:
    other = POLICY + b"# edited\n"
    message = refusal(codes.GATE_POLICY, checks.check_policy, under_policy(), parse_policy(other, "p.yml"))
    assert hashlib.sha256(POLICY).hexdigest() in message
    assert hashlib.sha256(other).hexdigest() in message


@pytest.mark.threat("T8")
@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"action": "delete_service"}, "denied_actions[0] (delete* on *): applies"),
        ({"resource": "payments"}, "is about another resource than payments"),
        ({"parameters": {"requests": 99}}, "requests at least 100"),
        ({"parameters": {}}, "the parameter requests is missing"),
        ({"risk_level": RiskLevel.CRITICAL}, "the risk is critical, at most high is allowed"),
    ],
)
def test_t8_a_plan_that_the_policy_denies_is_refused_with_the_reasons(changes: dict[str, Any], reported: str) -> None:
    message = refusal(codes.GATE_POLICY, checks.check_policy, under_policy(**changes), parse_policy(POLICY, "p.yml"))
    assert reported in message


@pytest.mark.threat("T23")
@pytest.mark.parametrize(
    "changes",
    [
        {"decision": documents.Decision.NONE},
        {"decision": documents.Decision.DENIED},
        {"matched_rules": ()},
        {"matched_rules": ("allowed_actions[1]",)},
        {"matched_rules": ("allowed_actions[0]", "allowed_actions[0]")},
    ],
)
def test_t23_a_plan_that_shows_another_decision_than_the_policy_is_refused(changes: dict[str, Any]) -> None:
    sealed = under_policy()
    forged = dataclasses.replace(sealed, policy=dataclasses.replace(sealed.policy, **changes))
    refusal(codes.GATE_POLICY, checks.check_policy, forged, parse_policy(POLICY, "p.yml"))


@pytest.mark.threat("T8")
def test_t8_one_step_that_the_policy_denies_denies_the_plan() -> None:
    for steps in (
        (examples.step(), examples.step(action="delete_service")),
        (examples.step(action="delete_service"), examples.step()),
        (examples.step(), examples.step(parameters={"requests": 99})),
    ):
        message = refusal(
            codes.GATE_POLICY, checks.check_policy, under_policy(steps=steps), parse_policy(POLICY, "p.yml")
        )
        assert "+" in message.partition(" on checkout is denied")[0]
    rules = ("allowed_actions[0]",)
    both = under_policy(steps=(examples.step(), examples.step()))
    both = dataclasses.replace(both, policy=dataclasses.replace(both.policy, matched_rules=rules))
    checks.check_policy(both, parse_policy(POLICY, "p.yml"))


AUTO_POLICY = b"""\
name: checkout
version: 1
allowed_actions:
  - {type: restart_service, resources: [checkout], max_risk: high, requires_approval: false}
auto_approve:
  - {type: restart_service, max_risk: medium}
"""


def automatic(**changes: Any) -> Plan:
    """A plan that the policy above lets pass without asking."""
    digest = hashlib.sha256(AUTO_POLICY).hexdigest()
    stamp = documents.PolicyStamp(digest, documents.Decision.AUTO, ("allowed_actions[0]", "auto_approve[0]"))
    return with_step(examples.sealed(), **{"policy": stamp, "reversible": True, **changes})


def reviewed(**changes: Any) -> Plan:
    """The same as a human was asked about it."""
    digest = hashlib.sha256(AUTO_POLICY).hexdigest()
    stamp = documents.PolicyStamp(digest, documents.Decision.REVIEW, ("allowed_actions[0]",))
    return automatic(**{"policy": stamp, **changes})


@pytest.mark.threat("T23")
def test_t23_each_job_executes_only_what_was_sealed_for_it() -> None:
    rules = parse_policy(AUTO_POLICY, "p.yml")
    checks.check_policy(automatic(), rules, automatic=True)
    checks.check_policy(reviewed(), rules)
    message = refusal(codes.GATE_POLICY, checks.check_policy, reviewed(), rules, automatic=True)
    assert "this job executes auto only" in message
    message = refusal(codes.GATE_POLICY, checks.check_policy, automatic(), rules)
    assert "this job executes review only" in message


@pytest.mark.threat("T23", "T22")
@pytest.mark.parametrize(
    "changes",
    [
        {"reversible": False},
        {"risk_level": RiskLevel.HIGH},
        {"resource": "payments"},
        {"action": "delete_service"},
        {"parameters": {"path": ".github/workflows/x.yml"}},
    ],
)
def test_t23_what_the_policy_does_not_decide_alone_any_more_is_refused(changes: dict[str, Any]) -> None:
    rules = parse_policy(AUTO_POLICY, "p.yml")
    refusal(codes.GATE_POLICY, checks.check_policy, automatic(**changes), rules, automatic=True)


@pytest.mark.threat("T23")
def test_t23_one_step_that_needs_a_human_makes_the_plan_need_one() -> None:
    rules = parse_policy(AUTO_POLICY, "p.yml")
    reversible = examples.step(reversible=True)
    checks.check_policy(automatic(steps=(reversible, reversible)), rules, automatic=True)
    for other in (examples.step(reversible=False), examples.step(reversible=True, risk_level=RiskLevel.HIGH)):
        for steps in ((reversible, other), (other, reversible)):
            refusal(codes.GATE_POLICY, checks.check_policy, automatic(steps=steps), rules, automatic=True)


@pytest.mark.threat("T23")
def test_t23_a_policy_that_asks_again_refuses_what_was_sealed_without_asking() -> None:
    for old, new in (
        (b"requires_approval: false", b"requires_approval: true"),
        (b"max_risk: medium", b"max_risk: low"),
    ):
        data = AUTO_POLICY.replace(old, new)
        stamp = dataclasses.replace(automatic().policy, digest=hashlib.sha256(data).hexdigest())
        rules = parse_policy(data, "p.yml")
        refusal(codes.GATE_POLICY, checks.check_policy, automatic(policy=stamp), rules, automatic=True)


# GATE06, threats T13, T15, T18, T21: the environments are a gate.


def environment(**changes: Any) -> dict[str, Any]:
    """The settings of a protected agent-approval, in GitHub's shape."""
    return {
        "id": 161088068,
        "name": "agent-approval",
        "can_admins_bypass": False,
        "protection_rules": [
            {"id": 1, "type": "wait_timer", "wait_timer": 0},
            {
                "id": 2,
                "type": "required_reviewers",
                "prevent_self_review": True,
                "reviewers": [
                    {"type": "User", "reviewer": {"login": "alice", "id": 1}},
                    {"type": "User", "reviewer": {"login": "bob", "id": 2}},
                ],
            },
            {"id": 3, "type": "branch_policy"},
        ],
        "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
        **changes,
    }


def required_reviewers(*reviewers: Any, prevent_self_review: Any = True) -> list[dict[str, Any]]:
    return [{"type": "required_reviewers", "prevent_self_review": prevent_self_review, "reviewers": list(reviewers)}]


def user(login: str) -> dict[str, Any]:
    return {"type": "User", "reviewer": {"login": login, "id": 7}}


def check_approval_environment(settings: Any, branches: tuple[str, ...] = (BRANCH,), initiator: str = "alice") -> None:
    environment_checks.check_environment(
        "agent-approval", settings, branches, BRANCH, reviewers_required=True, initiator=initiator
    )


def test_t13_a_protected_environment_passes() -> None:
    check_approval_environment(environment())
    check_approval_environment(environment(name="Agent-Approval"))
    check_approval_environment(environment(protection_rules=required_reviewers(user("bob"))))
    team = {"type": "Team", "reviewer": {"slug": "on-call", "id": 3}}
    check_approval_environment(environment(protection_rules=required_reviewers(team)))
    check_approval_environment(environment(protection_rules=required_reviewers(user("alice"), team)))


ENVIRONMENTS: list[tuple[str, Any, tuple[str, ...], str]] = [
    ("T13 missing", None, (BRANCH,), "it does not exist, and GitHub would create it without any protection"),
    (
        "T13 empty",
        environment(protection_rules=[]),
        (BRANCH,),
        "it has no required reviewers; it does not prevent self",
    ),
    ("T13 no reviewers", environment(protection_rules=required_reviewers()), (BRANCH,), "it has no required reviewers"),
    (
        "T13 a nameless reviewer",
        environment(protection_rules=required_reviewers({"type": "User", "reviewer": None})),
        (BRANCH,),
        "it has no required reviewers",
    ),
    (
        "T13 a nameless team",
        environment(protection_rules=required_reviewers({"type": "Team", "reviewer": {"slug": ""}})),
        (BRANCH,),
        "it has no required reviewers",
    ),
    (
        "T13 a reviewer of another kind",
        environment(protection_rules=required_reviewers({"type": "Bot", "reviewer": {"login": "ci", "slug": "ci"}})),
        (BRANCH,),
        "it has no required reviewers",
    ),
    ("T13 another one", environment(name="staging"), (BRANCH,), "another environment, 'staging'"),
    (
        "T15 only the initiator",
        environment(protection_rules=required_reviewers(user("Alice"), user("ALICE"))),
        (BRANCH,),
        "its only required reviewer is alice, who started this run",
    ),
    (
        "T15 self-review",
        environment(protection_rules=required_reviewers(user("bob"), prevent_self_review=False)),
        (BRANCH,),
        "it does not prevent self-review",
    ),
    (
        "T15 self-review unsaid",
        environment(protection_rules=[{"type": "required_reviewers", "reviewers": [user("bob")]}]),
        (BRANCH,),
        "it does not prevent self-review",
    ),
    (
        "T15 one of two rules lets review oneself",
        environment(
            protection_rules=[
                *required_reviewers(user("bob")),
                *required_reviewers(user("carol"), prevent_self_review=False),
            ]
        ),
        (BRANCH,),
        "it does not prevent self-review",
    ),
    ("T18 bypass", environment(can_admins_bypass=True), (BRANCH,), "administrators can bypass it"),
    ("T18 bypass unsaid", environment(can_admins_bypass=None), (BRANCH,), "administrators can bypass it"),
    ("T18 bypass as text", environment(can_admins_bypass="false"), (BRANCH,), "administrators can bypass it"),
    (
        "T21 any branch",
        environment(deployment_branch_policy=None),
        (BRANCH,),
        "every branch may use it instead of main",
    ),
    (
        "T21 protected branches",
        environment(deployment_branch_policy={"protected_branches": True, "custom_branch_policies": False}),
        (BRANCH,),
        "every protected branch may use it instead of main only",
    ),
    *(
        (
            f"T21 branches {kind}",
            environment(deployment_branch_policy=kind),
            (BRANCH,),
            "every protected branch may use",
        )
        for kind in (
            {},
            {"protected_branches": True, "custom_branch_policies": True},
            {"protected_branches": False, "custom_branch_policies": False},
        )
    ),
    ("T21 no branch", environment(), (), "it may be used from [] instead of main only"),
    ("T21 another branch", environment(), ("dev",), "it may be used from [dev] instead of main only"),
    ("T21 more branches", environment(), ("main", "release/*"), "from [main, release/*] instead of main only"),
    ("T21 a pattern", environment(), ("*",), "it may be used from [*] instead of main only"),
    ("T21 a tag", environment(), ("tag:main",), "it may be used from [tag:main] instead of main only"),
]


@pytest.mark.threat("T13", "T15", "T18", "T21")
@pytest.mark.parametrize(
    ("settings", "branches", "reported"), [row[1:] for row in ENVIRONMENTS], ids=[row[0] for row in ENVIRONMENTS]
)
def test_t13_t15_t18_t21_an_open_environment_is_refused(
    settings: Any, branches: tuple[str, ...], reported: str
) -> None:
    message = refusal(codes.GATE_ENVIRONMENT, check_approval_environment, settings, branches)
    assert message.startswith("environment agent-approval: ")
    assert reported in message


def test_t15_the_initiator_is_recognised_in_any_case() -> None:
    only_alice = environment(protection_rules=required_reviewers(user("alice")))
    message = refusal(codes.GATE_ENVIRONMENT, check_approval_environment, only_alice, initiator="ALICE")
    assert "its only required reviewer is ALICE, who started this run" in message


def test_t13_every_missing_setting_is_named_in_one_message() -> None:
    open_gate = environment(protection_rules=[], can_admins_bypass=True, deployment_branch_policy=None)
    assert refusal(codes.GATE_ENVIRONMENT, check_approval_environment, open_gate) == (
        "environment agent-approval: it has no required reviewers; it does not prevent self-review; "
        "administrators can bypass it; every branch may use it instead of main only"
    )


def test_t13_the_act_environment_needs_its_branch_and_no_reviewers() -> None:
    def check(settings: Any, branches: list[str]) -> None:
        environment_checks.check_environment(
            "agent-act", settings, branches, BRANCH, reviewers_required=False, initiator="alice"
        )

    settings = environment(name="agent-act", protection_rules=[{"type": "branch_policy"}], can_admins_bypass=True)
    check(settings, ["main"])
    assert "does not exist" in refusal(codes.GATE_ENVIRONMENT, check, None, [])
    assert "instead of main only" in refusal(codes.GATE_ENVIRONMENT, check, settings, ["main", "dev"])


_MISSING = object()


@pytest.mark.threat("T13")
@given(st.data())
def test_t13_a_setting_that_is_missing_or_malformed_never_opens_the_gate(data: st.DataObject) -> None:
    settings = environment()
    checked = {"name", "can_admins_bypass", "protection_rules", "deployment_branch_policy"}
    paths = [path for path in leaves(settings) if path[0] in checked and path[:2] != ("protection_rules", 0)]
    path = data.draw(st.sampled_from(paths))
    value = data.draw(st.one_of(st.just(_MISSING), json_values))
    place: Any = settings
    for step in path[:-1]:
        place = place[step]
    before = place[path[-1]]
    if value is _MISSING:
        if isinstance(place, list):
            place.pop(path[-1])
        else:
            del place[path[-1]]
    else:
        place[path[-1]] = value
    try:
        check_approval_environment(settings)
    except codes.GateRefused as problem:
        assert problem.code == codes.GATE_ENVIRONMENT
        return
    # What may differ: one of two reviewers, ids, and the marker of the branch policy, which is read on its own.
    harmless = path[-1] in ("id", "type") or "reviewers" in path or path == ("protection_rules", 2)
    assert harmless or before == value


@given(json_values)
def test_t13_nonsense_instead_of_settings_is_refused(settings: Any) -> None:
    if isinstance(settings, dict):
        refusal(codes.GATE_ENVIRONMENT, check_approval_environment, settings)


# GATE07, threats T15 to T18: who approved.


def record(login: Any = "bob", state: str = "approved", **changes: Any) -> dict[str, Any]:
    """One approval record, in GitHub's shape."""
    return {
        "state": state,
        "comment": "",
        "user": {"login": login, "id": sum(map(ord, str(login).casefold())), "type": "User"},
        "environments": [{"id": 161088068, "name": "agent-approval"}],
        **changes,
    }


RUN = examples.run(actor="alice", triggering_actor="carol")


def test_t15_an_approval_by_another_human_is_returned() -> None:
    bob = documents.Approver("bob", record("bob")["user"]["id"], "User")
    for records in (
        [record("bob")],
        [record("bob"), record("dave", environments=[{"name": "x"}])],
        [record("bob", environments=[{"name": "Agent-Approval"}])],
        [record("dave"), record("bob")],
    ):
        assert environment_checks.check_approvals(records, RUN, APPROVED)[0][0] == bob


def test_the_comment_is_that_of_the_gates_own_record() -> None:
    elsewhere = record("carol", comment="of another environment", environments=[{"name": "agent-investigate"}])
    assert environment_checks.check_approvals([record("bob", comment="fine"), elsewhere], RUN, APPROVED)[0][1] == "fine"


APPROVALS: list[tuple[str, list[dict[str, Any]], str]] = [
    ("T18 nobody", [], "none of the 0 approval records of this run approves in the environment agent-approval"),
    ("T15 the actor", [record("alice")], "alice approved a run that alice started"),
    ("T15 the actor in capitals", [record("ALICE")], "ALICE approved a run that alice started"),
    ("T15 who re-ran", [record("Carol")], "Carol approved a run that carol re-ran"),
    ("T15 the actor beside another", [record("bob"), record("alice")], "alice approved a run"),
    ("T15 another beside the actor", [record("alice"), record("bob")], "alice approved a run"),
    (
        "T15 a bot",
        [record("x", user={"login": "x", "id": 5, "type": "Bot"})],
        "x approved and is a Bot, not a human",
    ),
    ("T15 a bot by name", [record("dependabot[bot]")], "dependabot[bot] approved and is a User, not a human"),
    ("T15 an organisation", [record("x", user={"login": "x", "id": 5, "type": "Organization"})], "not a human"),
    ("T15 no type", [record("x", user={"login": "x", "id": 5})], "not a human"),
    ("T15 no user", [record(user=None)], "GitHub does not name who approved"),
    ("T15 no login", [record(user={"type": "User", "id": 5})], "GitHub does not name who approved"),
    ("T15 no id", [record(user={"login": "bob", "type": "User"})], "GitHub's record of bob has no user id"),
    ("rejected", [record("bob", "rejected")], "bob rejected the plan"),
    ("rejected and approved", [record("bob"), record("dave", "rejected")], "dave rejected the plan"),
    ("pending", [record("bob", "pending")], "none of the 1 approval records of this run approves"),
    ("another word", [record("bob", "APPROVED")], "none of the 1 approval records of this run approves"),
    (
        "T17 another environment",
        [record(environments=[{"name": "agent-act"}])],
        "approves in the environment agent-approval",
    ),
    ("T17 no environment", [record(environments=[])], "approves in the environment agent-approval"),
    (
        "T17 malformed environments",
        [record(environments="agent-approval")],
        "approves in the environment agent-approval",
    ),
]


@pytest.mark.threat("T15", "T17", "T18", "T32")
@pytest.mark.parametrize(("records", "message"), [row[1:] for row in APPROVALS], ids=[row[0] for row in APPROVALS])
def test_t15_t17_t17b_t18_what_is_no_approval_is_refused(records: list[Any], message: str) -> None:
    assert message in refusal(codes.GATE_APPROVAL, environment_checks.check_approvals, records, RUN, APPROVED)


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "looks right",
        None,
        f"plan {APPROVED[:12]}",
        f"I approve `{APPROVED}`.",
        APPROVED[:30].upper(),
        "0123456789a",  # eleven digits
        "0123456789abcdefg",  # a word
        "see 5f2c1d3e-0b1a-4c3d-9e8f-0123456789ab",
        f"as of {'c' * 40}, ticket 202611300001, trace {'f' * 32}",
        "reviewed at commit 0123456789ab",
    ],
)
def test_t8_a_comment_that_names_this_plan_or_none_approves(comment: Any) -> None:
    ((approver, text),) = environment_checks.check_approvals([record("bob", comment=comment)], RUN, APPROVED)
    assert (approver.login, text) == ("bob", comment or "")


OTHER = "d" * 64


@pytest.mark.threat("T8", "T14", "T17b")
@pytest.mark.parametrize(
    "comment",
    [
        f"I approve plan {OTHER}",
        f"plan {OTHER[:12]}: ok",
        f"{OTHER[:12].upper()}!",
        f"sha256:{OTHER}",
        f"{APPROVED[:12]}, and not {OTHER[:12]}",
        APPROVED[1:],
        APPROVED + "0",
        f"({('f' * 20)})",
    ],
)
def test_t8_a_comment_that_names_another_plan_approves_nothing(comment: str) -> None:
    message = refusal(
        codes.GATE_APPROVAL, environment_checks.check_approvals, [record("bob", comment=comment)], RUN, APPROVED
    )
    assert "bob approved with a comment that names the plan" in message
    assert f"this plan is {APPROVED}" in message


_logins = st.sampled_from(["alice", "Alice", "carol", "bob", "BOB", "dave", "ci[bot]", "", None, 5])
_users = st.one_of(
    st.none(),
    st.just("bob"),
    st.fixed_dictionaries(
        {},
        optional={
            "login": _logins,
            "id": st.sampled_from([1, 2, True, None, "1"]),
            "type": st.sampled_from(["User", "Bot", "user", None]),
        },
    ),
)
_environments = st.one_of(
    st.none(), st.just([]), st.sampled_from([[{"name": "agent-approval"}], [{"name": "agent-act"}], ["agent-approval"]])
)
_records = st.lists(
    st.one_of(
        st.builds(record, st.sampled_from(["bob", "dave"])),
        st.fixed_dictionaries(
            {},
            optional={
                "state": st.sampled_from(["approved", "rejected", "pending", None, 1]),
                "user": _users,
                "environments": _environments,
                "comment": st.sampled_from(["", "/approve", None]),
            },
        ),
    ),
    max_size=4,
)


@pytest.mark.threat("T15", "T18")
@given(_records)
def test_t15_t18_whatever_github_answers_only_a_whole_approval_passes(records: list[Any]) -> None:
    try:
        ((found, _),) = environment_checks.check_approvals(records, RUN, APPROVED)
    except codes.GateRefused as problem:
        assert problem.code == codes.GATE_APPROVAL
        return
    assert found.login.casefold() in ("bob", "dave")
    (approved, *_) = [
        record
        for record in records
        if (record.get("user") or {}) == {"login": found.login, "id": found.id, "type": "User"}
    ]
    assert approved["state"] == "approved"
    assert {"name": "agent-approval"}.items() <= approved["environments"][0].items()
    assert not any(record.get("state") == "rejected" and _is_of_gate(record) for record in records)


def _is_of_gate(record: dict[str, Any]) -> bool:
    environments = record.get("environments")
    return isinstance(environments, list) and {"name": "agent-approval"} in environments


# GATE08, threat T9: the world changed.


@given(json_objects)
def test_t9_the_same_world_passes(world: dict[str, Any]) -> None:
    sealed = dataclasses.replace(examples.sealed(), preconditions=world)
    checks.check_preconditions(sealed.preconditions, json.loads(json.dumps(world)))


@pytest.mark.threat("T9")
@given(json_objects, json_objects)
def test_t9_any_other_world_is_refused_with_what_differs(before: dict[str, Any], now: dict[str, Any]) -> None:
    assume(plan.canonical(before) != plan.canonical(now))
    sealed = dataclasses.replace(examples.sealed(), preconditions=before)
    refusal(codes.GATE_PRECONDITION, checks.check_preconditions, sealed.preconditions, now)


def test_t9_the_message_names_each_difference() -> None:
    sealed = dataclasses.replace(examples.sealed(), preconditions={"version": 7, "leader": "a", "zone": "x"})
    now = {"version": 8, "zone": "x", "new": [1]}
    assert refusal(codes.GATE_PRECONDITION, checks.check_preconditions, sealed.preconditions, now) == (
        'since the plan was sealed: leader was "a" and is not there; '
        "new was not there and is [1]; version was 7 and is 8"
    )


def test_t9_values_of_another_type_differ() -> None:
    sealed = dataclasses.replace(examples.sealed(), preconditions={"a": 1})
    for value in (True, "1", [1], None):
        refusal(codes.GATE_PRECONDITION, checks.check_preconditions, sealed.preconditions, {"a": value})
    checks.check_preconditions(sealed.preconditions, {"a": 1.0})


def test_t9_after_a_step_only_what_it_changes_may_differ() -> None:
    before = {"version": 7, "leader": "a"}
    changed: dict[str, Any] = {"changed": ("version",), "since": "step 1 began"}
    checks.check_preconditions(before, {"version": 8, "leader": "a"}, **changed)
    checks.check_preconditions(before, before, **changed)
    said = refusal(
        codes.GATE_PRECONDITION, checks.check_preconditions, before, {"version": 8, "leader": "b"}, **changed
    )
    assert said == 'since step 1 began: leader was "a" and is "b"'


@pytest.mark.parametrize("value", [float("nan"), 2**60, {1, 2}, datetime(2026, 1, 1, tzinfo=UTC), "\ud800"])
def test_t9_a_world_that_cannot_be_compared_is_refused(value: Any) -> None:
    message = refusal(codes.GATE_PRECONDITION, checks.check_preconditions, {"started": 17}, {"started": value})
    assert "started" in message


# GATE10: the kill switch.


@pytest.mark.parametrize("value", [None, "", " ", "0", "false", "False", "NO", "off", " off\n"])
def test_the_agent_may_act_while_the_kill_switch_is_off(value: str | None) -> None:
    checks.check_enabled(value)


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "yes", "On", " true "])
def test_the_kill_switch_refuses(value: str) -> None:
    assert refusal(codes.GATE_DISABLED, checks.check_enabled, value).startswith("AGENT_DISABLED is '")


@given(st.text(min_size=1))
def test_a_value_of_the_kill_switch_that_nobody_foresaw_refuses(value: str) -> None:
    assume(value.strip().casefold() not in {"", "0", "false", "no", "off"})
    refusal(codes.GATE_DISABLED, checks.check_enabled, value)
