"""The whole path in one command: `make demo`.

A service fails, an agent investigates, you approve, it acts, and the trail of it is verified.  Everything is real and
local: the service is a process of its own that truly restarts, the agent repository is one that Copier generates from
this checkout, its phases run as separate processes, and the demo measures the error rate itself, from outside, before
and after.

    python tools/demo.py [--use-case NAME] [--approve | --reject] [--keep] [--out FOLDER]

Each use case has a world of its own (tools/demo_cases.py).  On a terminal you are the reviewer.  Exit code 0 means:
what was wrong is wrong no more, measured from outside, and the trail was verified.  Nothing is left running, whatever
happens, but the audit backend with --keep; the files stay in the folder, build/demo by default.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs as a file too

from tools.demo_cases import (  # noqa: E402  the path above comes first
    CASES,
    HEALTHY_SHARE,
    REQUEST_TIMEOUT_SECONDS,
    START_TIMEOUT_SECONDS,
    Case,
    DemoFailed,
    World,
    clean_environment,
    deadline,
    process,
)

DEFAULT_OUT = ROOT / "build" / "demo"
DEFAULT_CASE = "service-restart"
RUN_FOLDER = Path("agent-run") / "demo"
RUN_EVIDENCE = RUN_FOLDER / "record" / "agent-run" / "audit-bundle"
# What each reader tries next; make sets up .venv.
NEXT = (
    ("everybody", "cd {repository} && make test"),
    ("team", "make simulate"),
    ("attacker", "{around}.venv/bin/python agent_runner.py simulate \\\n    --resource {resource} --tamper"),
    ("auditor", ".venv/bin/python agent_runner.py verify \\\n    {evidence}"),
    ("maintainer", "docs/SETUP_GUIDE.md: the same on GitHub, with a second person"),
)
AROUND = ".venv/bin/python tests/example_service.py with -- \\\n    "
# What the reviewer's answer is called once it is given.
ANSWERED = {"approve": "approved", "reject": "rejected"}
# What simulate passes on by itself; everything else is named to it, as a secret or a variable is on GitHub.
_KNOWN_TO_SIMULATE = {"SERVICES_FILE", "AGENT_ACT_TOKEN", "MODEL_NAME", "MODEL_ADDRESS", "MODEL_API_KEY"}


class Screen:
    """What a person reads: headings, facts, and colour where there is a terminal that wants it.

    Attributes:
        turns: whether it waits for a person before the next page.
    """

    def __init__(self) -> None:
        self.turns = False
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._step = 0

    def heading(self, text: str) -> None:
        """Begin the next step."""
        self._step += 1
        self.line("\n" + self._paint("1", f"{self._step}. {text}"))

    def turn(self) -> None:
        """End a page: what follows would not fit on a screen of 24 lines beside it."""
        if self.turns:
            with suppress(EOFError):
                input("\n-- Return: on -- ")

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


@contextmanager
def audit_backend(folder: Path) -> Iterator[str]:
    """Run the audit backend on a new SQLite store for the time of a block; yield its address."""
    for old in folder.glob("audit.db*"):  # the archive of bundles is a folder beside the database
        (shutil.rmtree if old.is_dir() else os.unlink)(old)
    with (
        kept_port() as port,
        (folder / "audit-backend.log").open("wb") as log,
        process(backend_command(port), stdout=log, stderr=log, **backend_options(folder)) as started,
    ):
        yield ready_backend(started, port, log.name)


def keep_backend(folder: Path) -> tuple[str, int]:
    """Start the audit backend on the store that the demo left, to go on when the demo has ended.

    Returns:
        Its address, and the number of its process.
    """
    with kept_port() as port, (folder / "audit-backend.log").open("ab") as log:
        options: dict[str, Any] = {"stdout": log, "stderr": log, "text": True, "start_new_session": True}
        started = subprocess.Popen(
            backend_command(port), stdin=subprocess.DEVNULL, **options, **backend_options(folder)
        )
        try:
            return ready_backend(started, port, log.name), started.pid
        except BaseException:
            started.kill()
            raise


@contextmanager
def kept_port() -> Iterator[int]:
    """Keep a port for a program that is about to start; yield its number.

    It is bound and not listening: nobody else gets it, and the program does, because it reuses addresses.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield int(keeper.getsockname()[1])


