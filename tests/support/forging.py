"""The forging script: makes another story of a bundle, with every digest, chain and list made anew."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

MANIFEST = "bundle.json"


def forge(bundle: Path, **changes: str) -> None:
    """Replace texts in everything that a bundle says, so that its parts fit together as before.

    Arguments:
        changes: the new text by the old one.
    """
    heads: dict[str, str] = {}
    while changes:
        before = digests(bundle)
        for name in (*before, MANIFEST):
            path = bundle / name
            text = path.read_text(encoding="utf-8")
            for old, new in changes.items():
                text = text.replace(f'"{old}"', f'"{new}"')
            if path.suffix == ".jsonl":
                text, heads[name.partition("/")[0]] = chained(text)
            path.write_text(text, encoding="utf-8")
        # What names a document by its digest follows.
        changes = {before[name]: digest for name, digest in digests(bundle).items() if digest != before[name]}
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    manifest["journal_heads"] = {**manifest["journal_heads"], **heads}
    manifest["files"] = digests(bundle)
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def digests(bundle: Path) -> dict[str, str]:
    """The digest of each file but the manifest."""
    return {
        path.relative_to(bundle).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def chained(journal: str) -> tuple[str, str]:
    """The lines of a journal, each with the hash of the line before it, and the hash of the last one."""
    lines: list[str] = []
    last = None
    for line in journal.splitlines():
        old = json.loads(line)["prev"]
        lines.append(line if last is None else line.replace(f'"prev":"{old}"', f'"prev":"{last}"'))
        last = hashlib.sha256(lines[-1].encode()).hexdigest()
    return "\n".join(lines) + "\n", str(last)
