"""Patterns of the policy, matched in time that no pattern and no value can blow up.

Two small languages: globs (`*` and `?`) for action types and resources, and regular expressions for parameters.
Python's own `re` backtracks, so a harmless looking expression and a hostile value can occupy the gate for years; the
expressions here are run as a set of states over the value (Thompson's construction), which takes at most
states x characters steps.  What needs backtracking (references, look-around) does not exist in this language.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

MAX_PATTERN_LENGTH = 200
MAX_VALUE_LENGTH = 1024
MAX_STATES = 2000
_MAX_NESTING = 20

_CLASSES = {"d": "0-9", "w": "a-zA-Z0-9_", "s": " "}
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_QUANTIFIERS = frozenset("*+?{")
_COUNT = re.compile(r"\{([0-9]{1,4})(,([0-9]{1,4})?)?\}")


def compatible(text: str) -> str:
    """Return `text` in Unicode's form NFKC, without whitespace around it and with single spaces inside."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def caseless(text: str) -> str:
    """Return what many systems take for the same: `compatible()`, without regard to case."""
    return compatible(compatible(text).casefold())


def glob_nearly_matches(pattern: str, text: str) -> bool:
    """Whether `text` matches `pattern` but for case, whitespace around it or compatibility characters."""
    return glob_matches(pattern, text) or glob_matches(caseless(pattern), caseless(text))


def glob_matches(pattern: str, text: str) -> bool:
    """Whether `text` as a whole matches `pattern`, in which `*` stands for any characters and `?` for one.

    Case counts, and every other character stands for itself (`[` too).
    """
    at = position = 0
    star: Optional[int] = None
    resume = 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star is not None:
            # Only the last star ever needs another try: what comes before it is matched already.
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


class _State(NamedTuple):
    """A character to consume (its ranges; inverted or not) before continuing at `next`."""

    ranges: Tuple[Tuple[str, str], ...]
    inverted: bool
    next: int

    def accepts(self, character: str) -> bool:
        """Whether `character` is in the ranges, or outside of them when inverted."""
        inside = any(low <= character <= high for low, high in self.ranges)
        return inside != self.inverted

    def accepts_any(self, characters: Tuple[str, ...]) -> bool:
        """Whether it accepts one of these."""
        return any(self.accepts(character) for character in characters)


