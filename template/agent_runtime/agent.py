"""What a team subclasses."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from agent_runtime.results import ActionResult, InvestigationResult

if TYPE_CHECKING:
    from aimgentix.redact import Redactor


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
