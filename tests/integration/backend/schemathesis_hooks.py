"""Teaches schemathesis to write events on lines, and bytes that are to be a bundle."""

from __future__ import annotations

import json
from typing import Any

import schemathesis

schemathesis.serializer.alias("application/zip", "application/octet-stream")


@schemathesis.serializer("application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines")
def lines(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """Return a text as it is, and anything else as one line of JSON."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()
