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
  });

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
