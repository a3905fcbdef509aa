const grpc = require('@grpc/grpc-js');
const protoFiles = require('google-proto-files');
const protobuf = require('protobufjs');

const SERVICE_UNAVAILABLE = 'SERVICE_UNAVAILABLE';
const DOMAIN = 'token.ask2do.com';

// Where the service said nothing: it was not reached, or this caller's own timer ended the call.
const WITHOUT_DETAILS = {
  [grpc.status.UNAVAILABLE]: SERVICE_UNAVAILABLE,
  [grpc.status.DEADLINE_EXCEEDED]: 'CLOUD_TIMEOUT',
};

const root = protobuf.loadSync([
  protoFiles.getProtoPath('rpc', 'status.proto'),
  protoFiles.getProtoPath('rpc', 'error_details.proto'),
]);

/** What a failed call means: decide by `reason`, and by `code` where the reason is unknown. */
function failureOf(error) {
  const failure = {
    ok: false,
    code: grpc.status[error.code],
    reason: WITHOUT_DETAILS[error.code] ?? 'UNKNOWN',
    retryAfterSeconds: null,
    fields: [],
  };
  for (const [name, detail] of details(error)) {
    if (name === 'google.rpc.ErrorInfo' && detail.domain === DOMAIN) {
      failure.reason = detail.reason;
    } else if (name === 'google.rpc.RetryInfo') {
      const { seconds, nanos } = detail.retryDelay;
      failure.retryAfterSeconds = Number(seconds) + nanos / 1e9;
    } else if (name === 'google.rpc.BadRequest') {
      failure.fields = detail.fieldViolations.map(({ field, description }) => ({
        field,
        description,
      }));
    }
  }
  return failure;
}

function* details(error) {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!bytes) return;
  for (const any of root.lookupType('google.rpc.Status').decode(bytes).details) {
    const name = any.type_url.split('/').pop();
    const type = root.lookup(name);
    if (type) yield [name, type.decode(any.value)];
  }
}

module.exports = { failureOf, SERVICE_UNAVAILABLE };
