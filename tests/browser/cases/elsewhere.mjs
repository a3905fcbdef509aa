// A page that is not the panel's, in the browser of somebody who is logged in to the panel: it gets no
// token, by no means that a page has, though the browser sends the session's cookie along.
import assert from "node:assert/strict";
import http from "node:http";

import { logIn, shows } from "../panel.mjs";

const PATH = "/api/ask2do/token";

/** Each sends the request in its way and tells what the page could see of the answer. */
const ATTEMPTS = {
  "fetch, JSON": (url) => fetch(url, { method: "POST", credentials: "include", headers: { "content-type": "application/json" }, body: "{}" }),
  "fetch, simple": (url) => fetch(url, { method: "POST", credentials: "include" }),
  "fetch, no CORS": (url) => fetch(url, { method: "POST", credentials: "include", mode: "no-cors" }),
  "fetch, GET": (url) => fetch(url, { credentials: "include", mode: "no-cors" }),
};

/** A panel whose cookie goes along with every request from every site: the worst there is. */
export async function a_page_on_another_site_gets_nothing(world) {
  await withPanel(world, world.lenientPage, "localhost", async (page, panel) => {
    const context = page.context();
    const [session] = (await context.cookies()).filter(({ name }) => name === "panel_session");
    await context.addCookies([{ ...session, sameSite: "None", secure: true }]);
    await attack(world, page, panel, "evil-panel.example", "cross-site");
  });
}

/** Another port of the panel's own host is the same site: even a cookie with `SameSite=Lax` goes along. */
export async function a_page_on_a_sibling_port_gets_nothing(world) {
  await withPanel(world, world.newPage, "localhost", (page, panel) => attack(world, page, panel, "localhost", "same-site"));
}

/** On plain HTTP and a name, browsers send no `Sec-Fetch-Site`: `Origin` decides. */
export async function without_fetch_metadata_the_panel_works_and_a_sibling_port_gets_nothing(world) {
  await withPanel(world, world.newPage, "panel.example", (page, panel) => attack(world, page, panel, "panel.example", undefined));
}

async function withPanel({ panel }, newPage, host, then) {
  const front = await watched(new URL(panel).port, host);
  try {
    const page = await newPage();
    await logIn(page, front.origin, "owner");
    await shows(page, "widget-state", "connected as 1 (owner)");
    await then(page, front);
  } finally {
    front.close();
  }
}

async function attack({ calls }, page, panel, host, site) {
  const target = panel.origin + PATH;
  const evil = await serve((_, response) => {
    response.setHeader("content-type", "text/html").end("<!doctype html><title>elsewhere</title><body>");
  });
  const origin = `http://${host}:${evil.address().port}`;
  panel.seen.length = 0;
  try {
    const before = await calls();
    await page.goto(origin);
    for (const [name, attempt] of Object.entries(ATTEMPTS)) {
      assert.equal(await page.evaluate(outcome, [`(${attempt})`, target]), "nothing", name);
    }
    await byImage(page, target);
    for (const encoding of ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"]) {
      await page.goto(origin);
      await byForm(page, target, encoding);
    }
    await page.goto(origin);
    await byLink(page, target);
    assert.deepEqual(await calls(), before, "nothing was minted");
  } finally {
    evil.close();
    evil.closeAllConnections();
  }

  // Each attempt was what it is meant to be: one with the session's cookie, seen to come from elsewhere.
  const preflights = panel.seen.filter(({ method }) => method === "OPTIONS");
  assert.deepEqual(preflights.map(({ status }) => status), [403], "the one of the JSON, which then is not sent");
  const sent = panel.seen.filter(({ method }) => method !== "OPTIONS");
  assert.equal(sent.length, Object.keys(ATTEMPTS).length - 1 + 5);
  for (const { method, headers, status } of sent) {
    assert.match(headers.cookie ?? "", /panel_session=[0-9a-f]{32}/, method);
    assert.equal(headers["sec-fetch-site"], site, method);
    assert.equal(status, 403, method);
  }

  // The same session gets a token on the panel's own page: what was refused was where it came from.
  const before = await calls();
  await page.goto(panel.origin);
  await shows(page, "widget-state", "connected as 1 (owner)");
  assert.equal((await calls()).total, before.total + 1);
}

/** Runs in the page. */
async function outcome([attempt, url]) {
  try {
    const answer = await eval(attempt)(url);
    const text = await answer.text();
    return answer.type === "opaque" && text === "" ? "nothing" : `${answer.status} ${text}`;
  } catch (error) {
    return error instanceof TypeError ? "nothing" : String(error);
  }
}

async function byImage(page, url) {
  const outcome = await page.evaluate((url) => new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve("loaded");
    image.onerror = () => resolve("nothing");
    image.src = `${url}?image`;
  }), url);
  assert.equal(outcome, "nothing");
}

/** The browser goes to the answer: the person sees it, the page that sent it cannot. */
async function byForm(page, url, encoding) {
  const answered = page.waitForResponse((response) => response.url() === url && response.request().method() === "POST");
  await page.evaluate(([url, encoding]) => {
    const form = Object.assign(document.createElement("form"), { method: "post", action: url, enctype: encoding });
    const field = Object.assign(document.createElement("input"), { name: '{"a":"', value: '"}' });
    form.append(field);
    document.body.append(form);
    form.submit();
  }, [url, encoding]);
  const answer = await answered;
  assert.equal(answer.status(), 403, encoding);
  await page.waitForURL(url);
  assert.match(await page.locator("body").textContent(), /"code":"CROSS_SITE_REQUEST"/);
}

async function byLink(page, url) {
  const answered = page.waitForResponse((response) => response.url() === url);
  await page.evaluate((url) => { location.href = url; }, url);
  // The playground of these cases serves GET, too.
  assert.equal((await answered).status(), 403);
  await page.waitForURL(url);
}

/** The panel behind one more hop, which notes what comes for a token. */
async function watched(port, host) {
  const seen = [];
  const options = ({ method, url, headers }) => ({ port, host: "127.0.0.1", method, path: url, headers });
  const server = await serve((request, response) => {
    const behind = http.request(options(request), (answer) => {
      if (request.url.startsWith(PATH)) {
        seen.push({ method: request.method, headers: request.headers, status: answer.statusCode });
      }
      response.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(response);
    });
    request.pipe(behind);
  });
  server.on("upgrade", (request, near) => {
    http.request(options(request)).on("upgrade", (answer, far) => {
      const headers = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
      near.write(`HTTP/1.1 101 Switching Protocols\r\n${headers}\r\n`);
      near.on("error", () => far.destroy()).pipe(far).on("error", () => near.destroy()).pipe(near);
    }).end();
  });
  const close = () => { server.close(); server.closeAllConnections(); };
  return { origin: `http://${host}:${server.address().port}`, seen, close };
}

async function serve(answer) {
  const server = http.createServer(answer);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}
