"""The example service is what it says: it truly restarts, fails as asked, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_runtime.toolkit import metrics, services, waiting
from support.toolkit import EXAMPLE, USE_CASES, Example


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return "State:\tZ" not in (status.read_text(encoding="utf-8") if status.exists() else "")


def ends(pid: int, seconds: float = 60) -> bool:
    """Whether a process ends in time."""
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def counts(example: Example) -> tuple[float, float]:
    """Requests and errors that the service counted."""
    text = example.get("/metrics")[1].decode()
    return metrics.count_requests(metrics.parse_exposition(text, "http_requests_total", example.url), example.url)


def fails(example: Example, number: int) -> int:
    """How many of so many requests fail."""
    return sum(example.get("/")[0] == 500 for _ in range(number))


def test_a_restart_is_another_process_with_new_counters(example: Callable[..., Example]) -> None:
    service = example("--traffic", "0", "--error-rate", "0.5")
    assert fails(service, 10) == 5
    assert counts(service) == (10, 5)
    before = service.identity()
    assert service.post("/-/restart")[0] == 202
    after = service.identity()
    assert ends(before["pid"])
    assert after["pid"] != before["pid"]
    assert after["instance"] != before["instance"]
    assert after["started"] > before["started"]
    assert counts(service) == (0, 0)
    assert fails(service, 10) == 0


def test_a_sticky_failure_outlives_a_restart(example: Callable[..., Example]) -> None:
    service = example("--traffic", "0", "--sticky-failure")
    service.post("/chaos", {"error_rate": 0.25})
    service.post("/-/restart")
    assert service.get("/healthz")[0] == 200
    assert fails(service, 20) == 5


@pytest.mark.parametrize("rate", [0, 0.05, 0.1, 0.31, 1])
def test_the_share_that_fails_is_exact(example: Callable[..., Example], rate: float) -> None:
    service = example("--traffic", "0")
    service.post("/chaos", {"error_rate": rate})
    assert fails(service, 100) == round(100 * rate)
    assert counts(service) == (100, round(100 * rate))


@pytest.mark.parametrize("value", [None, {}, [], {"error_rate": 1.1}, {"error_rate": True}, {"error_rate": "x" * 2000}])
def test_a_wrong_share_is_refused(example: Callable[..., Example], value: object) -> None:
    service = example("--traffic", "0", "--error-rate", "1")
    assert service.post("/chaos", value)[0] == 400
    assert fails(service, 3) == 3


def test_its_own_traffic_moves_the_counters(example: Callable[..., Example]) -> None:
    service = example("--traffic", "100")
    first = counts(service)[0]
    assert waiting.until(lambda: counts(service)[0] > first, seconds=60, interval_seconds=0.05)


def test_a_token_is_asked_for(example: Callable[..., Example]) -> None:
    service = example("--token", "right")
    before = service.identity()
    for token in (None, "wrong"):
        assert service.post("/-/restart", token=token)[0] == 401
        assert service.post("/chaos", {"error_rate": 1}, token=token)[0] == 401
    assert service.identity() == before
    assert service.post("/-/restart", token="right")[0] == 202
    assert service.identity() != before


def test_metrics_name_the_process(example: Callable[..., Example]) -> None:
    service = example()
    source = metrics.TextEndpoint(service.url + "/metrics", window_seconds=0, fresh_seconds=1)
    identity = service.identity()
    assert source.started() == {"process": identity["started"]}
    assert f'instance_id="{identity["instance"]}"' in service.get("/metrics")[1].decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_leaves_nothing_running_when_it_ends(example: Callable[..., Example], number: int) -> None:
    service = example()
    worker = service.identity()["pid"]
    assert worker != service.process.pid
    service.process.send_signal(number)
    service.process.wait(5)
    assert ends(worker)


def test_it_ends_with_its_parent() -> None:
    script = f"import subprocess, sys; subprocess.Popen([{sys.executable!r}, {str(EXAMPLE)!r}]); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        announced = json.loads(parent.stdout.readline())
        worker = Example(parent, announced["url"]).identity()["pid"]
        parent.kill()
    assert ends(announced["pid"])
    assert ends(worker)


def around(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


PROBE = """
import json, os, urllib.request
url = os.environ["EXAMPLE_SERVICE_URL"]
identity = json.load(urllib.request.urlopen(url + "/healthz"))
catalogue = open(os.environ["SERVICES_FILE"]).read()
print(json.dumps({"url": url, "pid": identity["pid"], "catalogue": catalogue, "token": os.environ["AGENT_ACT_TOKEN"]}))
raise SystemExit(7)
"""


def test_with_runs_a_command_and_then_it_is_gone() -> None:
    done = around("with", "--token", "tok", "--", sys.executable, "-c", PROBE)
    assert done.returncode == 7, done.stderr
    seen = json.loads(done.stdout)
    service = services.parse(seen["catalogue"].encode(), "services.yml").get("example")
    assert service.health == seen["url"] + "/healthz"
    assert service.restart == seen["url"] + "/-/restart"
    assert seen["token"] == "tok"
    assert ends(seen["pid"])


def test_with_passes_the_command_on_as_it_is() -> None:
    script = "import sys; print(sys.argv[1:])"
    done = around("with", "--", sys.executable, "-c", script, "--", "--error-rate", "-x", "a b")
    assert done.stdout.strip() == "['--', '--error-rate', '-x', 'a b']"


def test_with_says_what_is_wrong() -> None:
    assert around("with").returncode == 2
    assert "COMMAND" in around("with", "--").stderr
    assert around("with", "--error-rate", "1.5", "--", "true").returncode == 2
    missing = around("with", "--", "no-such-command")
    assert missing.returncode == 127
    assert "no-such-command" in missing.stderr
    killed = around("with", "--", sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.returncode == 128 + signal.SIGKILL


def test_with_takes_its_command_along_when_it_is_ended() -> None:
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    command = [sys.executable, str(EXAMPLE), "with", "--", sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        inner = int(service.stdout.readline())
        service.terminate()
        assert service.wait(10) == 128 + signal.SIGTERM
    assert ends(inner)


# Asks a program to end at each line that its main thread runs after its first print: in the library's code too, where a
# lock may be held that the handler also wants.
ALWAYS_ASKING = """
import os, runpy, signal, sys

program, *arguments = sys.argv[1:]
started = False

def ask(frame, event, argument):
    if started and event == "line" and signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):
        os.kill(os.getpid(), signal.SIGTERM)
    return ask

class Output:
    def write(self, text):
        return sys.__stdout__.write(text)

    def flush(self):
        global started
        sys.__stdout__.flush()
        started = True

sys.stdout = Output()
sys.argv = [program, *arguments]
sys.settrace(ask)
runpy.run_path(program, run_name="__main__")
"""


SERVING = sorted({path.parent.name for path in USE_CASES.glob("*/example_service.py")} - {"disk-cleanup"})


@pytest.mark.parametrize("use_case", SERVING)
def test_it_ends_whatever_it_is_doing_when_it_is_asked_to(use_case: str, tmp_path: Path) -> None:
    program = USE_CASES / use_case / "example_service.py"
    options = ["--token=token"] if use_case in ("service-restart", "security-response") else [f"--folder={tmp_path}"]
    command = [sys.executable, "-c", ALWAYS_ASKING, str(program), "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        assert b"url" in service.stdout.readline()
        try:
            assert service.wait(15) == 0
        finally:
            service.kill()
