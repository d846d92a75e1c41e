"""People sign in to the pages through an identity provider; whatever is wrong with its answer is refused, with why."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from app.auth import sessions
from app.store.location import parse_location
from app.store.opening import open_database
from app.store.schema import prepare
from backend_client import Answer, Client
from bench.servers import BACKEND, Backend

from support.oidc_provider import CLIENT, SECRET, Provider, new_key

World = tuple[Provider, Backend]
SESSION = "aimgentix_session"


class Browser(Client):
    """Keeps cookies, by name."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.cookies: dict[str, str] = {}
        self.set: dict[str, str] = {}

    def go(self, path: str) -> Answer:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        for header in answer.headers.get_all("Set-Cookie") or []:
            for name, morsel in SimpleCookie(header).items():
                self.set[name] = header
                self.cookies[name] = morsel.value
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return found

    def leave(self, path: str = "/ui/oidc") -> str:
        """Go to the provider; return the way back, as a path."""
        sent = self.go(path)
        assert sent.status == 303, sent
        there = urlsplit(sent.headers["location"])
        connection = http.client.HTTPConnection(there.netloc, timeout=60)
        connection.request("GET", f"{there.path}?{there.query}")
        back = urlsplit(connection.getresponse().headers["Location"])
        connection.close()
        assert back.netloc == f"127.0.0.1:{self.port}"
        return f"{back.path}?{back.query}"


def said(answer: Answer) -> str:
    return re.sub(rb"<[^>]+>", b" ", answer.body.partition(b"<main")[2]).decode()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("oidc")
    (folder / "secret").write_text(f"{SECRET}\n")
    url = request.getfixturevalue("postgres").new_database() if request.param == "postgres" else None
    with Provider() as provider:
        settings = {
            "AIMGENTIX_AUTH": "required",
            "AIMGENTIX_OIDC_ISSUER": provider.url,
            "AIMGENTIX_OIDC_CLIENT_ID": CLIENT,
            "AIMGENTIX_OIDC_CLIENT_SECRET_FILE": str(folder / "secret"),
            "AIMGENTIX_OIDC_EMAILS": "Ada@example.com, eve@example.com, kate@example.com",
            "AIMGENTIX_OIDC_GROUPS": "auditors",
        }
        provider.says = None
        with Backend(folder, url, settings).start() as backend:
            down = Browser(backend.port).go("/ui/oidc")
            assert (down.status, "does not answer as it should" in said(down)) == (502, True)
            provider.says = {"issuer": "https://login.example"}
            refused = Browser(backend.port).go("/ui/oidc")
            assert refused.status == 401
            assert f"it calls itself https://login.example, not {provider.url}" in said(refused)
            provider.says = {}
            yield provider, backend
            assert "/token" not in backend.output() and "code=" not in backend.output()


@pytest.fixture
def provider(world: World) -> Iterator[Provider]:
    before = dict(vars(world[0]))
    yield world[0]
    vars(world[0]).update(before)


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world[1].port)


def test_somebody_signs_in_reads_and_the_way_back_is_gone_once(provider: Provider, browser: Browser) -> None:
    wanted = browser.go("/ui/agents").headers["location"]
    link = re.search(rb'href="(/ui/oidc[^"]*)"', browser.go(wanted).body)
    assert link
    back = browser.leave(link.group(1).decode())
    assert "HttpOnly" in browser.set["aimgentix_oidc"] and "SameSite=lax" in browser.set["aimgentix_oidc"]
    left = dict(browser.cookies)
    done = browser.go(back)
    assert done.status == 200 and b'content="0; url=/ui/agents"' in done.body
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/ui", "Max-Age=3600"):
        assert attribute in browser.set[SESSION]
    page = browser.go("/ui/agents")
    assert page.status == 200 and b"ada@example.com" in page.body
    assert browser.go("/v1/runs").status == 401, "the session is for pages"
    browser.cookies = left
    again = browser.go(back)
    assert again.status == 400 and "was used already" in said(again)


def test_a_way_back_of_another_browser_or_with_another_state_is_refused(provider: Provider, browser: Browser) -> None:
    back = browser.leave()
    other = Browser(browser.port)
    assert other.go(back).status == 400
    other.leave()
    assert "began in another browser" in said(other.go(back))
    for broken in ("/ui/oidc/callback", back.replace("state=", "state=x"), "/ui/oidc/callback?error=access_denied"):
        browser.leave()
        assert browser.go(broken).status in (400, 401), broken
    assert SESSION not in browser.cookies and SESSION not in other.cookies


