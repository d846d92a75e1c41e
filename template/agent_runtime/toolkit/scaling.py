"""Capacity as an autoscaler is given it: a number in a YAML file in git, or a HorizontalPodAutoscaler of Kubernetes.

A `Target` says what is set (`look`) and sets another number (`set`).  It changes that number and nothing else: comments
and form of the file stay, and the autoscaler's other fields are not sent.  Both say how a person sets it back.
"""

from __future__ import annotations

import abc
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from agent_runtime.toolkit import git, http, metrics, services
from agent_runtime.toolkit.errors import (
    ACCESS_REFUSED,
    FILE_UNUSABLE,
    NO_ANSWER,
    NOT_DONE,
    READ_REFUSED,
    TOKEN_REFUSED,
    Refused,
    ToolError,
)

MERGE_PATCH = "application/merge-patch+json"
_KEY = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")  # 010 is 8 to a YAML parser, and 10 to a person
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Setting:
    """What a target is set to.

    Arguments:
        instances: how many it asks for now.
        lowest: to how many it goes by itself; the same as `instances` where it does nothing by itself.
        changed_at: when that was last changed, in seconds since 1970; None where nobody knows.
        version: JSON values by name that differ after any change: what `observe()` returns.
        undo: how a person sets what is set now again, in one sentence.
        pending: whether what was set is not even asked for yet.
        off: why nothing set here takes effect; empty where it does.
    """

    instances: int
    lowest: int
    changed_at: Optional[float]
    version: Dict[str, Any]
    undo: str
    pending: bool = False
    off: str = ""


class Change(NamedTuple):
    """What was changed, and how a person undoes it, each in one line."""

    done: str
    undo: str


class Target(abc.ABC):
    """Where capacity is set."""

    @abc.abstractmethod
    def look(self) -> Setting:
        """Return what is set now.

        Raises:
            ToolError: it can't be read.
        """

    @abc.abstractmethod
    def set(self, instances: int, *, instead_of: int, why: str) -> Change:
        """Set another number, and return what was changed.

        Arguments:
            instead_of: what must be set now.
            why: for whoever reads the history.

        Raises:
            OutcomeUnknown: it may have been set.
            ToolError: it was not; nothing was changed.
        """


@dataclass(frozen=True)
class GitFile(Target):
    """A number in a YAML file in git.

    Arguments:
        repository, branch, path: where the file is.
        key: way to the number, its names joined by dots, such as `spec.minReplicas`.
    """

    repository: str
    branch: str
    path: str
    key: str

    def look(self) -> Setting:
        with git.clone(self.repository, self.branch, token=http.token("git")) as clone:
            number = read_number(self._content(clone), self.key, self.path)
            newest = clone.changes(self.path, 1)[0]
        where = {"repository": self.repository, "branch": self.branch, "path": self.path, "commit": newest.sha}
        return Setting(number, number, newest.time, dict(where, instances=number), self._undo(number))

    def set(self, instances: int, *, instead_of: int, why: str) -> Change:
        with git.clone(self.repository, self.branch, token=http.token("git")) as clone:
            content = self._content(clone)
            _expect(read_number(content, self.key, self.path), instead_of)
            changed = replace_number(content, self.key, instances, self.path)
            commit = clone.write(self.path, changed, why)
            clone.push(commit, self.branch)
        done = f"set {self.key} in {self.path} from {instead_of} to {instances} by the commit {commit}"
        return Change(done, self._undo(instead_of))

    def _undo(self, number: int) -> str:
        return f"Set {self.key} in {self.path} on {self.branch} to {number} again."

    def _content(self, clone: git.Clone) -> bytes:
        content = clone.read(clone.head, self.path)
        if content is None:
            raise ToolError(FILE_UNUSABLE, f"{self.path} is not on the branch {self.branch}")
        return content


