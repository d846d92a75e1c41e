"""Reading a policy file.

The file belongs to the team and is reviewed like code, so reading it is strict: whatever a reviewer could misread, or a
typing error could turn off, is an error with file, line, key and way out.

One module, because it is one reader: a method for each kind of entry, which all report their place in the same way.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NoReturn, Optional, Tuple, TypeVar

from agent_runtime import codes
from agent_runtime.gate import protected_paths, session_policy
from agent_runtime.gate.conditions import (
    EACH_FORMAT,
    EACH_IN,
    EACH_STARTS_WITH,
    EQUALITY,
    FORMAT,
    MAX_ITEMS,
    MEMBERSHIP,
    OPERATORS,
    ORDER,
    STARTS_WITH,
    Condition,
    Other,
    kind_of,
    show_value,
)
from agent_runtime.gate.expressions import AGE, Expression, duration, parse
from agent_runtime.gate.policy import HIGHEST_AUTO_RISK, PathRoot, Policy, RateLimit, Rule
from agent_runtime.model.config import Config
from agent_runtime.model.documents import MAX_APPROVALS
from agent_runtime.model.inputs import LOGIN
from agent_runtime.model.names import JOBS_AUTHOR
from agent_runtime.results import RiskLevel
from agent_runtime.text import strict_yaml
from agent_runtime.text.escape import visible
from agent_runtime.text.formats import FORMATS
from agent_runtime.text.strict_yaml import Node

MAX_POLICY_BYTES = 64 * 1024

_Entry = TypeVar("_Entry")

_MAX_TEXT = 256
_MAX_COUNT = 1000
_SHOWN = 60

_POLICY_KEYS = (
    *("name", "version", "allowed_actions", "denied_actions", "auto_approve", "rate_limits", "initiators"),
    *("path_roots", "session_policies"),
)
_ALLOWED_KEYS = (
    *("type", "resources", "conditions", "max_risk"),
    *("requires_approval", "approvals", "approvers", "description"),
)
_DENIED_KEYS = ("type", "resources", "conditions", "reason")
_AUTO_KEYS = ("type", "resources", "conditions", "max_risk", "description")
_LIMIT_KEYS = ("type", "resources", "max", "per", "description")
_ROOT_KEYS = ("type", "resources", "parameter", "root")
_CONDITION_KEYS = ("parameter", "operator", "value")
_OTHER_KEYS = ("parameter",)
_KEYS_OF = {"allowed_actions": _ALLOWED_KEYS, "denied_actions": _DENIED_KEYS, "auto_approve": _AUTO_KEYS}
_RISKS = tuple(str(risk) for risk in RiskLevel)
_AUTO_RISKS = tuple(str(risk) for risk in RiskLevel if risk.rank <= HIGHEST_AUTO_RISK.rank)

_ROOT = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_APP = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}\[bot\]|Copilot")
# What a run leaves behind is kept for 90 days, and a plan may wait for 30 of them.
_MAX_PER = timedelta(days=30)


def load(root: Path, settings: Config) -> Policy:
    """Read the agent's policy as it is at the commit that is checked out.

    Raises:
        BadInput: there is none (POL001), or it is invalid (POL002).
    """
    return parse_policy(read(root, settings), settings.policy_path.as_posix())


def read(root: Path, settings: Config) -> bytes:
    """The bytes of the agent's policy, for `parse_policy`.

    Raises:
        BadInput: there is none (POL001).
    """
    try:
        return (root / settings.policy_path).read_bytes()
    except OSError as problem:
        raise codes.BadInput(codes.POLICY_MISSING, f"{settings.policy_path.as_posix()}: {problem.strerror}") from None


def load_or_empty(root: Path, settings: Config) -> Policy:
    """The same, or a policy without rules where it can't be read: `check` says why, and no run starts with it."""
    try:
        return load(root, settings)
    except codes.BadInput:
        return Policy("", 1, (), (), "")


