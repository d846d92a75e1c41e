"""What doctor says of the default branch: each rule that protects what decides, taken away alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from agent_runtime.local.settings import checks
from agent_runtime.local.settings.checks import CI_CHECK, State
from agent_runtime.local.settings.model import Gate, Local, Observed, Repository, Unreadable

RULES: list[dict[str, Any]] = [
    {
        "type": "pull_request",
        "parameters": {
            "dismiss_stale_reviews_on_push": True,
            "require_code_owner_review": True,
            "require_last_push_approval": True,
            "required_approving_review_count": 1,
        },
    },
    {"type": "required_status_checks", "parameters": {"required_status_checks": [{"context": CI_CHECK}]}},
    {"type": "non_fast_forward"},
]
CLASSIC: dict[str, Any] = {
    "required_pull_request_reviews": {
        "dismiss_stale_reviews": True,
        "require_code_owner_reviews": True,
        "required_approving_review_count": 1,
        "require_last_push_approval": True,
    },
    "required_status_checks": {"contexts": [CI_CHECK]},
    "enforce_admins": {"enabled": True},
    "allow_force_pushes": {"enabled": False},
}
SILENT = Unreadable(403, "GET /x: HTTP 403")


def found(rules: Any = (), classic: Any = None, bypass: Any = None) -> dict[str, State]:
    """What is open, with how that is known."""
    repository = Repository("acme/checkout-restart", "main", "public", "Organization", None, True)
    seen = Observed(
        gate=Gate(repository, {}, ()),
        secrets=frozenset(),
        organization_secrets=frozenset(),
        variables={},
        token={},
        actions={},
        rules=list(rules) if isinstance(rules, (list, tuple)) else rules,
        bypass={} if bypass is None else bypass,
        protection=classic,
        codeowners_errors=[],
        workflow_state="active",
        report_state="active",
    )
    local = Local("acme/checkout-restart", (), 60, "public", (), None, None, None)
    _, check = checks.CHECKS["default-branch"]
    return {item.problem: item.state for item in check(seen, local)}


def test_either_kind_of_protection_is_enough() -> None:
    assert found(RULES) == found(classic=CLASSIC) == found(RULES, CLASSIC) == {}
    assert found(SILENT, CLASSIC) == found(RULES, SILENT) == {}


LOOSENED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no pull requests": (lambda it: it.pop("required_pull_request_reviews"), "main takes pushes without a pull"),
    "no owners": (
        lambda it: it["required_pull_request_reviews"].update(require_code_owner_reviews=False),
        "without a review by code owners",
    ),
    "no approval": (
        lambda it: it["required_pull_request_reviews"].update(required_approving_review_count=0),
        "main takes pull requests without an approval",
    ),
    "stale approvals": (
        lambda it: it["required_pull_request_reviews"].pop("dismiss_stale_reviews"),
        "stays when something else is pushed",
    ),
    "the last push": (
        lambda it: it["required_pull_request_reviews"].pop("require_last_push_approval"),
        "may be the one who approves it",
    ),
    "some go around it": (
        lambda it: it["required_pull_request_reviews"].update(bypass_pull_request_allowances={"apps": [{"id": 1}]}),
        "some may push to main without",
    ),
    "another check": (lambda it: it["required_status_checks"].update(contexts=["lint"]), f"'{CI_CHECK}' fails"),
    "no check": (lambda it: it.pop("required_status_checks"), f"'{CI_CHECK}' fails"),
    "force pushes": (lambda it: it["allow_force_pushes"].update(enabled=True), "main takes force pushes"),
    "force pushes unsaid": (lambda it: it.pop("allow_force_pushes"), "main takes force pushes"),
    "administrators": (lambda it: it.pop("enforce_admins"), "administrators can go around"),
}


@pytest.mark.threat("T22")
@pytest.mark.parametrize("name", LOOSENED)
def test_each_part_of_classic_protection_is_missed(name: str) -> None:
    loosen, problem = LOOSENED[name]
    classic = copy.deepcopy(CLASSIC)
    loosen(classic)
    assert [each for each in found(classic=classic) if problem in each], found(classic=classic)


@pytest.mark.threat("T22")
def test_who_may_bypass_a_ruleset_has_to_be_known() -> None:
    assert found(RULES, bypass={"ours": 0}) == {}
    ((problem, state),) = found(RULES, bypass={"ours": 2}).items()
    assert problem == "the ruleset 'ours' has 2 on its bypass list" and state is State.OPEN
    for bypass, said in (
        ({"ours": 0, "theirs": None}, "who may bypass the ruleset 'theirs' is not shown to this token"),
        (SILENT, "who may bypass the rules of the default branch can't be read: GET /x: HTTP 403"),
    ):
        assert found(RULES, bypass=bypass) == {said: State.UNREADABLE}


@pytest.mark.threat("T22")
def test_what_nobody_may_read_is_not_taken_for_protection() -> None:
    assert found(SILENT, SILENT) == {
        "how the default branch is protected can't be read: GET /x: HTTP 403": State.UNREADABLE
    }
    assert "main takes pushes without a pull request" in found(SILENT, None)
    assert "main takes pushes without a pull request" in found([], SILENT)