@dataclass(frozen=True)
class Autoscaler(Target):
    """A HorizontalPodAutoscaler, through the REST API of Kubernetes (autoscaling/v2).

    More capacity raises `minReplicas`, and `maxReplicas` where that would be lower.  Less lowers `minReplicas`, so that
    Kubernetes may take instances away; where it may do so already, there is nothing to set, and the minimum is never
    raised on the way down.  The change counts for the version that was read: if anybody else changed the object in
    between, Kubernetes refuses (HTTP 409).

    Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/

    Arguments:
        api: address of the API server; docs/RUNBOOK.md says how to trust a certificate of no public authority.
    """

    api: str
    namespace: str
    name: str

    def look(self) -> Setting:
        found = self._read()
        return Setting(
            instances=found.instances,
            lowest=found.lowest,
            changed_at=found.scaled_at,
            version={
                "autoscaler": found.uid,
                "minReplicas": found.lowest,
                "maxReplicas": found.highest,
                "instances": found.current,
            },
            undo=self._undo(found),
            pending=found.current < found.lowest,
            off=found.off,
        )

    def set(self, instances: int, *, instead_of: int, why: str) -> Change:
        found = self._read()
        if found.off:
            raise ToolError(NOT_DONE, "nothing was done: " + found.off)
        _expect(found.instances, instead_of)
        name = f"{self.namespace}/{self.name}"
        if found.lowest <= instances < instead_of:
            lowest = f"minReplicas of {name} is {found.lowest}"
            raise ToolError(NOT_DONE, f"nothing was done: {lowest}, so Kubernetes may go down to {instances} by itself")
        spec = {"minReplicas": instances}
        done = f"set minReplicas of {name} from {found.lowest} to {instances}"
        if found.highest < instances:
            spec["maxReplicas"] = instances
            done += f", and maxReplicas from {found.highest} to {instances}"
        metadata = {"resourceVersion": found.version, "annotations": {"kubernetes.io/change-cause": why}}
        patch, token = {"metadata": metadata, "spec": spec}, http.token("kubernetes")
        try:
            http.send_once("PATCH", self._address(), value=patch, content_type=MERGE_PATCH, token=token)
        except Refused as problem:
            if problem.status != 409:
                raise
            meanwhile = f"somebody else changed the autoscaler {name} meanwhile (HTTP 409)"
            raise ToolError(NOT_DONE, f"nothing was done: {meanwhile}; start a new run") from None
        return Change(done, self._undo(found))

    def _undo(self, found: _Found) -> str:
        return f"Set minReplicas {found.lowest} and maxReplicas {found.highest} of {self.namespace}/{self.name} again."

    def _address(self) -> str:
        place = f"/apis/autoscaling/v2/namespaces/{self.namespace}/horizontalpodautoscalers/{self.name}"
        return http.under(self.api, place)

    def _read(self) -> _Found:
        token = http.token("kubernetes")
        answer = http.get(self._address(), token=token)
        asked = f"GET {answer.url}: {answer.said}"
        if answer.denied:
            rights = f"on horizontalpodautoscalers in the namespace {self.namespace}"
            if token.place == http.ACT_TOKEN and token:
                raise ToolError(TOKEN_REFUSED, f"{asked}, which needs the verbs get and patch {rights}")
            code = ACCESS_REFUSED if token.presents else READ_REFUSED
            raise ToolError(code, f"{asked}; it wants one with the verb get {rights}")
        found = answer.json() if answer.ok else None
        parts = found if isinstance(found, dict) else {}
        metadata, spec, status = parts.get("metadata"), parts.get("spec"), parts.get("status")
        if not (isinstance(metadata, dict) and isinstance(spec, dict) and isinstance(status, dict)):
            raise ToolError(NO_ANSWER, f"{asked} without an autoscaler")
        return _found(metadata, spec, status, self._address())


class _Found(NamedTuple):
    """What an autoscaler says: its bounds, how many there are, and which version of it that is."""

    uid: Any
    version: Any
    lowest: int
    highest: int
    current: int
    scaled_at: Optional[float]
    off: str

    @property
    def instances(self) -> int:
        """How many it asks for: a minimum that was raised just now is set, even before the instances are there."""
        return max(self.current, self.lowest)


