"""What people and triggers give: resource, trace id, context, trigger.  Checked once, here, before anything uses it."""

from __future__ import annotations

import re
from typing import Any, Dict, Optional

from agent_runtime import codes
from agent_runtime.documents import strict_json

MAX_CONTEXT_BYTES = 64 * 1024
TRIGGERS = ("manual", "alert", "schedule")

# ASCII only: what a reviewer reads in a job's name must not look like something else (homoglyphs, bidi controls).
_RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=,~%#-]{0,255}")
_TRACE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")
_ACTION = re.compile(r"[a-z][a-z0-9_.:-]{0,63}")


def _shown(text: str) -> str:
    """A value as it may appear in a message: ASCII, escaped, short."""
    shown = ascii(text)
    return shown if len(shown) <= 80 else shown[:77] + "...'"


def resource(text: Optional[str]) -> str:
    """Return the resource if it is a plain identifier.

    Raises:
        BadInput: it is missing (INP004) or has characters that an identifier has not (INP001).
    """
    if not text:
        raise codes.BadInput(codes.RESOURCE_MISSING, "no resource was named")
    if not _RESOURCE.fullmatch(text):
        raise codes.BadInput(codes.RESOURCE_INVALID, "the resource {} is not a plain identifier".format(_shown(text)))
    return text


def trace_id(text: Optional[str], default: str) -> str:
    """Return the trace id, or `default` when none was given.

    Raises:
        BadInput: it is not a plain identifier (INP002).
    """
    if not text:
        return default
    if not _TRACE_ID.fullmatch(text):
        raise codes.BadInput(codes.TRACE_ID_INVALID, "the trace id {} is not a plain identifier".format(_shown(text)))
    return text


def action(text: str) -> str:
    """Return an action type that an agent proposed if it is a plain identifier.

    Raises:
        BadInput: it is not (INP009).
    """
    if not isinstance(text, str) or not _ACTION.fullmatch(text):
        raise codes.BadInput(
            codes.RESULT_INVALID,
            "the proposed action {} is not of lower-case letters, digits and _ . : -".format(_shown(str(text))),
        )
    return text


def context(text: Optional[str]) -> Dict[str, Any]:
    """Return the action context, an empty object when none was given.

    Raises:
        BadInput: it is no JSON object, has duplicate keys, or is larger than 64 KiB (INP003).
    """
    if not text or not text.strip():
        return {}
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > MAX_CONTEXT_BYTES:
        raise codes.BadInput(
            codes.CONTEXT_INVALID, "the context has {} bytes; {} are allowed".format(len(data), MAX_CONTEXT_BYTES)
        )
    try:
        value = strict_json(data)
    except ValueError as problem:
        raise codes.BadInput(codes.CONTEXT_INVALID, "the context is not JSON: {}".format(problem)) from None
    if not isinstance(value, dict):
        raise codes.BadInput(
            codes.CONTEXT_INVALID, "the context is a JSON {}, not an object".format(type(value).__name__)
        )
    return value


def trigger(text: Optional[str]) -> str:
    """Return the trigger source, `manual` when none was given.

    Raises:
        BadInput: it is not one of manual, alert, schedule (INP008).
    """
    if not text:
        return "manual"
    if text not in TRIGGERS:
        raise codes.BadInput(codes.TRIGGER_INVALID, "the trigger source {} is not known".format(_shown(text)))
    return text
