// Runs one case against a playground that is up: `node run.mjs CASE`; `--list` tells which there are.
//
// PANEL is the demo panel's origin, CLOUD the simulated cloud's, CHROMIUM the browser, OUTPUT the
// folder for screenshots. Exit code 0: it holds; the cause of anything else is on standard error.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

import * as assistant from "./cases/assistant.mjs";
import * as elsewhere from "./cases/elsewhere.mjs";
import * as failures from "./cases/failures.mjs";
import * as looks from "./cases/looks.mjs";

const CASES = { ...assistant, ...elsewhere, ...failures, ...looks };
// Generous: these machines are noisy. Nothing waits longer than it must.
const PATIENCE = 90_000;

const { PANEL, CLOUD, CHROMIUM, OUTPUT } = process.env;

const LAUNCH = {
  executablePath: CHROMIUM,
  // A test's own pages in a container that has no user namespaces, and often no other user than root.
  chromiumSandbox: false,
  args: [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    // Names of other sites, and of a panel that is not `localhost`.
    "--host-resolver-rules=MAP *.example 127.0.0.1",
  ],
};

async function run(name) {
  const profile = await mkdtemp(join(tmpdir(), "ask2do-browser-"));
  const opened = [];
  let browser;
  try {
    await CASES[name]({ panel: PANEL, calls, newPage, lenientPage, screenshot });
  } finally {
    await Promise.all(opened.map((one) => one.close()));
    await rm(profile, { recursive: true, force: true });
  }

  /** A page in a browser profile of its own. */
  async function newPage(options = {}) {
    if (!browser) opened.push(browser = await chromium.launch(LAUNCH));
    return watch(await browser.newContext(options));
  }

  /** One whose browser sends cookies along to third parties, as many still do: only a profile on disk can say so. */
  async function lenientPage() {
    await mkdir(join(profile, "Default"));
    await writeFile(join(profile, "Default", "Preferences"), JSON.stringify({ profile: { cookie_controls_mode: 0 } }));
    const context = await chromium.launchPersistentContext(profile, LAUNCH);
    opened.push(context);
    return watch(context);
  }
}

/** A new page, by whose script errors and refused resources the case fails. */
async function watch(context) {
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("pageerror", (error) => { throw error; });
  page.on("console", (message) => {
    // Chromium itself reports each answer that is a failure or not for this page, which these cases are about.
    const failure = /^Failed to load resource|^WebSocket connection to|blocked by CORS policy/;
    if (message.type() === "error" && !failure.test(message.text())) throw new Error(message.text());
  });
  return page;
}

async function screenshot(page, name) {
  await mkdir(OUTPUT, { recursive: true });
  // As tall as the page, so that what is fixed to the window's corner is at the page's end.
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ ...page.viewportSize(), height });
  await page.screenshot({ path: join(OUTPUT, `${name}.png`), animations: "disabled" });
}

/** What the simulated cloud has counted; not the connections, of which this question may be one. */
async function calls() {
  const response = await fetch(`${CLOUD}/_sim/calls`);
  const { connections, ...counted } = await response.json();
  return counted;
}

const name = process.argv[2];
if (name === "--list") {
  console.log(Object.keys(CASES).join("\n"));
} else if (Object.hasOwn(CASES, name)) {
  await run(name);
} else {
  console.error(`no such case: ${name}; --list tells which there are`);
  process.exit(2);
}
