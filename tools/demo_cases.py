"""What differs from one use case to the next in `make demo`: the world that an agent looks after, and how it is seen.

A case starts a real program, makes something go wrong, and measures from outside what share of it is wrong, before and
after.  It knows nothing of the agent; the demo plays all cases alike.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
USE_CASES = ROOT / "template" / "use_cases"
RESOURCE = "example"

FAILING_SHARE = 0.3
HEALTHY_SHARE = 0.05
REQUESTS = 200
REQUEST_TIMEOUT_SECONDS = 5
START_TIMEOUT_SECONDS = 20
STOP_TIMEOUT_SECONDS = 15

# What a caller's shell may hold that would make this run another one than the demo's.
_FOREIGN = ("GITHUB_", "RUNNER_", "GIT_", "AIMGENTIX_")
_FOREIGN_NAMES = ("TARGET_RESOURCE", "TRACE_ID", "ACTION_CONTEXT", "TRIGGER_SOURCE", "AGENT_INSTANCE_ID", "PYTHONPATH")


class DemoFailed(Exception):
    """The demo did not show what it promises; the message says what happened instead."""


class World(ABC):
    """A world with something in it that can go wrong."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for people."""

    @abstractmethod
    def settings(self, folder: Path) -> dict[str, str]:
        """Return the variables by which the agent finds this world; what they name is written to `folder`."""

    @abstractmethod
    def spoil(self) -> None:
        """Let something go wrong."""

    @abstractmethod
    def wrong(self) -> float:
        """Measure from outside what share is wrong, 0 to 1."""

    @abstractmethod
    def state(self) -> str:
        """Return what the agent's action changes: it differs before and after."""


class ServiceWorld(World):
    """A world that is a running program.

    Arguments:
        started: what its program said when it was ready: at least its address and process.
        token: what its program wants from whoever changes something.
    """

    def __init__(self, started: dict[str, Any], token: str) -> None:
        self.url = str(started["url"])
        self.pid = int(started["pid"])
        self.token = token
        self.started = started

    @property
    def place(self) -> str:
        return f"{self.url} (process {self.pid})"

    @property
    def token_text(self) -> str:
        """The secret AGENT_ACT_TOKEN."""
        return self.token

    @property
    def variables(self) -> dict[str, str]:
        """What else the agent gets from its environment."""
        return {}

    @abstractmethod
    def catalogue(self) -> str:
        """Return the services.yml by which the agent finds this world."""

    def settings(self, folder: Path) -> dict[str, str]:
        catalogue = folder / "services.yml"
        catalogue.write_text(self.catalogue(), encoding="utf-8")
        # The token reaches the act job only, as a secret of the environment agent-act would.
        return {"SERVICES_FILE": str(catalogue), "AGENT_ACT_TOKEN": self.token_text, **self.variables}

    def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        token: str | None = None,
        origin: str | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Ask the program, with its token unless another one is given; return status and answer."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.netloc, timeout=REQUEST_TIMEOUT_SECONDS)
        try:
            headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
            if origin:
                headers["X-Forwarded-For"] = origin
            connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise DemoFailed(f"the example service at {self.url} does not answer: {problem}") from None
        finally:
            connection.close()

    def order(self, path: str, body: dict[str, Any]) -> None:
        """Make the program do something that it can't refuse."""
        status, _ = self.request("POST", path, body)
        if status >= http.client.BAD_REQUEST:
            raise DemoFailed(f"the example service refused {path} (HTTP {status})")

    def failing_requests(self) -> float:
        """Send requests as a user would, and return the share that fails."""
        failed = sum(self.request("GET", "/")[0] >= http.client.INTERNAL_SERVER_ERROR for _ in range(REQUESTS))
        return failed / REQUESTS


class RestartWorld(ServiceWorld):
    """A service that fails until it is restarted."""

    def catalogue(self) -> str:
        return f"""\
services:
  {RESOURCE}:
    metrics:
      url: {self.url}/metrics
      window_seconds: 2
      fresh_seconds: 2
    health: {self.url}/healthz
    restart: {self.url}/-/restart
"""

    def spoil(self) -> None:
        self.order("/chaos", {"error_rate": FAILING_SHARE})

    def wrong(self) -> float:
        return self.failing_requests()

    def state(self) -> str:
        return str(self.request("GET", "/healthz")[1]["instance"])


