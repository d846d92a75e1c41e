"""What the API answers, on SQLite and on PostgreSQL."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from app.store.queries import MOST_LOOKED_AT
from backend_client import JSON, LINES, Answer, Client, chained, line
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from aimgentix import AuditClient, AuditEvent

New = Callable[..., dict[str, Any]]


def stored(client: Client, like: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all stored events of the trace of this one."""
    return client.events(f"/v1/traces/{like['trace_id']}/events")


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [one["event_id"] for one in events]


@pytest.mark.parametrize("kind", ["events", "export"])
def test_filters_without_an_index_need_another_one(client: Client, new: Any, kind: str) -> None:
    sent = new(resource=f"r-{uuid4().hex}")
    assert client.post(sent).status == 201
    for name in ("resource", "actor", "action_type", "status"):
        wanted = f"{name}={sent[name]}"
        refused = client.get(f"/v1/{kind}?{wanted}")
        assert (refused.status, refused.fields) == (400, [name])
        assert "add agent_instance_id, trace_id or since" in refused.json["detail"]
        for more in (
            f"trace_id={sent['trace_id']}",
            f"agent_instance_id={sent['trace_id']}",
            "since=2026-11-22T11:00:00Z",
        ):
            answer = client.get(f"/v1/{kind}?{wanted}&{more}")
            assert answer.status == 200, more
            assert sent["event_id"].encode() in answer.body
    assert client.get(f"/v1/{kind}?status=denied").status == 200, "the unusual have an index"


def test_stores_one_event_and_gives_it_back(client: Client, new: New) -> None:
    sent = new(metadata={"text": 'Größe ∑ "quoted" \\ \t\n', "big": 2**70, "float": 1.0}, resource="a\tb\\c\nd")
    answer = client.post(sent)
    assert (answer.status, answer.json) == (201, {"event_id": sent["event_id"], "status": "stored"})
    found = client.get(answer.headers["location"]).json
    assert found.pop("received_at").endswith("Z")
    assert found == sent
    assert (
        client.get(f"/v1/events?resource=a%09b%5Cc%0Ad&trace_id={sent['trace_id']}").json["events"][0]["event_id"]
        == sent["event_id"]
    )


def test_the_same_event_again_is_the_same_event(client: Client, new: New) -> None:
    sent = new()
    assert client.post(sent).status == 201
    again = client.post(dict(reversed(sent.items())) | {"event_id": sent["event_id"].upper(), "unknown": 1})
    assert (again.status, again.json["status"]) == (200, "duplicate")
    assert len(stored(client, sent)) == 1


@pytest.mark.threat("T36")
def test_another_event_with_the_same_id_is_refused(client: Client, new: New) -> None:
    sent = new()
    client.post(sent)
    answer = client.post(sent | {"resource": "service/other"})
    assert answer.status == 409
    assert answer.fields == ["event_id"]
    assert client.get(f"/v1/events/{sent['event_id']}").json["resource"] == sent["resource"]


def test_a_batch_is_stored_whole_or_not_at_all(client: Client, new: New) -> None:
    first = new()
    client.post(first)
    answer = client.post_lines([new(), new(), first | {"status": "error"}, new()])
    assert (answer.status, answer.fields) == (409, ["event_id"])
    assert answer.json["errors"][0]["index"] == 2
    answer = client.post_lines([new(), new(actor="robot"), new(trace_id="")])
    assert (answer.status, answer.fields) == (400, ["actor", "trace_id"])
    assert [(fault["index"], fault["line"]) for fault in answer.json["errors"]] == [(1, 2), (2, 3)]
    assert ids(stored(client, first)) == [first["event_id"]]