def backend_command(port: int) -> list[str]:
    """Return the command that starts the audit backend."""
    return [sys.executable, "-m", "uvicorn", "app.main:app", "--host", "127.0.0.1", "--port", str(port)]


def backend_options(folder: Path) -> dict[str, Any]:
    """Return where and with which settings the audit backend runs: for programs of this machine, without a key."""
    settings = {"DATABASE_URL": f"sqlite:///{(folder / 'audit.db').resolve()}", "AIMGENTIX_AUTH": "local"}
    return {"cwd": ROOT / "backend", "env": {**clean_environment(), **settings}}


def ready_backend(started: subprocess.Popen[str], port: int, log: str) -> str:
    """Wait until a backend that was started answers, and return its address."""
    address = f"http://127.0.0.1:{port}"
    with deadline(START_TIMEOUT_SECONDS, f"the audit backend did not start in time: {log}"):
        while not answers(address):
            if started.poll() is not None:
                raise DemoFailed(f"the audit backend ended: {log}")
            time.sleep(0.05)
    return address


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
    """Return the events of a trace as the audit backend returns them, oldest first."""
    events: list[dict[str, Any]] = []
    query = "limit=200"
    while True:
        page = get_json(f"{address}/v1/traces/{quote(trace_id, safe='')}/events?{query}")
        events += page["events"]
        if not page.get("next"):
            return sorted(events, key=lambda event: str(event["timestamp"]))
        query = f"limit=200&cursor={quote(str(page['next']), safe='')}"


def show_timeline(screen: Screen, events: list[dict[str, Any]]) -> None:
    """Print one line for each event: when, in which job, what, how it ended; checks in a row are one line."""
    for (job, step, status, _), listed in groupby(events, key=_kind):
        same = list(listed)
        metadata = same[0]["metadata"]
        what = " ".join(str(metadata[key]) for key in ("step", "check", "tool", "outcome") if metadata.get(key))
        if len(same) > 1:
            what = f"{step}: {len(same)} of them"
        screen.line(f"   {str(same[0]['timestamp'])[11:23]}  {job:<11}  {what:<34}  {status}")


def _kind(event: dict[str, Any]) -> tuple[str, str, str, str]:
    metadata = event["metadata"]
    step, tool = (str(metadata.get(key, "")) for key in ("step", "tool"))
    return str(metadata.get("gha", {}).get("job", "")), step, str(event["status"]), tool


