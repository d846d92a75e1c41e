"""For a team's own tests: what the policy says of an action.  These names stay, whatever moves inside the runtime."""

from __future__ import annotations

from agent_runtime.gate.policy import Policy, Verdict, evaluate
from agent_runtime.gate.policy_file import parse_policy

__all__ = ["Policy", "Verdict", "evaluate", "parse_policy"]
