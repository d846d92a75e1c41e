"""The command line of an agent repository: reads arguments and environment, calls one phase, tells how it went."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NoReturn, Optional, Type

from agent_runtime import codes
from agent_runtime.local.simulate.scenario import HELP, Scenario
from agent_runtime.model import names

if TYPE_CHECKING:
    from agent_runtime.agent import AgentRunner
    from agent_runtime.job.run_context import Desk

_EPILOG = """\
phases, in the order of a run:
  investigate   look, evaluate the policy, seal the plan; no secrets, no write access
  ask           where an issue is the gate: open the issue in which an approver answers
  approve       after a human's click or comment: write down whose it was, from GitHub's record
  act           verify everything again, then do exactly what was approved
  record        collect the trail, say how the run ended, check that it is complete
  deliver       bring a copy of the trail to the audit backend

at a desk:
  policy check  explain, rule by rule, what the policy says of an action
  simulate      play a whole run here, with you as the reviewer
  verify        check the bundle of a run, offline
  check         check that this repository is whole
  setup         create both environments of the gate on GitHub, or mend them
  doctor        say what is open on GitHub and here before the agent may act
  report        say what the agent and its reviewers did in the last days, and what a human must look at

exit codes: 0 fine, 2 bad input, 3 refused by the gate, 4 the action failed,
            5 nobody knows the outcome, 6 the trail is incomplete, 1 anything else
"""


@dataclass(frozen=True)
class _Call:
    """One call of the command line.

    Arguments:
        agent_class: the team's class; only the phases that need the agent make one.
        script: the repository's agent_runner.py.
    """

    agent_class: Type[AgentRunner]
    script: Path
    options: Any
    environ: Mapping[str, str]

    def desk(self, job: str, trace_id: Optional[str] = None) -> Desk:
        """The surroundings of the phase that this call runs."""
        from agent_runtime.job.run_context import set_up  # noqa: PLC0415

        made = set_up(self.script.parent, self.options.out, job, self.environ, trace_id)
        _make_out(self.options.out)
        return made

    def required(self, variable: str) -> str:
        """The value of a variable that the workflow always sets."""
        value = self.environ.get(variable, "")
        if not value:
            raise codes.BadInput(codes.RUN_CONTEXT_MISSING, f"{variable} is not set")
        return value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise codes.BadInput(codes.USAGE, message)


def main(agent_class: Type[AgentRunner], arguments: Optional[List[str]] = None) -> int:
    """Run one command for an agent and return the process's exit code.

    Arguments:
        agent_class: the team's class; made without arguments, and only by the phases that need it.
        arguments: the command line, by default the process's own.
    """
    script = Path(sys.modules[agent_class.__module__].__file__ or "agent_runner.py").resolve()
    options: Any = None
    try:
        options = _parser(script.name).parse_args(arguments)
        command: Callable[[_Call], int] = options.command
        return command(_Call(agent_class, script, options, dict(os.environ)))
    except codes.AgentError as problem:
        _complain(problem)
        return problem.exit_code
    except ModuleNotFoundError as problem:
        missing = _missing(problem)
        if missing is None:
            raise
        _complain(missing)
        return missing.exit_code
    except BrokenPipeError:
        return _NOBODY_READS
    except OSError as problem:
        told = _unwritable(problem, options)
        _complain(told)
        return told.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        _flush()


# As a shell tells of a program that stopped because nobody reads its output any more (SIGPIPE).
_NOBODY_READS = 141


def _flush() -> None:
    """Write what is left; where nobody reads it, as behind `| head`, it goes nowhere, and in silence."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _unwritable(problem: OSError, options: Any) -> codes.AgentError:
    """Say what a file's trouble means: for a phase, that its trail is not whole."""
    if getattr(options, "leaves_trail", False):
        return codes.TrailIncomplete(codes.TRAIL_UNWRITABLE, str(problem))
    return _AgentProblem(codes.FILE_UNUSABLE, str(problem), codes.EXIT_INTERNAL)


def _make_out(out: Path, *, new: bool = False) -> None:
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
            codes.USAGE, f"--out {out} can't be used ({why}); name a folder that can be written"
        ) from None


# Packages of requirements.in; what they import in turn comes with them.
_PACKAGES = ("prometheus_client", "pydantic", "requests", "rfc8785", "yaml")


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


