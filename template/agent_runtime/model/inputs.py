"""What people and triggers give: resource, trace id, context, trigger.  Checked once, here, before anything uses it."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Optional

from agent_runtime import codes
from agent_runtime.text.strict_json import strict_json

MAX_CONTEXT_BYTES = 64 * 1024
TRIGGERS = ("manual", "alert", "schedule")

# The bounds of specs/alert.schema.json; GitHub takes 10 keys and less than 64 KB.
MAX_ALERT_BYTES = 64 * 1024
MAX_ALERT_KEYS = 10
MAX_ALERT_DEPTH = 4
MAX_MEMBERS = 100
MAX_KEY = 128
MAX_TEXT = 8192
# What every reader of JSON takes for the same number.
MAX_NUMBER = 2**53 - 1

# ASCII only: what a reviewer reads in a job's name must not look like something else (homoglyphs, bidi controls).
_RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=,~%#-]{0,255}")
_TRACE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")
# Of a person: no `[bot]`, and no team.
LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:_[A-Za-z0-9]+)?")
_ACTION = re.compile(r"[a-z][a-z0-9_.:-]{0,63}")
_SEVERITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
# Control characters and halves of surrogate pairs; a text may have tabs and line endings, a key is one line.
_NOT_IN_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_IN_KEY = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _shown(text: str) -> str:
    """A value as it may appear in a message: ASCII, escaped, short."""
    shown = ascii(text)
    return shown if len(shown) <= 80 else shown[:77] + "...'"


def resource(text: Optional[str]) -> str:
    """Return the resource if it is a plain identifier.

    Raises:
        BadInput: it is missing (INP004) or has characters that an identifier does not have (INP001).
    """
    if not text:
        raise codes.BadInput(codes.RESOURCE_MISSING, "no resource was named")
    if not _RESOURCE.fullmatch(text):
        raise codes.BadInput(codes.RESOURCE_INVALID, f"the resource {_shown(text)} is not a plain identifier")
    return text


def trace_id(text: Optional[str], default: str) -> str:
    """Return the trace id, or `default` when none was given.

    Raises:
        BadInput: it is not a plain identifier (INP002).
    """
    if not text:
        return default
    if not _TRACE_ID.fullmatch(text):
        raise codes.BadInput(codes.TRACE_ID_INVALID, f"the trace id {_shown(text)} is not a plain identifier")
    return text


def action(text: str) -> str:
    """Return an action type that an agent proposed if it is a plain identifier.

    Raises:
        BadInput: it is not (INP009).
    """
    if not isinstance(text, str) or not _ACTION.fullmatch(text):
        raise codes.BadInput(
            codes.RESULT_INVALID,
            f"the proposed action {_shown(str(text))} is not of lower-case letters, digits and _ . : -",
        )
    return text


def context(text: Optional[str]) -> Dict[str, Any]:
    """Return the action context, an empty object when none was given.

    Raises:
        BadInput: it is not a JSON object, has duplicate keys, or is larger than 64 KiB (INP003).
    """
    if not text or not text.strip():
        return {}
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > MAX_CONTEXT_BYTES:
        raise codes.BadInput(
            codes.CONTEXT_INVALID, f"the context has {len(data)} bytes; {MAX_CONTEXT_BYTES} are allowed"
        )
    try:
        value = strict_json(data)
    except ValueError as problem:
        raise codes.BadInput(codes.CONTEXT_INVALID, f"the context is not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise codes.BadInput(codes.CONTEXT_INVALID, f"the context is a JSON {type(value).__name__}, not an object")
    return value


def alert(payload: Any) -> Dict[str, Any]:
    """Return an alert's payload if it is as specs/alert.schema.json says.

    Arguments:
        payload: the `client_payload` of the event, parsed.

    Raises:
        BadInput: its resource or trace id is not a plain identifier (INP001, INP002), or something else in it is not as
            the schema says (INP010); the message names the place.
    """
    if not isinstance(payload, dict):
        raise _not_an_alert("client_payload", f"is {_kind(payload)}, not an object")
    if "resource" not in payload:
        raise _not_an_alert("client_payload", "has no resource")
    if len(payload) > MAX_ALERT_KEYS:
        raise _not_an_alert("client_payload", f"has {len(payload)} keys; {MAX_ALERT_KEYS} are allowed")
    for key in ("resource", "alert_severity", "trace_id", "fingerprint"):
        if key in payload and not isinstance(payload[key], str):
            raise _not_an_alert("client_payload." + key, f"is {_kind(payload[key])}, not a text")
    if not _RESOURCE.fullmatch(payload["resource"]):
        raise codes.BadInput(
            codes.RESOURCE_INVALID,
            f"client_payload.resource {_shown(payload['resource'])} is not a plain identifier",
        )
    for key in ("trace_id", "fingerprint"):
        if key in payload and not _TRACE_ID.fullmatch(payload[key]):
            raise codes.BadInput(
                codes.TRACE_ID_INVALID,
                f"client_payload.{key} {_shown(payload[key])} is not a plain identifier",
            )
    if "alert_severity" in payload and not _SEVERITY.fullmatch(payload["alert_severity"]):
        raise _not_an_alert(
            "client_payload.alert_severity",
            f"{_shown(payload['alert_severity'])} is not a word such as critical",
        )
    for key, value in payload.items():
        _check_key(key, "client_payload")
        _check_value(value, "client_payload." + _shown_key(key), 1)
    size = len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    if size > MAX_ALERT_BYTES:
        raise _not_an_alert("client_payload", f"has {size} bytes; {MAX_ALERT_BYTES} are allowed")
    return payload


def _not_an_alert(where: str, what: str) -> codes.BadInput:
    return codes.BadInput(codes.ALERT_INVALID, f"{where} {what}")


def _check_key(key: str, where: str) -> None:
    if not 1 <= len(key) <= MAX_KEY or _NOT_IN_KEY.search(key):
        raise _not_an_alert(where, f"has a key that is empty, too long or not one line: {_shown(key)}")


def _check_value(value: Any, where: str, depth: int) -> None:
    if isinstance(value, (dict, list)):
        if depth > MAX_ALERT_DEPTH:
            raise _not_an_alert(where, f"is nested deeper than {MAX_ALERT_DEPTH} levels")
        if len(value) > MAX_MEMBERS:
            raise _not_an_alert(where, f"has {len(value)} members; {MAX_MEMBERS} are allowed")
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str):
                _check_key(key, where)
            _check_value(member, f"{where}.{_shown_key(str(key))}", depth + 1)
    elif isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise _not_an_alert(where, f"has {len(value)} characters; {MAX_TEXT} are allowed")
        found = _NOT_IN_TEXT.search(value)
        if found:
            raise _not_an_alert(where, f"has the control character U+{ord(found.group()):04X}")
    elif not isinstance(value, bool) and isinstance(value, (int, float)) and not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise _not_an_alert(where, "is a number beyond 2**53-1, which not every reader takes for the same")


def _shown_key(key: str) -> str:
    return _shown(key)[1:-1]


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def trigger(text: Optional[str]) -> str:
    """Return the trigger source, `manual` when none was given.

    Raises:
        BadInput: it is not one of manual, alert, schedule (INP008).
    """
    if not text:
        return "manual"
    if text not in TRIGGERS:
        raise codes.BadInput(codes.TRIGGER_INVALID, f"the trigger source {_shown(text)} is not known")
    return text


def switch(name: str, text: Optional[str]) -> bool:
    """Return whether a switch is on: `true`, or `false` as when it is empty or absent.

    Raises:
        BadInput: it is anything else, because a guess could change production (INP011).
    """
    word = (text or "false").strip().lower()
    if word not in ("true", "false"):
        raise codes.BadInput(codes.SWITCH_INVALID, f"{name} is {_shown(word)}")
    return word == "true"
