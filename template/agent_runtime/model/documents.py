"""The documents that jobs exchange: investigation, plan, report, receipt, authorization, result; strictly decoded.

Every document is a frozen dataclass.  `encode()` writes it as JSON; `decode()` reads bytes that came
from another job, and refuses whatever does not have exactly the expected structure.  pydantic does the checking and is
imported only when something is decoded.

They are in one module because they contain parts of one another, and because whoever reads what one job writes compares
it with what another one says of the same thing.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Dict, Optional, Sequence, Tuple, Type, TypeVar

from agent_runtime import codes
from agent_runtime.model import names
from agent_runtime.results import ActionStatus, Finding, ModelUse, RiskLevel, _StrEnum
from agent_runtime.text.strict_json import strict_json

SCHEMA_VERSION = 1

# GitHub shows at most 1 MiB of step summary, and the complete plan must fit: a larger report could not be reviewed.
MAX_REPORT_BYTES = 1024 * 1024
# What a human can read before deciding.
MAX_FINDINGS = 100
MAX_STEPS = 10
# Distinct humans that a policy may ask for.
MAX_APPROVALS = 2

_HEX64 = re.compile(r"[0-9a-f]{64}")
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
_STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


class ReportStatus(_StrEnum):
    """The result of an investigation."""

    ACTION_PROPOSED = "action_proposed"
    NOTHING_TO_DO = "nothing_to_do"
    DENIED = "denied"
    DUPLICATE = "duplicate"
    FAILED = "failed"


class Decision(_StrEnum):
    """What the workflow does next: the only word that decides whether a gate opens."""

    NONE = "none"
    AUTO = "auto"
    REVIEW = "review"
    DENIED = "denied"


def is_hex64(text: str) -> bool:
    """Whether `text` is a SHA-256 in lower-case hexadecimal."""
    return _HEX64.fullmatch(text) is not None


def format_time(moment: datetime) -> str:
    """Write an aware datetime as RFC 3339 in UTC, whole seconds, for example `2026-11-22T11:00:00Z`.

    Raises:
        ValueError: `moment` has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone can't be compared")
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """Read what `format_time()` wrote.

    Raises:
        ValueError: `text` is not in that one form.
    """
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError(f"not a time of the form 2026-11-22T11:00:00Z: {text[:40]!r}")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Run:
    """One attempt of one workflow run, as GitHub's environment variables describe it.

    Source of the fields: https://docs.github.com/en/actions/reference/workflows-and-actions/variables
    """

    __pydantic_config__ = _STRICT

    repository: str
    run_id: str
    run_attempt: int
    sha: str
    ref: str
    actor: str
    triggering_actor: str
    workflow: str
    event: str


@dataclass(frozen=True)
class PolicyStamp:
    """What the policy said when the plan was sealed, and which policy it was (SHA-256 of the file's bytes)."""

    __pydantic_config__ = _STRICT

    digest: str
    decision: Decision
    matched_rules: Tuple[str, ...]

    def __post_init__(self) -> None:
        _require(is_hex64(self.digest), "policy.digest is not a SHA-256")


@dataclass(frozen=True)
class Step:
    """One action of a plan, as the agent proposed it.

    Arguments:
        parameters: JSON values by name; `act()` gets exactly these.
        changes: the preconditions that it changes: before the next step, only these may differ.
    """

    __pydantic_config__ = _STRICT

    action: str
    parameters: Dict[str, Any]
    reason: str
    reversible: bool
    rollback: Optional[str]
    risk_level: RiskLevel
    changes: Tuple[str, ...]


@dataclass(frozen=True)
class Approvals:
    """How many humans must approve a plan, and who may: nobody named means every reviewer of the gate."""

    __pydantic_config__ = _STRICT

    count: int
    approvers: Tuple[str, ...]

    def __post_init__(self) -> None:
        _require(1 <= self.count <= MAX_APPROVALS, f"approvals.count is not between 1 and {MAX_APPROVALS}")
        _require(not self.approvers or len(self.approvers) >= self.count, "approvals.approvers names too few people")


