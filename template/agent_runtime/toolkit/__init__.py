"""What use cases share, so that a team's file holds decisions only.

`services` reads the team's catalogue, `metrics` measures error rates, values and trends, `usage` how much of its limits
a service uses, `health` asks health endpoints, `http` makes single bounded requests, `git` changes a configuration by
commits, `rollback` undoes one of its changes on the server, `scaling` reads and sets capacity, `keys` asks about keys
and replaces them, `files` lists a folder and deletes from it, `waiting` polls until a deadline.
Whatever goes wrong arrives as one exception: `errors.ToolError`.

A module loads when something of it is first used, and its libraries when it uses them: a team's file names what it
needs at its top, and `python agent_runner.py --help` waits for none of it.
"""

from __future__ import annotations

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from types import ModuleType

_MODULES = ("files", "git", "health", "http", "keys", "metrics", "rollback", "scaling", "services", "usage", "waiting")


def __getattr__(name: str) -> ModuleType:
    """Give a module that loads itself on first use: `from agent_runtime.toolkit import http` asks here."""
    spec = find_spec(__name__ + "." + name) if name in _MODULES else None
    if spec is None or spec.loader is None:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[spec.name] = globals()[name] = module
    spec.loader.exec_module(module)
    return module
