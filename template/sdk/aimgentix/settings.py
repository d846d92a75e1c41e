"""Settings: constructor arguments, else environment variables, else defaults."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Mapping, Optional, TypeVar

    T = TypeVar("T")


class SettingError(ValueError):
    """A setting has a value that it can't have; the message names it."""


def text(given: Optional[str], variable: str) -> Optional[str]:
    """Return `given`, else the environment variable `variable`, without whitespace around it; empty is None."""
    return (given if given is not None else os.environ.get(variable, "")).strip() or None


def flag(given: Optional[bool], variable: str) -> bool:
    """Return `given`, else what the environment says (1, true, yes, on; 0, false, no, off), else False.

    Raises:
        SettingError: the variable holds something else.
    """
    if given is not None:
        return bool(given)
    value = os.environ.get(variable, "").strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("", "0", "false", "no", "off"):
        return False
    raise SettingError(f"{variable} must be true or false, not {value!r}")


def number(given: Optional[T], variable: str, kind: Callable[[str], T], default: T, least: float) -> T:
    """Return `given`, else the environment variable as `kind` (int or float), else `default`; at least `least`.

    Raises:
        SettingError: it is no such number.
    """
    value = os.environ.get(variable) if given is None else str(given)
    if not value:
        return default
    try:
        result = kind(value)
        if least <= float(result) < float("inf"):  # type: ignore[arg-type]
            return result
    except ValueError:
        pass
    name = f"{variable} (or its argument)" if given is not None else variable
    raise SettingError(f"{name} must be a number of at least {least:g}, not {value!r}")


def process_name() -> str:
    """Return a name for this process: its host and its id."""
    host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return f"{host or 'host'}-{os.getpid()}"


def trace_parent(environment: Mapping[str, str]) -> Optional[str]:
    """Return the trace id of a W3C `TRACEPARENT` variable, or None when there is no valid one."""
    parts = environment.get("TRACEPARENT", "").split("-")
    valid = len(parts) >= 4 and len(parts[1]) == 32 and not parts[1].strip("0123456789abcdef") and parts[1].strip("0")
    return parts[1] if valid else None


def journal_directory(environment: Mapping[str, str]) -> str:
    """Return the journal's folder: AIMGENTIX_JOURNAL_DIR, else in RUNNER_TEMP, else in the user's state folder.

    Raises:
        SettingError: there is none of these: no HOME, and no entry in the list of users.
    """
    if environment.get("AIMGENTIX_JOURNAL_DIR"):
        return environment["AIMGENTIX_JOURNAL_DIR"]
    if environment.get("RUNNER_TEMP"):
        return os.path.join(environment["RUNNER_TEMP"], "aimgentix", "journal")
    state = environment.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    if state.startswith("~"):
        raise SettingError(
            "there is no home folder for the journal: AIMGENTIX_JOURNAL_DIR (or journal_dir) must name one"
        )
    return os.path.join(state, "aimgentix", "journal")
