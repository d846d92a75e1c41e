"""The event: what is accepted, what is refused and why, and when two events are one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from app.events import decode, model, render
from app.events.cursor import InvalidCursor, decode_cursor, encode_cursor
from app.events.decode import Fault, InvalidEvents, Limits, decode_array, decode_lines, decode_one
from app.events.gaps import stream_gaps
from app.events.sameness import same_content
from app.store.base import Conflicting, Row, Stored
from app.store.groups import sort_out
from app.store.location import InvalidLocation, PostgresDatabase, parse_location
from app.store.queries import Place, StoredEvent, StreamSummary
from backend_client import event, line
from hypothesis import given
from hypothesis import strategies as st

SPECS = Path(__file__).resolve().parents[3] / "template" / "specs"
VECTORS = json.loads((SPECS / "audit-event.vectors.json").read_text(encoding="utf-8"))
LIMITS = Limits(event_bytes=256 * 1024, batch_events=5000)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def faults(value: Any) -> dict[str, str]:
    with pytest.raises(InvalidEvents) as refused:
        decode_one(value if isinstance(value, bytes) else encode(value), 0, LIMITS)
    return {fault.field: fault.detail for fault in refused.value.faults}


def test_the_schema_is_the_template_s() -> None:
    own = (Path(model.__file__).parent / "audit-event.schema.json").read_bytes()
    assert own == (SPECS / "audit-event.schema.json").read_bytes()


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
@pytest.mark.parametrize("in_a_line", [False, True], ids=["event", "journal line"])
def test_takes_every_valid_vector(case: Any, in_a_line: bool) -> None:
    sent = case["event"]
    value = {"v": 1, "stream": "s", "seq": 1, "prev": None, "event": sent} if in_a_line else sent
    row = decode_one(encode(value), 0, LIMITS)
    stored = json.loads(row.body)
    assert stored["event_id"] == sent["event_id"].lower()
    assert {k: v for k, v in stored.items() if k in sent and k != "event_id"} == {
        k: v for k, v in sent.items() if k in stored and k != "event_id"
    }
    assert row.trace_id == sent["trace_id"]
    assert (row.stream, row.seq) == (("s", 1) if in_a_line else (None, None))


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["name"])
def test_refuses_every_invalid_vector_and_names_the_field(case: Any) -> None:
    field = "" if case.get("field") == "event" else case.get("field", "")
    assert field in faults(case["event"])


def test_names_every_field_that_is_wrong() -> None:
    found = faults(event(trace_id=..., actor="robot", latency_ms=-1, metadata=[]))
    assert found == {
        "trace_id": "is required",
        "actor": "must be one of: agent, human, system",
        "latency_ms": "must be null or a finite number that is not negative",
        "metadata": "must be a JSON object",
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"v": 2}, "v"),
        ({"stream": "no spaces"}, "stream"),
        ({"stream": "x" * 129}, "stream"),
        ({"stream": ".hidden"}, "stream"),
        ({"seq": 0}, "seq"),
        ({"seq": 1.5}, "seq"),
        ({"seq": 2**63}, "seq"),
        ({"seq": 2, "prev": None}, "prev"),
        ({"seq": 1, "prev": "a" * 64}, "prev"),
        ({"prev": "A" * 64, "seq": 2}, "prev"),
        ({"event": []}, "event"),
        ({"event": {}}, "event_id"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True], ids=["as the SDK writes it", "members in another order"])
def test_refuses_a_journal_line_that_is_none(change: dict[str, Any], field: str, backwards: bool) -> None:
    value = line("s", 1) | change
    assert field in faults(dict(reversed(value.items())) if backwards else value)


def test_takes_a_journal_line_in_any_order_and_with_unknown_members() -> None:
    value = line("s", 7) | {"after": {"stream": "r", "seq": 3, "hash": "0" * 64, "reason": "size"}, "later": True}
    for written in (value, dict(reversed(value.items()))):
        row = decode_one(encode(written), 0, LIMITS)
        assert (row.stream, row.seq) == ("s", 7)
        assert json.loads(row.body)["prev"] == value["prev"]


@pytest.mark.threat("T35")
def test_the_backend_s_own_members_can_t_be_forged() -> None:
    row = decode_one(encode(event(received_at="1970-01-01T00:00:00Z", stream="x", seq="y", prev=3, other=1)), 0, LIMITS)
    assert set(json.loads(row.body)) == {*event(), "other"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"null", b"[]", b'"x"', b"[" * 200_000, b'{"a":' * 5000, b"{}x", b'{"event_id":"\\ud800"}'],
    ids=lambda body: repr(body[:12]),
)
def test_says_what_is_wrong_with_bodies_that_are_no_event(body: bytes) -> None:
    for decoder in (decode_one, decode_array, decode_lines):
        with pytest.raises(InvalidEvents) as refused:
            decoder(body, 0, LIMITS)
        assert refused.value.faults[0].detail


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("metadata", {"deep": ["\ud800"]}),
        ("metadata", {"deep": ["\ud83d more"]}),
        ("metadata", {"\udc00": 1}),
        ("resource", "\ud800"),
        ("resource", "\ud800x"),
        ("resource", "\udc00x"),
        ("event_id", "\ud800\ud800"),
        ("unknown", "\udfff"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("in_a_line", [False, True], ids=["event", "journal line"])
def test_names_half_of_a_surrogate_pair(member: str, value: Any, in_a_line: bool) -> None:
    broken = line("s", 1, **{member: value}) if in_a_line else event(**{member: value})
    detail = "holds half of a surrogate pair, which is not a character"
    assert faults(broken) == {member: detail}
    whole = event(metadata={"\U0001f600": "\\ud800"})
    for decoder, body, number in (
        (decode_array, encode([whole, broken]), None),
        (decode_lines, encode(whole) + b"\n" + encode(broken), 2),
    ):
        with pytest.raises(InvalidEvents) as refused:
            decoder(body, 0, LIMITS)
        assert refused.value.faults == (Fault(detail, member, 1, number),)


def test_names_what_can_be_named() -> None:
    """Neither a name that is half a pair itself, nor something else that is wrong first."""
    assert list(faults(event(**{"\ud800": 1}))) == [""]
    assert "malformed JSON" in faults(encode(event(metadata={"a": "\ud800"}))[:-9])[""]


def test_refuses_numbers_that_no_reader_can_hold() -> None:
    huge = encode(event(latency_ms=0)).replace(b'"latency_ms": 0', b'"latency_ms": 1e400')
    assert list(faults(huge)) == ["latency_ms"]
    assert list(faults(huge.replace(b"1e400", b"9" * 5000))) in ([""], ["latency_ms"])


def test_limits_depth_but_not_breadth() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    decode_one(encode(event(metadata={"wide": [[] for _ in range(1000)], "text": "[" * 1000})), 0, LIMITS)
    decode_one(encode(event(metadata={"deep": nested(model.MAX_DEPTH - 2)})), 0, LIMITS)
    assert "nested" in faults(event(metadata={"deep": nested(model.MAX_DEPTH - 1)}))[""]
    assert "nested" in faults(event(metadata={"deep": nested(900)}))[""]


def test_limits_size_and_count() -> None:
    with pytest.raises(InvalidEvents) as refused:
        decode_one(encode(event(metadata={"x": "y" * 2000})), 0, Limits(1000, 10))
    assert refused.value.too_large
    with pytest.raises(InvalidEvents) as refused:
        decode_lines(b"\n".join(encode(event()) for _ in range(11)), 0, Limits(1000, 10))
    assert refused.value.too_large


def test_names_event_and_line_in_a_batch() -> None:
    body = b"\n".join([encode(event()), b"", encode(event(status="odd")), b"  ", encode(event()), b"{"])
    with pytest.raises(InvalidEvents) as refused:
        decode_lines(body, 0, LIMITS)
    assert refused.value.faults == (
        Fault(model.RULES["status"], "status", 1, 3),
        Fault("is malformed JSON: it ends too early", "", 3, 6),
    )


def test_stores_one_line_whatever_the_white_space() -> None:
    spread = json.dumps(event(metadata={"a": [1, {"b": "c\nd"}]}), indent=3).encode()
    row = decode_array(b"[\r\n" + spread + b"]", 0, LIMITS)[0]
    assert "\n" not in row.body
    assert "\r" not in row.body
    assert json.loads(row.body)["metadata"] == {"a": [1, {"b": "c\nd"}]}


@given(metadata=st.dictionaries(st.text(), json_values, max_size=5), resource=st.text(min_size=1, max_size=50))
def test_what_is_stored_means_what_was_sent(metadata: dict[str, Any], resource: str) -> None:
    sent = event(metadata=metadata, resource=resource)
    try:
        row = decode_one(json.dumps(sent).encode(), 5, LIMITS)
    except InvalidEvents:
        text = json.dumps(sent)
        assert "\\u0000" in text or "\\ud" in text
        return
    assert json.loads(row.body) == sent
    assert row.resource == resource


@given(st.datetimes(), st.integers(-23 * 60, 23 * 60))
def test_time_is_kept_to_the_microsecond(moment: Any, offset: int) -> None:
    zone = f"{'+' if offset >= 0 else '-'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    text = moment.isoformat(timespec="microseconds") + zone
    instant = model.microseconds(text)
    if 0 < moment.year - 1 < 9997:
        assert model.microseconds(model.timestamp_of(instant)) == instant


@given(st.text(max_size=40))
def test_only_uuids_are_ids(text: str) -> None:
    try:
        assert model.id_bytes(text).hex() == text.replace("-", "").lower()
        assert [len(part) for part in text.split("-")] == [8, 4, 4, 4, 12]
    except ValueError:
        pass


@pytest.mark.parametrize("text", ["0192e4a07b1c7d3e9a4b2f6c8d1e0a57", " 192e4a0-7b1c-7d3e-9a4b-2f6c8d1e0a57", "٠" * 36])
def test_no_other_form_of_a_uuid(text: str) -> None:
    with pytest.raises(ValueError, match=r"UUID|fromhex"):
        model.id_bytes(text)


@given(json_values)
def test_depth_is_counted_as_a_parser_does(value: Any) -> None:
    def deep(inner: Any) -> int:
        children = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else None
        return 0 if children is None else 1 + max(map(deep, children), default=0)

    assert model.depth(encode(value)) == deep(value)


class TestSameness:
    def test_form_does_not_matter(self) -> None:
        one = event(latency_ms=1, metadata={"a": 1, "b": {"c": 2.0}}, timestamp="2026-11-22T11:00:00Z")
        other = dict(reversed(one.items())) | {
            "timestamp": "2026-11-22T12:00:00.000+01:00",
            "latency_ms": 1.0,
            "metadata": {"b": {"c": 2}, "a": 1.0},
            "unknown": True,
            "stream": "x",
        }
        assert same_content(json.dumps(one), json.dumps(other, indent=1))

    def test_absent_is_empty(self) -> None:
        absent = event(latency_ms=..., metadata=...)
        assert same_content(json.dumps(absent), json.dumps(absent | {"latency_ms": None, "metadata": {}}))

    @pytest.mark.parametrize(
        "change",
        [
            {"resource": "service/other"},
            {"latency_ms": 12.6},
            {"latency_ms": None},
            {"metadata": {"attempt": True}},
            {"metadata": {"attempt": "1"}},
            {"metadata": {}},
            {"timestamp": "2026-11-22T11:00:00.123457Z"},
            {"timestamp": "2026-11-22T11:00:00.1234561Z"},
        ],
        ids=str,
    )
    def test_content_matters(self, change: dict[str, Any]) -> None:
        one = event()
        assert not same_content(json.dumps(one), json.dumps(one | change))

    def test_numbers_beyond_every_range(self) -> None:
        one = json.dumps(event()).replace("12.5", "1e99999999999999999999")
        assert not same_content(one, json.dumps(event()))
        assert same_content(one, one.replace('{"', '{ "'))


class TestSortingOut:
    @staticmethod
    def row(number: int, **members: Any) -> Row:
        identity = f"00000000-0000-4000-8000-{number:012x}"
        return decode_one(encode(event(event_id=identity, **members)), 0, LIMITS)

    def test_separates_new_known_and_conflicting(self) -> None:
        known = self.row(1)
        batches = [
            [self.row(1), self.row(2)],
            [self.row(3), self.row(2, resource="other")],
            [self.row(3), self.row(3), self.row(4)],
            [self.row(5), self.row(5, resource="other")],
        ]
        done = sort_out(batches, {known.event_id: known.body})
        assert done.outcomes == [Stored(1, 1), Conflicting((1,)), Stored(2, 1), Conflicting((1,))]
        assert [row.event_id[-1] for row in done.new] == [2, 3, 4]

    @given(st.lists(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 2)), min_size=1, max_size=4), max_size=6))
    def test_every_batch_is_whole_or_not_there(self, drawn: list[list[tuple[int, int]]]) -> None:
        batches = [[self.row(number, resource=f"r{content}") for number, content in batch] for batch in drawn]
        done = sort_out(batches, {})
        stored = {row.event_id: row for row in done.new}
        assert len(stored) == len(done.new)
        for batch, outcome in zip(batches, done.outcomes, strict=True):
            if isinstance(outcome, Stored):
                assert all(stored[row.event_id].resource == row.resource for row in batch)
                assert outcome.stored + outcome.duplicates == len(batch)
            else:
                assert outcome.indices
        assert sum(outcome.stored for outcome in done.outcomes if isinstance(outcome, Stored)) == len(done.new)


class TestCursor:
    @given(st.integers(-(2**62), 2**62), st.integers(0, 2**62), st.sampled_from(["asc", "desc"]))
    def test_comes_back(self, occurred_at: int, position: int, order: Any) -> None:
        place = Place(occurred_at, position)
        assert decode_cursor(encode_cursor(place, order), order) == place

    @given(st.text(max_size=60))
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidCursor):
            decode_cursor(text, "asc")

    def test_belongs_to_its_order(self) -> None:
        with pytest.raises(InvalidCursor, match="order asc"):
            decode_cursor(encode_cursor(Place(1, 1), "asc"), "desc")


class TestGaps:
    def test_nothing_missing(self) -> None:
        gaps = stream_gaps(StreamSummary("s", 0, 1, 5, 5), [], [], [])
        assert (gaps.missing, gaps.missing_count) == ((), 0)

    def test_start_and_middle(self) -> None:
        gaps = stream_gaps(StreamSummary("s", 0, 3, 9, 5), [(5, 6)], [], [])
        assert (gaps.missing, gaps.missing_count) == (((1, 2), (5, 6)), 4)

    def test_what_retention_deleted_is_not_missing(self) -> None:
        assert stream_gaps(StreamSummary("s", 4, 6, 9, 3), [(8, 8)], [], []).missing == ((5, 5), (8, 8))
        assert stream_gaps(StreamSummary("s", 9, None, 7, 0), [], [], []).missing_count == 0


class TestRendering:
    @staticmethod
    def stored(**members: Any) -> StoredEvent:
        row = decode_one(encode(line("s", 2, **members)), 0, LIMITS)
        return StoredEvent(Place(row.occurred_at, 1), 1_795_345_200_000_001, row.body)

    def test_json_shows_when_it_was_received(self) -> None:
        shown = json.loads(render.event_json(self.stored()))
        assert shown["received_at"] == "2026-11-22T11:00:00.000001Z"
        assert (shown["stream"], shown["seq"]) == ("s", 2)

    def test_csv_keeps_every_digit_and_defuses_formulas(self) -> None:
        made = self.stored(
            resource='=HYPERLINK("x")', latency_ms=None, metadata={"n": 12345678901234567890, "t": "a,b\nc"}
        )
        cells = render.csv_rows([made]).decode()
        assert '"\'=HYPERLINK(""x"")"' in cells
        assert "12345678901234567890" in cells
        assert cells.count("\n") == 1


class TestLocation:
    def test_hides_the_password(self) -> None:
        location = parse_location("postgresql+psycopg://me:hunter2@db.internal:5433/audit?sslmode=require")
        assert str(location) == "PostgreSQL database audit at db.internal:5433"
        assert "hunter2" not in repr(location)

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql:///audit?host=db&port=6000", "audit at db:6000"),
            ("postgresql:///audit?host=/run/postgresql", "audit at /run/postgresql:5432"),
            ("postgres://db1,db2:6000/audit", "audit at db1:5432, db2:6000"),
            ("postgresql:///audit?host=db1,db2&port=6000", "audit at db1:6000, db2:6000"),
            ("postgresql://[2001:db8::1]/audit", "audit at 2001:db8::1:5432"),
            ("POSTGRESQL://", "(default) at the default host:5432"),
        ],
    )
    def test_shows_where_libpq_will_look(self, url: str, shown: str) -> None:
        assert str(parse_location(url)) == f"PostgreSQL database {shown}"

    def test_leaves_all_but_the_scheme_to_libpq(self) -> None:
        rest = "//u%40x:p%2Bw@db/a%20b?options=-c%20search_path%3Dx&application_name=a+b&passfile=%2Fa#b"
        location = parse_location(f"postgresql+psycopg:{rest}\n")
        assert isinstance(location, PostgresDatabase)
        assert location.conninfo == f"postgresql:{rest}"

    def test_sqlite_forms(self) -> None:
        assert str(parse_location("sqlite:////var/audit.db")) == "SQLite file /var/audit.db"
        assert str(parse_location("sqlite:///audit.db")) == f"SQLite file {Path.cwd() / 'audit.db'}"
        assert str(parse_location("sqlite:////var/a#b%20c.db")) == "SQLite file /var/a#b%20c.db"

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "mysql://x/y",
            "sqlite://",
            "sqlite://host/x",
            "sqlite:///x?mode=ro",
            "postgresql://u:hunter2@h:port/x",
            "postgresql://u:hunter2%zz@h/x",
            "postgresql://u:hunter2@h/x?unknown=1",
            "u:hunter2@h/x?y=http://",
        ],
    )
    def test_refuses_what_it_does_not_know(self, url: str) -> None:
        with pytest.raises(InvalidLocation) as refused:
            parse_location(url)
        assert "hunter2" not in str(refused.value)


def test_lists_a_bounded_number_of_faults() -> None:
    with pytest.raises(InvalidEvents) as refused:
        decode_lines(b"{}\n" * 1000, 0, LIMITS)
    assert len(refused.value.faults) == decode.MAX_REPORTED
