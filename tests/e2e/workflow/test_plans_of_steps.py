"""A plan of several steps through the generated workflow: one approval, and what is left when a step fails."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agent_runtime.local.terminal import as_terminal
from support.harness.engine import Answer, Click, Run
from support.runs import ALL_SUCCEED, bundle, document, ended, results
from support.world import World

AGENT = """
from urllib.request import ProxyHandler, build_opener

from agent_runtime import *


def ledger(line=None):
    with build_opener(ProxyHandler({{}})).open({ledger!r}, line, timeout=10) as answer:
        return answer.read().decode().splitlines()


class Agent(AgentRunner):
    def investigate(self, resource, context=None):
        return InvestigationResult(
            (Finding("The node is due"),),
            "drain, restart, let traffic in",
            proposed_actions=(
                ProposedAction("drain", {{"zone": "a"}}, "first", RiskLevel.LOW, True, "let zone a in", ("lines",)),
                ProposedAction("restart", {{"zone": "a"}}, "then", RiskLevel.LOW, False, None, ("lines",)),
                ProposedAction("undrain", {{"zone": "a"}}, "last", RiskLevel.LOW, True, "drain it again", ("lines",)),
            ),
        )

    def observe(self, resource):
        return {{"lines": len(ledger())}}

    def act(self, resource, action, context=None):
        if action == {failing!r}:
            return ActionResult(ActionStatus.FAILED, details={{"error": "the node does not answer"}})
        ledger(f"{{action}} {{context['zone']}}".encode())
        return ActionResult(ActionStatus.SUCCESS, (f"wrote {{action}}",))


if __name__ == "__main__":
    raise SystemExit(Agent.main())
"""
POLICY = """
name: nodes
version: 1
allowed_actions:
  - {type: drain, resources: [example], max_risk: low, conditions: [{parameter: zone, operator: in, value: [a, b]}]}
  - {type: restart, resources: [example], max_risk: low}
  - {type: undrain, resources: [example], max_risk: low}
"""


@pytest.fixture
def ledger(world: World) -> Iterator[list[str]]:
    """What the steps change: a line for each that is done, in a service; the step that fails is `restart`."""
    lines: list[str] = []

    class Ledger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write("\n".join(lines).encode())

        def do_POST(self) -> None:
            lines.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Ledger) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        (world.origin / "agent_runner.py").write_text(AGENT.format(ledger=address, failing="restart"))
        next((world.origin / ".github" / "agent-policies").glob("*.yml")).write_text(POLICY)
        world.commit()
        yield lines
        server.shutdown()


def events(run: Run, step: str) -> list[dict[str, Any]]:
    """The events of one step in the journal of *Execute*, as the bundle keeps it."""
    files = run.artifacts.named("audit-bundle").files()
    lines = [
        line for name, data in sorted(files.items()) if name.startswith("act/journal/") for line in data.splitlines()
    ]
    found = [json.loads(line).get("event") for line in lines]
    return [event["metadata"] for event in found if event and event["metadata"]["step"] == step]


@pytest.mark.threat("T14", "T39")
def test_of_three_steps_the_second_fails_and_a_person_reads_what_to_do(world: World, ledger: list[str]) -> None:
    seen = []

    def bob(waiting: Any) -> Answer:
        assert ledger == [], "nothing happens before the click"
        seen.append(waiting)
        return Click("bob")

    run = world.start(reviewer=bob)

    # One approval, of one page with every step.
    (waiting,) = seen
    digest = run.jobs["seal"].outputs["plan_digest"]
    assert waiting.job == f"Approve plan {digest[:12]}: drain+restart+undrain on example"
    asked = re.sub(" {2,}", "  ", as_terminal(waiting.summary))
    assert asked.startswith("Approve drain, then restart, then undrain on example?")
    places = [
        asked.index(f"Step {number}  {action}") for number, action in enumerate(("drain", "restart", "undrain"), 1)
    ]
    assert places == sorted(places) and asked.count("lines, says the agent") == 3

    # What ran, and what did not.
    assert results(run) == ended(act="failure"), run.log
    assert ledger == ["drain a"]
    manifest = bundle(run)
    assert (manifest["outcome"], manifest["problems"]) == ("partial", [])
    assert manifest["steps"] == [
        {"action": "drain", "status": "success"},
        {"action": "restart", "status": "failed"},
        {"action": "undrain", "status": "not_run"},
    ]
    assert [event["action"] for event in events(run, "intent")] == ["drain", "restart"]
    assert [event["outcome"] for event in events(run, "outcome")] == ["success", "failed"]
    assert document(run, "action-result", "action-result.json")["status"] == "failed"
    assert "example: undrain not run" in run.jobs["act"].log

    # The pages of `act` and of `record` say what a person must do now.
    for job in ("act", "record"):
        page = as_terminal(run.jobs[job].summary)
        left = page[page.index("What to do now") :]
        assert "Somebody must finish it or go back." in page
        assert "undrain  not run" in page
        assert "step 2, restart, which may have taken effect in part or not at all: no way back is known" in left
        assert left.index("step 2, restart") < left.index("step 1, drain: let zone a in")
        assert "start a new run" in left
    assert "Partial: example" in as_terminal(run.jobs["act"].summary)


def test_three_steps_that_succeed_each_see_the_change_of_the_one_before(world: World, ledger: list[str]) -> None:
    agent = world.origin / "agent_runner.py"
    agent.write_text(agent.read_text().replace("if action == 'restart'", "if action == 'none'"))
    world.commit()

    run = world.start(reviewer=lambda waiting: Click("bob"))

    assert results(run) == ALL_SUCCEED, run.log
    assert ledger == ["drain a", "restart a", "undrain a"]
    assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("acted", [])
    assert [step["status"] for step in bundle(run)["steps"]] == ["success"] * 3
    assert run.clicks and len(run.clicks) == 1


@pytest.mark.threat("T25")
def test_a_rate_limit_counts_the_steps_of_a_plan(world: World, ledger: list[str]) -> None:
    policy = next((world.origin / ".github" / "agent-policies").glob("*.yml"))
    policy.write_text(POLICY + "rate_limits:\n  - {type: '*drain', max: 2, per: 24h}\n")
    world.commit()

    first = world.start(reviewer=lambda waiting: Click("bob"))
    assert bundle(first)["outcome"] == "partial", "there was room for its two steps"
    second = world.start(reviewer=lambda waiting: Click("bob"))

    assert (bundle(second)["outcome"], second.clicks) == ("denied", [])
    assert "2 of 2 in the last 24h" in second.jobs["seal"].summary
