"""The table, the targets, and what went wrong in which repository, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from update.kills import Killed
from update.trial import OURS, PLAIN, Outcome, Trial

_TOOLS = (PLAIN, OURS)
_RATIO = 1.5
_CONFLICTS = 0.05  # of the repositories


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Arguments:
        target: in words; empty where nothing is aimed at.
        holds: whether our command meets it.
    """

    what: str
    plain: str
    ours: str
    target: str = ""
    holds: bool = True

    def __str__(self) -> str:
        verdict = ("ok" if self.holds else "**MISSED**") if self.target else ""
        return f"| {self.what} | {self.plain} | {self.ours} | {self.target} | {verdict} |"


def render(
    held: Sequence[Trial], killed: Killed | None, when: str, starts: Mapping[str, str], end: str
) -> tuple[str, bool]:
    """Return the report, and whether every target is met."""
    rows = [*(_rows(held) if held else []), *([_killed(killed)] if killed else [])]
    versions = ", ".join(f"{version} ({commit[:12]})" for version, commit in starts.items())
    parts = [
        "## Updates of repositories in which teams have worked",
        f"{when} From {versions} to {end[:12] or 'this working tree'}.",
        "\n".join(
            ["| | `copier update` | `update` | target | |", "| --- | ---: | ---: | ---: | --- |", *map(str, rows)]
        ),
    ]
    if held:
        parts += ["### By kind of edit", _kinds(held)]
    wrong = [*_wrong(held), *(f"- {line}" for line in (killed.wrong if killed else []))]
    parts += ["### What went wrong with `update`", "\n".join(wrong) or "Nothing."]
    return "\n\n".join(parts) + "\n", all(row.holds for row in rows)


def _rows(held: Sequence[Trial]) -> list[Row]:
    def total(count: Callable[[Outcome], int]) -> list[int]:
        return [sum(count(trial.outcomes[tool]) for trial in held) for tool in _TOOLS]

    def two(what: str, count: Callable[[Outcome], int]) -> Row:
        plain, ours = total(count)
        return Row(what, str(plain), str(ours))

    def none(what: str, count: Callable[[Outcome], int]) -> Row:
        plain, ours = total(count)
        return Row(what, str(plain), str(ours), "0", not ours)

    def owned(owner: str) -> Callable[[Outcome], int]:
        return lambda outcome: list(outcome.conflicts.values()).count(owner)

    torn = total(lambda outcome: bool(outcome.conflicts))
    most = round(len(held) * _CONFLICTS)
    seconds = [sum(trial.outcomes[tool].seconds for trial in held) / len(held) for tool in _TOOLS]
    ratio = seconds[1] / seconds[0]
    opened = [trial for trial in held if trial.opened]
    named = sum(bool(trial.outcomes[OURS].refused) for trial in opened)
    others = [trial for trial in held if trial.outcomes[OURS].refused and not trial.opened]
    return [
        Row("repositories", str(len(held)), str(len(held))),
        Row("repositories in conflict", str(torn[0]), str(torn[1]), f"at most {most}", torn[1] <= most),
        none("files of the team's in conflict", owned("team")),
        two("files of both in conflict", owned("both")),
        two("files of the template's in conflict", owned("template")),
        none("conflicts in which no line was changed by both", lambda outcome: len(outcome.apart)),
        none("lost edits", lambda outcome: len(outcome.lost)),
        none("repositories whose gate is weaker, with exit code 0", lambda outcome: bool(outcome.weakened)),
        none("files in silent conflict", lambda outcome: len(outcome.silent)),
        none("files that are not YAML any more", lambda outcome: len(outcome.broken)),
        none("exit code 0 with something left to do", lambda outcome: bool(outcome.left)),
        Row(
            "gates opened by hand that are refused by name",
            f"0 of {len(opened)}",
            f"{named} of {len(opened)}",
            "all",
            named == len(opened),
        ),
        Row("updates refused for another reason", "0", str(len(others)), "0", not others),
        Row(
            "seconds for each repository",
            f"{seconds[0]:.1f}",
            f"{seconds[1]:.1f}",
            f"at most {_RATIO} times as many",
            ratio <= _RATIO,
        ),
    ]


def _killed(killed: Killed) -> Row:
    counts = f"{len(killed.wrong)} of {killed.times} ({killed.updated} updated)"
    return Row("killed updates that left something half done", "", counts, "0", not killed.wrong)


def _kinds(held: Sequence[Trial]) -> str:
    """For each kind of edit: in how many of its repositories the edited file is in conflict."""
    all_of: Counter[str] = Counter()
    torn: dict[str, Counter[str]] = {tool: Counter() for tool in _TOOLS}
    for trial in held:
        for what, path in set(trial.edits):
            all_of[what] += 1
            for tool in _TOOLS:
                torn[tool][what] += path in trial.outcomes[tool].conflicts
    lines = ["| edit | files | in conflict: `copier update` | `update` |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {what} | {all_of[what]} | {torn[PLAIN][what]} | {torn[OURS][what]} |" for what in sorted(all_of)]
    return "\n".join(lines)


def _wrong(held: Sequence[Trial]) -> list[str]:
    found = []
    for trial in held:
        outcome = trial.outcomes[OURS]
        named = {
            "conflict": [name + (", no line in common" if name in outcome.apart else "") for name in outcome.conflicts],
            "lost": outcome.lost,
            "weaker": outcome.weakened,
            "silent": outcome.silent,
            "not YAML": outcome.broken,
            "left to do": [each for each in outcome.left if each not in outcome.conflicts],
            "refused": [] if trial.opened else outcome.refused,
        }
        said = [f"{what}: {'; '.join(each)}" for what, each in named.items() if each]
        if not said and outcome.code and not trial.opened:
            said = [outcome.said]
        edits = ", ".join(sorted({what for what, _ in trial.edits}))
        found += [f"- {trial.number} ({trial.origin}): {'. '.join(said)}. Edits: {edits}"] if said else []
    return found
