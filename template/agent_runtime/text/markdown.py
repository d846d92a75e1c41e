"""The little Markdown that the runtime's pages are made of.

Pages are lists of blocks.  Untrusted text enters a block only through `agent_runtime.text.escape`.
"""

from __future__ import annotations

from typing import Iterable, Sequence


def page(blocks: Iterable[str]) -> str:
    """Join blocks into a page: one empty line between two, a newline at the end; empty blocks vanish."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already; without rows an empty block."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(header)} |", "|" + " --- |" * len(header), *lines])


def collapsed(summary: str, *blocks: str) -> str:
    """Return blocks that GitHub shows only when the reader opens them.

    Arguments:
        summary: the line that is always there, in plain words of the runtime's.
    """
    return page([f"<details><summary>{summary}</summary>", *blocks, "</details>"]).rstrip("\n")


def indent(block: str, columns: int) -> str:
    """Move a block to the right, so that it belongs to the list item above it."""
    return "\n".join(" " * columns + line if line else "" for line in block.split("\n"))
