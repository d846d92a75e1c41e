"""The command line: reads the words, runs one command, and says in one line what went wrong."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Collection, List, Mapping, NoReturn, Optional, Type

from agent_runtime import codes

if TYPE_CHECKING:
    from agent_runtime.agent import AgentRunner
    from agent_runtime.job.context import JobContext
    from agent_runtime.model.documents import Run

# What needs the team's class: it runs team code, and nothing else does.
TEAM = {
    "investigate": "run the agent's investigate() and hand over what it found; changes nothing",
    "execute": "run the agent's act() for the plan that Verify authorized",
}
# What never runs team code; started as `python -I agent_runtime/__main__.py`.
GATE = {
    "start": "check whether this run may start at all",
    "seal": "judge what was found, seal the plan, write the reviewer's page",
    "ask": "where an issue is the gate: open the issue in which an approver answers",
    "approve": "after a human's click or comment: record whose it was",
    "claim": "where an issue is the gate: take the plan for this run",
    "authorize": "the step Verify: check everything again before anything may act",
    "record": "collect the trail, say how the run ended, check that it is complete",
    "deliver": "bring a copy of the trail to the audit backend",
    "attest": "say what GitHub is to sign of the run's bundle",
    "notify": "send messages: a plan waits, it needs one more approval, or this is how its run ended",
}
LOCAL = {
    "simulate": "play a whole run here, with you as the reviewer",
    "verify": "check the bundle of a run, offline",
    "list": "list the bundles in folders, check each, and say which runs left none",
    "policy": "explain what the policy says of an action or a plan, try the team's cases",
    "check": "check that this repository is complete",
    "drift": "say which files of the template are not as it renders them",
    "update": "bring the template's newest release, or another answer, into this repository",
    "propose": "propose the template's newest release on GitHub; for agent-update.yml",
    "setup": "create the environments of the gate on GitHub, or correct them",
    "doctor": "say what is open on GitHub and here before the agent may act",
    "report": "say what the agent and its reviewers did, and what a human must look at",
}
_EXIT_CODES = """\
exit codes: 0 fine, 2 bad input, 3 refused by the gate, 4 the action failed,
            5 nobody knows the outcome, 6 the trail is incomplete, 1 anything else
"""
# As a shell reports a program that stopped because nobody reads its output any more (SIGPIPE).
_NOBODY_READS = 141
# Packages of the locks; what they import in turn comes with them.
_PACKAGES = ("apprise", "prometheus_client", "pydantic", "requests", "rfc8785", "urllib3", "yaml")


@dataclass(frozen=True)
class Call:
    """One call of the command line.

    Arguments:
        root: the repository.
        agent_class: the team's class, or None where no team code is loaded.
    """

    root: Path
    agent_class: Optional[Type[AgentRunner]]
    options: Any
    environ: Mapping[str, str]

    def job(self, id: str, trace_id: Optional[str] = None, run: Optional[Run] = None) -> JobContext:
        """The context of the job that this call is part of; its folder for outputs is made."""
        from agent_runtime.job.context import set_up  # noqa: PLC0415  each command pays for what it uses

        made = set_up(self.root, self.options.out, id, self.environ, trace_id, run=run)
        make_out(self.options.out)
        return made

    def required(self, variable: str) -> str:
        """The value of a variable that the workflow always sets."""
        value = self.environ.get(variable, "")
        if not value:
            raise codes.BadInput(codes.RUN_CONTEXT_MISSING, f"{variable} is not set")
        return value

    def in_workflow(self) -> None:
        """Refuse where no run is described.

        Raises:
            BadInput: INP005.
        """
        self.required("GITHUB_RUN_ID")

    def agent(self) -> AgentRunner:
        """The team's agent."""
        if self.agent_class is None:
            raise codes.BadInput(codes.USAGE, "this needs the team's code: python agent_runner.py")
        return self.agent_class()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise codes.BadInput(codes.USAGE, message)


def main(agent_class: Type[AgentRunner], arguments: Optional[List[str]] = None) -> int:
    """Run one command for an agent and return the process's exit code.

    Arguments:
        agent_class: the team's class; made without arguments, and only by the commands that need it.
        arguments: the command line, by default the process's own.
    """
    script = Path(sys.modules[agent_class.__module__].__file__ or "agent_runner.py").resolve()
    return _run(script.name, script.parent, {**TEAM, **LOCAL}, agent_class, arguments)


