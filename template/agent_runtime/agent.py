"""What a team subclasses."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from agent_runtime.results import ActionResult, InvestigationResult


class AgentRunner:
    """One agent: it investigates with read access, proposes an action, and takes it after a human approved it.

    A team writes `investigate()` and `act()`, and `observe()` where acting on a changed world would do harm.
    """

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
