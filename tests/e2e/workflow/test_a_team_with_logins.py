"""A team that needs what real agents need: a token to read, a cloud's login, a private index, runners of its own.

Its repository was born before any of that could be said, and was brought here with `copier update`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import io
import json
import secrets
import subprocess
import threading
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from agent_runtime.local import check
from backend.bench.servers import reserve_port
from support import engines, updates
from support.environment import require_tool
from support.github import FullGitHub
from support.harness.engine import ActionsHost, Repository, approve_as
from support.harness.node import ActionsService
from support.runs import ALL_SUCCEED, bundle, results
from support.toolkit import launch
from support.world import NAME, WORKFLOW, make_python, wait_for

# The last commit of the time when the team's code and what decides shared a machine.
BEFORE = "a123971cce3332c7bd767e531a588723617471d3"

AGENT = '''"""Restarts what a Prometheus and a Loki that want credentials say is failing, with a role of the cloud."""

from __future__ import annotations

import os
import sys
import urllib.request
from pathlib import Path
from typing import Any, Dict, Optional

import agent_runtime
from agent_runtime import ActionResult, ActionStatus, AgentRunner, InvestigationResult, ProposedAction
from agent_runtime.toolkit import http, metrics

ERRORS = '{job="example"} |= "error"'


class CheckoutRestartAgent(AgentRunner):
    def investigate(self, resource: str, context: Optional[Dict[str, Any]] = None) -> InvestigationResult:
        up = metrics.value(os.environ["PROMETHEUS_URL"], f'up{{job="{resource}"}}', token="prometheus")
        loki = os.environ["LOKI_URL"] + "/loki/api/v1/query_range"
        found = http.query(loki, form={"query": ERRORS}, token=http.token("loki")).fields(data=dict)["data"]
        lines = [line for stream in found["result"] for _, line in stream["values"]]
        return InvestigationResult(
            findings=(agent_runtime.Finding("scraped", evidence={"up": up, "log": lines}),),
            recommendation="restart",
            proposed_action=ProposedAction("restart_service", {"error_rate": 0.31, "requests": 100}, "a drill",
                                           risk_level=agent_runtime.RiskLevel.MEDIUM),
        )

    def act(self, resource: str, action: str, context: Optional[Dict[str, Any]] = None) -> ActionResult:
        sys.path.insert(0, os.environ["RUNNER_TEMP"] + "/team")
        import teamlib

        role = Path(os.environ["RUNNER_TEMP"], "cloud-token").read_text()
        request = urllib.request.Request(teamlib.restart_url(os.environ["SERVICE_URL"]), data=b"{}", method="POST")
        request.add_header("Authorization", "Bearer " + os.environ["AGENT_ACT_TOKEN"])
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()
        return ActionResult(ActionStatus.SUCCESS, changes=(f"restarted {resource}",), details={"role": role[:3]})


if __name__ == "__main__":
    raise SystemExit(CheckoutRestartAgent.main())
'''

PREPARE_ACT = """\
name: Prepare to act
description: Log in to the cloud, and take the team's package from its index
runs:
  using: composite
  steps:
    - name: Log in
      shell: bash
      run: |
        test "$(python -c 'import json; print(json.load(open("'"$AGENT_PLAN_FILE"'"))["resource"])')" = example
        grep --quiet '"Resource":"arn:aws:ecs:eu-west-1:123456789012:service/shop/example"' "$AGENT_SESSION_POLICY_FILE"
        curl --fail --silent --show-error --noproxy '*' \\
          -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \\
          "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sts.example.com" > "$RUNNER_TEMP/identity.json"
        cd "$RUNNER_TEMP" && python -c 'import json; print(json.load(open("identity.json"))["value"])' > cloud-token
    - name: Take the team's package
      shell: bash
      run: |
        echo "teamlib==1.0 --hash=sha256:$TEAMLIB_SHA256" > "$RUNNER_TEMP/teamlib.txt"
        python -I -c 'from pip._internal.cli.main import main; raise SystemExit(main())' install --quiet --no-deps \\
          --index-url "http://team:$INDEX_PASSWORD@$INDEX_HOST/simple" --trusted-host 127.0.0.1 --require-hashes \\
          --target "$RUNNER_TEMP/team" --requirement "$RUNNER_TEMP/teamlib.txt"
"""

# What the role of the cloud is cut down to.
SESSION_POLICIES = """
session_policies:
  restart_service:
    - Effect: Allow
      Action: ecs:UpdateService
      Resource: arn:aws:ecs:eu-west-1:123456789012:service/shop/{resource}
