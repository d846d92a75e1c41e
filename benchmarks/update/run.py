"""Update many repositories with the work of teams in them, and count what goes wrong: `make bench-update`.

    python benchmarks/update/run.py [--repositories N] [--seed N] [--kills N] [--resume]     # --help says more

Each repository is updated twice from the same state: by its own command, and by plain `copier update`.  It prints one
table in Markdown with the targets, what went wrong in which repository, and writes the same to build/bench/update.md.
The exit code is 1 if a target is missed, 2 if it can't begin, 130 after Ctrl-C, which ends
it with a table of what is done.  Each repository is a line of build/bench/update.jsonl as soon as it is measured, and
--resume goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "template"))

from agent_runtime import codes
from update import kills
from update.history import BEFORE, ENGINES, NEXT, ROOT, Failed, History, git, released
from update.kept import Kept
from update.report import render
from update.trial import Birth, Trial, born, hold

RESULT = ROOT / "build" / "bench" / "update.md"
KEPT = RESULT.with_suffix(".jsonl")


def some_answers(history: History, version: str, random: Random) -> dict[str, str]:
    """Plausible answers to a version's questions."""
    questions = history.questions(version)
    given = {
        "agent_name": "Bench",
        "approvers": random.choice(("octocat", "octocat,hubot")),
        "act_permissions": random.choice(("", "issues, pull-requests")),
    }
    for question in ("use_case", "triggers", "repository_plan", "license"):
        choices = questions[question]["choices"]
        values = list(choices.values()) if isinstance(choices, dict) else choices
        given[question] = random.choice([each["value"] if isinstance(each, dict) else each for each in values])
    return {name: value for name, value in given.items() if name in questions}


def trials(history: History, options: argparse.Namespace, folder: Path, known: Mapping[int, Trial]) -> Iterator[Trial]:
    """Hold one trial after the other, but those that are known; versions and engines take turns."""
    births: dict[tuple[str, str, int], Birth] = {}
    origins = [(version, engine) for version in history.versions for engine in ENGINES]
    for number in sorted({*range(options.repositories)} - {*known}):
        random = Random(f"{options.seed}-{number}")
        version, engine = origins[number % len(origins)]
        # Some share their answers: a birth costs as much as a trial.
        key = (version, engine, number // len(origins) % options.answers)
        origin = f"{version} by {engine}"
        say(f"{number + 1} of {options.repositories}: {origin}")
        if key not in births:
            given = some_answers(history, version, Random(f"{options.seed}-answers-{key}"))
            births[key] = born(history, version, engine, given, folder / "-".join(map(str, key)))
        (folder / "trial").mkdir()
        yield hold(history, births[key], random, folder / "trial", number=number, origin=origin)


def _about(history: History, options: argparse.Namespace) -> str:
    """What decides about every result."""
    versions = (*history.versions, NEXT)
    states = [git(history.folder, "rev-parse", f"{version}^{{tree}}").strip() for version in versions]
    return json.dumps({"seed": options.seed, "answers": options.answers, "states": states})


def say(text: str) -> None:
    """Show progress, where a person looks."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        print(f"\r\033[K{text[: width - 1]}", end="", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Update many repositories in which teams have worked.")
    parser.add_argument("--repositories", type=int, default=100, metavar="N", help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="decides every edit (default: 1)")
    parser.add_argument("--answers", type=int, default=5, metavar="N", help="sets of answers for each origin (5)")
    parser.add_argument("--resume", action="store_true", help="go on with the measurement that was ended")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="also kill so many updates at random moments")
    parser.add_argument(
        "--from", dest="starts", action="append", default=[], metavar="COMMIT", help="born from it, instead"
    )
    parser.add_argument("--to", default="", metavar="COMMIT", help="updated to it, instead of this working tree")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.repositories < 0 or options.answers < 1:
        parser.error("a number is too small")
    starts = {f"v0.0.{number}": commit for number, commit in enumerate(options.starts, 1)}
    starts = starts or {"v0.0.1": BEFORE, **released()}
    held: list[Trial] = []
    killed: kills.Killed | None = None
    started, load = time.time(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-update-") as scratch:
        folder = Path(scratch)
        try:
            say("making the template's versions")
            history = History(folder / "template", starts, options.to)
            kept = Kept(KEPT, _about(history, options), resume=options.resume)
            held += [trial for number, trial in sorted(kept.trials.items()) if number < options.repositories]
            for trial in trials(history, options, folder, kept.trials):
                held.append(trial)
                kept.add(trial)
            killed = kills.kill(history, options.kills, options.seed, folder, say) if options.kills else None
        except KeyboardInterrupt:
            if not held:
                return 130
        except (Failed, codes.AgentError) as error:
            say("")
            print(f"error: {error}", file=sys.stderr)
            return 2
    say("")
    when = (
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, {(time.time() - started) / 60:.0f} minutes; "
        f"seed {options.seed}; {os.cpu_count()} processors, {platform.system()}, Python {platform.python_version()}; "
        f"load average {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end."
    )
    interrupted = len(held) < options.repositories
    if interrupted:
        when += f" Interrupted after {len(held)} of {options.repositories} repositories."
    text, holds = render(held, killed, when, starts, options.to)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    print(text, end="")
    return 130 if interrupted else 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