def _complain(problem: codes.AgentError) -> None:
    from agent_runtime.text import escape  # noqa: PLC0415  only when something went wrong

    print("error: " + escape.log_line(problem.line()), file=sys.stderr)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description="An agent that may act on production only after a human approved exactly what it will do.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        metavar="COMMAND",
        title="command",
        help="one of those below; each has a --help",
        required=True,
        parser_class=_Parser,
    )

    def add(name: str, command: Any, description: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, description=description, allow_abbrev=False)
        added.set_defaults(command=command)
        return added

    def add_out(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--out", type=Path, default=Path(names.DEFAULT_OUT), help="folder for what the phase writes (%(default)s)"
        )
        added.set_defaults(leaves_trail=True)

    def add_target(added: argparse.ArgumentParser) -> None:
        added.add_argument("--resource", help="what to look at, for example a service's name (TARGET_RESOURCE)")
        added.add_argument("--context", help="JSON object with details of the trigger (ACTION_CONTEXT)")
        added.add_argument("--trace-id", help="ties this run to an alert or ticket (TRACE_ID)")
        added.add_argument("--trigger", help="manual, alert or schedule (TRIGGER_SOURCE)")

    def add_dry_run(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--dry-run", action="store_true", help="rehearse: ask and check everything, execute nothing (DRY_RUN)"
        )

    investigate = add(
        "investigate",
        _investigate,
        "Run investigate(), evaluate the policy and write the report. Changes nothing. Outside a workflow the report "
        "is shown here, and its plan can't be executed.",
    )
    add_target(investigate)
    add_out(investigate)
    add_dry_run(investigate)
    investigate.add_argument(
        "--sealed-minutes-ago",
        type=_minutes,
        default=0,
        metavar="N",
        help="date the plan N minutes back, so that it expires earlier; for trying out expiry",
    )

    approve = add(
        "approve",
        _approve,
        "Runs in the environment agent-approval, after the click: reads GitHub's approval record and writes the "
        "receipt. Reads APPROVED_DIGEST and APPROVALS_BEFORE from the environment. Where an issue is the gate: runs "
        "after a comment and examines it.",
    )
    add_out(approve)

    ask = add(
        "ask",
        _ask,
        "Where an issue is the gate: opens the issue in which an approver reads the plan and answers with a comment. "
        "Reads REPORT_SHA256, APPROVED_DIGEST, REPORT_ARTIFACT_ID and REPORT_ARTIFACT_SHA256 from the environment.",
    )
    ask.add_argument("--report", type=Path, required=True, help="the downloaded investigation-report.json")
    add_out(ask)

    act = add(
        "act",
        _act,
        "Runs in the environment agent-act, or in none where an issue is the gate. Refuses unless the report, its "
        "plan, its approval and the gate's settings are what the reviewer saw. Reads REPORT_SHA256 and APPROVED_DIGEST "
        "from the environment.",
    )
    act.add_argument(
        "--auto",
        action="store_true",
        help="this is the job act-auto, in the environment agent-auto: execute what the policy sealed without asking",
    )
    act.add_argument(
        "--report", type=Path, help="the downloaded investigation-report.json; not where an issue is the gate"
    )
    add_out(act)

    record = add(
        "record",
        _record,
        "Collects what the other jobs uploaded into a bundle and checks that the trail is complete. Reads NEEDS "
        "(toJSON(needs)) from the environment.",
    )
    record.add_argument("--inputs", type=Path, required=True, help="folder with investigate/, approve/ and act/")
    add_out(record)

    deliver = add(
        "deliver",
        _deliver,
        "Brings a copy of the trail to the audit backend (AIMGENTIX_API_URL, AIMGENTIX_API_KEY). The bundle stays as "
        "it is, and a backend that is slow or gone fails nothing: what it did not take waits in the bundle.",
    )
    deliver.add_argument("bundle", type=Path, help="folder with bundle.json")
    deliver.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="SECONDS", help="how long to try (%(default)g)"
    )

    simulate = add(
        "simulate",
        _simulate,
        "Runs every phase in a process and a folder of its own, against a GitHub on the loopback interface. An "
        "approved plan is really executed, with the credentials of this terminal. Without one of the answers below "
        "you are asked.",
    )
    add_target(simulate)
    add_dry_run(simulate)
    simulate.add_argument("--out", type=Path, help="folder for the run's files; must not exist (agent-run/simulated-…)")
    answers = simulate.add_mutually_exclusive_group()
    for scenario in Scenario:
        answers.add_argument(
            "--" + scenario.value, dest="scenario", action="store_const", const=scenario, help=HELP[scenario]
        )

    verify = add(
        "verify",
        _verify,
        "Recomputes every digest and hash chain of an audit bundle and says what does not hold. Needs no network.",
    )
    verify.add_argument("bundle", type=Path, help="folder with bundle.json")
    verify.add_argument("--digest", type=_digest, help="SHA-256 of bundle.json, as the run's summary told it")

    _add_policy_questions(add("policy", _policy_check, "Looks at the policy of this agent."))
    add("check", _check, "Checks that this repository is whole: answers, configuration, policy, workflows, runtime.")

    _add_repository_commands(add)
    return parser