"""

ANSWERS = {
    "advanced": "yes",
    "investigate_secrets": "PROMETHEUS_TOKEN,LOKI_PASSWORD",
    "investigate_variables": "PROMETHEUS_URL,LOKI_URL,LOKI_USERNAME",
    "act_secrets": "AGENT_ACT_TOKEN,INDEX_PASSWORD",
    "act_variables": "SERVICE_URL,INDEX_HOST,TEAMLIB_SHA256",
    "act_permissions": "id-token",
    "investigate_runner": "self-hosted,readers",
    "act_runner": "self-hosted,actors",
    "gate_runner": "ubuntu-latest",
}


@dataclass(frozen=True)
class Team:
    """The team's repository, updated, and the template that it came from."""

    root: Path
    template: Path


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """A repository of the commit before, in which a team has worked, brought to this template with its new answers."""
    place = tmp_path_factory.mktemp("team")
    template = place / "gated-agents"
    template.mkdir()
    updates.release_of(BEFORE, template, "v0.0.1")
    root = engines.run_copier(
        template,
        place / "checkout-restart",
        {"agent_name": "Checkout Restart", "github_repository": NAME, "approvers": "bob"},
        vcs_ref="v0.0.1",
    )
    (root / "agent_runner.py").write_text(AGENT, encoding="utf-8")
    (root / "tests" / "test_agent.py").unlink()
    engines.commit_all(root, "Write our agent")
    subprocess.run(["git", "-C", str(template), "rm", "-rq", "--", "."], check=True)
    engines.clone_template(template)
    engines.update(root, data=ANSWERS, vcs_ref="v1.0.0")
    engines.commit_all(root, "Update")
    (root / ".github" / "actions" / "prepare-act" / "action.yml").write_text(PREPARE_ACT, encoding="utf-8")
    (policy,) = (root / ".github" / "agent-policies").glob("*.yml")
    policy.write_text(policy.read_text(encoding="utf-8") + SESSION_POLICIES, encoding="utf-8")
    engines.commit_all(root, "Log in before acting")
    return Team(root, template)


def test_the_update_keeps_the_teams_files_and_brings_what_the_workflow_needs(team: Team) -> None:
    assert (team.root / "agent_runner.py").read_text(encoding="utf-8") == AGENT
    assert not (team.root / "tests" / "test_agent.py").exists()
    assert check.check(team.root) == []
    jobs = yaml.safe_load((team.root / WORKFLOW).read_text(encoding="utf-8"))["jobs"]
    assert [jobs[id]["runs-on"] for id in ("investigate", "seal", "act")] == [
        ["self-hosted", "readers"],
        "ubuntu-latest",
        ["self-hosted", "actors"],
    ]
    assert jobs["act"]["permissions"]["id-token"] == "write"
    assert jobs["investigate"]["environment"] == {"name": "agent-investigate", "deployment": False}


def test_the_next_update_leaves_the_teams_steps_alone(team: Team, tmp_path: Path) -> None:
    later, root = tmp_path / "gated-agents", tmp_path / "checkout-restart"
    subprocess.run(["git", "clone", "--quiet", str(team.template), str(later)], check=True)
    subprocess.run(["git", "clone", "--quiet", str(team.root), str(root)], check=True)
    answers = root / ".copier-answers.yml"
    answers.write_text(answers.read_text(encoding="utf-8").replace(str(team.template), str(later)), encoding="utf-8")
    engines.commit_all(root, "Move the template")
    seed = later / "template/.github/actions/prepare-act/action.yml"
    seed.write_text(seed.read_text(encoding="utf-8") + "# Release 1.1.0\n", encoding="utf-8")
    engines.release(later, "v1.1.0")

    engines.update(root)

    assert (root / ".github/actions/prepare-act/action.yml").read_text(encoding="utf-8") == PREPARE_ACT
    assert check.check(root) == []


class _Guarded(http.server.BaseHTTPRequestHandler):
    """Passes requests on to a Prometheus, for who has the token."""

    def __init__(self, *given: object, token: str, upstream: str) -> None:
        self._token, self._upstream = token, upstream
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {self._token}":
            self.send_error(401)
            return
        with urllib.request.urlopen(self._upstream + self.path) as answer:
            data = answer.read()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        return


