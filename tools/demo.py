"""The whole path in one command: `make demo`.

A service fails, an agent investigates, you approve, it acts, and the trail of it is verified.  Everything is real and
local: the service is a process of its own that truly restarts, the agent repository is one that Copier generates from
this checkout, its phases run as separate processes, and the demo measures the error rate itself, from outside, before
and after.

    python tools/demo.py [--approve] [--out FOLDER]

On a terminal you are the reviewer.  Exit code 0 means: the error rate really fell, and the trail was verified.  Nothing
is left running, whatever happens; the files stay in the folder, build/demo by default.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
SERVICE = ROOT / "examples" / "example_service.py"
DEFAULT_OUT = ROOT / "build" / "demo"
AGENT = {"agent_name": "Example Restart", "description": "Restarts the example service when too many requests fail"}
SLUG = "example-restart"
RESOURCE = "example"
RUN_FOLDER = Path("agent-run") / "demo"

FAILING_SHARE = 0.3
HEALTHY_SHARE = 0.05
REQUESTS = 200
REQUEST_TIMEOUT_SECONDS = 5
START_TIMEOUT_SECONDS = 20
STOP_TIMEOUT_SECONDS = 15

# What a caller's shell may hold that would make this run another one than the demo's.
_FOREIGN = ("GITHUB_", "RUNNER_", "GIT_", "AIMGENTIX_")
_FOREIGN_NAMES = ("TARGET_RESOURCE", "TRACE_ID", "ACTION_CONTEXT", "TRIGGER_SOURCE", "AGENT_INSTANCE_ID", "PYTHONPATH")

CATALOGUE = """\
services:
  {resource}:
    metrics:
      url: {url}/metrics
      window_seconds: 2
      fresh_seconds: 2
    health: {url}/healthz
    restart: {url}/-/restart
"""


class DemoFailed(Exception):
    """The demo did not show what it promises; the message says what happened instead."""


class Screen:
    """What a person reads: headings, facts, and colour where there is a terminal that wants it."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._step = 0

    def heading(self, text: str) -> None:
        """Begin the next step."""
        self._step += 1
        self.line("\n" + self._paint("1", f"{self._step}. {text}"))

    def title(self, text: str, good: bool) -> None:
        """Begin the end: how it went."""
        self.line("\n" + self._paint("1;32" if good else "1;31", text))

    def fact(self, name: str, value: str) -> None:
        """Show one fact."""
        self.line(f"   {name:<11} {value}")

    def line(self, text: str) -> None:
        """Show one line as it is."""
        print(text, flush=True)

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


@dataclass(frozen=True)
class Service:
    """The running example service."""

    url: str
    pid: int
    token: str

    def instance(self) -> str:
        """Return the id of the process that answers now; a restart gives a new one."""
        return str(self._request("GET", "/healthz")[1]["instance"])

    def fail(self, share: float) -> None:
        """From now on let this share of requests fail."""
        status, _ = self._request("POST", "/chaos", {"error_rate": share})
        if status != http.client.OK:
            raise DemoFailed(f"the example service refused to fail (HTTP {status})")

    def error_rate(self) -> float:
        """Send requests as a user would, and return the share that fails."""
        failed = sum(self._request("GET", "/")[0] >= http.client.INTERNAL_SERVER_ERROR for _ in range(REQUESTS))
        return failed / REQUESTS

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.netloc, timeout=REQUEST_TIMEOUT_SECONDS)
        try:
            headers = {"Authorization": f"Bearer {self.token}"}
            connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise DemoFailed(f"the example service at {self.url} does not answer: {problem}") from None
        finally:
            connection.close()


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
def example_service() -> Iterator[Service]:
    """Run the example service for the time of a block."""
    token = secrets.token_urlsafe(24)
    command = [sys.executable, str(SERVICE), "serve", f"--token={token}"]
    with process(command, stdout=subprocess.PIPE, env=clean_environment()) as started:
        with _deadline(START_TIMEOUT_SECONDS, "the example service did not start in time"):
            announced = started.stdout.readline() if started.stdout else ""
        if not announced:
            raise DemoFailed("the example service did not start")
        address = json.loads(announced)
        yield Service(url=str(address["url"]), pid=int(address["pid"]), token=token)


