"""The catalogue: every mistake is named with file and key, and no address comes from anywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.toolkit import metrics, services
from agent_runtime.toolkit.errors import CATALOGUE_INVALID, NOT_IN_CATALOGUE, ToolError

GOOD = """
services:
  shop:
    metrics: {url: "http://shop:8080/metrics", window_seconds: 0, counter: hits_total}
    health: http://shop:8080/healthz
    restart: https://deployer.example.com/shop/restart?soft=1
    dependencies: {database: "http://shop:8080/healthz/db"}
  search/eu:
    metrics:
      prometheus: https://prometheus.example.com/tenant
      requests: sum by (code) (increase(http_requests_total{job="search"}[$window]))
      started: process_start_time_seconds{job="search"}
    health: http://search/healthz
    restart: http://search/restart
"""


def test_both_kinds_of_metrics_are_read() -> None:
    catalogue = services.parse(GOOD.encode(), "services.yml")
    shop = catalogue.get("shop")
    assert shop.metrics == metrics.TextEndpoint("http://shop:8080/metrics", 0, 30, counter="hits_total")
    assert shop.dependencies == {"database": "http://shop:8080/healthz/db"}
    search = catalogue.get("search/eu")
    assert isinstance(search.metrics, metrics.PrometheusServer)
    assert (search.metrics.window_seconds, search.metrics.fresh_seconds) == (3600, 60)
    assert search.dependencies == {}


def test_metrics_may_want_a_token_and_count_codes_of_grpc() -> None:
    wanted = "{token: PROMETHEUS_TOKEN, codes: grpc, "
    text = GOOD.replace("metrics: {", "metrics: " + wanted).replace(
        "metrics:\n", "metrics:\n      token: PROMETHEUS_TOKEN\n      codes: grpc\n"
    )
    for name in ("shop", "search/eu"):
        source = services.parse(text.encode(), "services.yml").get(name).metrics
        assert (source.token, source.codes) == ("PROMETHEUS_TOKEN", "grpc")
        assert services.parse(GOOD.encode(), "services.yml").get(name).metrics.token == ""
    named = services.parse(text.replace("PROMETHEUS_TOKEN", "prometheus-eu").encode(), "services.yml")
    assert named.get("shop").metrics.token == "prometheus-eu", "a system, of which the job has some credential"


def test_what_is_not_listed_is_not_there() -> None:
    with pytest.raises(ToolError, match=r"'http://evil' is not in services\.yml, which has: search/eu, shop") as caught:
        services.parse(GOOD.encode(), "services.yml").get("http://evil")
    assert caught.value.code == NOT_IN_CATALOGUE


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("services:", "service:", "has no key services"),
        ("services:", "version: 1\nservices:", "has an unknown key 'version'"),
        ("    health: http://shop:8080/healthz\n", "", r"services\.shop has no key health"),
        ("health: http://shop", "helth: http://shop", r"services\.shop has no key health"),
        ("http://shop:8080/healthz\n", "ftp://shop\n", r"services\.shop\.health must be an address"),
        ("http://shop:8080/healthz\n", "shop:8080/healthz\n", r"services\.shop\.health must be an address"),
        ("http://shop:8080/healthz\n", "http://shop:99999/\n", r"services\.shop\.health must be an address"),
        ("http://shop:8080/healthz\n", "http://\n", r"services\.shop\.health must be an address"),
        ("http://shop:8080/healthz\n", "'http://shop/ x'\n", r"services\.shop\.health must be an address"),
        ("http://shop:8080/healthz\n", "'http://shóp/'\n", r"services\.shop\.health must be an address"),
        ("http://shop:8080/healthz\n", "http://me:pw@shop/\n", r"services\.shop\.health must not hold a user"),
        ("http://shop:8080/healthz\n", "'http://shop/#x'\n", r"services\.shop\.health must not hold a # part"),
        ("http://shop:8080/healthz\n", "[]\n", r"services\.shop\.health must be a text"),
        ("window_seconds: 0", "window_seconds: -1", r"services\.shop\.metrics\.window_seconds must be a number from 0"),
        ("window_seconds: 0", "window_seconds: yes", r"window_seconds must be a number from 0"),
        ("window_seconds: 0", "window_seconds: .nan", r"window_seconds must be a number from 0"),
        ("window_seconds: 0", "codes: gprc", r"services\.shop\.metrics\.codes must be one of http, grpc"),
        ("window_seconds: 0", "codes: [grpc]", r"services\.shop\.metrics\.codes must be one of http, grpc"),
        ("window_seconds: 0", "token: ghp_s3cret", r"metrics\.token must be the name of an environment variable"),
        ("window_seconds: 0", "token: s3cret", r"metrics\.token must be the name of an environment variable"),
        ("window_seconds: 0", "token: 7", r"metrics\.token must be the name of an environment variable"),
        ("window_seconds: 0", "window: 0", r"services\.shop\.metrics has an unknown key 'window'"),
        ("counter: hits_total", "counter: hits total", r"counter must be the name of a metric"),
        ("url: ", "prometheus: ", r"services\.shop\.metrics has no key requests"),
        ("[$window]", "[5m]", r"services\.search/eu\.metrics\.requests must hold \$window"),
        ("search/eu:", "search eu:", r"the resource 'search eu' is not a plain identifier"),
        ("search/eu:", "shop:", "line 8: key shop appears twice"),
        ("search/eu:", "1:", r"services must be a mapping of names"),
        ("search/eu:", "[a]:", "a key is not text"),
        ("  shop:", "  shop: &shop", None),
        ("dependencies: {database", "dependencies: *shop #", "aliases are not allowed"),
        ("dependencies: {", "dependencies: !!python/object:os.system {", "line 7: could not determine a constructor"),
        ("dependencies: {", "dependencies: {{", "services.yml: "),
        ("health: http", "health: 2024-99-99 #", "services.yml: "),
    ],
)
def test_every_mistake_is_named(old: str, new: str, message: str | None) -> None:
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    if message is None:
        services.parse(text.encode(), "services.yml")
        return
    with pytest.raises(ToolError, match=message) as caught:
        services.parse(text.encode(), "services.yml")
    assert caught.value.code == CATALOGUE_INVALID
    assert caught.value.message.startswith("services.yml")
    assert "\n" not in caught.value.line()
    assert "s3cret" not in caught.value.line(), "whoever writes a token there must not find it in a report"


@pytest.mark.parametrize(
    ("old", "new", "reported"),
    [
        (
            "window_seconds: 0",
            "window_seconds: -1",
            "services.yml: line 4: services.shop.metrics.window_seconds must be",
        ),
        (
            "    health: http://shop",
            "\n    helth: http://shop",
            "services.yml: line 3: services.shop has no key health",
        ),
        (
            "http://search/restart",
            "search/restart",
            "services.yml: line 14: services.search/eu.restart must be an address",
        ),
        ("services:", "services: {}\nservice:", "services.yml: has an unknown key 'service'"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, reported: str) -> None:
    with pytest.raises(ToolError) as caught:
        services.parse(GOOD.replace(old, new, 1).encode(), "services.yml")
    assert caught.value.message.startswith(reported)


@given(
    st.dictionaries(
        st.text(max_size=8), st.dictionaries(st.text(max_size=8), st.integers() | st.booleans(), max_size=3)
    )
)
def test_a_file_is_read_as_any_yaml_reader_does(found: dict[str, Any]) -> None:
    for flow in (True, False):
        text = yaml.safe_dump(found, allow_unicode=True, default_flow_style=flow)
        assert services.mapping_of(text.encode(), "x.yml") == yaml.safe_load(text)


def test_what_must_ascend_and_does_not_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))
    number = services.number(1, 100)
    entry = services.form({"least": number, "usual": number, "most": number}, ascending=("least", "usual", "most"))
    for least, usual, most, reported in (
        (1, 2, 3, None),
        (2, 2, 2, None),
        (3, 2, 4, "line 3: services.x.least must be at most usual: 3 is more than 2"),
        (1, 5, 4, "line 4: services.x.usual must be at most most: 5 is more than 4"),
    ):
        text = f"services:\n  x:\n    least: {least}\n    usual: {usual}\n    most: {most}\n"
        (tmp_path / "services.yml").write_text(text, encoding="utf-8")
        if reported is None:
            services.read(tmp_path, entry)
            continue
        with pytest.raises(ToolError) as caught:
            services.read(tmp_path, entry)
        assert caught.value.line().startswith(f"TOOL03: services.yml: {reported}. Fix the named key")


@pytest.mark.parametrize(
    "data", [b"", b"- 1", b"services:", b"\xff\xfe\xfa", b"[" * 2000, b"a: " * 100, b"x" * (services.MAX_BYTES + 1)]
)
def test_what_is_not_a_catalogue_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(ToolError, match=r"services\.yml"):
        services.parse(data, "services.yml")


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=10,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "metrics": values
        | st.fixed_dictionaries({}, optional=dict.fromkeys(("url", "prometheus", "requests", "started"), values)),
        "health": values | st.just("http://x"),
        "restart": values | st.just("http://x"),
        "dependencies": values,
    },
)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.dictionaries(st.text(max_size=5), entries, max_size=2).map(
        lambda found: yaml.safe_dump({"services": found}, allow_unicode=True).encode("utf-8", "replace")
    )
)
def test_no_file_makes_the_reader_crash(data: bytes) -> None:
    try:
        services.parse(data, "services.yml")
    except ToolError as problem:
        assert "\n" not in problem.line()


def test_the_environment_names_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVICES_FILE", raising=False)
    with pytest.raises(ToolError, match=r"services\.yml: No such file"):
        services.load(tmp_path / "services.yml")
    (tmp_path / "other.yml").write_text(GOOD, encoding="utf-8")
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "other.yml"))
    assert services.load(tmp_path / "services.yml").source == "other.yml"