def main_without_agent(root: str, arguments: Optional[List[str]] = None) -> int:
    """Run one command in a process that loads no team code, and return its exit code."""
    here = Path(__file__).with_name("commands")  # some answers leave a command out
    commands = {name: what for name, what in {**GATE, **LOCAL}.items() if (here / f"{name}.py").is_file()}
    return _run("agent_runtime", Path(root), commands, None, arguments)


def _run(
    program: str,
    root: Path,
    commands: Mapping[str, str],
    agent_class: Optional[Type[AgentRunner]],
    arguments: Optional[List[str]],
) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a code page without a sign costs the sign, not the command
            stream.reconfigure(errors="backslashreplace")
    options: Any = None
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        options = build_parser(program, commands, words[:1]).parse_args(words)
        code: int = options.run(Call(root, agent_class, options, dict(os.environ)))
        return code
    except codes.AgentError as problem:
        complain(problem)
        return problem.exit_code
    except ModuleNotFoundError as problem:
        missing = _missing(problem)
        if missing is None:
            raise
        complain(missing)
        return missing.exit_code
    except BrokenPipeError:
        return _NOBODY_READS
    except OSError as problem:
        unwritable = _unwritable(problem, options)
        complain(unwritable)
        return unwritable.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        _flush()


def build_parser(program: str, commands: Mapping[str, str], loaded: Collection[str]) -> argparse.ArgumentParser:
    """Build the parser of a program.

    Arguments:
        commands: by name, what each does in a few words.
        loaded: those that get their options; each costs an import.
    """
    parser = _Parser(
        prog=program,
        description="An agent that may act on production only after a human approved exactly what it will do.",
        epilog="\n".join(f"  {name:<12} {what}" for name, what in commands.items()) + "\n\n" + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found = parser.add_subparsers(
        metavar="COMMAND",
        title="command",
        help="one of those below; each has a --help",
        required=True,
        parser_class=_Parser,
    )
    for name, what in commands.items():
        if name not in loaded:
            found.add_parser(name, allow_abbrev=False, description=what)
            continue
        command = import_module(f"agent_runtime.commands.{name}")
        added = found.add_parser(
            name,
            description=command.__doc__,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(added)
        added.set_defaults(run=command.run)
    return parser


def make_out(out: Path, *, new: bool = False) -> None:
    """Make the folder that --out names, before anything else happens.

    Arguments:
        new: whether it must not exist yet.

    Raises:
        BadInput: it can't be made, or not written to (INP006).
        OSError: the disk is full, which is not a matter of the command line.
    """
    import tempfile  # noqa: PLC0415

    try:
        if new and out.exists():
            raise codes.BadInput(codes.USAGE, f"--out {out} exists already; name a new folder")
        if out.exists() and not out.is_dir():
            raise codes.BadInput(codes.USAGE, f"--out {out} is a file; name a folder")
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(out)):
            pass
    except OSError as problem:
        if problem.errno == errno.ENOSPC:
            raise
        why = problem.strerror or type(problem).__name__
        raise codes.BadInput(
            codes.USAGE, f"--out {out} is invalid ({why}); name a folder that can be written"
        ) from None


def complain(problem: codes.AgentError) -> None:
    """Print the one line that says what is wrong and what to do."""
    from agent_runtime.text import escape  # noqa: PLC0415  only when something went wrong

    print("error: " + escape.log_line(problem.line()), file=sys.stderr)


class Ended(codes.AgentError):
    """A command that ended with a code and an exit code of its own."""

    def __init__(self, code: str, message: str, exit_code: int) -> None:
        super().__init__(code, message)
        self.exit_code = exit_code


def _flush() -> None:
    """Write what is left; where nobody reads it, as behind `| head`, it goes nowhere, and in silence."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _unwritable(problem: OSError, options: Any) -> codes.AgentError:
    """Say what a file's trouble means: for a job, that its trail is incomplete."""
    if hasattr(options, "out"):
        return codes.TrailIncomplete(codes.TRAIL_UNWRITABLE, str(problem))
    return Ended(codes.FILE_UNUSABLE, str(problem), codes.EXIT_INTERNAL)


def _missing(problem: ModuleNotFoundError) -> Optional[codes.AgentError]:
    """Say in words which part of the installation is not there; None where it is the team's own business."""
    name = (problem.name or "").partition(".")[0]
    if name == "aimgentix":
        return codes.BadInput(codes.SDK_MISSING, "sdk/aimgentix can't be imported")
    if name == "agent_runtime":
        return codes.BadInput(codes.RUNTIME_MISSING, f"{problem.name} can't be imported")
    if name in _PACKAGES:
        return codes.BadInput(codes.PACKAGE_MISSING, f"{name} can't be imported")
    return None
