"""Results as Markdown: tables, targets with a verdict each, and the cells where somebody else is better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """One line of the targets table.

    Attributes:
        what: what was measured.
        target: what it should be.
        measured: what it is.
        holds: whether that is good enough.
    """

    what: str
    target: str
    measured: str
    holds: bool


@dataclass
class Section:
    """The results of one part.

    Attributes:
        title: heading.
        method: one paragraph that says what the figures mean.
        tables: Markdown.
        targets: what was aimed at.
        ahead: cells where a peer is better than we are.
    """

    title: str
    method: str
    tables: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)

    def render(self) -> str:
        """Return the section as Markdown."""
        return "\n\n".join([f"### {self.title}", self.method, *self.tables])


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table: the first column to the left, figures to the right."""
    rule = ["---", *["---:"] * (len(headers) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headers, rule, *rows))


def targets_table(targets: Sequence[Target]) -> str:
    """Return the targets with a verdict each."""
    rows = ((each.what, each.target, each.measured, "ok" if each.holds else "**MISSED**") for each in targets)
    return table(("target", "should be", "measured", "verdict"), rows)


def peers_ahead(
    column: str, ours: float, peers: Iterable[tuple[str, float]], unit: str, *, digits: int = 1
) -> list[str]:
    """Return a line for each peer whose figure, where less is better, is below ours."""
    return [
        f"{column}: {name} {value:.{digits}f} {unit}, ours {ours:.{digits}f} {unit}"
        for name, value in peers
        if round(value, digits) < round(ours, digits)
    ]
