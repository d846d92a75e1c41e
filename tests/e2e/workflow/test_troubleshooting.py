"""Each failure of docs/TROUBLESHOOTING.md, in a generated repository that is really broken: its lines are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent_runtime import codes
from agent_runtime.gate import issue_checks
from support import examples
from support.environment import REPOSITORY
from support.harness.engine import Click, approve_as
from support.runs import bundle, ended, results
from support.world import World

PAGE = (REPOSITORY / "template" / "docs" / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, flags=re.MULTILINE))
APPROVE = approve_as("bob")
REFUSED_AT_ONCE = ended(investigate="failure", seal="failure", approve="skipped", act="skipped")


def lines(section: str) -> list[str]:
    """What the page says will be printed."""
    return [
        line for block in re.findall(r"```text\n(.*?)```", SECTIONS[section], re.DOTALL) for line in block.splitlines()
    ]


def is_printed(line: str, log: str) -> bool:
    """Whether one line of the log is as the page has it; `…` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in line.split("…"))
    return any(re.fullmatch(pattern, each) for each in log.splitlines())


def test_the_page_has_the_failures() -> None:
    assert list(SECTIONS) == [
        "agent_runner.py not found",
        "SDK not found",
        "Gate not working",
        "Permission denied in act",
        "Audit events not captured",
        "Where an issue is the gate",
        "No answer behind a company's proxy",
        "The agent was hijacked",
    ]


@pytest.mark.parametrize(
    ("section", "gone", "recorded"),
    [("agent_runner.py not found", "agent_runner.py", "success"), ("SDK not found", "sdk", "failure")],
)
def test_what_is_missing_is_named_before_python_stumbles(world: World, section: str, gone: str, recorded: str) -> None:
    path = world.origin / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    world.commit("Break it")

    run = world.start(reviewer=APPROVE)

    assert results(run) == {**REFUSED_AT_ONCE, "record": recorded}
    assert is_printed(lines(section)[0], run.jobs["investigate"].log), run.log
    assert run.jobs["investigate"].summary.startswith("# Refused: the agent is not whole\n")
    assert_no_riddles(run.jobs["investigate"].log)


@pytest.mark.parametrize(
    ("gone", "reported"),
    [
        ("sdk", lines("SDK not found")[1]),
        ("yaml", "error: RUN004: yaml can't be imported. Locally: make test sets up .venv; …"),
    ],
)
def test_locally_what_is_missing_is_named_too(world: World, gone: str, reported: str) -> None:
    python = [sys.executable]
    if gone == "sdk":
        shutil.rmtree(world.origin / "sdk")
    else:
        python.append("-S")  # without installed packages
    done = subprocess.run(
        [*python, "agent_runner.py", "investigate", "--resource", "example"],
        cwd=world.origin,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert is_printed(reported, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_a_gate_that_is_none_is_named(world: World) -> None:
    del world.github.environments["agent-approval"]

    run = world.start(reviewer=APPROVE)

    assert results(run)["seal"] == "failure" and run.clicks == []
    assert is_printed(lines("Gate not working")[0], run.jobs["seal"].log), run.log
    assert "GATE06" in run.jobs["seal"].summary
    assert_no_riddles(run.log)


def test_a_run_that_is_started_again_says_what_to_do(world: World) -> None:
    run = world.start(reviewer=lambda waiting: Click("bob", "rejected"))

    world.actions.rerun(run, "investigate", triggering_actor="alice", reviewer=APPROVE)

    assert results(run)["investigate"] == "failure"
    assert is_printed(lines("Gate not working")[1], run.jobs["investigate"].log), run.log
    assert "GATE03" in run.jobs["seal"].summary
    assert_no_riddles(run.log)


def test_permission_denied_in_act_names_the_secret(world: World) -> None:
    world.repository.environment_secrets["agent-act"]["AGENT_ACT_TOKEN"] = "another-token"

    run = world.start(reviewer=APPROVE)

    assert results(run)["act"] == "failure"
    assert is_printed(lines("Permission denied in act")[0], run.jobs["act"].log), run.log
    assert "TOOL07" in run.jobs["act"].summary
    assert_no_riddles(run.log)


@pytest.mark.parametrize(
    ("number", "refused"),
    [
        (0, lambda: issue_checks.check_possible({"bob": "read"}, examples.run())),
        (1, lambda: issue_checks.check_comment({"created_at": "1", "updated_at": "2"}, "/approve", "0" * 64)),
        (2, lambda: issue_checks.check_author({"user": {"login": "eve", "id": 6, "type": "User"}}, ("bob",), "read")),
    ],
)
def test_what_an_issue_as_the_gate_refuses_is_on_the_page(number: int, refused: Callable[[], None]) -> None:
    """`tests/e2e/workflow/test_issue_gate.py` plays each of these in a whole run."""
    with pytest.raises(codes.GateRefused) as problem:
        refused()

    assert is_printed(lines("Where an issue is the gate")[number], f"error: {problem.value.line()}")


LEAKY = """
def refused(self, resource, action, context=None):
    raise PermissionError(13, "Permission denied", "/var/lib/checkout")


ServiceRestartAgent.act = refused
"""


def test_a_refusal_that_the_agent_lets_pass_is_explained(world: World) -> None:
    runner = world.origin / "agent_runner.py"
    main = '\nif __name__ == "__main__":'
    runner.write_text(runner.read_text().replace(main, LEAKY + main))
    world.commit("Let it pass")

    run = world.start(reviewer=APPROVE)

    assert is_printed(lines("Permission denied in act")[1], run.jobs["act"].log), run.log
    assert "the credentials may not do this, see docs/TROUBLESHOOTING.md" in run.jobs["act"].summary
    assert bundle(run)["outcome"] == "outcome_unknown"


@pytest.fixture
def locked_backend() -> Iterator[str]:
    """An audit backend that takes no key."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_backend_that_takes_nothing_is_named_and_the_events_are_in_the_bundle(
    world: World, locked_backend: str
) -> None:
    world.repository.variables["AIMGENTIX_API_URL"] = locked_backend

    run = world.start(reviewer=lambda waiting: Click("bob", "rejected"))

    assert results(run)["record"] == "success", "the run does not fail by it"
    for line in lines("Audit events not captured")[:2]:
        assert is_printed(line, run.jobs["record"].log), (line, run.log)
    assert "deliver audit-bundle" in run.jobs["record"].summary
    assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("rejected", [])
    assert_no_riddles(run.log)


def test_an_address_that_is_none_is_reported_in_one_line_and_the_agent_acts(world: World) -> None:
    world.repository.variables["AIMGENTIX_API_URL"] = "audit.example.com"
    before = world.instance()

    run = world.start(reviewer=APPROVE)

    assert results(run) == ended(), run.log
    assert world.instance() != before
    assert (bundle(run)["outcome"], bundle(run)["problems"]) == ("acted", [])
    line = lines("Audit events not captured")[2]
    reported = [each for each in run.jobs["record"].log.splitlines() if "error: " in each]
    assert [is_printed(line, each) for each in reported] == [True], run.log
    assert "delivered 0" in run.jobs["record"].log
    assert_no_riddles(run.log)


def assert_no_riddles(log: str) -> None:
    for riddle in ("Traceback", "can't open file", "ModuleNotFoundError"):
        assert riddle not in log
