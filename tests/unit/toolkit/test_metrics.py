"""Error rates: what is counted, what is refused, and that no text or JSON makes it crash."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest

from agent_runtime.toolkit import http, metrics
from agent_runtime.toolkit.errors import LOG_UNUSABLE, METRICS_UNUSABLE, NO_ANSWER, NOT_DONE, ToolError
from agent_runtime.toolkit.metrics import Sample, Started, Traffic

NAME = "http_requests_total"


def requests(**by_code: float) -> list[Sample]:
    """Samples of a counter: `requests(c200=5)`."""
    return [Sample(NAME, (("code", code[1:]),), value) for code, value in by_code.items()]


def answer(value: Any, status: int = 200) -> http.Response:
    return http.Response("http://prometheus", status, json.dumps(value).encode())


def vector(*series: tuple[dict[str, Any], Any]) -> dict[str, Any]:
    result = [{"metric": labels, "value": [1795347831.5, value]} for labels, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


# Counting


def test_codes_that_start_with_5_are_errors() -> None:
    assert metrics.count_requests(requests(c200=90, c404=5, c500=3, c503=2), "x") == (100, 5)


@pytest.mark.parametrize("label", metrics.CODE_LABELS)
def test_the_code_may_have_any_of_its_usual_labels(label: str) -> None:
    samples = [Sample(NAME, ((label, "500"), ("path", "/")), 1.0)]
    assert metrics.count_requests(samples, "x") == (1, 1)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([Sample(NAME, (("path", "/"),), 1.0)], "none of the labels"),
        *(
            ([Sample(NAME, (("status", word),), 1.0), *requests(c200=1)], f"status={word!a} is not a code of http")
            for word in ("error", "success", "OK", "Unavailable", "0", "14", "", "HTTP_500", "600", "5x", "50", "5000")
        ),
        ([Sample(NAME, (("code", "OK"), ("status", "500")), 1.0)], "code='OK' is not a code of http"),
        (requests(c200=-1), "can't be"),
        (requests(c200=math.inf), "can't be"),
        (requests(c200=1.7e308, c500=1.7e308), "too large"),
    ],
)
def test_what_is_not_a_count_is_refused(samples: list[Sample], message: str) -> None:
    with pytest.raises(ToolError, match=message):
        metrics.count_requests(samples, "x")


@pytest.mark.parametrize(("code", "errors"), [("5xx", 1), ("2xx", 0), ("4XX", 0), ("5XX", 1), ("101", 0), ("599", 1)])
def test_a_class_of_codes_is_a_code(code: str, errors: int) -> None:
    assert metrics.count_requests([Sample(NAME, (("code", code),), 1.0)], "x") == (1, errors)


# https://grpc.github.io/grpc/core/md_doc_statuscodes.html; whether it blames the server, as OpenTelemetry has it.
GRPC_CODES = {
    "OK": False,
    "CANCELLED": False,
    "UNKNOWN": True,
    "INVALID_ARGUMENT": False,
    "DEADLINE_EXCEEDED": True,
    "NOT_FOUND": False,
    "ALREADY_EXISTS": False,
    "PERMISSION_DENIED": False,
    "RESOURCE_EXHAUSTED": False,
    "FAILED_PRECONDITION": False,
    "ABORTED": False,
    "OUT_OF_RANGE": False,
    "UNIMPLEMENTED": True,
    "INTERNAL": True,
    "UNAVAILABLE": True,
    "DATA_LOSS": True,
    "UNAUTHENTICATED": False,
}


@pytest.mark.parametrize(("number", "name"), list(enumerate(GRPC_CODES)))
def test_the_codes_of_grpc_are_read_by_name_and_by_number(number: int, name: str) -> None:
    camel = "".join(word.capitalize() for word in name.split("_"))  # as Go's library writes it, with one l
    for text in (name, name.lower(), camel, camel.replace("Cancelled", "Canceled"), str(number)):
        sample = Sample(NAME, (("grpc_code", text),), 1.0)
        assert metrics.count_requests([sample], "x", "grpc") == (1, GRPC_CODES[name]), text


@pytest.mark.parametrize("text", ["200", "17", "-1", "01", "", "error"])
def test_what_is_not_a_code_of_grpc_is_refused(text: str) -> None:
    with pytest.raises(ToolError, match="is not a code of grpc"):
        metrics.count_requests([Sample(NAME, (("code", text),), 1.0)], "x", "grpc")


def test_the_rate_is_errors_per_request_and_none_without_requests() -> None:
    assert Traffic(200, 10, 60, "x").error_rate == 0.05
    assert Traffic(3, 1, 60, "x").error_rate == 0.333333
    assert Traffic(0, 0, 60, "x").error_rate is None


@given(st.floats(0, 1e12), st.floats(0, 1))
def test_the_rate_is_between_0_and_1_and_evidence_is_json(number: float, share: float) -> None:
    traffic = Traffic(number, number * share, None, "x")
    assert traffic.error_rate is None or 0 <= traffic.error_rate <= 1
    json.dumps(traffic.evidence(), allow_nan=False)


# Counters over time


def test_a_counter_that_was_reset_counts_from_zero() -> None:
    grown = metrics.increase_between(requests(c200=100, c500=40), requests(c200=7, c500=41))
    assert metrics.count_requests(grown, "x") == (8, 1)


def test_series_come_and_go() -> None:
    grown = metrics.increase_between(requests(c200=100, c404=9), requests(c200=110, c500=2))
    assert metrics.count_requests(grown, "x") == (12, 2)


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=20))
def test_nothing_is_lost_between_readings_and_nothing_is_negative(steps: list[tuple[int, bool]]) -> None:
    value = counted = 0.0
    previous = requests(c200=0)
    for served, restarted in steps:
        value = served if restarted else value + served
        current = requests(c200=value)
        (grown,) = metrics.increase_between(previous, current)
        # A restart between two readings hides what was served before it; never more than that is lost.
        assert grown.value >= 0
        assert grown.value <= served
        if not restarted:
            assert grown.value == served
        counted += grown.value
        previous = current
    assert counted <= sum(served for served, _ in steps)


# The text format


@given(st.dictionaries(st.tuples(st.sampled_from(["200", "404", "500"]), st.text(max_size=20)), st.integers(0, 10**9)))
def test_what_the_official_library_writes_is_read_back(values: dict[tuple[str, str], int]) -> None:
    registry = CollectorRegistry()
    counter = Counter("http_requests", "Requests.", ["code", "path"], registry=registry)
    Counter("http_requests_total_of_another_kind", "Other.", registry=registry).inc(7)
    for (code, path), value in values.items():
        counter.labels(code, path).inc(value)
    found = metrics.parse_exposition(generate_latest(registry).decode(), NAME, "x")
    assert {sample.labels: sample.value for sample in found} == {
        (("code", code), ("path", path)): value for (code, path), value in values.items()
    }


@pytest.mark.parametrize(
    "text",
    [
        'http_requests_total{code="200"} 9\nhttp_requests_total{code="500"} 1\n# EOF',
        ' http_requests_total{code="200"} 9\n\thttp_requests_total{code="500"} 1\n',
        'http_requests_total{code="200"} 9.0 # {trace_id="a"} 1.0 2\nhttp_requests_total{code="500"} 1 1700000000123\n',
        '{"http_requests_total",code="200"} 9\n{ "http_requests_total", code="500" } 1\n',
        'http_requests_total { code = "200" , } 9\r\nhttp_requests_total{ code="500",} 1\r\n',
    ],
    ids=["end of OpenMetrics", "indented", "exemplar", "quoted name", "spaces"],
)
def test_every_form_that_programs_write_is_read(text: str) -> None:
    samples = metrics.parse_exposition(text, NAME, "x")
    assert metrics.count_requests(samples, "x") == (10, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('http_requests_total{code="200"} 12', "in the middle of a line"),
        ('http_requests_total{code="200"} 12\n# EO', "in the middle of a line"),
        ('http_requests_total{code="200"} 12 # EOF', "in the middle of a line"),
        ('http_requests_total{code="200"} NaN\n', "holds NaN"),
        ('http_requests_total{code="200"} twelve\n', "line"),
        ('http_requests_total{code="200} 12\n', "line"),
        ('http_requests_total{code="200"}\n', "line"),
        ('http_requests_total{code="200"} 1\nhttp_requests_total{code="200"} 2\n', "appears twice"),
        ('http_requests_total{code="' + "2" * metrics.MAX_LINE + '"} 1\n', "more than 4096 characters"),
        ("http_requests_total 1\n" * (metrics.MAX_SERIES + 1), "more than 20000 series"),
    ],
)
def test_what_is_not_the_text_format_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message) as caught:
        metrics.parse_exposition(text, NAME, "http://service/metrics")
    assert caught.value.code == METRICS_UNUSABLE
    assert "\n" not in caught.value.line()
    assert len(caught.value.line()) < 700


def test_other_metrics_may_be_whatever_they_are() -> None:
    text = '# nonsense {{{\nother{broken 1\nhttp_requests_total_more{code="500"} 9\nhttp_requests_total{code="200"} 3\n'
    assert metrics.parse_exposition(text, NAME, "x") == requests(c200=3)


words = f"{NAME} __name__ code 200 TYPE counter 1 e9 NaN +Inf".split()
fragments = st.sampled_from([*words, '{code="500"} 4\n', " # ", "\u2028", *'{}=",\\#-_é \t\n\r\x00'])


@given(st.one_of(st.text(), st.lists(fragments, max_size=30).map("".join)))
def test_no_text_makes_the_reader_crash(text: str) -> None:
    for candidate in (text, NAME + text + "\n"):
        try:
            samples = metrics.parse_exposition(candidate, NAME, "x")
            metrics.count_requests(samples, "x")
            metrics.start_times(samples, "x")
        except ToolError as problem:
            assert "\n" not in problem.line()


# Prometheus' HTTP API


def test_a_vector_is_read() -> None:
    value = vector(({"__name__": "up", "code": "200"}, "12.5"), ({"code": "500"}, "0"))
    found = metrics.parse_query_answer(answer(value), "x")
    assert found.samples == [Sample("up", (("code", "200"),), 12.5), Sample("", (("code", "500"),), 0.0)]
    assert (found.at, found.notes) == (1795347831.5, ())


def test_a_scalar_is_read() -> None:
    value = {"status": "success", "data": {"resultType": "scalar", "result": [1, "0.5"]}}
    assert metrics.parse_query_answer(answer(value), "x") == ([Sample("", (), 0.5)], 1.0, ())


def test_an_empty_vector_is_not_a_sample() -> None:
    assert metrics.parse_query_answer(answer(vector()), "x") == ([], None, ())


def test_what_the_server_notes_of_a_query_is_evidence() -> None:
    value = vector(({"code": "200"}, "90"), ({"code": "500"}, "10")) | {"infos": ["PromQL info: no\ncounter"] * 9}
    found = metrics.parse_query_answer(answer(value), "x")
    assert found.notes == ("PromQL info: no counter",) * metrics.SHOWN_MESSAGES
    assert Traffic(1, 0, 60, "x", notes=found.notes).evidence()["notes"] == list(found.notes)
    assert "notes" not in Traffic(1, 0, 60, "x").evidence()


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (answer({"status": "error", "errorType": "bad_data", "error": "parse\nerror"}, 400), "bad_data: parse error"),
        (answer({"status": "error"}), "the server reports"),
        (answer(vector(({"code": "200"}, "NaN"))), "NaN"),
        (answer(vector(({"code": "200"}, "x"))), "no number"),
        (answer(vector(({"code": "200"}, 5))), "not of the form"),
        (answer(vector(({"code": 200}, "5"))), "not text"),
        (answer(vector(({"code": "200"}, "5")) | {"warnings": ["store a: partial"]}), "not whole: store a: partial"),
        (answer(vector(({"code": "200"}, "5")) | {"isPartial": True}), "not whole: isPartial"),
        (answer(vector() | {"warnings": ["store a: partial"]}), "not whole: store a: partial"),
        (answer({"status": "success", "data": {"resultType": "scalar", "result": [True, "1"]}}), "not of the form"),
        (answer({"status": "success", "data": {"resultType": "scalar", "result": ["x", "1"]}}), "no number"),
        (answer({"status": "success", "data": {"resultType": "matrix", "result": []}}), "a matrix, not a vector"),
        (answer({"status": "success", "data": {"resultType": "string", "result": [1, "a"]}}), "a string, not a vector"),
        (answer({"status": "success", "data": {"resultType": "vector", "result": {}}}), "no list"),
        (answer({"status": "success", "data": {"resultType": "vector", "result": [1]}}), "no labels"),
        (answer({"status": "success"}), "no data"),
        (answer([]), "not one of Prometheus"),
        (answer({"status": "success", "data": {}}, 500), "HTTP 500"),
        (http.Response("x", 502, b"<html>Bad Gateway</html>"), "HTTP 502"),
    ],
)
def test_what_is_not_a_usable_answer_is_one_clear_error(response: http.Response, message: str) -> None:
    with pytest.raises(ToolError, match=message) as caught:
        metrics.parse_query_answer(response, "http://prometheus")
    assert caught.value.code == METRICS_UNUSABLE
    assert "\n" not in caught.value.line()


def test_an_answer_that_is_not_json_is_said_so() -> None:
    with pytest.raises(ToolError, match="not JSON") as caught:
        metrics.parse_query_answer(http.Response("http://prometheus", 200, b"<html>"), "x")
    assert caught.value.code == NO_ANSWER


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
pairs = st.one_of(json_values, st.tuples(st.floats(), st.one_of(st.floats().map(str), json_values)))
series = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {}, optional={"metric": st.one_of(json_values, st.dictionaries(st.text(), json_values)), "value": pairs}
    ),
)
prometheus_answers = st.fixed_dictionaries(
    {"status": st.sampled_from(["success", "error", 1])},
    optional={
        "data": st.one_of(
            json_values,
            st.fixed_dictionaries(
                {"resultType": st.sampled_from(["vector", "scalar", "matrix", []])},
                optional={"result": st.one_of(pairs, st.lists(series, max_size=3))},
            ),
        ),
        "errorType": json_values,
        "error": json_values,
        "warnings": json_values,
        "infos": json_values,
        "isPartial": json_values,
    },
)


@given(
    st.one_of(
        prometheus_answers.map(json.dumps).map(str.encode), json_values.map(json.dumps).map(str.encode), st.binary()
    ),
    st.sampled_from([200, 400, 503]),
)
def test_no_answer_makes_the_reader_crash(body: bytes, status: int) -> None:
    try:
        samples = metrics.parse_query_answer(http.Response("x", status, body), "x").samples
        metrics.count_requests(samples, "x")
        metrics.start_times(samples, "x")
    except ToolError as problem:
        assert "\n" not in problem.line()


# Start times


def test_start_times_are_by_instance() -> None:
    one, two = (("instance", "a:1"), ("job", "x")), (("instance", "b:1"), ("job", "x"))
    assert metrics.start_times([Sample("", one, 1.5), Sample("", two, 2.5)], "x") == {"a:1": 1.5, "b:1": 2.5}
    assert metrics.start_times([Sample("", (("pod", "p"), ("zone", "z")), 1.5)], "x") == {"pod=p,zone=z": 1.5}
    assert metrics.start_times([Sample("", (), 1.5)], "x") == {"process": 1.5}


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf])
def test_what_is_not_a_time_is_refused(value: float) -> None:
    with pytest.raises(ToolError, match="not a start time"):
        metrics.start_times([Sample("", (), value)], "x")


def test_two_start_times_of_one_instance_are_refused() -> None:
    labels = (("instance", "a:1"), ("job", "x")), (("instance", "a:1"), ("job", "y"))
    with pytest.raises(ToolError, match="two start times"):
        metrics.start_times([Sample("", one, 1.5) for one in labels], "x")


# Application logs


def entry(time: Any, level: str = "info", **more: Any) -> str:
    return json.dumps({"time": time, "level": level, **more})


def test_errors_are_counted_from_a_moment_on_whatever_form_the_time_has() -> None:
    lines = [
        entry("2026-11-24T01:59:59.999Z", "error", message="from before"),
        entry("2026-11-24T02:00:00Z", "ERROR", message="one"),
        entry("2026-11-24T04:30:00.123456789+02:00", "fatal", message="two\nlines"),
        entry("2026-11-24 02:00:01Z", "warning"),
        entry("2026-11-24t02:00:01,5+0000", "info"),
        entry(1795485599999, "error", message="from before, in milliseconds"),
        entry(1795485600000, "debug"),
        entry(1795485700, "critical", message="one"),
        "",
    ]
    found = metrics.parse_log("\n".join(lines), 1795485600, "x")  # 02:00:00
    assert (found.lines, found.errors, found.error_rate) == (6, 3, 0.5)
    assert found.messages == ("one", "two lines"), "newest first, each once"
    assert found.evidence()["since"] == "2026-11-24T02:00:00Z"
    assert metrics.parse_log("", 0, "x").error_rate is None


@pytest.mark.parametrize(
    ("level", "error"),
    [
        *((level, True) for level in (50, 60, "50", "err", "crit", "emerg", "panic", "severe", "dpanic", "ERROR ")),
        *((level, True) for level in ("Error", "ERROR+2", "Fatal", "alert", "emergency")),
        *((level, False) for level in (10, 20, 30, "INFO+1", "DEBUG-4", "WARN+3", "Warning", "notice", "trace")),
        *((level, None) for level in (3, 40, 17, "", "oops", "terror", "errors", None, True, ["error"], 50.5)),
    ],
)
def test_a_level_is_known_or_refused_by_name(level: Any, error: bool | None) -> None:
    text = json.dumps({"time": 0, "level": level}) + "\n"
    if error is not None:
        assert metrics.parse_log(text, 0, "x").errors == error
        return
    with pytest.raises(ToolError, match="line 1 is invalid: the level") as caught:
        metrics.parse_log(text, 0, "x")
    assert caught.value.code == LOG_UNUSABLE
    assert ascii(level) in caught.value.message


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        ("text", "Expecting value"),
        ("[]", "not a JSON object with time and level"),
        ('"x"', "not a JSON object with time and level"),
        ("{}", "not a JSON object with time and level"),
        ('{"time": "2026-11-24T02:00:00Z"}', "not a JSON object with time and level"),
        ('{"time": 0, "level": "info", "a": 1, "a": 2}', "key 'a' appears twice"),
        (entry("yesterday"), "'yesterday' is not a time with a zone"),
        (entry("2026-13-24T02:00:00Z"), "month must be in 1..12"),
        (entry("2026-11-24T02:00:00"), "is not a time with a zone"),  # it is any time of a day
        (entry(True), "True is not a time with a zone"),
        (entry(None), "None is not a time with a zone"),
        (entry(1795485600000000), "is not a time with a zone"),
        ('{"time": ' + "9" * 400 + ', "level": "info"}', "is not a time with a zone"),
    ],
)
def test_a_line_that_is_not_an_entry_is_one_clear_error(line: str, reported: str) -> None:
    with pytest.raises(ToolError) as caught:
        metrics.parse_log(entry(0) + "\n" + line + "\n", 0, "x")
    assert caught.value.message.startswith("x: line 2 is invalid: ")
    assert reported in caught.value.message
    assert caught.value.code == LOG_UNUSABLE


@given(
    st.text()
    | st.lists(st.dictionaries(st.sampled_from(["time", "level", "message"]), st.none() | st.text())).map(
        lambda found: "\n".join(map(json.dumps, found))
    )
)
def test_no_log_makes_the_reader_crash(text: str) -> None:
    try:
        metrics.parse_log(text, 0, "x")
    except ToolError as problem:
        assert "\n" not in problem.line()


# Restarts


class Fixed(metrics.Source):
    """A source with fixed start times, and counts nothing."""

    def __init__(self, **times: float) -> None:
        super().__init__("x", 0, 0)
        object.__setattr__(self, "times", times)

    def started(self) -> Started:
        return Started(vars(self)["times"], 0.0)

    def recent(self) -> Traffic:
        raise NotImplementedError

    def _count_from_now(self) -> Callable[[], Traffic]:
        raise NotImplementedError


@pytest.mark.parametrize("now", [{"a": 3.0, "b": 4.0}, {"c": 3.0, "d": 3.0}, {"a": 3.0, "b": 3.0, "c": 3.0}])
def test_a_restart_is_complete_when_every_process_is_another_one(now: dict[str, float]) -> None:
    assert Fixed(**now).restarted_since({"a": 1.0, "b": 2.0}) == now


def test_a_restart_is_newer_than_what_was_seen_before() -> None:
    """Of several processes behind one address another one answers, or its start time drifts: nothing was restarted."""
    before = Started({"a": 5000.0}, at=9000.0)
    for unchanged in (1000.0, 4999.99, 5000.0, 5000.01, 8000.0, 8997.9):
        with pytest.raises(ToolError, match="still the process from before: a") as caught:
            Fixed(a=unchanged).restarted_since(before)
        assert caught.value.code == NOT_DONE
    for newer in (8998.1, 9000.0, 9001.0):
        assert Fixed(a=newer).restarted_since(before) == {"a": newer}
    young = Started({"a": 8999.5}, at=9000.0)
    with pytest.raises(ToolError, match="still the process from before: a"):
        Fixed(a=8999.51).restarted_since(young)
    assert Fixed(a=9000.0).restarted_since(young)


@pytest.mark.parametrize(
    ("now", "missing"),
    [
        ({"a": 1.0, "b": 2.0}, "still the process from before: a, b"),
        ({"a": 3.0, "b": 2.0}, "still the process from before: b"),
        ({"a": 3.0}, "1 of 2 instances are there, without b"),
        ({"c": 3.0}, "1 of 2 instances are there, without a, b"),
        ({"b": 2.0}, "still the process from before: b; 1 of 2 instances are there, without a"),
    ],
)
def test_what_is_missing_of_a_restart_is_named(now: dict[str, float], missing: str) -> None:
    with pytest.raises(ToolError) as caught:
        Fixed(**now).restarted_since({"a": 1.0, "b": 2.0})
    assert (caught.value.code, caught.value.message) == (NOT_DONE, missing)
