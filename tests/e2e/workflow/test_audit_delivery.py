"""The whole workflow with the real audit backend: up, down from the start, killed in the middle, and hanging.

Whatever the backend does, the run does not notice; and once the trail is delivered, the backend has all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.bench.servers import Backend
from support.harness.engine import Answer, Click, Run, approve_as
from support.runs import ALL_SUCCEED, EVENTS, STEPS, results
from support.witnessed import Witnessed, witnessed
from support.world import World


@pytest.fixture
def backend(world: World, tmp_path: Path) -> Iterator[Backend]:
    """A backend that the repository knows, not started yet."""
    folder = tmp_path / "backend"
    folder.mkdir()
    backend = Backend(folder)
    world.repository.variables["AIMGENTIX_API_URL"] = backend.url
    yield backend
    backend.kill()


def timeline(backend: Backend, run: Run) -> list[tuple[str, str]]:
    """What the backend has of the run, in its order: job and step."""
    trace = json.loads(bundle_file(run, "bundle.json"))["trace_id"]
    with urllib.request.urlopen(f"{backend.url}/v1/traces/{trace}/events?limit=200", timeout=10) as answer:
        page: dict[str, Any] = json.load(answer)
    return [(event["metadata"]["gha"]["job"], event["metadata"]["step"]) for event in page["events"]]


def gaps(backend: Backend, run: Run) -> Any:
    """What the backend says is missing of the run."""
    trace = json.loads(bundle_file(run, "bundle.json"))["trace_id"]
    with urllib.request.urlopen(f"{backend.url}/v1/traces/{trace}/gaps", timeout=10) as answer:
        return json.load(answer)


def bundle_file(run: Run, name: str) -> bytes:
    """A file of the run's bundle."""
    return bytes(run.artifacts.named("audit-bundle").files()[name])


def deliver_bundle(world: World, backend: Backend, run: Run, folder: Path, code: int = 0) -> str:
    """Deliver a downloaded bundle by hand, as somebody does once the backend is back; return what it said."""
    for name, data in run.artifacts.named("audit-bundle").files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-I", "agent_runtime/__main__.py", "deliver", str(folder)],
        cwd=world.origin,
        env={**os.environ, "AIMGENTIX_API_URL": backend.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def assert_acted(run: Run, world: World, before: str) -> None:
    """The run did its work, and its bundle is whole."""
    assert results(run) == ALL_SUCCEED, run.log
    assert world.instance() != before
    assert json.loads(bundle_file(run, "bundle.json"))["problems"] == []


def assert_whole(backend: Backend, run: Run) -> None:
    """The backend returns every event of the run, in order, and misses none."""
    assert timeline(backend, run) == STEPS
    assert all(not stream["missing"] for stream in gaps(backend, run)["streams"])


INITIALIZED = "✅ AIMgentix audit client initialized"


@pytest.fixture
def evidence(tmp_path: Path) -> Iterator[Witnessed]:
    """A log's keys and its witness."""
    with witnessed(tmp_path / "keys") as made:
        yield made


def write_artifact(run: Run, name: str, folder: Path) -> None:
    """Unpack what a run uploaded."""
    for file, data in run.artifacts.named(name).files().items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)


