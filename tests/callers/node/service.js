const { readFileSync } = require('node:fs');
const { join } = require('node:path');
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

// Every address of the name takes its turn. UNAVAILABLE is tried again, unless the service says in
// its reply that it was reached (grpc-retry-pushback-ms: -1).
const retryPolicy = {
  maxAttempts: 3,
  initialBackoff: '0.1s',
  maxBackoff: '1s',
  backoffMultiplier: 2,
  retryableStatusCodes: ['UNAVAILABLE'],
};
const serviceConfig = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [{ name: [{ service: 'ask2do.token.v1.TokenService' }], retryPolicy }],
};

function dial({ endpoint, ca, cert, key }) {
  const files = [ca, key, cert].map((file) => readFileSync(file));
  return new TokenService(`dns:///${endpoint}`, grpc.credentials.createSsl(...files), {
    'grpc.service_config': JSON.stringify(serviceConfig),
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 5_000,
  });
}

function mint(service, panelUser) {
  const deadline = Date.now() + 6_000;
  return new Promise((resolve, reject) => {
    service.MintToken({ panelUser }, { deadline }, (error, token) =>
      error ? reject(error) : resolve(token),
    );
  });
}
// core: end

module.exports = { dial, mint };
