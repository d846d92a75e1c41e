"""Trials of the codes of a run: what it is given, what its jobs hand over, the gate, the agent and the trail."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from agent_runtime import codes
from agent_runtime.agent import ActionResult
from agent_runtime.gate.deliver import TRAIL_UNDELIVERED
from agent_runtime.gate.seal import Handover as Investigated
from agent_runtime.gate.verification import Handover
from agent_runtime.github import context
from agent_runtime.local.codes import (
    ATTESTATION_REFUTED,
    EVIDENCE_REFUTED,
    EVIDENCE_UNREADABLE,
    PARAMETERS_INVALID,
)
from agent_runtime.local.simulate.run import tampered
from agent_runtime.model import documents, inputs, names, plan
from agent_runtime.run import execute
from support import examples
from support.gate_world import CONFIG, POLICY, Agent, GateWorld, close_the_gate, whole_run
from support.private_sigstore import Sigstore, attest_bundle
from support.sdk.sink import Sink
from support.small_log import Parties, log_bundle
from support.trials.lab import Attempt, Lab, both, trial

# What somebody or something gives.
both(codes.RESOURCE_INVALID, lambda _: inputs.resource("a b"), lambda _: inputs.resource("a-b"))
both(codes.RESOURCE_MISSING, lambda _: inputs.resource(""), lambda _: inputs.resource("checkout"))
both(codes.TRACE_ID_INVALID, lambda _: inputs.trace_id("a b", "4711-1"), lambda _: inputs.trace_id("", "4711-1"))
both(codes.CONTEXT_INVALID, lambda _: inputs.context("[]"), lambda _: inputs.context('{"window_minutes": 60}'))
both(codes.TRIGGER_INVALID, lambda _: inputs.trigger("cron"), lambda _: inputs.trigger("schedule"))
both(codes.SWITCH_INVALID, lambda _: inputs.switch("DRY_RUN", "x"), lambda _: inputs.switch("DRY_RUN", "true"))
both(codes.ALERT_INVALID, lambda _: inputs.alert({"resource": 1}), lambda _: inputs.alert({"resource": "checkout"}))


def at_terminal(code: str, wrong: tuple[str, ...], right: tuple[str, ...], **variables: str) -> None:
    """A trial of two command lines; the first sees these variables."""

    @trial(code)
    def play(lab: Lab) -> Iterator[Attempt]:
        clone = lab.clone()
        yield lambda: clone.call(*wrong, **variables)
        yield lambda: clone.call(*right)


INVESTIGATE = ("investigate", "--resource", "checkout")
CHECK = ("policy", "check", "--action", "bump", "--resource", "checkout")
at_terminal(codes.RUN_CONTEXT_MISSING, ("execute",), ("simulate", "--resource", "checkout", "--reject"))
at_terminal(codes.USAGE, ("simulate", "--aprove"), ("simulate", "--help"))
at_terminal(codes.AUDIT_SETTING, INVESTIGATE, INVESTIGATE, AIMGENTIX_SEGMENT_BYTES="much")
at_terminal(PARAMETERS_INVALID, (*CHECK, "--parameters", "0.31"), (*CHECK, "--parameters", '{"rate": 0.31}'))


# What `seal` is handed over: something of the agent's, and then what the advice makes of it.
WHOLE = documents.plain(examples.investigation())


def handed(**changes: Any) -> bytes:
    """What the agent's machine hands over."""
    return json.dumps({**WHOLE, **changes}).encode()


def step(**changes: Any) -> bytes:
    """The same with another step."""
    return handed(steps=[{**WHOLE["steps"][0], **changes}])


def sealing(world: GateWorld, data: bytes) -> str:
    """What `seal` says of it."""
    problem = world.seal(world.hand_over(data)).problem
    return problem.line() if problem else ""


def sealed(data: bytes, lab: Lab) -> str:
    """The same in a new run."""
    return sealing(lab.world(), data)