def test_a_batch_may_repeat_what_is_stored(client: Client, new: New) -> None:
    events = [new() for _ in range(40)]
    assert client.post_lines(events[:30]).json == {"received": 30, "stored": 30, "duplicates": 0}
    again = client.post_lines([*events[20:], events[39]])
    assert (again.status, again.json) == (201, {"received": 21, "stored": 10, "duplicates": 11})
    assert client.post_lines(events).status == 200
    assert sorted(ids(stored(client, events[0]))) == sorted(ids(events))


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("form", ["array", "lines", "journal lines"])
def test_takes_every_form_of_a_batch(client: Client, new: New, form: str, compressed: bool) -> None:
    events = [new() for _ in range(25)]
    if form == "array":
        body, media_type = json.dumps(events, indent=1).encode(), JSON
    else:
        items = (
            events
            if form == "lines"
            else [line(new()["trace_id"], seq) | {"event": one} for seq, one in enumerate(events, 1)]
        )
        body, media_type = "\n".join(map(json.dumps, items)).encode(), LINES
    headers = {"content_type": f"{media_type}; charset=utf-8"}
    if compressed:
        half = len(body) // 2
        body = gzip.compress(body[:half]) + gzip.compress(body[half:])  # two members, as a file that was appended to
        headers["content_encoding"] = "gzip"
    assert client.ask("POST", "/v1/events/batch", body, **headers).status == 201
    assert ids(stored(client, events[0])) == ids(events)


def test_pages_cover_everything_once_in_order(client: Client, new: New) -> None:
    # Many share a time, so that the order among them is the order of arrival.
    events = [new(timestamp=f"2026-11-22T11:00:{n % 7:02}Z") for n in range(100)]
    trace = events[0]["trace_id"]
    client.post_lines(events)
    expected = sorted(range(100), key=lambda n: (n % 7, n))
    for path, order in (
        (f"/v1/traces/{trace}/events", "asc"),
        (f"/v1/agents/{trace}/events", "desc"),
        (f"/v1/agents/{trace}/events?order=asc", "asc"),
        (f"/v1/events?trace_id={trace}", "desc"),
    ):
        found: list[str] = []
        cursor = ""
        while True:
            answer = client.get(f"{path}{'&' if '?' in path else '?'}limit=13{cursor}").json
            found += ids(answer["events"])
            if answer["next"] is None:
                break
            assert len(answer["events"]) == 13
            cursor = f"&cursor={answer['next']}"
        wanted = [events[n]["event_id"] for n in (expected if order == "asc" else reversed(expected))]
        assert found == wanted, path


def test_what_no_index_knows_is_looked_for_in_parts_and_found(client: Client, new: New) -> None:
    """A page may have none of it, and the list and an export go on to where it is."""
    others = [new(timestamp=f"2026-11-22T11:{n // 60 % 60:02}:{n % 60:02}Z") for n in range(MOST_LOOKED_AT + 100)]
    wanted = new(timestamp="2026-11-22T10:00:00Z", resource="rare", actor="human")
    for start in range(0, len(others), 2000):
        assert client.post_lines(others[start : start + 2000]).status == 201
    assert client.post(wanted).status == 201
    agent = wanted["agent_instance_id"]
    for narrowing in ("resource=rare", "actor=human", f"trace_id={agent}&resource=rare&status=success"):
        path = f"/v1/events?agent_instance_id={agent}&{narrowing}"
        first = client.get(path).json
        assert first["events"] == [] and first["next"] is not None, narrowing
        assert ids(client.events(path)) == [wanted["event_id"]], narrowing
    last = new(timestamp="2026-11-22T12:30:00Z", resource="last")
    assert client.post(last).status == 201
    for form in ("ndjson", "ocsf"):
        body = client.get(f"/v1/export?format={form}&agent_instance_id={agent}&resource=last").body
        assert len(body.splitlines()) == 1 and last["event_id"].encode() in body


def test_a_full_last_page_has_no_next(client: Client, new: New) -> None:
    client.post_lines([new() for _ in range(5)])
    path = f"/v1/traces/{new()['trace_id']}/events"
    assert client.get(f"{path}?limit=5").json["next"] is None
    assert client.get(f"{path}?limit=4").json["next"] is not None


