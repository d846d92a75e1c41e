"""Keys of people and programs: an identity service that issues and judges them, and a secret store that holds them.

    system = keys.System("https://identity.example.com/v1", "https://secrets.example.com/v1")
    system.disable("k-1")
    new = keys.made(system.rotate("k-1"))
    system.store("shop/k-1", new.value)

What the two must answer is in services.yml.  No value of a key reaches a message: it goes from one to the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import List, NamedTuple, Optional

from agent_runtime.toolkit import http, metrics, services
from agent_runtime.toolkit.errors import NO_ANSWER, OUTCOME_UNKNOWN, OutcomeUnknown, ToolError

ACTIVE = "active"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of a key or of who owns it
_PLACE = re.compile(r"[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,4}")  # a name in the secret store


class Key(NamedTuple):
    """One key, as the identity service has it.

    Arguments:
        id: its name.
        owner: whose it is.
        status: `active`, or whatever else the service says.
        created: when, as the service writes it; `moment()` reads it.
        stored_as: the name of its value in the secret store.
    """

    id: str
    owner: str
    status: str
    created: str
    stored_as: str


class Use(NamedTuple):
    """One use of a key: when (seconds since 1970), from which address, and with which HTTP status it was answered."""

    time: float
    address: str
    status: int


@dataclass(frozen=True)
class NewKey:
    """A key that was just made.  Its value is a secret, and no `repr()` has it."""

    id: str
    value: str = field(repr=False)


class KeyVerdict(NamedTuple):
    """What the identity service says of a value: whether it accepts it, and whose it is; None where it does not say."""

    accepted: Optional[bool]
    key: Optional[str]


@dataclass(frozen=True)
class System:
    """An identity service and the secret store that goes with it.  `http.token()` has what they want to see.

    What reads raises a ToolError where there is no answer, or one that is invalid.  What changes something raises a
    ToolError where it was refused, and OutcomeUnknown where nobody knows whether it took effect.

    Arguments:
        identity: address of the identity service.
        secrets: address of the secret store.
    """

    identity: str
    secrets: str

    def key(self, name: str) -> Key:
        """Return one key."""
        answer = http.get(self._key(name), token=http.token_of("identity"))
        found = answer.fields(id=str, owner=str, status=str, created=str, stored_as=str)
        plain = _NAME.fullmatch(found["owner"]) and _PLACE.fullmatch(found["stored_as"])
        if found["id"] != name or not plain:
            raise ToolError(NO_ANSWER, f"{answer.url}: id, owner or stored_as is not a plain name")
        return Key(name, found["owner"], found["status"], found["created"], found["stored_as"])

    def keys_of(self, user: str) -> List[str]:
        """Return the names of a user's keys."""
        names: List[str] = http.get(self._user(user), token=http.token_of("identity")).fields(keys=list)["keys"]
        for name in names:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ToolError(NO_ANSWER, f"{ascii(name)[:80]} is not the name of a key")
        return names

    def is_active(self, user: str) -> bool:
        """Whether a user is known and active."""
        answer = http.get(self._user(user), token=http.token_of("identity"))
        return answer.status != 404 and bool(answer.fields(active=bool)["active"])

    def uses(self, name: str) -> List[Use]:
        """Return the uses of a key."""
        found = []
        for use in http.get(self._key(name + "/uses"), token=http.token_of("identity")).fields(uses=list)["uses"]:
            if not isinstance(use, dict) or not {"time", "address"} <= set(use) or type(use.get("status")) is not int:
                raise ToolError(NO_ANSWER, f"a use of {name} has no time, address and status")
            found.append(Use(moment(use["time"], name), str(use["address"]), use["status"]))
        return found

    def ask(self, value: str) -> KeyVerdict:
        """Ask whether a value is accepted, by presenting it.  No answer is an answer too: nothing is raised."""
        if not value:
            return KeyVerdict(False, None)
        try:
            answer = http.get(http.under(self.identity, "/whoami"), token=value)
        except ToolError:  # or it holds what can't be presented
            return KeyVerdict(None, None)
        accepted = {200: True, 401: False, 403: False}.get(answer.status)
        try:
            return KeyVerdict(accepted, str(answer.fields(key=str)["key"]))
        except ToolError:  # it need not say whose it is
            return KeyVerdict(accepted, None)

    def doubt(self, value: str, name: str) -> str:
        """Return why a value can't show whether a key is refused; an empty text when it can.

        A value that was never accepted, or is another key's, is refused whatever becomes of this key.
        """
        verdict = self.ask(value)
        if verdict.accepted is None:
            return "the identity service does not say whether it accepts the stored value"
        if not verdict.accepted:
            return "the stored value was refused before already"
        return "" if verdict.key in (None, name) else "the stored value is another key's"

    def disable(self, name: str) -> None:
        """Have a key disabled."""
        http.send_once("POST", self._key(name + "/disable"), token=http.token("identity"))

    def rotate(self, name: str) -> http.Response:
        """Have a key created to replace another.  `made()` reads it from the answer."""
        return http.send_once("POST", self._key(name + "/rotate"), token=http.token("identity"))

    def stored(self, place: str) -> str:
        """Return the value that the secret store has under a name; never to be shown."""
        return str(http.get(self._place(place), token=http.token("secrets")).fields(value=str)["value"])

    def store(self, place: str, value: str) -> None:
        """Put a value into the secret store."""
        http.send_once("PUT", self._place(place), value={"value": value}, token=http.token("secrets"))

    def _key(self, name: str) -> str:
        return http.under(self.identity, "/keys/" + name)

    def _user(self, name: str) -> str:
        return http.under(self.identity, "/users/" + name)

    def _place(self, place: str) -> str:
        return http.under(self.secrets, "/" + place)


def made(answer: http.Response) -> NewKey:
    """Return the key that an answer of `System.rotate()` names.

    Raises:
        OutcomeUnknown: it names none, so that a key may be valid whose value nobody knows.
    """
    try:
        found = answer.fields(id=str, value=str)
    except ToolError:
        found = {"id": "", "value": ""}
    if not _NAME.fullmatch(found["id"]) or not found["value"]:
        why = f"{answer.url}: HTTP {answer.status} without id and value"
        raise OutcomeUnknown(OUTCOME_UNKNOWN, f"{why}: there may be a new, valid key that nobody knows")
    return NewKey(found["id"], found["value"])


def system(node: services.Node) -> System:
    """Read an entry of the catalogue: the addresses `identity` and `secrets`."""
    found = services.form({"identity": services.url, "secrets": services.url})(node)
    return System(found["identity"], found["secrets"])


def moment(value: object, key: str) -> float:
    """Return a time that the identity service names for a key, in seconds since 1970.

    Raises:
        ToolError: it is none.
    """
    try:
        return metrics.moment(value)
    except (ValueError, OverflowError):
        raise ToolError(NO_ANSWER, f"a time of {key} is none") from None