# A new run hands over a whole document; the agent, once it is fixed, a plan that can be sealed.
for _code, _data in {
    codes.REPORT_TOO_LARGE: handed(analysis="x" * documents.MAX_REPORT_BYTES),
    codes.REPORT_NOT_JSON: handed()[:-20],
    codes.REPORT_SCHEMA: handed(decision="auto"),
    codes.REPORT_OTHER_RUN: handed(run={**WHOLE["run"], "run_id": "4712"}),
    codes.PLAN_NOT_CANONICAL: step(parameters={"n": 2**53}),
    codes.PLAN_STEPS: handed(steps=WHOLE["steps"] * 2),
    codes.SECRET_IN_PLAN: step(parameters={"note": "ghp_" + "a1B2" * 9}),
    codes.RESULT_INVALID: step(action="restart it, please"),
    codes.INVESTIGATION_FAILED: handed(steps=[], error="it raised", code="AGT001"),
}.items():
    both(_code, partial(sealed, _data), partial(sealed, handed()))


@trial(codes.SESSION_POLICY)
def a_wildcard_would_get_into_a_credential(lab: Lab) -> Iterator[Attempt]:
    yield lambda: sealing(cut(lab.world()), step(parameters={"group": "web-*"}))
    yield lambda: sealing(cut(lab.world()), step(parameters={"group": "web-1"}))


def cut(world: GateWorld) -> GateWorld:
    """Let the policy have a session policy for each action."""
    path = next((world.root / ".github" / "agent-policies").glob("*.yml"))
    path.write_text(CUT)
    return world


CUT = """
name: checkout-restart
version: 1
allowed_actions:
  - {type: restart_service, max_risk: medium, conditions: [{parameter: group, operator: starts_with, value: web-}]}
session_policies:
  restart_service:
    - {Effect: Allow, Action: "autoscaling:StartInstanceRefresh", Resource: "arn:aws:autoscaling:*:*:*/{group}"}
"""


@trial(codes.REPORT_MISSING)
def the_agents_job_failed(lab: Lab) -> Iterator[Attempt]:
    world = lab.world()
    yield lambda: str(world.seal(Investigated("", "", "failure")).problem and world.page("seal"))
    yield lambda: sealing(lab.world(), handed())


# Verify, in the run whose plan was approved; then in a run that begins after the advice was followed.
@dataclass
class Approved:
    """A sealed plan that bob approved."""

    world: GateWorld
    handover: Handover

    def report(self) -> dict[str, Any]:
        """The report, to be changed and sealed again with `resealed`."""
        data = (self.world.folder("seal") / names.DEFAULT_OUT / names.REPORT_NAME).read_bytes()
        return dict(json.loads(data))

    def resealed(self, report: dict[str, Any]) -> None:
        """Replace the report and every digest with it."""
        found = self.world.upload(names.REPORT_ARTIFACT, {names.REPORT_NAME: json.dumps(report).encode()})
        digest = plan.digest(report["plan"]) if report["plan"] else self.handover.plan_digest
        self.handover = Handover(digest, *found)


def approved(world: GateWorld, run_id: str = "4711", by: str = "bob") -> Approved:
    """Begin a run, seal its plan, and let somebody approve."""
    shutil.rmtree(world.root.parent / "jobs", ignore_errors=True)
    world.changes["GITHUB_RUN_ID"] = run_id
    outcome = world.seal(world.hand_over(handed(run={**WHOLE["run"], "run_id": run_id})))
    assert outcome.problem is None and outcome.report.plan is not None, outcome
    found = world.upload_folder(names.REPORT_ARTIFACT, world.folder("seal") / names.DEFAULT_OUT)
    if by:
        world.approved(by)
    return Approved(world, Handover(plan.digest(outcome.report.plan), *found))


def attack(code: str, spoil: Callable[[Approved], object], fix: Callable[[GateWorld], object] = lambda _: None) -> None:
    """A trial of a plan that *Verify* refuses, and of the next run."""

    @trial(code)
    def play(lab: Lab) -> Iterator[Attempt]:
        it = approved(lab.world())
        spoil(it)
        yield lambda: it.world.authorize(it.handover)
        fix(it.world)
        yield lambda: it.world.authorize(approved(it.world, "4712").handover)


def policy(text: str) -> Callable[[Any], None]:
    """Merge another policy."""

    def merge(where: Any) -> None:
        root = getattr(where, "world", where).root
        (root / ".github" / "agent-policies" / "checkout-restart.yml").write_text(text)

    return merge


def variable(name: str, value: str | None) -> Callable[[Any], None]:
    """Set a variable that jobs see, or remove it."""

    def change(where: Any) -> None:
        changes = getattr(where, "world", where).changes
        if value is None:
            changes.pop(name)
        else:
            changes[name] = value

    return change


