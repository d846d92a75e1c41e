"""Options that commands share which decide nothing, and the types of their values."""

from __future__ import annotations

import argparse
import re

_LONGEST_SECONDS = 3600


def add_target(parser: argparse.ArgumentParser) -> None:
    """What an investigation is about."""
    parser.add_argument("--resource", help="what to look at, for example a service's name (TARGET_RESOURCE)")
    parser.add_argument("--context", help="JSON object with details of the trigger (ACTION_CONTEXT)")
    parser.add_argument("--trace-id", help="ties this run to an alert or ticket (TRACE_ID)")
    parser.add_argument("--trigger", help="manual, alert or schedule (TRIGGER_SOURCE)")


def add_repository(parser: argparse.ArgumentParser) -> None:
    """Which repository on GitHub is meant."""
    parser.add_argument("--repo", metavar="OWNER/NAME", help="by default the one of .github/agent-config.yml")


def add_times(parser: argparse.ArgumentParser) -> None:
    """When the runs ended that are meant."""
    parser.add_argument("--since", type=moment, metavar="TIME", help="runs that ended then or later, as 2026-11-01")
    parser.add_argument("--until", type=moment, metavar="TIME", help="runs that ended before this")


def moment(text: str) -> str:
    """The beginning of an RFC 3339 time in UTC: a day, or more."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}(:[0-9]{2}(:[0-9]{2}Z?)?)?)?", text):
        raise argparse.ArgumentTypeError(f"not a time such as 2026-11-01 or 2026-11-01T12:30: {text[:80]!r}")
    return text


def seconds(text: str) -> float:
    """A length of time."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"not a number of seconds from 0 to {_LONGEST_SECONDS}: {text!r}")
    return value
