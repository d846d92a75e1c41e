"""Capacity as an autoscaler is told it: a number in a YAML file in git, or a HorizontalPodAutoscaler of Kubernetes.

A `Target` says what is set (`look`) and sets another number (`set`).  It changes that number and nothing else: comments
and form of the file stay, and the autoscaler's other fields are not sent.
"""

from __future__ import annotations

import abc
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional

from agent_runtime.toolkit import git, http, metrics, services
from agent_runtime.toolkit.errors import FILE_UNUSABLE, NO_ANSWER, NOT_DONE, ToolError

MERGE_PATCH = "application/merge-patch+json"
_KEY = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_NUMBER = re.compile(r"[0-9]{1,6}")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Setting:
    """What a target is set to.

    Arguments:
        instances: how many it asks for now.
        changed_at: when that was last changed, in seconds since 1970; None where nobody knows.
        version: JSON values by name that differ after any change: what `observe()` returns.
    """

    instances: int
    changed_at: Optional[float]
    version: Dict[str, Any]


class Target(abc.ABC):
    """Where capacity is set."""

    @abc.abstractmethod
    def look(self) -> Setting:
        """Return what is set now.

        Raises:
            ToolError: it can't be read.
        """

    @abc.abstractmethod
    def set(self, instances: int, *, instead_of: int, why: str) -> str:
        """Set another number, and return what was changed in one line.

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
        return Setting(number, newest.time, dict(where, instances=number))

    def set(self, instances: int, *, instead_of: int, why: str) -> str:
        with git.clone(self.repository, self.branch, token=http.token("git")) as clone:
            content = self._content(clone)
            _expect(read_number(content, self.key, self.path), instead_of)
            changed = replace_number(content, self.key, instances, self.path)
            commit = clone.write(self.path, changed, why)
            clone.push(commit, self.branch)
        return "set {} in {} from {} to {} by the commit {}".format(self.key, self.path, instead_of, instances, commit)

    def _content(self, clone: git.Clone) -> bytes:
        content = clone.read(clone.head, self.path)
        if content is None:
            raise ToolError(FILE_UNUSABLE, "{} is not on the branch {}".format(self.path, self.branch))
        return content


@dataclass(frozen=True)
class Autoscaler(Target):
    """A HorizontalPodAutoscaler, through the REST API of Kubernetes (autoscaling/v2).

    More capacity raises `minReplicas`, and `maxReplicas` where that would be lower; less lowers `minReplicas`, so that
    Kubernetes may take instances away.  The change counts for the version that was read: if anybody else changed
    the object in between, Kubernetes refuses (HTTP 409).

    Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/

    Arguments:
        api: address of the API server; REQUESTS_CA_BUNDLE names its certificate where no public authority signed it.
    """

    api: str
    namespace: str
    name: str

    def look(self) -> Setting:
        found = self._read()
        spec, status, metadata = found["spec"], found["status"], found["metadata"]
        try:
            scaled = metrics.moment(status["lastScaleTime"]) if status.get("lastScaleTime") else None
        except ValueError:
            raise ToolError(NO_ANSWER, "{}: lastScaleTime is no time".format(self._address())) from None
        return Setting(
            instances=_whole(status.get("currentReplicas"), "status.currentReplicas", self._address()),
            changed_at=scaled,
            version={
                "autoscaler": metadata.get("uid"),
                "minReplicas": spec.get("minReplicas", 1),
                "maxReplicas": spec.get("maxReplicas"),
                "instances": status.get("currentReplicas"),
            },
        )

    def set(self, instances: int, *, instead_of: int, why: str) -> str:
        found = self._read()
        _expect(found["status"].get("currentReplicas"), instead_of)
        highest = max(instances, _whole(found["spec"].get("maxReplicas"), "spec.maxReplicas", self._address()))
        patch = {
            "metadata": {
                "resourceVersion": found["metadata"].get("resourceVersion"),
                "annotations": {"kubernetes.io/change-cause": why},
            },
            "spec": {"minReplicas": instances, "maxReplicas": highest},
        }
        http.send_once("PATCH", self._address(), value=patch, content_type=MERGE_PATCH, token=http.token("kubernetes"))
        return "set minReplicas of {}/{} to {}, and maxReplicas to {}".format(
            self.namespace, self.name, instances, highest
        )

    def _address(self) -> str:
        place = "{}/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{}"
        return place.format(self.api.rstrip("/"), self.namespace, self.name)

    def _read(self) -> Dict[str, Dict[str, Any]]:
        answer = http.get(self._address(), token=http.token("kubernetes"))
        found = answer.json() if answer.ok else None
        parts = ("metadata", "spec", "status")
        if not isinstance(found, dict) or not all(isinstance(found.get(part), dict) for part in parts):
            raise ToolError(NO_ANSWER, "GET {}: HTTP {} without an autoscaler".format(answer.url, answer.status))
        return {part: found[part] for part in parts}


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
        raise ToolError(FILE_UNUSABLE, "{}: {} can't be changed in place".format(source, key))
    return changed.encode("utf-8")


def _decode(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ToolError(FILE_UNUSABLE, "{} is not UTF-8".format(source)) from None


def _find(text: str, key: str, source: str) -> Any:
    """The node of the number at `key`, whose marks say where it stands in `text`."""
    import yaml  # noqa: PLC0415  imported when used

    try:
        node: Any = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        why = " ".join(str(problem).split())[:200]
        raise ToolError(FILE_UNUSABLE, "{} is not one YAML document: {}".format(source, why)) from None
    for name in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found: List[Any] = [(known, value) for known, value in pairs if known.value == name]
        if len(found) != 1:
            raise ToolError(FILE_UNUSABLE, "{} has no {}, or has it twice".format(source, key))
        # An alias would be changed where its anchor stands, and with it everything else that refers to it.
        if found[0][1].start_mark.index < found[0][0].end_mark.index:
            raise ToolError(FILE_UNUSABLE, "{}: {} is an alias".format(source, key))
        node = found[0][1]
    if not isinstance(node, yaml.ScalarNode) or node.style is not None or not _NUMBER.fullmatch(node.value):
        raise ToolError(FILE_UNUSABLE, "{}: {} is no plain whole number".format(source, key))
    return node


def _expect(now: Any, expected: int) -> None:
    if now != expected:
        raise ToolError(NOT_DONE, "nothing was done: {} instances are set, no longer {}".format(now, expected))


def _whole(value: Any, what: str, source: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ToolError(NO_ANSWER, "{}: {} is no whole number".format(source, what))
    return value


def _key(node: services.Node) -> str:
    if not _KEY.fullmatch(node.text()):
        raise node.wrong("must be names joined by dots, for example spec.minReplicas")
    return node.text()


def _name(node: services.Node) -> str:
    if not _NAME.fullmatch(node.text()):
        raise node.wrong("must be a name of Kubernetes: lower-case letters, digits, - and .")
    return node.text()
