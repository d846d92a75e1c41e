"""Messages: what they say, where they arrive, and that one that does not arrive changes nothing."""

from __future__ import annotations

import dataclasses
import email
import logging
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.gate import notify as sender
from agent_runtime.gate.notify import NO_ADDRESS, NOT_SENT
from agent_runtime.gate.verification import Handover
from agent_runtime.github.api import GitHubApi
from agent_runtime.model import names
from agent_runtime.results import RiskLevel
from support import examples
from support.gate_world import TEMPLATE, GateWorld, whole_run
from support.receivers import HOSTS, certify, mail_server, nobody, webhooks
from support.world import locked_packages

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7dd"
TEAMS = f"workflows://{HOSTS[1]}/3e10ba33e9c44fc0/Xk1sGq3zS9dPq7ZbW5"
ESCAPED = "api\\u{3a}fire:up/\\u{5f}x\\u{5f}"  # of api:fire:up/_x_
SECRETS = ("TIiajkdnlazkcOXrIdevi7dd", "Xk1sGq3zS9dPq7ZbW5", "hunter2")

# Runs `notify` with these words, addresses and variables.
Notify = Callable[..., "subprocess.CompletedProcess[str]"]


HOSTILE = "\r\n".join(
    [
        "x",
        "Bcc: evil@evil.example",
        "X-Evil: 1",
        "",
        "<!channel> [evil](https://evil.example) <b>evil</b> :evil: \u202eevil",
    ]
)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of Slack and Teams."""
    return certify(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def notify(world: GateWorld, tmp_path: Path) -> Notify:
    """As the workflow starts it, with nothing but the packages of its own lock."""
    packages = locked_packages(TEMPLATE / "requirements-notify.lock")
    (tmp_path / "temporary").mkdir()
    (tmp_path / "temporary" / "agent-gate").symlink_to(packages)

    def run(what: str, *addresses: str, timeout: str = "30", **variables: str) -> subprocess.CompletedProcess[str]:
        return world.command(
            "notify",
            ["notify", what, "--timeout", timeout],
            python=(sys.executable, "-I", "-S"),
            RUNNER_TEMP=str(tmp_path / "temporary"),
            AGENT_NOTIFY_URLS="\n".join(addresses),
            **variables,
        )

    return run


@pytest.fixture
def waiting(world: GateWorld) -> dict[str, str]:
    """The variables of the job that says that a plan waits; two jobs of its run have a page.

    The agent's own words are made to act in a message, wherever it arrives.
    """
    _, handover = world.sealed(examples.step(reason=HOSTILE, rollback=HOSTILE, parameters={HOSTILE: HOSTILE}))
    for name in ("Investigate", names.SEAL_JOB):
        world.github.add_job(world.run_id, name)
    return {
        "APPROVED_DIGEST": handover.plan_digest,
        "REPORT_ID": handover.report_id,
        "REPORT_DIGEST": handover.report_digest,
    }


def page_of(world: GateWorld) -> str:
    """The address of the page that `seal` wrote."""
    (seal,) = [job for job in world.github.jobs[world.run_id] if job["name"] == names.SEAL_JOB]
    return f"https://github.com/{examples.run().repository}/actions/runs/{world.run_id}#summary-{seal['id']}"


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(item)


def test_a_plan_that_waits_is_sent_to_slack_teams_mail_and_a_webhook(
    world: GateWorld, waiting: dict[str, str], notify: Notify, certificates: Path
) -> None:
    with webhooks(certificates=certificates) as services, webhooks() as hook, mail_server() as mails:
        addresses = (
            SLACK,
            TEAMS,
            f"mailto://me:hunter2@127.0.0.1:{mails.port}?from=a@acme.example&to=b@acme.example&mode=insecure",
            f"json://me:hunter2@127.0.0.1:{hook.port}/hook",
        )
        done = notify(
            "waiting",
            *addresses,
            **waiting,
            ISSUE="7) [evil](https://evil.example",
            HTTPS_PROXY=f"http://127.0.0.1:{services.port}",
            REQUESTS_CA_BUNDLE=str(certificates / "ca.pem"),
        )

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    digest = waiting["APPROVED_DIGEST"]
    title = f"Approve plan {digest[:12]}: restart_service on checkout?"
    body = [
        "What: restart_service",
        "On: checkout",
        "Risk: medium, can't be undone, says the agent",
        f"Plan: {digest}",
        "This message approves nothing: decide on the page, and compare the plan's digest there.",
    ]
    by_host = {host: (path, sent) for host, path, sent in services.posts}
    path, slack = by_host[HOSTS[0]]
    assert path == "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7dd"
    _, teams = by_host[HOSTS[1]]
    ((_, hook_path, posted),) = hook.posts
    assert hook_path == "/hook" and posted["title"] == title
    ((mail,),) = [mails.mails]
    read = email.message_from_string(mail)
    assert read["Subject"] == title
    assert [name for name in read if name.casefold() in ("bcc", "x-evil")] == [] and read["To"] == "b@acme.example"
    payload = next(part for part in read.walk() if part.get_content_type() == "text/plain").get_payload(decode=True)
    assert isinstance(payload, bytes)
    for arrived in ("\n".join(texts(slack)), "\n".join(texts(teams)), posted["message"], payload.decode()):
        assert all(line in arrived for line in body), arrived
        assert "Valid until: 20" in arrived
        assert "evil" not in arrived.casefold() and "channel" not in arrived
    link = page_of(world)
    assert f"Page: <{link}|{link}>" in slack["attachments"][0]["text"]
    assert f"Page: [{link}]({link})" in teams["attachments"][0]["content"]["body"][1]["text"]
    assert link in payload.decode()
    assert title in "\n".join(texts(slack)) and title in "\n".join(texts(teams))

    page = world.page("notify")
    assert page.startswith("# Sent\n") and title in page
    for where in ("1 of 4 (slack)", "2 of 4 (workflows)", "3 of 4 (mailto)", "4 of 4 (json)"):
        assert f"address {where}: sent" in done.stdout and f"- address {where}: sent" in page
    assert not any(secret in done.stdout + done.stderr + page for secret in SECRETS)


def test_receivers_that_are_dead_slow_or_broken_keep_nobody_else_from_getting_it(
    world: GateWorld, waiting: dict[str, str], notify: Notify
) -> None:
    with webhooks() as good, webhooks("slow") as slow, webhooks("500") as broken, nobody() as dead:
        started = time.monotonic()
        done = notify(
            "waiting",
            f"json://127.0.0.1:{slow.port}/hunter2",
            f"json://127.0.0.1:{broken.port}/hunter2",
            f"json://127.0.0.1:{dead}/hunter2",
            f"mailto://me:hunter2@127.0.0.1:{dead}?from=a@acme.example&to=b@acme.example&mode=insecure",
            "hunter2",
            "nothing://hunter2",
            f"json://127.0.0.1:{good.port}/",
            timeout="6",
            **waiting,
        )
        took = time.monotonic() - started

    assert took < 20
    assert len(good.posts) == len(slow.posts) == len(broken.posts) == 1
    assert done.stdout.splitlines()[1:] == [
        "address 1 of 7 (json): no answer within 6 seconds",
        "address 2 of 7 (json): the service did not take the message",
        "address 3 of 7 (json): the service did not take the message",
        "address 4 of 7 (mailto): the service did not take the message",
        "address 5 of 7 (no scheme): not an address that apprise knows",
        "address 6 of 7 (nothing): not an address that apprise knows",
        "address 7 of 7 (json): sent",
    ]
    assert done.returncode == codes.EXIT_INTERNAL
    assert done.stderr.startswith(f"error: {NOT_SENT}: 6 of 7 addresses did not accept the message.")
    page = world.page("notify")
    assert page.startswith("# Not sent everywhere\n") and "- address 7 of 7 (json): sent" in page
    assert "hunter2" not in done.stdout + done.stderr + page


@pytest.mark.parametrize(("addresses", "said"), [((), "it holds no address"), (("json://x/",) * 21, "21 addresses")])
def test_without_an_address_or_with_too_many_nothing_is_sent(
    world: GateWorld, waiting: dict[str, str], notify: Notify, addresses: tuple[str, ...], said: str
) -> None:
    done = notify("waiting", *addresses, **waiting)

    assert done.returncode == codes.EXIT_BAD_INPUT
    assert f"{NO_ADDRESS}: AGENT_NOTIFY_URLS: {said}" in done.stderr
    assert world.page("notify").startswith("# Nothing was sent\n") and said in world.page("notify")


@pytest.mark.threat("T8")
@pytest.mark.parametrize(
    ("changed", "value", "code"),
    [
        ("APPROVED_DIGEST", "f" * 64, codes.GATE_DIGEST),
        ("REPORT_DIGEST", "f" * 64, codes.GATE_ARTIFACT),
        ("GITHUB_SHA", "f" * 40, codes.GATE_RUN),
    ],
)
def test_no_message_is_about_another_plan(
    world: GateWorld, waiting: dict[str, str], notify: Notify, changed: str, value: str, code: str
) -> None:
    with webhooks() as hook:
        done = notify("waiting", f"json://127.0.0.1:{hook.port}/", **{**waiting, changed: value})

    assert hook.posts == []
    assert f"error: {code}: " in done.stderr and f"{code}: " in world.page("notify")


def test_after_the_first_of_two_approvals_a_message_says_who_may_give_the_other(
    world: GateWorld, notify: Notify
) -> None:
    policy = world.root / ".github" / "agent-policies" / "checkout-restart.yml"
    rule = "{type: restart_service, approvals: 2, approvers: [Bob, carol, dave, alice]}"
    policy.write_text(f"name: p\nversion: 1\nallowed_actions:\n  - {rule}\n")
    world.github.protect(names.SECOND_ENVIRONMENT, reviewers=("bob", "carol"))
    _, handover = world.sealed()
    given = {
        "APPROVED_DIGEST": handover.plan_digest,
        "REPORT_ID": handover.report_id,
        "REPORT_DIGEST": handover.report_digest,
    }
    with webhooks() as hook:
        early = notify("second", f"json://127.0.0.1:{hook.port}/", **given)
        assert hook.posts == [] and f"error: {codes.GATE_APPROVAL}: " in early.stderr
        world.approved("bob")
        done = notify("second", f"json://127.0.0.1:{hook.port}/", **given)
    assert (done.returncode, done.stderr) == (0, "")
    ((_, _, posted),) = hook.posts
    short = handover.plan_digest[:12]
    assert posted["title"] == f"One more approval for plan {short}: restart_service on checkout?"
    lines = posted["message"].splitlines()
    assert lines[-2:] == ["- Approved by: bob", "- Still needed: 1 approval, by carol or dave"]
    assert any(line.startswith("- Valid until: 20") for line in lines)


def test_where_githubs_list_of_jobs_does_not_name_the_page_the_link_leads_to_the_run(
    world: GateWorld, waiting: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is empty, or two jobs have the name, or nobody may read it."""
    handover = Handover(waiting["APPROVED_DIGEST"], waiting["REPORT_ID"], waiting["REPORT_DIGEST"])
    seal, whole = world.github.jobs[world.run_id][-1], world.github.answer
    lists: list[tuple[int, Any]] = [(200, {"jobs": []}), (200, {"jobs": [seal, {**seal, "id": 7}]}), (403, {})]
    for answer in lists:

        def answers(method: str, path: str, *more: Any, jobs: Any = answer) -> Any:
            return jobs if path.endswith("/jobs") else whole(method, path, *more)

        monkeypatch.setattr(world.github, "answer", answers)
        sent = sender.waiting(world.job("notify"), handover, "")
        assert sent.body.endswith(f"Page: [{page_of_run(world)}]({page_of_run(world)})\n")