def test_filters(client: Client, new: New) -> None:
    trace, other = new()["trace_id"], f"other {new()['trace_id']}"
    events = [
        new(status="denied", actor="system", action_type="policy_check", timestamp="2026-11-22T10:00:00Z"),
        new(status="success", actor="human", resource="gate", timestamp="2026-11-22T11:00:00+01:00"),
        new(status="error", agent_instance_id=other, timestamp="2026-11-22T12:00:00Z"),
    ]
    client.post_lines(events)

    def found(query: str) -> set[int]:
        answer = client.get(f"/v1/events?trace_id={trace}&{query}")
        assert answer.status == 200, answer
        return {ids(events).index(one) for one in ids(answer.json["events"])}

    assert found("status=denied") == {0}
    assert found("status=success") == {1}
    assert found("actor=human") == {1}
    assert found("action_type=policy_check") == {0}
    assert found("resource=gate") == {1}
    assert found(f"agent_instance_id={other.replace(' ', '%20')}") == {2}
    assert found(f"agent_instance_id={trace}") == {0, 1}
    assert found("since=2026-11-22T10:00:00Z&until=2026-11-22T12:00:00Z") == {0, 1}
    assert found("since=2026-11-22T10:00:00.000001Z") == {2}
    assert found("since=2026-11-22T11:00:01+01:00") == {2}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("cursor=abc", "cursor"),
        ("order=up", "order"),
        ("status=odd", "status"),
        ("since=yesterday", "since"),
        ("until=2026-11-22", "until"),
        ("trace=run-42", "trace"),
        ("trace_id=", "trace_id"),
        ("trace_id=%00", "trace_id"),
        ("resource=%00", "resource"),
    ],
)
def test_refuses_parameters_that_it_can_t_use(client: Client, query: str, field: str) -> None:
    answer = client.get(f"/v1/events?{query}")
    assert (answer.status, answer.fields) == (400, [field])


def test_ids_may_hold_anything(client: Client, new: New) -> None:
    unique = new()["trace_id"]
    for text in ("a/b", "ends/events", "%2F", "ö ∑", "?x=1&y", "..", "'; DROP TABLE events; --"):
        identity = unique + text
        sent = new(trace_id=identity, agent_instance_id=identity)
        assert client.post(sent).status == 201
        quoted = "".join(f"%{byte:02X}" for byte in identity.encode())
        for path in (f"/v1/traces/{quoted}/events", f"/v1/agents/{quoted}/events", f"/v1/events?trace_id={quoted}"):
            assert ids(client.get(path).json["events"]) == [sent["event_id"]], path
    assert client.get("/v1/traces/nobody/events").json == {"events": [], "next": None}


def test_no_event(client: Client, new: New) -> None:
    answer = client.get(f"/v1/events/{new()['event_id']}")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert client.get("/v1/events/nonsense").status == 404
    answer = client.get("/v1/events/batch")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.threat("T37")
def test_gaps_by_stream(client: Client, new: New) -> None:
    trace = new()["trace_id"]
    first, second, third = (f"{name}{trace}" for name in "abc")
    client.post_lines([line(first, seq, trace_id=trace) for seq in (1, 2, 5, 6, 9)])
    client.post_lines([line(second, seq, trace_id=trace) for seq in (3, 4)])
    client.post_lines([line(second, 5, trace_id="elsewhere"), line(third, 7, trace_id="elsewhere")])
    client.post_lines([line(first, 5, trace_id=trace), new()])  # two events that claim one place; one without
    gaps = client.get(f"/v1/traces/{trace}/gaps").json
    assert (gaps["events"], gaps["events_without_position"], gaps["missing"]) == (9, 1, 6)
    assert gaps["streams"][0] == {
        "stream": first,
        "last": 9,
        "received": 5,
        "expired_through": 0,
        "missing_count": 4,
        "missing": [{"first": 3, "last": 4}, {"first": 7, "last": 8}],
        "forked": [5],
        "broken": [2, 6],
    }
    assert [stream["stream"] for stream in gaps["streams"]] == [first, second]
    assert (gaps["streams"][1]["last"], gaps["streams"][1]["missing"]) == (5, [{"first": 1, "last": 2}])
    assert client.get("/v1/traces/nobody/gaps").json["streams"] == []


def broken_so_far(client: Client) -> float:
    (count,) = re.findall(r"^aimgentix_broken_links_total (\S+)$", client.get("/metrics").body.decode(), re.MULTILINE)
    return float(count)


