"""What started a run: resource, context and trigger, read from the run's own event by every job that asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional

from agent_runtime.github import context
from agent_runtime.model import inputs


@dataclass(frozen=True)
class Request:
    """What an investigation is about.

    Arguments:
        context: what the trigger says, untrusted.
        trigger: manual, alert or schedule.
        trace_id: as the trigger gave it; empty when it gave none.
        deduplicate: whether an earlier run that waits for a decision about the same trace makes this one needless.
        dry_run: whether everything is asked and checked, and nothing is executed.
        ask_again: whether the plan is shown even while another run waits with the same action on the same resource.
    """

    resource: str
    context: Dict[str, Any]
    trigger: str
    trace_id: str
    deduplicate: bool
    dry_run: bool
    ask_again: bool = False


def read(environ: Mapping[str, str], options: Any = None) -> Request:
    """Read what started this run: an alert from the event's file, everything else from variables.

    Arguments:
        options: of a command line, which win over the variables.

    Raises:
        BadInput: something in it is invalid; the message names it.
    """

    def given(option: str, variable: str) -> Optional[str]:
        return getattr(options, option, None) or environ.get(variable)

    dry_run = bool(getattr(options, "dry_run", False)) or inputs.switch("DRY_RUN", environ.get("DRY_RUN"))
    if environ.get("GITHUB_EVENT_NAME") == context.DISPATCH_EVENT:
        payload = inputs.alert(context.client_payload(environ))
        trace_id = payload.get("trace_id") or payload.get("fingerprint") or ""
        # Another trace is another matter: alerts give way by their trace only.
        return Request(payload["resource"], payload, "alert", trace_id, bool(trace_id), dry_run, ask_again=True)
    return Request(
        resource=inputs.resource(given("resource", "TARGET_RESOURCE")),
        context=inputs.context(given("context", "ACTION_CONTEXT")),
        trigger=inputs.trigger(given("trigger", "TRIGGER_SOURCE")),
        trace_id=inputs.trace_id(given("trace_id", "TRACE_ID"), ""),
        deduplicate=False,  # whoever asks is answered: that the same plan waits already shows once there is a plan
        dry_run=dry_run,
        ask_again=dry_run or inputs.switch("ASK_AGAIN", environ.get("ASK_AGAIN")),
    )
