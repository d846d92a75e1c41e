"""What is measured: error rates from Prometheus metrics or an application log, and values with their trend.

A `Source` answers three questions: how many requests failed lately (`recent`), how many of those that come from now on
fail (`fresh`), and since when the processes run (`started`).  Requests are counted by a counter with the label `code`,
`status` or `status_code`; codes that start with 5 are errors.  It is a service's own text endpoint or a Prometheus
server.  Times are those of the clock there, not of the runner's.

`read_log()` counts the errors of an application log, `fresh_log()` once it has enough lines.  `number()`, `value()` and
`history()` ask a Prometheus server for any number; `trend()` puts a straight line through the history.  Prometheus
answers NaN where there was nothing to compute from, as for the latency of no requests: `value_or_none()` returns None
for it, and `history()` leaves it out.

What is not understood (a code, a level, a part of an answer) is refused by name, and never counted as nothing.
`token` is always the name of the environment variable with the token to read with, or in lower case that of a system as
`http.token_of()` has it; empty where none is needed.

One module, because a log, a text endpoint and a Prometheus server answer the same questions, and share what counts as
an error and when there is too little to judge from.
"""

from __future__ import annotations

import abc
import math
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from agent_runtime.toolkit import http, waiting
from agent_runtime.toolkit.errors import LOG_UNUSABLE, METRICS_UNUSABLE, NOT_DONE, ToolError

CODE_LABELS = ("code", "status", "status_code", "grpc_code")
MAX_SERIES = 20_000
MAX_LINE = 4096
CODES = ("http", "grpc")
SHOWN_MESSAGES = 3
MAX_AHEAD_SECONDS = 300.0  # the clocks of Prometheus and of services may differ
MAX_WAIT_SECONDS = 900.0  # how long a window may be that is waited for
SAMPLE_SECONDS = 30.0  # for how long requests are counted instead
START_SECONDS = 2.0  # a reported start may lie this much too early: systems count from a boot time in whole seconds
DRIFT_SECONDS = 0.1  # and may drift this much between two reports, although nothing was restarted

