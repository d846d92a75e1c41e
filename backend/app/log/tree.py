"""The Merkle tree of RFC 6962 and RFC 9162: hashes, proofs, and their verification. Pure functions.

A tree of `size` leaves has one root. What is needed of a tree that is too large to be at hand comes from a `Subtree`: a
function that returns the hash of the complete subtree of 2**level leaves whose number at that level is `index`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

HASH_BYTES = 32

Subtree = Callable[[int, int], bytes]

EMPTY_ROOT = hashlib.sha256(b"").digest()


class InvalidProof(ValueError):
    """A proof that doesn't show what it is given for; the message says where it fails."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree with these leaf hashes."""
    if not leaves:
        return EMPTY_ROOT
    row = list(leaves)
    while len(row) > 1:
        # An odd one at the end has no sibling and moves up as it is: that is RFC 6962's split at a power of two.
        above = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            above.append(row[-1])
        row = above
    return row[0]


def range_hash(start: int, end: int, subtree: Subtree) -> bytes:
    """Return the hash over the leaves from `start` up to, not including, `end`.

    `start` has to be where a node of RFC 6962's recursion starts, as 0 and every split point are.
    """
    if start == end:
        return EMPTY_ROOT
    complete: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        complete.append(subtree(level, start >> level))
        start += 1 << level
    whole = complete.pop()
    while complete:
        whole = node_hash(complete.pop(), whole)
    return whole


def prove_inclusion(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the hashes that lead from leaf `index` to the root of the tree of `size` leaves, the lowest first."""
    if not 0 <= index < size:
        raise InvalidProof(f"there is no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_hash(middle, end, subtree))
            end = middle
        else:
            path.append(range_hash(start, middle, subtree))
            start = middle
    path.reverse()
    return path


def prove_consistency(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return the hashes that show that the tree of `new` leaves begins with the tree of `old` leaves."""
    if not 0 <= old <= new:
        raise InvalidProof(f"a tree of {old} leaves is not the beginning of one of {new}")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end = 0, new
    whole = True  # whether the part that is left of the old tree is all of it, so that its hash is known
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(range_hash(middle, end, subtree))
            end = middle
        else:
            path.append(range_hash(start, middle, subtree))
            start, whole = middle, False
    if not whole:
        path.append(range_hash(start, end, subtree))
    path.reverse()
    return path


def root_by_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that the tree of `size` leaves has if leaf `index` has the hash `leaf`.

    Raises:
        InvalidProof: the proof is not one for this place.
    """
    if not 0 <= index < size:
        raise InvalidProof(f"there is no leaf {index} in a tree of {size}")
    root = leaf
    for sibling, is_left in _siblings(index, size - 1, proof):
        root = node_hash(sibling, root) if is_left else node_hash(root, sibling)
    return root


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Do nothing if `proof` shows that the tree with `new_root` begins with the leaves of the tree with `old_root`.

    Raises:
        InvalidProof: it doesn't.
    """
    if not 0 <= old <= new:
        raise InvalidProof(f"a tree of {old} leaves is not the beginning of one of {new}")
    if old == 0 and old_root != EMPTY_ROOT:
        raise InvalidProof("an empty tree has another root")
    if old == new and old_root != new_root:
        raise InvalidProof("two trees of one size have different roots")
    if old in (0, new):
        if proof:
            raise InvalidProof("the proof has hashes where none are needed")
        return
    # A complete tree is a node of every newer one; of another one the proof names the last complete node.
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not hashes:
        raise InvalidProof("the proof is empty")
    place, last = old - 1, new - 1
    while place % 2:
        place, last = place >> 1, last >> 1
    older = newer = hashes[0]
    for sibling, is_left in _siblings(place, last, hashes[1:]):
        if is_left:
            older = node_hash(sibling, older)
        newer = node_hash(sibling, newer) if is_left else node_hash(newer, sibling)
    if older != old_root:
        raise InvalidProof("the proof doesn't lead to the root of the older tree")
    if newer != new_root:
        raise InvalidProof("the proof doesn't lead to the root of the newer tree")


def _siblings(place: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Give the hashes of a proof, each with whether it stands left of the node that is climbed from.

    Args:
        place: of the node in its level.
        last: the place of the last node in that level.
    """
    sides: list[bool] = []
    while last:
        is_left = place % 2 == 1 or place == last
        sides.append(is_left)
        while is_left and place and place % 2 == 0:  # levels on which the last node has no sibling
            place, last = place >> 1, last >> 1
        place, last = place >> 1, last >> 1
    if len(sides) != len(proof):
        raise InvalidProof(f"the proof has {len(proof)} hashes, and {len(sides)} lead to the root")
    return zip(proof, sides, strict=True)


def _split(leaves: int) -> int:
    """Return the largest power of two below `leaves`."""
    return int(1 << ((leaves - 1).bit_length() - 1))
