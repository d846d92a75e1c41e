"""The smallest agent that does something real: it writes a note into a file once a human approved it.

Replace the bodies of the two methods.  `investigate()` looks and proposes at most one action; `act()` gets exactly the
parameters that were approved, does it, checks that the world shows it, and says how it ended.  What they may use is in
agent_runtime/toolkit, what the agent may do in .github/agent-policies.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List, Optional

from agent_runtime import (
    ActionResult,
    ActionStatus,
    AgentRunner,
    Finding,
    InvestigationResult,
    ProposedAction,
    RiskLevel,
)

# The environment variable names another file, for tests and demonstrations.
NOTES = Path(os.environ.get("NOTES_FILE") or "agent-run/notes.txt")


class BlankAgent(AgentRunner):
    """Sees to it that there is a note about the resource."""

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """Propose a note unless it is there."""
        line = f"looked at {resource}"
        if line in notes():
            return InvestigationResult((Finding(f"There is a note about {resource}"),), "nothing to do", confidence=1.0)
        missing = Finding(f"There is no note about {resource}", evidence={"file": str(NOTES), "context": context})
        return InvestigationResult(
            findings=(missing,),
            recommendation="write a note",
            confidence=1.0,
            proposed_action=ProposedAction(
                action="write_note",
                parameters={"line": line},
                reason=f"Nobody wrote down that they looked at {resource}.",
                risk_level=RiskLevel.LOW,
                reversible=True,
                rollback=f"Delete the line about {resource} from {NOTES}.",
            ),
        )

    def observe(self, resource: str) -> Dict[str, Any]:
        """What must still be so when the agent acts: nobody wrote the note meanwhile."""
        return {"noted": f"looked at {resource}" in notes()}

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """Write the approved line, and read it back."""
        if action != "write_note" or not context:
            return ActionResult(ActionStatus.FAILED, details={"error": f"nothing was done: {action} is not known"})
        NOTES.parent.mkdir(parents=True, exist_ok=True)
        with NOTES.open("a", encoding="utf-8") as file:
            file.write(context["line"] + "\n")
        written = context["line"] in notes()
        return ActionResult(
            ActionStatus.SUCCESS if written else ActionStatus.FAILED,
            changes=(f"added one line to {NOTES}",),
            verification={"written": written},
            rollback=f"Delete the line about {resource} from {NOTES}.",
        )


def notes() -> List[str]:
    """Return the lines of the file, none where there is no file."""
    return NOTES.read_text(encoding="utf-8").splitlines() if NOTES.exists() else []


if __name__ == "__main__":
    raise SystemExit(BlankAgent.main())
