"""A language model that investigates: providers that fail, models that answer badly, tools that hang, logs that order.

The providers are HTTP servers on the loopback interface.  Every test ends with one result or one line.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agent_runtime.agent import InvestigationResult, Notes
from agent_runtime.results import RiskLevel
from agent_runtime.toolkit import model, providers
from agent_runtime.toolkit.errors import ACCESS_REFUSED, MODEL_FAILED, MODEL_SETTINGS, NO_ANSWER, ToolError
from support import models

FREE = model.Limits(price=(0.0, 0.0))


@dataclass(frozen=True)
class Off:
    """What a model may choose of turn_off."""

    switch: str


@dataclass(frozen=True)
class Size:
    """What a model may choose of scale."""

    factor: float


@dataclass(frozen=True)
class Nothing:
    """No parameters."""


OFF = model.Action("turn_off", "Turn it off.", Off, RiskLevel.LOW, True, "Turn it on.", ("switches",))
RESTART = model.Action("restart", "Restart it.", Nothing, RiskLevel.MEDIUM)
SCALE = model.Action("scale", "Make it larger.", Size)
PLAN = models.plan("turn_off", ["c1"], {"switch": "a"})
CHOSEN = json.loads(PLAN[2])["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]  # JSON
LOOK = models.said("log", {"lines": 2})
SEEN = {"message": "It is full.", "severity": "low", "calls": ["c1"]}


def log(lines: int = 10) -> str:
    """The newest lines of the log."""
    return "\n".join(f"line {number}: password=hunter2-hunter2" for number in range(lines))


class Kept(Notes):
    """Notes that a test can read."""

    def __init__(self) -> None:
        self.events: list[tuple[str, bool, dict[str, Any]]] = []
        self.latencies: dict[str, float] = {}
        self.files: dict[str, bytes] = {}

    def event(self, step: str, ok: bool, latency_ms: float | None = None, **facts: Any) -> None:
        self.events.append((step, ok, facts))
        self.latencies[step] = latency_ms or 0.0

    def keep(self, name: str, data: bytes) -> str:
        self.files[name] = data
        return super().keep(name, data)

    def of(self, step: str) -> list[dict[str, Any]]:
        """The facts of the events of one step."""
        return [facts for name, _, facts in self.events if name == step]


@pytest.fixture
def notes() -> Kept:
    return Kept()


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of somebody's own, and a key for it."""
    monkeypatch.setenv("MODEL_NAME", "openai:small")
    monkeypatch.setenv("MODEL_API_KEY", "key-for-tests")
    monkeypatch.setenv("AGENT_JOB", "investigate")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("MODEL_ADDRESS", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ask(notes: Kept, monkeypatch: pytest.MonkeyPatch) -> Callable[..., InvestigationResult]:
    """Ask the model at an address."""

    def asked(address: str = "", **changed: Any) -> InvestigationResult:
        if address:
            monkeypatch.setenv("MODEL_ADDRESS", address)
        given = {"actions": (OFF, RESTART), "tools": (log,), "limits": FREE, "measured": {"error_rate": 0.4}}
        return model.ask("Requests fail.", notes=notes, **{**given, **changed})

    return asked


# --------------------------------------------------------------------------------------------------------- it works


def test_it_looks_chooses_and_leaves_a_trail(ask: Any, notes: Kept) -> None:
    with models.provider(LOOK, PLAN) as provider:
        result = ask(provider.url)

    proposed = result.proposed_action
    assert (proposed.action, proposed.parameters) == ("turn_off", {"switch": "a", "error_rate": 0.4})
    assert (proposed.risk_level, proposed.reversible, proposed.changes) == (RiskLevel.LOW, True, ("switches",))
    assert (proposed.rollback, proposed.reason) == ("Turn it on.", "It stops the errors.")
    assert (result.safe_to_proceed, result.risk_level) == (True, RiskLevel.LOW)
    assert provider.keys == ["Bearer key-for-tests"] * 2
    assert provider.asked[0]["messages"][0]["content"].strip() == model.INSTRUCTIONS.strip()
    answer = json.loads(provider.asked[1]["messages"][-1]["content"])
    assert (answer["call"], answer["tool"]) == ("c1", "log")
    assert "hunter2" not in json.dumps(provider.asked), "what a provider sees is redacted"

    (call,) = notes.of("tool_called")
    assert call["arguments"] == {"lines": 2} and call["call"] == "c1"
    assert call["answer_sha256"] == hashlib.sha256(answer["answer"].encode()).hexdigest()
    assert [each["input_tokens"] for each in notes.of("model_answered")] == [1000, 1000]
    assert [step for step, _, _ in notes.events] == [
        "model_answered",
        "tool_called",
        "model_answered",
        "transcript_kept",
    ], "as they happen"
    data = notes.files["model-transcript.json"]
    assert result.model.transcript_sha256 == hashlib.sha256(data).hexdigest()
    assert result.model.transcript_sha256 == notes.of("transcript_kept")[0]["transcript_sha256"]
    assert b"hunter2" not in data and (result.model.requests, result.model.tool_calls) == (2, 1)
    (finding,) = result.findings
    assert list(finding.evidence) == ["c1 log"] and "line 0" in finding.evidence["c1 log"]


def test_what_an_action_is_the_agents_code_says(ask: Any) -> None:
    with models.provider(LOOK, models.plan("restart", ["c1"], {})) as provider:
        result = ask(provider.url)
    proposed = result.proposed_action
    assert (proposed.risk_level, result.risk_level) == (RiskLevel.MEDIUM, RiskLevel.MEDIUM)
    assert (proposed.reversible, proposed.rollback, proposed.changes) == (False, None, ())
    assert proposed.parameters == {"error_rate": 0.4}


def test_what_was_measured_counts_whatever_was_chosen(notes: Kept) -> None:
    """`ask()` refuses two values of one name before; this is the second lock."""
    talk = model._Conversation((OFF,), {"switch": "measured"}, FREE, notes)
    talk._outputs()
    (plan,) = talk.plans
    chosen = plan(parameters={"switch": "chosen"}, findings=[], reason="", analysis="", confidence=1.0)
    proposed = talk._result(chosen, "").proposed_action
    assert proposed is not None and proposed.parameters == {"switch": "measured"}


def test_what_is_called_beside_an_answer_is_not_called(ask: Any, notes: Kept) -> None:
    """Nobody would see it: the answer rests on what came before."""
    with models.provider(LOOK, models.calls([("log", '{"lines": 9}'), ("turn_off", CHOSEN)])) as provider:
        result = ask(provider.url)
    assert result.proposed_action.action == "turn_off"
    assert [each["arguments"] for each in notes.of("tool_called")] == [{"lines": 2}]
    assert [each["parallel_tool_calls"] for each in provider.asked] == [False, False]


def test_what_it_kept_can_be_played_again(
    ask: Any, notes: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with models.provider(LOOK, PLAN) as provider:
        first = ask(provider.url)
    path = tmp_path / "talk.json"
    path.write_bytes(notes.files["model-transcript.json"])
    monkeypatch.setenv("MODEL_NAME", f"recorded:{path}")
    again = ask()
    assert (again.proposed_action, again.findings) == (first.proposed_action, first.findings)


def test_it_may_propose_nothing(ask: Any) -> None:
    nothing = models.plan("propose_nothing", ["c1"])
    with models.provider(LOOK, nothing) as provider:
        result = ask(provider.url)
    assert result.proposed_action is None and result.recommendation.startswith("nothing to do: ")


def test_each_call_of_a_further_toolset_is_written_down(ask: Any, notes: Kept) -> None:
    from pydantic_ai.toolsets import FunctionToolset

    def peers(of: str) -> list[str]:
        """What speaks to a service."""
        return [of, "database"]

    with models.provider(models.said("peers", {"of": "shop"}), PLAN) as provider:
        ask(provider.url, toolsets=(FunctionToolset([peers]),))
    assert notes.of("tool_called")[0]["arguments"] == {"of": "shop"}


# ------------------------------------------------------------------------------------------------- providers that fail

BAD_PROVIDERS: dict[str, tuple[tuple[models.Reply | None, ...], str, str]] = {
    "401": ((models.refused(401, "no key-for-tests"),), ACCESS_REFUSED, "HTTP 401 with the token of MODEL_API_KEY"),
    "403": ((models.refused(403, "no"),), ACCESS_REFUSED, "HTTP 403 with the token of MODEL_API_KEY"),
    "429": (
        (models.refused(429, "slow down", Retry_After="7200"),),
        MODEL_FAILED,
        "HTTP 429, too many requests; it asks to wait 7200 s",
    ),
    "500": ((models.refused(500, "out of order"),), MODEL_FAILED, "HTTP 500: "),
    "nothing": (((200, {}, b""),), MODEL_FAILED, ""),
    "garbage": (((200, {}, b"\x00\xff<html>"),), MODEL_FAILED, ""),
    "another schema": (((200, {}, b'{"answer": 42}'),), MODEL_FAILED, ""),
    "10 MB": (((200, {}, b'{"x": "' + b"y" * 10_000_000 + b'"}'),), MODEL_FAILED, "more than 1048576 bytes"),
    "compressed": (((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"),), MODEL_FAILED, "compressed"),
    "breaks off": (((200, {"Content-Length": "5000"}, b'{"id": "chat'),), MODEL_FAILED, "no answer: "),
    "no words": (
        (models.completion({"role": "assistant", "content": ""}),),
        MODEL_FAILED,
        "no valid answer in 3 tries",
    ),
    "no plan": (
        (models.completion({"role": "assistant", "content": "Restart it!"}),),
        MODEL_FAILED,
        "no valid answer in 3 tries",
    ),
    "no JSON": ((models.said("turn_off", "{"),), MODEL_FAILED, "turn_off: "),
    "no such action": ((models.said("delete_database", {}),), MODEL_FAILED, "delete_database"),
    "another resource": (
        (LOOK, models.plan("turn_off", ["c1"], {"switch": "a", "resource": "database"})),
        MODEL_FAILED,
        "parameters.resource: Extra inputs are not permitted: 'database'",
    ),
    "no tool call cited": ((models.plan("restart", [], {}),), MODEL_FAILED, "calls"),
    "a forged tool call": ((models.plan("restart", ["c9"], {}),), MODEL_FAILED, "'c9', which never happened"),
    "eleven findings": ((LOOK, models.plan("restart", ["c1"], {}, findings=[SEEN] * 11)), MODEL_FAILED, "findings"),
    "a long finding": (
        (LOOK, models.plan("restart", ["c1"], {}, findings=[{**SEEN, "message": "x" * 2001}])),
        MODEL_FAILED,
        "message",
    ),
    "a long reason": ((LOOK, models.plan("restart", ["c1"], {}, reason="x" * 2001)), MODEL_FAILED, "reason"),
    "a long analysis": ((LOOK, models.plan("restart", ["c1"], {}, analysis="x" * 4001)), MODEL_FAILED, "analysis"),
    "more than certain": ((LOOK, models.plan("restart", ["c1"], {}, confidence=1.5)), MODEL_FAILED, "confidence"),
    "the measured value": (
        (LOOK, models.plan("turn_off", ["c1"], {"switch": "a", "error_rate": 1})),
        MODEL_FAILED,
        "error_rate",
    ),
}


@pytest.mark.parametrize("name", BAD_PROVIDERS)
def test_each_bad_answer_is_one_line_and_the_trail_is_whole(name: str, ask: Any, notes: Kept) -> None:
    replies, code, part = BAD_PROVIDERS[name]
    with models.provider(*replies) as provider, pytest.raises(ToolError) as refused:
        ask(provider.url)
    said = refused.value.message
    assert (refused.value.code, "\n" in said, len(said) < 700) == (code, False, True), said
    assert part in said and provider.url in said and "key-for-tests" not in said
    assert len(notes.of("transcript_kept")) == 1 and json.loads(notes.files["model-transcript.json"])
    assert len(notes.of("model_answered")) <= len(provider.asked) <= 4, "a failure is not tried for ever"
    assert name != "500" or len(provider.asked) == 2


def test_a_provider_that_is_down_is_named(ask: Any) -> None:
    with models.provider(PLAN) as provider:
        pass
    with pytest.raises(ToolError, match="no answer: ") as refused:
        ask(provider.url)
    assert (refused.value.code, provider.url in refused.value.message) == (MODEL_FAILED, True)


def test_no_message_shows_what_an_address_holds(ask: Any) -> None:
    with pytest.raises(ToolError, match="openai:small at http://127") as refused:
        ask("http://me:hunter2@127.0.0.1:1/v1?key=hunter2")
    assert "hunter2" not in refused.value.line()


def test_a_redirect_takes_the_conversation_nowhere(ask: Any) -> None:
    with models.provider(PLAN) as other:
        away = (307, {"Location": other.url + "/chat/completions"}, b"")
        with models.provider(away) as provider, pytest.raises(ToolError) as refused:
            ask(provider.url)
    assert (refused.value.code, other.asked) == (MODEL_FAILED, [])


def test_a_provider_that_hangs_ends_with_the_time(ask: Any) -> None:
    ended = threading.Event()
    with models.provider(LOOK, None, hold=lambda: ended.wait(20)) as provider:
        began = time.monotonic()
        result = ask(provider.url, limits=model.Limits(seconds=1.0, price=(0.0, 0.0)))
        ended.set()
    assert time.monotonic() - began < 10
    assert result.recommendation == "nothing proposed: the budget is gone"
    assert "1 s are over" in result.findings[0].message and list(result.findings[0].evidence) == ["c1 log"]


# ------------------------------------------------------------------------------------------------------------- budgets

BUDGETS = {
    "requests": (model.Limits(requests=2, price=(0.0, 0.0)), "request_limit of 2"),
    "tool calls": (model.Limits(tool_calls=2, price=(0.0, 0.0)), "tool_calls_limit of 2"),
    "tokens": (model.Limits(tokens=2500, price=(0.0, 0.0)), "total_tokens_limit of 2500"),
    "money": (model.Limits(usd=0.02, price=(10.0, 10.0)), "0.0220 USD are spent, 0.02 are allowed"),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_endless_tool_calls_end_with_the_budget(name: str, ask: Any, notes: Kept) -> None:
    limits, why = BUDGETS[name]
    with models.provider(LOOK) as provider:
        result = ask(provider.url, limits=limits)
    assert (result.proposed_action, result.recommendation) == (None, "nothing proposed: the budget is gone")
    found = result.findings[0]
    assert why in found.message and "line 0" in found.evidence["c1 log"]
    assert len(provider.asked) <= 3 and result.model.transcript_sha256
    asked = len(provider.asked)
    assert (result.model.requests, result.model.tokens, len(notes.of("model_answered"))) == (asked, 1100 * asked, asked)


def test_a_thousand_calls_at_once_are_none(ask: Any, notes: Kept) -> None:
    with models.provider(models.calls([("log", "{}")] * 1000)) as provider:
        result = ask(provider.url)
    assert result.proposed_action is None and notes.of("tool_called") == []


@pytest.mark.parametrize("usage", [True, False])
def test_money_that_nobody_counts_is_not_spent(usage: bool, ask: Any) -> None:
    """A limit that can't be kept is refused with the first answer."""
    first, why = models.said("log", {}, usage=usage), "is not known" if usage else "does not say how many tokens"
    limits = model.Limits() if usage else FREE
    with models.provider(first) as provider, pytest.raises(ToolError, match=why) as refused:
        ask(provider.url, limits=limits)
    assert (refused.value.code, len(provider.asked)) == (MODEL_SETTINGS, 1)


# --------------------------------------------------------------------------------------------------------------- tools


def test_a_tool_that_hangs_is_left_behind(ask: Any, notes: Kept) -> None:
    ended = threading.Event()

    def stuck() -> str:
        """Never answers."""
        ended.wait(10)
        return "late"

    limits = model.Limits(tool_seconds=0.2, price=(0.0, 0.0))
    with models.provider(models.said("stuck", {}), PLAN) as provider:
        result = ask(provider.url, tools=(stuck,), limits=limits)
    ended.set()
    assert 200 <= notes.latencies["tool_called"] < 4000, "as long as the limit says, not as the tool takes"
    assert "no answer within 0.2 s" in result.findings[0].evidence["c1 stuck"]
    assert [(ok, facts["tool"]) for step, ok, facts in notes.events if step == "tool_called"] == [(False, "stuck")]


def test_a_tool_that_runs_when_the_time_ends_is_in_the_trail(ask: Any, notes: Kept) -> None:
    ended = threading.Event()

    def stuck() -> None:
        """Never answers."""
        ended.wait(10)

    limits = model.Limits(seconds=0.5, price=(0.0, 0.0))
    with models.provider(models.said("stuck", {})) as provider:
        result = ask(provider.url, tools=(stuck,), limits=limits)
    ended.set()
    assert [(ok, facts["tool"]) for step, ok, facts in notes.events if step == "tool_called"] == [(False, "stuck")]
    assert result.model.tool_calls == 1 and list(result.findings[0].evidence) == ["c1 stuck"]


def test_what_a_tool_can_not_read_is_an_answer_and_a_mistake_is_not(ask: Any, notes: Kept) -> None:
    def down() -> str:
        """Is down."""
        raise ToolError(NO_ANSWER, "GET http://logs: connection refused")

    def wrong() -> int:
        """Has a mistake in it."""
        return 1 // 0

    with models.provider(models.said("down", {}), PLAN) as provider:
        result = ask(provider.url, tools=(down,))
    assert "connection refused" in result.findings[0].evidence["c1 down"]
    with models.provider(models.said("wrong", {})) as provider, pytest.raises(ZeroDivisionError):
        ask(provider.url, tools=(wrong,))
    assert [ok for step, ok, _ in notes.events if step == "tool_called"] == [False, False]


def test_an_answer_is_cut_and_says_so(ask: Any) -> None:
    limits = model.Limits(answer_characters=50, price=(0.0, 0.0))
    with models.provider(models.said("log", {"lines": 100}), PLAN) as provider:
        ask(provider.url, limits=limits)
    answer = json.loads(provider.asked[1]["messages"][-1]["content"])["answer"]
    assert len(answer) < 100 and "more characters" in answer


def test_a_finding_shows_where_a_call_and_its_answer_begin(ask: Any) -> None:
    def echo(words: str) -> str:
        """Say it again."""
        return words

    with models.provider(models.said("echo", {"words": "w" * 5000}), PLAN) as provider:
        result = ask(provider.url, tools=(echo,))
    (shown,) = result.findings[0].evidence.values()
    assert len(shown) < 800 and shown.endswith("w ...")


def test_a_secret_is_redacted_wherever_a_call_is_written_down(ask: Any, notes: Kept) -> None:
    """What the model asks for, and what an answer holds where it is cut."""

    def search(words: str) -> str:
        """Search the log."""
        return "x" * 40 + " ghp_" + "a1B2" * 9

    asked, limits = models.said("search", {"words": "password=hunter2-hunter2"}), model.Limits(price=(0.0, 0.0))
    with models.provider(asked, PLAN) as provider:
        result = ask(provider.url, tools=(search,), limits=replace(limits, answer_characters=60))
    kept = notes.files["model-transcript.json"].decode()
    assert "a1B2" not in json.dumps(provider.asked)
    for text in (str(notes.events), str(result.findings), kept):
        assert "hunter2" not in text and "a1B2" not in text


def test_calls_of_one_answer_are_made_one_after_the_other(ask: Any, notes: Kept) -> None:
    def slow() -> str:
        """Takes its time."""
        time.sleep(0.2)
        return ""

    def quick() -> str:
        """Takes none."""
        return ""

    with models.provider(models.calls([("slow", "{}"), ("quick", "{}")]), PLAN) as provider:
        ask(provider.url, tools=(slow, quick))
    assert [(each["call"], each["tool"]) for each in notes.of("tool_called")] == [("c1", "slow"), ("c2", "quick")]


# ----------------------------------------------------------------------------------------------------------- injection

ORDERS = {
    "another action": (models.said("delete_database", {"name": "shop"}), "delete_database"),
    "a tool that is none": (models.said("run_shell", {"command": "id"}), "run_shell"),
    "a forged result": (models.plan("restart", ["c7"], {}), "c7"),
    "another resource": (models.plan("restart", ["c1"], {"resource": "database"}), "resource"),
    "to skip the gate": (models.plan("restart", ["c1"], {}, safe_to_proceed=True, approved=True), "approved"),
}


@pytest.mark.threat("T2")
@pytest.mark.parametrize("order", ORDERS)
def test_orders_in_a_log_lead_nowhere_and_are_seen(order: str, ask: Any) -> None:
    """The model obeys, is refused, and the reviewer reads what it tried."""
    obeyed, seen = ORDERS[order]
    with models.provider(LOOK, obeyed, PLAN) as provider:
        result = ask(provider.url, tools=(log,))
    assert result.proposed_action.action == "turn_off"
    (last,) = result.findings[1:]
    assert last.message == "1 of the model's answers were refused" and seen in str(last.evidence)


@pytest.mark.threat("T2")
def test_a_number_that_no_document_can_hold_is_refused(ask: Any) -> None:
    wrong = [models.plan("scale", ["c1"], {"factor": float(each)}) for each in ("nan", "inf")]
    with models.provider(LOOK, *wrong, models.plan("scale", ["c1"], {"factor": 2})) as provider:
        result = ask(provider.url, actions=(SCALE,))
    assert result.proposed_action.parameters == {"factor": 2.0, "error_rate": 0.4}
    assert result.findings[-1].message == "2 of the model's answers were refused"


def test_many_refusals_are_counted_and_the_first_are_shown(ask: Any) -> None:
    with models.provider(models.calls([("run_shell", "{}")] * 20), LOOK, PLAN) as provider:
        result = ask(provider.url)
    (last,) = result.findings[1:]
    assert (last.message, len(last.evidence)) == ("20 of the model's answers were refused", 15)


# ------------------------------------------------------------------------------------------------------------ settings


def test_two_things_of_one_name_are_refused_before_anybody_is_asked(ask: Any) -> None:
    def restart() -> str:
        """Has the name of an action."""
        return ""

    twice: dict[str, dict[str, Any]] = {
        "an action is called restart, and so is an action: rename one of them": {"actions": (RESTART, OFF, RESTART)},
        "a tool is called restart, and so is an action: rename one of them": {"tools": (log, restart)},
        "the action turn_off has a parameter switch, which is measured: rename one of them": {
            "measured": {"switch": 1}
        },
        "an action is called propose_nothing, and so is the answer that proposes nothing: rename one of them": {
            "actions": (OFF, model.Action("propose_nothing", "", Nothing))
        },
        "an action can't be called 'Turn Off'": {"actions": (model.Action("Turn Off", "", Off),)},
        "an action can't be called 'turn off'": {"actions": (model.Action("turn off", "", Off),)},
    }
    for said, changed in twice.items():
        with pytest.raises(ToolError) as refused:
            ask(**changed)
        assert refused.value.code == MODEL_SETTINGS and refused.value.message.startswith(said)


@pytest.mark.parametrize(
    ("name", "code", "part"),
    [
        ("", MODEL_SETTINGS, "MODEL_NAME is ''; it must be one of openai:..., anthropic:..."),
        ("openai", MODEL_SETTINGS, "MODEL_NAME is 'openai'"),
        ("oracle:delphi", MODEL_SETTINGS, "MODEL_NAME is 'oracle:delphi'"),
        ("openai:small", ACCESS_REFUSED, "MODEL_API_KEY is empty in the job investigate"),
        ("anthropic:small", ACCESS_REFUSED, "MODEL_API_KEY is empty in the job investigate"),
        ("azure:small", MODEL_SETTINGS, "azure:small needs its endpoint in MODEL_ADDRESS"),
        ("recorded:gone.json", MODEL_SETTINGS, "gone.json: No such file"),
        ("recorded:README.md", MODEL_SETTINGS, "README.md: "),
    ],
)
def test_a_setting_is_named(name: str, code: str, part: str, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", name)
    monkeypatch.setenv("MODEL_API_KEY", "")
    with pytest.raises(ToolError) as refused:
        ask()
    assert refused.value.code == code and part in refused.value.message


def test_a_recorded_conversation_ends(ask: Any, notes: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    path = tmp_path / "talk.json"
    path.write_text("[]")
    monkeypatch.setenv("MODEL_NAME", f"recorded:{path}")
    with pytest.raises(ToolError, match="ends after 0 answers"):
        ask()
    assert notes.of("transcript_kept")


def test_anthropic_is_asked_at_an_address(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", "anthropic:claude-small")

    def block(name: str, given: Any) -> models.Reply:
        content = [{"type": "tool_use", "id": "t1", "name": name, "input": given}]
        whole: dict[str, Any] = {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": "claude-small",
            "content": content,
        }
        whole |= {"stop_reason": "tool_use", "usage": {"input_tokens": 10, "output_tokens": 5}}
        return 200, {}, json.dumps(whole).encode()

    with models.provider(block("log", {"lines": 1}), block("turn_off", json.loads(CHOSEN))) as provider:
        result = ask(provider.url.removesuffix("/v1"))
    assert result.proposed_action.action == "turn_off" and provider.keys == ["Bearer key-for-tests"] * 2
    assert result.model.tokens == 30


def test_azure_is_asked_at_its_endpoint(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", "azure:deployment")
    with models.provider(LOOK, PLAN) as provider:
        result = ask(provider.url.replace("/v1", "/openai/v1/"))
    assert result.model.name == "azure:deployment" and provider.asked[0]["model"] == "deployment"


def test_a_provider_without_its_package_is_named(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", "bedrock:small")
    monkeypatch.setitem(sys.modules, "boto3", None)  # as where it is not installed
    for module in ("models", "providers"):
        monkeypatch.delitem(sys.modules, f"pydantic_ai.{module}.bedrock", raising=False)
    with pytest.raises(ToolError, match=r"pydantic-ai-slim\[bedrock\]") as refused:
        ask()
    assert refused.value.code == MODEL_SETTINGS


def test_bedrock_without_its_region_is_one_line(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", "bedrock:small")
    monkeypatch.delenv("AWS_REGION", raising=False)
    with pytest.raises(ToolError, match="needs its region in AWS_REGION") as refused:
        ask()
    assert refused.value.code == MODEL_SETTINGS


def test_a_model_of_a_test_costs_nothing(ask: Any) -> None:
    from pydantic_ai.messages import ModelResponse, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    left = [
        ToolCallPart("log", {}),
        ToolCallPart("propose_nothing", {"findings": [], "reason": "x", "analysis": "", "confidence": 1}),
    ]
    quiet = FunctionModel(lambda *_: ModelResponse(parts=[left.pop(0)]))
    assert ask(model=quiet, limits=model.Limits()).model.usd is None
    assert providers.MAX_RESPONSE_BYTES < 10_000_000
