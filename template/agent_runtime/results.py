"""What is found and how an action ends, in the words that the team's code, the documents and the pages share.

Plain frozen dataclasses, so that a team's file imports nothing but the standard library's cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, Optional


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
