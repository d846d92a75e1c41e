"""`make demo` does what it says, measures what it says, and leaves nothing running."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from support.demo import TIMEOUT_SECONDS, is_anything_left, running_demo
from support.environment import REPOSITORY
from tools import demo

QUESTION = "[y/N]"
MORE = " -- "
ROWS, COLUMNS = 24, 80


def at_a_terminal(out: Path, answer: str) -> tuple[int, str]:
    """Run the demo at a pseudo-terminal, give this answer to its question, and return exit code and screen."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
    screen = b""
    turned = 0
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with running_demo(out, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        answered = False
        while True:
            assert time.monotonic() < deadline, screen.decode(errors="replace")
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            screen += chunk
            while screen.count(MORE.encode()) > turned:
                turned += 1
                os.write(ours, b"\n")
            if not answered and QUESTION.encode() in screen:
                os.write(ours, answer.encode() + b"\n")
                answered = True
        code = process.wait(TIMEOUT_SECONDS)
        assert answered, screen.decode(errors="replace")
        assert not is_anything_left(process)
    os.close(ours)
    return code, screen.decode()


def test_without_a_terminal_it_shows_the_whole_path(tmp_path: Path) -> None:
    """With --keep, which leaves the backend running, and nothing else."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with running_demo(tmp_path, "--keep", **streams) as process:
        said = process.communicate(timeout=TIMEOUT_SECONDS)[0].decode()
        assert process.returncode == 0, said
        assert not is_anything_left(process)
    kept = re.search(r"this run +(http://127\.0\.0\.1:\d+/ui/run\?trace=\S+)\n +end it +kill (\d+)", said)
    assert kept, said
    try:
        page = _page(kept[1])
        plan = _page(kept[1] + "&plan=" + re.search(r"[?&;]plan=([0-9a-f]{64})", page)[1])  # type: ignore[index]
    finally:
        os.kill(int(kept[2]), signal.SIGTERM)
    assert re.search(r"<title>example: acted", page)
    assert "reviewer</strong> approved this digest" in page
    assert page.count("does not hold") == 0
    assert ">simulated</span></h1>" in page
    assert "this is what was sealed" in plan

    page = said[: said.index("approve |")]
    assert "restart_service" in page
    assert re.search(r"\b[0-9a-f]{64}\b", page), "who only watches sees the plan before the approval too"
    summary = said[said.index("What just happened") :]
    assert re.search(r"before +(2[5-9]|3[0-5])\.\d% of 200 requests failed", summary)
    assert re.search(r"after +0\.0% of 200 requests failed", summary)
    assert re.search(r"plan +[0-9a-f]{64}\n", summary)
    assert re.search(r"approved by +reviewer: the demo answered, nobody was asked\n", summary)
    assert re.search(r"trail +verified", summary)
    assert re.search(r"audit +(\d+) of \1 events at the backend", summary)
    assert re.search(
        r"approve +approved +success\n(.*\n)*.* act +intent +pending\n.* act +outcome success +success", said
    )
    assert "\033[" not in said, "no colour without a terminal"
    assert [line for line in summary.splitlines() if len(line) > COLUMNS and str(tmp_path) not in line] == []
    try_next(Path(re.search(r"repository +(\S+)", summary)[1]), summary)  # type: ignore[index]


def try_next(repository: Path, summary: str) -> None:
    """Type what the demo says that an attacker and an auditor may try next."""
    for reader, code, shown in (("attacker", 3, "GATE02"), ("auditor", 0, "every digest and hash chain holds")):
        command = re.search(rf"^   {reader} +((?:.*\\\n)*.*)", summary, flags=re.MULTILINE)[1]  # type: ignore[index]
        words = [
            sys.executable if word == ".venv/bin/python" else word for word in shlex.split(command.replace("\\\n", ""))
        ]
        done = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=False)
        assert (done.returncode, shown in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


def _page(address: str) -> str:
    """Return a page of a backend, once it has the run: it lists runs a moment after it started."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urlopen(address, timeout=10) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            assert error.code == 404, error
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_what_an_earlier_demo_stored_makes_room(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in ("audit.db", "audit.db-wal", "audit.db.bundles/00/bundle.zip")]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of an earlier demo")

    with demo.audit_backend(tmp_path) as address, urlopen(f"{address}/v1/runs", timeout=10) as answer:
        assert json.load(answer)["runs"] == []

    assert not kept[-1].exists()


def test_at_a_terminal_the_reviewer_sees_the_plan_and_approves(tmp_path: Path) -> None:
    code, screen = at_a_terminal(tmp_path, "y")

    assert code == 0, screen
    before_the_question = screen[: screen.index(QUESTION)]
    assert "restart_service" in before_the_question
    assert re.search(r"\b[0-9a-f]{64}\b", before_the_question), "the digest stands on the page"
    assert re.search(r"after +0\.0% of 200 requests failed", screen)
    pages = re.split(rf"{MORE}|{re.escape(QUESTION)}", re.sub(r"\033\[[0-9;]*m", "", screen).replace("\r", ""))
    rows = [sum(max(1, -(-len(line) // COLUMNS)) for line in page.strip("\n").split("\n")) for page in pages]
    assert len(pages) > 8 and max(rows) <= ROWS, [page for page, high in zip(pages, rows, strict=True) if high > ROWS]


def test_at_a_terminal_the_reviewer_rejects_and_nothing_is_executed(tmp_path: Path) -> None:
    code, screen = at_a_terminal(tmp_path, "n")

    assert code == 0, screen
    assert "You rejected the plan, and nothing was executed" in screen
    assert re.search(r"outcome +rejected", screen)
    assert re.search(r"approved by +nobody", screen)
    assert re.search(r"after +(2[5-9]|3[0-5])\.\d% of 200 requests failed", screen)
    assert "the same one: it was not restarted" in screen


def test_rejected_without_asking_it_says_what_a_rejection_is(tmp_path: Path) -> None:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with running_demo(tmp_path, "--reject", **streams) as process:
        said = process.communicate(timeout=TIMEOUT_SECONDS)[0].decode()

    assert process.returncode == 0, said
    assert "nobody is asked; the demo answers: rejected" in said
    assert "The demo rejected the plan, and nothing was executed" in said
    assert said.index("Approve restart_service") < said.index("approve: rejected by reviewer")
    assert "A rejection is a run that ended well" in said
    assert "make demo KEEP=1 leaves the audit backend running" in said
    assert re.search(r"after +(2[5-9]|3[0-5])\.\d% of 200 requests failed", said)


@pytest.mark.parametrize(
    ("given", "option"), [("1", "--approve"), ("yes", "--approve"), ("no", "--reject"), ("0", "--reject"), ("", "")]
)
def test_make_hands_the_answer_on(given: str, option: str) -> None:
    said = subprocess.run(
        ["make", "-n", "demo", f"APPROVE={given}"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    (command,) = [line for line in said.splitlines() if "tools/demo.py" in line]
    assert command.split("tools/demo.py")[1].split() == [option] * bool(option)


def test_make_refuses_an_answer_that_is_none() -> None:
    done = subprocess.run(
        ["make", "-n", "demo", "APPROVE=maybe"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "APPROVE=maybe is neither yes nor no" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_it_ends_everything_that_it_started(number: signal.Signals, tmp_path: Path) -> None:
    with running_demo(tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"investigates" in line:
                break
        time.sleep(1)
        process.send_signal(number)
        _, complaint = process.communicate(timeout=TIMEOUT_SECONDS)

        assert process.returncode == 130, complaint
        assert b"interrupted" in complaint
        assert not is_anything_left(process)


GOOD = demo.Shown(
    repository=Path("repository"),
    bundle=Path("bundle"),
    before=0.3,
    after=0.0,
    restarted=True,
    simulated=0,
    verified=True,
    manifest={"outcome": "acted"},
    delivered=21,
    kept=21,
)


@pytest.mark.parametrize(
    "difference",
    [
        pytest.param({"after": 0.3}, id="the rate did not fall"),
        pytest.param({"after": 0.1}, id="the rate is still high"),
        pytest.param({"before": 0.0}, id="there was nothing to fix"),
        pytest.param({"restarted": False}, id="nothing was restarted"),
        pytest.param({"verified": False}, id="the trail does not verify"),
        pytest.param({"simulated": 5}, id="the run failed"),
        pytest.param({"manifest": {"outcome": "rejected"}}, id="the run ended otherwise"),
        pytest.param({"delivered": 20}, id="the backend lacks an event"),
        pytest.param({"delivered": 0, "kept": 0}, id="there are no events"),
    ],
)
def test_it_is_not_content_with_less(difference: dict[str, Any]) -> None:
    assert GOOD.good
    assert not replace(GOOD, **difference).good


@pytest.mark.parametrize(
    "difference",
    [
        pytest.param({"restarted": True}, id="it was restarted all the same"),
        pytest.param({"verified": False}, id="the trail does not verify"),
        pytest.param({"simulated": 5}, id="the run failed"),
        pytest.param({"manifest": {"outcome": "refused"}}, id="the run ended otherwise"),
        pytest.param({"delivered": 20}, id="the backend lacks an event"),
    ],
)
def test_a_rejection_is_a_good_end_only_where_nothing_was_done_and_all_of_it_recorded(
    difference: dict[str, Any],
) -> None:
    declined = replace(GOOD, after=0.3, restarted=False, manifest={"outcome": "rejected"})

    assert declined.declined and not declined.good
    assert not replace(declined, **difference).declined


def a_repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "agent_runner.py").write_text("print()\n", encoding="utf-8")
    demo.git(folder, "init", "--quiet")
    demo.git(folder, "add", "--all")
    demo.git(folder, "commit", "--quiet", "--message=first")
    return folder


def test_an_untouched_repository_of_an_earlier_demo_makes_room(tmp_path: Path) -> None:
    demo.make_room(a_repository(tmp_path / "agent"))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("committed", [False, True])
def test_a_repository_that_somebody_worked_on_is_kept(committed: bool, tmp_path: Path) -> None:
    for number in (1, 2):
        repository = a_repository(tmp_path / "agent")
        (repository / "agent_runner.py").write_text(f"print({number})\n", encoding="utf-8")
        if committed:
            demo.git(repository, "commit", "--quiet", "--all", "--message=second")

        demo.make_room(repository)

    kept = {path.name: (path / "agent_runner.py").read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert kept == {"agent-1": "print(1)\n", "agent-2": "print(2)\n"}