# What means an error, and what does not, of each kind.  gRPC: what blames the server, as OpenTelemetry has it.
# Levels: the numbers are those on which bunyan, pino and Python agree.
_KINDS = {
    "http": ("5(?:[0-9]{2}|xx)", "[1-4](?:[0-9]{2}|xx)"),
    "grpc": (
        "unknown|deadline_?exceeded|unimplemented|internal|unavailable|data_?loss|2|4|12|13|14|15",
        "ok|cancell?ed|invalid_?argument|not_?found|already_?exists|permission_?denied|resource_?exhausted"
        "|failed_?precondition|aborted|out_?of_?range|unauthenticated|[01356789]|10|11|16",
    ),
    "level": (
        "error|err|critical|crit|fatal|alert|emergency|emerg|panic|dpanic|severe|50|60",
        "trace|debug|verbose|silly|fine|finer|finest|config|info|information|informational|notice|success|log|http"
        "|warning|warn|10|20|30",
    ),
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(?:[Zz]|([+-]\d\d):?(\d\d))")

Labels = Tuple[Tuple[str, str], ...]


class Sample(NamedTuple):
    """One value of one series."""

    name: str
    labels: Labels
    value: float


class Answer(NamedTuple):
    """What a Prometheus server answers.

    Arguments:
        samples: the values of the series, or the one of a scalar.
        at: what time it was at the server, in seconds since 1970; None without samples.
        notes: what the server says of the query, such as that a metric may be no counter.
    """

    samples: List[Sample]
    at: Optional[float]
    notes: Tuple[str, ...] = ()


class Number(NamedTuple):
    """One number of a Prometheus server; None where it gives NaN.  `at` and `notes` are those of its `Answer`."""

    value: Optional[float]
    at: float
    notes: Tuple[str, ...]


class Started(Dict[str, float]):
    """Start times in seconds since 1970, by instance, and what time it was there (`at`) when they were read."""

    def __init__(self, times: Mapping[str, float], at: float) -> None:
        super().__init__(times)
        self.at = at

    def same(self, other: Mapping[str, float]) -> bool:
        """Whether these are the same processes, although a start time may drift."""
        return self.keys() == other.keys() and all(abs(self[name] - other[name]) <= DRIFT_SECONDS for name in self)


@dataclass(frozen=True)
class Traffic:
    """Requests counted over a time.

    Arguments:
        requests: how many; a Prometheus server extrapolates, so it may be a fraction.
        errors: how many of them failed.
        window_seconds: over how long; None for "since the service started".
        source: where the numbers come from.
        since_restart: when the newest process started, in seconds since 1970, where that cut the time short.
        notes: what a Prometheus server says of the query.
    """

    requests: float
    errors: float
    window_seconds: Optional[float]
    source: str
    since_restart: Optional[float] = None
    notes: Tuple[str, ...] = ()

    @property
    def error_rate(self) -> Optional[float]:
        """Errors per request, 0 to 1, rounded to six places; None without requests."""
        if self.requests <= 0:
            return None
        return round(min(1.0, self.errors / self.requests), 6)

    def evidence(self) -> Dict[str, Any]:
        """The same as JSON values by name, for a finding."""
        return {
            "error_rate": self.error_rate,
            "requests": round(self.requests, 1),
            "errors": round(self.errors, 1),
            "window_seconds": None if self.window_seconds is None else round(self.window_seconds, 1),
            "since_restart": None if self.since_restart is None else shown_time(self.since_restart),
            "source": self.source,
            **({"notes": list(self.notes)} if self.notes else {}),
        }


@dataclass(frozen=True)
class Source(abc.ABC):
    """Where a service's metrics come from.  Whatever asks it raises a ToolError where no answer can be used.

    Arguments:
        url: address of the text endpoint or of the Prometheus server.
        window_seconds: how far back `recent()` looks.
        fresh_seconds: how long `fresh()` counts at least.
        clock: for waiting; tests give another one.
        codes: what the label holds: `http`, codes or classes such as 5xx; `grpc`, names or numbers of gRPC.
        token: as above.
    """

    url: str
    window_seconds: float
    fresh_seconds: float
    clock: waiting.Clock = waiting.SYSTEM
    codes: str = "http"
    token: str = ""

    @abc.abstractmethod
    def recent(self) -> Traffic:
        """Requests of the last `window_seconds`, or since the newest process started when that is later.

        What processes from before a restart did says nothing about those that run: counted on, it would ask for one
        restart after the other until the window holds nothing of it any more.
        """

    @abc.abstractmethod
    def started(self) -> Started:
        """When each process started, by instance."""

    def restarted_since(self, before: Mapping[str, float]) -> Started:
        """Return what `started()` says now, once every process started after `before` was read.

        Another start time is not enough: of several processes behind one address, now this one answers and now that
        one.  As many processes must be there as before.

        Arguments:
            before: what `started()` said before the restart.

        Raises:
            ToolError: what is missing yet (TOOL13).
        """
        now = self.started()
        earliest = before.at - START_SECONDS if isinstance(before, Started) else max(before.values(), default=0.0)
        still = sorted(
            name
            for name, time in now.items()
            if time < earliest or abs(time - before.get(name, -math.inf)) <= DRIFT_SECONDS
        )
        missing = [f"still the process from before: {_names(still)}"] if still else []
        if len(now) < len(before):
            gone = sorted(before.keys() - now.keys())
            missing.append(f"{len(now)} of {len(before)} instances are there, without {_names(gone)}")
        if missing:
            raise ToolError(NOT_DONE, "; ".join(missing))
        return now

    @abc.abstractmethod
    def _count_from_now(self) -> Callable[[], Traffic]:
        """Return a function that counts the requests made since this call."""

    def fresh(self, *, at_least: float, wait_seconds: float) -> Traffic:
        """Requests made from now on: waits `fresh_seconds`, then until `at_least` requests were made.

        Arguments:
            at_least: how many requests are enough to judge by.
            wait_seconds: how long to wait for them beyond `fresh_seconds`; then fewer are returned.
        """
        count = self._count_from_now()
        self.clock.sleep(self.fresh_seconds)

        def enough() -> Optional[Traffic]:
            traffic = count()
            return traffic if traffic.requests >= at_least else None

        return waiting.until(enough, seconds=wait_seconds, clock=self.clock) or count()


@dataclass(frozen=True)
class TextEndpoint(Source):
    """A service's own endpoint in the Prometheus text format, usually `/metrics`.

    It has totals, and no history.  `recent()` reads them twice, `window_seconds` apart, up to a quarter of an hour.  Of
    a longer window the totals are the answer where the process started within it; where it is older, the next 30
    seconds stand for it, and the traffic says so.  A window of 0 counts since the start.  The endpoint belongs to one
    process: after a restart between two readings, what the new one counted is what counts.

    Arguments:
        counter: name of the counter of requests.
        started_metric: name of the metric with the start time.
    """

    counter: str = "http_requests_total"
    started_metric: str = "process_start_time_seconds"

    def recent(self) -> Traffic:
        if not self.window_seconds:
            requests, errors = count_requests(self._samples(self._get(), self.counter), self.url, self.codes)
            return Traffic(requests, errors, None, self.url)
        seconds = self.window_seconds
        if seconds > MAX_WAIT_SECONDS:
            response = self._get()
            started = self._started(response)
            newest = max(started.values())
            if SAMPLE_SECONDS <= started.at - newest <= seconds:
                requests, errors = count_requests(self._samples(response, self.counter), self.url, self.codes)
                return Traffic(requests, errors, started.at - newest, self.url, newest)
            seconds = SAMPLE_SECONDS
        count = self._count_from_now()
        self.clock.sleep(seconds)
        return count()

    def started(self) -> Started:
        return self._started(self._get())

    def _count_from_now(self) -> Callable[[], Traffic]:
        response, begin = self._get(), self.clock.now()
        first, started = self._samples(response, self.counter), self._started(response)

        def count() -> Traffic:
            response, seconds, newest = self._get(), self.clock.now() - begin, None
            samples, now = self._samples(response, self.counter), self._started(response)
            if now.same(started):
                samples = increase_between(first, samples)
            elif min(now.values()) < started.at - START_SECONDS:
                one, other = shown_time(min(started.values())), shown_time(min(now.values()))
                why = f"several processes answer in turns, one that started at {one} and one at {other}"
                raise _unusable(self.url, why + ": name an address of one")
            else:
                newest = max(now.values())
                seconds = max(0.0, now.at - newest)
            requests, errors = count_requests(samples, self.url, self.codes)
            return Traffic(requests, errors, seconds, self.url, newest)

        return count

    def _get(self) -> http.Response:
        return http.get(self.url, token=http.token_of(self.token)).granted(METRICS_UNUSABLE)

    def _started(self, response: http.Response) -> Started:
        times = start_times(self._samples(response, self.started_metric), self.url)
        return Started(times, self.clock.wall() if response.date is None else response.date)

    def _samples(self, response: http.Response, name: str) -> List[Sample]:
        samples = parse_exposition(response.text(), name, self.url)
        if not samples:
            raise _unusable(self.url, f"has no metric {name}")
        return samples


@dataclass(frozen=True)
class PrometheusServer(Source):
    """A Prometheus server, asked through its HTTP API.

    Arguments:
        requests: PromQL that counts requests by code over `$window`, for example
            `sum by (code) (increase(http_requests_total{job="checkout"}[$window]))`.  For `fresh()` the scrape interval
            must be at most a third of `fresh_seconds`.
        started_query: PromQL with the start time of each process, for example
            `process_start_time_seconds{job="checkout"}`.
    """

    requests: str = ""
    started_query: str = ""

    def recent(self) -> Traffic:
        started = self.started()
        newest = max(started.values())
        age = started.at - newest
        if age < -MAX_AHEAD_SECONDS:
            why = f"a process started {-age:.0f} s after now: start times are seconds since 1970"
            raise _unusable(self.url, why)
        # Over less than `fresh_seconds` the server may have too few scrapes to show an increase.
        enough = min(self.fresh_seconds, self.window_seconds)
        if age < enough:
            self.clock.sleep(enough - max(0.0, age))
            age = enough
        if age >= self.window_seconds:
            return self._count(self.window_seconds)
        window = max(1, math.floor(age))
        answer = _query(self.url, self._requests_over(window), self.token)
        if not answer.samples:
            # Many programs export a counter from its first request on: no data since a restart means no request.  Where
            # there is none over the whole time either, it is a mistake in the query, and an error.
            self._count(self.window_seconds)
        return self._traffic(answer, window, newest)

    def started(self) -> Started:
        answer = _ask(self.url, self.started_query, self.token)
        return Started(start_times(answer.samples, self.url), answer.at or 0.0)

    def _count_from_now(self) -> Callable[[], Traffic]:
        begin = self.clock.now()
        return lambda: self._count(math.floor(self.clock.now() - begin))

    def _count(self, window_seconds: float) -> Traffic:
        window = max(1, round(window_seconds))
        return self._traffic(_ask(self.url, self._requests_over(window), self.token), window)

    def _traffic(self, answer: Answer, window: float, newest: Optional[float] = None) -> Traffic:
        requests, errors = count_requests(answer.samples, self.url, self.codes)
        return Traffic(requests, errors, window, self.url, newest, answer.notes)

    def _requests_over(self, seconds: int) -> str:
        return self.requests.replace("$window", f"{seconds}s")


@dataclass(frozen=True)
class LogLines:
    """Lines of an application log, counted over a time.

    Arguments:
        lines: how many.
        errors: how many of them are errors.
        since: from when on, in seconds since 1970.
        messages: of the newest errors, each once, newest first.
    """

    lines: int
    errors: int
    since: float
    source: str
    messages: Tuple[str, ...] = ()

    @property
    def error_rate(self) -> Optional[float]:
        """Errors per line, 0 to 1, rounded to six places; None without lines."""
        return round(self.errors / self.lines, 6) if self.lines else None

    def evidence(self) -> Dict[str, Any]:
        """The same as JSON values by name, for a finding."""
        return {
            "error_rate": self.error_rate,
            "lines": self.lines,
            "errors": self.errors,
            "since": shown_time(self.since),
            "messages": list(self.messages),
            "source": self.source,
        }


@dataclass(frozen=True)
class Trend:
    """A straight line through a history by least squares: the simplest forecast there is, with its error.

    Arguments:
        per_hour: how much the value grows in an hour, as the line has it.
        now: value of the line at the time that the trend was asked for.
        error: residual standard error, in the unit of the value: how far the points lie from the line.
        points: how many there are.
    """

    per_hour: float
    now: float
    error: float
    points: int

    def after(self, hours: float) -> float:
        """The value that the line reaches `hours` after the time of `now`."""
        return self.now + self.per_hour * hours


def trend(history: Sequence[Tuple[float, float]], *, at: Optional[float] = None) -> Optional[Trend]:
    """Put a line through (time in seconds, value) by ordinary least squares; None where that can't be done.

    It takes three points, not all of one time, and numbers that can be squared.  The residual standard error divides by
    n - 2, the degrees of freedom that are left.

    Arguments:
        at: the time of `Trend.now`, in seconds since 1970; left out, that of the newest point.
    """
    try:
        found = _line(history, at)
    except OverflowError:
        return None
    return found if found and all(map(math.isfinite, (found.per_hour, found.now, found.error))) else None


def _line(history: Sequence[Tuple[float, float]], at: Optional[float]) -> Optional[Trend]:
    number = len(history)
    middle = sum(time for time, _ in history) / number if number else 0.0
    spread = sum((time - middle) ** 2 for time, _ in history)
    if number < 3 or spread <= 0:
        return None
    mean = sum(value for _, value in history) / number
    slope = sum((time - middle) * (value - mean) for time, value in history) / spread
    residuals = sum((value - mean - slope * (time - middle)) ** 2 for time, value in history)
    when = max(time for time, _ in history) if at is None else at
    return Trend(
        per_hour=round(slope * 3600, 6) + 0.0,  # a line that falls by nothing must not be shown as -0.0
        now=round(mean + slope * (when - middle), 6),
        error=round(math.sqrt(residuals / (number - 2)), 6),
        points=number,
    )


def value(url: str, query: str, *, token: str = "") -> float:
    """Ask a Prometheus server for one number; as `number()`, but NaN is an error too."""
    return number(url, query, token=token, nan=False).value or 0.0


def value_or_none(url: str, query: str, *, token: str = "") -> Optional[float]:
    """Ask a Prometheus server for one number, or None; as `number()`."""
    return number(url, query, token=token).value


def number(url: str, query: str, *, token: str = "", nan: bool = True) -> Number:
    """Ask a Prometheus server for one number, or None where the query gives NaN: there was nothing to compute from.

    A query that gives no series at all is an error: it looks the same as a misspelt name.

    Arguments:
        query: PromQL that gives a scalar or exactly one series.
        nan: whether it may be NaN.

    Raises:
        ToolError: no answer, one that is invalid, more than one series, or an infinite number.
    """
    answer = _ask(url, query, token, nan=True)
    if len(answer.samples) != 1:
        raise _unusable(url, f"{_one_line(query)} gives {len(answer.samples)} series, not one number")
    found = answer.samples[0].value
    if math.isinf(found) or (math.isnan(found) and not nan):
        shown = "NaN" if math.isnan(found) else found
        raise _unusable(url, f"{_one_line(query)} gives {shown}, not one number")
    return Number(None if math.isnan(found) else found, answer.at or 0.0, answer.notes)


def history(
    url: str, query: str, *, until: float, seconds: float, points: int = 60, token: str = ""
) -> List[Tuple[float, float]]:
    """Ask a Prometheus server how one number developed; return (time, value) pairs, oldest first.

    Arguments:
        query: PromQL that gives a scalar or at most one series.
        until: the newest time, in seconds since 1970; `number()` gives the server's time.
        seconds: from the oldest to the newest.
        points: how many to ask for; there are fewer where nothing was measured, or no finite number.

    Raises:
        ToolError: no answer, one that is invalid, or more than one series.
    """
    span = {"start": until - seconds, "end": until, "step": seconds / (points - 1)}
    params = dict({name: f"{moment:.3f}" for name, moment in span.items()}, query=query)
    data, _ = _answer_data(_get(url, "/api/v1/query_range", params, token), _asked(url, query))
    source, result = _asked(url, query), data.get("result")
    if data.get("resultType") != "matrix" or not isinstance(result, list) or len(result) > 1:
        found = len(result) if isinstance(result, list) else "no"
        raise _unusable(url, f"{_one_line(query)} gives {found} series over time, not one")
    if not result:
        return []
    pairs = result[0].get("values") if isinstance(result[0], dict) else None
    if not isinstance(pairs, list):
        raise _unusable(source, "a series of the answer has no values")
    numbers = [_value_of(pair, source, nan=True) for pair in pairs]
    return [(time, value) for time, value in numbers if math.isfinite(value)]


def read_log(url: str, since: float, *, token: str = "") -> LogLines:
    """Count the lines of an application log, and those that report errors, from `since` on.

    The address answers with one JSON object a line: `time` (RFC 3339, or seconds or milliseconds since 1970),
    `level`, and `message` if it likes.  It is asked with `since` (RFC 3339) as a query; what it reports from before is
    not counted.

    Raises:
        ToolError: no answer, or a line that does not have this form, or a level that is not known (TOOL12).
    """
    response = http.get(url, params={"since": shown_time(since)}, token=http.token_of(token)).granted(LOG_UNUSABLE)
    return parse_log(response.text(), since, response.url)


def fresh_log(url: str, since: float, *, at_least: int, wait_seconds: float, token: str = "") -> LogLines:
    """Read an application log as `read_log()` does, once it has enough lines since then.

    Arguments:
        at_least: how many lines are enough to judge by.
        wait_seconds: how long to wait for them.

    Raises:
        ToolError: there are fewer until then (TOOL13), or as for `read_log()`.
    """

    def enough() -> LogLines:
        found = read_log(url, since, token=token)
        if found.lines < at_least:
            raise ToolError(NOT_DONE, f"{found.lines} lines are too few")
        return found

    return waiting.until(enough, seconds=wait_seconds) or enough()


def parse_log(text: str, since: float, source: str) -> LogLines:
    """Count the lines of a log's text; see `read_log()`."""
    from agent_runtime.text.strict_json import strict_json  # noqa: PLC0415  imported when used

    lines = errors = 0
    messages: List[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = strict_json(line.encode())
            when, failed = moment(entry["time"]), _means_error(entry["level"])
        except (ValueError, LookupError, TypeError, OverflowError) as problem:
            why = (
                _one_line(problem) if isinstance(problem, ValueError) else "it is not a JSON object with time and level"
            )
            message = f"{source}: line {number} is invalid: {ascii(why)[1:-1]}"
            raise ToolError(LOG_UNUSABLE, message) from None
        if when < since:
            continue
        lines += 1
        if failed:
            errors += 1
            messages.append(_one_line(entry.get("message", "")))
    newest = tuple(dict.fromkeys(reversed(messages)))
    return LogLines(lines, errors, since, source, newest[:SHOWN_MESSAGES])


def _means_error(level: Any) -> bool:
    """Whether a level does.  Go's slog writes `ERROR+2` for what is two over ERROR."""
    known = _is_error(re.sub(r"[+-][0-9]{1,3}\Z", "", str(level).strip()), "level")
    if known is None:
        raise ValueError(f"the level {ascii(level)[:40]} is unknown")
    return known


def moment(value: Any) -> float:
    """Return the seconds since 1970 of a time as programs write it: RFC 3339, or seconds or milliseconds since 1970.

    Raises:
        ValueError: it is none.
    """
    from datetime import datetime  # noqa: PLC0415  imported when used

    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e14:
        return float(value) if value < 1e11 else value / 1000
    found = _TIME.fullmatch(str(value))
    if not found:
        raise ValueError(f"{ascii(value)[:40]} is not a time with a zone")
    day, clock, fraction, hours, minutes = found.groups()
    whole = datetime.fromisoformat(f"{day}T{clock}{hours or '+00'}:{minutes or '00'}")
    return whole.timestamp() + float("0." + (fraction or "0"))


def shown_time(moment: float) -> str:
    """Return a time in seconds since 1970 as RFC 3339 in whole seconds, for people and as a query."""
    from datetime import datetime, timezone  # noqa: PLC0415  imported when used

    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _get(url: str, path: str, params: Mapping[str, str], token: str) -> http.Response:
    return http.get(http.under(url, path), params=params, token=http.token_of(token))


def _query(url: str, query: str, token: str, *, nan: bool = False) -> Answer:
    return parse_query_answer(_get(url, "/api/v1/query", {"query": query}, token), _asked(url, query), nan=nan)


def _ask(url: str, query: str, token: str, *, nan: bool = False) -> Answer:
    answer = _query(url, query, token, nan=nan)
    if not answer.samples:
        raise _unusable(url, f"has no data for {_one_line(query)}")
    return answer


def _asked(url: str, query: str) -> str:
    """Names server and query in messages: a catalogue has many queries, and one of them is to be fixed."""
    return f"{url}, asked for {_one_line(query)}"


def parse_exposition(text: str, name: str, source: str) -> List[Sample]:
    """Return the samples called `name` of a text in the Prometheus exposition format.  Other lines are not looked at.

    Raises:
        ToolError: the text ends in the middle of a line, or a line of that name is not valid.
    """
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415  imported when used

    if text and not text.endswith(("\n", "\n# EOF")):
        raise _unusable(source, "the text ends in the middle of a line")
    named = re.compile(re.escape(name) + r'(?=[{ \t])|\{\s*"' + re.escape(name) + '"').match
    lines = [line for line in map(str.lstrip, text.split("\n")) if named(line)]
    if len(lines) > MAX_SERIES:
        raise _unusable(source, f"{name} has more than {MAX_SERIES} series")
    samples: Dict[Labels, Sample] = {}
    for line in lines:
        if len(line) > MAX_LINE:
            raise _unusable(source, f"a line of {name} has more than {MAX_LINE} characters")
        try:
            families = list(text_string_to_metric_families(line))
            parsed = [sample for family in families for sample in family.samples]
        except (ValueError, LookupError, TypeError, AttributeError) as problem:
            raise _unusable(source, f"line {line[:80]!a}: {_one_line(problem)}") from None
        for found in parsed:
            sample = Sample(found.name, tuple(sorted(found.labels.items())), _number(found.value, line, source))
            if sample.labels in samples:
                raise _unusable(source, f"series {line[:80]!a} appears twice")
            samples[sample.labels] = sample
    return list(samples.values())


def parse_query_answer(response: http.Response, source: str, *, nan: bool = False) -> Answer:
    """Return what an answer of `/api/v1/query` holds; an instant vector or a scalar.

    Arguments:
        nan: whether NaN may be a value; otherwise it is an error, because no counter and no time is NaN.

    Raises:
        ToolError: the server reports an error or only a part, or the answer does not have the documented form.
    """
    data, notes = _answer_data(response, source)
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        at, value = _value_of(result, source, nan=nan)
        return Answer([Sample("", (), value)], at, notes)
    if kind != "vector":
        raise _unusable(source, f"the query gives a {ascii(str(kind)[:40])[1:-1]}, not a vector or scalar")
    if not isinstance(result, list) or len(result) > MAX_SERIES:
        raise _unusable(source, f"the answer has no list of at most {MAX_SERIES} series")
    found = [_vector_sample(entry, source, nan) for entry in result]
    return Answer([sample for _, sample in found], min((at for at, _ in found), default=None), notes)


def _answer_data(response: http.Response, source: str) -> Tuple[Dict[str, Any], Tuple[str, ...]]:
    """What an answer of Prometheus holds, and what it notes of the query.  A part of the data is as good as none."""
    try:
        answer = response.granted().json()
    except ToolError:
        if response.ok or response.denied:
            raise
        raise _unusable(source, response.said) from None
    if not isinstance(answer, dict) or answer.get("status") not in ("success", "error"):
        raise _unusable(source, "the answer is not one of Prometheus")
    if answer["status"] == "error" or not response.ok:
        why = f"{answer.get('errorType', f'HTTP {response.status}')}: {answer.get('error', '')}"
        raise _unusable(source, f"the server reports {ascii(_one_line(why))[1:-1]}")
    data = answer.get("data")
    if not isinstance(data, dict):
        raise _unusable(source, "the answer has no data")
    parts = answer.get("warnings") or ("isPartial" if answer.get("isPartial") else None)
    if parts:
        first = parts[0] if isinstance(parts, list) else parts
        raise _unusable(source, f"the answer is not whole: {ascii(_one_line(first))[1:-1]}")
    return data, tuple(_one_line(note) for note in list(answer.get("infos") or ())[:SHOWN_MESSAGES])


def count_requests(samples: Iterable[Sample], source: str, codes: str = "http") -> Tuple[float, float]:
    """Return how many requests the samples count, and how many of them failed (HTTP codes that start with 5).

    Arguments:
        codes: `http` or `grpc`; see `Source`.

    Raises:
        ToolError: a sample has no label for the code, one that is not a code, or a value that no counter can have.
    """
    requests = errors = 0.0
    for sample in samples:
        if not 0 <= sample.value < math.inf:
            raise _unusable(source, f"{sample.value} requests can't be")
        labels = dict(sample.labels)
        label = next((label for label in CODE_LABELS if label in labels), None)
        if label is None:
            raise _unusable(source, f"the requests have none of the labels {', '.join(CODE_LABELS)}")
        failed = _is_error(labels[label], codes)
        if failed is None:
            why = f"{label}={labels[label]!a:.80} is not a code of {codes} nor a class such as 5xx"
            raise _unusable(source, why + ": nobody knows whether it failed")
        requests += sample.value
        errors += sample.value if failed else 0.0
    if not requests < math.inf:
        raise _unusable(source, "the counters are too large to add")
    return requests, errors


def _is_error(text: str, kind: str) -> Optional[bool]:
    """Whether a code or level means an error; None where that is unknown."""
    for pattern, error in zip(_KINDS[kind], (True, False)):
        if re.fullmatch(pattern, text, re.I):
            return error
    return None


def increase_between(first: Sequence[Sample], second: Sequence[Sample]) -> List[Sample]:
    """Return by how much each counter grew.  A counter that is smaller than before was reset and counted from 0.

    Series that are gone grew by nothing; series that are new grew from 0.
    """
    before = {sample.labels: sample.value for sample in first}
    grown = []
    for sample in second:
        earlier = before.get(sample.labels, 0.0)
        grown.append(sample._replace(value=sample.value - earlier if sample.value >= earlier else sample.value))
    return grown


def start_times(samples: Iterable[Sample], source: str) -> Dict[str, float]:
    """Return start times by instance: the label `instance` where there is one, else all labels, else `process`.

    Raises:
        ToolError: two samples belong to one instance, or a value is not a time.
    """
    times: Dict[str, float] = {}
    for sample in samples:
        labels = dict(sample.labels)
        joined = ",".join(f"{label}={value}" for label, value in sample.labels)
        instance = labels.get("instance") or joined or "process"
        if instance in times:
            raise _unusable(source, f"two start times for instance {instance!a}")
        if not 0 < sample.value < math.inf:
            raise _unusable(source, f"{sample.value} is not a start time")
        times[instance] = sample.value
    return times


def _vector_sample(entry: Any, source: str, nan: bool) -> Tuple[float, Sample]:
    if not isinstance(entry, dict) or not isinstance(entry.get("metric"), dict):
        raise _unusable(source, "a series of the answer has no labels")
    metric: Mapping[Any, Any] = entry["metric"]
    if not all(isinstance(value, str) for value in metric.values()):
        raise _unusable(source, "a label of the answer is not text")
    labels = tuple(sorted((label, value) for label, value in metric.items() if label != "__name__"))
    at, value = _value_of(entry.get("value"), source, nan=nan)
    return at, Sample(metric.get("__name__", ""), labels, value)


def _value_of(pair: Any, source: str, *, nan: bool = False) -> Tuple[float, float]:
    """Time and value of `[time, "value"]`."""
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], str) or isinstance(pair[0], bool):
        raise _unusable(source, "a value of the answer is not of the form [time, text]")
    at = _number(pair[0], str(pair[0]), source)
    if not math.isfinite(at):
        raise _unusable(source, f"{at} is not a time")
    return at, _number(pair[1], pair[1], source, nan=nan)


def _number(value: Any, shown: str, source: str, *, nan: bool = False) -> float:
    try:
        number = float(value)
    except (ValueError, OverflowError, TypeError):
        raise _unusable(source, f"{shown[:80]!a} holds no number") from None
    if math.isnan(number) and not nan:
        raise _unusable(source, f"{shown[:80]!a} holds NaN")
    return number


def _names(names: Sequence[str]) -> str:
    """The first few names, as a message shows them."""
    return ", ".join(ascii(name)[1:-1][:80] for name in names[:5]) + (", ..." if len(names) > 5 else "")


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__


def _unusable(source: str, why: str) -> ToolError:
    return ToolError(METRICS_UNUSABLE, f"{source}: {why}")
