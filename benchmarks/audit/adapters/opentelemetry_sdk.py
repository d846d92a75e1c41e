# mypy: disable-error-code="import-not-found"
"""OpenTelemetry: batch processors with their defaults, exported with OTLP over HTTP."""

from __future__ import annotations

import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from audit.adapters import Session
from audit.event import attributes


def spans(url: str, _folder: str) -> Session:
    """One span for each event."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
    tracer = provider.get_tracer("audit")
    return Session(
        lambda number: tracer.start_span("api_call", attributes=attributes(number)).end(), provider.force_flush
    )


def logs(url: str, _folder: str) -> Session:
    """One log record for each event."""
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{url}/v1/logs")))
    logger = provider.get_logger("audit")

    def capture(number: int) -> None:
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                body="api_call",
                attributes=attributes(number),
            )
        )

    return Session(capture, provider.force_flush)
