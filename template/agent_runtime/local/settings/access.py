"""What setup, doctor and report share on a person's machine: the token, and the name of the repository."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import Iterator, Mapping

from agent_runtime import codes
from agent_runtime.github.context import check_server
from agent_runtime.github.transport import DEFAULT_API_URL, NotAnswered, Transport
from agent_runtime.local.codes import GITHUB_SILENT, TOKEN_UNUSABLE

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")


def transport(environ: Mapping[str, str]) -> Transport:
    """Return a connection with the token of the environment.

    Raises:
        BadInput: there is no token (SET001), or the address is of GitHub Enterprise Server (RUN007).
    """
    address = environ.get("GITHUB_API_URL") or DEFAULT_API_URL
    check_server(address)
    return Transport(address, token(environ))


def token(environ: Mapping[str, str]) -> str:
    """Return the token of GH_TOKEN or GITHUB_TOKEN, in gh's order.

    Raises:
        BadInput: there is none (SET001).
    """
    found = environ.get("GH_TOKEN") or environ.get("GITHUB_TOKEN")
    if not found:
        raise codes.BadInput(TOKEN_UNUSABLE, "neither GH_TOKEN nor GITHUB_TOKEN is set")
    if not found.isascii() or not found.isprintable() or " " in found:
        raise codes.BadInput(
            TOKEN_UNUSABLE,
            "what GH_TOKEN or GITHUB_TOKEN holds contains whitespace or other characters that no token has",
        )
    return found


def repository(name: str) -> str:
    """Return `name` when it has the form owner/name.

    Raises:
        BadInput: it has not (INP006).
    """
    if not _REPOSITORY.fullmatch(name) or name.rpartition("/")[2] in (".", ".."):
        raise codes.BadInput(codes.USAGE, f"not owner/name: {name[:200]!r}")
    return name


@contextmanager
def asking() -> Iterator[None]:
    """Say, in words for a person at a terminal, that GitHub did not answer (SET008)."""
    try:
        yield
    except NotAnswered as problem:
        raise codes.GateRefused(GITHUB_SILENT, problem.message) from None
