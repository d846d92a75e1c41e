"""Play a whole run here: every job in processes and a folder of its own, against a GitHub on the loopback interface.

An approved plan is really executed.  Team code gets the variables that the answers name, and those of --secret-env,
from this terminal, and no others.  Machines are not isolated.  Without one of the answers below you are asked.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Tuple

from agent_runtime import codes
from agent_runtime.cli import Call, make_out
from agent_runtime.commands import local_options
from agent_runtime.local.simulate.scenario import HELP, Scenario
from agent_runtime.model import names
from agent_runtime.model.inputs import LOGIN


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    local_options.add_target(parser)
    parser.add_argument("--dry-run", action="store_true", help="ask and check everything, execute nothing (DRY_RUN)")
    parser.add_argument("--out", type=Path, help="folder for the run's files; must not exist (agent-run/simulated-…)")
    parser.add_argument(
        "--secret-env",
        action="append",
        default=[],
        type=_secret,
        metavar="JOB:NAME",
        help="a variable of this terminal that team code gets in the job investigate or act",
    )
    answers = parser.add_mutually_exclusive_group()
    answers.add_argument(
        "--approve",
        action="append",
        nargs="?",
        const="",
        default=[],
        type=_login,
        metavar="LOGIN",
        help="this person approves; once for each approval that the plan needs, or without a login for all of them",
    )
    for scenario in (scenario for scenario in Scenario if scenario is not Scenario.APPROVE):
        answers.add_argument(
            "--" + scenario.value, dest="scenario", action="store_const", const=scenario, help=HELP[scenario]
        )


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.job.context import now  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.local.simulate import run as play  # noqa: PLC0415
    from agent_runtime.local.terminal import screens  # noqa: PLC0415
    from agent_runtime.model import config, inputs  # noqa: PLC0415

    scenario = Scenario.APPROVE if call.options.approve else call.options.scenario
    if scenario is None and not play.is_terminal():
        raise codes.BadInput(codes.USAGE, "nobody can be asked here; add --approve, --reject or another answer")
    folder = call.options.out or Path(names.DEFAULT_OUT) / f"simulated-{now():%Y%m%dT%H%M%S.%fZ}"
    context_text = call.options.context or call.environ.get("ACTION_CONTEXT") or ""
    inputs.context(context_text)

    def ask(page: str, what: str) -> bool:
        parts = screens(page, *shutil.get_terminal_size())
        try:
            for number, part in enumerate(parts):
                more = f"-- {number} of {len(parts)} screens; Return: the next, q: the question -- "
                if number and input(more).strip().lower().startswith("q"):
                    break
                if not number and len(parts) > 1:
                    input("-- Return: what the reviewer reads -- ")
                print(part, flush=True)
            while True:
                answer = input(f"Approve exactly this: {what}? [y/N] ").strip().lower()
                if answer in ("y", "yes", "n", "no", ""):
                    return answer in ("y", "yes")
                print("Answer y or n.")
        except EOFError:
            return False  # whoever went away approved nothing

    def show(line: str) -> None:
        print(line, flush=True)

    request = play.Request(
        root=call.root.resolve(),
        folder=folder.resolve(),
        resource=inputs.resource(call.options.resource or call.environ.get("TARGET_RESOURCE")),
        context_text=context_text,
        trigger=inputs.trigger(call.options.trigger or call.environ.get("TRIGGER_SOURCE")),
        dry_run=call.options.dry_run,
        trace_id=inputs.trace_id(call.options.trace_id or call.environ.get("TRACE_ID"), ""),
        scenario=scenario,
        approvers=[login for login in call.options.approve if login],
        secrets=call.options.secret_env,
    )
    by_issue = config.load(call.root).approval_gate == config.ISSUE_GATE
    make_out(folder, new=True)
    if by_issue:
        from agent_runtime.local.simulate.issue_run import SimulatedIssueRun  # noqa: PLC0415

        ended = SimulatedIssueRun(request, show, ask).play()
    else:
        ended = play.SimulatedRun(request, show, ask).play()
    if not (ended.bundle / names.MANIFEST_NAME).is_file():
        print("outcome: unknown; there is no trail, and the first error above says why")
        return ended.exit_code or codes.EXIT_TRAIL_INCOMPLETE
    print(f"outcome: {ended.outcome.replace('_', ' ')}")
    for line in ended.why:
        print(f"why:     {line}")
    print(f"page:    {ended.page}")
    print(f"bundle:  {ended.bundle}")
    return ended.exit_code


def _login(text: str) -> str:
    if text and not LOGIN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"not a login: {text!r}")
    return text


def _secret(text: str) -> Tuple[str, str]:
    job, _, name = text.partition(":")
    if job not in ("investigate", "act") or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"not investigate:NAME or act:NAME: {text!r}")
    return job, name