@pytest.mark.parametrize(
    ("lies", "status", "why"),
    [
        ({"iss": "https://login.example"}, 401, "iss"),
        ({"aud": "another-client"}, 401, "aud"),
        ({"aud": None}, 401, "aud"),
        ({"exp": 1_500_000_000}, 401, "expired"),
        ({"exp": None}, 401, "exp"),
        ({"nonce": "of-another-sign-in"}, 401, "nonce"),
        ({"nonce": None}, 401, "nonce"),
        ({"email": "bob@example.com"}, 403, "bob@example.com may not sign in: neither the email nor a group may read"),
        ({"email": "bob@example.com", "groups": ["people"]}, 403, "neither the email nor a group may read"),
        ({"email": "bob@example.com", "groups": "auditors"}, 403, "neither the email nor a group may read"),
        ({"email": "eve@example.com", "email_verified": False}, 403, "the email is not verified"),
        ({"email": "eve@example.com", "email_verified": None}, 403, "the email is not verified"),
        ({"email": "<b>\u202ebob"}, 403, "\u27e8U+202E\u27e9bob may not sign in"),
    ],
)
def test_what_is_wrong_with_an_answer_is_refused_with_why(
    provider: Provider, browser: Browser, lies: dict[str, Any], status: int, why: str
) -> None:
    provider.lies = lies
    answer = browser.go(browser.leave())
    assert answer.status == status
    assert why in said(answer), said(answer)
    assert SESSION not in browser.cookies
    assert browser.go("/ui").status == 303


def test_a_token_that_the_provider_did_not_sign_is_refused(provider: Provider, browser: Browser) -> None:
    provider.signs_with = new_key()
    answer = browser.go(browser.leave())
    assert (answer.status, SESSION in browser.cookies) == (401, False)
    assert "refused: bad_signature" in said(answer)


def test_a_member_of_a_group_signs_in_without_an_email(provider: Provider, browser: Browser) -> None:
    provider.person = {"sub": "4712", "groups": ["people", "auditors"]}
    assert browser.go(browser.leave()).status == 200
    assert b"4712" in browser.go("/ui").body


def test_an_address_that_nobody_verified_is_nobody_s_name(provider: Provider, browser: Browser) -> None:
    """A member of a group who says that they are somebody else would stand in the trail as that person."""
    provider.person = {"sub": "4713", "groups": ["auditors"], "email": "ada@example.com", "email_verified": False}
    assert browser.go(browser.leave()).status == 200
    page = browser.go("/ui").body
    assert b"4713" in page and b"ada@example.com" not in page


@pytest.mark.parametrize("email", ["\u212aate@example.com", "KATE@EXAMPLE.COM"])
def test_a_letter_that_becomes_another_in_lower_case_is_another(
    provider: Provider, browser: Browser, email: str
) -> None:
    provider.person = {"sub": "4714", "email": email, "email_verified": True}
    assert browser.go(browser.leave()).status == (200 if email.isascii() else 403)


@pytest.mark.parametrize("alg", ["none", "HS256"])
def test_a_token_that_anybody_could_have_signed_is_refused(provider: Provider, browser: Browser, alg: str) -> None:
    """Also where the provider says that it signs so: with a secret, or not at all."""
    provider.alg = alg
    answer = browser.go(browser.leave())
    assert (answer.status, SESSION in browser.cookies) == (401, False), said(answer)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_whoever_begins_again_and_again_fills_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/audit.db" if store == "sqlite" else request.getfixturevalue("postgres").new_database()
    database = open_database(parse_location(url))
    prepare(database, migrate=True)
    monkeypatch.setattr(sessions, "MOST_BEGUN", 3)
    connection = database.connect_writer()
    session = sessions.open_session(connection, sessions.person("ada", 0), 0, 10**9)
    tokens = [sessions.keep_begun(connection, f"b{number}", number, 600) for number in range(5)]
    reader = database.connect_reader()
    assert sessions.find_session(reader, session, 9, people=True) is not None
    reader.close()
    assert [sessions.take_begun(connection, token, 9) for token in tokens] == [None, None, "b2", "b3", "b4"]
    connection.close()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"AIMGENTIX_OIDC_ISSUER": "http://login.example"}, "must be the https address"),
        ({"AIMGENTIX_OIDC_CLIENT_ID": ""}, "needs AIMGENTIX_OIDC_CLIENT_ID and AIMGENTIX_OIDC_CLIENT_SECRET_FILE"),
        ({"AIMGENTIX_OIDC_CLIENT_SECRET_FILE": "/nowhere"}, "/nowhere can't be read (FileNotFoundError)"),
        ({"AIMGENTIX_OIDC_EMAILS": ""}, "or nobody can sign in"),
    ],
)
def test_settings_that_can_not_work_are_one_line_at_the_start(
    tmp_path: Path, settings: dict[str, str], why: str
) -> None:
    (tmp_path / "secret").write_text("x")
    good = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/audit.db",
        "AIMGENTIX_OIDC_ISSUER": "https://login.example",
        "AIMGENTIX_OIDC_CLIENT_ID": "x",
        "AIMGENTIX_OIDC_CLIENT_SECRET_FILE": str(tmp_path / "secret"),
        "AIMGENTIX_OIDC_EMAILS": "ada@example.com",
    }
    program = (
        "from app.settings import load_settings\nfrom app.ui.oidc import provider_of\nprovider_of(load_settings())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=BACKEND, env={**os.environ, **good, **settings}, text=True,
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert why in done.stderr.splitlines()[-1]
