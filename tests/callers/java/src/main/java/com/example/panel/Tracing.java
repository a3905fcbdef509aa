package com.example.panel;

import io.grpc.ClientInterceptor;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.Scope;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.instrumentation.grpc.v1_6.GrpcTelemetry;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import java.util.Locale;
import java.util.Map;

/** OpenTelemetry: exports where OTEL_EXPORTER_OTLP_ENDPOINT says, and nowhere without it. */
final class Tracing implements AutoCloseable {
  private final OpenTelemetrySdk telemetry =
      AutoConfiguredOpenTelemetrySdk.builder()
          .disableShutdownHook()
          .addPropertiesSupplier(
              () ->
                  Map.of(
                      "otel.traces.exporter",
                      System.getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == null ? "none" : "otlp",
                      "otel.metrics.exporter",
                      "none",
                      "otel.logs.exporter",
                      "none"))
          .build()
          .getOpenTelemetrySdk();

  ClientInterceptor interceptor() {
    return GrpcTelemetry.create(telemetry).newClientInterceptor();
  }

  /** Continues the trace that TRACEPARENT names, as middleware does from a request. */
  Scope continued() {
    var propagator = telemetry.getPropagators().getTextMapPropagator();
    return propagator.extract(Context.root(), System.getenv(), new Variables()).makeCurrent();
  }

  /** Exports what is left. */
  @Override
  public void close() {
    telemetry.close();
  }

  private static final class Variables implements TextMapGetter<Map<String, String>> {
    @Override
    public Iterable<String> keys(Map<String, String> variables) {
      return variables.keySet();
    }

    @Override
    public String get(Map<String, String> variables, String key) {
      return variables.get(key.toUpperCase(Locale.ROOT));
    }
  }
}
