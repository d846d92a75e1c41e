"""One module for each SDK: how it is set up as its documentation says, and how it captures one event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Session:
    """An SDK that is ready.

    Attributes:
        capture: captures the event with this number.
        flush: returns when what was captured is delivered, or can't be.
    """

    capture: Callable[[int], object]
    flush: Callable[[], object]


@dataclass(frozen=True)
class Sdk:
    """An SDK in one way of using it.

    Attributes:
        name: as the tables show it.
        opener: `module:function` below this package; called with the sink's address and an empty folder.
        imports: what a program imports to use it so.
        package: its name on PyPI; empty for the one in this repository.
    """

    name: str
    opener: str
    imports: str
    package: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is the SDK of this repository."""
        return not self.package

    def open(self, url: str, folder: str) -> Session:
        """Set the SDK up in this process."""
        module, function = self.opener.split(":")
        session: Session = getattr(import_module(f"{__name__}.{module}"), function)(url, folder)
        return session


OURS = Sdk("**aimgentix**", "ours:delivering", "import aimgentix")
JOURNAL_ONLY = Sdk("**aimgentix**, no backend", "ours:journal_only", "import aimgentix")

_OTLP = "from opentelemetry.exporter.otlp.proto.http"
PEERS = (
    Sdk("sentry-sdk, logs", "sentry:logs", "import sentry_sdk", "sentry-sdk"),
    Sdk(
        "opentelemetry-sdk, logs",
        "opentelemetry_sdk:logs",
        f"import opentelemetry.sdk._logs.export; {_OTLP}._log_exporter import OTLPLogExporter",
        "opentelemetry-sdk",
    ),
    Sdk(
        "opentelemetry-sdk, spans",
        "opentelemetry_sdk:spans",
        f"import opentelemetry.sdk.trace.export; {_OTLP}.trace_exporter import OTLPSpanExporter",
        "opentelemetry-sdk",
    ),
    Sdk("langsmith", "langsmith_sdk:runs", "from langsmith import Client", "langsmith"),
    Sdk("posthog", "posthog_sdk:events", "from posthog import Posthog", "posthog"),
    Sdk("langfuse", "langfuse_sdk:observations", "from langfuse import Langfuse", "langfuse"),
    Sdk("logfire", "logfire_sdk:logs", "import logfire; logfire.configure", "logfire"),
    Sdk("sentry-sdk, messages", "sentry:messages", "import sentry_sdk", "sentry-sdk"),
)
SDKS = (OURS, JOURNAL_ONLY, *PEERS)


def by_opener(opener: str) -> Sdk:
    """Return the SDK with this opener, which distinguishes them on command lines."""
    return next(sdk for sdk in SDKS if sdk.opener == opener)
