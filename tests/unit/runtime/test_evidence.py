"""What GitHub's list of jobs says of a run: only a plain "no" counts as "it never began" (T37, T39)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.gate import evidence
from agent_runtime.gate.evidence import Jobs
from agent_runtime.github.api import GitHubApi
from support import examples
from support.github import FullGitHub

RUN = examples.run()
WHEN = "2026-11-22T11:00:00Z"
DIGEST = "0123456789ab" + "c" * 52
AUTO = "Act without asking on plan 0123456789ab: restart_service on checkout"
COMMENT = "Act on approval of plan 0123456789ab: restart_service on checkout"


def read(github: FullGitHub) -> Jobs:
    return evidence.read(GitHubApi(github.url, None, pause=lambda seconds: None), RUN)


def queued(github: FullGitHub, name: str = "Act") -> dict[str, Any]:
    """A job that was cancelled in the queue, beside others that ran."""
    for other in ("Investigate", "Seal", "Approve plan 0123456789ab: restart_service on checkout", "Record"):
        github.set_job(RUN.run_id, other, "in_progress", WHEN)
    github.set_job(RUN.run_id, name, "queued", WHEN)
    github.set_job(RUN.run_id, name, "completed", WHEN, "cancelled")
    return next(job for job in github.jobs[RUN.run_id] if job["name"] == name)


@pytest.mark.parametrize("name", ["Act", AUTO, COMMENT])
def test_a_job_that_left_the_queue_has_begun(name: str) -> None:
    with FullGitHub(RUN.repository) as github:
        queued(github, name)
        assert evidence.of_acting(read(github)) == evidence.of_executing(read(github)) == ""
        github.set_job(RUN.run_id, name, "in_progress", WHEN)
        github.set_job(RUN.run_id, name, "completed", WHEN, "cancelled")
        assert evidence.of_acting(read(github)) == "it began on the runner 'GitHub Actions 21'"


@pytest.mark.threat("T37", "T39")
@pytest.mark.parametrize(
    "changes",
    [
        {"runner_id": 7},
        {"runner_name": "own-1"},
        {"steps": [{"name": "Set up job"}]},
        {"steps": None},
        {"status": "in_progress"},
        {"name": "Something"},
        {"name": None},
    ],
    ids=str,
)
def test_the_least_sign_of_a_runner_and_whatever_can_not_be_read_count(changes: dict[str, Any]) -> None:
    with FullGitHub(RUN.repository) as github:
        queued(github).update(changes)
        assert evidence.of_acting(read(github)) != ""


@pytest.mark.threat("T37", "T39")
def test_an_earlier_attempt_that_began_counts() -> None:
    with FullGitHub(RUN.repository) as github:
        second = dict(queued(github), run_attempt=2)
        github.set_job(RUN.run_id, "Act", "in_progress", WHEN)
        github.jobs[RUN.run_id].append(second)
        assert "it began on the runner" in evidence.of_acting(read(github))


@pytest.mark.threat("T37")
def test_a_github_that_does_not_answer_does_not_say_no() -> None:
    with FullGitHub(RUN.repository) as github:
        queued(github)
        github.token = "another"
        jobs = read(github)
    for said in (evidence.of_acting(jobs), evidence.of_executing(jobs)):
        assert said.startswith("GitHub does not say whether it began (")


# Whether Execute began.


def step(conclusion: str | None, started: str | None = None, name: str = "Execute") -> dict[str, Any]:
    status = "queued" if conclusion is None else "completed"
    return {"name": name, "status": status, "conclusion": conclusion, "number": 5, "started_at": started}


def acting(*steps: Any, **changes: Any) -> dict[str, Any]:
    """A job that acts and ended, with these steps after Verify."""
    return {
        "name": "Act",
        "status": "completed",
        "conclusion": "failure",
        "runner_name": "GitHub Actions 21",
        "runner_id": 21,
        "steps": [step("success", WHEN, "Verify"), *steps],
        **changes,
    }


EXECUTING: list[tuple[str, list[dict[str, Any]], bool]] = [
    ("a step before it failed, and it was skipped", [acting(step("failure", WHEN, "Prepare"), step("skipped"))], False),
    ("cancelled before it was reached", [acting(step("cancelled"))], False),
    ("never reached", [acting(step(None))], False),
    ("not listed in a job that ended", [acting()], False),
    ("the queue was never left", [acting(status="completed", runner_id=0, runner_name="", steps=[])], False),
    ("it ended well", [acting(step("success", WHEN))], True),
    ("it failed", [acting(step("failure", WHEN))], True),
    ("it was cancelled while it ran", [acting(step("cancelled", WHEN))], True),
    ("its runner died while it ran", [acting(step(None, WHEN))], True),
    ("another word", [acting(step("neutral"))], True),
    ("it runs", [acting(step(None, WHEN), status="in_progress", conclusion=None)], True),
    ("the job runs, and the step is not reached", [acting(step(None), status="in_progress", conclusion=None)], True),
    ("the job waits again", [acting(step("skipped"), status="queued", conclusion=None)], True),
    ("two steps of that name", [acting(step("skipped"), step("success", WHEN))], True),
    ("an earlier attempt executed", [acting(step("skipped")), acting(step("success", WHEN))], True),
    ("the other job executed", [acting(step("skipped")), acting(step("failure", WHEN), name=AUTO)], True),
    ("the job of a comment executed", [acting(step("failure", WHEN), name=COMMENT)], True),
    ("no job acts", [{"name": "Seal", "status": "completed", "steps": [], "runner_id": 0}], True),
    ("there are no jobs", [], True),
]


@pytest.mark.threat("T37", "T39")
@pytest.mark.parametrize(("jobs", "began"), [row[1:] for row in EXECUTING], ids=[row[0] for row in EXECUTING])
def test_execute_never_began_only_where_github_shows_it(jobs: list[dict[str, Any]], began: bool) -> None:
    assert bool(evidence.of_executing(Jobs(jobs))) is began


@pytest.mark.threat("T37", "T39")
@pytest.mark.parametrize("steps", [None, "none", {}, [None], ["Execute"], [step("skipped"), None]])
def test_steps_that_can_not_be_read_are_no_reason_to_believe_that_nothing_ran(steps: Any) -> None:
    assert evidence.of_executing(Jobs([acting(steps=steps)])) == "GitHub's list of the steps of its job can't be read"


_word = st.sampled_from([None, "success", "failure", "cancelled", "skipped", "neutral", "timed_out", 1])


@given(_word, st.sampled_from([None, "", WHEN]), st.sampled_from(["completed", "in_progress", "queued", None]))
def test_a_step_that_has_a_start_and_was_not_skipped_began(conclusion: Any, started: Any, status: Any) -> None:
    said = evidence.of_executing(Jobs([acting(step(conclusion, started), status=status)]))
    if (
        (started and conclusion != "skipped")
        or conclusion in ("success", "failure", "timed_out")
        or status != "completed"
    ):
        assert said


# What contradicts the run's own outputs.

APPROVE: dict[str, Any] = {"name": "Approve plan 0123456789ab: restart_service on checkout", "conclusion": "success"}
GOOD: list[dict[str, Any]] = [
    {"name": "Investigate", "conclusion": "success"},
    {"name": "Seal", "conclusion": "success"},
    APPROVE,
    {"name": "Act", "conclusion": "success"},
    {"name": "Record", "conclusion": None},
]
RESULTS = {"investigate": "success", "seal": "success", "approve": "success", "act": "success"}
CONTRADICTIONS: list[tuple[str, list[dict[str, Any]], dict[str, str], str, str]] = [
    (
        "another plan waited",
        [{**APPROVE, "name": "Approve plan ffffffffffff: x on y"}],
        RESULTS,
        DIGEST,
        "another plan",
    ),
    ("another plan was not asked about", [{"name": AUTO.replace("0123", "ffff")}], RESULTS, DIGEST, "another plan"),
    ("another plan was commented", [{"name": COMMENT.replace("0123", "ffff")}], RESULTS, DIGEST, "another plan"),
    ("a plan waited, and none was sealed", [APPROVE], RESULTS, "", "another plan"),
    (
        "the digest stands elsewhere in upper case",
        [{**APPROVE, "name": "Approve plan 0123456789AB: x"}],
        RESULTS,
        DIGEST,
        "",
    ),
    (
        "seal failed on GitHub",
        [{"name": "Seal", "conclusion": "failure"}],
        RESULTS,
        DIGEST,
        "GitHub lists Seal as failure",
    ),
    (
        "act failed on GitHub",
        [{"name": "Act", "conclusion": "failure"}],
        RESULTS,
        DIGEST,
        "GitHub lists Act as failure",
    ),
    (
        "investigate was cancelled on GitHub",
        [{"name": "Investigate", "conclusion": "cancelled"}],
        RESULTS,
        DIGEST,
        "GitHub lists Investigate as cancelled",
    ),
]


def test_a_run_that_github_lists_as_it_says_has_no_contradiction() -> None:
    assert evidence.contradictions(Jobs(GOOD), RESULTS, DIGEST) == []
    skipped = {"name": "Approve plan : ", "conclusion": "skipped"}
    assert evidence.contradictions(Jobs([skipped]), {"seal": "failure"}, "") == []
    assert evidence.contradictions(Jobs([{"name": "Act", "conclusion": None}]), RESULTS, DIGEST) == []
    assert evidence.contradictions(Jobs(unknown="GitHub is away"), RESULTS, DIGEST) == []


@pytest.mark.threat("T8", "T14", "T36")
@pytest.mark.parametrize(
    ("jobs", "results", "digest", "reported"),
    [row[1:] for row in CONTRADICTIONS],
    ids=[row[0] for row in CONTRADICTIONS],
)
def test_what_github_lists_otherwise_is_reported(
    jobs: list[dict[str, Any]], results: dict[str, str], digest: str, reported: str
) -> None:
    found = evidence.contradictions(Jobs(jobs), results, digest)
    assert len(found) == 1 and reported in found[0]


@pytest.mark.threat("T4")
def test_a_name_that_somebody_chose_can_not_forge_a_line() -> None:
    (line,) = evidence.contradictions(Jobs([{"name": "Approve plan \n::error::x\x1b[2J"}]), RESULTS, DIGEST)
    assert "\n" not in line and "\x1b" not in line