def swapped(it: Approved) -> None:
    number = int(it.handover.report_id)
    run_id, name, data = it.world.github.archives[number]
    it.world.github.archives[number] = (run_id, name, tampered(data))


def expired(it: Approved) -> None:
    report = it.report()
    report["plan"].update(issued_at="2026-01-01T00:00:00Z", expires_at="2026-01-01T01:00:00Z")
    it.resealed(report)


LIMIT = "rate_limits:\n  - {type: restart_service, max: %d, per: 24h}\n"
ACT_VARIABLES = CONFIG + "act_variables: [CLUSTER]\n"


def begun_by_a_workflow(it: Approved) -> None:
    it.world.changes.update(GITHUB_ACTOR="github-actions[bot]", GITHUB_TRIGGERING_ACTOR="github-actions[bot]")
    report = it.report()
    for run in (report["run"], report["plan"]["run"]):
        run.update(actor="github-actions[bot]", triggering_actor="github-actions[bot]")
    it.resealed(report)


def begun_by_a_person(world: GateWorld) -> None:
    for name in ("GITHUB_ACTOR", "GITHUB_TRIGGERING_ACTOR"):
        del world.changes[name]


def overridden(it: Approved) -> None:
    (it.world.root / ".github" / "agent-config.yml").write_text(ACT_VARIABLES)
    it.world.changes[names.VARIABLE + "CLUSTER"] = "another"


attack(codes.GATE_DIGEST, lambda it: setattr(it, "handover", replace(it.handover, plan_digest="0" * 64)))
attack(codes.GATE_RUN, variable("GITHUB_RUN_ATTEMPT", "2"), variable("GITHUB_RUN_ATTEMPT", "1"))
attack(codes.GATE_EXPIRED, expired)
attack(codes.GATE_POLICY, policy(POLICY + "# edited\n"))
attack(
    codes.GATE_ENVIRONMENT, lambda it: it.world.github.create_open("agent-approval"), lambda w: close_the_gate(w.github)
)
attack(codes.GATE_APPROVAL, lambda it: it.world.github.approvals.clear())
attack(codes.GATE_CLAIMED, lambda it: it.world.github.add_artifact(it.world.run_id, names.RESULT_ARTIFACT))
attack(codes.GATE_DISABLED, variable("AGENT_DISABLED", "yes"), variable("AGENT_DISABLED", None))
attack(codes.GATE_INITIATOR, begun_by_a_workflow, begun_by_a_person)
attack(codes.GATE_VARIABLES, overridden)
attack(codes.GATE_API, lambda it: setattr(it.world.github, "budget", 0), lambda w: setattr(w.github, "budget", None))
attack(codes.REPORT_NO_PLAN, lambda it: it.resealed({**it.report(), "plan": None, "status": "nothing_to_do"}))


@trial(codes.GATE_ARTIFACT, by_hand="find out who replaced it")
def the_report_was_replaced(lab: Lab) -> Iterator[Attempt]:
    it = approved(lab.world())
    swapped(it)
    yield lambda: it.world.authorize(it.handover)


@trial(codes.GATE_RATE)
def a_rate_limit_is_full(lab: Lab) -> Iterator[Attempt]:
    world = lab.world(policy=POLICY + LIMIT % 1)
    it = approved(world)
    world.github.add_artifact("17", names.RECEIPT_ARTIFACT)
    world.github.add_job("17", "Approve plan 0123456789ab: restart_service on checkout")
    world.github.add_job("17", "Act")
    yield lambda: world.authorize(it.handover)
    policy(POLICY + LIMIT % 5)(world)
    yield lambda: world.authorize(approved(world, "4712").handover)


@trial(codes.APPROVERS_IMPOSSIBLE)
def only_who_started_the_run_may_approve(lab: Lab) -> Iterator[Attempt]:
    rules = "name: p\nversion: 1\nallowed_actions:\n  - {type: restart_service, approvers: [%s]}\n"
    world = lab.world(policy=rules % "alice")
    yield lambda: sealing(world, handed())
    policy(rules % "alice, bob")(world)
    yield lambda: sealing(world, handed())
    policy("name: p\nversion: 1\nallowed_actions:\n  - {type: restart_service, approvals: 2}\n")(world)
    for name in names.GATE_ENVIRONMENTS:  # as setup does for these approvers
        world.github.protect(name, reviewers=("bob", "carol"))
    yield lambda: sealing(world, handed())