def parse_policy(data: bytes, source: str) -> Policy:
    """Read a policy file.

    Keys: `name`, `version`, `initiators`, `allowed_actions` (`type`, `resources`, `conditions`, `max_risk`,
    `requires_approval`, `approvals`, `approvers`, `description`), `denied_actions` (`type`, `resources`, `conditions`,
    `reason`), `auto_approve` (`type`, `resources`, `conditions`, `max_risk`, `description`), `rate_limits` (`type`,
    `resources`, `max`, `per`, `description`), `path_roots` (`type`, `resources`, `parameter`, `root`) and
    `session_policies` (statements by action); a condition has
    `parameter`, `operator` and `value`.

    Arguments:
        data: the file's bytes, UTF-8, at most 64 KiB.
        source: its name, for messages.

    Raises:
        BadInput: POL002, with file, line, key and what to do about it.
    """
    reader = _Reader(source)
    if len(data) > MAX_POLICY_BYTES:
        reader.fail(1, f"the file has {len(data)} bytes: {MAX_POLICY_BYTES} are allowed")
    try:
        root = strict_yaml.load(data)
    except strict_yaml.StrictYamlError as problem:
        reader.fail(problem.line, problem.message)
    return reader.policy(root, hashlib.sha256(data).hexdigest())


class _Reader:
    """Turns nodes into rules; `where` is the path of a key, such as `allowed_actions[0].type`."""

    def __init__(self, source: str) -> None:
        self._source = visible(source, 200)

    def fail(self, line: int, message: str) -> NoReturn:
        raise codes.BadInput(codes.POLICY_INVALID, f"{self._source} line {line}: {message}")

    def policy(self, root: Node, digest: str) -> Policy:
        fields = self._mapping(root, "the policy", _POLICY_KEYS, ("name", "version"))
        version = fields["version"]
        if isinstance(version.value, bool) or not isinstance(version.value, int) or version.value < 1:
            self.fail(version.line, f"version is {_say(version.value)}: write a whole number from 1")
        allowed = self._each(fields, "allowed_actions", self._rule)
        cut = fields.get("session_policies")
        return Policy(
            name=self._text(fields["name"], "name"),
            version=version.value,
            allowed_actions=allowed,
            denied_actions=self._each(fields, "denied_actions", self._rule),
            digest=digest,
            auto_approve=self._each(fields, "auto_approve", self._rule),
            rate_limits=self._each(fields, "rate_limits", self._limit),
            initiators=self._each(fields, "initiators", self._initiator),
            session_policies=session_policy.read(cut, session_policy.known(allowed), self.fail) if cut else {},
            path_roots=self._each(fields, "path_roots", self._root),
        )

    def _root(self, node: Node, where: str) -> PathRoot:
        fields = self._mapping(node, where, _ROOT_KEYS, ("type", "parameter", "root"))
        if self._expression(fields["parameter"], where + ".parameter").function:
            self.fail(fields["parameter"].line, f"{where}.parameter is of texts: write a name, a.b or a[].b")
        root = self._text(fields["root"], where + ".root")
        why = protected_paths.problem({"path": root}) if _ROOT.fullmatch(root) else "is not such a path"
        if why:
            self.fail(
                fields["root"].line,
                f"{where}.root is {_say(root)}: write the absolute path of a folder outside the repository, of "
                "letters, digits and _ . -, such as /srv/cache",
            )
        return PathRoot(
            type=self._text(fields["type"], where + ".type"),
            resources=self._resources(fields.get("resources"), where + ".resources"),
            parameter=fields["parameter"].value,
            root=root,
        )

    def _initiator(self, node: Node, where: str) -> str:
        login = self._text(node, where)
        if login.casefold() == JOBS_AUTHOR:
            self.fail(node.line, f"{where} is {_say(login)}, which every workflow can be: remove it")
        if not _APP.fullmatch(login):
            self.fail(
                node.line,
                f'{where} is {_say(login)}: write an app as "name[bot]"; people need no entry',
            )
        return login

    def _rule(self, node: Node, where: str) -> Rule:
        keys = _KEYS_OF[where.partition("[")[0]]
        fields = self._mapping(node, where, keys, ("type",))
        risk, risks = (RiskLevel.LOW, _AUTO_RISKS) if keys is _AUTO_KEYS else (RiskLevel.HIGH, _RISKS)
        if "max_risk" in fields:
            risk = RiskLevel(self._choice(fields["max_risk"], where + ".max_risk", risks))
        approval = fields.get("requires_approval")
        if approval is not None and not isinstance(approval.value, bool):
            self.fail(approval.line, f"{where}.requires_approval is {_say(approval.value)}: use true or false")
        approvals, approvers = self._approvals(fields, where)
        if approval is not None and not approval.value and (approvals > 1 or approvers):
            self.fail(approval.line, f"{where}.requires_approval is false, and the rule says who must approve")
        return Rule(
            type=self._text(fields["type"], where + ".type"),
            resources=self._resources(fields.get("resources"), where + ".resources"),
            conditions=self._each(fields, "conditions", self._condition, where + "."),
            max_risk=risk,
            reason=self._words(fields, where),
            requires_approval=approval is None or bool(approval.value),
            approvals=approvals,
            approvers=approvers,
        )

    def _approvals(self, fields: Mapping[str, Node], where: str) -> Tuple[int, Optional[Tuple[str, ...]]]:
        """How many must approve, and who may."""
        approvals = (
            self._count(fields["approvals"], where + ".approvals", MAX_APPROVALS) if "approvals" in fields else 1
        )
        if "approvers" not in fields:
            return approvals, None
        node, where = fields["approvers"], where + ".approvers"
        known: Dict[str, str] = {}
        for entry, path in self._entries(node, where):
            login = self._text(entry, path)
            if not LOGIN.fullmatch(login):
                self.fail(entry.line, f"{path} is {_say(login)}: write the login of one person")
            if login.casefold() in known:
                self.fail(entry.line, f"{path} is {_say(login)}, who is named already: name each person once")
            known[login.casefold()] = login
        if len(known) < approvals:
            self.fail(node.line, f"{where} names {len(known)} for {approvals} approvals: name more, or remove the key")
        return approvals, tuple(known.values())

    def _limit(self, node: Node, where: str) -> RateLimit:
        fields = self._mapping(node, where, _LIMIT_KEYS, ("type", "max", "per"))
        per = fields["per"]
        span = duration(per.value) if isinstance(per.value, str) else timedelta()
        if not timedelta() < span <= _MAX_PER:
            self.fail(
                per.line,
                f"{where}.per is {_say(per.value)}: write minutes, hours or days up to {_MAX_PER.days}d, such "
                "as 30m, 24h or 7d",
            )
        return RateLimit(
            type=self._text(fields["type"], where + ".type"),
            resources=self._resources(fields.get("resources"), where + ".resources"),
            max=self._count(fields["max"], where + ".max"),
            per=span,
            per_text=str(per.value),
            reason=self._words(fields, where),
        )

    def _count(self, node: Node, where: str, most: int = _MAX_COUNT) -> int:
        if isinstance(node.value, bool) or not isinstance(node.value, int) or not 1 <= node.value <= most:
            self.fail(node.line, f"{where} is {_say(node.value)}: write a whole number, 1 to {most}")
        return node.value

    def _resources(self, node: Optional[Node], where: str) -> Tuple[str, ...]:
        if node is None:
            return ("*",)
        globs = tuple(self._text(entry, path) for entry, path in self._entries(node, where))
        if not globs:
            self.fail(node.line, f'{where} is empty: name one, or remove the key, which then means ["*"]')
        return globs

    def _condition(self, node: Node, where: str) -> Condition:
        fields = self._mapping(node, where, _CONDITION_KEYS, _CONDITION_KEYS)
        said = fields["operator"]
        if said.value in ("matches", "each_matches"):
            formats = ", ".join(FORMATS)
            instead = said.value.replace("matches", "format")
            self.fail(
                said.line, f"{where}.operator {said.value} is no longer known: use {instead} with one of {formats}"
            )
        operator = self._choice(said, where + ".operator", OPERATORS)
        left = self._expression(fields["parameter"], where + ".parameter")
        if left.function and operator not in ((*EQUALITY, *MEMBERSHIP, *ORDER) if left.function != AGE else ORDER):
            self.fail(said.line, f"{where}.operator is {operator}, which is not about what {left.function}() gives")
        value = self._operand(fields["value"], where + ".value", operator, left)
        return Condition(fields["parameter"].value, operator, value)

    def _expression(self, node: Node, where: str) -> Expression:
        text = self._text(node, where)
        try:
            return parse(text)
        except ValueError as problem:
            self.fail(node.line, f"{where} is {_say(text)}: {problem}")

    def _other(self, node: Node, where: str, left: Expression) -> Other:
        """Another parameter, to compare with."""
        named = self._mapping(node, where, _OTHER_KEYS, _OTHER_KEYS)["parameter"]
        right = self._expression(named, where + ".parameter")
        if not right.is_single:
            self.fail(node.line, f"{where}.parameter is {_say(named.value)}: compare with one value, not with a list")
        if (left.function == AGE) != (right.function == AGE):
            self.fail(node.line, f"{where}: an age is compared with a time such as 7d, or with another age")
        return Other(named.value)

    def _operand(self, node: Node, where: str, operator: str, left: Expression) -> Any:
        if isinstance(node.value, dict) and operator in (*EQUALITY, *ORDER):
            return self._other(node, where, left)
        if left.function == AGE:
            if not isinstance(node.value, str) or not duration(node.value):
                self.fail(node.line, f"{where} is {_say(node.value)}: write minutes, hours or days, such as 30m or 7d")
            return node.value
        value = self._plain_operand(node, where, operator)
        if left.function and kind_of(value[0] if isinstance(value, tuple) else value) != "a number":
            self.fail(node.line, f"{where} is {_say(node.value)}: {left.function}() is a number")
        return value

    def _plain_operand(self, node: Node, where: str, operator: str) -> Any:
        if operator in MEMBERSHIP or operator == EACH_IN:
            return self._operands(node, where)
        if operator == MAX_ITEMS:
            return self._count(node, where)
        if operator in ORDER and kind_of(node.value) != "a number":
            self.fail(node.line, f"{where} is {_say(node.value)}: {operator} needs a number")
        if operator in (FORMAT, EACH_FORMAT):
            return self._choice(node, where, tuple(FORMATS))
        if operator in (STARTS_WITH, EACH_STARTS_WITH):
            return self._text(node, where)
        return self._scalar(node, where)

    def _operands(self, node: Node, where: str) -> Tuple[Any, ...]:
        values = tuple(self._scalar(entry, path) for entry, path in self._entries(node, where))
        if not values:
            self.fail(node.line, f"{where} is empty: name at least one value")
        if len({kind_of(value) for value in values}) > 1:
            self.fail(node.line, f"{where} mixes texts, numbers and true or false: use one kind")
        return values

    def _scalar(self, node: Node, where: str) -> Any:
        if isinstance(node.value, str):
            return self._text(node, where)
        if kind_of(node.value) is None:
            self.fail(node.line, f"{where} is {_say(node.value)}: write a text, a number, true or false")
        return node.value

    def _text(self, node: Node, where: str) -> str:
        """A text that is compared with something, so it must look like what it is."""
        value = node.value
        if not isinstance(value, str):
            self.fail(node.line, f"{where} is {_say(value)}: write a text, in quotes if need be")
        if not 1 <= len(value) <= _MAX_TEXT:
            self.fail(node.line, f"{where} has {len(value)} characters: 1 to {_MAX_TEXT} are allowed")
        if kind_of(value) is None:
            self.fail(
                node.line,
                f"{where} is {_say(value)}, with characters that can't be seen or are not in Unicode's form "
                "NFC: type it anew",
            )
        return value

    def _words(self, fields: Mapping[str, Node], where: str) -> Optional[str]:
        """A text that is only shown: `description` or `reason`, whichever this kind of rule has."""
        for key in ("description", "reason"):
            if key in fields:
                value = fields[key].value
                if not isinstance(value, str):
                    self.fail(fields[key].line, f"{where}.{key} is {_say(value)}: write a text")
                return value.strip()
        return None

    def _mapping(self, node: Node, where: str, known: Tuple[str, ...], required: Tuple[str, ...]) -> Mapping[str, Node]:
        keys = ", ".join(known)
        if not isinstance(node.value, dict):
            self.fail(node.line, f"{where} is {_say(node.value)}: write keys and values ({keys})")
        for key, value in node.value.items():
            if key not in known:
                self.fail(value.line, f"{where} has the unknown key {visible(key, _SHOWN)}: use {keys}")
        for key in required:
            if key not in node.value:
                self.fail(node.line, f"{where} has no {key}: add it")
        return dict(node.value)

    def _each(
        self, fields: Mapping[str, Node], key: str, read: Callable[[Node, str], _Entry], under: str = ""
    ) -> Tuple[_Entry, ...]:
        """What is read from each entry of a list; nothing where the key is not there."""
        listed = self._entries(fields[key], under + key) if key in fields else ()
        return tuple(read(entry, path) for entry, path in listed)

    def _entries(self, node: Node, where: str) -> List[Tuple[Node, str]]:
        if not isinstance(node.value, list):
            self.fail(node.line, f"{where} is {_say(node.value)}: write a list, for example []")
        return [(entry, f"{where}[{number}]") for number, entry in enumerate(node.value)]

    def _choice(self, node: Node, where: str, choices: Tuple[str, ...]) -> str:
        if not isinstance(node.value, str) or node.value not in choices:
            self.fail(node.line, f"{where} is {_say(node.value)}: use one of {', '.join(choices)}")
        return node.value


def _say(value: Any) -> str:
    """A value of the file, as a message names it."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "empty"
    return f"'{visible(value, _SHOWN)}'" if isinstance(value, str) else show_value(value)
