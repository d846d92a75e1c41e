"""Drift: does this repository match what the template renders for the version and the answers that it records?

Compared is everything that nobody but the template changes: its files, the rendered workflows, the configuration.
Where the template can't be fetched, `agent_runtime/manifest.json` is what the runtime's files are compared with.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, TextIO

from agent_runtime import codes
from agent_runtime.local import check
from agent_runtime.local.update import files, problems, releases, template
from agent_runtime.local.update.files import File
from agent_runtime.local.update.owners import ANSWERS_FILE, TEMPLATE, Owners
from agent_runtime.text.escape import terminal, visible

EDITED, MISSING, UNKNOWN, RENEWED = "edited", "missing", "unknown", "renewed"

_PIN = re.compile(rb"(uses: *[\w./-]+@)([0-9a-f]{40})( *#[^\r\n]*)?(?=\n|\Z)")
_IGNORED = re.compile(r"(?:^|/)(?:__pycache__|\.[a-z]+_cache|[^/]*\.egg-info)(?:/|$)")
# What the check, with the manifest alone, says of a file.
_OF_CHECK = {check.EDITED: EDITED, check.LOST: MISSING, check.FOREIGN: UNKNOWN, "CON24": EDITED, "CON02": MISSING}


@dataclass(frozen=True)
class Difference:
    """One file that is not as the template renders it.

    Arguments:
        status: `edited`, `missing`, `unknown` (in a folder of the template's), or `renewed`: its actions have other
            commits and other versions, as Dependabot writes them, and nothing else differs.
    """

    path: str
    status: str
    owner: str


def compare(root: Path, rendered: Mapping[str, File]) -> List[Difference]:
    """Every difference between the working tree at `root` and a rendering, in what the template owns."""
    owners = Owners(rendered)
    found = [
        Difference(name, status, TEMPLATE)
        for name, file in rendered.items()
        if owners.of(name) == TEMPLATE
        for status in _status(name, file, files.read(root / name))
    ]
    above = {parent.as_posix() for name in rendered if owners.of(name) == TEMPLATE for parent in Path(name).parents}
    # A folder that is a link: what is in it has no owner who reviews it.
    found += [Difference(name, EDITED, TEMPLATE) for name in above - {"."} if (root / name).is_symlink()]
    for folder in owners.folders:
        for path in (root / folder).rglob("*"):
            name = path.relative_to(root).as_posix()
            if name not in rendered and not _IGNORED.search(name) and (path.is_symlink() or not path.is_dir()):
                found.append(Difference(name, UNKNOWN, TEMPLATE))
    return sorted(found, key=lambda each: each.path)


def _status(name: str, expected: File, found: Optional[File]) -> Iterator[str]:
    if found is None:
        yield MISSING
    elif name == ANSWERS_FILE:
        if template.without_origin(found.data) != template.without_origin(expected.data):
            yield EDITED
    elif found != expected:
        yield RENEWED if found.mode == expected.mode and is_renewed(expected.data, found.data) else EDITED


def is_renewed(expected: bytes, found: bytes) -> bool:
    """Whether only pins differ, and each that does has another commit and another version behind it."""
    if _PIN.sub(rb"\1", expected) != _PIN.sub(rb"\1", found):
        return False
    pairs = zip(_PIN.findall(expected), _PIN.findall(found))
    return all(old == new or (old[1] != new[1] and new[2] and old[2] != new[2]) for old, new in pairs)


def run(root: Path, *, explain: Optional[str], as_json: bool, out: TextIO, err: TextIO) -> int:
    """Compare, say what differs, and return the exit code."""
    recorded = template.Recorded(_bytes(root / ANSWERS_FILE))
    compared, why, revoked = "rendering", "", ""
    rendered: Dict[str, File] = {}
    try:
        with template.opened(recorded, root) as source:
            revoked = releases.revoked(source, recorded.commit)
            rendered = source.render(recorded.commit, recorded)
        found = compare(root, rendered)
    except codes.AgentError as error:
        if error.code != problems.UNREACHABLE:
            raise
        compared, why = "manifest", error.line()
        found = [
            Difference(problem.path.partition(":")[0], _OF_CHECK[problem.code], TEMPLATE)
            for problem in check.check(root)
            if problem.code in _OF_CHECK
        ]
    if explain is not None:
        return _explain(root, explain, rendered, why, out)
    if as_json:
        document = {
            "template": recorded.source,
            "version": recorded.commit,
            "compared": compared,
            "note": why,
            "revoked": revoked,
            "differences": [asdict(each) for each in found],
        }
        print(json.dumps(document, indent=2), file=out)
    else:
        for each in found:
            print(visible(f"{each.status:<8} {each.path}"), file=out)
        if why:
            print(visible(why), file=err)
            print(
                "compared: the runtime's files with agent_runtime/manifest.json, which is in this repository", file=err
            )
            print("not compared: rendered workflows, configuration", file=err)
    if revoked and not as_json:
        print(visible(f"{recorded.commit} is revoked: {revoked}"), file=err)
    drifted = [each for each in found if each.status != RENEWED]
    if not as_json and drifted:
        print("drift --explain FILE shows what differs, and whose the file is", file=err)
    elif not as_json:
        print(f"drift: none from {visible(recorded.commit)}", file=out)
    return codes.EXIT_REFUSED if drifted else codes.EXIT_OK


def _explain(root: Path, name: str, rendered: Mapping[str, File], why: str, out: TextIO) -> int:
    """Show how one file differs; it may be anybody's."""
    if why:
        raise codes.BadInput(problems.UNREACHABLE, f"nothing to compare {name} with ({why})")
    name = Path(name).as_posix()
    expected, found = rendered.get(name), files.read(root / name)
    owner = Owners(rendered).of(name)
    if expected is None and (found is None or owner != TEMPLATE):
        raise codes.BadInput(codes.USAGE, f"the template renders no {name}")
    differs = expected is None or any(_status(name, expected, found))
    print(f"{visible(name)}: {_OWNERS[owner]}", file=out)
    if differs:
        old, new = (
            (side.data if side else b"").decode("utf-8", "replace").splitlines(True) for side in (expected, found)
        )
        lines = difflib.unified_diff(old, new, "as the template renders it", "as it is here")
        for line in lines:
            print(terminal(line.rstrip("\n")), file=out)
        there, here = (side.mode if side else "missing" for side in (expected, found))
        if there != here:
            print(f"mode: {there} in the template, {here} here", file=out)
    else:
        print("as the template renders it", file=out)
    return codes.EXIT_REFUSED if differs and owner == TEMPLATE else codes.EXIT_OK


_OWNERS = {
    TEMPLATE: "the template's; an update replaces it",
    "team": "the team's; no update touches it",
    "both": "both change it; an update merges",
}


def _bytes(path: Path) -> Optional[bytes]:
    file = files.read(path)
    return file.data if file else None
