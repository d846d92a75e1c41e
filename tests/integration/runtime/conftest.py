"""Shared by the tests of the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gate_world import REPOSITORY, GateWorld, close_the_gate, make_root
from support.github import FullGitHub
from support.simulated import clone
from support.toolkit import serve

__all__ = ["clone", "serve", "world"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GateWorld]:
    """A repository whose gate is closed, and a run of it that has just begun."""
    with FullGitHub(REPOSITORY) as github:
        close_the_gate(github)
        yield GateWorld(make_root(tmp_path / "repository"), github)
