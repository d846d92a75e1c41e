"""Read the runs of the last days from GitHub and print a page: outcomes, response times, refusals, anomalies.

Reads the token from GITHUB_TOKEN or GH_TOKEN; exit code 1 when a human needs to look at something.
"""

from __future__ import annotations

import argparse

from agent_runtime import codes
from agent_runtime.cli import Call

_MOST_DAYS = 90


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--repo",
        metavar="OWNER/NAME",
        help="by default the one of the workflow (GITHUB_REPOSITORY), or of .github/agent-config.yml",
    )
    parser.add_argument("--days", type=_days, default=7, metavar="N", help="how many days to look back (%(default)s)")


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.gate import policy_file  # noqa: PLC0415  each command pays for what it uses
    from agent_runtime.github import outputs, transport  # noqa: PLC0415
    from agent_runtime.github.api import GitHubApi  # noqa: PLC0415
    from agent_runtime.job.context import now  # noqa: PLC0415
    from agent_runtime.local import activity, activity_reader  # noqa: PLC0415
    from agent_runtime.local.settings import access  # noqa: PLC0415
    from agent_runtime.local.terminal import as_terminal  # noqa: PLC0415
    from agent_runtime.model import config  # noqa: PLC0415

    settings = config.load(call.root)
    named = call.options.repo or call.environ.get("GITHUB_REPOSITORY")
    repository = access.repository(named or settings.repository)
    api = GitHubApi(call.environ.get("GITHUB_API_URL") or transport.DEFAULT_API_URL, access.token(call.environ))
    with access.asking():
        summary = activity_reader.read(
            api,
            settings,
            days=call.options.days,
            now=now(),
            approvals=policy_file.load_or_empty(call.root, settings).most_approvals,
            repository=repository,
        )
    markdown = activity.render(summary)
    outputs.write_summary(call.environ, markdown)
    print(as_terminal(markdown))
    return codes.EXIT_INTERNAL if summary.concerns else codes.EXIT_OK


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"not a number of days from 1 to {_MOST_DAYS}: {text!r}")
    return int(text)