@dataclass(frozen=True)
class RuntimeStamp:
    """Which runtime sealed the plan: its release, and the SHA-256 of its manifest."""

    __pydantic_config__ = _STRICT

    release: str
    digest: str

    def __post_init__(self) -> None:
        _require(is_hex64(self.digest), "runtime.digest is not a SHA-256")


@dataclass(frozen=True)
class Plan:
    """The proposed steps with everything that their approval is bound to.

    Its canonical form (RFC 8785) has one SHA-256, the plan digest, which is the identity of what a human approves.

    Arguments:
        steps: at least one; they run in this order, and the first that does not succeed stops the rest.
        preconditions: what `observe()` returned during the investigation; must still hold before the first step, and
            before each later one but for what the step before it changes.
        variables: what `act` reads from outside the repository, by name, with the values at sealing.
        secrets: the names of the secrets that it gets.
        issued_at, expires_at: RFC 3339 times in UTC.
        dry_run: everything is checked and asked, and nothing is executed.
    """

    __pydantic_config__ = _STRICT

    schema_version: int
    resource: str
    steps: Tuple[Step, ...]
    preconditions: Dict[str, Any]
    policy: PolicyStamp
    approvals: Approvals
    variables: Dict[str, str]
    secrets: Tuple[str, ...]
    run: Run
    runtime: RuntimeStamp
    issued_at: str
    expires_at: str
    dry_run: bool

    def __post_init__(self) -> None:
        _require(self.schema_version == SCHEMA_VERSION, f"plan.schema_version is not {SCHEMA_VERSION}")
        _require(bool(self.steps), "the plan has no steps")
        parse_time(self.issued_at)
        parse_time(self.expires_at)

    @property
    def title(self) -> str:
        """The actions of all steps in their order, for names and messages: identifiers joined by `+`."""
        return "+".join(step.action for step in self.steps)


@dataclass(frozen=True)
class Investigation:
    """What the team's machine hands over (`investigation.json`): data that decides nothing until `seal` has read it.

    Arguments:
        steps: the proposed actions; none when there is nothing to do.
        preconditions: what `observe()` returned.
        measured_at: when `investigate()` returned.
        code, error: why there is no result: the code that the agent's machine gives, and what went wrong.
        model: the language model that took part, says the agent.
    """

    __pydantic_config__ = _STRICT

    schema_version: int
    run: Run
    resource: str
    measured_at: str
    risk_level: RiskLevel
    confidence: float
    findings: Tuple[Finding, ...]
    recommendation: str
    safe_to_proceed: bool
    analysis: str
    steps: Tuple[Step, ...]
    preconditions: Dict[str, Any]
    code: Optional[str] = None
    error: Optional[str] = None
    model: Optional[ModelUse] = None

    def __post_init__(self) -> None:
        _require(self.schema_version == SCHEMA_VERSION, f"schema_version is not {SCHEMA_VERSION}")
        _require(0 <= self.confidence <= 1, "confidence is not between 0 and 1")
        _require(self.model is None or is_hex64(self.model.transcript_sha256), "transcript_sha256 is not a SHA-256")
        _require(len(self.findings) <= MAX_FINDINGS, f"there are more than {MAX_FINDINGS} findings")
        _require(self.error is None or not self.steps, "a failed investigation proposes nothing")
        parse_time(self.measured_at)


@dataclass(frozen=True)
class Earlier:
    """An action on the resource that an earlier run was about, from GitHub's list of jobs.

    Arguments:
        at: when its job began.
        end: how it ended, in a word or two.
    """

    __pydantic_config__ = _STRICT

    run_id: str
    action: str
    at: str
    end: str

    def __post_init__(self) -> None:
        parse_time(self.at)


@dataclass(frozen=True)
class PolicyChange:
    """The commit that last changed the policy, as GitHub shows it: when it was committed, and whose it says it is."""

    __pydantic_config__ = _STRICT

    at: str
    by: str

    def __post_init__(self) -> None:
        parse_time(self.at)