def test_a_message_says_the_worst_of_all_steps_and_a_dry_run(world: GateWorld) -> None:
    mild = examples.step(action="warm_cache", reversible=True, risk_level=RiskLevel.LOW)
    for steps in ((examples.step(), mild), (mild, examples.step())):
        sealed, handover = world.sealed(*steps, dry_run=True)
        facts = sender.waiting(world.job("notify"), handover, "").facts
        assert facts[0] == "What: " + ", then ".join(step.action for step in steps)
        assert facts[1] == "Dry run: nothing will be executed"
        assert "Risk: medium, can't be undone, says the agent" in facts
    named = dataclasses.replace(sealed, resource="api:fire:up/_x_")
    shown = sender._facts(GitHubApi.from_environment(world.environ()), world.job("notify"), named)
    assert f"On: {ESCAPED}" in shown and sender._what(named).endswith(f" on {ESCAPED}")


def test_where_the_policy_names_nobody_the_approvers_of_the_configuration_are_named(world: GateWorld) -> None:
    policy = world.root / ".github" / "agent-policies" / "checkout-restart.yml"
    policy.write_text("name: p\nversion: 1\nallowed_actions:\n  - {type: restart_service, approvals: 2}\n")
    world.github.protect(names.SECOND_ENVIRONMENT, reviewers=("bob", "carol"))
    config = world.root / ".github" / "agent-config.yml"
    config.write_text(config.read_text().replace("[bob]", "[Bob, Alice, carol, acme/sre]"))
    _, handover = world.sealed()
    world.approved("bob")
    facts = sender.second(world.job("notify"), handover).facts
    assert facts[-2:] == ["Approved by: bob", "Still needed: 1 approval, by carol or acme/sre"]