class Late(Agent):
    """Finds another process than the one that was sealed."""

    def observe(self, resource: str) -> dict[str, Any]:
        return {"started": 18}


class Raises(Agent):
    """Loses the connection while it acts."""

    def act(self, resource: str, action: str, context: dict[str, Any] | None = None) -> ActionResult:
        raise RuntimeError("lost the connection")


class FullDisk(Agent):
    """Uses up the disk between the first event and the intent."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal

    def observe(self, resource: str) -> dict[str, Any]:
        for link in Path("/proc/self/fd").iterdir():
            if os.path.realpath(link).startswith(str(self.journal.resolve())):
                with Path("/dev/full").open("wb") as full:
                    os.dup2(full.fileno(), int(link.name))
        return {"started": 17}


def executed(lab: Lab, agent: Callable[[Path], Agent]) -> str:
    """What the page says after *Execute* of an authorized plan; the agent is played where its journal is."""
    world = lab.world()
    it = approved(world)
    world.authorize(it.handover)
    job = replace(world.job("act"), out=world.folder("act") / names.EXECUTE_OUT)
    path = world.folder("act") / names.DEFAULT_OUT / names.PLAN_NAME
    digest = it.handover.plan_digest
    done = execute.run_job(agent(job.journal), job, resource="checkout", plan_path=path, approved_digest=digest)
    return world.page("act") + (done.problem.line() if done.problem else "")


both(codes.GATE_PRECONDITION, lambda lab: executed(lab, lambda _: Late()), lambda lab: executed(lab, lambda _: Agent()))
both(codes.GATE_INTENT, lambda lab: executed(lab, FullDisk), lambda lab: executed(lab, lambda _: Agent()))


@trial(codes.OUTCOME_UNKNOWN, by_hand="look at the resource")
def act_raises(lab: Lab) -> Iterator[Attempt]:
    yield lambda: executed(lab, lambda _: Raises())


@trial(codes.ACTION_FAILED, by_hand="look at the resource")
def act_fails(lab: Lab) -> Iterator[Attempt]:
    clone = lab.clone()
    path = clone.root / "agent_runner.py"
    path.write_text(
        path.read_text().replace(
            'return ActionResult(ActionStatus.SUCCESS, ("b', 'return ActionResult(ActionStatus.FAILED, ("b'
        )
    )
    yield lambda: clone.simulate("--approve")[1]


# The trail.
def recorded(lab: Lab, change: Callable[[GateWorld, dict[str, Any]], object] = lambda *_: None) -> str:
    """What `record` says of a whole run, after something happened to what the jobs hand over."""
    world = lab.world()
    needs = whole_run(world)
    change(world, needs)
    ending = world.record(needs)
    return world.page("record") + "\n".join(f"{problem.code}: {problem.message}" for problem in ending.problems)


def never_executed(world: GateWorld, needs: dict[str, Any]) -> None:
    kept = {name: value for name, value in needs["act"]["outputs"].items() if not name.startswith("result")}
    needs["act"] = {"result": "failure", "outputs": {**kept, "action_status": "", "journal_head": ""}}
    world.github.add_job(world.run_id, "Act", conclusion="failure")
    world.github.set_steps(world.run_id, "Act", {"Verify": "success", "Execute": "skipped"})


def output(job: str, name: str, value: str) -> Callable[[GateWorld, dict[str, Any]], None]:
    """Change an output of a job."""
    return lambda _, needs: needs[job]["outputs"].update({name: value})


both(codes.NOT_STARTED, lambda lab: recorded(lab, never_executed), recorded)
for _code, _by_hand, _change in (
    (codes.TRAIL_MISSING, "look at the resource", output("seal", "journal_head", "")),
    (codes.TRAIL_TRUNCATED, "compare the bundle with the backend's copy", output("seal", "journal_head", "0" * 64)),
):

    @trial(_code, by_hand=_by_hand)
    def a_journal_is_not_whole(lab: Lab, change: Any = _change) -> Iterator[Attempt]:
        yield lambda: recorded(lab, change)


@trial(codes.TRAIL_BROKEN, by_hand="compare the bundle with the backend's copy")
def an_event_was_edited(lab: Lab) -> Iterator[Attempt]:
    clone, bundle = lab.acted()
    journal = next((bundle / "act").rglob("*.jsonl"))
    journal.write_text(journal.read_text().replace("checkout", "payments", 1))
    yield lambda: clone.call("verify", str(bundle))


@trial(codes.TRAIL_MISMATCH)
def the_download_is_not_whole(lab: Lab) -> Iterator[Attempt]:
    clone, whole = lab.acted()
    download = Path(shutil.copytree(whole, lab.place()))
    (download / "seal" / names.REPORT_NAME).write_text("{}")
    yield lambda: clone.call("verify", str(download))
    shutil.copytree(whole, download, dirs_exist_ok=True)
    yield lambda: clone.call("verify", str(download))


@trial(codes.BUNDLE_MISSING)
def the_folder_is_another(lab: Lab) -> Iterator[Attempt]:
    clone, whole = lab.acted()
    yield lambda: clone.call("verify", str(whole / "seal"))
    yield lambda: clone.call("verify", str(whole))


@trial(EVIDENCE_REFUTED)
def the_proof_is_missing(lab: Lab) -> Iterator[Attempt]:
    clone, bundle = lab.acted()
    parties, policy = Parties(), lab.place()
    policy.write_bytes(parties.policy())
    yield lambda: clone.call("verify", str(bundle), "--policy", str(policy))
    log_bundle(bundle, parties, 1_800_000_000 - 10**8)
    yield lambda: clone.call("verify", str(bundle), "--policy", str(policy))


@trial(EVIDENCE_UNREADABLE)
def the_policy_is_not_one(lab: Lab) -> Iterator[Attempt]:
    clone, bundle = lab.acted()
    parties, policy = Parties(), lab.place()
    log_bundle(bundle, parties, 1_800_000_000 - 10**8)
    policy.write_text("the log's key\n")
    yield lambda: clone.call("verify", str(bundle), "--policy", str(policy))
    policy.write_bytes(parties.policy())
    yield lambda: clone.call("verify", str(bundle), "--policy", str(policy))


@trial(ATTESTATION_REFUTED)
def the_attestation_is_of_another_run(lab: Lab) -> Iterator[Attempt]:
    clone, bundle = lab.acted()
    sigstore, root, beside = Sigstore(public=False), lab.place(), bundle.with_name(f"{bundle.name}.sigstore.json")
    root.write_bytes(sigstore.root())
    beside.write_bytes(attest_bundle(sigstore, bundle, run_id="1"))
    yield lambda: clone.call("verify", str(bundle), "--trusted-root", str(root))
    beside.write_bytes(attest_bundle(sigstore, bundle))
    yield lambda: clone.call("verify", str(bundle), "--trusted-root", str(root))


@trial(codes.TRAIL_UNWRITABLE)
def the_journal_can_not_be_written(lab: Lab) -> Iterator[Attempt]:
    clone = lab.clone()
    (clone.root / "agent-run").mkdir()
    (clone.root / "agent-run" / "journal").write_text("a file")
    yield lambda: clone.call(*INVESTIGATE)
    (clone.root / "agent-run" / "journal").unlink()
    yield lambda: clone.call(*INVESTIGATE)


@trial(TRAIL_UNDELIVERED)
def the_address_of_the_backend_is_wrong(lab: Lab) -> Iterator[Attempt]:
    clone, bundle = lab.acted()
    command = (("-I", "agent_runtime/__main__.py"), "deliver", str(bundle))
    yield lambda: clone.run(*command, AIMGENTIX_API_URL="audit.example.com")
    sink = lab.stack.enter_context(Sink())
    yield lambda: clone.run(*command, AIMGENTIX_API_URL=sink.url)


@trial(codes.FILE_UNUSABLE)
def a_part_of_the_bundle_can_not_be_read(lab: Lab) -> Iterator[Attempt]:
    clone, bundle = lab.acted()
    command = (("-I", "agent_runtime/__main__.py"), "deliver", str(bundle))
    (bundle / "act" / "journal").rename(bundle / "act" / "moved")
    (bundle / "act" / "journal").symlink_to(bundle / "act" / "journal")
    yield lambda: clone.run(*command)
    (bundle / "act" / "journal").unlink()
    (bundle / "act" / "moved").rename(bundle / "act" / "journal")
    yield lambda: clone.run(*command)


both(
    codes.SERVER_UNSUPPORTED,
    lambda _: context.check_server("https://github.example.com"),
    lambda _: context.check_server("https://octocorp.ghe.com"),
)