@pytest.mark.threat("T37")
def test_lines_that_do_not_follow_one_another_are_marked(client: Client, new: New) -> None:
    """Whatever order they come in, and however many at once; a line that has not come says nothing."""
    trace = new()["trace_id"]
    lines = chained([line(trace, seq, trace_id=trace) for seq in range(1, 13)])
    lines[2]["prev"] = "0" * 64  # nor does the fourth follow this one, any more
    lines[8]["event"]["resource"] = "somewhere/else"  # after it was chained: the tenth does not follow it
    start = broken_so_far(client)

    def broken() -> list[int]:
        (stream,) = client.get(f"/v1/traces/{trace}/gaps").json["streams"]
        assert broken_so_far(client) == start + len(stream["broken"])
        found: list[int] = stream["broken"]
        return found

    assert client.post_lines(lines[0:2]).status == 201
    assert broken() == []
    assert client.post(lines[2]).status == 201
    assert broken() == [3]
    assert client.post_lines([lines[9], lines[11]]).status == 201
    assert broken() == [3]
    assert client.post_lines(lines[5:9]).status == 201
    assert broken() == [3, 10]
    assert client.post_lines(lines[3:5]).status == 201
    assert broken() == [3, 4, 10]
    assert client.post(lines[10]).status == 201
    assert client.post_lines(lines).status == 200
    assert broken() == [3, 4, 10]


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
def test_what_stands_between_lines_is_not_part_of_them(client: Client, new: New, end: str) -> None:
    trace = new()["trace_id"]
    lines = chained([line(trace, seq, trace_id=trace) for seq in range(1, 4)])
    for media_type, body in (
        (LINES, end.join(map(json.dumps, lines[:2])) + end),
        (JSON, f"[ {json.dumps(lines[2])} ]"),
    ):
        assert client.ask("POST", "/v1/events/batch", body.encode(), content_type=media_type).status == 201
    (stream,) = client.get(f"/v1/traces/{trace}/gaps").json["streams"]
    assert (stream["received"], stream["broken"]) == (3, [])


def test_export_is_complete_and_in_order(client: Client, new: New) -> None:
    events = [new(timestamp=f"2026-11-22T11:{n // 60:02}:{n % 60:02}Z", metadata={"n": n}) for n in range(2500)]
    trace = events[0]["trace_id"]
    client.post_lines(events)
    answer = client.get(f"/v1/export?format=ndjson&trace_id={trace}")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(one)["metadata"]["n"] for one in answer.body.splitlines()] == list(range(2500))
    answer = client.get(f"/v1/export?format=csv&agent_instance_id={trace}&since=2026-11-22T11:10:00Z")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert [json.loads(row["metadata"])["n"] for row in rows] == list(range(600, 2500))
    assert rows[0]["event_id"] == events[600]["event_id"]
    assert client.get("/v1/export?trace_id=nobody").body == b""


@pytest.mark.parametrize("form", ["ndjson", "csv", "ocsf"])
def test_an_export_that_broke_off_goes_on_without_an_event_twice_or_missing(
    client: Client, new: New, form: str
) -> None:
    # Two events each have one time, and a page ends between two of these.
    events = [new(timestamp=f"2026-11-22T11:{n // 120:02}:{n // 2 % 60:02}Z", metadata={"n": n}) for n in range(1203)]
    trace = events[0]["trace_id"]
    client.post_lines(events)
    address = f"/v1/export?format={form}&trace_id={trace}"
    whole = client.get(address).body
    lines = whole.splitlines(keepends=True)
    heads = 1 if form == "csv" else 0
    assert len(lines) == 1203 + heads
    for came in (1, 333, 1000, 1001, 1202, 1203):
        rest = client.get(f"{address}&after={events[came - 1]['event_id']}")
        assert b"".join(lines[: came + heads]) + rest.body == whole, came
    late = new(timestamp="2026-11-22T10:00:00Z")
    client.post_lines([late])
    assert client.get(f"{address}&after={events[1202]['event_id']}").body == b"", "what came late is a new export's"
    answer = client.get(f"{address}&after={uuid4()}")
    assert (answer.status, answer.fields) == (400, ["after"])


