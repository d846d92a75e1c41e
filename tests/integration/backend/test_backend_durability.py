"""What was acknowledged stays, whatever happens to the process, the database, the disk and the clock."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from backend_client import Client, administer, command, event, eventually, line
from backend_load import Agent, load, settle, verify
from bench.servers import Backend, Postgres, ServerFailed

from support.environment import as_root, small_disk

KILLS = int(os.environ.get("AIMGENTIX_TEST_KILLS", "10"))
"""How often each store's backend is killed."""


@pytest.mark.long
def test_kill_under_load(tmp_path: Path, database_url: str) -> None:
    backend = Backend(tmp_path, database_url).start()
    agents = load(backend.port)
    try:
        expected = 0
        for _ in range(KILLS):
            expected += settle(agents, new=random.randint(20, 300))
            time.sleep(random.random() * 0.3)
            backend.kill()
            backend.start()
        settle(agents)
    finally:
        for agent in agents:
            agent.finish()
        backend.kill()
    with backend.start():
        assert verify(backend.port, agents) >= expected
        for agent in agents:
            assert set(agent.statuses) <= {0, 200, 201}, agent.statuses
    if database_url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(tmp_path / "audit.db")) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_stop_under_load_finishes_what_was_taken(start: Any, database_url: str) -> None:
    backend = start(database_url)
    agents = load(backend.port)
    settle(agents)
    code = backend.stop()
    assert code in (0, -signal.SIGTERM)
    assert "stopped; all acknowledged events are stored" in backend.output()
    backend.start()
    settle(agents)
    for agent in agents:
        agent.finish()
        assert set(agent.statuses) <= {0, 200, 201}, agent.statuses
    verify(backend.port, agents)


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_postgres_restart_under_load(tmp_path: Path, postgres: Postgres, how: str) -> None:
    del postgres  # its absence is said by it; this test needs a server that it may stop
    with Postgres() as server, Backend(tmp_path, server.new_database()).start() as backend:
        agents = load(backend.port)
        settle(agents)
        server.stop(how)
        eventually(lambda: all(agent.statuses[503] for agent in agents))
        ready = Client(backend.port).get("/readyz")
        assert (ready.status, ready.headers["content-type"]) == (503, "application/problem+json")
        assert Client(backend.port).get("/v1/events").status == 503
        assert Client(backend.port).get("/healthz").status == 200
        server.start()
        settle(agents)
        for agent in agents:
            agent.finish()
            assert set(agent.statuses) <= {200, 201, 503}, agent.statuses
        verify(backend.port, agents)
        assert Client(backend.port).get("/readyz").status == 200


def fill(client: Client, until: int = 503) -> list[str]:
    """Post large events until the backend refuses one; return the ids of those that it took."""
    taken: list[str] = []
    for seq in range(1, 5000):
        sent = line("filling", seq, trace_id="filling", metadata={"ballast": os.urandom(50_000).hex()})
        answer = client.post(sent)
        if answer.status == until:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["content-type"] == "application/problem+json"
            return taken
        assert answer.status == 201, answer
        taken.append(sent["event"]["event_id"])
    raise AssertionError("the disk did not fill up")


def still_there(client: Client, taken: list[str]) -> None:
    assert {one["event_id"] for one in client.events("/v1/traces/filling/events")} >= set(taken)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "48m") as disk:
        yield disk


def test_full_disk(tmp_path: Path, disk: Path) -> None:
    backend = Backend(tmp_path, f"sqlite:///{disk / 'audit.db'}")
    with backend.start():
        client = Client(backend.port)
        taken = fill(client)
        refused = client.post(event())
        assert (refused.status, "disk is full" in refused.json["detail"]) == (503, True)
        assert client.get("/readyz").status == 503
        still_there(client, taken)
        backend.kill()
        backend.start()
        still_there(client, taken)
        assert as_root("mount", "-o", "remount,size=256m", str(disk))
        assert client.post(event()).status == 201
        assert client.get("/readyz").status == 200
        still_there(client, taken)


