"""What Prometheus can ask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from app import __version__
from app.store.base import Conflicting, Stored
from app.store.groups import Committed
from app.store.runs import TRAILS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


class Metrics:
    """The counters of one process. It is also the observer to which the writer reports what it does."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        info = Gauge("aimgentix_info", "The version that runs", ["version"], registry=registry)
        info.labels(__version__).set(1)
        self._stored = Counter("aimgentix_events_stored", "New events that became durable", registry=registry)
        self._duplicates = Counter(
            "aimgentix_events_duplicate", "Events that were sent again and were stored already", registry=registry
        )
        self._conflicts = Counter(
            "aimgentix_events_conflicting", "Events refused for carrying another event's id", registry=registry
        )
        self._broken = Counter(
            "aimgentix_broken_links", "Journal lines that don't follow the lines before them", registry=registry
        )
        self._invalid = Counter(
            "aimgentix_bodies_invalid", "Bodies refused as no events", ["status"], registry=registry
        )
        self._commit = Histogram(
            "aimgentix_commit_seconds", "Time from starting to store a group until it is durable",
            registry=registry, buckets=_SECONDS,
        )  # fmt: skip
        self._group = Histogram(
            "aimgentix_commit_events", "Events that one transaction made durable", registry=registry, buckets=_EVENTS
        )
        self._failures = Counter("aimgentix_store_failures", "Groups that could not be stored", registry=registry)
        self._waiting = Gauge("aimgentix_events_waiting", "Events that wait for their commit", registry=registry)
        self._expired = Counter("aimgentix_events_expired", "Events that retention deleted", registry=registry)
        self._requests = Histogram(
            "aimgentix_request_seconds", "Time to answer a request", ["method", "route", "status"],
            registry=registry, buckets=_SECONDS,
        )  # fmt: skip

        self._answers: dict[tuple[str, str, int], Histogram] = {}

    def watch_waiting(self, waiting: Callable[[], int]) -> None:
        """Ask `waiting` for the number of waiting events whenever the metrics are read."""
        self._waiting.set_function(waiting)

    def watch_log(self, halted: Callable[[], bool]) -> None:
        """Ask `halted` for whether the transparency log is halted whenever the metrics are read."""
        gauge = Gauge(
            "aimgentix_log_halted", "1 when the transparency log signs nothing any more", registry=self.registry
        )
        gauge.set_function(halted)

    def watch_archive(self, unavailable: Callable[[], bool]) -> None:
        """Ask `unavailable` for whether bundles can't be kept whenever the metrics are read."""
        gauge = Gauge("aimgentix_archive_unavailable", "1 when bundles can't be kept", registry=self.registry)
        gauge.set_function(unavailable)

    def watch_trails(self, trails: Callable[[], dict[str, int]]) -> None:
        """Ask `trails` for the number of runs by the state of their trail whenever the metrics are read."""
        gauge = Gauge(
            "aimgentix_trails", "Runs whose trail is not intact, by what is wrong", ["state"], registry=self.registry
        )
        for state in TRAILS[1:]:
            gauge.labels(state).set_function(partial(lambda state: trails().get(state, 0), state))

    def committed(self, group: Committed, seconds: float) -> None:
        """Count a group that became durable."""
        outcomes = group.outcomes
        stored = sum(outcome.stored for outcome in outcomes if isinstance(outcome, Stored))
        duplicates = sum(outcome.duplicates for outcome in outcomes if isinstance(outcome, Stored))
        conflicts = sum(len(outcome.indices) for outcome in outcomes if isinstance(outcome, Conflicting))
        self._stored.inc(stored)
        self._duplicates.inc(duplicates)
        self._conflicts.inc(conflicts)
        self._broken.inc(group.broken)
        self._commit.observe(seconds)
        self._group.observe(stored)

    def failed(self, reason: str) -> None:  # noqa: ARG002  the reason is in the log
        """Count a group that could not be stored."""
        self._failures.inc()

    def expired(self, events: int) -> None:
        """Count events that retention deleted."""
        self._expired.inc(events)

    def refused(self, status: int) -> None:
        """Count a body that was refused."""
        self._invalid.labels(str(status)).inc()

    def refusals(self) -> dict[str, int]:
        """Return how many bodies and events were refused since the process started, by why."""
        invalid = sum(sample.value for metric in self._invalid.collect() for sample in metric.samples)
        conflicting = sum(sample.value for metric in self._conflicts.collect() for sample in metric.samples)
        return {"invalid": int(invalid), "conflicting": int(conflicting)}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        answers = self._answers.get((method, route, status))
        if answers is None:
            answers = self._answers[method, route, status] = self._requests.labels(method, route, str(status))
        answers.observe(seconds)

    def render(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)
