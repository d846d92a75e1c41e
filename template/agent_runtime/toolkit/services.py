"""The team's catalogue of services: what the agent can touch, and where.

Addresses come from this file only, never from a trigger: a resource that is not listed can't be touched.  `load()`
reads the catalogue of services that can be restarted; `read()` one whose entries have another form, which a team's file
states with `form()`, `text`, `url`, `repository`, `number()`, `variable` and `measured`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Generator, Generic, Mapping, Optional, Tuple, TypeVar
from urllib.parse import urlsplit

from agent_runtime.codes import BadInput
from agent_runtime.toolkit import metrics
from agent_runtime.toolkit.errors import CATALOGUE_INVALID, FILE_UNUSABLE, NOT_IN_CATALOGUE, ToolError

MAX_BYTES = 256 * 1024
MAX_WINDOW_SECONDS = 7 * 24 * 3600
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}|(?=[a-z-]{1,30}\Z)[a-z]+(?:-[a-z]+)*")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,2000}")


@dataclass(frozen=True)
class Service:
    """One service of the catalogue.

    Arguments:
        name: the resource.
        metrics: where its error rate comes from.
        health: address that answers with success when it can work.
        restart: address that restarts it when it gets a POST.
        dependencies: health addresses of what it depends on, by name.
    """

    name: str
    metrics: metrics.Source
    health: str
    restart: str
    dependencies: Mapping[str, str] = field(default_factory=dict)


Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Catalogue(Generic[Entry]):
    """All services that the agent may touch, by name; `source` names the file in messages."""

    source: str
    services: Mapping[str, Entry]

    def get(self, name: str) -> Entry:
        """Return the service called `name`.

        Raises:
            ToolError: there is none (TOOL04).
        """
        if name not in self.services:
            known = ", ".join(sorted(self.services)[:10]) or "nothing"
            raise ToolError(NOT_IN_CATALOGUE, f"{name!a} is not in {self.source}, which has: {known}")
        return self.services[name]


def load(path: Path) -> Catalogue[Service]:
    """Read the catalogue.  The environment variable `SERVICES_FILE` names another file, for tests and demonstrations.

    Raises:
        ToolError: it can't be read, or does not have the documented form (TOOL03): file, key, and what is expected.
    """
    return parse(*_file(path))


def parse(data: bytes, source: str) -> Catalogue[Service]:
    """Read a catalogue from the bytes of a YAML file; `source` names it in messages.

    Raises:
        ToolError: it does not have the documented form (TOOL03).
    """
    return Catalogue(source, {name: _service(name, node) for name, node in _entries(data, source).items()})


def read(path: Path, entry: Callable[[Node], Entry]) -> Catalogue[Entry]:
    """Read a catalogue whose entries have another form; otherwise as `load()`.

    Arguments:
        entry: reads one entry; `form()` makes such a reader.
    """
    data, source = _file(path)
    return Catalogue(source, {name: entry(node) for name, node in _entries(data, source).items()})


def _file(path: Path) -> Tuple[bytes, str]:
    path = Path(os.environ.get("SERVICES_FILE") or path)
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1), path.name
    except OSError as problem:
        raise ToolError(CATALOGUE_INVALID, f"{path.name}: {problem.strerror}") from None


def _entries(data: bytes, source: str) -> Dict[str, Node]:
    """What is below `services`, by names that a resource can have."""
    from agent_runtime.model import inputs  # noqa: PLC0415  imported when used

    if len(data) > MAX_BYTES:
        raise ToolError(CATALOGUE_INVALID, f"{source} has more than {MAX_BYTES} bytes")
    entries = Node(_yaml(data, source), source, "").mapping(("services",))["services"].mapping(None)
    for name, node in entries.items():
        try:
            inputs.resource(name)
        except BadInput as problem:
            raise node.wrong(problem.message) from None
    return entries


Reader = Callable[["Node"], Any]


def form(
    required: Mapping[str, Reader], optional: Optional[Mapping[str, Reader]] = None, *, ascending: Tuple[str, ...] = ()
) -> Reader:
    """Return a reader of mappings with these keys, each read by its reader; an optional key may be left out.

    Arguments:
        ascending: required keys whose values must not become smaller, such as a minimum and a maximum.
    """
    readers = dict(required, **dict(optional or {}))

    def one(node: Node) -> Dict[str, Any]:
        keys = node.mapping(tuple(required), tuple(optional or ()))
        values = {key: readers[key](value) for key, value in keys.items()}
        for low, high in zip(ascending, ascending[1:]):
            if values[low] > values[high]:
                raise keys[low].wrong(f"must be at most {high}: {values[low]} is more than {values[high]}")
        return values

    return one


def text(node: Node) -> str:
    """Read a text."""
    return node.text()


def url(node: Node) -> str:
    """Read an address that starts with http:// or https:// and holds no user, password or # part."""
    return node.url()


