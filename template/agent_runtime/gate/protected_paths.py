"""Paths that no action may touch: what decides about actions (threat T22).

An action that could write a workflow, the policy or the gate's own code would approve its next action by itself.  So a
plan that names such a path is denied, whatever the policy says.  Looked at is every parameter whose name is or ends
with `path`, `paths`, `file` or `files`, at any depth, with every text inside of it; only a text of several lines below
a key of its own is contents and no path.  What such a text means to a file system or to GitHub's API is not known here,
so it is read in every way that is usual: percent-encoded, with backslashes, in another case, with `.` and `..`,
absolute, as a pattern, as a list, with characters that file systems ignore.

Of paths for which the policy declares another root (`path_roots`), those that stay below it may have names that are
protected at the repository's root, and any other one denies.

What stays with the team: a path under another name (`target`, or the resource itself), a link that leads there, a
folder that holds the repository, and what `act()` touches of its own accord.  Pure.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Iterator, List, Mapping, Optional, Tuple
from urllib.parse import unquote

from agent_runtime.gate.expressions import Steps, named
from agent_runtime.text.escape import is_visible, visible
from agent_runtime.text.patterns import glob_matches

# Protected wherever they are in a path, because nothing else has these names.
_ANYWHERE = (".github", ".git", "codeowners", "agent_runner.py", "agent_runtime")
# Protected at the repository's root; other projects have folders of this name.
_AT_THE_ROOT = (
    *("sdk", "__pycache__"),
    *("requirements.in", "requirements.lock", "requirements-agent.in", "requirements-agent.lock"),
    *("requirements-dev.lock", "requirements-uv.lock"),
    *("rfc8785.py", "pydantic.py", "urllib3.py", "yaml.py"),
)
# Only where a path is known to start at the root: what Python imports from there, and what it installs.
_CODE = re.compile(r".*\.(?:py[cdw]?|so|pth)|requirements.*\.(?:in|lock|txt)")
# The file that makes a folder a package: in source, compiled, or as a library.
_PACKAGES = ("__init__.py", "__init__.pyc", "__init__.so", "__init__.pyd")

_NAME = re.compile(r"(?:path|file)s?\Z")
_SHOWN = 80
# Nobody encodes a path more often than this for a good reason.
_MAX_DECODINGS = 4
_SHORT_NAME = re.compile(r"[^/]~[0-9]")
_LIST = re.compile(r"[\n\r,;]")
# Then nobody knows here where the path starts: it is absolute, a home, a variable, an address, a revision.
_ELSEWHERE = re.compile(r"[/~$%]|[^:]*:")


def problem(parameters: Mapping[str, Any], roots: Optional[Mapping[Steps, str]] = None) -> Optional[str]:
    """Return why these parameters may not be approved, in words for people, or None.

    Arguments:
        parameters: of the proposed action, JSON values.
        roots: absolute folders, by where the paths below them stand.
    """
    for place, text in _paths(parameters, roots or {}):
        root = (roots or {}).get(place)
        for piece in (text, *(piece for piece in _LIST.split(text) if piece.strip())):
            why = _why(piece, root)
            if why:
                return f"the parameter {visible(named(place), _SHOWN)} names {visible(piece, _SHOWN)}, which {why}"
    return None


def _paths(parameters: Mapping[str, Any], roots: Mapping[Steps, str]) -> Iterator[Tuple[Steps, str]]:
    """Every text below a parameter whose name says that it is a path, or that has a root: where it is, and the text."""
    waiting: List[Tuple[Steps, Any, bool]] = [
        ((str(name),), value, _is_path(str(name))) for name, value in parameters.items()
    ]
    while waiting:
        place, value, named = waiting.pop()
        if isinstance(value, str):
            if named or place in roots:
                yield place, value
        elif isinstance(value, dict):
            for key, item in value.items():
                inner = (*place, str(key))
                if named:
                    yield inner, str(key)  # `files: {"a/b": "contents"}`
                own = _is_path(str(key))
                contents = isinstance(item, str) and "\n" in item.strip() and not own
                waiting.append((inner, item, own or (named and not contents)))
        elif isinstance(value, (list, tuple)):
            waiting += [((*place, None), item, named) for item in value]


def _is_path(name: str) -> bool:
    return _NAME.search(unicodedata.normalize("NFKC", name).strip().casefold()) is not None


def _why(text: str, root: Optional[str] = None) -> Optional[str]:
    decoded = text
    for _ in range(_MAX_DECODINGS):
        if unquote(decoded) == decoded:
            break
        decoded = unquote(decoded)
    else:
        return "is encoded again and again, so that its meaning is unclear"
    normal = unicodedata.normalize("NFKC", decoded).casefold().replace("\\", "/")
    plain = "".join(character for character in normal if is_visible(character)).strip()
    if _SHORT_NAME.search(plain):
        return "may be the short form of a protected name"
    components, above = _resolved(plain)
    if root is not None and (not components or ".." in re.split("[/:]", plain) or plain[:1] in ("/", "~", "$", "%")):
        return f"is not a path below {visible(root, _SHOWN)}"
    anchored = root is None and not above and _ELSEWHERE.match(plain) is None
    if not components:
        return "holds what decides about actions"
    if anchored and (
        (len(components) == 1 and _CODE.fullmatch(components[0]))
        or (len(components) == 2 and _makes_a_package(components[1]))
    ):
        return "is protected: what acts would import it, or install it"
    for position, component in enumerate(components):
        at_the_root = root is None and (position == 0 or not anchored)
        if component in _ANYWHERE:
            return "is protected: it decides about actions"
        if at_the_root and any(glob_matches(component, name) for name in _ANYWHERE + _AT_THE_ROOT):
            return "is protected: it decides about actions"
    return None


def _makes_a_package(component: str) -> bool:
    stem, _, _ = component.partition(".")
    return stem == "__init__" or any(glob_matches(component, name) for name in _PACKAGES)


def _resolved(path: str) -> Tuple[List[str], bool]:
    """The components of a path as patterns (`*` and `?` only), and whether it leads out of where it starts."""
    components: List[str] = []
    above = False
    for piece in re.split("[/:]", path):
        # Windows ignores whitespace and dots at the end of a name; behind a colon it has streams, and git has paths.
        component = piece.strip()
        if component == "..":
            above = above or not components
            del components[-1:]
        elif component.rstrip(". "):
            component = re.sub(r"\[[^\]]*\]", "?", component.rstrip(". "))
            components.append(re.sub(r"\{[^}]*\}", "*", component))
    return components, above
