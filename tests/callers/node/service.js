const { join } = require('node:path');
const { promisify } = require('node:util');
const grpc = require('@grpc/grpc-js');
const { loadSync } = require('@grpc/proto-loader');

const PROTO_FOLDER = process.env.ASK2DO_PROTO ?? join(__dirname, '../../../proto');

// core: begin
const definition = loadSync('ask2do/token/v1/token_service.proto', {
  includeDirs: [PROTO_FOLDER],
  longs: Number,
  defaults: true,
});
const { TokenService } = grpc.loadPackageDefinition(definition).ask2do.token.v1;

// prettier-ignore
const serviceConfig = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [{ name: [{ service: 'ask2do.token.v1.TokenService' }], retryPolicy: {
    maxAttempts: 5, initialBackoff: '0.2s', maxBackoff: '1s', backoffMultiplier: 2,
    retryableStatusCodes: ['UNAVAILABLE'] } }],
};

const dial = (endpoint, ca, key, cert) =>
  new TokenService(`dns:///${endpoint}`, grpc.credentials.createSsl(ca, key, cert), {
    'grpc.service_config': JSON.stringify(serviceConfig),
    'grpc.service_config_disable_resolution': 1,
    'grpc.initial_reconnect_backoff_ms': 250,
    'grpc.max_reconnect_backoff_ms': 2_000,
    'grpc.keepalive_time_ms': 20_000,
    'grpc.keepalive_timeout_ms': 5_000,
    'grpc.keepalive_permit_without_calls': 1,
  });
const mint = (service, panelUser) =>
  promisify(service.MintToken).call(service, { panelUser }, { deadline: Date.now() + 6_000 });
// core: end

module.exports = { dial, mint };
