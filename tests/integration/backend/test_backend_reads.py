"""Who reads and exports events is recorded, by whom; a page that stays open is not a flood, and no read waits."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

import pytest
from app.archive.reads import MOST_OBJECTS, Reads
from app.metrics import Metrics
from app.settings import Settings
from app.store.queries import Filter
from app.store.store import Store
from backend_client import Client, command, event, eventually, line, trail_of
from backend_runs import acted, send
from bench.servers import Backend

Said = tuple[str, str, str, int | None, int | None]


def keys(database_url: str, *names: str) -> dict[str, str]:
    made = {}
    for name in names:
        scope = "write" if name == "writer" else "read"
        made[name] = command(database_url, "keys", "create", "--name", name, "--scope", scope).stdout.strip()
    return made


def said(database_url: str, made: dict[str, str]) -> list[Said]:
    """The trail: who did what to what, with how many requests and items."""
    by = {key.split("_")[1]: name for name, key in made.items()}
    return [
        (by[facts["by"]], facts["step"], one["resource"], facts.get("requests"), facts.get("items"))
        for one in trail_of(database_url)
        for facts in [one["metadata"]]
    ]


def test_who_reads_what_is_recorded_once_and_summed_up(start: Any, database_url: str) -> None:
    made = keys(database_url, "writer", "ada", "bob")
    backend: Backend = start(database_url)
    writer, ada, bob = (Client(backend.port, key) for key in made.values())
    sent = [event(trace_id="t", timestamp=f"2026-11-{day}T00:00:00Z") for day in (21, 22, 23)]
    assert writer.post_lines(sent).status == 201
    for _ in range(10):
        assert len(ada.events("/v1/traces/t/events")) == 3
    assert ada.get(f"/v1/events/{sent[0]['event_id']}").status == 200
    assert ada.get("/v1/traces/nobody/events").json["events"] == []
    for since in (22, 21, 23):
        assert len(bob.events(f"/v1/events?agent_instance_id=restarter-1&since=2026-11-{since}T00:00:00Z"))
    assert len(bob.events("/v1/events?trace_id=t&status=success&until=2026-11-22T00:00:00Z")) == 1
    eventually(lambda: len(bob.get("/v1/runs?text=t").json["runs"]) == 1)

    backend.stop()
    first = [
        ("ada", "read", "trace/t", 1, 3),
        ("bob", "read", "agent/restarter-1", 1, 2),
        ("bob", "read", "trace/t", 1, 1),
        ("bob", "read", "runs", 1, 1),
    ]
    again = [("ada", "read", "trace/t", 10, 9 * 3 + 1), ("bob", "read", "agent/restarter-1", 2, 3 + 1)]
    assert said(database_url, made) == first + again
    filters = [one["metadata"]["filter"] for one in trail_of(database_url)]
    who, day = {"agent_instance_id": "restarter-1"}, "2026-11-{}T00:00:00.000000Z"
    assert filters[1] == {**who, "since": day.format(22)}
    assert filters[2] == {"trace_id": "t", "status": "success", "until": day.format(22)}
    assert filters[3] == {"text": "t"}
    assert filters[5] == {**who, "since": day.format(21)}, "opening something harmless first hides nothing"
    for one in trail_of(database_url):
        assert (one["agent_instance_id"], one["actor"], one["action_type"]) == (
            "aimgentix-backend",
            "human",
            "file_read",
        )


def test_reading_who_read_is_no_loop(start: Any) -> None:
    backend: Backend = start()
    client = Client(backend.port)
    assert client.post(event()).status == 201
    assert client.get("/v1/events").status == 200
    eventually(lambda: len(trail_of(backend.database_url)) == 1)
    own = "/v1/traces/aimgentix-archive/events"
    for path in (own, "/v1/events", f"{own}?status=success&order=desc"):
        for _ in range(10):
            assert client.get(path).json["events"]
    backend.stop()
    recorded = [(one["resource"], one["metadata"]["requests"]) for one in trail_of(backend.database_url)]
    trace = "trace/aimgentix-archive"
    assert sorted(recorded) == [("events", 1), ("events", 10), *[(trace, 1)] * 2, *[(trace, 9)] * 2], (
        "two for each thing"
    )


def test_a_while_ends_by_itself(start: Any) -> None:
    backend: Backend = start(AIMGENTIX_READ_MINUTES="0.005")
    client = Client(backend.port)
    assert client.post(event()).status == 201
    for _ in range(3):
        assert client.get("/v1/traces/run-42/events").status == 200
    eventually(lambda: sum(one["metadata"]["requests"] for one in trail_of(backend.database_url)) == 3)


def test_pages_are_read_by_somebody_and_a_download_is_an_export(start: Any) -> None:
    backend: Backend = start()
    client = Client(backend.port)
    send(client, acted("4812-1"))
    for path in ("/ui", "/ui/run?trace=4812-1", "/ui/run?trace=4812-1", "/ui/trails", "/ui/agents"):
        assert client.get(path).status == 200
    events = client.get("/ui/run/events?trace=4812-1").body.count(b"\n")
    backend.stop()
    trail = trail_of(backend.database_url)
    found = [(one["metadata"]["step"], one["resource"], one["metadata"].get("items")) for one in trail]
    assert sorted(each for each in found if each[1] != "runs") == [
        ("exported", "trace/4812-1", events),
        ("exporting", "trace/4812-1", None),
        ("read", "trace/4812-1", events),
        ("read", "trace/4812-1", events),
    ]
    assert {each[:2] for each in found if each[1] == "runs"} == {("read", "runs")}
    (begun,) = [one["metadata"] for one in trail if one["metadata"]["step"] == "exporting"]
    assert (begun["by"], begun["format"], begun["filter"]) == ("", "ndjson", {"trace_id": "4812-1"})


def test_of_one_reader_a_bounded_number_of_things_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"

    async def read() -> None:
        store = Store(Settings(database_url=url), Metrics())
        store.start()
        reads = Reads(store, 900)
        recording = asyncio.create_task(reads.run())
        await asyncio.sleep(0)
        for number in range(MOST_OBJECTS + 3):
            reads.note(None, Filter(trace_id=f"t-{number}"), 1)
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
        store.stop()

    asyncio.run(read())
    trail = trail_of(url)
    assert len(trail) == MOST_OBJECTS + 1
    assert (trail[-1]["resource"], trail[-1]["metadata"]["requests"]) == ("others", 3)


def test_what_can_not_be_recorded_stops_no_read_and_every_export(start: Any, tmp_path: Path) -> None:
    backend: Backend = start()
    client = Client(backend.port)
    assert client.post(event()).status == 201
    assert backend.process is not None
    soft, hard = resource.prlimit(backend.process.pid, resource.RLIMIT_FSIZE)
    full = (tmp_path / "audit.db-wal").stat().st_size  # the backend's log is smaller
    resource.prlimit(backend.process.pid, resource.RLIMIT_FSIZE, (full, hard))
    eventually(lambda: client.post(event()).status == 503)
    assert client.get("/v1/traces/run-42/events").status == 200
    refused = client.get("/v1/export?trace_id=run-42")
    assert (refused.status, refused.json["type"]) == (503, "urn:aimgentix:problem:store-unavailable")
    eventually(lambda: "who reads can't be recorded" in backend.output())
    resource.prlimit(backend.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    eventually(lambda: [one["resource"] for one in trail_of(backend.database_url)] == ["trace/run-42"])
    assert client.get("/v1/export?trace_id=run-42").status == 200


def test_who_wants_no_reads_has_none_and_exports_all_the_same(start: Any) -> None:
    backend: Backend = start(AIMGENTIX_READ_MINUTES="0")
    client = Client(backend.port)
    assert client.post(event()).status == 201
    assert client.get("/v1/events").status == client.get("/v1/export?format=csv").status == 200
    backend.stop()
    assert [one["metadata"]["step"] for one in trail_of(backend.database_url)] == ["exporting", "exported"]


@pytest.mark.threat("T35")
def test_nobody_else_writes_who_read(start: Any, database_url: str) -> None:
    client = Client(start(database_url).port)
    forged = event(trace_id="aimgentix-archive", agent_instance_id="aimgentix-backend", metadata={"step": "purged"})
    assert (client.post(forged).status, client.post(forged).fields) == (400, ["trace_id"])
    batch = client.post_lines([event(trace_id="good"), line("forged", 1, trace_id="aimgentix-archive")])
    assert [(error["index"], error["field"]) for error in batch.json["errors"]] == [(1, "trace_id")]
    assert trail_of(database_url) == []


def test_a_key_that_is_for_one_agent_sends_no_other_s_events(start: Any) -> None:
    backend: Backend = start()
    bound = ("keys", "create", "--name", "x", "--scope", "write", "--agent", "restarter-1")
    client = Client(backend.port, command(backend.database_url, *bound).stdout.strip())
    assert client.post(event()).status == 201
    refused = client.post(event(agent_instance_id="restarter-2"))
    assert (refused.status, refused.fields) == (400, ["agent_instance_id"])
    mixed = client.post_lines([event(), event(agent_instance_id="restarter-2"), event()])
    assert [error["index"] for error in mixed.json["errors"]] == [1]
