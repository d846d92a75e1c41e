"""What people read of an update that was made for them: the pull request, and the issue where there can be none.

Whatever came from the machine that made the update, or from the release, is in code spans and blocks.
"""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from agent_runtime.local.update.judge import AFTER, BEFORE, Weaker
from agent_runtime.local.update.patch import MERGED, RELEASED, RENDERED, Touched
from agent_runtime.model import names
from agent_runtime.text.escape import markdown_block, markdown_inline, markdown_table_cell
from agent_runtime.text.markdown import collapsed, page, table

# GitHub takes at most 65,536 characters: so many may each list have, escaped, and so many a text before that.
_MOST_DECISION, _MOST_NOTES, _MOST_DRIFT, _MOST_FILES, _LONGEST = 16_000, 16_000, 6_000, 4_000, 240
_MOST_OPTIONS = 7_000
_BY = {BEFORE: "the runtime here", AFTER: "the release's own check"}
_CODE = re.compile(r"[A-Z]{2,8}[0-9]{2,4}\Z")


@dataclass(frozen=True)
class Release:
    """What the template's clone says of the release.

    Arguments:
        commit: of the template, which the tag names.
        notes: its changelog, from after the installed version.
        remarks: what its examination found, such as that nobody's signature counts.
    """

    current: str
    version: str
    commit: str
    notes: str
    remarks: Sequence[str]

    @property
    def title(self) -> str:
        """What names the update."""
        return f"Update from the template: {self.current} to {self.version}"


def pull_request(
    release: Release,
    weaker: Sequence[Weaker],
    touched: Sequence[Touched],
    report: Mapping[str, Any],
    *,
    digest: str,
    actor: str,
) -> str:
    """The text of the pull request.

    Arguments:
        weaker: what the installed runtime found, on the machine that writes this.
        report: what the machine that made the update reported.
        digest: of the new runtime's manifest.
    """
    of_release = [each for each in reported(report) if each.by == AFTER]
    return page(
        [
            "## The gate",
            _decision(
                [*weaker, *of_release],
                f"{markdown_inline(actor[:_LONGEST])} accepted those below when starting the run; whoever merges "
                "takes them",
            )
            or f"The installed runtime, {markdown_inline(release.current)}, finds nothing that is weaker.",
            *_shared(release, report),
            "## The vendored runtime",
            _runtime(release, touched, digest),
            "## Files",
            f"{len(touched)} change. Read what is rendered or merged; the others are the release's, byte for byte.",
            *(_files(touched, origin) for origin in (RENDERED, MERGED, RELEASED)),
            "No code of the release ran where these files were compared and judged, and where this was opened.",
        ]
    )


def issue(release: Release, report: Mapping[str, Any], *, has_app: bool) -> str:
    """The text of the issue: why there is no pull request, and how to make one."""
    weaker = reported(report)
    # Somebody will paste the commands into a shell.
    named = dict.fromkeys(each.option for each in weaker if _CODE.match(each.code))
    refused = [name for (name,) in _fitting([[name] for name in named], _MOST_OPTIONS)]
    accept = "".join(f" \\\n  --accept {shlex.quote(name)}" for name in refused)
    branch = branch_of(release.version)
    error = report.get("error")
    why = ": ".join(_text(error, name)[:_LONGEST] for name in ("code", "message")) if isinstance(error, dict) else ""
    commands = [
        f"git switch --create {branch}",
        f"python agent_runner.py update --to {release.version}{accept}",
        f"git push --set-upstream origin {branch}",
        "gh pr create --fill",
    ]
    torn = _rows(report, "changes", ("path", "kind"))
    conflicts = [f"- {markdown_inline(each['path'][:_LONGEST])}" for each in torn if each["kind"] == "conflict"]
    if conflicts:
        commands[1] += " --apply    # then resolve the conflicts, git add, make check, git commit"
    started = [f'gh workflow run {names.UPDATE_FILE} -f version={release.version} -f accept="{" ".join(refused)}"']
    by_workflow = [
        "Or accept them by name, and let the workflow open the pull request:",
        markdown_block("\n".join(started)),
    ]
    return page(
        [
            f"The template has a newer release: {markdown_inline(release.version)}.",
            "Nobody has decided about it yet: " + markdown_inline(why)
            if why
            else "A workflow's own token can't push workflow files, and no GitHub App may do it here "
            f"(`{names.UPDATE_APP}` in docs/SETUP_GUIDE.md, Updates as pull requests).",
            "## What to do",
            markdown_block("\n".join(commands)),
            *(by_workflow if has_app and refused and not conflicts else ()),
            "Close this issue if you don't want this release; the next one opens a new one.",
            "## The gate",
            _decision(weaker, "Each needs its `--accept`, from somebody who read it")
            or "The installed runtime finds nothing that is weaker.",
            *(["## Conflicts", _listed(conflicts)] if conflicts else ()),
            *_shared(release, report),
        ]
    )


