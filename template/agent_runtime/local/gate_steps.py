"""What the jobs of the gate consist of: their steps in order, what each is told, and what a job tells the next.  Pure.

A gate whose jobs run something else is none, whatever its environments are.  So there is one text that a step may run,
one place that each value may come from, and nothing beside it (CON33, CON34).  The workflows below .github/workflows
are the other half of this table; a test holds every rendering of them to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Iterator, List, Mapping, Tuple

from agent_runtime.local.workflow_file import (
    ACTING,
    ASKING,
    WHOLE,
    File,
    Job,
    Value,
    action,
    condition,
    expression,
    expressions,
)
from agent_runtime.model import names

Finding = Tuple[int, str]

AUTO = names.AUTO_JOB

# Variables of the team's own.  Nothing on a runner and no library reads a name that begins like this.
OWN_PREFIX = "AGENT_OWN_"
# Where an audit backend or a token is not used, these may be left out; another value is never theirs.
_OPTIONAL = frozenset({"AIMGENTIX_API_URL", "AIMGENTIX_API_KEY", "AGENT_ACT_TOKEN"})

# What turns the id-token of `act` into credentials.  They need no secret and run no script of the repository.
CREDENTIALS = ("aws-actions/configure-aws-credentials", "azure/login", "google-github-actions/auth")

# What the event and its sender say; of `github` the rest is the same whoever starts the run.
_OF_THE_INITIATOR = re.compile(
    r"\binputs\b|\bgithub\b(?!\s*\.\s*(?:repository\w*|sha|run_\w+|server_url|api_url|workspace|token)\b)",
    re.IGNORECASE,
)

CHECKOUT, SETUP = "actions/checkout", "./.github/actions/setup-agent"
UPLOAD, DOWNLOAD = "actions/upload-artifact", "actions/download-artifact"
_UPLOAD_INPUTS = frozenset({"name", "path", "retention-days", "overwrite", "if-no-files-found", "compression-level"})


@dataclass(frozen=True)
class Step:
    """One step.

    Arguments:
        uses, run: one of both; the action by its name alone.
        env, inputs: expressions and texts by name; of `inputs` only those that must be so.
        optional: whether the job is whole without it.
    """

    uses: str = ""
    run: str = ""
    id: str = ""
    condition: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False

    def __str__(self) -> str:
        what = "run: " + self.run if self.run else "uses: " + self.uses
        given = ", ".join("{}: {}".format(*item) for item in self.inputs.items())
        return f"{what} ({given})" if given else what


def _needs(job: str, *names_: str, **renamed: str) -> Dict[str, str]:
    pairs = {**{name.upper(): name for name in names_}, **renamed}
    return {key: f"needs.{job}.outputs.{value}" for key, value in pairs.items()}


def _phase(words: str, env: Mapping[str, str], id: str = "", condition: str = "", *, optional: bool = False) -> Step:
    return Step(run="python agent_runner.py " + words, id=id, condition=condition, env=env, optional=optional)


def _keep(artifact: str, id: str = "", path: str = names.DEFAULT_OUT + "/") -> Step:
    return Step(uses=UPLOAD, id=id, condition="always()", inputs={"name": artifact, "path": path})


def _fetch(job: str, output: str, path: str, *, always_there: bool = True) -> Step:
    artifact = f"needs.{job}.outputs.{output}"
    asked = "" if always_there else artifact + " != ''"
    return Step(uses=DOWNLOAD, condition=asked, inputs={"artifact-ids": "${{ " + artifact + " }}", "path": path})


_IN = "agent-run-in"
_REPORT = f" --report {_IN}/{names.REPORT_NAME}"
_START = (Step(uses=CHECKOUT), Step(uses=SETUP))
_TOKEN = {"GITHUB_TOKEN": "github.token"}
_SWITCH = {"AGENT_DISABLED": "vars.AGENT_DISABLED"}
_AUDIT = {"AIMGENTIX_API_URL": "vars.AIMGENTIX_API_URL", "AIMGENTIX_API_KEY": "secrets.AIMGENTIX_API_KEY"}
_PLAN = _needs("investigate", "trace_id", TARGET_RESOURCE="resource", APPROVED_DIGEST="plan_digest")
_SEALED = {**_PLAN, **_needs("investigate", "report_sha256")}
_COMMENTED = _needs("approve", "trace_id", TARGET_RESOURCE="resource", APPROVED_DIGEST="plan_digest")
_ASKED = {
    **_needs("investigate", "trace_id", "report_sha256", "report_artifact_id", "report_artifact_sha256"),
    **_needs("investigate", APPROVED_DIGEST="plan_digest"),
}
_EVENT = {
    "TARGET_RESOURCE": "inputs.resource || vars.TARGET_RESOURCE",
    "ACTION_CONTEXT": "inputs.action_context",
    "TRIGGER_SOURCE": "inputs.trigger_source || (github.event_name == 'schedule' && 'schedule') || 'alert'",
    "TRACE_ID": "inputs.trace_id",
    "DRY_RUN": "inputs.dry_run",
}


def _act_with(secret: str) -> Dict[str, str]:
    return {**_SWITCH, **_AUDIT, "AGENT_ACT_TOKEN": "secrets." + secret, **_TOKEN}


_INVESTIGATE = (
    *_START,
    _phase("investigate", {**_EVENT, **_SWITCH, **_TOKEN}, "investigate"),
    _keep(names.REPORT_ARTIFACT, "report"),
    _keep("audit-trace-id", path=f"{names.DEFAULT_OUT}/{names.TRACE_NAME}"),
)
_FETCH_REPORT = _fetch("investigate", "report_artifact_id", _IN)
_FETCH_INVESTIGATION = _fetch("investigate", "report_artifact_id", _IN + "/investigate", always_there=False)
_FETCH_RECEIPT = _fetch("approve", "receipt_artifact_id", _IN + "/approve", always_there=False)
_FETCH_RESULT = _fetch("act", "result_artifact_id", _IN + "/act", always_there=False)


def _record(first: str, *fetched: Step) -> Tuple[Step, ...]:
    env = {"NEEDS": "toJSON(needs)", **_needs(first, "trace_id"), **_TOKEN}
    bundle = f"{names.DEFAULT_OUT}/{names.BUNDLE_FOLDER}"
    return (
        *_START,
        *fetched,
        _phase("record --inputs " + _IN, env, condition="always()"),
        _keep(names.BUNDLE_ARTIFACT, path=bundle + "/"),
        _phase("deliver " + bundle, _AUDIT, condition="always() && vars.AIMGENTIX_API_URL != ''", optional=True),
    )


_STEPS: Mapping[str, Mapping[str, Tuple[Step, ...]]] = {
    WHOLE: {
        "investigate": _INVESTIGATE,
        "approve": (
            *_START,
            _phase("approve", {**_PLAN, **_needs("investigate", "approvals_before"), **_TOKEN}, "approve"),
            _keep(names.RECEIPT_ARTIFACT, "receipt"),
        ),
        "act": (
            *_START,
            _FETCH_REPORT,
            _phase("act" + _REPORT, {**_SEALED, **_act_with("AGENT_ACT_TOKEN")}, "act"),
            _keep(names.RESULT_ARTIFACT, "result"),
        ),
        AUTO: (
            *_START,
            _FETCH_REPORT,
            _keep(names.AUTHORIZATION_ARTIFACT, path=_IN + "/"),
            _phase("act --auto" + _REPORT, {**_SEALED, **_act_with("AGENT_AUTO_TOKEN")}, "act"),
            _keep(names.RESULT_ARTIFACT, "result"),
        ),
        "record": _record("investigate", _FETCH_INVESTIGATION, _FETCH_RECEIPT, _FETCH_RESULT),
    },
    ASKING: {
        "investigate": _INVESTIGATE,
        "ask": (
            *_START,
            _FETCH_REPORT,
            _phase("ask" + _REPORT, {**_ASKED, **_TOKEN}, "ask"),
            _keep("approval-request", "request"),
        ),
        "record": _record(
            "investigate", _FETCH_INVESTIGATION, _fetch("ask", "request_artifact_id", _IN + "/ask", always_there=False)
        ),
    },
    ACTING: {
        "approve": (*_START, _phase("approve", _TOKEN, "approve"), _keep(names.RECEIPT_ARTIFACT, "receipt")),
        "act": (
            *_START,
            _phase("act", {**_COMMENTED, **_act_with("AGENT_ACT_TOKEN")}, "act"),
            _keep(names.RESULT_ARTIFACT, "result"),
        ),
        "record": _record("approve", _FETCH_RECEIPT, _FETCH_RESULT),
    },
}


def _outputs(phase: str, words: str, **artifacts: str) -> Dict[str, str]:
    found = {word: f"steps.{phase}.outputs.{word}" for word in words.split()}
    return {**found, **{name: f"steps.{step}.outputs.artifact-id" for name, step in artifacts.items()}}


_PLAN_WORDS = "action resource plan_digest plan_digest_short trace_id journal_head"
_INVESTIGATED = _outputs(
    "investigate", _PLAN_WORDS + " decision report_sha256 approvals_before", report_artifact_id="report"
)
_RECEIVED = _outputs("approve", "journal_head", receipt_artifact_id="receipt")
_ACTED = _outputs("act", "action_status journal_head", result_artifact_id="result")
_OUTPUTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    WHOLE: {"investigate": _INVESTIGATED, "approve": _RECEIVED, "act": _ACTED, AUTO: _ACTED},
    ASKING: {
        "investigate": {**_INVESTIGATED, "report_artifact_sha256": "steps.report.outputs.artifact-digest"},
        "ask": _outputs("ask", "issue journal_head", request_artifact_id="request"),
    },
    ACTING: {"approve": {**_RECEIVED, **_outputs("approve", _PLAN_WORDS + " answer code")}, "act": _ACTED},
}


# How GitHub's records of a run tell what each job was: by its name alone.
_PLAN_OF = (
    "${{{{ needs.{0}.outputs.action }}}} on ${{{{ needs.{0}.outputs.resource }}}} "
    "(plan ${{{{ needs.{0}.outputs.plan_digest_short }}}})"
)
_NAMES: Mapping[str, Mapping[str, str]] = {
    WHOLE: {
        "approve": names.APPROVE_JOB + _PLAN_OF.format("investigate"),
        "act": names.ACT_JOB_NAME,
        AUTO: "{}: {}".format(names.AUTO_JOB_NAME, _PLAN_OF.format("investigate")),
    },
    ASKING: {},
    ACTING: {"act": "{}: {}".format(names.APPROVED_JOB_NAME, _PLAN_OF.format("approve"))},
}


def name_problems(file: File, job: Job) -> Iterator[Finding]:
    """Whether GitHub's records would not know a job of the gate again."""
    expected = _NAMES[file.shape].get(job.id)
    found = job.value.get("name")
    if expected and _spaced((found.text or "") if found else "") != expected:
        yield (found or job.value).line, f"the job {job.id} must say: name: {expected}"