@contextmanager
def audit_backend(folder: Path) -> Iterator[str]:
    """Run the audit backend on SQLite for the time of a block; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    store = folder / "audit.db"
    for old in folder.glob("audit.db*"):
        old.unlink()
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**clean_environment(), "DATABASE_URL": f"sqlite:///{store.resolve()}"}
    address = f"http://127.0.0.1:{port}"
    with (
        (folder / "audit-backend.log").open("wb") as log,
        process(command, cwd=ROOT / "backend", env=environment, stdout=log, stderr=log) as started,
    ):
        with _deadline(START_TIMEOUT_SECONDS, f"the audit backend did not start in time: {log.name}"):
            while not answers(address):
                if started.poll() is not None:
                    raise DemoFailed(f"the audit backend ended: {log.name}")
                time.sleep(0.05)
        yield address


def answers(address: str) -> bool:
    """Whether a backend at this address is ready."""
    try:
        return "status" in get_json(f"{address}/")
    except OSError:
        return False


def get_json(url: str) -> dict[str, Any]:
    """Return the JSON object at a loopback address."""
    with urlopen(url, timeout=REQUEST_TIMEOUT_SECONDS) as answer:  # noqa: S310  loopback only
        found: dict[str, Any] = json.load(answer)
        return found


def timeline(address: str, trace_id: str) -> list[dict[str, Any]]:
    """Return the events of a trace as the audit backend tells them, oldest first."""
    events: list[dict[str, Any]] = []
    query = "limit=200"
    while True:
        page = get_json(f"{address}/v1/traces/{quote(trace_id, safe='')}/events?{query}")
        events += page["events"]
        if not page.get("next"):
            return sorted(events, key=lambda event: str(event["timestamp"]))
        query = f"limit=200&cursor={quote(str(page['next']), safe='')}"


def show_timeline(screen: Screen, events: list[dict[str, Any]]) -> None:
    """Print one line for each event: when, in which job, what, how it ended."""
    for event in events:
        metadata = event["metadata"]
        what = " ".join(str(metadata[key]) for key in ("step", "check", "outcome") if metadata.get(key))
        job = str(metadata.get("gha", {}).get("job", ""))
        screen.line(f"   {str(event['timestamp'])[11:23]}  {job:<11}  {what:<40}  {event['status']}")


@contextmanager
def _deadline(seconds: int, message: str) -> Iterator[None]:
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


def generate(folder: Path) -> Path:
    """Generate the agent repository below `folder`, from this checkout as it is, and make its first commit."""
    import copier  # noqa: PLC0415  the longest import, not needed to say what is missing
    from copier.errors import DirtyLocalWarning  # noqa: PLC0415

    repository = folder / SLUG
    make_room(repository)
    with warnings.catch_warnings():
        # Uncommitted work in this checkout is part of what is shown.
        warnings.simplefilter("ignore", DirtyLocalWarning)
        copier.run_copy(
            str(ROOT), repository, data=AGENT, defaults=True, vcs_ref="HEAD", quiet=True, overwrite=True, unsafe=False
        )
    git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=Start from the template")
    return repository


def make_room(repository: Path) -> None:
    """Remove what an earlier demo left, unless somebody worked on it: then move it aside."""
    if not repository.exists():
        return
    if (repository / ".git").is_dir():
        changed = git(repository, "status", "--porcelain")
        commits = git(repository, "rev-list", "--count", "--all").strip()
        if not changed and commits == "1":
            shutil.rmtree(repository)
            return
    number = 1
    while (aside := repository.with_name(f"{repository.name}-{number}")).exists():
        number += 1
    repository.rename(aside)


def git(repository: Path, *arguments: str) -> str:
    """Run git in the repository with an identity of the demo's own, and return what it prints."""
    settings = ["user.name=demo", "user.email=demo@example.invalid", "commit.gpgsign=false", "core.hooksPath=/dev/null"]
    command = ["git", *(word for setting in settings for word in ("-c", setting)), *arguments]
    done = subprocess.run(command, cwd=repository, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def run_agent(repository: Path, arguments: list[str], environment: dict[str, str]) -> int:
    """Run the repository's command line, at this terminal, and return its exit code."""
    command = [sys.executable, "agent_runner.py", *arguments]
    with process(command, cwd=repository, env={**clean_environment(), **environment}) as started:
        return started.wait()


def read_bundle(bundle: Path, simulated: int) -> dict[str, Any]:
    """Return the manifest of the bundle that a run with this exit code left."""
    try:
        manifest: dict[str, Any] = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DemoFailed(f"the run ended with exit code {simulated} and left no readable bundle: {problem}") from None
    return manifest


def percent(share: float) -> str:
    """Tell a measured error rate."""
    return f"{share:.1%} of {REQUESTS} requests failed"


@dataclass(frozen=True)
class Shown:
    """What the demo saw happen.

    Arguments:
        before: share of requests that failed before the run, measured by the demo.
        after: the same after the run.
        restarted: whether another process answers now.
        simulated: exit code of the run.
        verified: whether the trail of the run was verified.
        manifest: what the run's bundle says of itself.
        told: number of events that the audit backend told of the run.
        kept: number of events in the run's bundle.
    """

    repository: Path
    bundle: Path
    before: float
    after: float
    restarted: bool
    simulated: int
    verified: bool
    manifest: dict[str, Any]
    told: int
    kept: int

    @property
    def good(self) -> bool:
        """Whether the promise was kept, by what was measured and not by what the run says."""
        fell = self.restarted and self.after < self.before and self.after <= HEALTHY_SHARE
        trail = self.verified and self.told == self.kept > 0
        return fell and trail and self.simulated == 0 and self.manifest["outcome"] == "acted"


def play(screen: Screen, folder: Path, approve: bool) -> Shown:
    """Play the demo with its files in `folder` and return what happened."""
    folder.mkdir(parents=True, exist_ok=True)
    screen.heading("A service runs, and an audit backend")
    with example_service() as service, audit_backend(folder) as audit:
        screen.fact("service", f"{service.url} (process {service.pid})")
        screen.fact("audit", f"{audit} (SQLite)")
        screen.fact("measured", percent(service.error_rate()))

        screen.heading("It begins to fail")
        service.fail(FAILING_SHARE)
        before, instance = service.error_rate(), service.instance()
        screen.fact("measured", percent(before))

        screen.heading("An agent repository, from the template")
        repository = generate(folder)
        screen.fact("generated", shown_path(repository))

        screen.heading("The agent investigates, you review, it acts, the trail is recorded")
        if approve:
            screen.fact("reviewer", "nobody is asked (a terminal without APPROVE=1 or --approve asks you)")
        screen.line("")
        simulated = simulate(repository, service, audit, approve)

        screen.heading("The trail is verified, offline")
        screen.line("")
        bundle = repository / RUN_FOLDER / "record" / "agent-run" / "audit-bundle"
        manifest = read_bundle(bundle, simulated)
        verified = run_agent(repository, ["verify", str(bundle.relative_to(repository))], {}) == 0

        screen.heading("The run's timeline, read back from the audit backend")
        screen.line("")
        events = timeline(audit, str(manifest["trace_id"]))
        show_timeline(screen, events)
        kept = sum(path.read_bytes().count(b"\n") for path in bundle.glob("*/journal/*.jsonl"))

        screen.heading("The service, measured again")
        after, restarted = service.error_rate(), service.instance() != instance
        screen.fact("measured", percent(after))
        screen.fact("process", "a new one: it was restarted" if restarted else "the same one: it was not restarted")
    return Shown(repository, bundle, before, after, restarted, simulated, verified, manifest, len(events), kept)


def simulate(repository: Path, service: Service, audit: str, approve: bool) -> int:
    """Let the agent look after the service, with this terminal as the reviewer, and return the exit code."""
    catalogue = repository.parent / "services.yml"
    catalogue.write_text(CATALOGUE.format(resource=RESOURCE, url=service.url), encoding="utf-8")
    arguments = ["simulate", "--resource", RESOURCE, "--out", str(RUN_FOLDER)]
    # The token reaches the act job only, as a secret of the environment agent-act would.
    environment = {"SERVICES_FILE": str(catalogue), "AGENT_ACT_TOKEN": service.token, "AIMGENTIX_API_URL": audit}
    if not approve:
        return run_agent(repository, arguments, environment)
    command = [sys.executable, "agent_runner.py", *arguments, "--approve"]
    options = {"cwd": repository, "env": {**clean_environment(), **environment}, "stdout": subprocess.PIPE}
    page = repository / RUN_FOLDER / "investigate" / "github-step-summary"
    with process(command, **options) as started:
        shown = False
        for line in started.stdout or ():
            # Who is asked sees the page before the approval; so does who only watches.
            if not shown and line.lstrip().startswith("approve |"):
                print(reviewers_page(repository, page), flush=True)
                shown = True
            print(line, end="", flush=True)
        return started.wait()


def reviewers_page(repository: Path, page: Path) -> str:
    """Return the page that a reviewer decides from as plain text, as the repository itself shows it on a terminal."""
    sys.path.insert(0, str(repository))
    from agent_runtime.markdown import as_terminal  # noqa: PLC0415  the generated repository's own

    return as_terminal(page.read_text(encoding="utf-8"))


def summarise(screen: Screen, shown: Shown) -> None:
    """Tell what just happened, where the files lie, and what to type next."""
    outcome = str(shown.manifest["outcome"]).replace("_", " ")
    approver = shown.manifest.get("approver") or {}
    screen.title("What just happened" if shown.good else "This is not what the demo promises", shown.good)
    screen.fact("before", percent(shown.before))
    screen.fact("plan", str(shown.manifest.get("plan_digest") or "none"))
    screen.fact("approved by", str(approver.get("login") or "nobody: nothing was executed"))
    screen.fact("outcome", outcome)
    screen.fact("after", percent(shown.after))
    screen.fact("trail", "verified: every digest and hash chain holds" if shown.verified else "NOT verified")
    screen.fact("audit", f"{shown.told} of {shown.kept} events at the backend")
    screen.line("\nWhere the files lie")
    screen.fact("repository", shown_path(shown.repository))
    screen.fact("report", shown_path(shown.repository / RUN_FOLDER / "investigate" / "github-step-summary"))
    screen.fact("evidence", shown_path(shown.bundle))
    screen.line("\nType next")
    screen.line(f"   cd {shown_path(shown.repository)}")
    screen.line("   make simulate")


def shown_path(path: Path) -> str:
    """Return a path as short as it works from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def missing() -> str | None:
    """Return what this interpreter lacks to play the demo, or None."""
    from importlib.util import find_spec  # noqa: PLC0415

    needed = ("copier", "fastapi", "pydantic", "yaml", "rfc8785", "requests", "prometheus_client")
    lacking = [name for name in needed if find_spec(name) is None]
    return f"this Python has no {', '.join(lacking)}: type `make demo`, which sets up .venv" if lacking else None


def end_on_signal(number: int, _frame: FrameType | None) -> None:
    """End like Ctrl-C does, so that everything started here is ended too."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description="Show the whole path: a failing service, an agent, your approval, the verified trail."
    )
    parser.add_argument("--approve", action="store_true", help="approve without asking")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for the files (default: build/demo)")
    options = parser.parse_args()
    approve = options.approve or not (sys.stdin.isatty() and sys.stdout.isatty())
    screen = Screen()
    signal.signal(signal.SIGTERM, end_on_signal)
    signal.signal(signal.SIGHUP, end_on_signal)
    try:
        lacking = missing()
        if lacking:
            raise DemoFailed(lacking)
        shown = play(screen, options.out.resolve(), approve)
        summarise(screen, shown)
        return 0 if shown.good else 1
    except DemoFailed as problem:
        print(f"\ndemo: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Nobody reads any more; what was started has ended.  The interpreter must not try to write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything that it started has ended", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
