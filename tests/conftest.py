"""Settings for all tests, and where this repository is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest

from support.environment import REPOSITORY

# Some images say that Python shall not keep what it compiled: each of thousands of processes would compile all of the
# runtime, which takes longer than what most of them are for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

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


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this repository's working tree."""
    return REPOSITORY