def _spaced(name: str) -> str:
    """A job's name with one blank on each side of what stands in its expressions."""
    return re.sub(r"\$\{\{\s*(.*?)\s*\}\}", r"${{ \1 }}", name)


def phases(file: File, job: Job) -> Iterator[Tuple[Value, Step]]:
    """The steps of a job of the gate that run the runtime, each with what it must be."""
    expected = _expected(file, job)
    for found in job.steps():
        for step in expected:
            if step.run and step.run == _script(found):
                yield found, step


def step_problems(file: File, job: Job) -> Iterator[Finding]:
    """What in the steps of a job of the gate is not the template's: order, scripts, actions, conditions, ids."""
    expected = list(_expected(file, job))
    found = [step for step in job.steps() if step.fields is not None and not _fetches_credentials(job, step)]
    if not expected or not job.steps():
        return  # no job of the gate, or CON02 tells
    if job.id == "record" and file.job(AUTO) and file.shape == WHOLE:
        expected.insert(5, _fetch(AUTO, "result_artifact_id", _IN + "/act", always_there=False))
    for number, step in enumerate(expected):
        if number == len(found):
            if not step.optional:
                yield job.line, f"the job {job.id} lacks its step {number + 1}: {step}"
            return
        if not _same(step, found[number]):
            yield found[number].line, f"the step {number + 1} of {job.id} must be: {step}"
            return
        yield from _details(step, found[number], job.id)
    for more in found[len(expected) :]:
        yield more.line, f"the job {job.id} has a step that the template does not know"


