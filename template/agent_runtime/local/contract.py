"""The gate contract, checked on workflow files: what must be true of their text for the gate to be a gate.

zizmor and actionlint look at each line; neither knows that `act` must come after `approve`, which environment a job
must name, or that nothing before the gate may hold a secret.  This linter does.  It needs PyYAML and nothing else, no
network and no GitHub, so that hooks and every CI can run it:

    python -m agent_runtime.local.contract .github/workflows/
    python -m agent_runtime.local.contract --explain CON05

Three kinds of file are known: the agent workflow (a file named `agent-*`, a workflow named `Agent Runtime…`, or one
with the jobs `approve` and `act`), any other workflow beside it, and the composite actions that they use.  Every rule
says to which kinds it applies.

An agent workflow has one of three shapes.  Behind environments it is one file: investigate, approve, act, record.
Where an issue is the gate there are two: one asks (investigate, ask, record), one is started by a comment (approve,
act, record).  The last two are accepted only where the repository says `approval_gate: issue` in
.github/agent-config.yml, and the first only where it does not.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Callable, Dict, FrozenSet, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from agent_runtime import codes
from agent_runtime.local import gate_steps
from agent_runtime.local.workflow_file import (
    ACTING,
    ACTION,
    AGENT,
    ASKING,
    ENVIRONMENT_GATE,
    ISSUE_GATE,
    OTHER,
    WHOLE,
    File,
    Unreadable,
    Value,
    action,
    condition,
    expression,
    expressions,
    is_agent_file,
    local_actions,
    read,
)
from agent_runtime.model import names
from agent_runtime.text import strict_yaml

JOBS = ("investigate", "approve", "act", "record")
# The jobs of each shape in their order, and those that would be a way past its gate.
SHAPES = {
    WHOLE: JOBS,
    ASKING: ("investigate", "ask", "record"),
    ACTING: ("approve", "act", "record"),
}
# The one job that may stand beside the gate, and only in this shape: it acts on what the policy decided alone.
AUTO = names.AUTO_JOB
# The files that hold a gate.  A second one would be a second way to the same secrets.
FILES = {WHOLE: names.WORKFLOW_FILE, ASKING: names.WORKFLOW_FILE, ACTING: names.APPROVAL_WORKFLOW_FILE}
FOREIGN = {WHOLE: (), ASKING: ("approve", "act", AUTO), ACTING: ("investigate", "ask", AUTO)}
# Only what could be an answer to an issue of the gate starts a runner.
COMMENT_CONDITION = (
    "github.event.issue.state == 'open' && !github.event.issue.pull_request "
    "&& contains(github.event.issue.labels.*.name, 'agent-approval') && github.event.comment.user.type == 'User' "
    "&& (startsWith(github.event.comment.body, '/approve') || startsWith(github.event.comment.body, '/reject'))"
)
ENVIRONMENTS = {"approve": "agent-approval", "act": "agent-act", AUTO: "agent-auto"}


@dataclass(frozen=True)
class Violation:
    """One broken rule: its code, the file, the line (from 1) and what is wrong there."""

    code: str
    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.code} {self.message}"


# --------------------------------------------------------------------------------------------------------------- rules

_STATUS_FUNCTION = re.compile(r"\b(always|cancelled|failure|success)\s*\(", re.IGNORECASE)
_SECRET = re.compile(r"\bsecrets\b(?!\s*\.\s*GITHUB_TOKEN\b)", re.IGNORECASE)
# The token itself, all secrets at once, or one whose name is computed.
_TOKEN = re.compile(r"\bAGENT_ACT_TOKEN\b|\bsecrets\b(?!\s*(?:\.\s*[a-z_]|\[\s*'[^']*'\s*\]))", re.IGNORECASE)

Finding = Tuple[int, str]
Check = Callable[[File], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """One rule: code, what it demands, why, how to mend, and to which kinds of file it applies."""

    code: str
    title: str
    why: str
    mend: str
    kinds: FrozenSet[str]
    check: Check


RULES: Dict[str, Rule] = {}


def _rule(code: str, title: str, why: str, mend: str, kinds: Sequence[str] = (AGENT,)) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        codes.register(code, title, mend)
        RULES[code] = Rule(code, title, why, mend, frozenset(kinds), check)
        return check

    return register


@_rule(
    "CON01",
    "the file can be read",
    "What the linter can't read, a reviewer can't trust: not YAML, duplicate keys, anchors, tags, keys that are "
    "expressions, no jobs, a missing file, an action.yaml that action.yml hides. A character that only some programs "
    "take for the end of a line shows one workflow to the linter and another one to GitHub.",
    "Restore the file with copier update, or mend the named line",
    (AGENT, OTHER, ACTION),
)
def _readable(file: File) -> Iterator[Finding]:
    if file.kind != ACTION:
        jobs = file.root.get("jobs")
        if not jobs or not jobs.fields:
            yield 1, "there are no jobs"
        for job in file.jobs():
            if job.value.fields is None:
                yield job.line, f"the job {job.id} is not a mapping"
    for step in file.steps():
        if step.fields is None:
            yield step.line, "a step is not a mapping"


@_rule(
    "CON02",
    "investigate, approve, act and record are there, with their own steps (for an issue gate: its jobs in two files)",
    "A missing job is a missing part of the promise; a job that only calls another workflow can't be judged here.",
    "Restore the file with copier update",
)
def _four_jobs(file: File) -> Iterator[Finding]:
    for id in SHAPES[file.shape]:
        job = file.job(id)
        if job is None:
            yield 1, f"the job {id} is missing"
        elif not job.steps():
            yield job.line, f"the job {id} has no steps of its own"
    automatic = file.job(AUTO)
    if automatic and not automatic.steps():
        yield automatic.line, f"the job {AUTO} has no steps of its own"


@_rule(
    "CON03",
    "act needs approve needs investigate; record needs all three",
    "GitHub starts jobs by `needs` alone: without it `act` runs beside the gate instead of behind it.",
    "Write needs: investigate, needs: [investigate, approve] and needs: [investigate, approve, act]",
)
def _order(file: File) -> Iterator[Finding]:
    before: List[str] = []
    jobs = SHAPES[file.shape]
    for id in jobs:
        job = file.job(id)
        if job:
            needs = job.value.get("needs")
            found = set(needs.texts()) if needs else set()
            for missing in [need for need in before if need not in found]:
                yield job.line, f"the job {id} does not need {missing}"
            for later in sorted(found & set(jobs) - set(before)):
                yield job.line, f"the job {id} waits for {later}, which comes after it"
            for beside in sorted(found & {AUTO} if id != "record" else set()):
                yield job.line, f"the job {id} waits for {beside}, which is no part of the gate"
        before.append(id)
    automatic, record = file.job(AUTO), file.job("record")
    if automatic:
        needs = automatic.value.get("needs")
        if not needs or set(needs.texts()) != {"investigate"}:
            yield automatic.line, f"the job {AUTO} must need investigate and nothing else"
        needs = record.value.get("needs") if record else None
        if record and AUTO not in (needs.texts() if needs else []):
            yield record.line, f"the job record does not need {AUTO}"


@_rule(
    "CON04",
    "approve, act and act-auto name their environments literally",
    "The environment is the gate. A name from an expression, or another name, is a gate that somebody else chooses, "
    "and GitHub creates an unknown one without protection (T13).",
    "Write environment: agent-approval on approve, agent-act on act, and agent-auto on act-auto",
)
def _environments(file: File) -> Iterator[Finding]:
    for id, name in ENVIRONMENTS.items():
        job = file.job(id)
        if job and file.shape == WHOLE:
            environment = job.value.get("environment")
            if not environment or environment.text != name:
                line = environment.line if environment else job.line
                yield line, f"the job {id} must say: environment: {name}"


@_rule(
    "CON05",
    "no other job names the gate's environments",
    "Whoever names agent-act gets its secrets, and whoever names agent-approval collects clicks meant for a plan. "
    "Names are compared as GitHub does, without case; an expression could become either, and a workflow of another "
    "repository names what it likes: an agent workflow calls none, another one hands none of its secrets on.",
    "Give the job an environment of its own, with a literal name; call workflows of this repository only",
    (AGENT, OTHER),
)
def _environments_elsewhere(file: File) -> Iterator[Finding]:
    for job in file.jobs():
        environment = job.value.get("environment")
        if not environment or (file.kind == AGENT and job.id in ENVIRONMENTS and file.shape == WHOLE):
            continue
        name = environment.get("name") or environment
        text = (name.text or "").strip().lower()
        if text in ENVIRONMENTS.values() or "${{" in text:
            yield environment.line, f"the job {job.id} may not use this environment"
    for job in file.jobs():
        uses = job.value.get("uses")
        secrets = job.value.get("secrets")
        inherits = file.kind == AGENT or (secrets and secrets.text == "inherit")
        if uses and inherits and not (uses.text or "").startswith(("./", "$/")):
            yield uses.line, f"the job {job.id} calls a workflow elsewhere, which may use these environments"


@_rule(
    "CON06",
    "only act may write (for an issue gate: also the job that opens the issue, and the one that closes it)",
    "A write permission or an id-token outside act is power that no human approved (T26). Issues alone may be written "
    "by ask, and by the record of a workflow that a comment starts.",
    "Give the job read permissions; let act do what needs more",
)
def _write_permissions(file: File) -> Iterator[Finding]:
    for job in file.jobs():
        permissions = job.value.get("permissions")
        if job.id == "act" or not permissions:
            continue
        if permissions.text == "write-all":
            yield permissions.line, f"the job {job.id} may write everything"
        for scope, access in (permissions.fields or {}).items():
            if (file.shape, job.id, scope) in _ISSUE_WRITERS and access.text == "write":
                continue
            if access.text not in ("read", "none"):
                yield access.line, f"the job {job.id} asks for {scope}: {access.text}"


_ISSUE_WRITERS = {(ASKING, "ask", "issues"), (ACTING, "record", "issues")}


@_rule(
    "CON07",
    "only act may read secrets, and record the key of the audit backend",
    "A secret outside act can be used, or leaked, before anybody approved anything (T26, T27). The key of the audit "
    "backend can only add events; record has it so that the trail of a run without an approval arrives too. act-auto "
    "has a weaker secret of its own, AGENT_AUTO_TOKEN, and never the one that waits for an approval. In each job only "
    "the step that runs the runtime gets them: it verifies before anything else. Where an issue is the gate, no "
    "environment keeps the token from another workflow, so none may read it.",
    "Store the secret in the environment agent-act (where an issue is the gate: in the repository) and read it in the "
    "env of the step that verifies and executes, under a name that begins with AGENT_OWN_",
    (AGENT, OTHER),
)
def _secrets(file: File) -> Iterator[Finding]:
    if file.kind == OTHER:
        for value in file.root.walk() if file.gate == ISSUE_GATE else ():
            if any(_TOKEN.search(body) for body in expressions(value.text or "")):
                yield value.line, "the agent's token may be read here, where nobody approved anything"
        return
    allowed: Set[int] = set()
    for job in file.jobs():
        for step, known in gate_steps.phases(file, job):
            env = step.get("env")
            for name, value in ((env.fields if env else None) or {}).items():
                if job.id == "act" or (expression(value) or "") == known.env.get(name):
                    allowed.add(id(value))
    for value in file.root.walk():
        if value.fields and "secrets" in value.fields and value.get("uses"):
            yield value.fields["secrets"].line, "secrets are handed to another workflow"
        bodies = expressions(value.text or "")
        if id(value) not in allowed and any(_SECRET.search(body) for body in bodies):
            yield value.line, "a secret is read where none may be"


@_rule(
    "CON08",
    "no permission by default, and every job says which it needs",
    "Without `permissions: {}` on top every job gets what the repository's default grants, often everything.",
    "Write permissions: {} at the top and a permissions mapping in every job",
    (AGENT, OTHER),
)
def _permissions(file: File) -> Iterator[Finding]:
    top = file.root.get("permissions")
    if not top or top.fields != {}:
        yield top.line if top else 1, "permissions: {} is missing at the top"
    for job in file.jobs():
        permissions = job.value.get("permissions")
        if not permissions or permissions.fields is None:
            line = permissions.line if permissions else job.line
            yield line, f"the job {job.id} does not list its permissions"


@_rule(
    "CON09",
    "every job has a time limit",
    "A job without timeout-minutes may hang for six hours with whatever it holds.",
    "Write timeout-minutes with a number from 1 to 360",
    (AGENT, OTHER),
)
def _timeouts(file: File) -> Iterator[Finding]:
    for job in file.jobs():
        limit = job.value.get("timeout-minutes")
        if job.value.get("uses"):
            continue  # GitHub takes no timeout-minutes on a call; the called workflow has its own
        if not limit or not re.match(r"^[1-9][0-9]{0,2}$", limit.text or "") or int(limit.text or "0") > 360:
            yield limit.line if limit else job.line, f"the job {job.id} has no timeout-minutes"


@_rule(
    "CON10",
    "every action is pinned to a commit",
    "A tag can be moved to other code after it was reviewed (T30, CVE-2025-30066).",
    "Write owner/action@<40 hex digits> # vX.Y.Z",
    (AGENT, OTHER, ACTION),
)
def _pins(file: File) -> Iterator[Finding]:
    for value in file.root.walk():
        uses = value.get("uses")
        if not uses or uses.text is None:
            continue
        local = uses.text.startswith(("./", "$/")) and ".." not in uses.text.split("/")
        pinned = re.match(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40}$", uses.text)
        image = re.match(r"^docker://[^@]+@sha256:[0-9a-f]{64}$", uses.text)
        if not (local or pinned or image):
            yield uses.line, f"{uses.text} is not pinned to a commit"


@_rule(
    "CON11",
    "no expression inside a script",
    "GitHub pastes the value into the script before the shell reads it: whoever chooses the value runs code (T1).",
    'Hand the value over through env: and read it as "$NAME"',
    (AGENT, OTHER, ACTION),
)
def _scripts(file: File) -> Iterator[Finding]:
    for step in file.steps():
        scripts = [step.get("run"), step.get("with", "script")]
        if action(step).startswith("docker:"):
            scripts += [step.get("with", "args"), step.get("with", "entrypoint")]
        for script in scripts:
            if script and "${{" in (script.text or ""):
                yield script.line, "an expression stands inside a script"


@_rule(
    "CON12",
    "record runs whatever happened",
    "A record that is skipped when something fails or is cancelled is missing exactly when it matters (T34).",
    "Write if: always() on the job record",
)
def _record(file: File) -> Iterator[Finding]:
    job = file.job("record")
    # A comment that starts nothing else starts no record either.
    expected = "always() && needs.approve.result != 'skipped'" if file.shape == ACTING else "always()"
    if job and condition(job.value.get("if")) != expected:
        yield job.line, f"the job record must say: if: {expected}"


@_rule(
    "CON13",
    "checkout takes this commit and keeps no credentials",
    "The reviewer approved this commit's code; a later commit, another repository or a stored token is something else "
    "(T10, T28). Outside the agent workflow only the credentials matter.",
    "Write ref: ${{ github.sha }} and persist-credentials: false, and nothing else but fetch-depth",
    (AGENT, OTHER, ACTION),
)
def _checkout(file: File) -> Iterator[Finding]:
    for step in file.uses("actions/checkout"):
        persist = step.get("with", "persist-credentials")
        if not persist or persist.text != "false":
            yield step.line, "checkout must say: persist-credentials: false"
        if file.kind == AGENT:
            ref = step.get("with", "ref")
            if not ref or condition(ref) != "github.sha" or "${{" not in (ref.text or ""):
                yield step.line, "checkout must say: ref: ${{ github.sha }}"
            inputs = step.get("with")
            for key in (inputs.fields if inputs else None) or {}:
                if key not in ("ref", "persist-credentials", "fetch-depth"):
                    yield step.line, f"checkout must not set {key}"


@_rule(
    "CON14",
    "artifacts are fetched by the id that their job reported",
    "Names can be taken by another upload, also of another run; an id belongs to one immutable archive (T7). Without a "
    "folder of its own an archive overwrites the code that is about to verify it.",
    "Write artifact-ids: ${{ needs.<job>.outputs.<name> }}, path: agent-run-in and digest-mismatch: error, and nothing "
    "else",
)
def _downloads(file: File) -> Iterator[Finding]:
    for step in file.uses("actions/download-artifact"):
        ids = step.get("with", "artifact-ids")
        if not ids or not re.match(r"^\$\{\{ *needs\.[\w-]+\.outputs\.[\w-]+ *\}\}$", ids.text or ""):
            yield step.line, "the artifact is not fetched by the id from a job's output"
        mismatch = step.get("with", "digest-mismatch")
        if not mismatch or mismatch.text != "error":
            yield step.line, "the download must say: digest-mismatch: error"
        path = step.get("with", "path")
        if not path or not re.match(r"^agent-run-in(/[a-z]+)?$", path.text or ""):
            yield step.line, "the download must say: path: agent-run-in, or a folder in it"
        inputs = step.get("with")
        for key in (inputs.fields if inputs else None) or {}:
            if key not in ("artifact-ids", "path", "digest-mismatch"):
                yield step.line, f"the download must not set {key}"


_AGENT_TRIGGERS = {"workflow_dispatch", "repository_dispatch", "schedule"}
_DANGEROUS_TRIGGERS = {"pull_request_target", "workflow_run"}


@_rule(
    "CON15",
    "only a person, an alert or a schedule starts the agent (for an issue gate: a new comment starts approve)",
    "A pull request, a comment or another workflow lets people start it who have no say in this repository; "
    "pull_request_target and workflow_run do that with its secrets, in any workflow (T29). An edited comment must not "
    "approve, so only new ones start the workflow of an issue gate.",
    "Use workflow_dispatch, repository_dispatch and schedule for the agent, issue_comment of the type created alone "
    "for the answers to an issue gate; elsewhere pull_request or push",
    (AGENT, OTHER),
)
def _triggers(file: File) -> Iterator[Finding]:
    on = file.root.get("on")
    line = on.line if on else 1
    allowed = {"issue_comment"} if file.shape == ACTING else _AGENT_TRIGGERS
    for event in set(file.triggers):
        if event in _DANGEROUS_TRIGGERS or (file.kind == AGENT and event not in allowed):
            yield line, f"the trigger {event} is not allowed"
    types = file.root.get("on", "issue_comment", "types")
    if file.kind == AGENT and file.shape == ACTING and (not types or types.texts() != ["created"]):
        yield line, "issue_comment must say: types: [created]"


@_rule(
    "CON16",
    "nothing comes from a cache",
    "A cache is writable by other runs, also by those before the gate: it would be unapproved code behind it (T12).",
    "Remove the cache; the locked packages install in seconds",
    (AGENT, ACTION),
)
def _caches(file: File) -> Iterator[Finding]:
    for step in file.steps():
        used = action(step)
        if used == "actions/cache" or used.startswith("actions/cache/"):
            yield step.line, "the step restores or saves a cache"
        for key in ("cache", "enable-cache", "package-manager-cache"):
            value = step.get("with", key)
            if value and value.text not in ("", "false"):
                yield value.line, f"the step caches: {key}"
        if used == "astral-sh/setup-uv" and not step.get("with", "enable-cache"):
            yield step.line, "setup-uv caches unless it is told enable-cache: false"


_RESERVED = re.compile(r"^(GITHUB_(?!TOKEN$)|RUNNER_|ACTIONS_|PYTHON|LD_|DYLD_)|^(PATH|ENV|BASH_ENV|SHELL|HOME)$")
_FILE_COMMANDS = re.compile(r"GITHUB_(ENV|PATH)\b|GITHUB_API_URL")


@_rule(
    "CON17",
    "nobody changes whose code runs or which GitHub is asked",
    "GITHUB_API_URL, a proxy or a certificate authority decide who answers the gate's questions; PATH, PYTHONPATH, "
    "GITHUB_ENV and their kin, another shell, folder or container decide which program a step starts (T5). No list of "
    "such names is whole, so only the template's and the team's own are allowed.",
    "What is no secret belongs in a file of the repository that agent_runner.py reads; hand over secrets and variables "
    "under names that begin with AGENT_OWN_, in the env of the one step that needs them. A proxy and its certificate "
    "are settings of the runner",
    (AGENT, ACTION),
)
def _whose_code(file: File) -> Iterator[Finding]:
    yield from _reserved_variables(file)
    if file.kind == AGENT or "setup-agent" in PurePath(file.path).parts:
        yield from _unknown_variables(file)
    yield from _machines(file)
    for step in file.steps():
        shell = step.get("shell")
        if shell and shell.text not in ("bash", "sh"):
            yield shell.line, "the shell is not plain bash or sh"
        run = step.get("run")
        found = _FILE_COMMANDS.search((run.text or "") if run else "")
        if run and found:
            yield run.line, f"the script uses {found.group(0)}"


def _holders(file: File) -> List[Value]:
    return [file.root] + [job.value for job in file.jobs()] + file.steps()


def _reserved_variables(file: File) -> Iterator[Finding]:
    for value in file.root.walk():
        env = value.get("env")
        for name, setting in ((env.fields if env else None) or {}).items():
            if _RESERVED.match(name.upper()):
                yield setting.line, f"the variable {name} is set"
            elif name.upper() == "GITHUB_TOKEN" and condition(setting) not in ("github.token", "secrets.GITHUB_TOKEN"):
                yield setting.line, "GITHUB_TOKEN is not this job's own token"


def _unknown_variables(file: File) -> Iterator[Finding]:
    known = {
        id(step): gate_steps.known_names(file, job) for job in file.jobs() for step in job.steps() if step.get("run")
    }
    for holder in _holders(file):
        env = holder.get("env")
        if env and env.fields is None:
            yield env.line, "env is no mapping: write the names out"
        for name, setting in ((env.fields if env else None) or {}).items():
            free = name.startswith(gate_steps.OWN_PREFIX) or name == "GITHUB_TOKEN"
            if not free and name not in known.get(id(holder), ()) and not _RESERVED.match(name.upper()):
                yield setting.line, f"the variable {name} is not of the template"


def _machines(file: File) -> Iterator[Finding]:
    """Where a job runs: nothing but a literal runner, and the folder and shell that it has anyway."""
    for holder in _holders(file):
        for key in ("defaults", "working-directory"):
            given = holder.get(key)
            if given:
                yield given.line, f"{key} is set"
    for job in file.jobs():
        for key in ("container", "services"):
            given = job.value.get(key)
            if given:
                yield given.line, f"the job {job.id} has {key}: its programs are not those of the runner"
        runner = job.value.get("runs-on")
        if runner and any("${{" in (value.text or "") for value in runner.walk()):
            yield runner.line, f"an expression chooses the runner of {job.id}"


@_rule(
    "CON18",
    "a failure stays a failure",
    "With continue-on-error a refused or broken step looks like a success to everything after it.",
    "Remove continue-on-error",
    (AGENT, ACTION),
)
def _continue_on_error(file: File) -> Iterator[Finding]:
    for value in [job.value for job in file.jobs()] + file.steps():
        setting = value.get("continue-on-error")
        if setting and setting.text != "false":
            yield setting.line, "continue-on-error hides a failure"


@_rule(
    "CON19",
    "act runs only when approve succeeded",
    "GitHub adds success() to a condition unless it names always(), failure(), cancelled() or success(); with one of "
    "them, or with another result asked for, act runs after a rejection too.",
    "Write if: needs.approve.result == 'success' on act; in approve and act only uploads may say always()",
)
def _actcondition(file: File) -> Iterator[Finding]:
    act = file.job("act")
    if act and condition(act.value.get("if")) != "needs.approve.result == 'success'":
        yield act.line, "the job act must say: if: needs.approve.result == 'success'"
    for id in ENVIRONMENTS:
        job = file.job(id)
        for step in job.steps() if job else ():
            asked = step.get("if")
            kept = action(step) == "actions/upload-artifact"
            if asked and not kept and _STATUS_FUNCTION.search(asked.text or ""):
                yield asked.line, f"a step of {id} runs even after a failure"


@_rule(
    "CON20",
    "approve (for an issue gate: ask) asks a human only about a plan",
    "A gate that opens for nothing, or for what the policy denied, teaches people to click without reading (T25). A "
    "comment that can't be an answer to the gate must not start a runner.",
    "Write if: needs.investigate.outputs.decision == 'review' on approve or ask; restore the condition of an approve "
    "that a comment starts with copier update",
)
def _approvecondition(file: File) -> Iterator[Finding]:
    id = "ask" if file.shape == ASKING else "approve"
    expected = COMMENT_CONDITION if file.shape == ACTING else "needs.investigate.outputs.decision == 'review'"
    job = file.job(id)
    if job and condition(job.value.get("if")) != expected:
        yield job.line, f"the job {id} must say: if: {expected}"


@_rule(
    "CON21",
    "one action at a time on a resource, nothing interrupts it, and none is dropped while it waits",
    "Two actions on one resource undo each other's preconditions; a cancelled one may have happened by half (T24). "
    "Unless the group says queue: max, GitHub keeps one waiting job and cancels the others, though each was approved.",
    "Give act a concurrency group with the resource in it, cancel-in-progress: false and queue: max; cancel no run "
    "elsewhere",
)
def _concurrency(file: File) -> Iterator[Finding]:
    act = file.job("act")
    group = act.value.get("concurrency", "group") if act else None
    automatic = file.job(AUTO)
    own = automatic.value.get("concurrency", "group") if automatic else None
    if automatic and (not own or not group or own.text != group.text):
        yield automatic.line, f"the job {AUTO} does not have the concurrency group of act"
    resource = "needs.{}.outputs.resource".format("approve" if file.shape == ACTING else "investigate")
    if act and (not group or [body.strip() for body in expressions(group.text or "")] != [resource]):
        yield act.line, "the job act has no concurrency group per resource"
    for job in (act, automatic):
        queue = job.value.get("concurrency", "queue") if job else None
        if job and (not queue or queue.text != "max"):
            line = queue.line if queue else job.line
            yield line, f"the concurrency of the job {job.id} must say: queue: max"
    for holder in [file.root] + [job.value for job in file.jobs()]:
        concurrency = holder.get("concurrency")
        if concurrency and expression(concurrency) is not None:
            # It may become a mapping that stands nowhere in the file.
            yield concurrency.line, "the concurrency is an expression: write group and cancel-in-progress out"
        cancel = concurrency.get("cancel-in-progress") if concurrency else None
        if cancel and cancel.text != "false":
            yield cancel.line, "a newer run may cancel an older one"


@_rule(
    "CON22",
    "one approval, one execution",
    "A matrix turns one approved job into several.",
    "Remove strategy; let the plan name what is to be done",
)
def _matrix(file: File) -> Iterator[Finding]:
    for id in (*SHAPES[file.shape], AUTO):
        job = file.job(id)
        strategy = job.value.get("strategy") if job else None
        if strategy:
            yield strategy.line, f"the job {id} is multiplied by a strategy"


@_rule(
    "CON23",
    "evidence is kept, whatever happened",
    "What is uploaded only on success, expires early or can be overwritten proves nothing (T7, T34).",
    "Write if: always() and retention-days: 90 or more on every upload, and no overwrite",
)
def _uploads(file: File) -> Iterator[Finding]:
    for step in file.uses("actions/upload-artifact"):
        if condition(step.get("if")) != "always()":
            yield step.line, "the upload must say: if: always()"
        days = step.get("with", "retention-days")
        if not days or not re.match(r"^[0-9]{1,3}$", days.text or "") or int(days.text or "0") < 90:
            yield step.line, "the upload must say: retention-days: 90"
        overwrite = step.get("with", "overwrite")
        if overwrite and overwrite.text != "false":
            yield overwrite.line, "the upload may overwrite another artifact"


@_rule(
    "CON30",
    "act-auto runs only what the policy decided alone, and may read and nothing else",
    "The job acts although nobody was asked. With another condition it would execute a plan that waits for its "
    "approval, or was denied (T23); with more permissions nobody would have approved what they allow.",
    "Write if: needs.investigate.outputs.decision == 'auto' and permissions of contents: read and actions: read",
)
def _automatic(file: File) -> Iterator[Finding]:
    job = file.job(AUTO)
    if not job:
        return
    if condition(job.value.get("if")) != "needs.investigate.outputs.decision == 'auto'":
        yield job.line, f"the job {AUTO} must say: if: needs.investigate.outputs.decision == 'auto'"
    permissions = job.value.get("permissions")
    for scope, access in ((permissions.fields if permissions else None) or {}).items():
        if scope not in ("contents", "actions") or access.text not in ("read", "none"):
            yield access.line, f"the job {AUTO} asks for {scope}: {access.text}"


@_rule(
    "CON31",
    "no job of another gate",
    "A job `act` beside the job that only asks, or an investigation that any comment starts, is a way past the gate.",
    "Restore both workflows with copier update",
)
def _foreign_jobs(file: File) -> Iterator[Finding]:
    for id in FOREIGN[file.shape]:
        job = file.job(id)
        if job:
            yield job.line, f"the job {id} does not belong to this workflow ({file.shape})"


@_rule(
    "CON32",
    "the workflow is one of the gate that the repository has chosen",
    "An `act` without an environment is behind no gate but the issue's, and an environment that GitHub does not "
    "protect is no gate at all (T13). Which of the two it is stands in .github/agent-config.yml, under code review, "
    "and not in the workflow.",
    "Restore the workflows with copier update; the answer repository_plan decides which gate it is",
)
def _chosen_gate(file: File) -> Iterator[Finding]:
    if (file.shape == WHOLE) != (file.gate == ENVIRONMENT_GATE):
        yield 1, f"this is the workflow of an {file.shape}, and approval_gate is {file.gate}"


@_rule(
    "CON33",
    "each job of the gate runs the runtime, in the template's steps and no others",
    "An environment opens for whatever the job then does. A step before the one that verifies, another script in its "
    "place, or a condition on it is an action that nobody checked (T8, T17).",
    "Restore the file with copier update. What the agent does besides belongs in agent_runner.py. Only act may have "
    "more, where it has an id-token: " + ", ".join(gate_steps.CREDENTIALS) + ", without condition and secrets",
)
def _steps(file: File) -> Iterator[Finding]:
    for job in file.jobs():
        yield from gate_steps.step_problems(file, job)


@_rule(
    "CON34",
    "each job of the gate is told what the jobs before it and GitHub say",
    "The digest that is compared, the kill switch and the address of the audit backend are worth what their source is "
    "worth; an input of the run in their place lets whoever starts it choose (T8, T10).",
    "Restore the file with copier update; values of your own have names that begin with AGENT_OWN_",
)
def _values(file: File) -> Iterator[Finding]:
    for job in file.jobs():
        yield from gate_steps.value_problems(file, job)


@_rule(
    "CON35",
    "the gate stands in the template's files and in no other",
    "The runtime, doctor and GitHub's record know the workflow by its file. A second one beside it asks the same "
    "people for a click, and what runs behind that is another thing.",
    "Rename it to the file that the message names, or remove it; another workflow's name does not begin with agent-",
)
def _file_name(file: File) -> Iterator[Finding]:
    if PurePath(file.path).name != FILES[file.shape]:
        yield 1, f"the workflow of an {file.shape} must be the file {FILES[file.shape]}"


@_rule(
    "CON36",
    "the jobs that ask and that act have the template's names",
    "GitHub's history knows a job by its name alone. The policy's rate limits are counted by it, and it tells whether "
    "a cancelled run may have acted (T25, T34): under another name an action counts for no limit.",
    "Restore the job's name with copier update; the name of the workflow is yours",
)
def _job_names(file: File) -> Iterator[Finding]:
    for job in file.jobs():
        yield from gate_steps.name_problems(file, job)


# ------------------------------------------------------------------------------------------------------------- linting


def lint_workflow(text: str, path: str, gate: str = ENVIRONMENT_GATE) -> List[Violation]:
    """Judge one workflow or composite action by its text.

    Arguments:
        text: the file's content.
        path: its name, for messages; a base name that starts with `agent-` makes it an agent workflow.
        gate: `approval_gate` of the repository; a workflow of the other gate breaks CON32.

    Returns:
        The violations, by line; empty when the contract holds.  Never raises for any text.
    """
    try:
        file = read(text, path, gate)
    except Unreadable as unreadable:
        return [Violation("CON01", path, unreadable.line, unreadable.message)]
    return _judge(file)


def _judge(file: File) -> List[Violation]:
    found = {
        Violation(rule.code, file.path, line, message)
        for rule in RULES.values()
        if file.kind in rule.kinds
        for line, message in rule.check(file)
    }
    return sorted(found, key=lambda violation: (violation.line, violation.code, violation.message))


def lint_paths(paths: Iterable[Path]) -> List[Violation]:
    """Judge files, the workflows in folders, and the local actions that any of them uses.

    A folder without an agent workflow breaks CON02, a path that can't be read breaks CON01.
    """
    violations: List[Violation] = []
    queue: List[Path] = []
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix in (".yml", ".yaml"))
            queue += files
            if not any(is_agent_file(file.name) for file in files):
                violations.append(Violation("CON02", str(path), 1, "no agent-*.yml is in this folder"))
            elif _gate(_repository(path / "agent-*.yml")) == ISSUE_GATE:
                violations += [Violation("CON02", str(path), 1, missing) for missing in _missing_half(files)]
        else:
            queue.append(path)
    seen: Set[Path] = set()
    while queue:
        path = queue.pop(0)
        if path in seen:
            continue
        seen.add(path)
        root = _repository(path)
        try:
            text = path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            violations.append(Violation("CON01", str(path), 1, f"can't be read: {type(error).__name__}"))
            continue
        try:
            file = read(text, str(path), _gate(root))
        except Unreadable as unreadable:
            violations.append(Violation("CON01", str(path), unreadable.line, unreadable.message))
            continue
        violations += _judge(file)
        for used in [_manifests(root / name) for name in local_actions(file)] if root else ():
            queue += used
            for hidden in used[1:]:
                violations.append(Violation("CON01", str(hidden), 1, f"{used[0].name} hides it: keep one of both"))
    return violations


def _missing_half(files: Sequence[Path]) -> Iterator[str]:
    """What is missing of the two workflows of an issue gate."""
    shapes = []
    for file in files:
        try:
            found = read(file.read_bytes().decode("utf-8"), str(file))
        except (OSError, UnicodeDecodeError, Unreadable):
            continue  # CON01 tells
        shapes += [found.shape] if found.kind == AGENT else []
    for shape in (ASKING, ACTING):
        if shapes.count(shape) != 1:
            yield f"there are {shapes.count(shape)} workflows '{shape}' instead of one"


def _repository(path: Path) -> Optional[Path]:
    """The repository that a workflow or action belongs to: where its `.github` lies."""
    parents = (*path.parents, *path.resolve().parents)
    return next((parent.parent for parent in parents if parent.name == ".github"), None)


def _gate(root: Optional[Path]) -> str:
    """The gate that a repository has chosen; where nobody says so, the one that needs no choice."""
    try:
        data = (root / ".github" / "agent-config.yml").read_bytes() if root else b""
        config = strict_yaml.values(strict_yaml.load(data))
    except (OSError, strict_yaml.StrictYamlError):
        return ENVIRONMENT_GATE
    chosen = config.get("approval_gate") if isinstance(config, dict) else None
    return chosen if chosen == ISSUE_GATE else ENVIRONMENT_GATE


def _manifests(used: Path) -> List[Path]:
    """The files behind a local `uses`, the one that GitHub takes first: a workflow, or the action in a folder."""
    if used.suffix in (".yml", ".yaml"):
        return [used]
    found = [used / name for name in ("action.yml", "action.yaml") if (used / name).exists()]
    return found or [used / "action.yml"]


def explain(code: str) -> str:
    """What the rule `code` demands, why, and how to mend a file that breaks it.

    Raises:
        KeyError: there is no such rule.
    """
    rule = RULES[code]
    return "{}: {}\n\nApplies to: {}.\nWhy: {}\nMend: {}.".format(
        rule.code, rule.title, ", ".join(sorted(rule.kinds)), rule.why, rule.mend
    )


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Print one line for each violation; return 0 when there is none and 2 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m agent_runtime.local.contract",
        description="Check that workflow files keep the gate closed: investigate, approve, act, record.",
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files or folders (default: .github/workflows)")
    parser.add_argument("--explain", metavar="CODE", help="say what a rule demands and why, for example CON05")
    options = parser.parse_args(arguments)
    if options.explain:
        if options.explain.upper() not in RULES:
            print("there is no rule {}; known: {}".format(options.explain, ", ".join(RULES)), file=sys.stderr)
            return codes.EXIT_BAD_INPUT
        print(explain(options.explain.upper()))
        return codes.EXIT_OK
    violations = lint_paths([Path(path) for path in options.paths or [".github/workflows"]])
    for violation in violations:
        print(violation)
    if violations:
        print("python -m agent_runtime.local.contract --explain CODE says why, and how to mend it.", file=sys.stderr)
    return codes.EXIT_BAD_INPUT if violations else codes.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
