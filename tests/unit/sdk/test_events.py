"""The event contract: the shared vectors, and what the model adds to them."""

from __future__ import annotations

import json
import pickle
import uuid
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimgentix import ActionType, ActorType, AuditEvent, EventStatus, InvalidEvent
from support.sdk.helpers import SPECS, event

VECTORS = json.loads((SPECS / "audit-event.vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_valid_vectors_are_accepted_and_come_back_from_their_encoding(case):
    parsed = AuditEvent.from_dict(case["event"])
    again = json.loads(parsed.encode().decode())
    assert again == parsed.to_dict()
    for name, value in case["event"].items():
        if name in again:
            assert again[name] == (value.lower() if name == "event_id" else value)


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["name"])
def test_invalid_vectors_are_refused_and_the_field_is_named(case):
    with pytest.raises(InvalidEvent) as caught:
        AuditEvent.from_dict(case["event"])
    assert caught.value.field == case["field"]
    assert "\n" not in str(caught.value)


def test_enumerations_are_those_of_the_schema():
    properties = json.loads((SPECS / "audit-event.schema.json").read_text(encoding="utf-8"))["properties"]
    for name, kind in (("actor", ActorType), ("action_type", ActionType), ("status", EventStatus)):
        assert [member.value for member in kind] == properties[name]["enum"]


def test_new_events_have_ascending_ids_of_version_7_and_a_time_in_utc():
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)
    events = [event() for _ in range(5000)]
    after = datetime.now(timezone.utc) + timedelta(milliseconds=1)
    ids = [each.event_id for each in events]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    for each in (events[0], events[-1]):
        parsed = uuid.UUID(each.event_id)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert before <= datetime.fromisoformat(each.timestamp.replace("Z", "+00:00")) <= after
        assert abs((parsed.int >> 80) / 1000 - before.timestamp()) < 5


def test_events_do_not_change():
    one = event(metadata={"a": 1})
    with pytest.raises(AttributeError):
        one.resource = "other"
    with pytest.raises(AttributeError):
        del one.resource
    given_metadata = {"a": 1}
    two = event(metadata=given_metadata)
    given_metadata["b"] = 2
    assert two.metadata == {"a": 1}


def test_equality_hash_pickle_and_text():
    one = event(latency_ms=1.5, metadata={"a": [1]})
    same = AuditEvent.from_dict(one.to_dict())
    assert one == same
    assert len({one, same}) == 1
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != event(latency_ms=1.5, metadata={"a": [1]})
    assert one.event_id in repr(one)
    assert one != "text"


def test_times_may_be_given_as_datetime_with_a_zone():
    zone = timezone(timedelta(hours=1, minutes=30))
    assert event(timestamp=datetime(2026, 11, 22, 12, 30, tzinfo=zone)).timestamp == "2026-11-22T12:30:00.000000+01:30"
    assert event(timestamp=datetime(2026, 11, 22, tzinfo=timezone.utc)).timestamp == "2026-11-22T00:00:00.000000Z"
    with pytest.raises(InvalidEvent, match="time zone"):
        event(timestamp=datetime(2026, 11, 22))


@pytest.mark.parametrize("latency", [float("nan"), float("inf"), -0.5, True, "1"])
def test_impossible_latencies_are_refused(latency):
    with pytest.raises(InvalidEvent, match="latency_ms"):
        event(latency_ms=latency)


def test_lone_surrogates_are_refused():
    with pytest.raises(InvalidEvent, match="surrogates"):
        event(resource="file/\udcff")


@given(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=1024),
    st.one_of(st.none(), st.integers(0, 2**53), st.floats(0, 1e300)),
)
def test_every_resource_and_latency_survives_encoding(resource, latency):
    one = event(resource=resource, latency_ms=latency)
    encoded = one.encode()
    assert b"\n" not in encoded
    assert AuditEvent.from_dict(json.loads(encoded.decode())) == one