def value_problems(file: File, job: Job) -> Iterator[Finding]:
    """Which values reach a job of the gate, or leave it, from another place than in the template."""
    for found, step in phases(file, job):
        env = found.get("env")
        given = (env.fields if env else None) or {}
        for name, source in step.env.items():
            if name not in given:
                if name not in _OPTIONAL:
                    yield found.line, f"{job.id} must be told: {name}: ${{{{ {source} }}}}"
            elif name != "GITHUB_TOKEN" and expression(given[name]) != source:  # CON17 tells about the token
                yield given[name].line, f"{job.id} must be told: {name}: ${{{{ {source} }}}}"
    yield from _chosen_by_the_initiator(file, job)
    outputs = job.value.get("outputs")
    told = (outputs.fields if outputs else None) or {}
    known = _OUTPUTS.get(file.shape, {}).get(job.id)
    for name, source in (known or {}).items():
        if name not in told or expression(told[name]) != source:
            line = told[name].line if name in told else job.line
            yield line, f"{job.id} must tell: {name}: ${{{{ {source} }}}}"
    for name in told if known is not None else ():
        if name not in (known or {}):
            yield told[name].line, f"{job.id} may not tell {name}"


def _chosen_by_the_initiator(file: File, job: Job) -> Iterator[Finding]:
    """What of the team's own reaches a job that acts from whoever starts the run, past the plan that is approved."""
    if job.id not in ("act", AUTO):
        return
    values = [value for step in job.steps() if _fetches_credentials(job, step) for value in step.walk()]
    for holder in (file.root, job.value, *job.steps()):
        env = holder.get("env")
        values += [
            value for name, value in ((env.fields if env else None) or {}).items() if name.startswith(OWN_PREFIX)
        ]
    for value in values:
        if any(_OF_THE_INITIATOR.search(re.sub("'[^']*'", "", body)) for body in expressions(value.text or "")):
            yield value.line, f"{job.id} may not be told here what whoever starts the run chooses"


