"""Rendering in a third of the time, for tests that render hundreds of times.

Copier compiles 2,000 texts for one rendering, nearly the same ones every time, and asks git about each of 200 files;
Cookiecutter compiles each file.  Here a text is compiled once, for this and later processes, and git is not asked where
it would have nothing to say.
What is rendered is the same: tests/integration/template/test_parity.py compares it with what Copier makes by itself.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

import jinja2
from copier._main import Worker
from jinja2 import Environment

_BUILD = Path(__file__).resolve().parents[2] / "build"
_KEPT = _BUILD / f"jinja-{jinja2.__version__}-{sys.implementation.cache_tag}"
_compile = Environment.compile
_known: dict[bytes, CodeType] = {}


@contextmanager
def rendering(is_new: bool) -> Iterator[None]:
    """Make both engines quick within the block.

    Arguments:
        is_new: whether it renders to where nothing is yet, which is not a git repository then.
    """
    if not _known and _KEPT.exists():
        _known.update(marshal.loads(_KEPT.read_bytes()))
    before = len(_known)
    asks_git = Worker._sync_git_index_executable_bit
    Environment.compile = _compile_once  # type: ignore[method-assign]
    if is_new:
        Worker._sync_git_index_executable_bit = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Environment.compile = _compile  # type: ignore[method-assign]
        Worker._sync_git_index_executable_bit = asks_git  # type: ignore[method-assign]
    if len(_known) > before:
        _BUILD.mkdir(exist_ok=True)
        number, name = tempfile.mkstemp(dir=_BUILD)
        with os.fdopen(number, "wb") as file:
            file.write(marshal.dumps(_known))
        Path(name).replace(_KEPT)


def _compile_once(self: Environment, source: Any, *arguments: Any, **options: Any) -> Any:
    syntax = (self.block_start_string, self.variable_start_string, self.comment_start_string)
    white_space = (self.trim_blocks, self.lstrip_blocks, self.newline_sequence, self.keep_trailing_newline)
    rules = (self.sandboxed, *self.extensions, *self.filters, *self.tests)
    digest = hashlib.sha256(repr((syntax, white_space, rules, source, arguments, options)).encode()).digest()
    if digest not in _known:
        _known[digest] = _compile(self, source, *arguments, **options)
    return _known[digest]
