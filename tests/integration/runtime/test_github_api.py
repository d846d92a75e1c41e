"""GitHub's API over real HTTP: the documented answers, and every way in which it can fail to answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.github.api import GitHubApi
from agent_runtime.github.transport import NotAnswered, Transport, least_wait
from support.github import FullGitHub

TOKEN = "ghs_" + "x" * 36
REPOSITORY = "acme/checkout-restart"


@contextmanager
def scripted(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve `answers` one after the other, the last one forever; yield the address and the requests' headers."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answers[min(len(seen), len(answers) - 1)]
            seen.append(dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


def api(url: str, waits: list[float] | None = None) -> GitHubApi:
    """A client that notes how long it would have waited instead of waiting."""
    return GitHubApi(url, TOKEN, pause=(waits if waits is not None else []).append)


def test_the_settings_of_an_environment_are_read() -> None:
    with FullGitHub(REPOSITORY) as github:
        github.protect("agent-approval", reviewers=("bob",))
        client = api(github.url)
        assert client.default_branch(REPOSITORY) == "main"
        settings = client.environment(REPOSITORY, "agent-approval")
        assert settings is not None
        assert settings["can_admins_bypass"] is False
        assert client.deployment_branches(REPOSITORY, "agent-approval") == ["main"]


def test_an_environment_that_is_not_there_is_none() -> None:
    with FullGitHub(REPOSITORY) as github:
        assert api(github.url).environment(REPOSITORY, "agent-act") is None
        assert api(github.url).deployment_branches(REPOSITORY, "agent-act") == []


def test_all_pages_of_branch_policies_are_read() -> None:
    with FullGitHub(REPOSITORY) as github:
        github.protect("agent-act")
        github.branch_policies["agent-act"] = [f"release/{number}" for number in range(230)]
        assert api(github.url).deployment_branches(REPOSITORY, "agent-act") == github.branch_policies["agent-act"]


def test_a_tag_policy_never_passes_for_a_branch() -> None:
    answer = {"total_count": 1, "branch_policies": [{"id": 1, "name": "main", "type": "tag"}]}
    with scripted((200, {}, json.dumps(answer).encode())) as (url, _):
        assert api(url).deployment_branches(REPOSITORY, "agent-act") == ["tag:main"]


def test_approvals_and_artifacts_belong_to_one_run() -> None:
    with FullGitHub(REPOSITORY) as github:
        github.protect("agent-approval", reviewers=("bob",))
        github.review("1", "bob", "approved", "go")
        github.add_artifact("1", "action-result")
        client = api(github.url)
        assert [record["user"]["login"] for record in client.approvals(REPOSITORY, "1")] == ["bob"]
        assert client.approvals(REPOSITORY, "2") == []
        assert client.artifact_exists(REPOSITORY, "1", "action-result")
        assert not client.artifact_exists(REPOSITORY, "2", "action-result")


def test_artifacts_of_all_runs_and_jobs_of_all_attempts_are_read_to_their_last_page() -> None:
    with FullGitHub(REPOSITORY) as github:
        for number in range(1, 231):
            github.add_artifact(str(number), "approval-receipt")
            github.add_artifact(str(number), "audit-bundle")
            github.add_job("1", f"job {number}")
        client = api(github.url)
        found = client.artifacts(REPOSITORY, "approval-receipt")
        assert [entry["workflow_run"]["id"] for entry in found] == list(range(1, 231))
        assert {entry["name"] for entry in found} == {"approval-receipt"}
        assert [job["name"] for job in client.jobs(REPOSITORY, "1")] == [f"job {number}" for number in range(1, 231)]
        assert client.jobs(REPOSITORY, "2") == []


@pytest.mark.parametrize("status", [401, 403, 404, 410, 422, 301])
def test_a_refusal_is_final_and_reported_without_the_token(status: int) -> None:
    answer = (status, {"Location": "http://127.0.0.1:1/"}, b'{"message": "no"}')
    with scripted(answer) as (url, seen), pytest.raises(codes.GateRefused) as refused:
        api(url).approvals(REPOSITORY, "1")
    assert refused.value.code == codes.GATE_API
    assert f"HTTP {status}" in refused.value.message
    assert TOKEN not in refused.value.line()
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("status", "headers"), [(500, {}), (502, {}), (503, {}), (429, {}), (403, {"Retry-After": "1"})]
)
def test_a_passing_fault_is_tried_again(status: int, headers: dict[str, str]) -> None:
    with scripted((status, headers, b""), (status, headers, b""), (200, {}, b"[]")) as (url, seen):
        assert api(url).approvals(REPOSITORY, "1") == []
    assert len(seen) == 3


def test_a_lasting_fault_ends_in_a_refusal() -> None:
    with scripted((503, {}, b"")) as (url, seen), pytest.raises(codes.GateRefused):
        api(url).approvals(REPOSITORY, "1")
    assert len(seen) == 4


def test_retry_after_is_honoured() -> None:
    waits: list[float] = []
    limited = (429, {"Retry-After": "7"}, b"")
    with scripted(limited, (403, {"Retry-After": "61"}, b""), (200, {}, b"[]")) as (url, _):
        assert api(url, waits).approvals(REPOSITORY, "1") == []
    assert waits == [7, 61]


def test_a_wait_that_nobody_sits_through_is_a_refusal_that_says_how_long() -> None:
    waits: list[float] = []
    with scripted((429, {"Retry-After": "86400"}, b"")) as (url, seen), pytest.raises(codes.GateRefused) as refused:
        api(url, waits).approvals(REPOSITORY, "1")
    assert "86400 seconds" in refused.value.message
    assert (len(seen), waits) == (1, [])


@pytest.mark.parametrize(
    ("status", "headers", "said", "expected"),
    [
        (403, {}, "Resource not accessible by integration", None),
        (403, {}, "You have exceeded a secondary rate limit. Please wait a few minutes", 60.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1030"}, "API rate limit exceeded", 30.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "900"}, "API rate limit exceeded", 0.0),
        (403, {"X-RateLimit-Remaining": "12", "X-RateLimit-Reset": "1030"}, "Forbidden", None),
        (429, {}, "", 0.0),
        (503, {"Retry-After": "5"}, "", 5.0),
        (503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, "", 0.0),
        (401, {"Retry-After": "5"}, "Bad credentials", None),
        (404, {}, "Not Found", None),
        (422, {}, "Validation Failed", None),
        (501, {}, "", None),
    ],
)
def test_what_is_tried_again_and_after_which_wait(
    status: int, headers: dict[str, str], said: str, expected: float | None
) -> None:
    assert least_wait(status, headers, said, now=1000.0) == expected


def test_githubs_own_words_are_reported_as_plain_text_and_without_the_token() -> None:
    body = {"message": f"\x1b[31mno {TOKEN}", "errors": [{"message": "because\n::warning::x"}]}
    headers = {"X-Accepted-GitHub-Permissions": "administration=read"}
    with scripted((422, headers, json.dumps(body).encode())) as (url, _), pytest.raises(NotAnswered) as refused:
        Transport(url, TOKEN).get("/x")
    assert TOKEN not in refused.value.message and "***" in refused.value.message
    assert "\x1b" not in refused.value.message and "\n" not in refused.value.message
    assert (refused.value.status, refused.value.accepted) == (422, "administration=read")


def test_a_list_is_read_as_far_as_the_link_header_says_and_only_from_githubs_own_address() -> None:
    link = {"Link": '<http://127.0.0.1:1/stolen?page=2>; rel="next"'}
    first, last = json.dumps([{"id": 1}]).encode(), json.dumps([{"id": 2}]).encode()
    with scripted((200, link, first), (200, {}, last)) as (url, seen):
        assert Transport(url, TOKEN).pages("/list", None) == [{"id": 1}, {"id": 2}]
    assert len(seen) == 2


def test_a_list_without_end_is_a_refusal() -> None:
    link = {"Link": '<http://127.0.0.1:1/>; rel="next"'}
    with scripted((200, link, b"[]")) as (url, seen), pytest.raises(codes.GateRefused):
        Transport(url, TOKEN).pages("/list", None)
    assert len(seen) == 50


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_post_that_may_have_been_carried_out_is_not_sent_again(status: int) -> None:
    waits: list[float] = []
    with scripted((status, {}, b"")) as (url, seen), pytest.raises(NotAnswered):
        Transport(url, TOKEN, pause=waits.append).send("POST", "/x", {})
    assert (len(seen), waits) == (1, [])


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_what_github_did_not_even_look_at_is_sent_again(method: str) -> None:
    limited = (403, {"Retry-After": "1"}, b"")
    with scripted(limited, (200, {}, b"{}")) as (url, seen):
        assert Transport(url, TOKEN, pause=lambda seconds: None).send(method, "/x", {"a": 1}) == {}
    assert len(seen) == 2


def test_a_put_is_sent_again_after_a_server_error() -> None:
    with scripted((502, {}, b""), (200, {}, b"{}")) as (url, seen):
        Transport(url, TOKEN, pause=lambda seconds: None).send("PUT", "/x", {})
    assert len(seen) == 2


def test_an_archive_is_fetched_from_githubs_storage_without_the_token() -> None:
    """Prism follows redirects itself, so this speaks to the loopback GitHub, whose storage takes no token."""
    with FullGitHub(REPOSITORY) as github:
        github.token = TOKEN
        github.add_artifact("3", "audit-bundle", archive=b"archive")
        client = api(github.url)
        (artifact,) = client.artifacts_of_run(REPOSITORY, "3")
        assert client.download_artifact(REPOSITORY, artifact["id"], 7) == b"archive"
        with pytest.raises(NotAnswered, match="more than 6 bytes"):
            client.download_artifact(REPOSITORY, artifact["id"], 6)
        with pytest.raises(NotAnswered, match="HTTP 404"):
            client.download_artifact(REPOSITORY, artifact["id"] + 1, 7)


def test_nobody_listening_is_a_refusal() -> None:
    with scripted((200, {}, b"[]")) as (url, _):
        pass
    with pytest.raises(codes.GateRefused) as refused:
        api(url).approvals(REPOSITORY, "1")
    assert refused.value.code == codes.GATE_API


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[1]", b'"approved"', b"null"])
def test_a_malformed_answer_is_a_refusal(body: bytes) -> None:
    with scripted((200, {}, body)) as (url, _), pytest.raises(codes.GateRefused) as refused:
        api(url).approvals(REPOSITORY, "1")
    assert refused.value.code == codes.GATE_API


def test_the_token_is_the_jobs_own_even_with_a_netrc_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with scripted((200, {}, b"[]")) as (url, seen):
        api(url).approvals(REPOSITORY, "1")
    assert seen[0]["Authorization"] == f"Bearer {TOKEN}"


def test_an_archive_comes_from_a_storage_that_sees_no_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with (
        scripted((200, {}, b"zip")) as (storage, stored),
        scripted((302, {"Location": storage + "/a?sig=secret"}, b"")) as (url, seen),
    ):
        assert api(url).download_artifact(REPOSITORY, 17, 3) == b"zip"
    assert seen[0]["Authorization"] == f"Bearer {TOKEN}"
    assert len(stored) == 1 and "Authorization" not in stored[0]


@pytest.mark.parametrize(
    ("answer", "limit"),
    [
        ((200, {}, b"zip!"), 3),
        ((404, {}, b"zip"), 3),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), 3),
    ],
    ids=["too large", "gone", "somewhere else again"],
)
def test_what_the_storage_refuses_or_overdoes_is_a_refusal_without_its_address(
    answer: tuple[int, dict[str, str], bytes], limit: int
) -> None:
    with (
        scripted(answer) as (storage, _),
        scripted((302, {"Location": storage + "/a?sig=secret"}, b"")) as (url, _),
        pytest.raises(NotAnswered) as refused,
    ):
        api(url).download_artifact(REPOSITORY, 17, limit)
    assert "artifacts/17/zip" in refused.value.message
    assert "secret" not in refused.value.message and storage not in refused.value.message


@pytest.mark.parametrize("status", [200, 404, 410])
def test_an_archive_without_a_redirection_is_a_refusal(status: int) -> None:
    with scripted((status, {}, b"{}")) as (url, _), pytest.raises(NotAnswered):
        api(url).download_artifact(REPOSITORY, 17, 3)


def test_of_many_who_claim_a_plan_one_gets_it() -> None:
    with FullGitHub(REPOSITORY) as github, ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda _: api(github.url).claim(REPOSITORY, "refs/agent-claims/x", "a" * 40), range(16)))
    assert won.count(True) == 1


@pytest.mark.parametrize("status", [404, 409, 422, 500])
def test_a_claim_that_github_does_not_decide_is_a_refusal(status: int) -> None:
    with scripted((status, {}, b'{"message": "Object does not exist"}')) as (url, _), pytest.raises(NotAnswered):
        api(url).claim(REPOSITORY, "refs/agent-claims/x", "a" * 40)
