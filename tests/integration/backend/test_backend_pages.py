"""The pages: signing in and out, what other sites and hostile agents try, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from backend_bundles import bundle, pack, put
from backend_client import Answer, Client, command, event, trail_of
from backend_runs import acted, listed, refused, send
from bench.servers import Backend

FORM = "application/x-www-form-urlencoded"


@dataclass
class Browser:
    """Follows no redirects, runs nothing, and keeps cookies."""

    client: Client
    cookies: dict[str, str] = field(default_factory=dict)
    set_cookie: str = ""

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.client.ask(method, path, body, **headers)
        self.set_cookie = answer.headers.get("set-cookie", "")
        for name, morsel in SimpleCookie(self.set_cookie).items():
            self.cookies[name] = morsel.value
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, **headers)

    def submit(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        return self.ask("POST", path, urlencode(fields).encode(), content_type=FORM, **headers)

    def sign_in(self, key: str, path: str = "/ui/sign-in") -> Answer:
        page = self.get(path)
        return self.submit("/ui/sign-in", {"form_token": form_token(page), "key": key, "next": next_of(page)})


def form_token(page: Answer) -> str:
    found = re.search(rb'name="form_token" value="([0-9a-f]{64})"', page.body)
    assert found, page
    return found.group(1).decode()


def next_of(page: Answer) -> str:
    found = re.search(rb'name="next" value="([^"]*)"', page.body)
    assert found, page
    return found.group(1).decode().replace("&amp;", "&")


def new_key(database_url: str, *scopes: str) -> str:
    options = [option for scope in scopes for option in ("--scope", scope)]
    return command(database_url, "keys", "create", "--name", "test", *options).stdout.strip()


@dataclass(frozen=True)
class Site:
    """A backend that needs keys, with a run in it."""

    backend: Backend
    reader: str
    writer: str

    def browser(self) -> Browser:
        return Browser(Client(self.backend.port))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Backend(tmp_path_factory.mktemp("site")) as backend:
        reader, writer = (new_key(backend.database_url, scope) for scope in ("read", "write"))
        both = new_key(backend.database_url, "read", "write")
        send(Client(backend.start().port, both), refused("4811-1"), acted("4812-1"))
        yield Site(backend, reader, writer)


def test_who_reads_a_bundle_is_recorded_by_the_id_of_their_key(site: Site) -> None:
    digest, files = bundle()
    assert put(Client(site.backend.port, site.writer), digest, pack(files)).status == 201
    reader = Client(site.backend.port, site.reader)
    browser = site.browser()
    browser.sign_in(site.reader)
    by_api, by_page = reader.get(f"/v1/bundles/{digest}"), browser.get(f"/ui/bundle?digest={digest}")
    assert (by_api.status, by_page.status, by_page.body) == (200, 200, by_api.body)
    assert by_page.headers["content-disposition"] == f'attachment; filename="{digest}.zip"'
    key_id = site.reader.split("_")[1]
    trail = [one for one in trail_of(site.backend.database_url) if one["resource"].startswith("bundle/")]
    assert [(one["metadata"]["step"], one["metadata"]["by"]) for one in trail] == [("read", key_id)] * 2
    assert {one["resource"] for one in trail} == {f"bundle/{digest}"}


def test_a_reader_signs_in_and_out(site: Site) -> None:
    browser = site.browser()
    wanted = "/ui/run?trace=4811-1"
    sent = browser.get(wanted)
    assert (sent.status, sent.headers["location"]) == (303, f"/ui/sign-in?next={quote(wanted, safe='')}")
    answer = browser.sign_in(site.reader, sent.headers["location"])
    assert (answer.status, answer.headers["location"]) == (303, wanted)
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/ui", "Max-Age=43200"):
        assert attribute in browser.set_cookie, browser.set_cookie
    assert "Secure" not in browser.set_cookie
    assert site.reader not in browser.set_cookie
    shown = browser.get(wanted)
    assert shown.status == 200
    assert b"the plan expired at 10:15" in shown.body
    # The cookie is for pages; the API takes keys.
    assert browser.get("/v1/runs").status == 401
    session = dict(browser.cookies)
    signed_out = browser.submit("/ui/sign-out", {"form_token": form_token(shown)})
    assert (signed_out.status, signed_out.headers["location"]) == (303, "/ui/sign-in")
    browser.cookies = session
    assert browser.get(wanted).status == 303, "the session is over, not only its cookie"


def test_behind_tls_the_cookie_is_secure(site: Site) -> None:
    browser = site.browser()
    page = browser.get("/ui/sign-in", x_forwarded_proto="https")
    assert "Secure" in browser.set_cookie
    fields = {"form_token": form_token(page), "key": site.reader}
    assert browser.submit("/ui/sign-in", fields, x_forwarded_proto="https").status == 303
    assert "Secure" in browser.set_cookie


def test_only_keys_that_may_read_sign_in(site: Site) -> None:
    for key, status in ((site.writer, 403), ("aim_guess", 401), ("", 401), (site.reader[:-1] + "x", 401)):
        browser = site.browser()
        answer = browser.sign_in(key)
        assert answer.status == status, key
        assert b'role="alert"' in answer.body
        assert key.encode() not in answer.body or not key
        assert "aimgentix_session" not in browser.cookies
        assert browser.get("/ui/runs").status == 303


def test_a_revoked_key_ends_its_sessions_at_once(site: Site) -> None:
    key = new_key(site.backend.database_url, "read")
    browser = site.browser()
    browser.sign_in(key)
    assert browser.get("/ui/runs").status == 200
    command(site.backend.database_url, "keys", "revoke", key.split("_")[1])
    assert browser.get("/ui/runs").status == 303
    assert browser.get("/ui/run/events?trace=4811-1").status == 303


@pytest.mark.parametrize("path", ["/ui/sign-in", "/ui/sign-out"])
def test_forms_of_other_sites_do_nothing(site: Site, path: str) -> None:
    browser = site.browser()
    browser.sign_in(site.reader)
    good = form_token(browser.get("/ui/runs" if path == "/ui/sign-out" else "/ui/sign-in"))
    other = site.browser()
    foreign = form_token(other.get("/ui/sign-in"))
    for fields, headers in (
        ({}, {}),
        ({"form_token": ""}, {}),
        ({"form_token": foreign}, {}),
        ({"form_token": good}, {"sec_fetch_site": "cross-site"}),
        ({"form_token": good}, {"sec_fetch_site": "same-site"}),
    ):
        answer = browser.submit(path, {**fields, "key": site.reader}, **headers)
        assert answer.status == 403, (fields, headers)
        assert answer.headers["content-type"].startswith("text/html"), "people get a page"
        assert browser.get("/ui/runs").status == 200, "nothing happened"
    assert browser.ask("POST", path, b"{}", content_type="application/json").status == 415
    assert browser.submit(path, {"form_token": good, "x": "x" * 5000}).status == 413
    assert browser.ask("POST", path, b"&".join([b"a=b"] * 1000), content_type=FORM).status == 400


def test_nobody_is_led_elsewhere(site: Site) -> None:
    for elsewhere in (
        "https://evil.example/ui",
        "//evil.example/ui",
        "/\\evil.example",
        "/ui/../v1",
        "/uix",
        "javascript:1",
    ):
        browser = site.browser()
        answer = browser.sign_in(site.reader, f"/ui/sign-in?next={quote(elsewhere, safe='')}")
        assert answer.headers["location"] == "/ui", elsewhere


def test_pages_run_nothing_and_load_nothing_from_elsewhere(site: Site) -> None:
    browser = site.browser()
    browser.sign_in(site.reader)
    for path in ("/ui", "/ui/run?trace=4811-1", "/ui/agents", "/ui/trails", "/ui/log", "/ui/sign-in", "/ui/nothing"):
        answer = browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert re.findall(rb"<script|\sstyle=|\son[a-z]+=|javascript:", answer.body) == [], path
        assert set(re.findall(rb'(?:src|href|action)="(https?:|//)', answer.body)) == set(), path
    assert browser.get("/ui/nothing").status == 404


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7907*7919}}\u202egpj.exe\u2066\x1b[31m\u200b"


def test_whatever_an_agent_writes_is_shown_as_text(site: Site) -> None:
    client = Client(site.backend.port, site.writer)
    word = "w" * 1_000_000
    facts = {"step": "gate_check", "check": HOSTILE, "code": HOSTILE, "message": HOSTILE, HOSTILE: HOSTILE}
    gha = {"job": HOSTILE, "repository": HOSTILE, "run_id": HOSTILE, "sha": HOSTILE}
    ends: dict[str, Any] = {
        "step": "terminal",
        "outcome": HOSTILE,
        "rejected_by": {"login": HOSTILE},
        "problems": [HOSTILE],
    }
    ends |= {"rejected_because": HOSTILE, "steps": [{"action": HOSTILE, "status": HOSTILE}], "jobs": {HOSTILE: HOSTILE}}
    sealed = {"step": "plan_sealed", "action": HOSTILE, "plan_digest": HOSTILE}
    names = {"trace_id": f"t{HOSTILE}", "agent_instance_id": f"a{HOSTILE}", "resource": f"r{HOSTILE}"}
    for metadata in (facts, sealed, ends, {"step": "approved", "approver": {"login": HOSTILE}}, {"step": HOSTILE}):
        answer = client.post(event(**names, status="denied", metadata=metadata | {"gha": gha}))
        assert answer.status == 201, answer
    assert client.post(event(**names, metadata={"long": word[:200_000]})).status == 201
    listed(Client(site.backend.port, site.reader))
    browser = site.browser()
    browser.sign_in(site.reader)
    run = f"/ui/run?{urlencode({'trace': names['trace_id']})}"
    for path in ("/ui", run, "/ui/agents", f"/ui/runs?{urlencode({'text': HOSTILE})}", "/ui/trails"):
        answer = browser.get(path)
        assert answer.status == 200, path
        text = answer.body.decode()
        assert "<script" not in text
        assert "<img" not in text
        assert str(7907 * 7919) not in text  # no template
        if path != f"/ui/runs?{urlencode({'text': HOSTILE})}":  # in the field one's own words stand as they were typed
            assert not set(text) & set("\u202e\u2066\x1b\u200b"), path
    text = browser.get(run).body.decode()
    assert "&lt;script&gt;" in text
    assert "⟨U+202E⟩" in text
    assert "(cut: 199,700 more characters)" in text
    assert len(text) < 200_000
    whole = browser.get(f"/ui/run/events?{urlencode({'trace': names['trace_id']})}")
    assert whole.status == 200
    assert word[:200_000].encode() in whole.body
    assert re.fullmatch(r'attachment; filename="events-[A-Za-z0-9._-]+\.ndjson"', whole.headers["content-disposition"])


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("&".join(f"f{n}=x" for n in range(10_000)), 400),
        ("&".join(["text=x"] * 40), 400),
        ("text=a&text=b", 400),
        ("who=bob", 400),
        ("outcome=nonsense", 400),
        ("since=yesterday", 400),
        ("text=" + "x" * 300, 400),
        ("cursor=x", 400),
        ("limit=1000", 400),
        ("text=&outcome=&since=", 200),
        ("since=2026-01-01&until=2026-12-31", 200),
    ],
)
def test_filters_that_make_no_sense_are_refused(site: Site, query: str, status: int) -> None:
    browser = site.browser()
    browser.sign_in(site.reader)
    answer = browser.get(f"/ui/runs?{query}")
    assert answer.status == status
    assert len(answer.body) < 20_000


def test_ten_thousand_filters_are_refused_in_few_words(site: Site) -> None:
    """What uvicorn doesn't refuse for its length: names of three letters and no values."""
    client = Client(site.backend.port, site.reader)
    many = "&".join(f"{number:x}" for number in range(10_000))
    for path in ("/v1/runs", "/v1/events", "/v1/export", "/ui/runs", "/ui/run"):
        answer = client.get(f"{path}?{many}")
        assert answer.status == 400, path
        assert b"at most 50 parameters" in answer.body
        assert len(answer.body) < 1000


def test_a_long_run_is_shown_part_by_part(site: Site) -> None:
    client = Client(site.backend.port, site.writer)
    trace = "long-1"
    for start in range(0, 2100, 700):
        assert client.post_lines(event(trace_id=trace, metadata={"n": start + n}) for n in range(700)).status == 201
    listed(Client(site.backend.port, site.reader))
    browser = site.browser()
    browser.sign_in(site.reader)
    path, seen = f"/ui/run?trace={trace}", 0
    while path:
        page = browser.get(path)
        assert page.status == 200
        seen += page.body.count(b"<li class=")
        later = re.search(rb'rel="next" href="([^"#]*)', page.body)
        path = later.group(1).decode().replace("&amp;", "&") if later else ""
    assert seen == 2100
    assert b"Verify them now" in page.body
    assert b"Verify them now" not in browser.get(f"/ui/run?trace={trace}&verify=1").body
