"""Settings for all tests, and where this repository is."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

from support.environment import REPOSITORY

# Some images say that Python shall not keep what it compiled: each of thousands of processes would compile all of the
# runtime, which takes longer than what most of them are for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell lets what it puts into the background (`make test &`, and some CI systems) ignore Ctrl-C, and every program
# that a test starts would inherit that.  What a program does of itself is tried, so each gets what a terminal gives.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline and a slow draw measure the machine, not the property.  CI draws the same examples every time; `make fuzz`
# looks for new ones.
hypothesis.settings.register_profile(
    "default",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
hypothesis.settings.load_profile("default")
# `make fuzz`: other examples each time, and many more.
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "2000")))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the long tests begin first, one a worker: begun at the end, one would let the other workers wait.

    Of what is collected each worker gets a part, and begins at its front; who has none left takes from another's end.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        first = long[worker::workers]
        size = max(0, (len(items) - len(ordered)) // (workers - worker) - len(first))
        ordered += [*first, *others[:size]]
        del others[:size]
    items[:] = [*ordered, *others]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this repository's working tree."""
    return REPOSITORY