class RollbackWorld(ServiceWorld):
    """A service that reads its configuration from git, and fails when that lacks connections."""

    def catalogue(self) -> str:
        return f"""\
services:
  {RESOURCE}:
    repository: {self.started["repository"]}
    branch: main
    path: service.json
    flags: flags.json
    log: {self.url}/log
    metrics:
      url: {self.url}/metrics
    health: {self.url}/healthz
    restart: {self.url}/-/restart
"""

    def spoil(self) -> None:
        before = self.request("GET", "/healthz")[1]["started"]
        self.order("/deploy", {"connections": 7})
        with deadline(START_TIMEOUT_SECONDS, "the example service did not restart in time"):
            while self.request("GET", "/healthz")[1]["started"] == before:
                time.sleep(0.05)

    def wrong(self) -> float:
        return self.failing_requests()

    def state(self) -> str:
        return str(self.request("GET", "/healthz")[1]["configuration"])


class ScaleWorld(ServiceWorld):
    """A service whose capacity is a number of processes, set by a file in git; two of them are nearly busy."""

    DEMAND = 1.9
    WINDOW_SECONDS = 2

    def catalogue(self) -> str:
        return f"""\
services:
  {RESOURCE}:
    prometheus: {self.url}
    cpu: example_cpu_share
    memory: example_memory_share
    latency: example_latency_seconds
    latency_limit_seconds: 0.5
    online: example_instances
    window_seconds: {self.WINDOW_SECONDS}
    minimum: 2
    maximum: 8
    step: 2
    cooldown_seconds: 0
    target:
      git:
        repository: {self.started["repository"]}
        branch: main
        path: autoscaling.yml
        key: spec.instances
    trigger: {self.url}/-/apply
"""

    def spoil(self) -> None:
        self.order("/load", {"demand": self.DEMAND})
        time.sleep(self.WINDOW_SECONDS)  # the trend shall know nothing else

    def wrong(self) -> float:
        shown = self._metrics()
        return min(1.0, float(shown["example_cpu_share"]))

    def state(self) -> str:
        living = [pid for pid in self.request("GET", "/instances")[1]["pids"] if Path(f"/proc/{pid}").exists()]
        return f"{len(living)} processes"

    def _metrics(self) -> dict[str, str]:
        with urlopen(self.url + "/metrics", timeout=REQUEST_TIMEOUT_SECONDS) as answer:  # noqa: S310  loopback only
            lines = answer.read().decode().splitlines()
        return dict(line.split(" ", 1) for line in lines if not line.startswith("#"))


class SecurityWorld(ServiceWorld):
    """An identity service and a secret store; somebody steals a key out of the store and uses it from elsewhere."""

    ATTEMPTS = 20
    THIEF = "203.0.113.9"

    def __init__(self, started: dict[str, Any], token: str) -> None:
        super().__init__(started, token)
        self._stolen = "a-guess"

    @property
    def token_text(self) -> str:
        return json.dumps({"identity": self.token, "secrets": self.token})

    def catalogue(self) -> str:
        return f"""\
services:
  {RESOURCE}:
    identity: {self.url}/identity
    secrets: {self.url}/secrets
"""

    def spoil(self) -> None:
        self._stolen = self._stored()

    def wrong(self) -> float:
        tried = [self.request("GET", "/identity/whoami", None, self._stolen, self.THIEF) for _ in range(self.ATTEMPTS)]
        return sum(status == http.client.OK for status, _ in tried) / self.ATTEMPTS

    def state(self) -> str:
        return hashlib.sha256(self._stored().encode()).hexdigest()

    def _stored(self) -> str:
        return str(self.request("GET", "/secrets/shop/k-1")[1]["value"])


class IncidentWorld(ServiceWorld):
    """A service that fails with a feature switch on; a recorded conversation looks for the cause, or a live model."""

    SWITCH = "new-checkout"

    def catalogue(self) -> str:
        return f"""\
services:
  {RESOURCE}:
    metrics:
      url: {self.url}/metrics
      window_seconds: 2
      fresh_seconds: 2
    log: {self.url}/log
    switches: {self.url}/switches
    repository: {self.started["repository"]}
    branch: main
    path: switches.json
    restart: {self.url}/-/restart
"""

    @property
    def variables(self) -> dict[str, str]:
        """Which model is asked: with a key in the environment a live one."""
        given = {
            name: os.environ[name] for name in ("MODEL_API_KEY", "MODEL_NAME", "MODEL_ADDRESS") if name in os.environ
        }
        if "MODEL_API_KEY" in given or "MODEL_ADDRESS" in given:
            return {"MODEL_NAME": "openai:gpt-5.2", **given}
        return {"MODEL_NAME": "recorded:tests/conversation.json"}

    def spoil(self) -> None:
        self._turn(on=True)

    def wrong(self) -> float:
        return self.failing_requests()

    def state(self) -> str:
        return str(self.request("GET", "/switches")[1]["switches"])

    def _turn(self, *, on: bool) -> None:
        status, _ = self.request("PUT", f"/switches/{self.SWITCH}", {"on": on})
        if status != http.client.OK:
            raise DemoFailed(f"the example service refused its switch (HTTP {status})")