def branch_of(version: str) -> str:
    """The branch on which a release is proposed."""
    return f"agent-update/{version}"


def reported(report: Mapping[str, Any]) -> List[Weaker]:
    """The differences that the machine which made the update reported."""
    rows = _rows(report, "weaker", ("code", "path", "line", "message", "by", "place"))
    lines = [int(each["line"]) if each["line"].isdecimal() else 1 for each in rows]
    return [
        Weaker(each["code"], each["path"], line, each["message"], each["by"], each["place"])
        for line, each in zip(lines, rows)
    ]


def _decision(weaker: Sequence[Weaker], who: str) -> str:
    """What a person has to decide; empty where there is nothing."""
    found: Dict[Tuple[str, str], Tuple[str, List[str]]] = {}
    for each in weaker:
        place = (each.code, f"{each.path}:{each.line}".lstrip(":"))
        found.setdefault(place, (each.message, []))[1].append(_BY.get(each.by, "?"))
    if not found:
        return ""
    rows = [
        [f"**{markdown_table_cell(code[:_LONGEST])}**"]
        + [markdown_table_cell(text[:_LONGEST]) for text in (where, message, " and ".join(by))]
        for (code, where), (message, by) in found.items()
    ]
    shown = _fitting(rows, _MOST_DECISION)
    count = "1 difference" if len(found) == 1 else f"{len(found)} differences"
    return page(
        [
            f"**{count} to decide about.** {who}.",
            table(("code", "where", "difference", "says"), shown),
            f"{len(rows) - len(shown)} more are not listed." if len(shown) < len(rows) else "",
            "`python -m agent_runtime.local.linter --explain CODE` says what a code starting with CON demands and why.",
        ]
    ).rstrip("\n")


def _shared(release: Release, report: Mapping[str, Any]) -> List[str]:
    text = release.notes
    while len(markdown_block(text)) > _MOST_NOTES:
        text = text[: len(text) // 2]
    if text != release.notes:
        text += "\n… the rest is in the template's CHANGELOG.md"
    drifted = [
        [each[name][:_LONGEST] for name in ("path", "status")] for each in _rows(report, "drift", ("path", "status"))
    ]
    rows = _fitting([list(map(markdown_table_cell, each)) for each in drifted], _MOST_DRIFT)
    return [
        "## Upgrade notes",
        markdown_block(text) if text else f"The template's CHANGELOG.md has no section about {release.version}.",
        "## Drift",
        "Before the update these files were not as the template renders them:"
        if rows
        else "None: before the update every file of the template's was as it renders it.",
        table(("file", "it was"), rows),
    ]


def _runtime(release: Release, touched: Sequence[Touched], digest: str) -> str:
    vendored = [each for each in touched if each.path.startswith(("agent_runtime/", "sdk/"))]
    same = sum(each.origin == RELEASED for each in vendored)
    rows = [
        ["commit of the template", markdown_table_cell(release.commit)],
        ["SHA-256 of its manifest, which plans and bundles name", markdown_table_cell(digest)],
        ["files of `agent_runtime/` and `sdk/`", f"{len(vendored)} change, {same} of them are as in the release"],
        [
            "signature",
            "; ".join(markdown_table_cell(each[:_LONGEST]) for each in release.remarks)
            or "by one of `agent_runtime/allowed_signers`",
        ],
    ]
    return table(("release", markdown_table_cell(release.version)), rows)


def _files(touched: Sequence[Touched], origin: str) -> str:
    found = [each for each in touched if each.origin == origin]
    lines = [f"- {each.kind} {markdown_inline(each.path[:_LONGEST])}" for each in found]
    return collapsed(f"{len(found)} {origin}", _listed(lines)) if found else ""


def _listed(lines: Sequence[str]) -> str:
    shown = [line for (line,) in _fitting([[line] for line in lines], _MOST_FILES)]
    return "\n".join([*shown, *([f"- and {len(lines) - len(shown)} more"] if len(shown) < len(lines) else [])])


def _fitting(rows: Sequence[List[str]], most: int) -> List[List[str]]:
    """The first rows, as long as they have so many characters together."""
    sizes = itertools.accumulate(sum(map(len, row)) for row in rows)
    return [row for row, size in zip(rows, sizes) if size <= most]


def _rows(report: Mapping[str, Any], key: str, columns: Sequence[str]) -> List[Dict[str, str]]:
    """The entries of a list, each column as text, whatever the report has there."""
    found = report.get(key)
    entries = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return [{name: _text(each, name) for name in columns} for each in entries]


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return str(value)[: 10 * _LONGEST] if isinstance(value, (str, int)) else ""
