"""How much of its limits a service uses, now and in some hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from agent_runtime.results import Finding, Severity
from agent_runtime.toolkit import metrics
from agent_runtime.toolkit.errors import METRICS_UNUSABLE, ToolError

MAX_SHARE = 2.0  # of a limit: a burst may take more than all of it, but what is twice as much is percent


@dataclass(frozen=True)
class Load:
    """How much of a limit is used, as a share of it: 1 for all of it.

    Arguments:
        name: what is measured, such as `cpu`.
        now: the share that is used now; 0 where `idle`.
        trend: the line through its history; None where there are too few points for one.
        idle: whether nobody uses it, so that there is nothing to measure.
        notes: what a Prometheus server says of the query.
    """

    name: str
    now: float
    trend: Optional[metrics.Trend]
    idle: bool = False
    notes: Tuple[str, ...] = ()

    @property
    def has_no_forecast(self) -> bool:
        """Whether its trend is unknown.  What nobody used in the whole window goes nowhere."""
        return self.trend is None and not self.idle

    def at_most(self, hours: float) -> float:
        """How high it may be in some hours: the forecast and its error; 0 without a line."""
        return 0.0 if self.trend is None else _forecast(self.trend, hours) + self.trend.error

    def finding(self, *, hours: float, high: float) -> Finding:
        """The same for the reviewer, with the error of the forecast.

        Arguments:
            hours: how far the forecast looks.
            high: the share over which the load is something to act upon.
        """
        now = f"{self.name} is at {self.now:.1%} of its limit"
        if self.idle:
            now = f"nobody asks for anything now, so {self.name} can't be measured: it counts as no load"
        ahead = "its history has too few points for a forecast"
        evidence: Dict[str, Any] = {"now": None if self.idle else round(self.now, 4)}
        if self.notes:
            evidence["notes"] = list(self.notes)
        if self.trend is not None:
            forecast = _forecast(self.trend, hours)
            line = f"a straight line through {self.trend.points} points leads to {forecast:.1%} in {hours:g} h"
            ahead = f"{line}, and the points lie {self.trend.error:.1%} from it"
            evidence.update(
                per_hour=self.trend.per_hour,
                forecast=forecast,
                residual_error=self.trend.error,
                points=self.trend.points,
            )
        return Finding(f"{now}; {ahead}", Severity.HIGH if self.now > high else Severity.INFO, evidence)


def _forecast(trend: metrics.Trend, hours: float) -> float:
    """Where the line is in some hours; a load is never negative."""
    return max(0.0, round(trend.after(hours), 4))


def measure(
    name: str,
    server: str,
    query: str,
    *,
    window_seconds: float,
    limit: Optional[float] = None,
    may_be_idle: bool = False,
    token: str = "",
) -> Load:
    """Ask a Prometheus server for one load and its history.

    Arguments:
        query: PromQL that gives one number.
        limit: the number that is all of it; None where the query gives a share already, 0 to 1.
        window_seconds: how far back the trend looks.
        may_be_idle: whether NaN means that nobody uses it, as for a latency without requests; otherwise it is an error.
        token: name of the environment variable with the token to read with.

    Raises:
        ToolError: no answer, or one that is invalid, such as percent instead of a share.
    """
    share = f"({query}) / {limit or 1:g}"
    found = metrics.number(server, share, token=token, nan=may_be_idle)
    history = metrics.history(server, share, until=found.at, seconds=window_seconds, token=token)
    seen = max(found.value or 0.0, *(value for _, value in history), 0.0)
    if limit is None and seen > MAX_SHARE:
        why = f"{server}: {name} gives {seen:g} now or in its history, which is not a share of a limit, 0 to 1"
        raise ToolError(METRICS_UNUSABLE, why + ": divide percent by 100")
    trend = metrics.trend(history, at=found.at)
    return Load(name, found.value or 0.0, trend, found.value is None, found.notes)
