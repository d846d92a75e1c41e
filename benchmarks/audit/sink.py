# mypy: disable-error-code="import-not-found"
"""The server that every SDK sends to: takes anything over HTTP/1.1, and knows which events were in it.

It is driven by lines on stdin and answers each with one line of JSON on stdout:
    mode ok|503|hang    answer with 200; with 503; read the request and never answer
    reset               forget what was delivered
    count               {"delivered": distinct events in answered requests, "requests": how many}
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from audit.event import MARK

# What some SDKs ask before they send, all in one document: Logfire for the first two, LangSmith for the others.  With
# its flag for zstd LangSmith takes its fastest path.
ABOUT = json.dumps(
    {
        "project_name": "bench",
        "project_url": "http://127.0.0.1/bench",
        "version": "0.13.0",
        "instance_flags": {"zstd_compression_enabled": True},
        "batch_ingest_config": {
            "use_multipart_endpoint": True,
            "scale_up_qsize_trigger": 1000,
            "scale_up_nthreads_limit": 16,
            "scale_down_nempty_trigger": 4,
            "size_limit": 100,
            "size_limit_bytes": 20 * 1024 * 1024,
        },
    }
).encode()


class Sink:
    """The server's state."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.seen: set[bytes] = set()
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while True:
                verb, headers, body = await read_request(reader, writer)
                if self.mode == "hang":
                    await asyncio.sleep(3600)
                self.requests += 1
                answer = ABOUT if verb == "GET" else b"{}"
                if self.mode == "ok":
                    plain = decode(body, headers.get("content-encoding", ""))
                    self.seen.update(MARK.findall(plain))
                    if headers.get("content-type") == "application/x-ndjson":  # ours, which wants its lines counted
                        answer = json.dumps({"received": len(plain.splitlines())}).encode()
                    status = "200 OK"
                else:
                    status = "503 Service Unavailable"
                head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
                writer.write(head.encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the other side is gone, or this one goes
        finally:
            writer.close()

    def command(self, line: str) -> object:
        """Do what a line of stdin says, and return the answer."""
        verb, _, argument = line.strip().partition(" ")
        if verb == "mode":
            self.mode = argument
        elif verb == "reset":
            self.seen.clear()
            self.requests = 0
        return {"delivered": len(self.seen), "requests": self.requests}


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[str, Mapping[str, str], bytes]:
    """Read one request: its verb, its headers with lower-case names, and its body as it came."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return head[0].split()[0], headers, await reader.readexactly(int(headers.get("content-length", 0)))
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        chunk = await reader.readexactly(size + 2)
        if not size:
            return head[0].split()[0], headers, bytes(body)
        body += chunk[:-2]


def decode(body: bytes, encoding: str) -> bytes:
    """Undo a Content-Encoding."""
    match encoding.lower():
        case "" | "identity":
            return body
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case "zstd":
            import zstandard  # noqa: PLC0415  present only where the peers are

            data: bytes = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True).read()
            return data
    raise ValueError(f"no SDK was known to send {encoding}")


async def main() -> None:
    """Serve on a free port of the loopback interface, which is the first line printed, until stdin ends."""
    sink = Sink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=1 << 24)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(sink.command(line)), flush=True)


class SinkProcess:
    """The sink in a process of its own, so that it takes no time from what is measured but the machine's.

    Args:
        python: the interpreter of the peers' environment.
        environment: its environment variables.
        folder: its working directory.
    """

    def __init__(self, python: Path, environment: Mapping[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [python, "-m", "audit.sink"],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._input, self._output = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        self.url = f"http://127.0.0.1:{self._answer()['port']}"

    def _answer(self) -> Any:
        return json.loads(self._output.readline())

    def _ask(self, command: str) -> Any:
        self._input.write(command + "\n")
        self._input.flush()
        return self._answer()

    def prepare(self, mode: str) -> None:
        """Forget what was delivered, and behave so from now on."""
        self.set_mode(mode)
        self._ask("reset")

    def set_mode(self, mode: str) -> None:
        """Behave so from now on: ok, 503 or hang."""
        self._ask(f"mode {mode}")

    @property
    def delivered(self) -> int:
        """How many distinct events came since `prepare`, in requests that were answered with success."""
        return int(self._ask("count")["delivered"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._input.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


if __name__ == "__main__":
    asyncio.run(main())
