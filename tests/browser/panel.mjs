// What a person does on the demo panel, and sees there.

/** Opens the panel and logs in, as `owner`, `admin` or `junior`. */
export async function logIn(page, origin, user) {
  await page.goto(origin);
  await page.locator(`#login-${user}`).click();
  await page.locator("#logout").waitFor();
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
  const reloaded = page.waitForEvent("load");
  await page.locator("#scenario").selectOption(scenario);
  await reloaded;
}

export const text = (page, id) => page.locator(`#${id}`).textContent();
