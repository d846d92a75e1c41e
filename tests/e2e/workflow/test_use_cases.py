"""Each use case through the running workflow, from each trigger, in each situation that its team will meet.

The worlds are those of `make demo`: real programs, and what is wrong in them is measured from outside.  What the agent
says is compared with what its world shows then.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from support.environment import missing
from support.github import FullGitHub
from support.harness.engine import ActionsHost, Answer, Click, Repository, Reviewer, Run, approve_as
from support.harness.node import ActionsService
from support.runs import approvers, bundle, document, ended, reject, results
from support.world import NAME, WORKFLOW, commit_all, copy_committed, make_python
from tools.demo_cases import CASES, FolderWorld, IncidentWorld, NotesWorld, ServiceWorld
from tools.demo_cases import World as DemoWorld

TRIGGERS = ("manual", "alert", "schedule")


def taking_turns(first: int) -> list[tuple[str, str]]:
    """Each use case with one trigger, so that every trigger meets every situation.

    What differs by trigger has passed when the agent looks at its world.  Each use case meets all of them where it
    acts: one where the action helps, one where the target lies, one where it stops halfway.
    """
    return [(name, TRIGGERS[(first + place) % len(TRIGGERS)]) for place, name in enumerate(CASES)]


def with_programs(played: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without the folder, whose own tests show what the gate does the same for all."""
    return [(name, trigger) for name, trigger in played if name != "disk-cleanup"]


@dataclass
class Scene:
    """A use case's repository on GitHub with its gate closed, and the world that its agent looks after."""

    name: str
    world: DemoWorld
    repository: Repository
    actions: ActionsHost

    @property
    def healthy_share(self) -> float:
        """At most this share of the world is wrong where the action helped."""
        return CASES[self.name].healthy_share

    def start(self, trigger: str, reviewer: Reviewer, hooks: Mapping[str, Callable[[Run], None]] | None = None) -> Run:
        """Start a run as a person, an alert or the schedule does."""
        how: dict[str, Any] = {"reviewer": reviewer, "hooks": hooks or {}}
        resource = CASES[self.name].resource
        if trigger == "manual":
            return self.actions.dispatch(WORKFLOW, {"resource": resource}, actor="alice", **how)
        if trigger == "alert":
            alert = {"resource": resource, "alert_severity": "critical", "trace_id": "alert-9"}
            return self.actions.repository_dispatch(WORKFLOW, "alert-triggered", alert, actor="monitoring", **how)
        self.repository.variables["TARGET_RESOURCE"] = resource
        return self.actions.schedule(WORKFLOW, **how)


Place = Callable[..., Any]


@pytest.fixture
def scene(service: ActionsService, generated: Callable[[str], Path], tmp_path: Path) -> Callable[..., Any]:
    """Set a scene for the time of a block: a use case, options for its program, and constants of its agent."""

    @contextmanager
    def make(
        name: str, options: tuple[str, ...] = (), constants: Mapping[str, float] | None = None, token: str | None = None
    ) -> Iterator[Scene]:
        case = CASES[name]
        origin = tmp_path / "origin"
        copy_committed(generated(name), origin)
        with (
            replace(case, options=(*case.options, *options)).start(tmp_path / "world") as world,
            FullGitHub(NAME) as github,
        ):
            agent = origin / "agent_runner.py"
            text = agent.read_text(encoding="utf-8")
            for constant, value in (constants or {}).items():
                text, count = re.subn(rf"^{constant} = [\d.]+", f"{constant} = {value}", text, flags=re.MULTILINE)
                assert count == 1, constant
            if isinstance(world, NotesWorld):
                text, count = re.subn(r"^NOTES = .*$", f'NOTES = Path("{world.notes}")', text, flags=re.MULTILINE)
                assert count == 1
            agent.write_text(text, encoding="utf-8")
            secret = world.token_text if isinstance(world, ServiceWorld) else "not-needed"
            if isinstance(world, (ServiceWorld, FolderWorld)):
                (origin / "services.yml").write_text(world.catalogue(), encoding="utf-8")
            commit_all(origin)
            github.protect("agent-approval", reviewers=("bob",))
            github.protect("agent-act")
            secrets = {"agent-act": {"AGENT_ACT_TOKEN": secret if token is None else token}}
            repository = Repository(origin, NAME, github, environment_secrets=secrets)
            if isinstance(world, IncidentWorld):
                github.protect("agent-investigate")  # its answers name a secret for the model
                repository.variables.update(world.variables)
            host = ActionsHost(
                service,
                repository,
                make_python(generated(name)),
                tmp_path / "runs",
                reachable=[path for path in [tmp_path / "world"] if path.exists()],
            )
            yield Scene(name, world, repository, host)

    return make


