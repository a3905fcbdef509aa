// How it looks: pictures for people to look at, and what a program can tell of them.
import assert from "node:assert/strict";

import { choose, logIn, shows } from "../panel.mjs";

const VIEWS = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 800 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 800 } },
  narrow: { colorScheme: "light", viewport: { width: 360, height: 740 } },
  "narrow-dark": { colorScheme: "dark", viewport: { width: 360, height: 740 } },
};

/** Everything that a mouse does, and where one is. */
export async function the_keyboard_alone_is_enough({ panel, newPage }) {
  const page = await newPage();
  await page.goto(panel);
  await shows(page, "widget-state", "login required");
  await reach(page, "login-admin");
  await page.keyboard.press("Enter");
  await shows(page, "widget-state", "connected as 42 (admin)");

  await reach(page, "tab-assistant");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(page), "tab-trace");
  assert.ok(await page.locator("#view-trace").isVisible());
  assert.equal(await page.locator("#view-assistant").isVisible(), false);
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(page), "tab-assistant");

  // To look through the choices chooses none.
  await reach(page, "scenario");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  assert.equal(await page.locator("#scenario").inputValue(), "status-401");
  await shows(page, "widget-state", "connected as 42 (admin)");
  await page.keyboard.press("Tab");
  const reloaded = page.waitForEvent("load");
  await page.keyboard.press("Enter");
  await reloaded;
  await shows(page, "symptom", "401 invalid tenant key");
  assert.equal(await page.getByRole("alert").isVisible(), true);

  await reach(page, "logout");
  await page.keyboard.press("Enter");
  await page.locator("#login-admin").waitFor();
}

const focused = (page) => page.evaluate(() => document.activeElement.id);

/** By Tab, past things that all show that they have the focus. */
async function reach(page, id) {
  for (let pressed = 0; pressed < 20; pressed += 1) {
    await page.keyboard.press("Tab");
    const outline = await page.evaluate(() => {
      let element = document.activeElement;
      while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
      return element === document.body ? "body" : getComputedStyle(element).outlineStyle;
    });
    assert.notEqual(outline, "none", await focused(page));
    if (await focused(page) === id) return;
  }
  assert.fail(`the keyboard does not reach #${id}`);
}

export async function every_page_fits_its_window_in_light_and_dark({ panel, newPage, screenshot }) {
  for (const [view, options] of Object.entries(VIEWS)) {
    const page = await newPage(options);
    const keep = async (what) => {
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(beyond <= 0, `${what} ${view}: ${beyond} px wider than the window`);
      await screenshot(page, `${what}-${view}`);
    };
    await page.goto(panel);
    await shows(page, "widget-state", "login required");
    await keep("login");
    await logIn(page, panel, "admin");
    await shows(page, "widget-state", "connected as 42 (admin)");
    await keep("connected");
    await choose(page, "status-401");
    await shows(page, "symptom", "401 invalid tenant key");
    await keep("failed");
    await page.getByRole("tab", { name: "Trace" }).click();
    await page.locator("#hops li").filter({ hasText: "ask2do-cloud-simulated" }).waitFor();
    await keep("trace");
    await page.context().close();
  }
}
