const { context, propagation, ROOT_CONTEXT } = require('@opentelemetry/api');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { GrpcInstrumentation } = require('@opentelemetry/instrumentation-grpc');
const { defaultResource, detectResources, envDetector } = require('@opentelemetry/resources');
const { BatchSpanProcessor, NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');

// Exports where OTEL_EXPORTER_OTLP_ENDPOINT says, and nowhere without it.
const provider = new NodeTracerProvider({
  resource: defaultResource().merge(detectResources({ detectors: [envDetector] })),
  spanProcessors: process.env.OTEL_EXPORTER_OTLP_ENDPOINT
    ? [new BatchSpanProcessor(new OTLPTraceExporter())]
    : [],
});
provider.register();
registerInstrumentations({ instrumentations: [new GrpcInstrumentation()] });

/** Continues the trace that TRACEPARENT names, as middleware does from a request. */
function continued(call) {
  const { TRACEPARENT: traceparent, TRACESTATE: tracestate } = process.env;
  return context.with(propagation.extract(ROOT_CONTEXT, { traceparent, tracestate }), call);
}

/** Exports what is left. */
function stopTracing() {
  return provider.shutdown().catch((error) => console.error(`caller: no traces: ${error.message}`));
}

module.exports = { continued, stopTracing };