@dataclass(frozen=True)
class Report:
    """The result of an investigation (`investigation-report.json`): evidence, and the sealed plan if there is one.

    Arguments:
        investigation_sha256: of the `investigation.json` that it was made from, or None where there was none.
        code, error: why it failed or was refused: a registered code, and the line for a person.
        duplicate_of: id of the earlier run that already asks about the same, or None.
        policy_asked: what the rules that decided ask, with the values that they were asked about.
        policy_changed: None where GitHub did not say.
        approvers_unseen: the teams of whose members, whom GitHub shows to no job, it depends whether enough people can
            approve; empty where enough can.
        earlier: what runs before this one did to the resource, the newest first; None where GitHub did not say.
        session_policy: what the credential that acts will be cut down to; empty where the policy does not say.
        model: the language model that took part, says the agent.
    """

    __pydantic_config__ = _STRICT

    schema_version: int
    trace_id: str
    run: Run
    timestamp: str
    resource: str
    trigger: str
    status: ReportStatus
    risk_level: RiskLevel = RiskLevel.LOW
    confidence: float = 0.0
    findings: Tuple[Finding, ...] = ()
    recommendation: str = ""
    safe_to_proceed: bool = False
    analysis: str = ""
    measured_at: Optional[str] = None
    investigation_sha256: Optional[str] = None
    policy_reasons: Tuple[str, ...] = ()
    plan: Optional[Plan] = None
    code: Optional[str] = None
    error: Optional[str] = None
    duplicate_of: Optional[str] = None
    policy_asked: Tuple[str, ...] = ()
    policy_changed: Optional[PolicyChange] = None
    approvers_unseen: str = ""
    earlier: Optional[Tuple[Earlier, ...]] = None
    session_policy: str = ""
    model: Optional[ModelUse] = None

    def __post_init__(self) -> None:
        _require(self.schema_version == SCHEMA_VERSION, f"schema_version is not {SCHEMA_VERSION}")
        _require(0 <= self.confidence <= 1, "confidence is not between 0 and 1")
        _require(
            (self.status is ReportStatus.ACTION_PROPOSED) == (self.plan is not None),
            "a plan is there exactly when the status is action_proposed",
        )
        _require(
            (self.status is ReportStatus.DUPLICATE) == (self.duplicate_of is not None),
            "duplicate_of is there exactly when the status is duplicate",
        )
        _require(self.duplicate_of is None or self.duplicate_of.isdigit(), "duplicate_of is not the id of a run")
        parse_time(self.timestamp)


@dataclass(frozen=True)
class Approver:
    """Who approved, from GitHub's own record of the run."""

    __pydantic_config__ = _STRICT

    login: str
    id: int
    type: str


@dataclass(frozen=True)
class IssueComment:
    """The comment on an issue that approved a plan, where an issue is the gate.

    Arguments:
        issue: its number; `id` is the comment's.
        created_at: as GitHub gives it.
    """

    __pydantic_config__ = _STRICT

    issue: int
    id: int
    url: str
    created_at: str


@dataclass(frozen=True)
class Receipt:
    """What GitHub's approval record said right after the click (`approval-receipt.json`).

    GitHub's record has no time; `observed_at` is when the approve job read it.

    Arguments:
        issue_comment: what approved where an issue is the gate; `run` is then the one that this comment started.
    """

    __pydantic_config__ = _STRICT

    schema_version: int
    trace_id: str
    run: Run
    plan_digest: str
    approver: Approver
    comment: str
    observed_at: str
    issue_comment: Optional[IssueComment] = None

    def __post_init__(self) -> None:
        _require(is_hex64(self.plan_digest), "plan_digest is not a SHA-256")
        parse_time(self.observed_at)


@dataclass(frozen=True)
class Authorization:
    """What *Verify* found (`authorization.json`): written before anything of the team's starts in `act`.

    Arguments:
        authorized: whether every check passed.
        approvers: whose approvals counted, from GitHub's record; nobody where the policy asks nobody.
        code, message: of the check that refused, or None.
    """

    __pydantic_config__ = _STRICT

    schema_version: int
    trace_id: str
    run: Run
    plan_digest: str
    resource: str
    authorized: bool
    approvers: Tuple[Approver, ...] = ()
    code: Optional[str] = None
    message: Optional[str] = None

    def __post_init__(self) -> None:
        _require(self.authorized == (self.code is None), "a code is there exactly when it was refused")