class NotesWorld(World):
    """A file of notes in which one is missing.  No program runs here."""

    def __init__(self, folder: Path) -> None:
        self.notes = folder / "notes.txt"
        self._line = f"looked at {RESOURCE}"
        folder.mkdir(parents=True, exist_ok=True)
        self.notes.write_text(f"{self._line}\n", encoding="utf-8")

    @property
    def place(self) -> str:
        return str(self.notes)

    def settings(self, folder: Path) -> dict[str, str]:  # noqa: ARG002  the file is there already
        return {"NOTES_FILE": str(self.notes)}

    def spoil(self) -> None:
        self.notes.write_text("", encoding="utf-8")

    def wrong(self) -> float:
        return float(self._line not in self._lines())

    def state(self) -> str:
        return str(self._lines())

    def _lines(self) -> list[str]:
        return self.notes.read_text(encoding="utf-8").splitlines()


class FolderWorld(World):
    """A folder with a quota that somebody fills.  No program runs here."""

    QUOTA = 20_000

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve() / "cache"
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def place(self) -> str:
        return f"{self.folder}, quota {self.QUOTA} bytes"

    def catalogue(self) -> str:
        """Return the services.yml by which the agent finds this world."""
        return f"services:\n  {RESOURCE}:\n    folder: {self.folder}\n    quota_bytes: {self.QUOTA}\n"

    def settings(self, folder: Path) -> dict[str, str]:
        catalogue = folder / "services.yml"
        catalogue.write_text(self.catalogue(), encoding="utf-8")
        return {"SERVICES_FILE": str(catalogue)}

    def spoil(self) -> None:
        program = USE_CASES / "disk-cleanup" / "example_service.py"
        subprocess.run([sys.executable, str(program), "fill", str(self.folder)], check=True, capture_output=True)

    def wrong(self) -> float:
        used = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        return max(0.0, used / self.QUOTA - 1)

    def state(self) -> str:
        return str(sorted(path.name for path in self.folder.rglob("*") if path.is_file()))


@dataclass(frozen=True)
class Case:
    """One use case as the demo plays it.

    Arguments:
        agent: answers to the template's questions.
        slug: the name that follows from them.
        world: what its program is, or what there is where none runs.
        options: for the program.
        runs, breaks, again: headings of three steps.
        say: puts a measured share into words.
        label, changed, unchanged: how the demo says whether the state is another one.
        healthy_share: at most this share may be wrong in the end.
        resource: what the agent is to look at.
    """

    agent: dict[str, str]
    slug: str
    world: type[ServiceWorld] | type[NotesWorld] | type[FolderWorld]
    options: tuple[str, ...]
    runs: str
    breaks: str
    again: str
    say: Callable[[float], str]
    label: str
    changed: str
    unchanged: str
    healthy_share: float = HEALTHY_SHARE
    resource: str = RESOURCE

    @contextmanager
    def start(self, folder: Path) -> Iterator[World]:
        """Run the case's program, if it has one, for the time of a block; its files are in `folder`."""
        if not issubclass(self.world, ServiceWorld):
            yield self.world(folder)
            return
        token = secrets.token_urlsafe(24)
        options = [option.format(folder=folder) for option in self.options]
        program = USE_CASES / self.agent["use_case"] / "example_service.py"
        command = [sys.executable, str(program), "serve", f"--token={token}", *options]
        with process(command, stdout=subprocess.PIPE, env=clean_environment()) as started:
            with deadline(START_TIMEOUT_SECONDS, "the example service did not start in time"):
                announced = started.stdout.readline() if started.stdout else ""
            if not announced:
                raise DemoFailed("the example service did not start")
            yield self.world(json.loads(announced), token)


def busy(share: float) -> str:
    """Put a measured load into words."""
    return f"{share:.1%} of the CPU is in use"


def let_in(share: float) -> str:
    """Put into words how often a thief gets in."""
    return f"{share:.1%} of the thief's attempts came in"


def over_quota(share: float) -> str:
    """Put into words how much more than its quota a folder holds."""
    return f"{share:.1%} more than its quota"


def unnoted(share: float) -> str:
    """Put into words how much lacks a note."""
    return f"{share:.1%} of the resources lack a note"