def test_file_that_may_not_grow(start: Any) -> None:
    backend: Backend = start()
    client = Client(backend.port)
    assert backend.process
    assert client.post(event()).status == 201
    _, hard = resource.prlimit(backend.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(backend.process.pid, resource.RLIMIT_FSIZE, (4 * 1024 * 1024, hard))
    taken = fill(client)
    assert client.get("/readyz").status == 503
    still_there(client, taken)
    resource.prlimit(backend.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    eventually(lambda: client.post(event()).status == 201)
    still_there(client, taken)
    backend.kill()
    backend.start()
    still_there(client, taken)


@contextlib.contextmanager
def held(database_url: str) -> Iterator[None]:
    """Keep the store locked, as a careless administrator would."""
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            yield
            file.execute("ROLLBACK")
    else:
        with psycopg.connect(database_url) as session:
            session.execute("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
            yield
            session.rollback()


def test_a_store_that_does_not_answer(start: Any, database_url: str) -> None:
    backend = start(database_url, AIMGENTIX_STORE_TIMEOUT_SECONDS="1", AIMGENTIX_MAX_QUEUED_EVENTS="10")
    client = Client(backend.port)
    sent = [line("held", seq, trace_id="held") for seq in range(1, 31)]
    with held(database_url), ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post_lines, sent[:8])
        eventually(lambda: b"aimgentix_events_waiting 8.0" in client.get("/metrics").body)
        answer = client.post_lines(sent[8:16])  # no room for these behind the first
        assert (answer.status, "too many events are waiting" in answer.json["detail"]) == (503, True)
        assert client.get("/v1/events").status == 200  # reading continues
        answer = first.result()
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "storing takes too long" in answer.json["detail"]
    eventually(lambda: client.post_lines(sent).status in (200, 201))
    assert len(client.events("/v1/traces/held/events")) == 30


@pytest.mark.parametrize("how", ["deleted", "moved away", "replaced", "replaced by a copy"])
def test_a_file_that_does_not_stay_in_its_place(start: Any, tmp_path: Path, how: str) -> None:
    """Nothing is acknowledged that would be gone with the process."""
    path, aside = tmp_path / "audit.db", tmp_path / "aside.db"
    backend: Backend = start()
    client = Client(backend.port)
    assert client.post(event(trace_id="before")).status == 201
    assert len(client.events("/v1/traces/before/events")) == 1
    if how == "replaced by a copy":
        command(backend.database_url, "backup", str(tmp_path / "copy.db"))
    path.rename(aside)
    if how == "deleted":
        aside.unlink()
    if how == "replaced":
        command(backend.database_url, "migrate")
    if how == "replaced by a copy":
        (tmp_path / "copy.db").rename(path)
    for answer in (client.post(event()), client.get("/readyz"), client.get("/v1/events"), client.post(event())):
        assert (answer.status, "deleted, moved away or replaced" in answer.json["detail"]) == (503, True), answer
    assert client.get("/healthz").status == 200
    if how == "moved away":
        aside.rename(path)
        eventually(lambda: client.post(event(trace_id="before")).status == 201)  # refused at once for half a second
        assert len(client.events("/v1/traces/before/events")) == 2
        return
    backend.stop()
    backend.start()  # somebody has decided to continue with what is there now
    assert client.post(event()).status == 201
    assert client.get("/readyz").status == 200


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize("again", [False, True], ids=["deleted", "replaced"])
@pytest.mark.parametrize("name", ["audit.db", "link.db"])
def test_a_log_that_does_not_stay_beside_its_file(
    start: Any, tmp_path: Path, suffix: str, again: bool, name: str
) -> None:
    (tmp_path / "link.db").symlink_to("audit.db")
    backend: Backend = start(f"sqlite:///{tmp_path / name}")
    client = Client(backend.port)
    assert client.post(event(trace_id="kept")).status == 201
    assert len(client.events("/v1/traces/kept/events")) == 1
    lost = tmp_path / f"audit.db{suffix}"
    lost.unlink()
    if again:
        lost.touch()
    for _ in range(3):
        for answer in (client.post(event()), client.get("/readyz")):
            assert (answer.status, "restart the backend" in answer.json["detail"]) == (503, True), answer
    backend.stop()
    backend.start()
    assert len(client.events("/v1/traces/kept/events")) == 1
    assert client.post(event(trace_id="kept")).status == 201


@pytest.mark.parametrize("kind", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_start_waits_for_another_on_a_new_file(tmp_path: Path, kind: str) -> None:
    """Of several processes that start at once the first holds the file, until it has made the schema."""
    backend = Backend(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "audit.db", isolation_level=None)) as first, backend:
        first.execute(f"BEGIN {kind}")
        first.execute("CREATE TABLE another (x)")
        backend.start(wait=False)
        with pytest.raises(ServerFailed, match="does not answer"):
            backend.wait(3)
        first.execute("COMMIT")
        backend.wait()
        assert Client(backend.port).post(event()).status == 201


def test_several_backends_on_one_store(tmp_path: Path, database_url: str) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    backends = [Backend(folder, database_url) for folder in folders]
    with contextlib.ExitStack() as stack:
        for backend in backends:  # all at once, on an empty store: one of them makes the schema
            stack.enter_context(backend)
            backend.start(wait=False)
        for backend in backends:
            backend.wait()
        assert sum("schema brought up to date" in backend.output() for backend in backends) >= 1
        agents = [agent for backend in backends for agent in load(backend.port, 2)]
        same = [line("shared", seq, trace_id="shared") for seq in range(1, 201)]
        for turn in range(10):
            for backend in backends:
                post = partial(Client(backend.port).post_lines, same[turn * 20 : turn * 20 + 20])
                eventually(lambda post=post: post().status in (200, 201))  # type: ignore[misc]
        assert len(Client(backends[0].port).events("/v1/traces/shared/events")) == 200
        settle(agents)
        for agent in agents:
            agent.finish()
            # One that waits long for the others on a SQLite file says so, and its agents send again.
            assert set(agent.statuses) <= {200, 201, 503}, agent.statuses
        for backend in backends:
            verify(backend.port, agents)


CLOCK = """
import os, time
from pathlib import Path

def moved(real, unit):
    def read():
        return real() + int(Path(os.environ["CLOCK_OFFSET"]).read_text()) * unit
    return read

time.time, time.time_ns = moved(time.time, 1), moved(time.time_ns, 1_000_000_000)
"""


def test_clock_moved_back(tmp_path: Path, database_url: str) -> None:
    """The process runs for real; only what it takes for the time is moved."""
    offset = tmp_path / "offset"
    offset.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    settings = {"PYTHONPATH": str(tmp_path), "CLOCK_OFFSET": str(offset), "AIMGENTIX_RETENTION_DAYS": "1"}
    with Backend(tmp_path, database_url, settings).start() as backend:
        client = Client(backend.port)
        assert client.post(event(trace_id="old")).status == 201
        sent = [line("clock", seq, trace_id="clock", timestamp=f"2026-11-22T11:00:{seq:02}Z") for seq in range(1, 31)]
        assert client.post_lines(sent[:10]).status == 201
        offset.write_text(str(-3 * 24 * 3600))
        assert client.post_lines(sent[10:20]).status == 201
        assert client.post_lines(sent[:20]).json["duplicates"] == 20
        offset.write_text("3600")
        assert client.post_lines(sent[20:]).status == 201
        backend.stop()
        day = 24 * 3600 * 1_000_000
        administer(database_url, f"UPDATE events SET received_at = received_at - {2 * day} WHERE trace_id = 'old'")
        backend.start()  # retention runs at the start, with a clock that is right again but for an hour
        eventually(lambda: b"aimgentix_events_expired_total 1.0" in client.get("/metrics").body)
        stored = client.events("/v1/traces/clock/events")
        assert [one["seq"] for one in stored] == list(range(1, 31))
        assert [one["received_at"] for one in stored] != sorted(one["received_at"] for one in stored)


def test_agents_are_what_this_file_believes() -> None:
    """An agent whose backend is not there has nothing acknowledged."""
    agent = Agent(1)
    agent.start()
    while not agent.statuses[0]:
        time.sleep(0.01)
    agent.finish()
    assert not agent.acknowledged