def generate(folder: Path, case: Case) -> Path:
    """Generate the case's agent repository below `folder`, from this checkout as it is, and make its first commit."""
    import copier  # noqa: PLC0415  the longest import, not needed to say what is missing
    from copier.errors import DirtyLocalWarning  # noqa: PLC0415

    repository = folder / case.slug
    make_room(repository)
    with warnings.catch_warnings():
        # Uncommitted work in this checkout is part of what is shown.
        warnings.simplefilter("ignore", DirtyLocalWarning)
        copier.run_copy(
            str(ROOT),
            repository,
            data=case.agent,
            defaults=True,
            vcs_ref="HEAD",
            quiet=True,
            overwrite=True,
            unsafe=False,
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


@dataclass(frozen=True)
class Shown:
    """What the demo saw happen.

    Arguments:
        before: share that was wrong before the run, measured by the demo.
        after: the same after the run.
        restarted: whether what the action changes is another one now: another process answers, say.
        simulated: exit code of the run.
        verified: whether the trail of the run was verified.
        manifest: what the run's bundle says of itself.
        delivered: number of events that the audit backend has of the run.
        kept: number of events in the run's bundle.
        healthy_share: at most this share may still be wrong.
        answer: what the demo answered without asking anybody, or None where a person was asked.
    """

    repository: Path
    bundle: Path
    before: float
    after: float
    restarted: bool
    simulated: int
    verified: bool
    manifest: dict[str, Any]
    delivered: int
    kept: int
    healthy_share: float = HEALTHY_SHARE
    answer: str | None = None

    @property
    def good(self) -> bool:
        """Whether the promise was kept, by what was measured and not by what the run says."""
        fell = self.restarted and self.after < self.before and self.after <= self.healthy_share
        return fell and self.recorded and self.manifest["outcome"] == "acted"

    @property
    def recorded(self) -> bool:
        """Whether the run ended well and its trail is complete, here and at the backend."""
        return self.verified and self.delivered == self.kept > 0 and self.simulated == 0

    @property
    def declined(self) -> bool:
        """Whether the reviewer said no, and nothing was executed: a run that ended as it should."""
        return self.recorded and not self.restarted and self.manifest["outcome"] == "rejected"


def play(screen: Screen, folder: Path, answer: str | None, case: Case) -> Shown:
    """Play the case with its files in `folder` and return what happened.

    Arguments:
        answer: `approve` or `reject` for the reviewer; None asks at this terminal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    screen.heading(case.runs)
    place = folder / "world"
    shutil.rmtree(place, ignore_errors=True)
    with case.start(place) as world, audit_backend(folder) as audit:
        screen.fact("world", world.place)
        screen.fact("audit", f"{audit} (SQLite)")
        screen.fact("measured", case.say(world.wrong()))

        screen.heading(case.breaks)
        world.spoil()
        before, state = world.wrong(), world.state()
        screen.fact("measured", case.say(before))

        screen.heading("An agent repository, from the template")
        repository = generate(folder, case)
        screen.fact("generated", shown_path(repository))

        screen.turn()
        screen.heading("The agent investigates, you review, it acts, the trail is recorded")
        if answer is not None:
            screen.fact("reviewer", f"nobody is asked; the demo answers: {ANSWERED[answer]}")
            screen.fact("", "a terminal without APPROVE= asks you")
        screen.line("")
        simulated = simulate(repository, world, audit, answer, case)

        screen.turn()
        screen.heading("The trail is verified, offline")
        screen.line("")
        bundle = repository / RUN_EVIDENCE
        manifest = read_bundle(bundle, simulated)
        verified = run_agent(repository, ["verify", str(bundle.relative_to(repository))], {}) == 0

        screen.turn()
        screen.heading("The run's timeline, read back from the audit backend")
        screen.line("")
        events = timeline(audit, str(manifest["trace_id"]))
        show_timeline(screen, events)
        kept = sum(path.read_bytes().count(b"\n") for path in bundle.glob("*/journal/*.jsonl"))

        screen.heading(case.again)
        after, changed = world.wrong(), world.state() != state
        screen.fact("measured", case.say(after))
        screen.fact(case.label, case.changed if changed else case.unchanged)
    return Shown(
        repository=repository,
        bundle=bundle,
        before=before,
        after=after,
        restarted=changed,
        simulated=simulated,
        verified=verified,
        manifest=manifest,
        delivered=len(events),
        kept=kept,
        healthy_share=case.healthy_share,
        answer=answer,
    )


def simulate(repository: Path, world: World, audit: str, answer: str | None, case: Case) -> int:
    """Let the agent look after the world, with this terminal as the reviewer, and return the exit code."""
    settings = world.settings(repository.parent)
    arguments = ["simulate", "--resource", case.resource, "--out", str(RUN_FOLDER)]
    for name in sorted(set(settings) - _KNOWN_TO_SIMULATE):
        arguments += ["--secret-env", f"investigate:{name}", "--secret-env", f"act:{name}"]
    environment = {**settings, "AIMGENTIX_API_URL": audit}
    if answer is None:
        return run_agent(repository, arguments, environment)
    command = [sys.executable, "agent_runner.py", *arguments, f"--{answer}"]
    options = {"cwd": repository, "env": {**clean_environment(), **environment}, "stdout": subprocess.PIPE}
    page = repository / RUN_FOLDER / "page.txt"
    with process(command, **options) as started:
        shown = False
        for line in started.stdout or ():
            # Who is asked sees the page before the answer; so does who only watches.
            if not shown and line.lstrip().startswith(("approve |", "approve:")):
                print(page.read_text(encoding="utf-8"), flush=True)
                shown = True
            print(line, end="", flush=True)
        return started.wait()


def summarise(screen: Screen, shown: Shown, case: Case) -> None:
    """Print what just happened, where the files are, and what to type next."""
    outcome = str(shown.manifest["outcome"]).replace("_", " ")
    approvers = ", ".join(str(each["login"]) for each in shown.manifest.get("approvers") or [])
    who = "The demo" if shown.answer else "You"
    title = f"{who} rejected the plan, and nothing was executed" if shown.declined else "What just happened"
    fine = shown.good or shown.declined
    screen.turn()
    screen.title(title if fine else "This is not what the demo promises", fine)
    screen.fact("before", case.say(shown.before))
    screen.fact("plan", str(shown.manifest.get("plan_digest") or "none"))
    approved = f"{approvers}: the demo answered, nobody was asked" if shown.answer else approvers
    screen.fact("approved by", approved if approvers else "nobody: nothing was executed")
    screen.fact("outcome", outcome)
    steps = shown.manifest["steps"]
    for number, step in enumerate(steps if len(steps) > 1 else (), 1):
        screen.fact(f"step {number}", f"{step['action']}: {step['status'].replace('_', ' ')}")
    screen.fact("after", case.say(shown.after))
    screen.fact("trail", "verified: every digest and hash chain holds" if shown.verified else "NOT verified")
    screen.fact("audit", f"{shown.delivered} of {shown.kept} events at the backend")
    if shown.declined:
        screen.line("\nA rejection is a run that ended well: it asked, somebody said no, the trail has both.")
    screen.turn()
    screen.line("\nWhere the files lie")
    screen.fact("repository", shown_path(shown.repository))
    screen.fact("page", f"{RUN_FOLDER / 'page.txt'}, in it")
    screen.fact("evidence", f"{RUN_EVIDENCE}, in it")
    screen.line("\nTry next")
    around = AROUND if (shown.repository / "tests" / "example_service.py").is_file() else ""
    for reader, command in NEXT:
        given = {"repository": shown_path(shown.repository), "evidence": RUN_EVIDENCE, "resource": case.resource}
        first, *rest = command.format(around=around, **given).split("\n")
        screen.fact(reader, first)
        for line in rest:
            screen.fact("", line)


def show_pages(screen: Screen, folder: Path, trace_id: str, *, keep: bool) -> None:
    """Say where a person sees the run in a browser; with `keep`, leave the audit backend running for that."""
    screen.line("\nSee it in a browser")
    if not keep:
        screen.fact("pages", "make demo KEEP=1 leaves the audit backend running, with a page about this run")
        return
    address, number = keep_backend(folder)
    screen.fact("all runs", f"{address}/ui")
    screen.fact("this run", f"{address}/ui/run?trace={quote(trace_id, safe='')}")
    screen.fact("end it", f"kill {number}")


def shown_path(path: Path) -> str:
    """Return a path as short as it works from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def missing() -> str | None:
    """Return what this interpreter lacks to play the demo, or None."""
    from importlib.util import find_spec  # noqa: PLC0415

    needed = ("copier", "fastapi", "pydantic", "yaml", "rfc8785", "requests", "prometheus_client", "jinja2")
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
    parser.add_argument(
        "--use-case", choices=CASES, default=DEFAULT_CASE, help=f"what to show (default: {DEFAULT_CASE})"
    )
    answers = parser.add_mutually_exclusive_group()
    for name in ANSWERED:
        answers.add_argument(
            f"--{name}", dest="answer", action="store_const", const=name, help=f"{name} without asking"
        )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for the files (default: build/demo)")
    parser.add_argument("--keep", action="store_true", help="leave the audit backend running, with pages about the run")
    options = parser.parse_args()
    answer = options.answer if sys.stdin.isatty() and sys.stdout.isatty() else options.answer or "approve"
    screen = Screen()
    screen.turns = answer is None
    signal.signal(signal.SIGTERM, end_on_signal)
    signal.signal(signal.SIGHUP, end_on_signal)
    try:
        lacking = missing()
        if lacking:
            raise DemoFailed(lacking)
        case = CASES[options.use_case]
        shown = play(screen, options.out.resolve(), answer, case)
        summarise(screen, shown, case)
        show_pages(screen, options.out.resolve(), str(shown.manifest["trace_id"]), keep=options.keep)
        return 0 if shown.good or shown.declined else 1
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