def _found(metadata: Dict[str, Any], spec: Dict[str, Any], status: Dict[str, Any], source: str) -> _Found:
    try:
        scaled_at = metrics.moment(status["lastScaleTime"]) if status.get("lastScaleTime") else None
    except ValueError:
        raise ToolError(NO_ANSWER, f"{source}: lastScaleTime is not a time") from None
    conditions = status.get("conditions") or []
    disabled = any(isinstance(one, dict) and one.get("reason") == "ScalingDisabled" for one in conditions)
    return _Found(
        uid=metadata.get("uid"),
        version=metadata.get("resourceVersion"),
        lowest=_whole(spec.get("minReplicas", 1), "spec.minReplicas", source),
        highest=_whole(spec.get("maxReplicas"), "spec.maxReplicas", source),
        # The API leaves out a number that is 0.
        current=_whole(status.get("currentReplicas", 0), "status.currentReplicas", source),
        scaled_at=scaled_at,
        off="autoscaling is off, because what it scales was set to 0 (ScalingDisabled)" if disabled else "",
    )


def target(node: services.Node) -> Target:
    """Read the section `target` of a catalogue: `git` or `kubernetes`."""
    file = services.form(
        {"repository": services.repository, "branch": services.text, "path": services.text, "key": _key}
    )
    autoscaler = services.form({"api": services.url, "namespace": _name, "name": _name})
    found: Mapping[str, Any] = services.form({}, {"git": file, "kubernetes": autoscaler})(node)
    if len(found) != 1:
        raise node.wrong("must have one of the keys git and kubernetes")
    return GitFile(**found["git"]) if "git" in found else Autoscaler(**found["kubernetes"])


def read_number(content: bytes, key: str, source: str) -> int:
    """Return the whole number at `key` in a YAML file.

    Raises:
        ToolError: there is none (TOOL11).
    """
    return int(_find(_decode(content, source), key, source).value)


def replace_number(content: bytes, key: str, number: int, source: str) -> bytes:
    """Return the YAML file with another whole number at `key`; every other character stays as it is.

    Raises:
        ToolError: there is no number (TOOL11).
    """
    text = _decode(content, source)
    node = _find(text, key, source)
    changed = text[: node.start_mark.index] + str(number) + text[node.end_mark.index :]
    if int(_find(changed, key, source).value) != number:
        raise ToolError(FILE_UNUSABLE, f"{source}: {key} can't be changed in place")
    return changed.encode("utf-8")


def _decode(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ToolError(FILE_UNUSABLE, f"{source} is not UTF-8") from None


def _find(text: str, key: str, source: str) -> Any:
    """The node of the number at `key`, whose marks say where it is in `text`."""
    import yaml  # noqa: PLC0415  imported when used

    try:
        node: Any = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        why = " ".join(str(problem).split())[:200]
        raise ToolError(FILE_UNUSABLE, f"{source} is not one YAML document: {why}") from None
    for name in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found: List[Any] = [(known, value) for known, value in pairs if known.value == name]
        if len(found) != 1:
            raise ToolError(FILE_UNUSABLE, f"{source} has no {key}, or has it twice")
        # An alias would be changed where its anchor stands, and with it everything else that refers to it.
        if found[0][1].start_mark.index < found[0][0].end_mark.index:
            raise ToolError(FILE_UNUSABLE, f"{source}: {key} is an alias")
        node = found[0][1]
    if not isinstance(node, yaml.ScalarNode) or node.style is not None or not _NUMBER.fullmatch(node.value):
        raise ToolError(FILE_UNUSABLE, f"{source}: {key} is not a plain whole number")
    return node


def _expect(now: Any, expected: int) -> None:
    if now != expected:
        raise ToolError(NOT_DONE, f"nothing was done: {now} instances are set, no longer {expected}")


def _whole(value: Any, what: str, source: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ToolError(NO_ANSWER, f"{source}: {what} is not a whole number")
    return value


def _key(node: services.Node) -> str:
    if not _KEY.fullmatch(node.text()):
        raise node.wrong("must be names joined by dots, for example spec.minReplicas")
    return node.text()


def _name(node: services.Node) -> str:
    if not _NAME.fullmatch(node.text()):
        raise node.wrong("must be a name of Kubernetes: lower-case letters, digits, - and .")
    return node.text()