class Expression:
    """A regular expression that a whole value must match.

    The language: literal characters, `.`, classes `[a-z]` and `[^a-z]`, `\\d` `\\w` `\\s` (ASCII), `\\` before
    punctuation, groups `( )`, alternatives `|`, and the quantifiers `*` `+` `?` `{m}` `{m,}` `{m,n}`.  It means the
    same as Python's `re.fullmatch` with `re.ASCII`, with one difference: `\\s` is the space alone, because values with
    other whitespace are never matched.

    Raises:
        ValueError: the pattern is longer than 200 characters, needs more than 2000 states, or is not of this language;
            the message says where.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN_LENGTH:
            raise ValueError(f"longer than {MAX_PATTERN_LENGTH} characters")
        parser = _Parser(pattern)
        self._pattern = pattern
        self._consuming = parser.consuming
        self._branches = parser.branches
        self._start = parser.start
        self._end = parser.end

    def matches(self, value: str, *, any_case: bool = False) -> bool:
        """Whether the whole of `value` matches.

        Arguments:
            any_case: whether each character may stand for its capital or small form, too.

        Raises:
            ValueError: the value is longer than 1024 characters.
        """
        if len(value) > MAX_VALUE_LENGTH:
            raise ValueError(f"longer than {MAX_VALUE_LENGTH} characters")
        current = self._closure([self._start])
        for character in value:
            characters = _cases(character) if any_case else (character,)
            reached = []
            for number in current:
                state = self._consuming.get(number)
                if state is not None and state.accepts_any(characters):
                    reached.append(state.next)
            current = self._closure(reached)
        return self._end in current

    def nearly_matches(self, value: str) -> bool:
        """Whether the whole of `value` matches but for case, whitespace around it or compatibility characters.

        Raises:
            ValueError: the value, or its compatible form, is longer than 1024 characters.
        """
        forms = dict.fromkeys((value, compatible(value), caseless(value)))
        if any(self.matches(form, any_case=True) for form in forms):
            return True
        other = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", self._pattern).casefold())
        if other == self._pattern.lower():
            return False
        try:
            return any(Expression(other).matches(form, any_case=True) for form in forms)
        except ValueError:
            return True  # what such a pattern means in compatible form is unclear

    def _closure(self, numbers: List[int]) -> FrozenSet[int]:
        seen: Set[int] = set()
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            if number not in seen:
                seen.add(number)
                waiting.extend(self._branches.get(number, ()))
        return frozenset(seen)


def _cases(character: str) -> Tuple[str, ...]:
    forms = (character, character.lower(), character.upper())
    return tuple(dict.fromkeys(form for form in forms if len(form) == 1))


# What a piece of a pattern is until it becomes states: ("set", ranges, inverted), ("then", pieces), ("or", pieces),
# ("repeat", piece, least, most or None).  Counted repetitions need the piece again and again, so states come last.
class _Piece(NamedTuple):
    kind: str
    pieces: Tuple[_Piece, ...] = ()
    ranges: Tuple[Tuple[str, str], ...] = ()
    inverted: bool = False
    least: int = 0
    most: Optional[int] = None


class _Parser:
    """Reads a pattern by recursive descent and lays it out as states."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0
        self._states = 0
        self._laid = 0
        self.consuming: Dict[int, _State] = {}
        self.branches: Dict[int, List[int]] = {}
        piece = self._alternatives()
        if self._at < len(pattern):
            raise self._problem("')' without '('")
        self.end = self._new()
        self.start = self._lay(piece, self.end)

    def _problem(self, message: str) -> ValueError:
        return ValueError(f"{message} at character {self._at + 1}")

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _alternatives(self) -> _Piece:
        choices = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            choices.append(self._sequence())
        return choices[0] if len(choices) == 1 else _Piece("or", tuple(choices))

    def _sequence(self) -> _Piece:
        pieces = []
        while self._peek() not in ("", "|", ")"):
            pieces.append(self._quantified(self._atom()))
        return _Piece("then", tuple(pieces))

    def _quantified(self, piece: _Piece) -> _Piece:
        sign = self._peek()
        if sign not in _QUANTIFIERS:
            return piece
        if sign == "{":
            found = _COUNT.match(self._pattern, self._at)
            if found is None:
                raise self._problem("'{' that is not a count such as {2} or {1,3}")
            least = int(found.group(1))
            most = least if found.group(2) is None else (int(found.group(3)) if found.group(3) else None)
            if most is not None and most < least:
                raise self._problem("a count whose end is below its start")
            self._at = found.end()
        else:
            least = 1 if sign == "+" else 0
            most = 1 if sign == "?" else None
            self._at += 1
        if self._peek() in _QUANTIFIERS:
            raise self._problem("a quantifier after a quantifier")
        return _Piece("repeat", (piece,), least=least, most=most)

    def _atom(self) -> _Piece:
        sign = self._peek()
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._class()
        if sign == "\\":
            return _Piece("set", ranges=self._escaped())
        if sign in _QUANTIFIERS:
            raise self._problem(f"{sign!r} with nothing before it")
        if sign in ("^", "$"):
            raise self._problem(f"{sign!r}: the whole value is always matched, leave it out")
        self._at += 1
        return _Piece("set", inverted=True) if sign == "." else _Piece("set", ranges=((sign, sign),))

    def _group(self) -> _Piece:
        self._at += 1
        if self._peek() == "?":
            raise self._problem("'(?' is not supported")
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise self._problem(f"more than {_MAX_NESTING} groups in each other")
        piece = self._alternatives()
        if self._peek() != ")":
            raise self._problem("'(' without ')'")
        self._depth -= 1
        self._at += 1
        return piece

    def _escaped(self) -> Tuple[Tuple[str, str], ...]:
        self._at += 1
        sign = self._peek()
        if sign in _CLASSES:
            ranges = _ranges_of(_CLASSES[sign])
        elif sign in _PUNCTUATION:
            ranges = ((sign, sign),)
        else:
            raise self._problem(f"'\\' before {sign!r}" if sign else "'\\' with nothing after it")
        self._at += 1
        return ranges

    def _class(self) -> _Piece:
        self._at += 1
        inverted = self._peek() == "^"
        self._at += int(inverted)
        ranges: List[Tuple[str, str]] = []
        while self._peek() != "]":
            low = self._class_member()
            if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                high = self._class_member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] != high[0][1]:
                    raise self._problem("a range that is not between two characters")
                if high[0][0] < low[0][0]:
                    raise self._problem("a range whose end is below its start")
                low = ((low[0][0], high[0][0]),)
            ranges.extend(low)
        if not ranges:
            raise self._problem("an empty class")
        self._at += 1
        return _Piece("set", ranges=tuple(ranges), inverted=inverted)

    def _class_member(self) -> Tuple[Tuple[str, str], ...]:
        sign = self._peek()
        if not sign:
            raise self._problem("'[' without ']'")
        if sign == "\\":
            return self._escaped()
        if sign in ("[", "^"):
            raise self._problem(f"{sign!r} inside a class: write '\\{sign}'")
        self._at += 1
        return ((sign, sign),)

    def _new(self) -> int:
        self._states += 1
        return self._states

    def _lay(self, piece: _Piece, after: int) -> int:
        """Lay out `piece` so that it continues at `after`; return where it starts."""
        # Counted by pieces, not by states: a repeated empty group makes work and no state.
        self._laid += 1
        if self._laid > MAX_STATES:
            raise ValueError(f"more than {MAX_STATES} states: use smaller counts")
        if piece.kind == "set":
            number = self._new()
            self.consuming[number] = _State(piece.ranges, piece.inverted, after)
            return number
        if piece.kind == "then":
            for member in reversed(piece.pieces):
                after = self._lay(member, after)
            return after
        if piece.kind == "or":
            return self._branch([self._lay(member, after) for member in piece.pieces])
        return self._lay_repeat(piece, after)

    def _lay_repeat(self, piece: _Piece, after: int) -> int:
        (member,) = piece.pieces
        start = after
        if piece.most is None:
            start = self._branch([after])
            self.branches[start].append(self._lay(member, start))
        else:
            for _ in range(piece.most - piece.least):
                start = self._branch([self._lay(member, start), after])
        for _ in range(piece.least):
            start = self._lay(member, start)
        return start

    def _branch(self, targets: List[int]) -> int:
        number = self._new()
        self.branches[number] = targets
        return number


def _ranges_of(text: str) -> Tuple[Tuple[str, str], ...]:
    """`a-z0-9_` as ranges."""
    ranges = []
    for piece in re.findall(r".-.|.", text):
        ranges.append((piece[0], piece[-1]))
    return tuple(ranges)
