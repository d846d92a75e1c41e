"""Errors that a person meets: one stable code, one line, one way out.

Every refusal and every bad input carries a code from this module.  The code is what scripts, audit events and the
documentation (`specs/codes.md`) refer to, so a code is never reused or renamed once released.

One module, because nearly all of it is one table, in the order of `specs/codes.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

# Exit codes of the command line, stable like the codes themselves.
EXIT_OK = 0
EXIT_INTERNAL = 1
EXIT_BAD_INPUT = 2
EXIT_REFUSED = 3
EXIT_ACTION_FAILED = 4
EXIT_OUTCOME_UNKNOWN = 5
EXIT_TRAIL_INCOMPLETE = 6


@dataclass(frozen=True)
class Code:
    """What one code means: `title` names it, `fix` says what to do about it."""

    id: str
    title: str
    fix: str


_REGISTRY: Dict[str, Code] = {}


def register(id: str, title: str, fix: str) -> str:
    """Register a code once and return its id.

    Raises:
        ValueError: the code is registered already.
    """
    if id in _REGISTRY:
        raise ValueError(f"code {id} is registered twice")
    _REGISTRY[id] = Code(id, title, fix)
    return id


def describe(code: str) -> Code:
    """Return the registered meaning of `code`.

    Raises:
        KeyError: `code` is not registered.
    """
    return _REGISTRY[code]


def registered() -> Dict[str, Code]:
    """Return every registered code, by its id, in order of registration."""
    return dict(_REGISTRY)


class AgentError(Exception):
    """A problem that a person reads in one line instead of a traceback.

    Arguments:
        code: id of a registered code.
        message: what is wrong and where, without trailing full stop conventions; one line.
    """

    exit_code = EXIT_BAD_INPUT

    def __init__(self, code: str, message: str) -> None:
        describe(code)
        super().__init__(message)
        self.code = code
        self.message = message

    def line(self) -> str:
        """The one line for a terminal or a log: code, what is wrong, what to do."""
        return "{}: {}. {}".format(self.code, self.message.rstrip("."), describe(self.code).fix)


class BadInput(AgentError):
    """Something that a person or a trigger gave is invalid."""


class GateRefused(AgentError):
    """A check before acting failed; nothing was executed."""

    exit_code = EXIT_REFUSED


class TrailIncomplete(AgentError):
    """The audit trail of a run is incomplete."""

    exit_code = EXIT_TRAIL_INCOMPLETE


# Input: what a person, a trigger or another job gave.
RESOURCE_INVALID = register(
    "INP001",
    "the resource is not a plain identifier",
    "Use 1 to 256 letters, digits and . _ : / @ + = , ~ % # -, starting with a letter or digit",
)
TRACE_ID_INVALID = register(
    "INP002",
    "the trace id is not a plain identifier",
    "Use 1 to 255 letters, digits and . _ : -, starting with a letter or digit, or leave it empty",
)
CONTEXT_INVALID = register(
    "INP003",
    "the action context is not a JSON object",
    'Give one JSON object of at most 64 KiB, for example {"window_minutes": 60}',
)
RESOURCE_MISSING = register(
    "INP004",
    "no resource was named",
    "Give --resource, or set TARGET_RESOURCE (for scheduled runs: the repository variable TARGET_RESOURCE)",
)
RUN_CONTEXT_MISSING = register(
    "INP005",
    "the run is not known",
    "This phase runs in the workflow; locally use: python agent_runner.py simulate",
)
USAGE = register("INP006", "the command line is not complete", "See --help")
CONFIG_INVALID = register(
    "INP007",
    ".github/agent-config.yml is invalid",
    "Fix the named key, or write the file anew from the answers with: copier recopy --vcs-ref=:current: --defaults "
    "--overwrite -x '**' -x '!/.github/agent-config.yml'",
)
TRIGGER_INVALID = register(
    "INP008",
    "the trigger source is not known",
    "Use manual, alert or schedule",
)
RESULT_INVALID = register(
    "INP009",
    "investigate() or act() returned something that is invalid",
    "Return an InvestigationResult or an ActionResult; see specs/github-actions-agent-runtime.md",
)
ALERT_INVALID = register(
    "INP010",
    "the alert's payload does not match its schema",
    "Fix the named place in what sends the alert; specs/alert.schema.json is the schema, and "
    "docs/SETUP_GUIDE.md, section Alerts, has an example",
)
SWITCH_INVALID = register("INP011", "a switch is neither on nor off", "Write true or false, or leave it empty")

AUDIT_SETTING = register(
    "INP012",
    "a setting of the audit journal is invalid",
    "Fix it in the environment (AGENT_INSTANCE_ID, AIMGENTIX_...), or unset it; sdk/README.md says what each takes",
)

# Start: what a phase needs before it can begin.
AGENT_MISSING = register(
    "RUN001",
    "agent_runner.py is not in the root of this repository",
    "Restore it from the history (git log -- agent_runner.py); its name and its place are fixed",
)
RUNTIME_MISSING = register(
    "RUN002",
    "agent_runtime is not in the root of this repository",
    "Restore the folder from the history (git log -- agent_runtime); make check says what else is missing",
)
SDK_MISSING = register(
    "RUN003",
    "the SDK is not in the folder sdk of this repository",
    "Restore the folder from the history (git log -- sdk); make check says what else is missing",
)
PACKAGE_MISSING = register(
    "RUN004",
    "a locked package is not installed",
    "Locally: make test sets up .venv; a job installs requirements.lock or requirements-agent.lock in its first steps",
)

FILE_UNUSABLE = register(
    "RUN005",
    "a file or folder can't be read or written",
    "Free some space or fix the permissions where the message says, then run it again",
)

NOT_ISOLATED = register(
    "RUN006", "what decides was not started isolated", "Start it as: python -I agent_runtime/__main__.py"
)
SERVER_UNSUPPORTED = register(
    "RUN007",
    "GitHub Enterprise Server is not supported",
    "Use a repository on github.com or GHE.com: the artifacts of other servers have no ids and no digests to rest on",
)

# Documents that jobs hand over.
REPORT_MISSING = register(
    "RPT001", "what the job hands over is missing", "Look at the log of the named job of this run"
)
REPORT_TOO_LARGE = register(
    "RPT002", "what the job hands over is too large", "Keep findings, evidence and plan below the limit that is named"
)
REPORT_NOT_JSON = register(
    "RPT003",
    "what the job hands over is not complete JSON",
    "It was truncated or replaced: start a new run and look at the artifact of the old one",
)
REPORT_SCHEMA = register(
    "RPT004",
    "what the job hands over does not have the expected structure",
    "It was made by another version or by hand: start a new run",
)
REPORT_OTHER_RUN = register(
    "RPT005",
    "what the job hands over belongs to another run or resource",
    "Start a new run; what a job hands over is valid only in the run and attempt that made it",
)
REPORT_NO_PLAN = register(
    "RPT006",
    "the report contains no plan",
    "There is nothing to execute; start a new run if this is a surprise",
)
PLAN_NOT_CANONICAL = register(
    "RPT007",
    "the plan can't be put in canonical form",
    "Use JSON values only: no NaN, no infinity, integers between -(2**53-1) and 2**53-1",
)
PLAN_STEPS = register(
    "RPT008",
    "the proposed steps can't be one plan",
    "Propose 1 to 10 actions, each once, none of which contradicts one before it; `changes` names keys that observe() "
    "returns",
)

# Policy.
POLICY_MISSING = register(
    "POL001",
    "no policy for this agent",
    "Write .github/agent-policies/<agent>.yml; without a policy nothing is allowed",
)
POLICY_INVALID = register(
    "POL002",
    "the policy can't be read",
    "Fix the named line or key; see specs/github-actions-agent-runtime.md, section Policy",
)

PARAMETERS_INVALID = register(
    "POL003",
    "the parameters are not a JSON object",
    "Give what the action would get, for example --parameters '{\"error_rate\": 0.31}'",
)
RULE_NEVER = register(
    "POL004",
    "a rule of the policy can never match",
    "Correct or remove it; see specs/github-actions-agent-runtime.md, section Objects and lists of them",
)
CASE_FAILED = register(
    "POL005",
    "the policy does not say what a case in tests/policy.yml expects",
    "Correct the policy, or the case if it is what changed",
)
CASES_INVALID = register(
    "POL006",
    "the cases of the policy can't be read",
    "Fix the named line of tests/policy.yml; see specs/github-actions-agent-runtime.md, section Cases of a policy",
)
SESSION_POLICY = register(
    "POL007",
    "the plan's session policy can't be made",
    "Let the agent propose plain values, and fewer of them, or change session_policies in "
    ".github/agent-policies/<agent>.yml",
)

# Gate: checks before acting, in the order in which they run.
GATE_ARTIFACT = register(
    "GATE01",
    "what was fetched is not what its job uploaded",
    "Somebody or something replaced it: do not approve again before you know what",
)
GATE_DIGEST = register(
    "GATE02",
    "the plan is not the plan that was approved",
    "Somebody or something changed it after the approval: keep this run's artifacts and inform the repository's owner; "
    "a new run is safe once it is known what happened",
)
GATE_RUN = register(
    "GATE03",
    "the plan belongs to another run or attempt",
    "Start a new run: a re-run never executes an old plan",
)
GATE_EXPIRED = register("GATE04", "the approval came too late", "Start a new run; the situation may have changed since")
GATE_POLICY = register(
    "GATE05",
    "the policy does not allow the plan",
    "Look at the policy at this commit; change it by pull request if it is wrong",
)
GATE_RATE = register(
    "GATE13",
    "a rate limit of the policy leaves no room",
    "Wait until the time that is named; if the limit is wrong, change rate_limits of the policy by pull request",
)
GATE_ENVIRONMENT = register(
    "GATE06",
    "the approval gate is not closed",
    "Close it with: python agent_runner.py setup (or by hand as docs/SETUP_GUIDE.md says), then start a new run",
)
GATE_APPROVAL = register(
    "GATE07",
    "no valid approval by another human",
    "A click that does not count ends a run. Start a new one; who approves must be somebody whom its page names",
)
GATE_PRECONDITION = register(
    "GATE08",
    "the resource is not as it was when the plan was made",
    "Start a new run so that the reviewer sees the current state",
)
GATE_CLAIMED = register(
    "GATE09",
    "the plan was executed before",
    "A plan runs once; start a new run to act again",
)
GATE_DISABLED = register(
    "GATE10",
    "the kill switch is on",
    "Remove the variable AGENT_DISABLED when the agent may act again",
)
GATE_INTENT = register(
    "GATE11",
    "the intent could not be written to the journal",
    "Nothing was executed; make the runner's disk writable and start a new run",
)
GATE_API = register(
    "GATE12",
    "GitHub did not answer a question that the gate depends on",
    "Nothing was executed; look at https://www.githubstatus.com and the job's permissions, then start a new run",
)

GATE_INITIATOR = register(
    "GATE14",
    "who started this run may not",
    "Start it as a person or by its schedule; an app must be named in the policy, another workflow never may: find out "
    "which it was, and why",
)
GATE_VARIABLES = register(
    "GATE16",
    "a variable that the agent acts with is not as it was when the plan was made",
    "Start a new run; set each variable of act_variables in the repository or the organization, in no environment",
)

APPROVERS_IMPOSSIBLE = register(
    "GATE15",
    "the policy leaves too few people who may approve",
    "Let somebody else start the run, or name more people: in approvers of the rules, by pull request, or as reviewers "
    "with: python agent_runner.py update --set approvers=LOGIN,LOGIN, then python agent_runner.py setup",
)

# Issue gate: where GitHub protects no environments, a comment on an issue approves.
ISSUE_GATE_IMPOSSIBLE = register(
    "IGATE01",
    "an issue can't be the approval gate here",
    "Name people with write access who are not only those who start runs, and no teams, with: "
    "python agent_runner.py update --set approvers=LOGIN,LOGIN; see docs/SETUP_GUIDE.md, step 2",
)
ISSUE_UNKNOWN = register(
    "IGATE02",
    "the issue is not one in which this repository's agent asks",
    "Comment on an open issue that github-actions[bot] opened with the label agent-approval",
)
ISSUE_EDITED = register(
    "IGATE03",
    "the issue does not show the plan as it was sealed",
    "Somebody edited it: find out who and why, and start a new run",
)
ISSUE_RUN = register(
    "IGATE04",
    "the plan does not come from a run of this repository's agent",
    "Comment on the issue of a run of agent-investigate-act.yml on the default branch, or start a new run",
)
COMMENT_UNUSABLE = register(
    "IGATE05",
    "the comment is not an approval",
    "Write a new comment whose first line is /approve and the first 12 or more digits of the plan's digest",
)
COMMENT_AUTHOR = register(
    "IGATE06",
    "the comment's author may not approve this plan",
    "Another of the approvers in .github/agent-config.yml must comment, with write access and not who started the run",
)
PLAN_REJECTED = register("IGATE07", "an approver rejected the plan", "Start a new run to have it looked at again")
APPROVAL_MISSING = register(
    "IGATE08",
    "the plan needs one more approval",
    "Another of those whom the issue names must comment with /approve and the plan's digest, before the plan expires",
)

# Trail: what record and verify look at.
TRAIL_BROKEN = register(
    "TRAIL01",
    "a journal's hash chain is broken",
    "Treat the run as not proven; compare the bundle with the backend's copy",
)
TRAIL_MISSING = register(
    "TRAIL02",
    "an action ran and its trail is not complete",
    "Treat the outcome as unknown until somebody has looked at the resource",
)
TRAIL_TRUNCATED = register(
    "TRAIL03",
    "a journal is shorter than its job said",
    "Treat the run as not proven; compare the bundle with the backend's copy",
)
TRAIL_MISMATCH = register(
    "TRAIL04",
    "the bundle's parts do not belong together",
    "Treat the run as not proven. Download the run's artifact audit-bundle once more: if it fails too, keep it and "
    "inform the repository's owner",
)
BUNDLE_MISSING = register(
    "TRAIL07",
    "there is no bundle here",
    "Give the folder of an unpacked audit-bundle, the one with bundle.json in it; unpack a ZIP before",
)
TRAIL_UNWRITABLE = register(
    "TRAIL05",
    "what the phase leaves behind can't be written",
    "Free some space or fix the permissions on the runner's disk; look at the resource if the phase was act",
)
TRAIL_UNDELIVERED = register(
    "TRAIL06",
    "the audit backend has no complete copy of the trail",
    "The bundle of the run is the trail, and nothing of it is lost. Fix AIMGENTIX_API_URL or AIMGENTIX_API_KEY as "
    "docs/TROUBLESHOOTING.md says, then deliver it again: python -I agent_runtime/__main__.py deliver audit-bundle",
)

EVIDENCE_REFUTED = register(
    "TRAIL08",
    "the proof does not show that this bundle is in the log",
    "Get the proof once more: from the run's artifact audit-proof, or from the audit backend. If it fails again, ask "
    "the operators of the log and of its witnesses, with this line",
)
EVIDENCE_UNREADABLE = register(
    "TRAIL09",
    "the evidence can't be checked here",
    "Fix what is named. What checks signatures is the package cryptography, and of GitHub's attestations sigstore: "
    ".venv/bin/python -m pip install cryptography sigstore",
)

ATTESTATION_REFUTED = register(
    "TRAIL10",
    "GitHub's attestation does not show that this is the bundle of that run",
    "Get the attestation once more: from the run's artifact audit-attestation, or with gh attestation download. If it "
    "fails again, treat the run as not proven, and ask whoever can change the workflows, with this line",
)

# Messages, which nothing depends on.
NOT_SENT = register(
    "NOTE01",
    "a message did not arrive everywhere",
    "The run is as it would be without messages. Fix the address that the log names by its number, in the secret "
    "AGENT_NOTIFY_URLS; docs/SETUP_GUIDE.md, section Messages, says how to try one",
)
NO_ADDRESS = register(
    "NOTE02",
    "there is nobody to send a message to",
    "Store 1 to 20 addresses, a line each: gh secret set AGENT_NOTIFY_URLS --env agent-notify < FILE "
    "(without --env on GitHub Free); or turn messages off: python agent_runner.py update --set notify=no",
)

# Agent: what the team's own code did.
INVESTIGATION_FAILED = register(
    "AGT001",
    "the investigation failed",
    "Nothing was proposed; the traceback is in the job's log",
)
ACTION_FAILED = register(
    "AGT002",
    "the action failed",
    "The result names what was tried; look at the resource before you start a new run",
)
NOT_STARTED = register(
    "AGT005",
    "the plan was authorized and its execution never started",
    "Look at the steps of the job before Execute, such as prepare-act; nothing was executed, a new run is safe",
)
OUTCOME_UNKNOWN = register(
    "AGT003",
    "nobody knows whether the action took effect",
    "A human must look at the resource; a new run is safe only after that",
)
SECRET_IN_PLAN = register(
    "AGT004",
    "the agent put a secret into its plan",
    "Plans are shown and kept: propose the secret's name, and read its value from the environment in act()",
)

# Settings of the repository on GitHub: what setup and doctor ask for and change.
TOKEN_UNUSABLE = register(
    "SET001",
    "GitHub needs a token for this",
    "Set GH_TOKEN to a token, such as the one that `gh auth token` prints; setup needs administrator rights on the "
    "repository",
)
REPOSITORY_UNKNOWN = register(
    "SET002",
    "the repository is not there",
    "Name it with --repo owner/name, or change the answer: python agent_runner.py update --set "
    "github_repository=OWNER/NAME",
)
APPROVER_UNUSABLE = register(
    "SET003",
    "an approver can't review",
    "Change the answer with: python agent_runner.py update --set approvers=LOGIN,ORG/TEAM; or name others with "
    "--reviewer",
)
PLAN_WITHOUT_GATE = register(
    "SET004",
    "the repository's plan has no required reviewers",
    "See docs/SETUP_GUIDE.md, step 1; until then the agent investigates and refuses to act",
)
RIGHTS_MISSING = register(
    "SET005",
    "the token may not change the settings",
    "Let an administrator of the repository run it; a fine-grained token needs the permission Administration: write",
)
SETTING_REFUSED = register(
    "SET006",
    "GitHub did not apply a setting",
    "Look at the named request; run it again, or change the setting in the browser as docs/SETUP_GUIDE.md says",
)
GATE_STILL_OPEN = register(
    "SET007",
    "the settings do not close the gate yet",
    "Fix what is named, then check that the gate is closed with: python agent_runner.py doctor",
)
GITHUB_SILENT = register(
    "SET008",
    "GitHub did not answer as documented",
    "Look at https://www.githubstatus.com and at the token's permissions, then run it again",
)