@dataclass(frozen=True)
class StepResult:
    """The result of one call of `act()`, reported by the agent.

    Arguments:
        latency_ms: duration of `act()`.
        code: why the runtime calls it failed or unknown, or None.
    """

    __pydantic_config__ = _STRICT

    action: str
    status: ActionStatus
    latency_ms: float
    changes: Tuple[str, ...] = ()
    verification: Dict[str, Any] = field(default_factory=dict)
    rollback: Optional[str] = None
    details: Dict[str, Any] = field(default_factory=dict)
    code: Optional[str] = None

    def __post_init__(self) -> None:
        _require(self.latency_ms >= 0, "latency_ms is negative")


@dataclass(frozen=True)
class ActionReport:
    """The result of *Execute* (`action-result.json`), reported by the agent's machine.

    Arguments:
        status: that of the last step that ran; `refused` where a check stopped the plan before its next one.
        steps: those that ran, in order.
        code, message: of the check that refused, or of what went wrong, or None.
    """

    __pydantic_config__ = _STRICT

    schema_version: int
    trace_id: str
    run: Run
    plan_digest: str
    resource: str
    status: ActionStatus
    steps: Tuple[StepResult, ...] = ()
    code: Optional[str] = None
    message: Optional[str] = None

    @property
    def is_partial(self) -> bool:
        """Whether a step took effect in part, or steps did before one failed, or was refused."""
        before = self.steps if self.status is ActionStatus.REFUSED else self.steps[:-1]
        stopped = self.status in (ActionStatus.FAILED, ActionStatus.REFUSED)
        halfway = stopped and any(step.status is not ActionStatus.DRY_RUN for step in before)
        return halfway or self.status is ActionStatus.PARTIAL


def statuses(planned: Sequence[Step], ran: Sequence[StepResult], *, rest: str = names.NOT_RUN) -> Tuple[str, ...]:
    """How each step of a plan ended, in their order; `rest` for those that are not among what ran."""
    return tuple(ran[number].status.value if number < len(ran) else rest for number in range(len(planned)))


def plain(value: Any) -> Any:
    """Turn a document, or any value inside one, into plain JSON types: dict, list, str, int, float, bool, None.

    Raises:
        TypeError: a value is of a type that JSON does not have.
    """
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a JSON object has text keys, not {type(key).__name__}")
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"JSON has no {type(value).__name__}")


def encode(document: Any) -> bytes:
    """Write a document as indented UTF-8 JSON with a final newline."""
    text = json.dumps(plain(document), ensure_ascii=False, indent=2, allow_nan=False)
    return text.encode("utf-8") + b"\n"


_Document = TypeVar("_Document")
# What pydantic makes of a class: to make it takes far longer than to read a document with it.
_structures: Dict[Any, Any] = {}


def decode(kind: Type[_Document], data: bytes, source: str) -> _Document:
    """Read a document that another job wrote.

    Arguments:
        kind: one of the classes above.
        source: names it in messages.

    Raises:
        BadInput: it is too large (RPT002), not complete JSON (RPT003) or not of the expected structure (RPT004).
    """
    import pydantic  # noqa: PLC0415  imported when needed: half of the command line's start-up time otherwise

    if len(data) > MAX_REPORT_BYTES:
        raise codes.BadInput(codes.REPORT_TOO_LARGE, f"{source} has {len(data)} bytes; {MAX_REPORT_BYTES} are allowed")
    try:
        strict_json(data)
    except ValueError as problem:
        raise codes.BadInput(codes.REPORT_NOT_JSON, f"{source}: {problem}") from None
    if kind not in _structures:
        _structures[kind] = pydantic.TypeAdapter(kind)
    try:
        document: _Document = _structures[kind].validate_json(data)
    except pydantic.ValidationError as problem:
        first = problem.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise codes.BadInput(codes.REPORT_SCHEMA, f"{source}: {where}: {first['msg']}") from None
    return document
