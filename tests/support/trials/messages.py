"""Trials of the codes of messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from subprocess import CompletedProcess

from support import interpreter
from support.gate_world import TEMPLATE
from support.receivers import nobody
from support.trials.lab import Attempt, Lab, trial
from support.world import locked_packages


def sender(lab: Lab) -> Callable[[str], CompletedProcess[str]]:
    """What sends that a plan waits, to these addresses, as the workflow starts it."""
    world = lab.world()
    _, handover = world.sealed()
    temporary = lab.place()
    temporary.mkdir()
    (temporary / "agent-gate").symlink_to(locked_packages(TEMPLATE / "requirements-notify.lock"))

    def send(addresses: str) -> CompletedProcess[str]:
        return world.command(
            "notify",
            ["notify", "waiting", "--timeout", "30"],
            python=(interpreter.python(), "-I", "-S"),
            RUNNER_TEMP=str(temporary),
            AGENT_NOTIFY_URLS=addresses,
            APPROVED_DIGEST=handover.plan_digest,
            REPORT_ID=handover.report_id,
            REPORT_DIGEST=handover.report_digest,
        )

    return send


def receiver(lab: Lab) -> str:
    """An address that takes messages."""
    return "json" + lab.serve(lambda _: (200, "ok")).removeprefix("http")


@trial("NOTE01")
def a_receiver_that_is_gone(lab: Lab) -> Iterator[Attempt]:
    """The address that the log names by its number is fixed."""
    send = sender(lab)
    good = receiver(lab)
    with nobody() as port:
        yield lambda: send(f"{good}\njson://127.0.0.1:{port}")
    yield lambda: send(f"{good}\n{receiver(lab)}")


@trial("NOTE02")
def no_address(lab: Lab) -> Iterator[Attempt]:
    """The secret gets one."""
    send = sender(lab)
    yield lambda: send("\n \n")
    yield lambda: send(receiver(lab))
