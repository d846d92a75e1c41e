"""Whether the parts of a run belong together and its trail is whole: the same questions for `record` and `offline`.

What the agent's machines wrote (`investigate/`, `act/`) is compared with what was written on machines that never ran
team code (`seal/`, `approve/`, `claim/`, `verify/`), never the other way round.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from agent_runtime import codes
from agent_runtime.gate import gates
from agent_runtime.gate.bundle import (
    ACTED,
    Parts,
    RunOutcome,
    TrailProblem,
    contradiction,
    outcome_of_result,
)
from agent_runtime.model import config, documents, names
from agent_runtime.results import ActionStatus
from aimgentix.redact import REDACTED, TRUNCATED
from aimgentix.verify import instant


def check(
    parts: Parts, outcome: RunOutcome, *, expected_heads: Mapping[str, str], expected_digest: Optional[str]
) -> List[TrailProblem]:
    """Return what does not hold of a run: an empty list means that its trail is complete.

    Arguments:
        outcome: how the run ended.
        expected_heads: last journal hash that each job gave outside its journal; empty text for none.
        expected_digest: plan digest that was approved, or None.
    """
    found = list(parts.problems)
    for folder, head in expected_heads.items():
        if head and head not in parts.heads.get(folder, ()):
            found.append(TrailProblem(codes.TRAIL_TRUNCATED, f"{folder}: no journal ends with {head[:12]}"))
    found += _check_same_run(parts) + _check_same_plan(parts, expected_digest) + _check_investigation(parts)
    found += _check_policy(parts) + _check_outcome(outcome, parts)
    if outcome in ACTED:
        found += _check_action(parts) + _check_agreement(parts)
    return found


def _check_same_run(parts: Parts) -> List[TrailProblem]:
    # A comment starts a run of its own: the report is of another one, and the plan's digest ties them together.
    own_run = (*parts.receipts, parts.authorization, parts.result)
    runs = {repr(documents.plain(part.run)) for part in (*own_run, None if parts.by_comment else parts.report) if part}
    return [contradiction("report, receipt, authorization and result name different runs")] if len(runs) > 1 else []


def _check_same_plan(parts: Parts, expected: Optional[str]) -> List[TrailProblem]:
    digests = [("report", parts.plan_digest), *(("receipt", each.plan_digest) for each in parts.receipts)]
    for name, part in (("authorization", parts.authorization), ("result", parts.result)):
        digests.append((name, part.plan_digest if part else None))
    found = [
        contradiction(f"{name} is of plan {digest[:12]}, not {expected[:12]}")
        for name, digest in digests
        if digest and expected and digest != expected
    ]
    for folder, events in parts.events.items():
        for event in events:
            digest = event["metadata"].get("plan_digest")
            if digest and parts.plan_digest and digest != parts.plan_digest:
                found.append(contradiction(f"{folder}: an event is of plan {str(digest)[:12]}"))
    return found


def _check_policy(parts: Parts) -> List[TrailProblem]:
    """The policy file in the bundle, against the one that the plan was judged by."""
    entries = parts.steps("seal", names.STEP_POLICY)
    judged = {entry.get("policy_digest") for entry in entries}
    if parts.report and parts.report.plan:
        judged.add(parts.report.plan.policy.digest)
    kept = parts.policy_sha256 is not None or any(entry.get("policy_file") for entry in entries)  # by older ones not
    if not kept or judged == {parts.policy_sha256}:
        return []
    return [contradiction(f"seal/{names.POLICY_NAME} is not the policy that the plan was judged by")]


def _check_investigation(parts: Parts) -> List[TrailProblem]:
    """What the team's machine left, against what was sealed."""
    report = parts.report
    if report is None or report.investigation_sha256 is None or parts.by_comment:
        return []
    if parts.investigation_sha256 is None:
        return [TrailProblem(codes.TRAIL_MISSING, "what the job investigate handed over is gone")]
    if parts.investigation_sha256 != report.investigation_sha256:
        return [contradiction("what the job investigate left is not what was sealed")]
    if report.model and parts.transcript_sha256 is None:
        return [TrailProblem(codes.TRAIL_MISSING, "the conversation with the language model is gone")]
    if report.model and parts.transcript_sha256 != report.model.transcript_sha256:
        return [contradiction("the conversation with the language model is not the one that the report names")]
    if not parts.heads.get("investigate"):
        return [TrailProblem(codes.TRAIL_MISSING, "the job investigate left no journal")]
    if report.plan and parts.investigation:
        left = [(step.action, step.parameters, step.changes) for step in parts.investigation.steps]
        if left != [(step.action, step.parameters, step.changes) for step in report.plan.steps]:
            return [contradiction("the sealed steps are not those that the agent proposed")]
    return []