class _Loki(http.server.BaseHTTPRequestHandler):
    """Answers one query as Loki does, for who has the password."""

    def __init__(self, *given: object, password: str) -> None:
        self._credential = "Basic " + base64.b64encode(f"reader:{password}".encode()).decode()
        super().__init__(*given)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.headers["Authorization"] != self._credential:
            self.send_error(401)
            return
        stream = {"stream": {"job": "example"}, "values": [["1795485600000000000", "error: no connection"]]}
        asked = self.path == "/loki/api/v1/query_range" and form == {"query": ['{job="example"} |= "error"']}
        found = {"resultType": "streams", "result": [stream] if asked else []}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"status": "success", "data": found}).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        return


class _Index(http.server.BaseHTTPRequestHandler):
    """A package index that wants a password."""

    def __init__(self, *given: object, password: str, wheel: bytes) -> None:
        self._credential = "Basic " + base64.b64encode(f"team:{password}".encode()).decode()
        self._wheel = wheel
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self.headers["Authorization"] != self._credential:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="team"')
            self.end_headers()
            return
        name = "teamlib-1.0-py3-none-any.whl"
        body = self._wheel if self.path.endswith(".whl") else f'<a href="/files/{name}">{name}</a>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream" if self.path.endswith(".whl") else "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        return


def _wheel() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        made.writestr("teamlib.py", "def restart_url(service):\n    return service + '/-/restart'\n")
        made.writestr("teamlib-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: teamlib\nVersion: 1.0\n")
        made.writestr(
            "teamlib-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        made.writestr("teamlib-1.0.dist-info/RECORD", "teamlib.py,,\n")
    return data.getvalue()


@contextmanager
def _serving(handler: object) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _prometheus(folder: Path, target: str) -> Iterator[str]:
    """A Prometheus server that scrapes the service as the job `example`."""
    folder.mkdir()
    settings = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "example", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    keeper = reserve_port()
    url = f"http://127.0.0.1:{keeper.getsockname()[1]}"
    server = subprocess.Popen(
        [
            require_tool("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}",
            "--log.level=error",
        ]
    )
    try:
        wait_for("a scrape", lambda: '"1"' in _ask(url + "/api/v1/query?query=up"))
        yield url
    finally:
        server.terminate()
        server.wait(10)
        keeper.close()


def _ask(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read())
    except OSError:
        return ""


@pytest.mark.threat("T26")
def test_it_reads_with_its_token_and_acts_with_its_logins(team: Team, service: ActionsService, tmp_path: Path) -> None:
    token, reading, password, acting = (secrets.token_hex(16) for _ in range(4))
    wheel = _wheel()
    example = launch("--traffic", "50", "--token", acting)
    try:
        with (
            _prometheus(tmp_path / "prometheus", example.url.removeprefix("http://")) as upstream,
            _serving(functools.partial(_Guarded, token=token, upstream=upstream)) as guarded,
            _serving(functools.partial(_Loki, password=reading)) as loki,
            _serving(functools.partial(_Index, password=password, wheel=wheel)) as index,
            FullGitHub(NAME) as github,
        ):
            github.protect("agent-approval", reviewers=("alice", "bob"))
            github.protect("agent-act")
            github.protect("agent-investigate")
            repository = Repository(
                team.root,
                NAME,
                github,
                variables={
                    "PROMETHEUS_URL": f"http://{guarded}",
                    "LOKI_URL": f"http://{loki}",
                    "LOKI_USERNAME": "reader",
                    "SERVICE_URL": example.url,
                    "INDEX_HOST": index,
                    "TEAMLIB_SHA256": hashlib.sha256(wheel).hexdigest(),
                },
                environment_secrets={
                    "agent-investigate": {"PROMETHEUS_TOKEN": token, "LOKI_PASSWORD": reading},
                    "agent-act": {"AGENT_ACT_TOKEN": acting, "INDEX_PASSWORD": password},
                },
            )
            host = ActionsHost(service, repository, make_python(team.root), tmp_path / "runs")
            before = example.identity()["instance"]

            run = host.dispatch(WORKFLOW, {"resource": "example"}, actor="alice", reviewer=approve_as("bob"))

            assert (results(run), bundle(run)["problems"]) == (ALL_SUCCEED, []), run.log
            assert bundle(run)["outcome"] == "acted"
            assert example.identity()["instance"] != before
            report = run.artifacts.named("investigation-report").files()["investigation-report.json"]
            assert json.loads(report)["findings"][0]["evidence"] == {"up": 1.0, "log": ["error: no connection"]}
            assert github.identities == ["sts.example.com"], "one login, in act"
            for secret in (token, reading, password, acting):
                assert secret not in run.log
    finally:
        example.stop()
