package main

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
)

// startTracing installs the SDK, which exports where OTEL_EXPORTER_OTLP_ENDPOINT says, and continues the trace
// that TRACEPARENT names, as a web framework's middleware does from a request.
func startTracing() (context.Context, func()) {
	ctx := context.Background()
	var exporting []trace.TracerProviderOption
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" {
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, "caller: no traces:", err)
		} else {
			exporting = append(exporting, trace.WithBatcher(exporter))
		}
	}
	provider := trace.NewTracerProvider(exporting...)
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	carrier := propagation.MapCarrier{"traceparent": os.Getenv("TRACEPARENT"), "tracestate": os.Getenv("TRACESTATE")}
	return otel.GetTextMapPropagator().Extract(ctx, carrier), func() { _ = provider.Shutdown(ctx) }
}
