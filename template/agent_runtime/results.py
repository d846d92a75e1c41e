"""What `investigate()` and `act()` return: how a team reports to the runtime what it found and did.

Plain frozen dataclasses, so that a team's file imports nothing but the standard library's cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, Optional, Tuple


class _StrEnum(str, Enum):
    """An enumeration whose members print and serialise as their value, on every supported Python."""

    def __str__(self) -> str:
        return str(self.value)


class RiskLevel(_StrEnum):
    """How much harm an action can do; ordered from `low` to `critical`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for `low` up to 3 for `critical`, for comparisons."""
        return list(type(self)).index(self)


class Severity(_StrEnum):
    """How much a finding matters."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class ActionStatus(_StrEnum):
    """How an action ended.

    `partial` means that a part of the effect happened and the rest did not: a human must finish it or go back.
    `unknown` means that the effect may or may not have happened: a human must look.  `refused` and `dry_run` are
    written by the runtime, when a check before acting failed and for a dry run, never by a team's `act()`.
    """

    SUCCESS = "success"
    FAILED = "failed"
    PARTIAL = "partial"
    UNKNOWN = "unknown"
    ALREADY_DONE = "already_done"
    REFUSED = "refused"
    DRY_RUN = "dry_run"


@dataclass(frozen=True)
class Finding:
    """One observation, with the evidence that a reviewer needs to believe it.

    Arguments:
        message: one sentence.
        severity: how much it matters.
        evidence: JSON values by name, for example `{"error_rate": 0.31, "source": "http://…/metrics"}`.
    """

    message: str
    severity: Severity = Severity.INFO
    evidence: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProposedAction:
    """One action that the agent asks to be allowed to take.

    Arguments:
        action: its type, as the policy knows it: lower-case letters, digits and `_ . : -`, at most 64 characters.
        parameters: JSON values by name; `act()` gets exactly these as its context, and nothing else.
        reason: one or two sentences for the reviewer.
        risk_level: how much harm it can do.
        reversible: whether it can be undone.
        rollback: how it is undone, in words, or None.
        changes: the keys of what `observe()` returns that this action changes; in a plan of several actions, nothing
            else may differ before the next one.  A parameter of the same name says to what it changes one, or, of one
            that it does not change, what it must be by then.
    """

    action: str
    parameters: Dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    risk_level: RiskLevel = RiskLevel.HIGH
    reversible: bool = False
    rollback: Optional[str] = None
    changes: Tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelUse:
    """What a language model had to do with an investigation; `toolkit.model` fills it in.

    Arguments:
        name: provider and model, such as `openai:gpt-5.2`.
        transcript_sha256: of the file with the whole conversation, which the run's bundle contains.
        requests, tool_calls, tokens: how many.
        usd: what it cost, as far as its price is known; else None.
    """

    name: str
    transcript_sha256: str
    requests: int
    tool_calls: int
    tokens: int
    usd: Optional[float] = None


@dataclass(frozen=True)
class InvestigationResult:
    """What `investigate()` found, and what it proposes: one action, several in their order, or nothing.

    Arguments:
        findings: observations with evidence, most important first.
        recommendation: what should happen, in a few words, for example `restart` or `nothing to do`.
        risk_level: the risk of the situation as found.
        confidence: 0 to 1; shown to the reviewer, never used to decide anything.
        analysis: longer text for the reviewer.
        safe_to_proceed: False when the agent itself advises against acting now.
        proposed_action: the action to be approved, or None when there is nothing to do.
        proposed_actions: instead of it, where one action is not enough: one approval is for all of them, they run in
            this order, and the first that does not succeed stops the rest.
        model: the language model that chose the action and wrote the words, or None.
    """

    findings: Tuple[Finding, ...] = ()
    recommendation: str = "nothing to do"
    risk_level: RiskLevel = RiskLevel.LOW
    confidence: float = 0.0
    analysis: str = ""
    safe_to_proceed: bool = True
    proposed_action: Optional[ProposedAction] = None
    proposed_actions: Optional[Tuple[ProposedAction, ...]] = None
    model: Optional[ModelUse] = None

    @property
    def actions(self) -> Tuple[ProposedAction, ...]:
        """What is proposed, in its order, whichever way it was written; empty when there is nothing to do."""
        if self.proposed_actions is not None:
            return tuple(self.proposed_actions)
        return () if self.proposed_action is None else (self.proposed_action,)


@dataclass(frozen=True)
class ActionResult:
    """What `act()` did, and whether the world shows it.

    Arguments:
        status: how it ended.
        changes: one line for each thing that was changed.
        verification: JSON values by name: what was measured before and after.
        rollback: how to undo what was done, or None.
        details: anything else worth keeping, JSON values by name.
    """

    status: ActionStatus
    changes: Tuple[str, ...] = ()
    verification: Dict[str, Any] = field(default_factory=dict)
    rollback: Optional[str] = None
    details: Dict[str, Any] = field(default_factory=dict)
