"""What a team subclasses, and what its methods return."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from agent_runtime.results import ActionStatus, Finding, ModelUse, RiskLevel

if TYPE_CHECKING:
    from aimgentix.redact import Redactor


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


class Notes:
    """What an investigation leaves besides its result: events of the trail, files of the bundle.

    This one keeps nothing, for a team's own tests; the runtime gives an agent one that does.
    """

    @property
    def redactor(self) -> Redactor:
        """What keeps secrets out of events and files."""
        from aimgentix.redact import Redactor  # noqa: PLC0415  imported when used

        return Redactor()

    def event(self, step: str, ok: bool, latency_ms: Optional[float] = None, **facts: Any) -> None:
        """Write an event into the trail before this returns; `facts` are JSON values."""

    def keep(self, name: str, data: bytes) -> str:  # noqa: ARG002  this one keeps nothing
        """Keep a file in the run's bundle and return the SHA-256 of its content, in hexadecimal."""
        return hashlib.sha256(data).hexdigest()


class AgentRunner:
    """One agent: it investigates with read access, proposes an action, and takes it after a human approved it.

    A team writes `investigate()` and `act()`, and `observe()` where acting on a changed world would do harm.
    """

    notes = Notes()

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """Look, and propose one action, or several in their order, or nothing.  Runs without write access.

        Arguments:
            resource: what to look at, a plain identifier.
            context: the trigger's JSON object, untrusted.
        """
        raise NotImplementedError(f"{type(self).__name__} has no investigate()")

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """Do exactly what was approved.  Runs behind the gate, with the secrets of the environment `agent-act`.

        It is called once for each approved action, in their order, until one does not succeed.  What the policy's
        `auto_approve` names runs with the secrets of `agent-auto`, under the same names.

        Arguments:
            resource: the approved resource.
            action: the approved action type.
            context: the approved parameters, and nothing else.
        """
        raise NotImplementedError(f"{type(self).__name__} has no act()")

    def observe(self, resource: str) -> Dict[str, Any]:  # noqa: ARG002  the default looks at nothing
        """Return what must still be true when the approved action starts, as JSON values by name.

        The runtime seals the answer into the plan and asks again just before each action; any difference refuses what
        is left of the plan, but for what the action before it names in `changes`.  The default, an empty object, asks
        for nothing.
        """
        return {}

    @classmethod
    def main(cls, arguments: Optional[List[str]] = None) -> int:
        """Run the command line for this agent and return the exit code."""
        from agent_runtime.cli import main  # noqa: PLC0415  a team's file imports no command line

        return main(cls, arguments)