# ------------------------------------------------------------------------------------- the action helps, or is not done


# test_gated_runs.py lets service-restart act from each trigger.
@pytest.mark.parametrize(("name", "trigger"), taking_turns(2))
def test_approved_it_acts_and_the_world_is_another_one(scene: Place, name: str, trigger: str) -> None:
    with scene(name) as own:
        own.world.spoil()
        wrong, state = own.world.wrong(), own.world.state()
        assert wrong > own.healthy_share

        def bob(waiting: Any) -> Answer:
            assert own.world.state() == state, "nothing happens before the click"
            return Click("bob")

        run = own.start(trigger, bob)

        assert results(run) == ended(), run.log
        assert own.world.state() != state
        assert own.world.wrong() <= own.healthy_share
        result = document(run, "action-result", "action-result.json")
        assert (result["status"], approvers(run)) == ("success", ["bob"])
        assert result["steps"][0]["changes"] and result["steps"][0]["verification"]
        assert document(run, "investigation-report", "investigation-report.json")["trigger"] == trigger
        assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("acted", [])


# One from each trigger: a rejection starts nothing of the use case.
@pytest.mark.parametrize(("name", "trigger"), taking_turns(0)[: len(TRIGGERS)])
def test_rejected_it_changes_nothing(scene: Place, name: str, trigger: str) -> None:
    with scene(name) as own:
        own.world.spoil()
        wrong, state = own.world.wrong(), own.world.state()

        run = own.start(trigger, reject)

        assert results(run) == ended(approve="failure", act="skipped")
        assert own.world.state() == state and own.world.wrong() == pytest.approx(wrong, abs=0.05)
        assert (bundle(run)["outcome"], bundle(run)["rejected_by"], bundle(run)["problems"]) == ("rejected", "bob", [])


@pytest.mark.threat("T25")
@pytest.mark.parametrize(("name", "trigger"), with_programs(taking_turns(1)))
def test_where_all_is_well_it_asks_nobody(scene: Place, name: str, trigger: str) -> None:
    with scene(name) as own:
        state = own.world.state()

        run = own.start(trigger, approve_as("bob"))

        assert results(run) == ended(approve="skipped", act="skipped"), run.log
        assert run.clicks == [] and own.world.state() == state
        assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("nothing_to_do", [])


# ------------------------------------------------------------------------------------------------- the target is down


def take_away(world: DemoWorld) -> None:
    """Let nothing answer where the agent looks."""
    if isinstance(world, ServiceWorld):
        os.kill(world.pid, signal.SIGKILL)
    elif isinstance(world, NotesWorld):
        world.notes.unlink()
        world.notes.mkdir()
    elif isinstance(world, FolderWorld):
        shutil.rmtree(world.folder)


@pytest.mark.parametrize(("name", "trigger"), taking_turns(2))
def test_where_the_target_is_down_it_says_so_and_asks_nobody(scene: Place, name: str, trigger: str) -> None:
    """What can't be seen is neither well nor a reason to act."""
    with scene(name) as own:
        own.world.spoil()
        take_away(own.world)

        run = own.start(trigger, approve_as("bob"))

        assert results(run) == ended(investigate="failure", seal="failure", approve="skipped", act="skipped"), run.log
        assert run.clicks == []
        report = document(run, "investigation-report", "investigation-report.json")
        assert (report["status"], report["plan"]) == ("failed", None)
        assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("investigation_failed", [])
        summary = run.jobs["seal"].summary
        reported = {"blank": "Is a directory", "disk-cleanup": "is not there"}.get(name, "connection refused")
        assert reported in summary, summary