def _check_outcome(outcome: RunOutcome, parts: Parts) -> List[TrailProblem]:
    """The outcome against what Verify found and what Execute reports."""
    authorization, result = parts.authorization, parts.result
    intents = parts.steps("act", names.STEP_INTENT)
    found: List[TrailProblem] = []
    if (result or intents) and (authorization is None or not authorization.authorized):
        found.append(contradiction("Execute left something behind, and Verify authorized nothing"))
    if result is not None:
        expected = outcome_of_result(result)
        if authorization is not None and authorization.authorized and outcome is not expected:
            found.append(contradiction(f"the outcome is {outcome}, and the result says {result.status}"))
        if result.status is ActionStatus.REFUSED and result.code != codes.GATE_INTENT and intents and not result.steps:
            found.append(contradiction("the result says refused, and Execute wrote that it was about to act"))
    elif intents and outcome is not RunOutcome.OUTCOME_UNKNOWN:
        found.append(contradiction(f"the outcome is {outcome}, and Execute wrote that it was about to act"))
    refusals = [entry for folder in ("seal", "claim", names.VERIFY) for entry in parts.steps(folder, names.STEP_ERROR)]
    if outcome is RunOutcome.REFUSED and result is None and authorization is None and not refusals:
        found.append(contradiction("the outcome is refused, and nothing says by which check"))
    return found


def _check_action(parts: Parts) -> List[TrailProblem]:
    found: List[TrailProblem] = []

    def missing(what: str) -> None:
        found.append(TrailProblem(codes.TRAIL_MISSING, what))

    sealed = parts.report.plan if parts.report else None
    if sealed is None:
        missing("no report with a plan")
    if parts.authorization is None:
        missing("no authorization")
    if parts.result is None:
        missing("no action result")
    needed = 0 if parts.automatic else sealed.approvals.count if sealed else 1
    for what, there in (("approval receipts", parts.receipts), (f"events {names.STEP_APPROVED}", _approved(parts))):
        if len(there) != needed:
            missing(f"{len(there)} {what}, the plan needs {needed}")
    for folder, step in (
        ("seal", names.STEP_SEALED),
        *((("claim", names.STEP_CLAIMED),) if parts.by_comment else ()),
        (names.VERIFY, names.STEP_AUTHORIZED),
    ):
        if not parts.steps(folder, step):
            missing(f"{folder}: no event {step}")
    for step in (names.STEP_INTENT, names.STEP_OUTCOME):
        written = len(parts.steps("act", step))
        expected = len(parts.result.steps) if parts.result else 1
        if written != expected:
            missing(f"act: {written} events {step}, the result has {expected} steps")
    passed = [
        entry.get("check") for entry in parts.steps(names.VERIFY, names.STEP_CHECK) if entry["status"] == "success"
    ]
    gate = config.ISSUE_GATE if parts.by_comment else config.ENVIRONMENT_GATE
    for code in gates.check_codes(gate, automatic=parts.automatic):
        if code not in passed:
            missing(f"{names.VERIFY}: the check {code} did not pass")
    return found


