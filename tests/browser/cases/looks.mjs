// How it looks: pictures for people to look at, and what a program can tell of them.
import assert from "node:assert/strict";

import { choose, logIn, shows } from "../panel.mjs";

const VIEWS = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 800 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 800 } },
  narrow: { colorScheme: "light", viewport: { width: 360, height: 740 } },
  "narrow-dark": { colorScheme: "dark", viewport: { width: 360, height: 740 } },
};

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
    await page.context().close();
  }
}