def failed_requests(share: float) -> str:
    """Put a measured error rate into words."""
    return f"{share:.1%} of {REQUESTS} requests failed"


CASES = {
    "service-restart": Case(
        agent={
            "agent_name": "Example Restart",
            "description": "Restarts the example service when too many requests fail",
            "use_case": "service-restart",
        },
        slug="example-restart",
        world=RestartWorld,
        options=(),
        runs="A service runs, and an audit backend",
        breaks="It begins to fail",
        again="The service, measured again",
        say=failed_requests,
        label="process",
        changed="a new one: it was restarted",
        unchanged="the same one: it was not restarted",
    ),
    "config-rollback": Case(
        agent={
            "agent_name": "Example Rollback",
            "description": "Undoes a change of the example service's configuration that did harm",
            "use_case": "config-rollback",
        },
        slug="example-rollback",
        world=RollbackWorld,
        options=("--folder={folder}/service", "--traffic=100"),
        runs="A service runs with a configuration from git, and an audit backend",
        breaks="A new configuration is deployed, and requests begin to fail",
        again="The service, measured again",
        say=failed_requests,
        label="version",
        changed="another one: the configuration was rolled back",
        unchanged="the same one: the configuration was not rolled back",
    ),
    "scale-resources": Case(
        agent={
            "agent_name": "Example Scaling",
            "description": "Gives the example service the capacity that it needs",
            "use_case": "scale-resources",
        },
        slug="example-scaling",
        world=ScaleWorld,
        options=("--folder={folder}/service",),
        runs="A service runs with two instances, and an audit backend",
        breaks="Many users come",
        again="The service, measured again",
        say=busy,
        label="instances",
        changed="not as many as before: capacity was added",
        unchanged="as many as before: no capacity was added",
        healthy_share=0.8,
    ),
    "security-response": Case(
        agent={
            "agent_name": "Example Response",
            "description": "Disables and rotates keys that are misused",
            "use_case": "security-response",
        },
        slug="example-response",
        world=SecurityWorld,
        options=(),
        runs="An identity service and a secret store run, and an audit backend",
        breaks="Somebody steals a key",
        again="The key, tried again",
        say=let_in,
        label="key",
        changed="another one is in the secret store",
        unchanged="the same one is in the secret store",
        healthy_share=0.0,
        resource=f"{RESOURCE}/key/k-1",
    ),
    "incident-response": Case(
        agent={
            "agent_name": "Example Incident",
            "description": "Lets a model find out why the example service fails",
            "use_case": "incident-response",
        },
        slug="example-incident",
        world=IncidentWorld,
        options=("--folder={folder}/service", "--traffic=100"),
        runs="A service runs with a new feature turned off, and an audit backend",
        breaks="Somebody turns the feature on, and requests begin to fail",
        again="The service, measured again",
        say=failed_requests,
        label="switches",
        changed="not the same: the feature was turned off",
        unchanged="the same: the feature is still on",
    ),
    "disk-cleanup": Case(
        agent={
            "agent_name": "Example Cleanup",
            "description": "Deletes old files when the example folder is over its quota",
            "use_case": "disk-cleanup",
        },
        slug="example-cleanup",
        world=FolderWorld,
        options=(),
        runs="There is a folder with a quota, and an audit backend runs",
        breaks="Builds fill the folder",
        again="The folder, measured again",
        say=over_quota,
        label="files",
        changed="not the same: the oldest were deleted",
        unchanged="the same: nothing was deleted",
        healthy_share=0.0,
    ),
    "blank": Case(
        agent={
            "agent_name": "Example Notes",
            "description": "Sees to it that there is a note about the example",
            "use_case": "blank",
        },
        slug="example-notes",
        world=NotesWorld,
        options=(),
        runs="There is a file with a note, and an audit backend runs",
        breaks="The note disappears",
        again="The notes, read again",
        say=unnoted,
        label="notes",
        changed="not the same: the note was written",
        unchanged="the same: no note was written",
        healthy_share=0.0,
    ),
}


@contextmanager
def process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program for the time of a block; afterwards it has ended, whatever happened in the block."""
    started = subprocess.Popen(command, text=True, **options)
    try:
        yield started
    finally:
        if started.poll() is None:
            # As Ctrl-C would: programs that have children of their own end them then.
            started.send_signal(signal.SIGINT)
            try:
                started.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


@contextmanager
def deadline(seconds: int, message: str) -> Iterator[None]:
    """End the block with this message when it takes too long."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise DemoFailed(message)

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def clean_environment() -> dict[str, str]:
    """Return the environment without what belongs to another run, repository or interpreter."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and name not in _FOREIGN_NAMES
    }
