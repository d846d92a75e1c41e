"""JSON that every parser understands in the same way."""

from __future__ import annotations

import json
import math
from typing import Any, Dict, List, Tuple


def _no_duplicates(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    result: Dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {key[:80]!r} appears twice in one object")
        result[key] = value
    return result


def _no_constants(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:80]} is larger than any number of JSON's readers")
    return number


def strict_json(data: bytes) -> Any:
    """Parse UTF-8 JSON, refusing duplicate keys, NaN and infinite numbers, which parsers understand differently.

    Raises:
        ValueError: the text is not such JSON; the message says where.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constants,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
