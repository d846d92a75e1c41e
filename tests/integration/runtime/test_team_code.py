"""Team code is fenced and gets what was sealed; secrets that it knows are redacted before anything leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.agent import ActionResult, AgentRunner, InvestigationResult, ProposedAction
from agent_runtime.job.context import now
from agent_runtime.job.request import Request
from agent_runtime.local.terminal import as_terminal
from agent_runtime.model import documents, names, plan
from agent_runtime.results import ActionStatus, Finding
from agent_runtime.run import execute, investigate
from support import examples
from support.gate_world import GateWorld

SECRET = "correct-horse-battery-9"
AGENT = """
import json, os, subprocess, sys
from pathlib import Path

# What a hijacked module can learn before anything of the runtime's runs.
FILES = {name: os.environ.get(name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")}

from agent_runtime import *


def hostile(mode):
    print("::set-output name=decision::auto")
    print("##[add-mask]acme", flush=True)
    child = "import os, json; print('::error::child', flush=True); print(json.dumps(dict(os.environ)))"
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
    print(done.stdout.splitlines()[0], flush=True)
    Path("child.json").write_text(done.stdout.splitlines()[1])
    Path("seen.json").write_text(json.dumps(dict(os.environ)))
    for path in FILES.values():
        if path:
            Path(path).write_text("decision=auto\\n# Approved")


class Agent(AgentRunner):
    def investigate(self, resource, context=None):
        hostile("investigate")
        said = os.environ.get("DB_PASSWORD", "nothing")
        mode = (context or {}).get("mode")
        if mode == "raise":
            raise RuntimeError("with " + said)
        if mode == "none":
            return None
        parameters = {"dsn": said} if mode == "parameters" else {"error_rate": 0.31}
        return InvestigationResult(
            (Finding("log in as " + said, Severity.HIGH, {"dsn": "x://u:" + said + "@db", "list": [said]}),),
            "use " + said,
            RiskLevel.MEDIUM,
            float("nan") if mode == "nan" else 0.8,
            said + " is it",
            True,
            ProposedAction("restart_service", parameters, "because of " + said, RiskLevel.LOW, True, "undo: " + said),
        )

    def observe(self, resource):
        return {"started": 17}

    def act(self, resource, action, context=None):
        hostile("act")
        Path("acted.json").write_text(json.dumps([resource, action, context]))
        return ActionResult(ActionStatus.SUCCESS, ("said " + os.environ.get("DB_PASSWORD", "nothing"),))


if __name__ == "__main__":
    raise SystemExit(Agent.main())
"""


@pytest.fixture
def team(world: GateWorld) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of agent_runner.py as a step of a job."""
    (world.root / "agent_runner.py").write_text(AGENT)

    def run(job: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        folder = world.folder(job)
        files = {name: str(folder / name) for name in ("GITHUB_ENV", "GITHUB_PATH")}
        files.update(GITHUB_OUTPUT=str(folder / "output"), GITHUB_STEP_SUMMARY=str(folder / "summary"))
        for path in files.values():
            Path(path).touch()
        machine = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        runner = {"GITHUB_ACTIONS": "true", "ACTIONS_RUNTIME_TOKEN": "runner-token-1", "PYTHONUTF8": "1"}
        return subprocess.run(
            [sys.executable, "-B", str(world.root / "agent_runner.py"), *words],
            cwd=folder,
            env={**machine, **world.environ(), **files, **runner, "DB_PASSWORD": SECRET, **variables},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    return run


Team = Callable[..., subprocess.CompletedProcess[str]]


def executed(world: GateWorld, team: Team) -> subprocess.CompletedProcess[str]:
    """Execute a plan as the step does."""
    sealed = examples.sealed(issued_at=documents.format_time(now()), expires_at=documents.format_time(now() + HOUR))
    path = world.folder("act") / "plan.json"
    path.write_bytes(plan.canonical(sealed))
    return team("act", "execute", AGENT_PLAN_FILE=str(path), APPROVED_DIGEST=plan.digest(sealed), AGENT_JOB="act")


HOUR = timedelta(hours=1)


@pytest.mark.threat("T3", "T5")
@pytest.mark.parametrize("job", ["investigate", "act"])
def test_what_team_code_writes_to_the_runners_files_is_gone(world: GateWorld, team: Team, job: str) -> None:
    done = team("investigate", "investigate") if job == "investigate" else executed(world, team)
    assert done.returncode == 0, done.stderr
    for name in ("GITHUB_ENV", "GITHUB_PATH"):
        assert (world.folder(job) / name).read_text() == ""
    assert set(world.outputs(job)) == (set() if job == "investigate" else {"action_status", "journal_head"})
    assert "# Approved" not in world.page(job)
    hidden = {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH", "ACTIONS_RUNTIME_TOKEN"}
    for name in ("seen.json", "child.json"):
        assert not hidden & set(json.loads((world.folder(job) / name).read_text()))


@pytest.mark.threat("T33")
def test_a_value_that_only_this_machine_knows_is_redacted_before_it_leaves(world: GateWorld, team: Team) -> None:
    done = team("investigate", "investigate")
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    out = world.folder("investigate") / names.DEFAULT_OUT
    left = [path for path in out.rglob("*") if path.is_file()]
    assert len(left) >= 2
    for path in left:
        assert SECRET not in path.read_text(encoding="utf-8"), path.name
    found = documents.decode(documents.Investigation, (out / names.INVESTIGATION_NAME).read_bytes(), "i")
    assert found.error is None and len(found.steps) == 1
    assert executed(world, team).returncode == 0
    result = (world.folder("act") / names.EXECUTE_OUT / names.RESULT_NAME).read_text()
    assert "said " in result and SECRET not in result


@pytest.mark.threat("T33")
@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("parameters", codes.SECRET_IN_PLAN),
        ("raise", codes.INVESTIGATION_FAILED),
        ("none", codes.RESULT_INVALID),
        ("nan", codes.RESULT_INVALID),
    ],
)
def test_an_investigation_that_fails_says_so_without_secrets_and_proposes_nothing(
    world: GateWorld, team: Team, mode: str, code: str
) -> None:
    done = team("investigate", "investigate", ACTION_CONTEXT=json.dumps({"mode": mode}))
    assert done.returncode == 2
    assert code in done.stderr.splitlines()[-1]
    assert SECRET not in done.stdout + done.stderr
    data = (world.folder("investigate") / names.DEFAULT_OUT / names.INVESTIGATION_NAME).read_bytes()
    found = documents.decode(documents.Investigation, data, "i")
    assert (found.code, found.steps) == (code, ())
    assert SECRET.encode() not in data
    # And `seal` says what the agent said.
    outcome = world.seal(world.hand_over(data, "failure"))
    assert outcome.problem is not None and outcome.problem.code == codes.INVESTIGATION_FAILED
    assert code in outcome.problem.message


# Execute, step by step.


class Agent(AgentRunner):
    """Notes every call, and answers with what it was made with."""

    def __init__(self, *answers: Any, observed: dict[str, Any] | None = None) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self._answers = list(answers)
        self._observed = {"started": 17} if observed is None else observed

    def observe(self, resource: str) -> dict[str, Any]:
        return self._observed

    def act(self, resource: str, action: str, context: dict[str, Any] | None = None) -> Any:
        self.calls.append((resource, action, context))
        answer = self._answers.pop(0) if self._answers else ActionResult(ActionStatus.SUCCESS)
        if isinstance(answer, BaseException):
            raise answer
        return answer


THREE = (
    examples.step(action="drain", parameters={"zone": "a"}),
    examples.step(),
    examples.step(action="undrain", parameters={}),
)


def run_plan(
    world: GateWorld, agent: Agent, sealed: documents.Plan, digest: str | None = None
) -> execute.ExecuteResult:
    path = world.folder("act") / "plan.json"
    path.write_bytes(plan.canonical(sealed))
    return execute.run_job(
        agent, world.job("act"), resource="checkout", plan_path=path, approved_digest=digest or plan.digest(sealed)
    )


def fresh(*steps: documents.Step, **changes: Any) -> documents.Plan:
    times = {"issued_at": documents.format_time(now()), "expires_at": documents.format_time(now() + HOUR)}
    return examples.sealed(*steps, **{**times, **changes})


def trail(world: GateWorld) -> list[str]:
    """The steps of the trail that show an action."""
    reported = {"intent", "outcome", "error"}
    return [
        f"{event['step']} {event.get('action', event.get('code'))}"
        for event in world.events("act")
        if event["step"] in reported
    ]


def test_steps_run_in_order_with_exactly_their_parameters_each_with_intent_and_outcome(world: GateWorld) -> None:
    agent = Agent()
    done = run_plan(world, agent, fresh(*THREE))
    assert done.problem is None
    assert agent.calls == [("checkout", step.action, dict(step.parameters)) for step in THREE]
    assert [step.action for step in done.result.steps] == ["drain", "restart_service", "undrain"]
    assert trail(world) == [f"{word} {step.action}" for step in THREE for word in ("intent", "outcome")]
    assert world.outputs("act")["action_status"] == "success"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (ActionResult(ActionStatus.FAILED), ActionStatus.FAILED),
        (ActionResult(ActionStatus.PARTIAL), ActionStatus.PARTIAL),
        (ActionResult(ActionStatus.UNKNOWN), ActionStatus.UNKNOWN),
        (RuntimeError("lost"), ActionStatus.UNKNOWN),
        (None, ActionStatus.UNKNOWN),
        (SystemExit(0), ActionStatus.UNKNOWN),
        (ActionResult(ActionStatus.SUCCESS, changes=None), ActionStatus.UNKNOWN),  # type: ignore[arg-type]
        (ActionResult(ActionStatus.REFUSED), ActionStatus.UNKNOWN),
        (ActionResult(ActionStatus.DRY_RUN), ActionStatus.UNKNOWN),
        (ActionResult(ActionStatus.SUCCESS, verification={"x": float("nan")}), ActionStatus.UNKNOWN),
        (ActionResult(ActionStatus.SUCCESS, changes=(object(),)), ActionStatus.UNKNOWN),  # type: ignore[arg-type]
    ],
    ids=[
        "failed",
        "partial",
        "unknown",
        "raised",
        "nothing",
        "ended Python",
        "no changes",
        "refused",
        "dry run",
        "no number",
        "no text",
    ],
)
def test_the_first_step_that_does_not_succeed_stops_the_rest(
    world: GateWorld, answer: Any, status: ActionStatus
) -> None:
    agent = Agent(ActionResult(ActionStatus.ALREADY_DONE), answer)
    done = run_plan(world, agent, fresh(*THREE))
    assert len(agent.calls) == 2
    assert done.result.status is status
    assert [step.status for step in done.result.steps] == [ActionStatus.ALREADY_DONE, status]
    assert [line for line in trail(world) if not line.startswith("error")] == [
        "intent drain",
        "outcome drain",
        "intent restart_service",
        "outcome restart_service",
    ]


@pytest.mark.threat("T8", "T9", "T20")
@pytest.mark.parametrize(
    ("changes", "observed", "digest", "code"),
    [
        ({}, {"started": 17}, "0" * 64, codes.GATE_DIGEST),
        ({}, {"started": 18}, None, codes.GATE_PRECONDITION),
        ({}, {}, None, codes.GATE_PRECONDITION),
        (
            {"issued_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T01:00:00Z"},
            {"started": 17},
            None,
            codes.GATE_EXPIRED,
        ),
    ],
)
def test_what_changed_since_verify_refuses_before_anything_is_called(
    world: GateWorld, changes: dict[str, Any], observed: dict[str, Any], digest: str | None, code: str
) -> None:
    agent = Agent(observed=observed)
    done = run_plan(world, agent, fresh(**changes), digest)
    assert (done.result.status, done.result.code, agent.calls) == (ActionStatus.REFUSED, code, [])
    assert done.problem is not None and done.problem.code == code
    assert trail(world) == [f"error {code}"]


class Moving(Agent):
    """A world that moves with each action: one that changes what it says, and what somebody else changes."""

    def __init__(self, *moves: dict[str, Any]) -> None:
        super().__init__(observed={"version": 1, "leader": "a"})
        self._moves = list(moves)

    def observe(self, resource: str) -> dict[str, Any]:
        if self._observed.get("leader") is None:
            raise RuntimeError("no leader")
        return dict(self._observed)

    def act(self, resource: str, action: str, context: dict[str, Any] | None = None) -> Any:
        done = super().act(resource, action, context)
        self._observed.update(self._moves.pop(0))
        return done


DECLARED = tuple(dataclasses.replace(step, changes=("version",)) for step in THREE)


def test_before_each_step_only_what_the_last_one_changes_may_differ(world: GateWorld) -> None:
    agent = Moving({"version": 2}, {"version": 3}, {"leader": "b"})
    done = run_plan(world, agent, fresh(*DECLARED, preconditions={"version": 1, "leader": "a"}))
    assert (done.result.status, len(agent.calls)) == (ActionStatus.SUCCESS, 3)


@pytest.mark.threat("T9")
@pytest.mark.parametrize(
    ("moves", "steps", "calls", "said"),
    [
        ([{"version": 2}], THREE, 1, "since step 1 began: version was 1 and is 2"),
        ([{"version": 2}, {"leader": "b"}], DECLARED, 2, 'since step 2 began: leader was "a" and is "b"'),
        # Declared by the first, and moved by nobody who may during the second.
        ([{"version": 2}, {"version": 3}], (DECLARED[0], *THREE[1:]), 2, "since step 2 began: version was 2 and is 3"),
        ([{"leader": None}], DECLARED, 1, "what is so now is not known: observe() raised RuntimeError: no leader"),
    ],
    ids=["undeclared", "somebody else's", "declared by an earlier step", "not to be observed"],
)
def test_a_world_that_moves_otherwise_between_steps_stops_the_rest(
    world: GateWorld, moves: list[dict[str, Any]], steps: tuple[documents.Step, ...], calls: int, said: str
) -> None:
    agent = Moving(*moves)
    done = run_plan(world, agent, fresh(*steps, preconditions={"version": 1, "leader": "a"}))
    assert len(agent.calls) == calls
    assert (done.result.status, done.result.code, done.result.message) == (
        ActionStatus.REFUSED,
        codes.GATE_PRECONDITION,
        said,
    )
    assert [step.status for step in done.result.steps] == [ActionStatus.SUCCESS] * calls
    assert len([line for line in trail(world) if line.startswith("intent")]) == calls
    page = as_terminal(world.page("act"))
    assert page.startswith("Partial: checkout") and "Nothing was executed" not in page
    assert re.search(r"3 +undrain +not run", page)


def test_the_page_of_a_plan_that_stopped_says_what_a_person_must_do(world: GateWorld) -> None:
    steps = (
        dataclasses.replace(THREE[0], rollback="let the zone in again"),
        dataclasses.replace(THREE[1], rollback="start the version before"),
        THREE[2],
    )
    said = ActionResult(ActionStatus.FAILED, rollback="start version 16", details={"error": "HTTP 503"})
    done = run_plan(world, Agent(ActionResult(ActionStatus.SUCCESS), said), fresh(*steps))
    page = as_terminal(world.page("act"))
    for line in ("1     drain            success", "2     restart_service  failed", "3     undrain          not run"):
        assert line in page
    back = page[page.index("What to do now") :]
    assert back.index("step 2, restart_service, which may have taken effect in part") < back.index("start version 16")
    assert back.index("start version 16") < back.index("step 1, drain: let the zone in again")
    assert "undrain" not in back[: back.index("Step 1: drain")] and "start the version before" not in back
    assert done.planned == steps


# What can't be proposed, in one line each.
UNUSABLE: dict[str, tuple[str, dict[str, Any], str]] = {
    "both": (
        codes.RESULT_INVALID,
        {"proposed_action": ProposedAction("a"), "proposed_actions": (ProposedAction("b"),)},
        "both proposed_action and proposed_actions are given",
    ),
    "an empty list": (codes.RESULT_INVALID, {"proposed_actions": ()}, "proposed_actions is empty: leave it out"),
    "one action as a list": (codes.RESULT_INVALID, {"proposed_actions": ProposedAction("a")}, "not a tuple"),
    "a text": (codes.RESULT_INVALID, {"proposed_actions": ("a",)}, "proposed_actions[0] is str, not ProposedAction"),
    "a name with a space": (codes.RESULT_INVALID, {"proposed_actions": (ProposedAction("a b"),)}, "'a b'"),
    "changes as one text": (
        codes.RESULT_INVALID,
        {"proposed_actions": (ProposedAction("a", changes="started"),)},  # type: ignore[arg-type]
        "proposed_actions[0].changes is str, not a tuple",
    ),
    "a thousand": (
        codes.PLAN_STEPS,
        {"proposed_actions": tuple(ProposedAction(f"a-{number}") for number in range(1000))},
        "1000 steps are proposed; a plan has at most 10",
    ),
    "the same twice": (
        codes.PLAN_STEPS,
        {"proposed_actions": (ProposedAction("a", {"n": 1}), ProposedAction("b"), ProposedAction("a", {"n": 1.0}))},
        "step 3 is step 1 again: a with the same parameters",
    ),
    "a change of nothing that is observed": (
        codes.PLAN_STEPS,
        {"proposed_actions": (ProposedAction("a", changes=("version",)), ProposedAction("b"))},
        "step 1 changes 'version', which observe() does not return",
    ),
    "a step that overrides the one before": (
        codes.PLAN_STEPS,
        {"proposed_actions": tuple(ProposedAction("scale", {"to": to}, changes=("started",)) for to in (4, 2))},
        "step 2 overrides step 1: both are scale and change 'started', and no step between them",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_can_not_be_proposed_fails_in_one_line(world: GateWorld, name: str) -> None:
    code, proposed, said = UNUSABLE[name]

    class Proposing(Agent):
        def investigate(self, resource: str, context: dict[str, Any] | None = None) -> InvestigationResult:
            return InvestigationResult((Finding("it fails"),), "act", **proposed)

    job = world.job("investigate")
    asked = Request("checkout", {}, "manual", "", deduplicate=False, dry_run=False)
    with pytest.raises(codes.BadInput) as refused:
        investigate.run_job(Proposing(), job, asked)
    assert refused.value.code == code
    assert said in refused.value.message and "\n" not in refused.value.message
    left = documents.decode(
        documents.Investigation, (job.out / names.INVESTIGATION_NAME).read_bytes(), "investigation.json"
    )
    assert (left.code, left.steps) == (code, ())


@pytest.mark.threat("T8")
def test_a_plan_file_that_is_gone_or_is_none_refuses(world: GateWorld) -> None:
    for name, data in (("absent", None), ("empty", b""), ("other", b"{}")):
        path = world.folder("act") / name
        if data is not None:
            path.write_bytes(data)
        agent = Agent()
        done = execute.run_job(agent, world.job("act"), resource="x", plan_path=path, approved_digest="0" * 64)
        assert done.result.status is ActionStatus.REFUSED and agent.calls == []


def test_a_dry_run_declares_every_step_and_calls_nothing(world: GateWorld) -> None:
    agent = Agent()
    done = run_plan(world, agent, fresh(*THREE, dry_run=True))
    assert (done.result.status, agent.calls) == (ActionStatus.DRY_RUN, [])
    assert len(done.result.steps) == 3
    assert trail(world) == [f"{word} {step.action}" for step in THREE for word in ("intent", "outcome")]


def test_what_act_does_to_its_parameters_stays_there(world: GateWorld) -> None:
    class Greedy(Agent):
        def act(self, resource: str, action: str, context: dict[str, Any] | None = None) -> Any:
            assert context is not None
            context.update(requests=10**6)
            return super().act(resource, action, context)

    agent, sealed = Greedy(), fresh(examples.step(), examples.step())
    assert run_plan(world, agent, sealed).result.status is ActionStatus.SUCCESS
    assert len(agent.calls) == 2
    assert sealed.steps[0].parameters == {"error_rate": 0.31, "requests": 240}
