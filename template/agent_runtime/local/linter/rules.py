"""The linter's codes: what each demands and why.  A number that is missing in the row is retired for good."""

from __future__ import annotations

from typing import Dict

from agent_runtime import codes

# Where the file is known, it stands in the place of FILE.
FILE = ".github/workflows/FILE"
_RESTORE_FILE = (
    f"Restore the file alone with: copier recopy --vcs-ref=:current: --defaults --overwrite -x '**' -x '!/{FILE}'"
)
_RESTORE = _RESTORE_FILE + "; or change the answer with: python agent_runner.py update --set NAME=VALUE"
_NAME = "Restore the gate's names and groups, and give what is elsewhere another name"
_MOVE = "The team's steps belong in .github/actions/prepare-investigate and prepare-act, other jobs in other workflows"

# Why each rule stands, by its code.
WHY: Dict[str, str] = {}


def _rule(code: str, title: str, why: str, fix: str = _RESTORE) -> None:
    codes.register(code, title, fix)
    WHY[code] = why


_rule(
    "CON01",
    "the file can be read",
    "What is not YAML, or reads differently for a linter and for GitHub, a reviewer can't trust.",
    "Fix the named line",
)
_rule("CON02", "the gate's workflows, jobs and actions are there", "A missing job is a missing part of the promise.")
_rule("CON03", "each job of the gate waits for those before it", "GitHub starts jobs by `needs` alone.")
_rule("CON04", "the gate's jobs name their environments", "GitHub creates an unknown one without protection (T13).")
_rule(
    "CON05",
    "no other workflow can name the gate's environments",
    "Only agent-approval asks a human; the others hand their secrets to any job of the default branch "
    "that names them, and no setting of theirs says which workflow may. So no expression may become their name.",
    "Write a literal name, an expression with a literal part, or an input of type choice with fixed options",
)
_rule("CON06", "each job has the permissions of the answers", "Others are power that no human approved (T26).")
_rule(
    "CON07",
    "no other workflow passes on the gate's secrets",
    "A workflow of another repository gets those that it is passed, and of each environment that it names. On "
    "private-free, which has no environments, any job gets the secret that waits for an approval.",
    "Pass other secrets, by name; leave the acting secrets to the job act",
)
_rule(
    "CON08", "permissions: {} is at the top level", "Without it a job gets the repository's default, often everything."
)
_rule(
    "CON09",
    "the gate's jobs have their time limits",
    "A shorter one cuts an action or its record off; act_timeout_minutes has a longer one for the jobs that act.",
)
_rule(
    "CON10",
    "every action of the gate is pinned to a commit",
    "A tag can be moved to other code after it was reviewed (T30, CVE-2025-30066).",
    "Write owner/action@<40 hex digits> # vX.Y.Z",
)
_rule(
    "CON11",
    "no expression inside a script",
    "GitHub pastes the value into the script before the shell reads it: whoever chooses the value runs code (T1).",
    'Pass the value through env: and read it as "$NAME"',
)
_rule("CON12", "record runs whatever happened", "A skipped record is missing exactly when it matters (T34).")
_rule("CON13", "checkout takes this commit and keeps no credentials", "It is the approved code (T10, T28).")
_rule(
    "CON15",
    "only a person, an alert or a schedule starts the agent, and no outsider's commit runs with this one's permissions",
    "pull_request_target, workflow_run and issue_comment run with the rights of the default branch for anybody (T29).",
    "Restore the agent's triggers; elsewhere let pull_request run what others wrote",
)
_rule("CON16", "nothing comes from a cache", "Other runs write it, also those before the gate (T12).")
_rule(
    "CON17",
    "the gate runs on the template's machines and programs",
    "A container, runner, shell, folder, or a variable such as PATH decides which program a step starts (T5).",
)
_rule("CON18", "a failure stays a failure", "With continue-on-error a refused step looks like a success.")
_rule(
    "CON19",
    "the jobs that act start on the template's condition",
    "With another one they run after a rejection, or on a plan that waits for its approval (T18, T23).",
)
_rule("CON20", "the other jobs start on the template's condition", "Asked about nothing, people click unread (T25).")
_rule(
    "CON21",
    "nothing interrupts an action, and none is dropped while it waits",
    "Concurrency groups are the repository's, whatever their case: the same one elsewhere cancels an action (T24).",
    _NAME,
)
_rule("CON22", "one approval, one execution", "A strategy turns one approved job into several.")
_rule("CON23", "evidence is kept, whatever happened", "What is kept only on success proves nothing (T7, T34).")
_rule(
    "CON24",
    "the actions that set the gate's machines up are the template's",
    "They run before Verify does. Only the commits that they pin may differ from agent_runtime/manifest.json.",
)
_rule(
    "CON31",
    "the gate's workflows have no jobs but the template's",
    "A job that needs seal, approve or act starts by the same click, whatever the checks say; any other shares the "
    "run, its artifacts and its name (T17).",
    _MOVE,
)
_rule("CON32", "the workflows are those of the chosen gate", "The answer repository_plan decides which it is (T13).")
_rule(
    "CON33",
    "each job of the gate has the template's steps and no others",
    "An environment opens for whatever the job then does; a step before Verify is checked by nobody (T8).",
    _MOVE,
)
_rule(
    "CON34",
    "each job of the gate receives what the jobs before it and GitHub say",
    "The digest that is compared and the kill switch are worth what their source is worth (T8, T10).",
    _RESTORE_FILE + "; act_secrets, act_variables and so on name more values for the team's code",
)
_rule("CON35", "no second file looks like a workflow of the gate", "People go by what they see.", _NAME)
_rule(
    "CON36",
    "only the gate's jobs and runs have the gate's names",
    "History, rate limits and duplicates go by them (T25, T34), and a reviewer clicks on the job that names a plan.",
    _NAME,
)
_rule("CON37", "every other line of the gate's workflows is the template's", "Unknown edits count as weaker.")


def explain(code: str) -> str:
    """What the rule `code` demands, why, and how to fix what breaks it.

    Raises:
        KeyError: there is no such rule.
    """
    why, rule = WHY[code], codes.describe(code)
    return f"{rule.id}: {rule.title}\n\nWhy: {why}\nFix: {rule.fix}."
