"""Reading a request's body, within limits."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.problems import Problem, too_large

JSON = "application/json"
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines")

_GZIP = 16 + zlib.MAX_WBITS


def media_type(request: Request, allowed: tuple[str, ...]) -> str:
    """Return which of the media types `allowed` the body has.

    A type must be given: what has one of these can't be sent by a web page of another origin without being asked about.

    Raises:
        Problem: it has none of them.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in allowed:
        raise Problem(
            415,
            "unsupported-media-type",
            "Unsupported media type",
            f"the body's Content-Type must be one of: {', '.join(allowed)}",
            headers={"Accept-Post": ", ".join(allowed)},
        )
    return given


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Return the body, decompressed.

    Args:
        limit: most bytes, after decompression.
        seconds: how long the client may take to send it.

    Raises:
        Problem: it is too large, too slow, or not compressed as its headers say.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        detail = "the body's Content-Encoding must be gzip or absent"
        raise Problem(415, "unsupported-encoding", "Unsupported encoding", detail, headers={"Accept-Encoding": "gzip"})
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    read = _plain if encoding == "identity" else _gunzip
    try:
        if _arrived(request):
            if read is _plain:
                return await _whole(request, limit)
            return await read(request.stream(), limit)
        async with asyncio.timeout(seconds):
            return await read(request.stream(), limit)
    except TimeoutError:
        detail = f"the body did not arrive within {seconds:g} seconds"
        raise Problem(408, "request-timeout", "Request timeout", detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "incomplete-body", "Incomplete body", "the connection ended before the body") from None


def _arrived(request: Request) -> bool:
    """Return whether the whole body is here, so that nobody has to look at the clock; uvicorn knows."""
    return getattr(getattr(request.receive, "__self__", None), "more_body", True) is False


async def _whole(request: Request, limit: int) -> bytes:
    """Return the body of a request that is here as a whole, in one piece."""
    message = await request.receive()
    if message["type"] != "http.request":
        raise ClientDisconnect
    body: bytes = message["body"]
    if len(body) > limit:
        raise _too_large(limit)
    return body


async def _plain(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _gunzip(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """Decompress as it arrives, so that a small body that swells never takes more than `limit` of memory."""
    parts: list[bytes] = []
    room = limit
    stream = zlib.decompressobj(_GZIP)
    started = False
    async for chunk in chunks:
        data = chunk
        while data:
            if stream.eof:  # a gzip file may have several members, one after the other
                stream = zlib.decompressobj(_GZIP)
            started = True
            try:
                part = stream.decompress(data, room + 1)
            except zlib.error:
                raise _not_gzip("is not gzip") from None
            room -= len(part)
            if room < 0:
                raise _too_large(limit)
            parts.append(part)
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
    if started and not stream.eof:
        raise _not_gzip("is gzip that ends too early")
    return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return too_large(f"the body has more than {limit} bytes, counted after decompression; nothing was stored")


def _not_gzip(detail: str) -> Problem:
    return Problem(400, "invalid-encoding", "Invalid encoding", f"the body {detail}; nothing was stored")
