"""Which run gives way to which: only to an earlier one that asks about the same alert, and one of them always asks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.gate.duplicates import earlier_runs, earlier_runs_about, is_decision_open, run_title, waits_with
from agent_runtime.model import inputs

TITLE = run_title("checkout", "alert-9")
APPROVE = "Approve plan 0123456789ab: restart on checkout"


def run(number: int, **changes: Any) -> dict[str, Any]:
    values = {
        "id": 7000 + number,
        "run_number": number,
        "display_title": TITLE,
        "event": "repository_dispatch",
        "status": "waiting",
    }
    return {**values, **changes}


def test_the_first_of_the_earlier_runs_comes_first() -> None:
    assert earlier_runs([run(3), run(1), run(2), run(4), run(5)], title=TITLE, before=4) == [7001, 7002, 7003]


@pytest.mark.parametrize(
    "changes",
    [
        {"display_title": run_title("checkout", "alert-10")},
        {"display_title": run_title("cart", "alert-9")},
        {"display_title": None},
        {"event": "workflow_dispatch"},
        {"event": "schedule"},
        {"status": "completed"},
        {"run_number": "1"},
        {"id": None},
    ],
)
def test_another_run_is_passed_over(changes: dict[str, Any]) -> None:
    assert earlier_runs([run(1, **changes)], title=TITLE, before=2) == []


@pytest.mark.parametrize(
    ("title", "found"),
    [
        (TITLE, True),
        ("checkout [-]", True),
        ("checkout [-] (dry run)", False),
        ("checkout-db [-]", False),
        ("check [-]", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("event", ["schedule", "workflow_dispatch", "repository_dispatch"])
def test_a_run_about_a_resource_is_known_by_its_title(title: str, event: str, found: bool) -> None:
    runs = [run(1, display_title=title, event=event)]
    assert earlier_runs_about(runs, resource="checkout", before=2) == [7001] * found
    assert earlier_runs_about(runs, resource="checkout", before=1) == []


@pytest.mark.parametrize(
    ("name", "status", "expected"),
    [
        (APPROVE, "waiting", True),
        (APPROVE, "in_progress", False),
        (APPROVE.replace(":", " (2 of 2):"), "waiting", True),
        (APPROVE.replace(":", " (3 of 2):"), "waiting", False),
        (APPROVE, "completed", False),
        (APPROVE + "-db", "waiting", False),
        (APPROVE.replace("restart", "stop"), "waiting", False),
        (APPROVE.replace(": ", ": x on y: "), "waiting", False),
        ("Investigate", "in_progress", False),
        ("Act", "waiting", False),
    ],
)
def test_a_plan_waits_where_its_job_does(name: str, status: str, expected: bool) -> None:
    assert waits_with([{"name": name, "status": status}], "restart on checkout") is expected


@given(st.lists(st.integers(1, 50), min_size=1, unique=True))
def test_one_run_of_a_storm_always_asks(numbers: list[int]) -> None:
    runs = [run(number) for number in numbers]
    asking = [number for number in numbers if not earlier_runs(runs, title=TITLE, before=number)]
    assert asking == [min(numbers)]


IDENTIFIERS = st.text("ab.:-", max_size=4).map("a".__add__)
ANYTHING = st.text("ab.:- []", max_size=8)


@given(IDENTIFIERS, IDENTIFIERS, ANYTHING, ANYTHING)
def test_no_other_values_give_the_same_title(resource: str, trace: str, other: str, another: str) -> None:
    """Anybody may name a run anything; the values that are looked for are plain identifiers."""
    assert inputs.resource(resource) and inputs.trace_id(trace, "")
    assert (run_title(other, another) == run_title(resource, trace)) == ((other, another) == (resource, trace))


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([("Investigate", "queued")], True),
        ([("Investigate", "in_progress")], True),
        ([("Investigate", "completed")], False),
        ([("Investigate", "completed"), ("Seal", "queued")], True),
        ([("Investigate", "completed"), ("Seal", "in_progress")], True),
        ([("Investigate", "completed"), ("Seal", "completed")], False),
        ([("Investigate", "completed"), (APPROVE, "waiting")], True),
        ([("Investigate", "completed"), (APPROVE, "pending")], True),
        ([("Investigate", "completed"), (APPROVE, "queued")], False),
        ([("Investigate", "completed"), (APPROVE, "in_progress")], False),
        ([("Investigate", "completed"), (APPROVE, "completed")], False),
        ([("Act", "in_progress"), ("Record", "queued")], False),
        ([], False),
    ],
)
def test_a_decision_is_open_until_somebody_clicks(jobs: list[tuple[str, str]], expected: bool) -> None:
    assert is_decision_open([{"name": name, "status": status} for name, status in jobs]) is expected
