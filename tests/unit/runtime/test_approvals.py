"""How many must approve and who may: what the policy demands, and what of GitHub's record counts for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import checks, environment_checks, policy
from agent_runtime.gate.policy import evaluate, judge
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.model import documents
from agent_runtime.model.documents import Approvals
from agent_runtime.results import RiskLevel
from support import examples

DIGEST = "ab" * 32
LOGINS = ("alice", "Bob", "carol", "dave")


def parsed(*rules: str) -> policy.Policy:
    text = "name: p\nversion: 1\nallowed_actions:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules)
    return parse_policy(text.encode(), "p.yml")


def asked(*rules: str, risk: RiskLevel = RiskLevel.MEDIUM, **parameters: Any) -> tuple[int, tuple[str, ...] | None]:
    verdict = evaluate(
        parsed(*rules), action="restart", resource="checkout", parameters=parameters, risk_level=risk, reversible=False
    )
    assert verdict.decision == policy.REVIEW, verdict.reasons
    return verdict.approvals, verdict.approvers


# What the policy demands.


def test_a_rule_that_says_nothing_asks_for_one_approval_by_anybody() -> None:
    assert asked("type: restart") == (1, None)


@pytest.mark.threat("T15")
def test_the_strictest_demand_of_all_matching_rules_counts() -> None:
    bob_or_carol = "type: restart, approvers: [Bob, carol]"
    assert asked("type: restart", "type: '*', approvals: 2") == (2, None)
    assert asked("type: '*', approvals: 2", "type: restart") == (2, None)
    assert asked(bob_or_carol, "type: restart") == (1, ("Bob", "carol"))
    assert asked(bob_or_carol, "type: '*', approvers: [dave, BOB]") == (1, ("Bob",))
    assert asked(bob_or_carol, "type: '*', approvers: [dave]") == (1, ())
    assert asked(bob_or_carol, "type: scale, approvals: 2, approvers: [dave, erin]") == (1, ("Bob", "carol"))


def test_a_rule_that_may_be_about_it_counts_although_it_does_not_allow_it() -> None:
    """More risk, a missing parameter or other case of a name never leads to fewer approvals."""
    wide = "type: '*'"
    assert asked(wide, "type: restart, max_risk: low, approvals: 2", risk=RiskLevel.HIGH) == (2, None)
    condition = "conditions: [{parameter: stage, operator: equals, value: prod}]"
    assert asked(wide, f"type: restart, approvals: 2, {condition}") == (2, None)
    assert asked(wide, f"type: restart, approvals: 2, {condition}", stage="dev") == (1, None)
    assert asked(wide, "type: Restart, approvals: 2") == (2, None)


_rules = st.builds(
    lambda type, count, named: (
        f"type: '{type}', approvals: {count}" + (f", approvers: [{', '.join(named)}]" if len(named) >= count else "")
    ),
    st.sampled_from(["restart", "*", "scale"]),
    st.sampled_from([1, 2]),
    st.lists(st.sampled_from(LOGINS), unique=True),
)


@given(st.lists(_rules, max_size=4), _rules)
def test_another_rule_never_asks_for_less(rules: list[str], more: str) -> None:
    before, after = asked("type: '*'", *rules), asked("type: '*'", *rules, more)
    assert after[0] >= before[0]
    assert before[1] is None or (after[1] is not None and set(after[1]) <= set(before[1]))


def test_the_strictest_demand_of_all_steps_counts() -> None:
    rules = parsed("type: restart, approvers: [bob, carol]", "type: scale, approvals: 2", "type: warm")
    steps = [examples.step(action=action) for action in ("warm", "restart", "scale")]
    verdict = judge(rules, steps, "checkout")
    assert (verdict.approvals, verdict.approvers) == (2, ("bob", "carol"))


def test_each_demand_is_among_the_reasons() -> None:
    rules = parsed("type: restart, approvals: 2, approvers: [bob, carol]")
    reasons = judge(rules, [examples.step(action="restart")], "checkout").reasons
    assert reasons[-1] == "allowed_actions[0] asks for 2 approvals by different people, out of bob, carol"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("approvals: 0", "allowed_actions[0].approvals is 0: write a whole number, 1 to 2"),
        ("approvals: 3", "allowed_actions[0].approvals is 3: write a whole number, 1 to 2"),
        ("approvals: true", "allowed_actions[0].approvals is true: write a whole number, 1 to 2"),
        ("approvals: '2'", "allowed_actions[0].approvals is '2': write a whole number, 1 to 2"),
        ("approvals: 2, approvers: [bob]", "approvers names 1 for 2 approvals: name more, or remove the key"),
        ("approvers: []", "allowed_actions[0].approvers names 0 for 1 approvals"),
        ("approvers: bob", "allowed_actions[0].approvers is 'bob': write a list"),
        ("approvers: [acme/sre]", "allowed_actions[0].approvers[0] is 'acme/sre': write the login of one person"),
        ("approvers: [bob, 'ci[bot]']", "approvers[1] is 'ci[bot]': write the login of one person"),
        ("approvers: ['@bob']", "approvers[0] is '@bob': write the login of one person"),
        ("approvers: [bob, 5]", "approvers[1] is 5: write a text"),
        ("approvals: 2, approvers: [bob, BOB]", "approvers[1] is 'BOB', who is named already"),
        ("requires_approval: false, approvals: 2", "requires_approval is false, and the rule says who must approve"),
        ("requires_approval: false, approvers: [bob]", "requires_approval is false, and the rule says who must"),
    ],
)
def test_a_demand_that_can_not_be_met_or_read_is_one_line_with_its_place(rule: str, message: str) -> None:
    with pytest.raises(codes.BadInput) as caught:
        parsed("type: '*'", f"type: restart, {rule}")
    assert caught.value.code == codes.POLICY_INVALID
    assert caught.value.message.startswith("p.yml line 5: allowed_actions[1]")
    assert message.replace("[0].", "[1].") in caught.value.line() and "\n" not in caught.value.line()


@pytest.mark.parametrize("key", ["denied_actions", "auto_approve"])
def test_only_a_rule_that_allows_says_who_must_approve(key: str) -> None:
    with pytest.raises(codes.BadInput, match="unknown key approvals"):
        parse_policy(f"name: p\nversion: 1\n{key}:\n  - {{type: x, approvals: 2}}\n".encode(), "p.yml")


# GATE05: a plan that asks for less than the policy.


@pytest.mark.threat("T8", "T23")
@pytest.mark.parametrize("approvals", [Approvals(1, ("bob", "carol")), Approvals(2, ()), Approvals(2, ("bob", "dave"))])
def test_a_plan_that_asks_for_other_approvals_than_the_policy_is_refused(approvals: Approvals) -> None:
    rules = parsed("type: restart_service, approvals: 2, approvers: [bob, carol]")
    verdict = judge(rules, examples.sealed().steps, "checkout")
    stamp = documents.PolicyStamp(rules.digest, documents.Decision.REVIEW, verdict.matched_rules)
    checks.check_policy(examples.sealed(policy=stamp, approvals=Approvals(2, ("bob", "carol"))), rules)
    with pytest.raises(codes.GateRefused, match=r"the plan asks for .*, and the policy for 2 approvals") as caught:
        checks.check_policy(examples.sealed(policy=stamp, approvals=approvals), rules)
    assert caught.value.code == codes.GATE_POLICY


def test_a_policy_that_lets_nobody_approve_is_not_one_that_lets_everybody() -> None:
    rules = parsed("type: '*', approvers: [bob]", "type: '*', approvers: [carol]")
    verdict = judge(rules, examples.sealed().steps, "checkout")
    stamp = documents.PolicyStamp(rules.digest, documents.Decision.REVIEW, verdict.matched_rules)
    with pytest.raises(codes.GateRefused, match="and the policy for 1 approval, out of nobody"):
        checks.check_policy(examples.sealed(policy=stamp), rules)
    assert (verdict.approvals, verdict.approvers) == (1, ())


@pytest.mark.parametrize("approvals", [{"count": 0}, {"count": 3}, {"count": 2, "approvers": ["bob"]}])
def test_a_plan_has_no_other_number_of_approvals(approvals: dict[str, Any]) -> None:
    plan = {**documents.plain(examples.sealed()), "approvals": {"approvers": [], **approvals}}
    with pytest.raises(codes.BadInput) as caught:
        documents.decode(documents.Plan, documents.encode(plan), "the plan")
    assert caught.value.code == codes.REPORT_SCHEMA


# GATE07: what counts in GitHub's record.

FIRST, SECOND = "agent-approval", "agent-approval-second"
RUN = examples.run(actor="alice", triggering_actor="alice")


def record(login: str, environment: str = FIRST, state: str = "approved", id: int | None = None) -> dict[str, Any]:
    number = sum(map(ord, login.casefold())) if id is None else id
    user = {"login": login, "id": number, "type": "User"}
    return {"state": state, "comment": "", "user": user, "environments": [{"id": 1, "name": environment}]}


def counted(records: list[Any], wanted: Approvals) -> list[str]:
    return [who.login for who, _ in environment_checks.check_approvals(records, RUN, DIGEST, wanted)]


def test_two_people_in_two_environments_are_two_approvals() -> None:
    records = [record("bob"), record("carol", SECOND)]
    assert counted(records, Approvals(2, ())) == ["bob", "carol"]
    assert counted(records[::-1], Approvals(2, ("CAROL", "Bob", "dave"))) == ["bob", "carol"]
    assert counted(records, Approvals(1, ())) == ["bob"]


@pytest.mark.threat("T15", "T18")
@pytest.mark.parametrize(
    ("records", "wanted", "message"),
    [
        ([record("bob")], Approvals(2, ()), "approves in the environment agent-approval-second (a bypass"),
        ([record("carol", SECOND)], Approvals(2, ()), "approves in the environment agent-approval (a bypass"),
        ([record("bob"), record("bob", SECOND)], Approvals(2, ()), "bob approved twice, and two different people"),
        ([record("bob"), record("BOB", SECOND, id=5)], Approvals(2, ()), "BOB approved twice"),
        ([record("bob"), record("robert", SECOND, id=307)], Approvals(2, ()), "robert approved twice"),
        ([record("bob"), record("Alice", SECOND)], Approvals(2, ()), "Alice approved a run that alice started"),
        ([record("bob"), record("ci[bot]", SECOND)], Approvals(2, ()), "ci[bot] approved and is a User, not a human"),
        ([record("bob"), record("dave", SECOND, "rejected")], Approvals(2, ()), "dave rejected the plan"),
        ([record("bob"), record("dave", SECOND, "rejected")], Approvals(1, ()), "dave rejected the plan"),
        ([record("dave")], Approvals(1, ("bob",)), "dave approved, and the policy lets only bob approve"),
        (
            [record("bob"), record("dave", SECOND)],
            Approvals(2, ("bob", "carol")),
            "dave approved, and the policy lets only bob, carol approve",
        ),
        ([record("bob"), record("dave")], Approvals(1, ("bob",)), "dave approved, and the policy lets only bob"),
        (
            [{**record("bob"), "environments": [{"name": FIRST}, {"name": SECOND}]}],
            Approvals(2, ()),
            "bob approved twice",
        ),
    ],
)
def test_what_does_not_count_is_refused(records: list[Any], wanted: Approvals, message: str) -> None:
    with pytest.raises(codes.GateRefused) as caught:
        counted(records, wanted)
    assert caught.value.code == codes.GATE_APPROVAL
    assert message in caught.value.message


# GATE15: whether enough people can approve, as GitHub shows the environments.


def gate_of(*reviewers: str) -> dict[str, Any]:
    """Settings of an environment with these reviewers; with a slash, a team."""
    entries = [
        {"type": "Team", "reviewer": {"slug": each.partition("/")[2]}}
        if "/" in each
        else {"type": "User", "reviewer": {"login": each}}
        for each in reviewers
    ]
    return {"protection_rules": [{"type": "required_reviewers", "reviewers": entries}]}


def enough(wanted: Approvals, *gates: tuple[str, ...]) -> str:
    return environment_checks.check_enough([(FIRST, gate_of(*gates[0])), (SECOND, gate_of(*gates[-1]))], RUN, wanted)


@pytest.mark.parametrize(
    ("wanted", "gates", "left"),
    [
        (Approvals(2, ()), [("bob", "ALICE")], "agent-approval: bob; agent-approval-second: bob"),
        (Approvals(2, ()), [("bob", "Bob")], "agent-approval: bob, bob; agent-approval-second: bob, bob"),
        (Approvals(2, ()), [("bob", "carol"), ("alice",)], "agent-approval: bob, carol; agent-approval-second: nobody"),
        (Approvals(2, ("Bob", "carol")), [("bob", "dave")], "out of Bob, carol, and of the reviewers"),
        (Approvals(1, ("carol",)), [("bob",)], "agent-approval: nobody"),
        (Approvals(2, ("carol", "erin")), [("bob",), ("acme/sre",)], "agent-approval: nobody; agent-approval-second: "),
    ],
)
def test_what_too_few_reviewers_can_approve_is_refused_before_anybody_is_asked(
    wanted: Approvals, gates: list[tuple[str, ...]], left: str
) -> None:
    with pytest.raises(codes.GateRefused) as caught:
        enough(wanted, *gates)
    assert caught.value.code == codes.APPROVERS_IMPOSSIBLE and left in caught.value.message


def test_who_lost_access_can_not_approve() -> None:
    gates = [(FIRST, gate_of("bob", "carol")), (SECOND, gate_of("bob", "carol", "acme/sre"))]
    assert environment_checks.check_enough(gates, RUN, Approvals(2, ()), gone=["dave"]) == ""
    assert environment_checks.check_enough(gates, RUN, Approvals(2, ()), gone=["carol"]) == "sre"
    with pytest.raises(codes.GateRefused, match="agent-approval: nobody"):
        environment_checks.check_enough(gates, RUN, Approvals(2, ()), gone=["bob", "carol"])
    again = examples.run(actor="alice", triggering_actor="bob")  # who re-ran it
    with pytest.raises(codes.GateRefused, match="agent-approval: carol; agent-approval-second: carol"):
        environment_checks.check_enough([(FIRST, gates[0][1]), (SECOND, gates[0][1])], again, Approvals(2, ()))


PEOPLE = st.lists(st.sampled_from([*LOGINS, "ALICE", "bob", "acme/sre", "acme/ops"]), max_size=3).map(tuple)


@given(first=PEOPLE, second=PEOPLE, named=st.sampled_from([(), ("BOB", "dave"), ("alice", "carol", "bob")]))
def test_nobody_is_asked_exactly_where_no_two_people_could_click(
    first: tuple[str, ...], second: tuple[str, ...], named: tuple[str, ...]
) -> None:
    """Against every pair of clicks; who is in a team is not known, so it may be anybody."""

    def clickers(gate: tuple[str, ...], teams: set[str]) -> set[str]:
        people = {each.casefold() for each in gate if "/" not in each} - {"alice"}
        people |= teams if any("/" in each for each in gate) else set()
        return {each for each in people if not named or each in map(str.casefold, named)}

    def possible(teams: set[str]) -> bool:
        return any(a != b for a in clickers(first, teams) for b in clickers(second, teams))

    try:
        unseen = enough(Approvals(2, named), first, second)
    except codes.GateRefused:
        assert not possible({"bob", "carol", "dave", "erin", "frank"})
    else:
        assert possible({"bob", "carol", "dave", "erin", "frank"})
        assert bool(unseen) == (not possible(set()))
