"""What the tests of the runtime throw at it: hostile text, JSON values, policies, plans."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from agent_runtime.gate.conditions import Condition, Other
from agent_runtime.gate.policy import HIGHEST_AUTO_RISK, Policy, Rule
from agent_runtime.results import RiskLevel

# Each does something somewhere: Markdown, HTML, GitHub's own filters, the runner's commands, terminals, bidi.
HOSTILE_FRAGMENTS = (
    *["`", "``", "```", "~~~", "`" * 80, "`" * 81, "`" * 255, "`" * 300, "```text", "\n```\n", "\n~~~\n"],
    *["# ", "\n# heading", "\nApproved\n===", "\n---\n", "***", "- [x] done", "1. one", "> quote", "    code", "\t"],
    *["| a | b |", "\n| --- | --- |\n", "|", "\\|", "\\", "\\`", "&#124;", "&lt;", "&#64;", "&", "<!--", "-->"],
    *[
        "[x](https://evil.example)",
        "![x](https://evil.example/p.png)",
        "[x]: https://evil.example",
        "[^1]",
        "\n[^1]: n",
    ],
    *[
        "https://evil.example",
        "www.evil.example",
        "mailto:a@evil.example",
        "someone@evil.example",
        "<https://evil.example>",
    ],
    *["@octocat", "@org/team", "#123", "org/repo#1", "GH-1", "d670460b4b4aece5915caf5c68d12f560a9fe3e4", ":rocket:"],
    *[
        "<b>",
        "</b>",
        "<img src=x>",
        "<details><summary>x</summary>",
        "</details>",
        "<script>",
        "<a href=x>",
        "<br>",
        "<pre>",
    ],
    *["**bold**", "__b__", "*i*", "_i_", "~~s~~", "$x$", "$$y$$", "$`x`$", "!", "[", "]", "(", ")", "<", ">"],
    *["::set-output name=x::y", "::add-mask::", "::", ":", "##[group]", "##[error]", "#[", "##", "::stop-commands::x"],
    *[
        "\r",
        "\r\n",
        "\n",
        "\x0b",
        "\x0c",
        "\x85",
        "\u2028",
        "\u2029",
        "\x00",
        "\x1b[31m",
        "\x1b]8;;https://e\x07",
        "\x9b31m",
    ],
    *["\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u00ad", "\ufe0f", "\u3164", "\U000e0041", "\ud800", "\u00a0"],
    *["e\u0301", "\u0338", "a" + "\u0300" * 9, "é", "日本", "אב", "\\u{202e}", "\\u{", "✅ Approved", " ", "  "],
)

hostile_text = st.lists(st.one_of(st.sampled_from(HOSTILE_FRAGMENTS), st.text(max_size=8)), max_size=12).map("".join)

# Texts that survive JSON: no lone surrogates.
json_text = hostile_text.map(lambda text: text.encode("utf-8", "ignore").decode("utf-8"))
json_numbers = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False, width=64)
)
json_scalars = st.one_of(st.none(), st.booleans(), json_numbers, json_text)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(json_text, inner, max_size=3)),
    max_leaves=8,
)
json_objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(json_text, json_values, max_size=4)

risks = st.sampled_from(list(RiskLevel))

# Few names and values, so that rules and actions meet.
parameter_names = st.sampled_from(["environment", "window_minutes", "force", "host", "hosts"])
action_types = st.sampled_from(["restart", "restart:rolling", "scale", "delete"])
resources = st.sampled_from(["payments-api", "payments-db", "orders-api", "prod/orders"])
parameter_values: st.SearchStrategy[Any] = st.sampled_from(
    [
        "prod",
        "staging",
        "host-1",
        "",
        "pro\u200bd",
        "x" * 2000,
        0,
        1,
        5,
        5.5,
        60,
        True,
        False,
        None,
        [],
        ["prod"],
        ["prod", "host-1"],
        ["prod", 1],
        ["x" * 2000],
        [["prod"]],
        [1, 5, 60],
        {},
        float("nan"),
        {"n": 5},
        [{"n": 1, "at": "2026-11-20T00:00:00Z"}],
        [{"n": 5, "at": "2026-11-29T00:00:00Z"}, {"n": 60, "at": "2026-11-20T00:00:00Z"}],
        [{"n": -1, "at": "2027-01-01T00:00:00Z"}, {"n": 5}],
    ]
)
# When the plans of these actions are sealed, and None where nobody says so.
moments = st.sampled_from([datetime(2026, 11, 30, tzinfo=UTC), None])
parameters = st.dictionaries(parameter_names, parameter_values, max_size=5)

_comparable = st.sampled_from(["prod", "staging", 1, 5, 60, 5.5, True])
conditions = st.one_of(
    st.builds(Condition, parameter_names, st.sampled_from(["equals", "not_equals"]), _comparable),
    st.builds(
        Condition,
        parameter_names,
        st.sampled_from(["in", "not_in", "each_in"]),
        st.sampled_from([("prod",), ("prod", "staging"), (1, 5), (True,)]),
    ),
    st.builds(
        Condition,
        parameter_names,
        st.sampled_from(["greater_than", "at_least", "less_than", "at_most"]),
        st.sampled_from([1, 5, 5.5, 60]),
    ),
    st.builds(
        Condition,
        parameter_names,
        st.sampled_from(["format", "each_format"]),
        st.sampled_from(["service-name", "ascii-line", "version"]),
    ),
    st.builds(
        Condition,
        parameter_names,
        st.sampled_from(["starts_with", "each_starts_with"]),
        st.sampled_from(["pro", "host-", "P"]),
    ),
    st.builds(Condition, parameter_names, st.just("max_items"), st.sampled_from([1, 2])),
    st.builds(
        Condition,
        st.sampled_from(["host.n", "hosts[].n", "sum(hosts[].n)", "count(hosts)"]),
        st.sampled_from(["greater_than", "at_least", "less_than", "at_most"]),
        st.sampled_from([1, 5, 60]),
    ),
    st.builds(
        Condition,
        st.just("age(hosts[].at)"),
        st.sampled_from(["at_least", "less_than"]),
        st.sampled_from(["2d", "20d"]),
    ),
    st.builds(
        Condition,
        parameter_names,
        st.sampled_from(["equals", "not_equals", "at_most"]),
        st.builds(Other, st.sampled_from(["host", "window_minutes", "count(hosts)"])),
    ),
)
rules = st.builds(
    Rule,
    st.sampled_from(["*", "restart", "restart*", "scale", "delete", "d*"]),
    st.lists(st.sampled_from(["*", "payments-*", "orders-api", "prod/*"]), min_size=1, max_size=2).map(tuple),
    st.lists(conditions, max_size=2).map(tuple),
    risks,
    st.none(),
    st.booleans(),
)
auto_rules = rules.map(
    lambda rule: dataclasses.replace(
        rule, max_risk=min(rule.max_risk, HIGHEST_AUTO_RISK, key=lambda risk: risk.rank), requires_approval=True
    )
)
policies = st.builds(
    Policy,
    st.just("p"),
    st.just(1),
    st.lists(rules, max_size=3).map(tuple),
    st.lists(rules, max_size=2).map(tuple),
    st.just("0" * 64),
    st.lists(auto_rules, max_size=2).map(tuple),
)
