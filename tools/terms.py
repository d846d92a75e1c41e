"""Find words that this project doesn't use, and name the standard one beside each.

Usage: python tools/terms.py [FOLDER]

It reads every text file that git tracks in the folder, by default this repository, and prints FILE:LINE for each word
that it finds, then how many there are. It exits 1 when there is one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# What to say, and the expression of what it replaces. A name's underscores separate words.
TERMS = {
    "fix, remediation": r"mend(s|ed|ing)?",
    "run context, clone; locally": r"desks?",
    "redact": r"(black(s|ed|ing)?|take(s|n)?|taking|took)\s+out",
    "report, output, set, say, show, know": r"tells?|told|telling",
    "deduplicate; collapse": r"fold(s|ed|ing)?",
    "dry run": r"rehears(e|es|ed|al|als|ing)",
    "evidence that act started": r"signs?\s+of\s+acting",
    "unauthorized commenter; outsider": r"strangers?('s)?",
    "shadows": r"HIDING|hid(es|ing)\s+(an?\s|the\s|its\s)?(module|package|variable)s?",
    "whitespace, spaces": r"blanks|white\s+space",
    "line endings": r"line[\s_-]ends?",
    "expires at": r"counts?\s+until",
    "is not a, has no": r"(?<!there )(?<!there\n)(is|are)\s+no(?!\s+(longer|more|such|better|reason)\b)\s+[a-z{'\"]\S*",
    "invalid": r"(can't|cannot|can\s+not)\s+be\s+used",
    "Deliverer": r"couriers?",
    "KeyVerdict": r"class\s+Word|keys\.Word",
    "has_no_forecast": r"unforeseen",
}

# Files that are not our words: locks, measurements, and the list above.
SKIPPED = ("*.lock", "*/package-lock.json", "benchmarks/audit/results/*", "LICENSE", "tools/terms.py")

# Where such a word is right: file, expression, and why.
ALLOWED = (("tests/support/harness/actions.py", r"cannot be used together", "what actions/download-artifact prints"),)


# Neither side of a word has a letter.
_EXPRESSIONS = {
    standard: re.compile(rf"(?<![A-Za-z])({word})(?![A-Za-z])", re.IGNORECASE) for standard, word in TERMS.items()
}


def main() -> int:
    """Print what was found; return 1 when there is something."""
    found = sorted(check(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY))
    for name, line, word, standard in found:
        print(f"{name}:{line}: {word!r}: say {standard}")
    print(f"{len(found)} words that this project doesn't use")
    return 1 if found else 0


def check(folder: Path) -> Iterator[tuple[str, int, str, str]]:
    """Yield file, line, word and the standard one, for each word in git's files of `folder`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        path = folder / name
        if any(fnmatch(name, pattern) for pattern in SKIPPED) or path.is_symlink() or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or an archive
        for file, right, _ in ALLOWED:
            text = re.sub(right, "", text) if name == file else text
        for standard, expression in _EXPRESSIONS.items():
            for match in expression.finditer(text):
                yield name, text.count("\n", 0, match.start()) + 1, " ".join(match.group().split()), standard


if __name__ == "__main__":
    raise SystemExit(main())