def _add_repository_commands(add: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    """Add what is about the repository on GitHub instead of one run."""

    def add_repository(added: argparse.ArgumentParser) -> None:
        added.add_argument("--repo", metavar="OWNER/NAME", help="by default the one of .github/agent-config.yml")

    setup = add(
        "setup",
        _setup,
        "Creates the environments agent-approval and agent-act on GitHub, or mends them, until they are a gate. Needs "
        "the token of an administrator in GH_TOKEN. A second run changes nothing.",
    )
    add_repository(setup)
    setup.add_argument("--dry-run", action="store_true", help="print the requests and change nothing")
    setup.add_argument(
        "--reviewer",
        action="append",
        default=[],
        metavar="LOGIN|ORG/TEAM",
        help="who may approve, up to six times; by default the approvers of .github/agent-config.yml",
    )
    setup.add_argument(
        "--wait-timer", type=_minutes, metavar="MINUTES", help="pause before an approval lets the run go on"
    )
    setup.add_argument("--exact", action="store_true", help="also remove deployment branches that are too many")

    doctor = add(
        "doctor",
        _doctor,
        "Checks the settings on GitHub and this repository, and prints what no machine can check as questions. Changes "
        "nothing. Reads the token from GH_TOKEN; exit code 3 when something is open.",
    )
    add_repository(doctor)
    doctor.add_argument("--json", action="store_true", help="print one JSON document")

    report = add(
        "report",
        _report,
        "Reads the runs of the last days from GitHub and prints a page: outcomes, response times, refusals, anomalies. "
        "Reads the token from GITHUB_TOKEN or GH_TOKEN; exit code 1 when something needs a human's look.",
    )
    report.add_argument(
        "--repo",
        metavar="OWNER/NAME",
        help="by default the one of the workflow (GITHUB_REPOSITORY), or of .github/agent-config.yml",
    )
    report.add_argument("--days", type=_days, default=7, metavar="N", help="how many days to look back (%(default)s)")


def _add_policy_questions(policy: argparse.ArgumentParser) -> None:
    questions = policy.add_subparsers(metavar="check", title="command", required=True, parser_class=_Parser)
    explain = questions.add_parser(
        "check",
        description="Explains what the policy says of an action, rule by rule. Exit code 0 when a human may approve it "
        "or nobody need be asked, 3 when it is denied.",
        allow_abbrev=False,
    )
    explain.add_argument("--action", required=True, help="type of the action, for example restart_service")
    explain.add_argument("--resource", required=True, help="what it is done to")
    explain.add_argument("--parameters", metavar="JSON", help="what the action gets, as a JSON object (none)")
    explain.add_argument(
        "--risk", choices=("low", "medium", "high", "critical"), default="low", help="risk of the action (%(default)s)"
    )
    explain.add_argument("--reversible", action="store_true", help="the agent says that it can be undone")
    explain.add_argument("--policy", type=Path, metavar="FILE", help="another file than this agent's policy")
    explain.add_argument("--json", action="store_true", help="print one JSON document")


def _minutes(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"not a number of minutes: {text!r}")
    return int(text)


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9A-Fa-f]{64}", text):
        raise argparse.ArgumentTypeError(f"not 64 hexadecimal digits: {text[:80]!r}")
    return text.lower()


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 90:
        raise argparse.ArgumentTypeError(f"not a number of days from 1 to 90: {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"not a number of seconds from 0 to 3600: {text!r}")
    return value


def _investigate(call: _Call) -> int:
    from agent_runtime.gate import pages  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.github import context  # noqa: PLC0415
    from agent_runtime.model import inputs  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.run import investigate  # noqa: PLC0415

    with investigate.refusing(call.environ):
        if call.environ.get("GITHUB_EVENT_NAME") == context.DISPATCH_EVENT:
            details = inputs.alert(context.client_payload(call.environ))
            resource, trigger = details["resource"], "alert"
            trace_id = details.get("trace_id") or details.get("fingerprint")
            folds = trace_id is not None
        else:
            details = inputs.context(call.options.context or call.environ.get("ACTION_CONTEXT"))
            resource = inputs.resource(call.options.resource or call.environ.get("TARGET_RESOURCE"))
            trigger = inputs.trigger(call.options.trigger or call.environ.get("TRIGGER_SOURCE"))
            trace_id, folds = call.options.trace_id, False  # a person or a schedule that asks is answered
        dry_run = call.options.dry_run or inputs.switch("DRY_RUN", call.environ.get("DRY_RUN"))
        desk = call.desk("investigate", trace_id)
    outcome = investigate.run_phase(
        call.agent_class(),
        desk,
        resource=resource,
        context=details,
        trigger=trigger,
        folds=folds,
        dry_run=dry_run,
        sealed_minutes_ago=call.options.sealed_minutes_ago,
    )
    if not desk.in_workflow:
        print(pages.as_terminal(outcome.markdown))
    if outcome.problem is not None:
        raise outcome.problem
    print("{}: {}".format(outcome.report.resource, str(outcome.report.status).replace("_", " ")))
    return codes.EXIT_OK


def _ask(call: _Call) -> int:
    from agent_runtime.gate import ask  # noqa: PLC0415

    artifact_id = call.required("REPORT_ARTIFACT_ID")
    if not artifact_id.isdigit():
        raise codes.BadInput(codes.RUN_CONTEXT_MISSING, "REPORT_ARTIFACT_ID is not a number")
    issue = ask.run_phase(
        call.desk("ask"),
        report_path=call.options.report,
        report_sha256=call.required("REPORT_SHA256"),
        approved_digest=call.required("APPROVED_DIGEST"),
        artifact_id=int(artifact_id),
        artifact_sha256=call.required("REPORT_ARTIFACT_SHA256"),
    )
    print(f"waiting for an approval in issue #{issue}")
    return codes.EXIT_OK


def _approve(call: _Call) -> int:
    from agent_runtime.gate import approve  # noqa: PLC0415
    from agent_runtime.model import config, inputs  # noqa: PLC0415

    desk = call.desk("approve")
    if desk.config.approval_gate == config.ISSUE_GATE:
        receipt = approve.run_comment_phase(desk)
        print(f"approved by {receipt.approver.login}: plan {receipt.plan_digest[:12]}")
        return codes.EXIT_OK
    before = call.required("APPROVALS_BEFORE")
    if not before.isdigit():
        raise codes.BadInput(codes.RUN_CONTEXT_MISSING, "APPROVALS_BEFORE is not a number")
    receipt = approve.run_phase(
        desk,
        resource=inputs.resource(call.environ.get("TARGET_RESOURCE")),
        plan_digest=call.required("APPROVED_DIGEST"),
        approvals_before=int(before),
    )
    print(f"approved by {receipt.approver.login}: plan {receipt.plan_digest[:12]}")
    return codes.EXIT_OK


def _act(call: _Call) -> int:
    from agent_runtime.model import config, inputs  # noqa: PLC0415
    from agent_runtime.results import ActionStatus  # noqa: PLC0415
    from agent_runtime.run import act  # noqa: PLC0415

    desk = call.desk(names.AUTO_JOB if call.options.auto else "act")
    # Where an issue is the gate, the report is fetched from the run that it names.
    handed_over = desk.config.approval_gate != config.ISSUE_GATE
    if handed_over and call.options.report is None:
        raise codes.BadInput(codes.USAGE, "--report is missing")
    outcome = act.run_phase(
        call.agent_class(),
        desk,
        resource=inputs.resource(call.environ.get("TARGET_RESOURCE")),
        report_path=call.options.report or Path(),
        report_sha256=call.required("REPORT_SHA256") if handed_over else "",
        approved_digest=call.required("APPROVED_DIGEST"),
        automatic=call.options.auto,
    )
    if outcome.problem is not None:
        _complain(outcome.problem)
        return codes.EXIT_REFUSED
    status = outcome.result.status
    print("{}: {} {}".format(outcome.result.resource, outcome.result.action, str(status).replace("_", " ")))
    if status is ActionStatus.FAILED:
        why = str(outcome.result.details.get("error") or "")
        raise _AgentProblem(
            codes.ACTION_FAILED, "act() reported a failure" + (": " + why if why else ""), codes.EXIT_ACTION_FAILED
        )
    if status is ActionStatus.UNKNOWN:
        raise _AgentProblem(codes.OUTCOME_UNKNOWN, "act() did not come to an end", codes.EXIT_OUTCOME_UNKNOWN)
    return codes.EXIT_OK


class _AgentProblem(codes.AgentError):
    def __init__(self, code: str, message: str, exit_code: int) -> None:
        super().__init__(code, message)
        self.exit_code = exit_code


def _record(call: _Call) -> int:
    from agent_runtime.gate import record  # noqa: PLC0415

    ending = record.run_phase(
        call.desk("record"),
        inputs_folder=call.options.inputs,
        needs=record.parse_needs(call.required("NEEDS")),
    )
    print("run ended: {}; bundle {}".format(str(ending.outcome).replace("_", " "), ending.digest))
    if ending.problems:
        for problem in ending.problems[1:]:
            _complain(codes.TrailIncomplete(problem.code, problem.message))
        raise codes.TrailIncomplete(ending.problems[0].code, ending.problems[0].message)
    return codes.EXIT_OK


def _deliver(call: _Call) -> int:
    from agent_runtime.gate import deliver  # noqa: PLC0415
    from agent_runtime.github import context  # noqa: PLC0415

    delivery = deliver.run_phase(call.options.bundle, call.environ, timeout=call.options.timeout)
    print(delivery.line())
    if delivery.problem:
        # Told, and no failure of a run: its trail is whole without the backend.  Who types this wants to know, though,
        # when there is no address to deliver to.
        _complain(codes.TrailIncomplete(codes.TRAIL_UNDELIVERED, delivery.problem))
        if not delivery.addressed and not context.in_workflow(call.environ):
            return codes.EXIT_BAD_INPUT
    return codes.EXIT_OK


def _simulate(call: _Call) -> int:
    from agent_runtime.gate import pages  # noqa: PLC0415
    from agent_runtime.job.run_context import now  # noqa: PLC0415
    from agent_runtime.local.simulate import issue_run, run  # noqa: PLC0415
    from agent_runtime.model import config, inputs  # noqa: PLC0415

    if call.options.scenario is None and not run.is_terminal():
        raise codes.BadInput(codes.USAGE, "nobody can be asked here; add --approve, --reject or another answer")
    folder = call.options.out or Path(names.DEFAULT_OUT) / f"simulated-{now():%Y%m%dT%H%M%S.%fZ}"
    context_text = call.options.context or call.environ.get("ACTION_CONTEXT") or ""
    inputs.context(context_text)

    def ask(summary: str) -> bool:
        print(pages.as_terminal(summary))
        try:
            return input("Approve exactly this plan? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False  # whoever went away approved nothing

    def show(line: str) -> None:
        print(line, flush=True)

    request = run.Request(
        script=call.script,
        folder=folder.resolve(),
        resource=inputs.resource(call.options.resource or call.environ.get("TARGET_RESOURCE")),
        context_text=context_text,
        trigger=inputs.trigger(call.options.trigger or call.environ.get("TRIGGER_SOURCE")),
        dry_run=call.options.dry_run,
        trace_id=inputs.trace_id(call.options.trace_id or call.environ.get("TRACE_ID"), ""),
        scenario=call.options.scenario,
    )
    play = run.SimulatedRun
    if config.load(call.script.parent).approval_gate == config.ISSUE_GATE:
        play = issue_run.SimulatedIssueRun
    _make_out(folder, new=True)
    ended = play(request, show, ask).play()
    if not (ended.bundle / names.MANIFEST_NAME).is_file():
        print("outcome: unknown; there is no trail, and the first error above says why")
        return ended.exit_code or codes.EXIT_TRAIL_INCOMPLETE
    print("outcome: {}".format(ended.outcome.replace("_", " ")))
    print(f"bundle:  {ended.bundle}")
    return ended.exit_code


def _verify(call: _Call) -> int:
    import hashlib  # noqa: PLC0415

    from agent_runtime.gate import bundle  # noqa: PLC0415

    manifest, problems = bundle.verify(call.options.bundle)
    digest = hashlib.sha256((call.options.bundle / names.MANIFEST_NAME).read_bytes()).hexdigest()
    if call.options.digest and call.options.digest != digest:
        problems.insert(0, bundle.Problem(codes.TRAIL_MISMATCH, "bundle.json is not the one with this digest"))
    for problem in problems:
        _complain(codes.TrailIncomplete(problem.code, problem.message))
    if problems:
        return codes.EXIT_TRAIL_INCOMPLETE
    _print_facts(
        {
            "outcome": str(manifest["outcome"]).replace("_", " "),
            "resource": manifest["resource"],
            "plan": manifest["plan_digest"] or "none",
            "approved by": (manifest["approver"] or {}).get("login", "nobody"),
            "bundle": digest,
            "verdict": "every digest and hash chain holds"
            + (
                ""
                if call.options.digest
                else "; compare the bundle's digest with the run's summary to know it is the same"
            ),
        }
    )
    return codes.EXIT_OK


def _print_facts(facts: Dict[str, str]) -> None:
    from agent_runtime.text import escape  # noqa: PLC0415

    for name, value in facts.items():
        print("{:<12} {}".format(name + ":", escape.terminal(str(value))))


def _check(call: _Call) -> int:
    from agent_runtime.local import check  # noqa: PLC0415

    return check.main([str(call.script.parent)])


def _policy_check(call: _Call) -> int:
    from agent_runtime.local import policy_check  # noqa: PLC0415
    from agent_runtime.results import RiskLevel  # noqa: PLC0415

    return policy_check.run(
        call.script.parent,
        action=call.options.action,
        resource=call.options.resource,
        parameters_text=call.options.parameters,
        risk_level=RiskLevel(call.options.risk),
        reversible=call.options.reversible,
        policy_file=call.options.policy,
        as_json=call.options.json,
        out=sys.stdout,
    )


def _setup(call: _Call) -> int:
    from agent_runtime.local import setup  # noqa: PLC0415

    return setup.run(
        call.script.parent,
        call.options.repo,
        call.environ,
        reviewers=call.options.reviewer,
        wait_minutes=call.options.wait_timer,
        exact=call.options.exact,
        dry_run=call.options.dry_run,
        out=sys.stdout,
    )


def _doctor(call: _Call) -> int:
    from agent_runtime.local import doctor  # noqa: PLC0415

    return doctor.run(call.script.parent, call.options.repo, call.environ, as_json=call.options.json, out=sys.stdout)


def _report(call: _Call) -> int:
    from agent_runtime.gate import pages  # noqa: PLC0415
    from agent_runtime.github import outputs, transport  # noqa: PLC0415
    from agent_runtime.github.api import GitHubApi  # noqa: PLC0415
    from agent_runtime.job.run_context import now  # noqa: PLC0415
    from agent_runtime.local import activity  # noqa: PLC0415
    from agent_runtime.local import activity_reader as reading  # noqa: PLC0415
    from agent_runtime.local.settings import desk  # noqa: PLC0415
    from agent_runtime.model import config  # noqa: PLC0415

    settings = config.load(call.script.parent)
    named = call.options.repo or call.environ.get("GITHUB_REPOSITORY")
    repository = desk.repository(named or settings.repository)
    api = GitHubApi(call.environ.get("GITHUB_API_URL") or transport.DEFAULT_API_URL, desk.token(call.environ))
    with desk.asking():
        summary = reading.read(api, settings, days=call.options.days, now=now(), repository=repository)
    markdown = activity.render(summary)
    outputs.write_summary(call.environ, markdown)
    print(pages.as_terminal(markdown))
    return codes.EXIT_INTERNAL if summary.concerns else codes.EXIT_OK
