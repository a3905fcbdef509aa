// What a person sees when it fails: which of the vendor's symptoms it is, and where to look.
import assert from "node:assert/strict";

import { choose, logIn, shows, text } from "../panel.mjs";

export async function a_junior_is_told_that_the_role_is_not_allowed({ panel, newPage, calls }) {
  const before = await calls();
  const page = await newPage();
  await logIn(page, panel, "junior");
  await shows(page, "widget-state", "403 role not allowed");
  await shows(page, "call-status", "403 role not allowed");
  await shows(page, "call-code", "ROLE_NOT_ALLOWED");
  await shows(page, "look", /role in the panel.*role_map/);
  assert.equal((await calls()).total, before.total, "the cloud is not asked for a role that it refuses");
}

export async function each_of_the_vendors_three_symptoms_is_named_with_where_to_look({ panel, newPage }) {
  const page = await newPage();
  await logIn(page, panel, "admin");
  for (const [scenario, symptom, status, look] of [
    ["status-401", "401 invalid tenant key", "502 ask2do auth failed", /portal/],
    ["status-403", "403 role not allowed", "403 role not allowed", /role/],
    // The token was minted: it is the widget that finds out.
    ["bad-signature", "invalid token", "200 OK", /clocks/],
  ]) {
    await choose(page, scenario);
    await shows(page, "symptom", symptom);
    await shows(page, "widget-state", symptom);
    await shows(page, "call-status", status);
    await shows(page, "look", look);
    assert.ok(await page.locator("#failure").isVisible());
    assert.deepEqual(await page.locator("[data-symptom][data-now]").evaluateAll((all) => all.map((one) => one.dataset.symptom)), [symptom]);
  }
  await choose(page, "");
  await shows(page, "widget-state", "connected as 42 (admin)");
  assert.equal(await page.locator("#failure").isVisible(), false);
}

export async function what_is_none_of_the_three_is_not_taken_for_one({ panel, newPage }) {
  const page = await newPage();
  await logIn(page, panel, "admin");
  for (const [scenario, status, code, look] of [
    ["waf-403", "502 ask2do auth failed", "CLOUD_RESPONSE_INVALID", /firewall/],
    ["status-503", "502 ask2do auth failed", "CLOUD_UNAVAILABLE", /status page/],
    ["slow-7s", "504 ask2do auth timed out", "CLOUD_TIMEOUT", /in time/],
  ]) {
    await choose(page, scenario);
    await shows(page, "call-status", status);
    await shows(page, "call-code", code);
    await shows(page, "look", look);
    assert.equal(await page.locator("[data-symptom][data-now]").count(), 0);
  }
}

export async function the_trace_id_on_the_page_is_the_answers({ panel, newPage }) {
  const page = await newPage();
  await logIn(page, panel, "admin");
  // What the page asked for by itself is answered first: else its answer could be taken for the scenario's.
  await shows(page, "widget-state", "connected as 42 (admin)");
  for (const [scenario, failed] of [["slow-3s", false], ["status-401", true]]) {
    const answered = page.waitForResponse((response) => new URL(response.url()).pathname === "/api/ask2do/token");
    await choose(page, scenario);
    const answer = await answered;
    const trace = answer.headers()["x-request-id"];
    assert.match(trace, /^[0-9a-f]{32}$/);
    assert.match(answer.request().headers().traceparent, new RegExp(`^00-${trace}-`));
    if (failed) assert.equal((await answer.json()).requestId, trace);
    await shows(page, "call-trace", trace);
    assert.match(await text(page, "call-time"), /^\d+ ms$/);
  }
}

export async function each_hop_of_the_last_call_is_on_the_second_tab({ panel, newPage }) {
  const page = await newPage();
  await logIn(page, panel, "admin");
  await choose(page, "status-401");
  await page.click("#tab-trace");
  const hop = (service, reason) => page.locator("#hops li", { hasText: service }).filter({ hasText: reason });
  await hop("browser", "502").waitFor();
  await hop("ask2do-token-gateway", "POST /api/ask2do/token").filter({ hasText: "TENANT_KEY_REJECTED" }).waitFor();
  await hop("ask2do-token-server", "MintToken").filter({ hasText: "TENANT_KEY_REJECTED" }).waitFor();
  await hop("ask2do-cloud-simulated", "401").waitFor();
  // The panel knew the user; from there on it went wrong.
  const failed = page.locator("#hops li[data-failed]");
  assert.equal(await failed.filter({ hasText: "ask2do-demo-panel" }).count(), 0);
  for (const service of ["ask2do-token-gateway", "ask2do-token-server", "ask2do-cloud-simulated"]) {
    assert.ok(await failed.filter({ hasText: service }).count() > 0, service);
  }
  assert.equal(await text(page, "hops-trace"), await page.locator("#call-trace").textContent());
}
