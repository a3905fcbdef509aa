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
    for (let pause = 300, seen = -1; pause < 30_000 && followed === traceId; pause *= 1.25) {
      const hops = await hopsOf(traceId);
      if (followed !== traceId) return;
      if (hops.length !== seen) showHops(browser, hops);
      seen = hops.length;
      await new Promise((done) => setTimeout(done, pause));
    }
  }

  async function hopsOf(traceId) {
    try {
      const response = await fetch(`/hops/${traceId}`);
      return response.ok ? await response.json() : [];
    } catch {
      return []; // The connection is gone, or the page is: asked again, or never.
    }
  }

  function showHops(browser, hops) {
    const list = document.getElementById("hops");
    if (!list) return;
    document.getElementById("hops-none").hidden = hops.length > 0;
    // The clocks are of one machine, but for the browser's call it is not known when it began: with the first hop.
    const begin = hops[0]?.start ?? 0;
    const all = [{ ...browser, start: begin }, ...hops];
    const whole = Math.max(1, ...all.map(({ start, took }) => start - begin + took));
    list.replaceChildren(...all.map((hop) => {
      const item = document.createElement("li");
      // A server's span says nothing of a failure that is its caller's; to the person it is one all the same.
      item.toggleAttribute("data-failed", hop.failed || !/^(OK|2\d\d)?$/.test(hop.reason ?? ""));
      const what = element("div", element("b", hop.service), " ", element("code", hop.reason ?? ""), element("small", hop.name));
      const bar = element("div");
      bar.className = "span";
      bar.style.setProperty("--begin", (hop.start - begin) / whole);
      bar.style.setProperty("--part", hop.took / whole);
      const times = `at ${(hop.start - begin).toFixed(1)} ms, took ${hop.took.toFixed(1)} ms`;
      item.append(what, element("div", bar, element("small", times)));
      return item;
    }));
  }

  function element(kind, ...children) {
    const made = document.createElement(kind);
    made.append(...children);
    return made;
  }

  function tick() {
    const left = expiresAt ? Math.max(0, expiresAt - Date.now()) : 0;
    put("widget-remaining", expiresAt ? clock(Math.round(left / 1000)) : "–");
    const meter = document.getElementById("widget-meter");
    if (meter) meter.style.setProperty("--left", lifetime ? left / lifetime : 0);
  }
  setInterval(tick, 1000);

  document.getElementById("copy-trace")?.addEventListener("click", async ({ target }) => {
    const trace = document.getElementById("call-trace");
    try {
      await navigator.clipboard.writeText(trace.textContent);
      target.textContent = "Copied";
    } catch {
      // No clipboard on plain HTTP, or not allowed: marked, for the person to copy.
      getSelection().selectAllChildren(trace);
      target.textContent = "Marked";
    }
    setTimeout(() => { target.textContent = "Copy"; }, 1500);
  });

  // Tabs, by the buttons' aria-controls; with the keyboard, the arrows go from one to the next.
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const select = (tab) => {
    for (const other of tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = other !== tab;
    }
  };
  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = tabs[to % tabs.length];
      select(next);
      next.focus();
    });
  }
})();