def _check_agreement(parts: Parts) -> List[TrailProblem]:
    found = _check_decision(parts)
    sealed = parts.report.plan if parts.report else None
    result, authorization = parts.result, parts.authorization
    approvers = tuple(receipt.approver for receipt in parts.receipts)
    if approvers and authorization and approvers != authorization.approvers:
        found.append(contradiction("receipts and authorization name different approvers"))
    found += [
        contradiction(f"approve: the event {names.STEP_APPROVED} says approver {shown(entry.get('approver'))}")
        for entry, approver in zip(_approved(parts), parts.approvers)
        if contradicts(entry.get("approver"), approver)
    ]
    if sealed is None or result is None:
        return found
    if result.resource != sealed.resource:
        found.append(contradiction(f"the result's resource is {result.resource}, the plan's {sealed.resource}"))
    dry = all(step.status is ActionStatus.DRY_RUN for step in result.steps) and bool(result.steps)
    if sealed.dry_run is not dry:
        found.append(contradiction("what was executed is not what a dry run is, or the other way"))
    ran = [step.action for step in result.steps]
    planned = [step.action for step in sealed.steps]
    if ran != planned[: len(ran)]:
        found.append(contradiction(f"the agent reports the actions {ran}, the plan has {planned}"))
    ends = [step.status for step in result.steps]
    stopped = result.status not in (ActionStatus.SUCCESS, ActionStatus.ALREADY_DONE, ActionStatus.DRY_RUN)
    if result.status is not ActionStatus.REFUSED and ends[-1:] != [result.status]:
        found.append(contradiction(f"the result says {result.status}, and its last step something else"))
    if not stopped and len(ran) != len(planned):
        found.append(contradiction(f"the result says {result.status}, and {len(ran)} of {len(planned)} steps ran"))
    intents = [{"action": action, "dry_run": sealed.dry_run, "number": number} for number, action in enumerate(ran)]
    outcomes = [
        {"action": step.action, "outcome": step.status.value, "code": step.code, "number": number}
        for number, step in enumerate(result.steps)
    ]
    found += _compare_events(parts, "act", names.STEP_INTENT, intents)
    found += _compare_events(parts, "act", names.STEP_OUTCOME, outcomes)
    expires = documents.parse_time(sealed.expires_at)
    # An action that began after its plan had expired was not the one that was approved.
    return found + [
        contradiction(f"{folder}: {step} is of {event['timestamp']}, and the plan expired at {sealed.expires_at}")
        for folder, step in ((names.VERIFY, names.STEP_AUTHORIZED), ("act", names.STEP_INTENT))
        for event in parts.events.get(folder, [])
        if event["metadata"].get("step") == step and instant(event["timestamp"])[0].replace(microsecond=0) > expires
    ]


def _approved(parts: Parts) -> List[Dict[str, Any]]:
    """What the jobs that write receipts said of each approval, in their order."""
    return [entry for folder in ("approve", names.SECOND_JOB) for entry in parts.steps(folder, names.STEP_APPROVED)]


def _check_decision(parts: Parts) -> List[TrailProblem]:
    found: List[TrailProblem] = []
    # Only the job without a gate may have executed what nobody was asked about, and nothing else.
    expected = names.AUTO_JOB if parts.automatic else "act"
    for folder in (names.VERIFY, "act"):
        run_contexts = [event["metadata"].get("gha") for event in parts.events.get(folder, [])]
        jobs = {str(found.get("job")) if isinstance(found, dict) else "(none)" for found in run_contexts}
        if jobs - {expected}:
            sealed_for = "to act without asking" if parts.automatic else "for a review"
            where = " and ".join(sorted(jobs))
            found.append(contradiction(f"a plan that was sealed {sealed_for} was handled by the job {where}"))
    if parts.automatic and (parts.receipts or (parts.authorization and parts.authorization.approvers)):
        found.append(contradiction("somebody approved a plan that nobody was asked about"))
    return found


def _compare_events(parts: Parts, folder: str, step: str, known: List[Dict[str, Any]]) -> List[TrailProblem]:
    """What the events of one step say against what is known of each of them."""
    return [
        contradiction(f"{folder}: the event {step} says {name} {shown(entry.get(name))}")
        for entry, facts in zip(parts.steps(folder, step), known)
        for name, value in facts.items()
        if contradicts(entry.get(name), value)
    ]


def contradicts(said: Any, known: Any) -> bool:
    """Whether an event says something else; what was redacted or cut in it says nothing."""
    return bool(said != known) and not any(mark in str(said) for mark in (REDACTED, TRUNCATED))


def shown(value: Any) -> str:
    """A value for people; of somebody the login."""
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return ", ".join(shown(each) for each in value)
    login = value.get("login") if isinstance(value, dict) else None
    return str(value if login is None else login)
