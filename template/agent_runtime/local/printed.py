"""What was found of bundles, as one page to print: plain HTML without scripts, addresses or anything to load.

Every text that comes from a bundle was made visible by those who made these rows and lines.
"""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import Any, List, Sequence

from agent_runtime.local import register
from agent_runtime.local.auditor import Finding

_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Bundles checked offline</title>
<style>
body { font: 10pt/1.4 sans-serif; margin: 2cm; max-width: 45em }
table { border-collapse: collapse; width: 100%; margin: 0.5em 0 }
th, td { border: 1px solid #777; padding: 0.2em 0.5em; text-align: left; vertical-align: top; overflow-wrap: anywhere }
th { width: 9em; font-weight: normal }
section { break-after: page }
</style>
</head>
<body>
"""
_PROPERTIES = ("property", "holds", "unchangeable since", "would have to conspire")


def page(findings: Sequence[Finding], now: datetime) -> str:
    """Return the page, with a section for each bundle."""
    bad = sum(1 for finding in findings if finding.problems)
    parts = [
        _HEAD,
        f"<h1>Bundles checked offline</h1>\n<p>{now:%Y-%m-%d %H:%M} UTC: {len(findings)} bundles, of which "
        f"{len(findings) - bad} hold and {bad} don't.</p>\n",
        *(f"<p>Gap: {_text(line)}</p>\n" for line in register.gaps(findings)),
        *map(_section, findings),
        "</body>\n</html>\n",
    ]
    return "".join(parts)


def _section(finding: Finding) -> str:
    row = register.row(finding)
    facts = [[name, row[name]] for name in register.COLUMNS if row[name]]
    facts.append(["policy", finding.policy])
    lines: List[List[Any]] = [
        [
            f"{each['property']}: {each['claim']}",
            "yes" if each["holds"] else "no",
            each["unchangeable_since"],
            "; ".join(each["would_have_to_conspire"]),
        ]
        for each in finding.properties
    ]
    problems = "".join(f"<p><strong>Does not hold:</strong> {_text(one.line())}</p>\n" for one in finding.problems)
    return (
        f"<section>\n<h2>{_text(row['repository'])}, run {_text(row['run'])}</h2>\n{problems}"
        f"<p>{_text(finding.authentic)}</p>\n<p>GitHub's own signature: {_text(finding.github)}</p>\n"
        f"<table>\n{''.join(map(_row, facts))}</table>\n"
        f"<table>\n{_row(_PROPERTIES)}{''.join(map(_row, lines))}</table>\n</section>\n"
    )


def _row(cells: Sequence[Any]) -> str:
    first, *others = map(_text, cells)
    return f"<tr><th>{first}</th>{''.join(f'<td>{cell}</td>' for cell in others)}</tr>\n"


def _text(value: Any) -> str:
    return escape(str(value))
