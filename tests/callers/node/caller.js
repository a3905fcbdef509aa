// Mints one token of the Ask2Do token service, and prints one line of JSON.
//
// Exit codes: 0 a token; 1 a status of the call; 2 usage, or a local file; 3 the service was not
// reached.
const { parseArgs } = require('node:util');
const { continued } = require('./tracing.js');

// After the instrumentation, which wraps them as they are loaded.
const { dial, mint } = require('./service.js');
const { failureOf, SERVICE_UNAVAILABLE } = require('./failure.js');

const NAMES = ['endpoint', 'ca', 'cert', 'key', 'id', 'role'];

function options() {
  const { values } = parseArgs({
    options: Object.fromEntries(NAMES.map((name) => [name, { type: 'string' }])),
  });
  const missing = NAMES.filter((name) => values[name] === undefined);
  if (missing.length > 0) throw new Error(`missing: --${missing.join(', --')}`);
  return values;
}

async function run() {
  let values;
  let service;
  try {
    values = options();
    service = dial(values);
  } catch (error) {
    console.error(`caller: ${error.message}`);
    return 2;
  }
  try {
    const panelUser = { id: values.id, role: values.role };
    const { token, expiresAt } = await continued(() => mint(service, panelUser));
    const at = new Date(expiresAt.seconds * 1000 + expiresAt.nanos / 1e6);
    console.log(JSON.stringify({ ok: true, token, expiresAt: at.toISOString() }));
    return 0;
  } catch (error) {
    const failure = failureOf(error);
    console.log(JSON.stringify(failure));
    console.error(`caller: ${error.message}`);
    return failure.reason === SERVICE_UNAVAILABLE ? 3 : 1;
  } finally {
    service.close();
  }
}

run().then((code) => {
  process.exitCode = code;
});
