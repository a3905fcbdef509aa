// What a person does on the demo panel, and sees there.

/** Opens the panel and logs in, as `owner`, `admin` or `junior`. */
export async function logIn(page, origin, user) {
  await page.goto(origin);
  // What the login page asks for by itself is answered before it is left: nobody meets its answer later.
  await shows(page, "widget-state", "login required");
  const loaded = page.waitForEvent("load");
  await page.locator(`#login-${user}`).click();
  await loaded;
  await page.locator("#logout").waitFor();
}

/** Has the page note each state of the widget from now on, so that none is too short to be seen. */
export async function noteStates(page) {
  await page.evaluate(() => {
    window.states = [];
    window.addEventListener("ask2do:state", ({ detail }) => window.states.push({ state: detail.state, symptom: detail.symptom }));
  });
}

/** Waits until the last of the noted states is this one, after one of the others; all of them. */
export async function statesUntil(page, last) {
  await page.waitForFunction((last) => window.states.length > 1 && window.states.at(-1).state === last, last);
  return page.evaluate(() => window.states);
}

/** Waits until an element's text is this, or matches it. */
export async function shows(page, id, text) {
  const exact = text instanceof RegExp ? text : new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`);
  const element = page.locator(`#${id}`);
  try {
    await element.filter({ hasText: exact }).waitFor({ state: "attached" });
  } catch (error) {
    throw new Error(`#${id} is ${JSON.stringify(await element.textContent())}, not ${exact}`, { cause: error });
  }
}

/** Has the simulated cloud fail in this way. */
export async function choose(page, scenario) {
  await page.locator("#scenario").selectOption(scenario);
  const reloaded = page.waitForEvent("load");
  await page.getByRole("button", { name: "Try it" }).click();
  await reloaded;
}

export const text = (page, id) => page.locator(`#${id}`).textContent();
