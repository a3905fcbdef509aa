const { context, propagation, ROOT_CONTEXT } = require('@opentelemetry/api');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { GrpcInstrumentation } = require('@opentelemetry/instrumentation-grpc');
const { NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');

// Given an exporter, the caller's own spans are seen too.
new NodeTracerProvider().register();
registerInstrumentations({ instrumentations: [new GrpcInstrumentation()] });

/** Continues the trace that the environment names, as middleware does from a request. */
function continued(call) {
  const carrier = { traceparent: process.env.TRACEPARENT };
  return context.with(propagation.extract(ROOT_CONTEXT, carrier), call);
}

module.exports = { continued };
