// The widget that works: it connects, renews its token, and comes back after a cut.
import assert from "node:assert/strict";
import net from "node:net";

import { choose, logIn, noteStates, shows, statesUntil, text } from "../panel.mjs";

export async function an_owner_and_an_admin_are_connected({ panel, newPage, calls }) {
  for (const [user, id] of [["owner", "1"], ["admin", "42"]]) {
    const before = await calls();
    const page = await newPage();
    await logIn(page, panel, user);
    await shows(page, "widget-state", `connected as ${id} (${user})`);
    await shows(page, "call-status", "200 OK");
    await shows(page, "widget-remaining", /^1[45]:\d\d$/);
    assert.equal(await page.locator("#failure").isVisible(), false);
    const after = await calls();
    assert.equal(after.total, before.total + 1, "one token for one page");
    assert.equal(after.byPanelId[id] ?? 0, (before.byPanelId[id] ?? 0) + 1);
    assert.equal(after.chats, before.chats + 1);
  }
}

export async function after_logging_out_login_is_required({ panel, newPage, calls }) {
  const page = await newPage();
  await page.goto(panel);
  await shows(page, "widget-state", "login required");
  await logIn(page, panel, "admin");
  await shows(page, "widget-state", "connected as 42 (admin)");
  const before = await calls();
  await page.locator("#logout").click();
  await page.locator("#login-admin").waitFor();
  await shows(page, "widget-state", "login required");
  assert.deepEqual(await calls(), before);
}

export async function a_session_that_ends_under_an_open_page_is_login_required({ panel, newPage }) {
  const page = await newPage();
  await logIn(page, panel, "admin");
  await choose(page, "short-lived-30s");
  await shows(page, "widget-state", "connected as short-lived-30s (admin)");
  await page.context().clearCookies();
  // The next renewal finds it out.
  await shows(page, "widget-state", "login required");
  await shows(page, "call-status", "401 login required");
  await shows(page, "look", /log in/);
}

export async function a_token_is_renewed_before_it_ends({ panel, newPage, calls }) {
  const page = await newPage();
  await logIn(page, panel, "admin");
  await choose(page, "short-lived-30s");
  await shows(page, "widget-state", "connected as short-lived-30s (admin)");
  await shows(page, "widget-remaining", /^0:[012]\d$/);
  await noteStates(page);
  await shows(page, "widget-refreshes", "1");
  await shows(page, "widget-remaining", /^0:(2\d|30)$/);
  const states = (await page.evaluate(() => window.states)).map(({ state }) => state);
  assert.ok(states.length > 0 && states.every((state) => state === "connected"), `never without a connection: ${states}`);
  const { byPanelId } = await calls();
  assert.ok(byPanelId["short-lived-30s"] >= 2, "by a new token");
}

export async function a_connection_that_is_cut_is_made_again_with_a_new_token({ panel, newPage, calls }) {
  const line = await cuttable(new URL(panel).port);
  try {
    const page = await newPage();
    await logIn(page, line.origin, "admin");
    await shows(page, "widget-state", "connected as 42 (admin)");
    const first = await text(page, "call-trace");
    const before = await calls();
    await noteStates(page);
    line.cut();
    const [lost] = await statesUntil(page, "connected");
    assert.deepEqual(lost, { state: "waiting", symptom: "connection lost" });
    await shows(page, "widget-state", "connected as 42 (admin)");
    assert.notEqual(await text(page, "call-trace"), first);
    const after = await calls();
    assert.equal(after.byPanelId["42"], before.byPanelId["42"] + 1, "a new token");
    assert.equal(after.chats, before.chats + 1);
  } finally {
    line.close();
  }
}

/** The panel behind one more hop, whose connections can be cut as a network cuts them. */
async function cuttable(port) {
  const sockets = new Set();
  const keep = (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
  };
  const server = net.createServer((near) => {
    const far = net.connect(port, "127.0.0.1");
    keep(near);
    keep(far);
    near.pipe(far).pipe(near);
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => sockets.forEach((socket) => socket.resetAndDestroy());
  return {
    origin: `http://localhost:${server.address().port}`,
    cut,
    close: () => { server.close(); cut(); },
  };
}
