"""The team's catalogue of services: what the agent can touch, and where.

Addresses come from this file only, never from a trigger: a resource that is not listed can't be touched.  `load()`
reads the catalogue of services that can be restarted; `read()` one whose entries have another form, which a team's file
states with `form()`, `text`, `url`, `repository`, `number()` and `measured`.
"""

from __future__ import annotations

import math
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
            raise ToolError(NOT_IN_CATALOGUE, "{} is not in {}, which has: {}".format(ascii(name), self.source, known))
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
        raise ToolError(CATALOGUE_INVALID, "{}: {}".format(path.name, problem.strerror)) from None


def _entries(data: bytes, source: str) -> Dict[str, Node]:
    """What stands below `services`, by names that a resource can have."""
    from agent_runtime.model import inputs  # noqa: PLC0415  imported when used

    if len(data) > MAX_BYTES:
        raise ToolError(CATALOGUE_INVALID, "{} has more than {} bytes".format(source, MAX_BYTES))
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
                raise keys[low].wrong("must be at most {}: {} is more than {}".format(high, values[low], values[high]))
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
            raise node.wrong("must be {} from {} to {}".format(kind, least, most))
        return value

    return one


def measured(node: Node) -> metrics.Source:
    """Read the section `metrics`."""
    return _source(node)


def _service(name: str, node: Node) -> Service:
    keys = node.mapping(("metrics", "health", "restart"), ("dependencies",))
    dependencies = keys["dependencies"].mapping(None) if "dependencies" in keys else {}
    return Service(
        name=name,
        metrics=_source(keys["metrics"]),
        health=keys["health"].url(),
        restart=keys["restart"].url(),
        dependencies={dependency: address.url() for dependency, address in dependencies.items()},
    )


def _source(node: Node) -> metrics.Source:
    windows = ("window_seconds", "fresh_seconds")
    if isinstance(node.value, dict) and "prometheus" in node.value:
        keys = node.mapping(("prometheus", "requests", "started"), windows)
        requests = keys["requests"].text()
        if "$window" not in requests:
            raise keys["requests"].wrong("must hold $window, for example increase(http_requests_total[$window])")
        return metrics.PrometheusServer(
            url=keys["prometheus"].url(),
            requests=requests,
            started_query=keys["started"].text(),
            window_seconds=_seconds(keys.get("window_seconds"), 3600, least=1),
            fresh_seconds=_seconds(keys.get("fresh_seconds"), 60, least=1),
        )
    keys = node.mapping(("url",), ("counter", "started", *windows))
    return metrics.TextEndpoint(
        url=keys["url"].url(),
        counter=_metric_name(keys.get("counter"), "http_requests_total"),
        started_metric=_metric_name(keys.get("started"), "process_start_time_seconds"),
        window_seconds=_seconds(keys.get("window_seconds"), 30, least=0),
        fresh_seconds=_seconds(keys.get("fresh_seconds"), 30, least=1),
    )


def _seconds(node: Optional[Node], default: float, *, least: float) -> float:
    if node is None:
        return default
    value = node.value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise node.wrong("must be a number of seconds")
    if not least <= value <= MAX_WINDOW_SECONDS:
        raise node.wrong("must be between {} and {} seconds".format(least, MAX_WINDOW_SECONDS))
    return float(value)


def _metric_name(node: Optional[Node], default: str) -> str:
    if node is None:
        return default
    if not _METRIC.fullmatch(node.text()):
        raise node.wrong("must be the name of a metric, for example {}".format(default))
    return node.text()


@dataclass(frozen=True)
class Node:
    """A value of the file with the way to it and its line, so that messages can name the key."""

    value: Any
    source: str
    path: str
    line: Optional[int] = None

    def wrong(self, what: str) -> ToolError:
        line = "line {}: ".format(self.line) if self.line else ""
        return ToolError(CATALOGUE_INVALID, "{}: {}{}{}".format(self.source, line, self.path and self.path + " ", what))

    def mapping(self, required: Optional[Tuple[str, ...]], optional: Tuple[str, ...] = ()) -> Dict[str, Node]:
        """The entries of a mapping with these keys; any keys where `required` is None."""
        if not isinstance(self.value, dict) or not all(isinstance(key, str) for key in self.value):
            raise self.wrong("must be a mapping of names to values")
        if required is not None:
            for key in required:
                if key not in self.value:
                    raise self.wrong("has no key {}".format(key))
            for key in self.value:
                if key not in required + optional:
                    known = ", ".join(required + optional)
                    raise self.wrong("has an unknown key {}; known are {}".format(ascii(key), known))
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
        raise ToolError(FILE_UNUSABLE, "{} is no mapping of names to values".format(source))
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
                    self._refuse("a key is no text", key)
                if key.value in seen:
                    self._refuse("key {} appears twice".format(key.value), key)
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
        line = "line {}: ".format(problem.problem_mark.line + 1) if problem.problem_mark else ""
        raise ToolError(CATALOGUE_INVALID, "{}: {}{}".format(source, line, problem.problem)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        why = " ".join(str(problem).split())[:200]
        raise ToolError(CATALOGUE_INVALID, "{}: is not YAML: {}".format(source, why)) from None