# ----------------------------------------------------------------------- the target lies, or the action stops halfway


@contextmanager
def supervisor_that_hangs(own: Scene) -> Iterator[Callable[[Run], None]]:
    """From before the action, nobody starts the service's next process."""
    assert isinstance(own.world, ServiceWorld)
    pid = own.world.pid
    try:
        yield lambda run: os.kill(pid, signal.SIGSTOP)
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def notes_that_keep_nothing(own: Scene) -> Iterator[None]:
    """Whatever is written is taken, and gone."""
    assert isinstance(own.world, NotesWorld)
    own.world.notes.unlink()
    own.world.notes.symlink_to("/dev/null")
    yield


@contextmanager
def folder_that_fills_again(own: Scene) -> Iterator[Callable[[Run], None]]:
    """Right before the action somebody puts another file there."""
    assert isinstance(own.world, FolderWorld)
    path = own.world.folder / "core"

    def fill(run: Run) -> None:
        path.write_bytes(b"x" * 18_000)

    yield fill


@contextmanager
def file_that_changes(own: Scene) -> Iterator[Callable[[Run], None]]:
    """Right before the action somebody writes into one of the four files."""
    assert isinstance(own.world, FolderWorld)
    path = own.world.folder / "build-102.tar"

    def write(run: Run) -> None:
        path.write_bytes(b"y" * 6_000)

    yield write