def test_what_a_service_logs_or_raises_shows_no_address(world: GateWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin of others that writes the address into its log, and into its error."""

    class Apprise:
        """Sends nothing."""

        def __init__(self, asset: object) -> None: ...

        @staticmethod
        def instantiate(address: str, asset: object) -> object:
            logging.getLogger("plugin").error("%s is wrong", address)
            raise ValueError(address)

    plugins: Any = types.ModuleType("apprise")
    plugins.Apprise, plugins.AppriseAsset = Apprise, lambda **_: None
    monkeypatch.setitem(sys.modules, "apprise", plugins)
    logged: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.getLogger("plugin"), "handlers", [Keeping(logged)])
    message = sender.Message("A title", "A sentence.", (), "warning")
    try:
        sent = sender.send(world.job("notify"), message, "json://hunter2/", 10)
    finally:
        logging.disable(logging.NOTSET)
    assert (list(sent.results), sent.failed) == (["address 1 of 1 (json): failed (ValueError)"], 1)
    assert logged == [] and "hunter2" not in world.page("notify")


class Keeping(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, kept: list[logging.LogRecord]) -> None:
        super().__init__()
        self.kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


def page_of_run(world: GateWorld) -> str:
    return f"https://github.com/{examples.run().repository}/actions/runs/{world.run_id}"


def message_of_the_end(world: GateWorld, notify: Notify, needs: dict[str, Any]) -> dict[str, Any]:
    """What a webhook gets about a run, after `record`."""
    world.record(needs)
    id, digest = world.upload_folder(names.BUNDLE_ARTIFACT, world.folder("record") / names.DEFAULT_OUT / "audit-bundle")
    with webhooks() as hook:
        done = notify("ended", f"json://127.0.0.1:{hook.port}/", BUNDLE_ID=id, BUNDLE_DIGEST=digest)
    assert (done.returncode, done.stderr) == (0, "")
    ((_, _, posted),) = hook.posts
    found: dict[str, Any] = posted
    return found


def test_the_end_of_a_run_is_sent_with_who_approved(world: GateWorld, notify: Notify) -> None:
    needs = whole_run(world)
    posted = message_of_the_end(world, notify, needs)
    shutil.rmtree(world.folder("record"))
    needs["approve"]["outputs"]["receipt_id"] = ""
    gap = message_of_the_end(world, notify, needs)
    assert gap["title"] == posted["title"] and gap["type"] == "failure" and "Trail: incomplete" in gap["message"]

    digest = needs["seal"]["outputs"]["plan_digest"]
    assert posted["title"] == f"Plan {digest[:12]}: acted (restart_service on checkout)"
    assert posted["type"] == "success"
    lines = posted["message"].splitlines()
    assert lines[0] == "The plan was approved and executed."
    for fact in (f"Plan: {digest}", "Approved by: bob", "Trail: complete"):
        assert f"- {fact}" in lines
    for name, link in (("Page", page_of(world)), ("Run", page_of_run(world))):
        assert f"- {name}: [{link}]({link})" in lines


def test_a_failed_action_and_a_gap_in_the_trail_are_sent_as_failures(world: GateWorld, notify: Notify) -> None:
    needs = whole_run(world, examples.step(parameters={"fails": True}))
    needs["approve"]["outputs"]["receipt_id"] = ""
    posted = message_of_the_end(world, notify, needs)

    assert posted["type"] == "failure" and ": action failed (" in posted["title"]
    assert "Look at the resource." in posted["message"] and "Trail: incomplete" in posted["message"]


def test_the_end_of_a_run_without_a_report_names_the_resource_that_was_asked_for(world: GateWorld) -> None:
    needs = whole_run(world)
    needs["seal"]["outputs"]["report_id"] = ""
    world.record(needs)
    id, digest = world.upload_folder(names.BUNDLE_ARTIFACT, world.folder("record") / names.DEFAULT_OUT / "audit-bundle")
    sent = sender.ended(world.job("notify"), id, digest, "api:fire:up/_x_")
    assert sent.title.startswith("Run: ") and sent.title.endswith(f" ({ESCAPED})")
    assert sender.ended(world.job("notify"), id, "f" * 64, "x").title == "Nobody knows how a run about x ended"


def test_a_run_that_left_no_bundle_is_sent_as_one_that_nobody_knows(world: GateWorld, notify: Notify) -> None:
    with webhooks() as hook:
        given = {"BUNDLE_ID": "", "BUNDLE_DIGEST": "", "TARGET_RESOURCE": "api:fire:up/_x_"}
        done = notify("ended", f"json://127.0.0.1:{hook.port}/", **given)

    assert done.returncode == 0
    ((_, _, posted),) = hook.posts
    assert posted["title"] == f"Nobody knows how a run about {ESCAPED} ended" and posted["type"] == "failure"
    assert page_of_run(world) in posted["message"]
