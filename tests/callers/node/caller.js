// Mints one token of the Ask2Do token service, and prints one line of JSON.
//
// Exit codes: 0 a token; 1 a status of the call; 2 usage, or a local file; 3 the service was not
// reached.
const { X509Certificate } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { createInterface } = require('node:readline');
const { parseArgs } = require('node:util');
const { continued, stopTracing } = require('./tracing.js');

// After the instrumentation, which wraps them as they are loaded.
const { dial, mint } = require('./service.js');
const { failureOf, SERVICE_UNAVAILABLE } = require('./failure.js');

const USAGE = `usage: caller --endpoint HOST:PORT --ca FILE --cert FILE --key FILE --id ID --role ROLE

--id - reads ids from standard input, one a line.`;

function parse() {
  const text = { type: 'string' };
  const names = { endpoint: text, ca: text, cert: text, key: text, id: text, role: text };
  const { values } = parseArgs({ options: { ...names, help: { type: 'boolean' } } });
  if (values.help) return values;
  const missing = ['endpoint', 'ca', 'id', 'role'].filter((name) => values[name] === undefined);
  if (missing.length > 0) throw new Error(`missing: --${missing.join(', --')}`);
  if ((values.cert === undefined) !== (values.key === undefined)) {
    throw new Error('--cert and --key go together');
  }
  const at = new URL(`https://${values.endpoint}`); // throws where that is none
  if (at.pathname + at.search + at.hash + at.username !== '/') {
    throw new Error(`--endpoint ${values.endpoint} is no HOST:PORT`);
  }
  return values;
}

async function* ids({ id }) {
  if (id === '-') yield* createInterface({ input: process.stdin });
  else yield id;
}

/** Makes one call, prints its line, and gives its exit code. */
async function call(service, panelUser) {
  try {
    const { token, expiresAt } = await continued(() => mint(service, panelUser));
    const at = new Date(expiresAt.seconds * 1000 + expiresAt.nanos / 1e6);
    console.log(JSON.stringify({ ok: true, token, expiresAt: at.toISOString() }));
    return 0;
  } catch (error) {
    if (error.code === undefined) throw error; // no status of a call
    const failure = failureOf(error);
    console.error(`caller: ${error.message}`);
    console.log(JSON.stringify(failure));
    return failure.reason === SERVICE_UNAVAILABLE ? 3 : 1;
  }
}

async function run() {
  let values;
  let service;
  try {
    values = parse();
    if (values.help) {
      console.log(USAGE);
      return 0;
    }
    const [ca, key, cert] = [values.ca, values.key, values.cert].map((file) =>
      file === undefined ? null : readFileSync(file),
    );
    new X509Certificate(ca); // throws where that is none; a TLS context would just trust nobody
    service = dial(values.endpoint, ca, key, cert);
  } catch (error) {
    console.error(`caller: ${error.message}`);
    return 2;
  }
  let exit = 0;
  for await (const id of ids(values)) {
    exit = Math.max(exit, await call(service, { id, role: values.role }));
  }
  service.close();
  await stopTracing();
  return exit;
}

// A connection that is still being opened would keep the process, though its client is closed.
run().then((code) => process.exit(code));