def repository(node: Node) -> str:
    """Read the address of a git repository: as `url`, or file:/// and a path."""
    return node.text() if str(node.value).startswith("file:///") else node.url()


def number(least: float, most: float) -> Reader:
    """Return a reader of numbers in a range; it gives whole numbers where both ends are whole."""

    def one(node: Node) -> float:
        value, kinds = node.value, int if isinstance(least, int) and isinstance(most, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            kind = "a whole number" if kinds is int else "a number"
            raise node.wrong(f"must be {kind} from {least} to {most}")
        return value

    return one


def _service(name: str, node: Node) -> Service:
    whole = form({"metrics": measured, "health": url, "restart": url}, {"dependencies": _addresses})
    return Service(name, **whole(node))


def _addresses(node: Node) -> Dict[str, str]:
    return {name: address.url() for name, address in node.mapping(None).items()}


def measured(node: Node) -> metrics.Source:
    """Read the section `metrics`."""
    asked = isinstance(node.value, dict) and "prometheus" in node.value
    least = {"window_seconds": 1.0 if asked else 0.0, "fresh_seconds": 1.0}
    common: Dict[str, Reader] = {name: number(low, MAX_WINDOW_SECONDS) for name, low in least.items()}
    common.update(codes=_codes, token=variable)
    if asked:
        found = form({"prometheus": url, "requests": _windowed, "started": text}, common)(node)
        names = {"url": found.pop("prometheus"), "started_query": found.pop("started")}
        return metrics.PrometheusServer(**{"window_seconds": 3600, "fresh_seconds": 60, **names, **found})
    found = form({"url": url}, {"counter": _metric, "started": _metric, **common})(node)
    if "started" in found:
        found["started_metric"] = found.pop("started")
    return metrics.TextEndpoint(**{"window_seconds": 3600, "fresh_seconds": 30, **found})


def variable(node: Node) -> str:
    """Read the name of an environment variable with a token, or of a system; the token has no place in the file."""
    if not isinstance(node.value, str) or not _VARIABLE.fullmatch(node.value):
        raise node.wrong(
            "must be the name of an environment variable, such as PROMETHEUS_TOKEN, or of a system, such as "
            "prometheus, never a token itself"
        )
    return node.value


def _windowed(node: Node) -> str:
    if "$window" not in node.text():
        raise node.wrong("must hold $window, for example increase(http_requests_total[$window])")
    return node.text()


def _codes(node: Node) -> str:
    if node.value not in metrics.CODES:
        raise node.wrong(f"must be one of {', '.join(metrics.CODES)}")
    return node.text()


def _metric(node: Node) -> str:
    if not _METRIC.fullmatch(node.text()):
        raise node.wrong("must be the name of a metric, for example http_requests_total")
    return node.text()


@dataclass(frozen=True)
class Node:
    """A value of the file with the way to it and its line, so that messages can name the key."""

    value: Any
    source: str
    path: str
    line: Optional[int] = None

    def wrong(self, what: str) -> ToolError:
        line = f"line {self.line}: " if self.line else ""
        return ToolError(CATALOGUE_INVALID, f"{self.source}: {line}{self.path and self.path + ' '}{what}")

    def mapping(self, required: Optional[Tuple[str, ...]], optional: Tuple[str, ...] = ()) -> Dict[str, Node]:
        """The entries of a mapping with these keys; any keys where `required` is None."""
        if not isinstance(self.value, dict) or not all(isinstance(key, str) for key in self.value):
            raise self.wrong("must be a mapping of names to values")
        if required is not None:
            for key in required:
                if key not in self.value:
                    raise self.wrong(f"has no key {key}")
            for key in self.value:
                if key not in required + optional:
                    known = ", ".join(required + optional)
                    raise self.wrong(f"has an unknown key {key!a}; known are {known}")
        prefix = self.path + "." if self.path else ""
        lines = self.value.lines if isinstance(self.value, _Mapping) else {}
        return {
            key: Node(value, self.source, prefix + _shown(key), lines.get(key)) for key, value in self.value.items()
        }

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.wrong("must be a text")
        return self.value

    def url(self) -> str:
        text = self.text()
        try:
            parts = urlsplit(text)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not _VISIBLE.fullmatch(text):
            raise self.wrong("must be an address that starts with http:// or https://")
        if parts.username is not None or parts.password is not None:
            raise self.wrong("must not hold a user or password; secrets belong into AGENT_ACT_TOKEN")
        if parts.fragment:
            raise self.wrong("must not hold a # part")
        return text


def _shown(key: str) -> str:
    return ascii(key)[1:-1][:80]


def mapping_of(data: bytes, source: str) -> Dict[str, Any]:
    """Read a YAML or JSON file that holds a mapping of names to values.

    Raises:
        ToolError: it holds something else (TOOL11).
    """
    try:
        found = _yaml(data, source)
    except ToolError as problem:
        raise ToolError(FILE_UNUSABLE, problem.message) from None
    if not isinstance(found, dict):
        raise ToolError(FILE_UNUSABLE, f"{source} is not a mapping of names to values")
    return found


class _Mapping(Dict[str, Any]):
    """A mapping of the file that knows on which line each of its keys stands."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Dict[str, int] = {}


def _yaml(data: bytes, source: str) -> Any:
    """Plain YAML, without the parts that make two readers see two files: duplicate keys, anchors, tags."""
    import yaml  # noqa: PLC0415  imported when used

    class Loader(yaml.SafeLoader):
        """Refuses duplicate keys and aliases."""

        def _refuse(self, why: str, where: Any) -> None:
            raise yaml.constructor.ConstructorError(None, None, why, where.start_mark)

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                events: Any = self
                self._refuse("aliases are not allowed", events.get_event())
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if not isinstance(key.value, str):
                    self._refuse("a key is not text", key)
                if key.value in seen:
                    self._refuse(f"key {key.value} appears twice", key)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

        def construct_yaml_map(self, node: Any) -> Generator[Dict[Any, Any], None, None]:
            mapping = _Mapping()
            yield mapping
            mapping.update(self.construct_mapping(node))
            mapping.lines.update((key.value, key.start_mark.line + 1) for key, _ in node.value)

    Loader.add_constructor("tag:yaml.org,2002:map", Loader.construct_yaml_map)
    try:
        return yaml.load(data, Loader)  # noqa: S506  a subclass of SafeLoader
    except yaml.MarkedYAMLError as problem:
        line = f"line {problem.problem_mark.line + 1}: " if problem.problem_mark else ""
        raise ToolError(CATALOGUE_INVALID, f"{source}: {line}{problem.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        why = " ".join(str(problem).split())[:200]
        raise ToolError(CATALOGUE_INVALID, f"{source}: is not YAML: {why}") from None
