"""A repository as somebody builds it by hand from a guide: one `agent_runner.py`, a workflow, a copy of an SDK."""

from __future__ import annotations

from pathlib import Path

from support import engines

AGENT = '''\
#!/usr/bin/env python3
"""Restarts a service whose error rate is too high."""
import argparse
import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Optional

ERROR_RATES = {"checkout": 0.4}


@dataclass
class InvestigationResult:
    findings: List[str]
    recommendation: str
    risk_level: str
    proposed_action: Optional[Dict[str, Any]] = None


@dataclass
class ActionResult:
    status: str
    changes: List[str] = field(default_factory=list)


class AgentRunner:
    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        rate = ERROR_RATES.get(resource, 0.0)
        if rate < 0.05:
            return InvestigationResult(["healthy"], "nothing to do", "low")
        action = {"action": "restart_service", "parameters": {"service": resource}}
        return InvestigationResult([f"error rate {rate}"], "restart", "medium", action)

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        return ActionResult("success", [f"restarted {resource}"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["investigate", "act"])
    options = parser.parse_args()
    runner = AgentRunner()
    resource = os.environ["TARGET_RESOURCE"]
    if options.mode == "investigate":
        print(json.dumps(asdict(runner.investigate(resource))))
    else:
        print(json.dumps(asdict(runner.act(resource, os.environ["ACTION"]))))


if __name__ == "__main__":
    main()
'''

# What a team writes in its place, after the list of what is left.
ADOPTED_AGENT = '''\
"""Restarts a service whose error rate is too high."""

from __future__ import annotations

from typing import Any, Dict, Optional

from agent_runtime import (
    ActionResult,
    ActionStatus,
    AgentRunner,
    Finding,
    InvestigationResult,
    ProposedAction,
    RiskLevel,
)

ERROR_RATES = {"checkout": 0.4}


class RestartAgent(AgentRunner):
    """Proposes a restart."""

    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        """Look at the error rate."""
        rate = ERROR_RATES.get(resource, 0.0)
        if rate < 0.05:
            return InvestigationResult((Finding("healthy"),))
        action = ProposedAction("restart_service", {"service": resource}, "It fails.", RiskLevel.MEDIUM)
        return InvestigationResult((Finding(f"error rate {rate}"),), "restart", proposed_action=action)

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        """Restart it."""
        return ActionResult(ActionStatus.SUCCESS, (f"restarted {resource}",))


if __name__ == "__main__":
    raise SystemExit(RestartAgent.main())
'''
ADOPTED_POLICY = """\
name: checkout
version: 1
allowed_actions:
  - type: restart_service
    resources: [checkout]
    max_risk: medium
    conditions:
      - {parameter: service, operator: in, value: [checkout]}
"""
ADOPTED_TEST = '''\
"""What the agent proposes, and that its policy lets a reviewer decide on it."""

from pathlib import Path

from agent_runner import RestartAgent
from agent_runtime.testing import evaluate, parse_policy


def test_a_restart_is_proposed_and_reviewed() -> None:
    proposed = RestartAgent().investigate("checkout").proposed_action
    assert proposed is not None
    (file,) = Path(".github/agent-policies").glob("*.yml")
    verdict = evaluate(
        parse_policy(file.read_bytes(), file.name),
        action=proposed.action,
        resource="checkout",
        parameters=proposed.parameters,
        risk_level=proposed.risk_level,
    )
    assert verdict.decision == "review"
'''
# What each hand-written file becomes that a machine can't write.
WRITTEN = {
    "agent_runner.py": ADOPTED_AGENT,
    ".github/agent-policies/checkout.yml": ADOPTED_POLICY,
    "tests/test_agent.py": ADOPTED_TEST,
    "requirements-agent.in": "# What this agent imports\nrequests\n",
}

WORKFLOW = """\
name: Agent Runtime - Investigate & Act
on:
  workflow_dispatch:
    inputs:
      resource: {required: true}
jobs:
  investigate:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: cd sdk && pip install -e .
      - run: python agent_runner.py investigate
        env: {TARGET_RESOURCE: "${{ inputs.resource }}"}
  approve:
    needs: investigate
    runs-on: ubuntu-latest
    environment: agent-approval
    steps: [{run: echo approved}]
  act:
    needs: approve
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: python agent_runner.py act
        env: {TARGET_RESOURCE: "${{ inputs.resource }}", ACTION: restart_service}
"""

FILES = {
    "agent_runner.py": AGENT,
    ".github/workflows/agent-investigate-act.yml": WORKFLOW,
    ".gitignore": "*.log",
    "CODEOWNERS": "* @acme/sre\n",
    "LICENSE.md": "MIT License\n\nCopyright Acme\n",
    "README.md": "# Checkout agent\n\nRestarts the checkout.\n",
    "docs/GITHUB_ACTIONS_RUNTIME.md": "# How it works\n",
    "docs/SETUP_GUIDE.md": "# Setting up\n",
    "requirements.txt": "requests>=2\n",
    "sdk/aimgentix/__init__.py": "class AuditClient: ...\n",
    "sdk/setup.py": "from setuptools import setup\n\nsetup(name='aimgentix')\n",
    "specs/github-actions-agent-runtime.md": "# Specification\n",
}


def build(folder: Path) -> Path:
    """Write and commit it."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    engines.commit_all(folder, "Our agent")
    return folder
