"""Lists of runs and agents, made in the background; and whether what is stored of a run is what came."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from app.store.base import parts_of
from app.store.location import parse_location
from app.store.opening import open_database
from app.store.runs import MAX_COUNTED, count_outcomes, count_trails
from app.ui.text import counted
from backend_client import LINES, Client, administer, chained, command, event, eventually, line
from backend_log import parties
from backend_runs import REASON, Journals, acted, listed, refused, send, waiting
from bench.servers import Backend
from hypothesis import given
from hypothesis import strategies as st

DAY = 86400


def runs(client: Client, **wanted: str) -> list[str]:
    """Return the traces of the runs that are found."""
    answer = client.get(f"/v1/runs?{urlencode(wanted)}")
    assert answer.status == 200, answer
    return [run["trace_id"] for run in answer.json["runs"]]


def verification(client: Client, trace_id: str) -> Any:
    answer = client.get(f"/v1/traces/{quote(trace_id, safe='')}/verification")
    assert answer.status == 200, answer
    return answer.json


def found(client: Client, trace_id: str) -> set[str]:
    """Return the states that verifying a run finds."""
    return {finding["state"] for one in verification(client, trace_id)["streams"] for finding in one["findings"]}


def day(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_what_a_page_counts_ends_at_a_bound(start: Any, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many runs there are, a page takes no longer; and it says that it did not count further."""
    backend: Backend = start(database_url, AIMGENTIX_READ_MINUTES="0")
    client = Client(backend.port)
    send(client, *(acted(f"{number}-1") for number in range(4)), refused("4-1"), waiting("5-1"))
    eventually(lambda: len(runs(client)) == 6)
    backend.stop()
    administer(database_url, "UPDATE runs SET trail = 'forked' WHERE outcome = 'acted'")
    with contextlib.closing(open_database(parse_location(database_url)).connect_reader()) as reader:
        assert count_outcomes(reader, 0) == {"acted": 4, "refused": 1, "waiting": 1}
        assert count_outcomes(reader, time.time_ns() // 1000) == {}
        assert count_trails(reader) == {"forked": 4}
        monkeypatch.setattr("app.store.runs.MAX_COUNTED", 3)
        assert count_outcomes(reader, 0) == {"acted": 3, "refused": 1, "waiting": 1}
        assert count_trails(reader) == {"forked": 3}
    assert (counted(MAX_COUNTED - 1), counted(MAX_COUNTED)) == ("9,999", "10,000 or more")


@given(st.lists(st.integers(), max_size=700), st.sets(st.integers(2, 300), max_size=4))
def test_rows_go_in_parts_of_these_sizes_and_none_is_lost(rows: list[int], larger: set[int]) -> None:
    sizes = [*sorted(larger, reverse=True), 1]
    parts = list(parts_of(rows, sizes))
    assert [row for part in parts for row in part] == rows
    assert {len(part) for part in parts} <= set(sizes)
    assert [len(part) for part in parts] == sorted((len(part) for part in parts), reverse=True)


def test_runs_are_found_by_what_their_events_say(start: Any, database_url: str) -> None:
    client = Client(start(database_url, AIMGENTIX_READ_MINUTES="0").port)
    began = time.time() - 6 * DAY
    send(client, acted("1-1", began), refused("2-1", began), waiting("3-1", resource="payments/eu", agent="scaler"))
    send(client, acted("4-1", resource="Zahlungsdienst Zürich", agent="scaler"))
    assert runs(client) == ["4-1", "3-1", "2-1", "1-1"], "those that arrived last come first"
    for wanted, expected in (
        ({"text": "expir"}, ["2-1"]),
        ({"text": "EXPIRED carol"}, ["2-1"]),
        ({"text": "expired bob"}, []),
        ({"text": "zürich"}, ["4-1"]),
        ({"text": "payments/eu"}, ["3-1"]),
        ({"text": "gate05"}, ["2-1"]),
        ({"text": '\' OR "x" * NEAR( :'}, []),
        ({"text": "--"}, []),
        ({"outcome": "refused"}, ["2-1"]),
        ({"outcome": "not-allowed"}, ["2-1"]),
        ({"outcome": "waiting"}, ["3-1"]),
        ({"approver": "bob"}, ["4-1", "1-1"]),
        ({"approver": "bob", "agent": "scaler"}, ["4-1"]),
        ({"resource": "checkout"}, ["2-1", "1-1"]),
        ({"code": "GATE05"}, ["2-1"]),
        ({"repository": "acme/checkout-restart", "text": "scale payments"}, ["3-1"]),
        ({"since": day(-1)}, ["4-1", "3-1", "2-1", "1-1"]),
        ({"since": day(1)}, []),
        ({"until": day(-1)}, []),
        ({"trail": "unsound"}, []),
    ):
        assert runs(client, **wanted) == expected, wanted
    (run,) = client.get("/v1/runs?text=expired").json["runs"]
    assert (run["outcome"], run["code"], run["reason"], run["approvers"]) == ("refused", "GATE05", REASON, ["carol"])
    assert (run["action"], run["events"], run["conflicting"]) == ("restart_service", 12, False)
    assert client.get("/v1/runs?outcome=nonsense").fields == ["outcome"]
    assert client.get("/v1/runs?who=bob").fields == ["who"]


def test_lists_go_on_page_by_page(shared_backend: Backend, client: Client) -> None:
    name = f"pager-{time.time_ns()}"
    send(client, *(acted(f"{name}-{n}", agent=name if n else f"{name}-other") for n in range(5)))
    seen, cursor = [], ""
    while True:
        answer = client.get(f"/v1/runs?agent={name}&limit=3{cursor}").json
        seen += [run["trace_id"] for run in answer["runs"]]
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    assert seen == [f"{name}-{n}" for n in (4, 3, 2, 1)]
    agents: dict[str, tuple[int, int]] = {}
    cursor = ""
    while True:
        answer = client.get(f"/v1/agents?limit=1{cursor}").json
        agents |= {agent["agent"]: (agent["runs"], agent["events"]) for agent in answer["agents"]}
        if answer["next"] is None:
            break
        cursor = f"&cursor={quote(answer['next'])}"
    assert answer["count"] == len(agents)
    assert (agents[name], agents[f"{name}-other"]) == ((4, 4 * 17), (1, 17))
    assert client.get("/v1/agents?cursor=bm9uZQ==").fields == ["cursor"]
    assert client.get("/v1/runs?cursor=-1").fields == ["cursor"]


def test_an_agent_cannot_spoil_the_lists(shared_backend: Backend, client: Client) -> None:
    """Whatever an event says: it is listed, and so are those that come after it."""
    name = f"hostile-{time.time_ns()}"
    hostile: list[Any] = [
        {"step": ["terminal"], "gha": "x"},
        {"step": "terminal", "outcome": {"a": 1}, "approvers": [1, None, {"login": {"x": 1}}], "steps": "no"},
        {"step": "terminal", "outcome": "waiting\0", "rejected_by": {"login": "\0" * 300}, "problems": {}},
        {"step": "error", "code": 1.5, "message": "\0" + "x" * 100_000},
        {"step": "plan_sealed", "action": "é" * 5000, "plan_digest": "d" * 900},
        {"gha": {"repository": ["r"], "run_id": -1, "run_attempt": 2**70}},
        {"gha": {"repository": "r" * 4000, "run_id": "\0", "run_attempt": True}},
    ]
    for number, metadata in enumerate(hostile):
        resource = "😀" * 1024
        answer = client.post(event(trace_id=f"{name}/{number}", resource=resource, metadata=metadata))
        assert answer.status == 201, answer
    send(client, acted(f"{name}-last"))
    listed_now = [run for run in client.get("/v1/runs?limit=20").json["runs"] if run["trace_id"].startswith(name)]
    assert len(listed_now) == len(hostile) + 1
    for run in listed_now:
        assert client.get(f"/v1/traces/{quote(run['trace_id'], safe='')}/verification").status == 200
        assert client.get(f"/ui/run?{urlencode({'trace': run['trace_id']})}").status == 200


def test_other_programs_steps_make_no_gated_run(shared_backend: Backend, client: Client) -> None:
    name = f"other-{time.time_ns()}"
    assert client.post(event(trace_id=name, metadata={"step": "read", "outcome": "acted"})).status == 201
    listed(client)
    (shown,) = client.get(f"/v1/runs?text={name}").json["runs"]
    assert (shown["outcome"], shown["trail"]) == ("none", "intact")


def test_two_ends_are_said(shared_backend: Backend, client: Client) -> None:
    run = acted(f"ends-{time.time_ns()}")
    run.ended("rejected")
    send(client, run)
    (shown,) = client.get(f"/v1/runs?text={run.trace_id}").json["runs"]
    assert (shown["outcome"], shown["conflicting"]) == ("acted", True)


def broken(trace_id: str, how: str) -> Journals:
    """A run whose journals arrive with a fault."""
    run = acted(trace_id)
    at = next(number for number, line in enumerate(run.lines) if '"policy_evaluated"' in line)
    if how == "missing":
        del run.lines[at]
    elif how == "wrong-prev":
        run.lines[at] = run.lines[at].replace('"decision":"review"', '"decision":"auto"')
    else:
        line = json.loads(run.lines[at])
        line["event"]["event_id"] = "0192e4a0-7b1c-7d3e-9a4b-" + hashlib.sha256(trace_id.encode()).hexdigest()[:12]
        run.lines.append(json.dumps(line, separators=(",", ":")))
    return run


@pytest.mark.parametrize("state", ["missing", "wrong-prev", "forked"])
def test_what_is_wrong_with_a_journal_is_the_state_of_its_run(
    shared_backend: Backend, client: Client, state: str
) -> None:
    run = broken(f"{state}-{time.time_ns()}", state)
    good = acted(f"good-{time.time_ns()}")
    send(client, run, good)
    assert run.trace_id in runs(client, trail=state)
    assert run.trace_id in runs(client, trail="unsound")
    assert good.trace_id not in runs(client, trail="unsound")
    assert state in found(client, run.trace_id)
    assert found(client, good.trace_id) == set()


def test_what_comes_late_makes_a_trail_whole(shared_backend: Backend, client: Client) -> None:
    """Also that of another run, which has events in the same journal."""
    name = f"late-{time.time_ns()}"
    members = ({"trace_id": f"{name}-{which}"} for which in ("a", "b", "a"))
    lines = chained(line(name, seq, **one) for seq, one in enumerate(members, 1))
    assert client.post_lines([lines[0], lines[2]]).status == 201
    listed(client)
    assert runs(client, trail="missing", text=name) == [f"{name}-a"]
    checked = f"SELECT 1 FROM runs WHERE trace_id = '{name}-a' AND checked_at > 0"
    eventually(lambda: bool(administer(shared_backend.database_url, checked)))  # the next time is tomorrow
    assert client.post_lines([lines[1]]).status == 201
    listed(client)
    assert runs(client, trail="intact", text=name) == [f"{name}-b", f"{name}-a"]


def test_an_edited_row_is_found_without_a_log(shared_backend: Backend, client: Client) -> None:
    edited, good = refused(f"edited-{time.time_ns()}"), refused(f"good-{time.time_ns()}")
    send(client, edited, good)
    administer(shared_backend.database_url, _edit(edited.trace_id, "carol", "mallory"))
    assert found(client, edited.trace_id) == {"edited"}
    assert found(client, good.trace_id) == set()
    page = client.get(f"/ui/run?trace={edited.trace_id}").body.decode()
    assert page.count("does not hold") == 1
    assert "does not have the hash that the line had when it came" in page
    assert "there is no log: whoever may write to the store could have changed all of this" in page


@pytest.fixture
def logging_backend(start: Any, database_url: str, tmp_path: Path) -> Iterator[tuple[Client, str]]:
    """A backend with a transparency log, and where it stores."""
    with parties(tmp_path / "parties") as both:
        settings = both.settings | {"AIMGENTIX_LOG_POLICY": "", "AIMGENTIX_VERIFY_HOURS": "0.0001"}
        yield Client(start(database_url, **settings).port), database_url


def test_what_somebody_did_to_the_store_is_found(logging_backend: tuple[Client, str]) -> None:
    """Edited with and without new hashes, one put in, and a tail that is gone: each is found, and by the metric too."""
    client, url = logging_backend
    names = ("edited", "forged", "put-in", "cut", "good")
    made = {name: refused(f"{name}-1") for name in names}
    send(client, *made.values())
    eventually(lambda: all(one["logged"] for name in names for one in verification(client, f"{name}-1")["streams"]))
    assert all(found(client, f"{name}-1") == set() for name in names)

    administer(url, _edit("edited-1", "carol", "mallory"))
    _forge(url, "forged-1")
    _put_in(url, "put-in-1")
    administer(url, "DELETE FROM events WHERE trace_id = 'cut-1' AND body LIKE '%\"step\":\"finished\"%'")

    assert found(client, "edited-1") == {"edited"}
    assert found(client, "forged-1") == {"edited"}
    assert "edited" in found(client, "put-in-1")
    assert found(client, "cut-1") == {"truncated"}
    assert found(client, "good-1") == set()
    # So it is without anybody who asks.
    eventually(lambda: set(runs(client, trail="unsound")) == {"edited-1", "forged-1", "put-in-1", "cut-1"})
    eventually(lambda: b'aimgentix_trails{state="edited"} 3.0' in client.get("/metrics").body)
    assert b'aimgentix_trails{state="truncated"} 1.0' in client.get("/metrics").body


def _edit(trace_id: str, old: str, new: str) -> str:
    return f"UPDATE events SET body = replace(body, '{old}', '{new}') WHERE trace_id = '{trace_id}'"


def _forge(url: str, trace_id: str) -> None:
    """Change what an event says, with the hash that its line would have had: the last line of its journal."""
    sql = f"SELECT stream, seq, body FROM events WHERE trace_id = '{trace_id}' AND body LIKE '%\"approver\":%'"
    ((stream, seq, body),) = administer(url, sql)
    changed = body.replace("carol", "mallory")
    inner, _, place = changed.rpartition(',"stream":')
    prev = place.rpartition('"prev":')[2][:-1]
    line = f'{{"v":1,"stream":"{stream}","seq":{seq},"prev":{prev},"event":{inner}}}}}'
    digest = hashlib.sha256(line.encode()).hexdigest()
    administer(url, f"UPDATE events SET body = '{changed}', line_hash = '{digest}' WHERE stream = '{stream}'")


def _put_in(url: str, trace_id: str) -> None:
    """Put an event where one was deleted, so that it has a place that the log has a digest of."""
    sql = f"SELECT position, body FROM events WHERE trace_id = '{trace_id}' ORDER BY position"
    position, body = administer(url, sql)[1]
    other = re.sub(r'"event_id":"[^"]*"', '"event_id":"0192e4a0-7b1c-7d3e-9a4b-2f6c8d1e0a57"', body)
    other = other.replace('"findings":2', '"findings":0')
    blob = (
        "x'0192e4a07b1c7d3e9a4b2f6c8d1e0a57'" if url.startswith("sqlite") else "'0192e4a0-7b1c-7d3e-9a4b-2f6c8d1e0a57'"
    )
    administer(url, f"UPDATE events SET event_id = {blob}, body = '{other}' WHERE position = {position}")


def test_lists_survive_a_kill_and_are_made_anew(start: Any, database_url: str) -> None:
    backend = start(database_url, AIMGENTIX_READ_MINUTES="0")
    client = Client(backend.port)
    send(client, acted("1-1"), refused("2-1"))
    backend.kill()
    # What a store has that no backend with lists ever saw.
    administer(
        database_url,
        "UPDATE run_index SET through = 0, last_number = 0, holder = '', held_until = 0",
        *(
            f"DELETE FROM {table}"
            for table in ("runs", "run_approvers", "run_words", "run_streams", "streams", "agents")
        ),
    )
    backend.start()
    listed(client)
    assert runs(client) == ["2-1", "1-1"]
    assert runs(client, text="expired") == ["2-1"]
    assert [agent["events"] for agent in client.get("/v1/agents").json["agents"]] == [17 + 12]
    # Nothing counts twice when events come again.
    send_again = "".join(f"{line}\n" for line in acted("3-1").lines).encode()
    for _ in range(2):
        assert client.ask("POST", "/v1/events/batch", send_again, content_type=LINES).status in (200, 201)
    listed(client)
    assert [agent["events"] for agent in client.get("/v1/agents").json["agents"]] == [17 + 12 + 17]
    backend.stop()
    administer(database_url, "UPDATE events SET received_at = 1")
    command(database_url, "purge", "--older-than-days", "1")
    backend.start()
    send(Client(backend.port), acted("4-1"))
    eventually(lambda: runs(client) == ["4-1", "aimgentix-archive"])  # which says who deleted the others
    assert runs(client, text="expired") == []