def verify(world: World, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `verify` in a checkout, with nothing of the environment."""
    command = [sys.executable, "-I", "agent_runtime/__main__.py", "verify", *map(str, arguments)]
    return subprocess.run(command, cwd=world.origin, env={}, capture_output=True, text=True, check=False)


def test_with_a_backend_the_trail_is_whole_archived_and_logged(
    world: World, tmp_path: Path, evidence: Witnessed
) -> None:
    (tmp_path / "backend").mkdir()
    with Backend(tmp_path / "backend", settings=evidence.settings).start() as backend:
        run = check_delivery(world, backend)
        archive = Path(backend.database_url.removeprefix("sqlite:///") + ".bundles")
        digest = hashlib.sha256(bundle_file(run, "bundle.json")).hexdigest()
        assert [path.stem for path in archive.rglob("*.zip")] == [digest]
    assert "bundle: kept, and in the log, cosigned" in run.jobs["record"].log

    # Elsewhere and later: the backend is gone, and there is nothing but the two artifacts and the public keys.
    elsewhere = tmp_path / "elsewhere"
    write_artifact(run, "audit-bundle", elsewhere / "audit-bundle")
    write_artifact(run, "audit-proof", elsewhere)
    done = verify(world, elsewhere / "audit-bundle", "--policy", evidence.policy)
    assert done.returncode == 0, done
    assert "authentic:   AUTHENTICATED by the log audit.example.com/log, entry " in done.stdout
    assert "cosigned by neighbour at " in done.stdout and " s after the run ended; " in done.stdout
    said = json.loads(verify(world, elsewhere, "--policy", evidence.policy, "--json").stdout)
    (one,) = said["bundles"]
    assert (one["bundle"], one["authenticated"], one["subject"]) == (
        digest,
        True,
        f"acme/checkout-restart/runs/{run.id}/attempts/1",
    )
    assert "NOT AUTHENTICATED" in verify(world, elsewhere / "audit-bundle").stdout
    (elsewhere / "audit-bundle.tlog-proof").unlink()
    done = verify(world, elsewhere / "audit-bundle", "--policy", evidence.policy)
    assert (done.returncode, "TRAIL08" in done.stderr) == (6, True), done


def check_delivery(world: World, backend: Backend) -> Run:
    """Run with this backend; it has every event of the run, in order."""
    world.repository.secrets["AIMGENTIX_API_URL"] = backend.url
    world.repository.variables["AIMGENTIX_API_URL"] = "http://127.0.0.1:9"  # nobody listens: the secret counts
    before = world.instance()

    run = world.start(reviewer=approve_as("bob"))

    assert_acted(run, world, before)
    assert [id for id, job in run.jobs.items() if INITIALIZED in job.log] == ["record"], "where there is a client"
    assert_whole(backend, run)
    assert f"captured {EVENTS}, delivered {EVENTS}, spooled 0, rejected 0" in run.jobs["record"].log
    return run


def test_a_backend_that_is_down_costs_nothing_but_a_delivery_later(
    world: World, backend: Backend, tmp_path: Path
) -> None:
    before = world.instance()

    run = world.start(reviewer=approve_as("bob"))

    assert_acted(run, world, before)
    assert f"delivered 0, spooled {EVENTS}" in run.jobs["record"].log
    backend.start()
    said = deliver_bundle(world, backend, run, tmp_path / "bundle")
    assert f"delivered {EVENTS}, spooled 0" in said and "; bundle: kept" in said
    assert_whole(backend, run)


@pytest.mark.threat("T35", "T37")
def test_a_journal_of_the_agents_machine_takes_the_place_of_no_other(
    world: World, backend: Backend, tmp_path: Path
) -> None:
    del world.repository.variables["AIMGENTIX_API_URL"]  # no need to wait until the delivery gives up
    run = world.start(reviewer=approve_as("bob"))
    files = run.artifacts.named("audit-bundle").files()
    (verified,) = [name for name in files if name.startswith("verify/journal/") and name.endswith(".jsonl")]
    forged = tmp_path / "bundle" / "act" / "journal" / Path(verified).name
    forged.parent.mkdir(parents=True)
    honest, lie = b'"login":"bob"', b'"login":"mallory"'
    assert honest in files[verified]
    assert INITIALIZED not in run.log
    assert "no audit client is initialized: no backend is configured (AIMGENTIX_API_URL)" in run.jobs["record"].log
    forged.write_bytes(files[verified].replace(honest, lie))
    backend.start()

    said = deliver_bundle(world, backend, run, tmp_path / "bundle", code=6)

    trace = json.loads(bundle_file(run, "bundle.json"))["trace_id"]
    with urllib.request.urlopen(f"{backend.url}/v1/traces/{trace}/events?limit=200", timeout=10) as answer:
        known = answer.read().replace(b" ", b"")
    assert honest in known and lie not in known, said
    assert timeline(backend, run) == STEPS
    assert "rejected 1" in said


def test_a_backend_that_is_killed_in_the_middle_has_everything_after_the_delivery(
    world: World, backend: Backend, tmp_path: Path
) -> None:
    backend.start()
    before = world.instance()

    def bob(waiting: Any) -> Answer:
        backend.kill()
        return Click("bob", comment="go")

    run = world.start(reviewer=bob)

    assert_acted(run, world, before)
    assert f"spooled {EVENTS}" in run.jobs["record"].log
    backend.start()
    deliver_bundle(world, backend, run, tmp_path / "bundle")
    assert_whole(backend, run)


def test_a_backend_that_hangs_is_waited_for_within_the_budget(world: World, backend: Backend, tmp_path: Path) -> None:
    backend.start()
    assert backend.process is not None
    before = world.instance()
    os.kill(backend.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        run = world.start(reviewer=approve_as("bob"))
        took = time.monotonic() - started
    finally:
        os.kill(backend.process.pid, signal.SIGCONT)

    assert_acted(run, world, before)
    # The delivery at the end tries for 30 s; everything else is as long as without a backend.
    assert took < 120
    deliver_bundle(world, backend, run, tmp_path / "bundle")
    assert_whole(backend, run)