def test_an_export_for_collectors_is_valid_ocsf_and_loses_nothing(client: Client, new: New) -> None:
    trace = new()["trace_id"]
    kinds = ["tool_call", "http_request", "db_query", "file_read", "file_write", "api_call", "policy_check"]
    sent = [
        new(
            action_type=kind,
            status=["success", "error", "pending", "denied"][number % 4],
            actor=["agent", "human", "system"][number % 3],
            latency_ms=[0.4, None, 12][number % 3],
            metadata={"deep": {"n": [1e300, "\u202e"]}},
        )
        for number, kind in enumerate(kinds)
    ]
    placed = chained([line(trace, 1, trace_id=trace)])
    client.post_lines([*sent, *placed])
    found = [json.loads(one) for one in client.get(f"/v1/export?format=ocsf&trace_id={trace}").body.splitlines()]

    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0")).get_class_schema("api_activity")
    validator = Draft202012Validator(schema)
    assert [str(error)[:300] for one in found for error in validator.iter_errors(one)] == []
    assert len(found) == len(sent) + 1
    for one in found:
        known = {**one["unmapped"], "event_id": one["metadata"]["uid"], "trace_id": one["metadata"]["correlation_uid"]}
        known |= {"agent_instance_id": one["actor"]["app_uid"], "resource": one["resources"][0]["name"]}
        known |= {"timestamp": one["metadata"]["original_time"], "status": one["status_code"]}
        known["action_type"] = one["api"]["operation"]
        (original,) = [event for event in [*sent, placed[0]["event"]] if event["event_id"] == known["event_id"]]
        assert {name: known[name] for name in original} == original
    assert {(one["activity_id"], one["type_uid"]) for one in found} == {(2, 600302), (3, 600303), (99, 600399)}
    assert {(one["status_code"], one["status_id"]) for one in found} == {
        ("success", 1), ("error", 2), ("denied", 2), ("pending", 99)
    }  # fmt: skip
    (one,) = [one for one in found if "sequence" in one["metadata"]]
    assert (one["metadata"]["log_name"], one["metadata"]["sequence"]) == (trace, 1)


@pytest.mark.parametrize("latency", ["1e300", "9" * 300])
def test_a_number_that_ocsf_has_no_room_for_is_given_as_it_was_sent(client: Client, new: New, latency: str) -> None:
    sent = new(latency_ms=0)
    body = json.dumps(sent).replace('"latency_ms": 0', f'"latency_ms": {latency}').encode()
    assert client.ask("POST", "/v1/events", body, content_type=JSON).status == 201
    (one,) = client.get(f"/v1/export?format=ocsf&trace_id={sent['trace_id']}").body.splitlines()
    assert f'"latency_ms":{latency}'.encode() in one
    assert "duration" not in json.loads(one), "a collector keeps it in 64 bits"


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/bundles?cursor={'9' * 30}-{'0' * 64}",
        f"/ui/run?trace=x&after={'9' * 30}.1",
        f"/ui/run?trace=x&after=1.{'9' * 30}",
        f"/ui/run?trace=x&after={'9' * 900}.1",
    ],
)
def test_a_place_beyond_all_places_is_a_bad_parameter(client: Client, path: str) -> None:
    assert client.get(path).status in (400, 404)  # where bundles are not kept


def test_ten_thousand_retries_store_nothing_twice(client: Client, new: New) -> None:
    events = [line(new()["trace_id"], seq) | {"event": new()} for seq in range(1, 101)]
    assert client.post_lines(events).status == 201

    def retry(number: int) -> Answer:
        return client.post_lines(events) if number % 2 else client.post_lines(events[number % 50 :])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(retry, range(130)))
    assert {answer.status for answer in answers} == {200}
    assert sum(answer.json["duplicates"] for answer in answers) >= 10_000
    assert len(stored(client, new())) == 100


def test_retries_at_the_same_time_store_once(client: Client, new: New) -> None:
    for _ in range(20):
        sent = [new() for _ in range(30)]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(client.post_lines, [sent] * 4))
        assert sorted(answer.json["stored"] for answer in answers) == [0, 0, 0, 30]


