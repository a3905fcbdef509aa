"""OpenTelemetry: exports where OTEL_EXPORTER_OTLP_ENDPOINT says, and nowhere without it."""

import os

from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def start() -> None:
    """Instruments gRPC, and continues the trace that TRACEPARENT names, as middleware does."""
    provider = TracerProvider()  # ends, and exports what is left, when Python exits
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    GrpcInstrumentorClient().instrument()
    names = ("traceparent", "tracestate")
    carrier = {name: os.environ.get(name.upper(), "") for name in names}
    context.attach(propagate.extract(carrier))
