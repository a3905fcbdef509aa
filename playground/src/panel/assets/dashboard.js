// Shows on the page what the widget says of itself.
(() => {
  "use strict";

  const put = (id, text) => {
    const element = document.getElementById(id);
    if (element) element.textContent = text;
  };
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  const words = { starting: "starting", connecting: "connecting", waiting: "trying again", failed: "not connected" };
  let expiresAt = null;
  let lifetime = 0;

  window.addEventListener("ask2do:state", ({ detail }) => {
    const { state, user, role, symptom, look, refreshes } = detail;
    document.body.dataset.assistant = state;
    put("widget-state", state === "connected" ? `connected as ${user} (${role})` : symptom && state !== "connecting" ? symptom : words[state]);
    put("widget-refreshes", refreshes);
    if (detail.expiresAt !== expiresAt) lifetime = detail.expiresAt ? detail.expiresAt - Date.now() : 0;
    expiresAt = detail.expiresAt;
    tick();
    put("symptom", symptom ?? "");
    put("look", look ?? "");
    for (const item of document.querySelectorAll("[data-symptom]")) {
      item.toggleAttribute("data-now", item.dataset.symptom === symptom);
    }
    const failure = document.getElementById("failure");
    if (failure) failure.hidden = !symptom;
  });

  window.addEventListener("ask2do:call", ({ detail: { status, ms, traceId, error, code, at } }) => {
    put("call-status", status === 200 ? "200 OK" : `${status || "–"} ${error ?? ""}`.trim());
    put("call-code", code ?? (status === 200 ? "minted" : "–"));
    put("call-time", `${ms} ms`);
    put("call-at", at.toLocaleTimeString());
    put("call-trace", traceId);
    follow(traceId, { service: "browser", name: "POST /api/ask2do/token", took: ms, reason: String(status || error), failed: status !== 200 });
  });

  // The parts export their spans a moment after the call: ask for a while.
  let followed = null;
  async function follow(traceId, browser) {
    followed = traceId;
    put("hops-trace", traceId);
    for (let asked = 0, seen = -1; asked < 10 && followed === traceId; asked += 1) {
      const response = await fetch(`/hops/${traceId}`).catch(() => null);
      const hops = response?.ok ? await response.json() : [];
      if (followed !== traceId) return;
      if (hops.length !== seen) showHops(browser, hops);
      seen = hops.length;
      await new Promise((done) => setTimeout(done, 300));
    }
  }

  function showHops(browser, hops) {
    const list = document.getElementById("hops");
    if (!list) return;
    document.getElementById("hops-none").hidden = hops.length > 0;
    const begin = hops[0]?.start ?? 0;
    list.replaceChildren(...[{ ...browser, start: begin }, ...hops].map((hop) => {
      const item = document.createElement("li");
      item.toggleAttribute("data-failed", hop.failed);
      const times = `at ${(hop.start - begin).toFixed(1)} ms, took ${hop.took.toFixed(1)} ms`;
      for (const [kind, text] of [["b", hop.service], ["span", hop.name], ["span", times], ["code", hop.reason ?? ""]]) {
        const part = document.createElement(kind);
        part.textContent = text;
        item.append(part);
      }
      return item;
    }));
  }

  function tick() {
    const left = expiresAt ? Math.max(0, expiresAt - Date.now()) : 0;
    put("widget-remaining", expiresAt ? clock(Math.round(left / 1000)) : "–");
    const meter = document.getElementById("widget-meter");
    if (meter) meter.style.setProperty("--left", lifetime ? left / lifetime : 0);
  }
  setInterval(tick, 1000);

  document.getElementById("copy-trace")?.addEventListener("click", async ({ target }) => {
    await navigator.clipboard.writeText(document.getElementById("call-trace").textContent);
    target.textContent = "Copied";
    setTimeout(() => { target.textContent = "Copy"; }, 1500);
  });
  document.getElementById("scenario")?.addEventListener("change", ({ target }) => target.form.requestSubmit());

  // Tabs, by the buttons' aria-controls.
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const tab of tabs) {
    tab.addEventListener("click", () => {
      for (const other of tabs) {
        other.setAttribute("aria-selected", String(other === tab));
        document.getElementById(other.getAttribute("aria-controls")).hidden = other !== tab;
      }
    });
  }
})();