@contextmanager
def disk_that_is_full(own: Scene) -> Iterator[None]:
    """The notes lie on a disk without room for one more."""
    assert isinstance(own.world, NotesWorld)
    folder = str(own.world.notes.parent)
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mount = [*sudo, "mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=4,mode=1777", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        missing("a tmpfs can't be mounted")
    try:
        own.world.notes.write_bytes(b"x" * 4095 + b"\n")
        yield
    finally:
        subprocess.run([*sudo, "umount", folder], check=True)


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with an approved action, and what must be reported of it.

    Arguments:
        options: for the world's program.
        constants: of agent_runner.py, so that nobody waits for minutes.
        token: stored as AGENT_ACT_TOKEN instead of the right one.
        around: makes the trouble; yields what happens right before the action, if anything does.
        status: of the action's result; `outcome`: of the run.
        changes: how its changes begin, in this order.
        reported: is in the summary.
        state: whether it is another one afterwards; None where the world does not answer any more.
        wrong: the share of the world that is wrong afterwards; None for the same as before.
        pushed: whether the branch in git has another commit afterwards, where the world has one.
    """

    changes: tuple[str, ...]
    reported: str
    options: tuple[str, ...] = ()
    constants: Mapping[str, float] = field(default_factory=dict)
    token: str | None = None
    around: Callable[[Scene], Any] = lambda own: nullcontext()
    status: str = "failed"
    outcome: str = "action_failed"
    state: bool | None = True
    wrong: float | None = None
    pushed: bool = False


# Healthy by its own word, and nothing got better.
LYING = {
    "service-restart": Trouble(("restarted example",), "look for the cause", options=("--sticky-failure",)),
    "config-rollback": Trouble(
        ("restored the version", "restarted example"),
        "the configuration is not the cause",
        options=("--sticky-failure",),
        outcome="partial",
        pushed=True,
    ),
    "scale-resources": Trouble(
        ("set spec.instances",), "2 are online", ("--stuck",), constants={"SCALE_SECONDS": 2}, state=False, pushed=True
    ),
    "security-response": Trouble(
        ("disabled k-1",), "still accepted", ("--lying",), constants={"REFUSE_SECONDS": 2}, state=False
    ),
    "disk-cleanup": Trouble(
        ("deleted ",) * 4, "look for what fills the folder", around=folder_that_fills_again, wrong=0.8
    ),
    "incident-response": Trouble(
        ("turned off the switch",), "look for another cause", options=("--sticky-failure",), pushed=True
    ),
    "blank": Trouble(("added one line",), "added one line to", around=notes_that_keep_nothing, state=False),
}

# The first step took effect, a later one did not.
HALFWAY = {
    "service-restart": Trouble(
        ("asked example to restart",),
        "none answers",
        constants={"RESTART_SECONDS": 2},
        around=supervisor_that_hangs,
        state=None,
    ),
    "config-rollback": Trouble(
        ("restored the version",), "HTTP 401", token="another", outcome="partial", state=False, pushed=True
    ),
    "scale-resources": Trouble(("set spec.instances",), "HTTP 401", token="another", state=False, pushed=True),
    "security-response": Trouble(("disabled k-1",), "HTTP 403", options=("--fails=rotate",), state=False, wrong=0),
    "disk-cleanup": Trouble(
        ("deleted build-101.tar", "deleted logs/build-101.log", "deleted tools/cleanup.py"),
        "build-102.tar: it changed since the plan was made",
        around=file_that_changes,
        status="partial",
        outcome="partial",
        wrong=0.2,
    ),
    "incident-response": Trouble((), "HTTP 401", token="another", state=False),
    "blank": Trouble(
        (),
        "No space left on device",
        around=disk_that_is_full,
        status="unknown",
        outcome="outcome_unknown",
        state=False,
    ),
}


def newest_commit(world: DemoWorld) -> str:
    """The commit of the branch main that the world reads; empty where it reads none."""
    repository = world.started.get("repository") if isinstance(world, ServiceWorld) else None
    command = ["git", "ls-remote", "--exit-code", str(repository), "refs/heads/main"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout if repository else ""


def act_in_trouble(scene: Place, name: str, trigger: str, trouble: Trouble) -> None:
    """Approve, and see that the failure is reported as one, with what was changed before it."""
    with scene(name, trouble.options, trouble.constants, trouble.token) as own:
        own.world.spoil()
        with trouble.around(own) as strike:
            wrong, state, commit = own.world.wrong(), own.world.state(), newest_commit(own.world)
            assert wrong > own.healthy_share

            run = own.start(trigger, approve_as("bob"), {"act": strike} if strike else None)

            assert results(run) == ended(act="failure"), run.log
            result = document(run, "action-result", "action-result.json")
            assert result["status"] == trouble.status
            changes = [change for step in result["steps"] for change in step["changes"]]
            reported = zip(changes, trouble.changes, strict=True)
            assert all(change.startswith(begin) for change, begin in reported), changes
            summary = run.jobs["act"].summary
            assert trouble.reported in summary, summary
            assert (bundle(run)["outcome"], bundle(run)["problems"]) == (trouble.outcome, [])
            assert (newest_commit(own.world) != commit) == trouble.pushed
            if trouble.state is not None:
                assert (own.world.state() != state) == trouble.state
                left = wrong if trouble.wrong is None else trouble.wrong
                assert own.world.wrong() == pytest.approx(left, abs=0.15), "nothing got better unseen"


@pytest.mark.parametrize(("name", "trigger"), taking_turns(3))
def test_where_the_target_lies_the_result_is_a_failure(scene: Place, name: str, trigger: str) -> None:
    act_in_trouble(scene, name, trigger, LYING[name])


@pytest.mark.threat("T39")
@pytest.mark.parametrize(("name", "trigger"), taking_turns(4))
def test_what_stops_halfway_shows_what_was_changed(scene: Place, name: str, trigger: str) -> None:
    act_in_trouble(scene, name, trigger, HALFWAY[name])


def test_every_use_case_is_in_every_situation() -> None:
    assert LYING.keys() == HALFWAY.keys() == CASES.keys()