def test_root_is_the_health_answer(client: Client, request: pytest.FixtureRequest) -> None:
    answer = client.get("/")
    assert answer.json == {"name": "AIMgentix", "status": "operational", "version": "0.1.0"}
    assert client.get("/healthz").json == {"status": "ok"}
    kept = {"archive": "ready"} if "sqlite" in request.node.name else {}  # bundles lie beside a SQLite file
    assert client.get("/readyz").json == {"status": "ready", **kept}


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_a_load_balancer_may_ask_with_head(client: Client, path: str) -> None:
    asked, got = client.ask("HEAD", path), client.get(path)
    assert (asked.status, asked.body) == (200, b"")
    assert asked.headers["content-type"] == got.headers["content-type"]
    assert client.ask("POST", path).headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("prefix", ["/audit", "/audit/", "/a/b"])
def test_behind_a_proxy_that_takes_a_prefix_off(start: Any, new: New, prefix: str) -> None:
    client = Client(start(options=("--root-path", prefix)).port)
    sent = new()
    location = client.post(sent).headers["location"]
    assert location == f"{prefix.rstrip('/')}/v1/events/{sent['event_id']}"
    assert client.get(location.removeprefix(prefix.rstrip("/"))).json["event_id"] == sent["event_id"]
    assert client.post_lines([new()]).status == 201
    assert client.get("/readyz").status == client.ask("HEAD", "/healthz").status == 200
    assert client.get("/openapi.json").json["servers"] == [{"url": prefix.rstrip("/")}]


def test_metrics_count(client: Client, new: New) -> None:
    def value(name: str) -> float:
        text = client.get("/metrics").body.decode()
        return sum(float(one.rsplit(" ", 1)[1]) for one in text.splitlines() if one.startswith(name))

    stored, duplicates = value("aimgentix_events_stored_total"), value("aimgentix_events_duplicate_total")
    sent = new()
    client.post(sent)
    client.post(sent)
    client.post(new(actor="robot"))
    assert value("aimgentix_events_stored_total") == stored + 1
    assert value("aimgentix_events_duplicate_total") == duplicates + 1
    assert value('aimgentix_bodies_invalid_total{status="400"}') >= 1
    assert value('aimgentix_request_seconds_count{method="POST",route="/v1/events",status="201"}') >= 1


def test_every_answer_is_safe_for_browsers(client: Client, new: New) -> None:
    for answer in (client.get("/"), client.get("/nothing"), client.post({})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert len(answer.headers["x-request-id"]) == 16


def test_no_other_origin_unless_configured(client: Client, start: Any) -> None:
    asked = {"Origin": "https://console.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.ask("OPTIONS", "/v1/events", **asked).headers
    open_client = Client(start(AIMGENTIX_CORS_ORIGINS="https://console.example").port)
    answer = open_client.ask("OPTIONS", "/v1/events", **asked)
    assert answer.headers["access-control-allow-origin"] == "https://console.example"
    asked["Origin"] = "https://elsewhere.example"
    assert "access-control-allow-origin" not in open_client.ask("OPTIONS", "/v1/events", **asked).headers


def test_a_page_of_another_origin_can_t_post_without_being_asked(client: Client, new: New) -> None:
    body = json.dumps(new()).encode()
    for media_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.ask("POST", "/v1/events", body, content_type=media_type)
        assert answer.status == 415, media_type


def test_the_sdk_delivers_its_journal(client: Client, new: New, tmp_path: Path) -> None:
    trace = new()["trace_id"]
    with AuditClient(
        api_url=f"http://127.0.0.1:{client.port}", agent_instance_id=trace, trace_id=trace, journal_dir=str(tmp_path)
    ) as sdk:
        for number in range(60):
            sdk.capture(AuditEvent(trace, trace, "agent", "tool_call", f"tool/{number}", "success", 1.5, {"n": number}))
        assert sdk.flush(60)
    delivered = client.events(f"/v1/traces/{trace}/events")
    assert [one["metadata"]["n"] for one in delivered] == list(range(60))
    assert [one["seq"] for one in delivered] == list(range(1, 61))
    journal = [json.loads(text) for text in next(tmp_path.glob("*.jsonl")).read_text().splitlines()]
    assert [(one["prev"], one["event"]["event_id"]) for one in journal] == [
        (one["prev"], one["event_id"]) for one in delivered
    ]
    gaps = client.get(f"/v1/traces/{trace}/gaps").json
    assert (gaps["missing"], [stream["broken"] for stream in gaps["streams"]]) == (0, [[]])
