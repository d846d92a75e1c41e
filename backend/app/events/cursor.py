"""Where to continue in a list: an opaque text that holds the place of the last event shown."""

from __future__ import annotations

import base64
import binascii
import struct

from app.store.queries import Order, Place

_FORM = struct.Struct(">BBqq")
_VERSION = 1
_ORDERS: tuple[Order, ...] = ("asc", "desc")


class InvalidCursor(ValueError):
    """The text is not a cursor, or belongs to a list in the other order."""


def encode_cursor(place: Place, order: Order) -> str:
    """Return the cursor for continuing after `place`."""
    packed = _FORM.pack(_VERSION, _ORDERS.index(order), *place)
    return base64.urlsafe_b64encode(packed).decode()


def decode_cursor(cursor: str, order: Order) -> Place:
    """Return the place that a cursor of a list in this order holds.

    Raises:
        InvalidCursor: it holds none.
    """
    try:
        version, direction, occurred_at, position = _FORM.unpack(
            base64.b64decode(cursor, altchars=b"-_", validate=True)
        )
    except (binascii.Error, struct.error, ValueError):
        raise InvalidCursor("is not a cursor that this backend gave out") from None
    if version != _VERSION or direction >= len(_ORDERS):
        raise InvalidCursor("is not a cursor that this backend gave out")
    if _ORDERS[direction] != order:
        raise InvalidCursor(f"belongs to a list in the order {_ORDERS[direction]}")
    return Place(occurred_at, position)
