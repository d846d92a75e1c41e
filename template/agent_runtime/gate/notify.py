"""Notify: say that a plan waits, and how its run ended, in a message to every address that the team named.

Decides nothing, and nothing depends on it.  A message holds the runtime's words and what is sealed, none of the agent's
own text.  Every address gets it at once and within a fixed time; an address is a secret, and only its number and its
scheme are ever shown.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Sequence

from agent_runtime import codes
from agent_runtime.gate import environment_checks
from agent_runtime.gate.bundle import RunOutcome
from agent_runtime.gate.pages import common
from agent_runtime.gate.pages import record as pages
from agent_runtime.gate.verification import Handover, Verification
from agent_runtime.github import archive, outputs
from agent_runtime.github.api import GitHubApi
from agent_runtime.job.context import JobContext
from agent_runtime.model import documents, names, plan
from agent_runtime.model.documents import Plan, Report
from agent_runtime.text.escape import markdown_block, markdown_inline, message
from agent_runtime.text.markdown import page
from agent_runtime.text.strict_json import strict_json

# Nothing depends on messages.
NOT_SENT = codes.register(
    "NOTE01",
    "a message did not arrive everywhere",
    "The run is as it would be without messages. Fix the address that the log names by its number, in the secret "
    "AGENT_NOTIFY_URLS; docs/SETUP_GUIDE.md, section Messages, says how to try one",
)
NO_ADDRESS = codes.register(
    "NOTE02",
    "there is nobody to send a message to",
    "Store 1 to 20 addresses, a line each: gh secret set AGENT_NOTIFY_URLS --env agent-notify < FILE "
    "(without --env on GitHub Free); or turn messages off: python agent_runner.py update --set notify=no",
)

MAX_ADDRESSES = 20

_SCHEME = re.compile(r"([a-z][a-z0-9]{0,19})://")
_MOODS = {RunOutcome.ACTED: "success", RunOutcome.DRY_RUN: "success", RunOutcome.WAITING: "warning"}
_APPROVES_NOTHING = "This message approves nothing: decide on the page, and compare the plan's digest there."


@dataclass(frozen=True)
class Message:
    """What is sent, in Markdown: a title, a sentence and facts; `mood` is `warning`, `success` or `failure`."""

    title: str
    sentence: str
    facts: Sequence[str]
    mood: str

    @property
    def body(self) -> str:
        """Everything below the title."""
        return page([self.sentence, "\n".join(f"- {fact}" for fact in self.facts)])


@dataclass(frozen=True)
class Sent:
    """What became of a message: a line for each address, in their order, and how many did not take it."""

    results: Sequence[str]
    failed: int


def waiting(job: JobContext, handover: Handover, issue: str) -> Message:
    """That the plan which `seal` left waits for an approval.

    Arguments:
        issue: number of the issue that asks; empty where a page does.

    Raises:
        GateRefused, BadInput: the report is not this run's; nothing is sent then.
    """
    api = GitHubApi.from_environment(job.environ)
    sealed = _sealed(api, job, handover)
    title = f"Approve plan {plan.short(handover.plan_digest)}: {_what(sealed)}?"
    return Message(title, _APPROVES_NOTHING, [*_facts(api, job, sealed), *_issue(job, issue)], "warning")


def second(job: JobContext, handover: Handover) -> Message:
    """That the plan has the first of its two approvals, and who may give the other.

    Raises: as `waiting()`; also where GitHub's record has no such approval.
    """
    api = GitHubApi.from_environment(job.environ)
    sealed = _sealed(api, job, handover)
    records = api.approvals(job.run.repository, job.run.run_id)
    first = replace(sealed.approvals, count=1)
    ((approver, _),) = environment_checks.check_approvals(records, job.run, handover.plan_digest, first)
    title = f"One more approval for plan {plan.short(handover.plan_digest)}: {_what(sealed)}?"
    facts = [*_facts(api, job, sealed), *_still_needed(job, sealed, approver.login)]
    return Message(title, _APPROVES_NOTHING, facts, "warning")


def _sealed(api: GitHubApi, job: JobContext, handover: Handover) -> Plan:
    state = Verification(api, job, handover)
    state.fetch_report()
    state.check_digest()
    state.check_run()
    return state.plan


def ended(job: JobContext, bundle_id: str, bundle_digest: str, resource: str) -> Message:
    """How a run ended, as the bundle that `record` left has it.

    Arguments:
        resource: what the run is about, for a run that left no bundle.
    """
    api = GitHubApi.from_environment(job.environ)
    run = f"Run: {_link(job.run_url())}"
    try:
        files = archive.fetch(api, job.run.repository, bundle_id, bundle_digest)
        manifest: Mapping[str, Any] = strict_json(files[names.MANIFEST_NAME])
        outcome = RunOutcome(manifest["outcome"])
        data = files.get(f"seal/{names.REPORT_NAME}")
        sealed = documents.decode(Report, data, names.REPORT_NAME).plan if data else None
    except (codes.AgentError, KeyError, TypeError, ValueError):
        title = f"Nobody knows how a run about {message(resource) or 'an unknown resource'} ended"
        return Message(title, "Its record can't be read: look at the run, and at the resource.", [run], "failure")
    mark = f"Plan {plan.short(plan.digest(sealed))}" if sealed else "Run"
    what = _what(sealed) if sealed else message(resource) or "unknown"
    facts = _facts(api, job, sealed) if sealed else []
    approvers = ", ".join(message(str(each["login"])) for each in manifest["approvers"])
    rejected_by = message(manifest["rejected_by"] or "")
    facts += [f"{who}: {name}" for who, name in (("Approved by", approvers), ("Rejected by", rejected_by)) if name]
    problems = len(manifest["problems"])
    facts += [f"Trail: {f'incomplete, {problems} problems' if problems else 'complete'}", run]
    facts += _issue(job, str(manifest["issue"] or ""))
    if sealed and outcome is RunOutcome.WAITING:  # the first of two approvals: who commented started this run
        facts += _still_needed(job, sealed, job.run.actor)
    mood = "failure" if problems else _MOODS.get(outcome, "failure")
    return Message(f"{mark}: {outcome.value.replace('_', ' ')} ({what})", pages.sentence(outcome.value), facts, mood)


def _what(sealed: Plan) -> str:
    return f"{message(sealed.title)} on {message(sealed.resource)}"


def _facts(api: GitHubApi, job: JobContext, sealed: Plan) -> List[str]:
    """What, on what, how risky, which plan, until when, and where its page is."""
    risk = max((step.risk_level for step in sealed.steps), key=lambda level: level.rank)
    undo = "can be undone" if all(step.reversible for step in sealed.steps) else "can't be undone"
    count = sealed.approvals.count
    return [
        f"What: {', then '.join(message(step.action) for step in sealed.steps)}",
        *(["Dry run: nothing will be executed"] if sealed.dry_run else []),
        f"On: {message(sealed.resource)}",
        f"Risk: {risk}, {undo}, says the agent",
        f"Plan: {plan.digest(sealed)}",
        f"Valid until: {common.time(sealed.expires_at)}",
        *([f"Approvals needed: {count}"] if count > 1 else []),
        f"Page: {_link(_page_url(api, job, sealed))}",
    ]


def _still_needed(job: JobContext, sealed: Plan, approver: str) -> List[str]:
    """Who gave the first of two approvals, and who may give the other."""
    out = {login.casefold() for login in (approver, sealed.run.actor, sealed.run.triggering_actor)}
    named = sealed.approvals.approvers or job.config.approvers
    others = [message(name) for name in named if name.casefold() not in out]
    return [
        f"Approved by: {message(approver)}",
        f"Still needed: 1 approval, by {' or '.join(others) or 'somebody else'}",
    ]


def _page_url(api: GitHubApi, job: JobContext, sealed: Plan) -> str:
    """Address of the page that `seal` wrote, among those of other jobs of its run; else of the run."""
    run = job.run_url(sealed.run.run_id)
    try:
        listed = api.jobs(job.run.repository, sealed.run.run_id)
    except codes.AgentError:
        return run
    found = [each.get("id") for each in listed if each.get("name") == names.SEAL_JOB]
    return f"{run}#summary-{found[0]}" if len(found) == 1 and isinstance(found[0], int) else run


def _issue(job: JobContext, number: str) -> List[str]:
    repository = job.run_url().rpartition("/actions/")[0]
    return [f"Issue: {_link(f'{repository}/issues/{number}')}"] if number.isdigit() else []


def _link(address: str) -> str:
    """An address that can be clicked, and read where links are not shown."""
    return f"[{address}]({address})"


def send(job: JobContext, text: Message, addresses: str, seconds: float) -> Sent:
    """Send a message to every address, a line each, and write into the summary what became of it.

    Arguments:
        seconds: for how long all of them together may take.

    Raises:
        BadInput: there is no address (NOTE02), or there are too many.
    """
    # Only the jobs that send messages have it.
    import apprise  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    logging.disable(logging.CRITICAL)  # addresses would be in it, and what services answer
    listed = [line.strip() for line in addresses.splitlines() if line.strip()]
    if not 1 <= len(listed) <= MAX_ADDRESSES:
        count = f"{len(listed)} addresses, at most {MAX_ADDRESSES} are taken" if listed else "it holds no address"
        raise codes.BadInput(NO_ADDRESS, f"{names.NOTIFY_SECRET}: {count}")
    problems: Dict[int, str] = {}

    def attempt(number: int, address: str) -> None:
        problems[number] = _send(apprise, text, address)

    # Daemons: one that hangs does not keep the process from ending.
    threads = [threading.Thread(target=attempt, args=each, daemon=True) for each in enumerate(listed)]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    results, failed = [], 0
    for number, address in enumerate(listed):
        problem = problems.get(number, f"no answer within {seconds:g} seconds")
        scheme = _SCHEME.match(address)
        where = f"address {number + 1} of {len(listed)} ({scheme.group(1) if scheme else 'no scheme'})"
        results.append(f"{where}: {problem or 'sent'}")
        failed += bool(problem)
    outputs.write_summary(
        job.environ,
        page(
            [
                f"# {'Not sent everywhere' if failed else 'Sent'}",
                markdown_block(f"{text.title}\n\n{text.body}".rstrip("\n")),
                "\n".join(f"- {result}" for result in results),
            ]
        ),
    )
    return Sent(results, failed)


def refuse(job: JobContext, problem: codes.AgentError) -> None:
    """Write into the summary why nothing was sent."""
    outputs.write_summary(job.environ, page(["# Nothing was sent", markdown_inline(problem.line())]))


def _send(apprise: Any, text: Message, address: str) -> str:
    """Send a message to one address; return why it did not arrive, in words that hold nothing of the address."""
    try:
        # Without a time limit of apprise's own, which would leave a thread that keeps the process from ending.
        asset = apprise.AppriseAsset(app_id="Agent", async_mode=False, service_timeout=0, image_url_mask=False)
        sender = apprise.Apprise(asset=asset)
        service = apprise.Apprise.instantiate(address, asset=asset)
        if service is None:
            return "not an address that apprise knows"
        sender.add(service)
        taken = sender.notify(
            title=text.title,
            body=text.body,
            body_format=apprise.NotifyFormat.MARKDOWN,
            notify_type=apprise.NotifyType(text.mood),
        )
        return "" if taken else "the service did not take the message"
    except Exception as problem:  # plugins of others: whatever it is, the other addresses get the message
        return f"failed ({type(problem).__name__})"
