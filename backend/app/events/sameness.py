"""When two events with one id are the same event."""

from __future__ import annotations

import json
import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

CONTENT = (
    "timestamp",
    "agent_instance_id",
    "trace_id",
    "actor",
    "action_type",
    "resource",
    "status",
    "latency_ms",
    "metadata",
)
"""The members that make up an event beside its id. Unknown members and the journal position are not content."""


def same_content(left: str, right: str) -> bool:
    """Return whether two stored events mean the same, whatever their key order, whitespace and way to write numbers."""
    return left == right or _content(left) == _content(right)


def _content(body: str) -> dict[str, Any]:
    event = json.loads(body, parse_int=_number, parse_float=_number)
    content = {name: event.get(name) for name in CONTENT}
    content["timestamp"] = _instant(event["timestamp"])
    content["metadata"] = event.get("metadata", {})
    return content


def _instant(text: str) -> tuple[datetime, str]:
    """Return the instant to the microsecond, and all digits of its fraction."""
    fraction = re.search(r"\.(\d+)", text)
    return datetime.fromisoformat(text), fraction[1].rstrip("0") if fraction else ""


def _number(text: str) -> tuple[str, Decimal | str]:
    """Return a value that equals only other numbers: in Python `1 == True`, in JSON it is not so."""
    try:
        return ("number", Decimal(text))
    except InvalidOperation:
        return ("number", text)