def known_names(file: File, job: Job) -> FrozenSet[str]:
    """The variables that the template gives to the steps of a job that run the runtime."""
    return frozenset(name for step in _expected(file, job) for name in step.env)


def _expected(file: File, job: Job) -> Tuple[Step, ...]:
    return _STEPS.get(file.shape, {}).get(job.id, ())


def _fetches_credentials(job: Job, step: Value) -> bool:
    granted = job.value.get("permissions", "id-token")
    allowed = job.id == "act" and granted is not None and granted.text == "write"
    return allowed and action(step) in CREDENTIALS and not (step.get("if") or step.get("run") or step.get("env"))


def _script(step: Value) -> str:
    run = step.get("run")
    return (run.text or "").strip(" \n") if run and not step.get("uses") else ""


def _same(step: Step, found: Value) -> bool:
    if step.run:
        return step.run == _script(found)
    uses = found.get("uses")
    if not uses or found.get("run"):
        return False
    if step.uses == SETUP:  # a path: its case counts
        return uses.text in (SETUP, "$/" + SETUP[2:])
    return action(found) == step.uses


def _details(step: Step, found: Value, job: str) -> Iterator[Finding]:
    id = found.get("id")
    if (id.text if id else "") != step.id:
        yield found.line, "this step of {} must {}".format(job, "say: id: " + step.id if step.id else "have no id")
    if step.uses != UPLOAD and condition(found.get("if")) != step.condition:  # CON23 tells about uploads
        said = "say: if: " + step.condition if step.condition else "have no condition"
        yield found.line, f"this step of {job} must {said}"
    for name, text in step.inputs.items():
        given = found.get("with", name)
        if step.uses == DOWNLOAD and not given:
            continue  # CON14 tells
        same = given is not None and (
            expression(given) == text[3:-2].strip() if text.startswith("${{") else given.text == text
        )
        if not same:
            yield (given or found).line, f"this step of {job} must say: {name}: {text}"
    inputs = found.get("with")
    given_inputs: List[str] = list((inputs.fields if inputs else None) or {})
    for name in given_inputs if step.uses == UPLOAD else ():
        if name not in _UPLOAD_INPUTS:
            yield found.line, f"this step of {job} must not say: {name}"
