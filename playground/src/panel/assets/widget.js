// A stand-in for the vendor's widget: it does what that one does with a token, and says aloud what
// the vendor's keeps to itself, in events on `window`:
//
//   ask2do:state  { state, user, role, expiresAt, refreshes, symptom, look }
//   ask2do:call   { status, ms, traceId, error, code, at }
//
// Embedded in the vendor's form:
//   <script src="/widget.js" data-cloud-url="wss://…" data-panel-role="admin" defer></script>
(() => {
  "use strict";

  const { cloudUrl, panelRole = "", tokenUrl = "/api/ask2do/token" } = document.currentScript.dataset;

  // Seconds. A token is renewed this long before it ends, or after four fifths of its life.
  const REFRESH_AHEAD = 60;
  const RETRY_FIRST = 2;
  const RETRY_MOST = 30;

  // What the vendor names, and where each is looked into.
  const SYMPTOMS = {
    key: ["401 invalid tenant key", "Ask2Do refuses the tenant key: it is wrong, revoked or paused. Look in the Ask2Do portal, then at the server's key file."],
    role: ["403 role not allowed", "Ask2Do serves the roles admin and owner. Look at this user's role in the panel, and at role_map in the gateway's settings."],
    token: ["invalid token", "The token is malformed, or ended before it was used. Look at the clocks, and at the server's log for this trace id."],
  };
  const OTHERS = {
    LOGIN_REQUIRED: "Nobody is logged in to the panel, or the session has ended: log in.",
    SESSION_CHECK_UNAVAILABLE: "The gateway could not ask the panel who is logged in. Look at the panel's /whoami, and at the gateway's log.",
    CROSS_SITE_REQUEST: "The page is not on the panel's own origin. Look at public_origins and allowed_origins in the gateway's settings.",
    CALLER_NOT_ALLOWED: "The gateway's certificate may not mint for this role. Look at [[callers]] in the server's settings.",
    CERTIFICATE_REJECTED: "The server no longer accepts the gateway's certificate. Look at its issuer and its end.",
    SERVICE_UNAVAILABLE: "The gateway cannot reach the server. Look at whether it runs, and at the gateway's log.",
    CLOUD_UNAVAILABLE: "Ask2Do cannot be reached, or fails. Look at its status page, and at the server's log.",
    CLOUD_TIMEOUT: "Ask2Do did not answer in time. It is tried again.",
    CLOUD_RATE_LIMITED: "Ask2Do asks for patience. It is tried again.",
    CLOUD_RESPONSE_INVALID: "What answered was not a token from Ask2Do: a proxy or a firewall, perhaps. Look at the server's log.",
    RATE_LIMITED: "Too many tokens for this user. It is tried again.",
    OVERLOADED: "The service is busy. It is tried again.",
    NOT_FOUND: "Nothing answers at the token's path. Look at the path in the gateway's settings, and at the ingress.",
  };
  const PASSING = ["SERVICE_UNAVAILABLE", "CLOUD_UNAVAILABLE", "CLOUD_TIMEOUT", "CLOUD_RATE_LIMITED", "RATE_LIMITED", "OVERLOADED", "SESSION_CHECK_UNAVAILABLE"];

  let socket = null;
  let timer = 0;
  let failures = 0;
  let turn = 0;
  const state = { state: "starting", user: null, role: panelRole, expiresAt: null, refreshes: 0, symptom: null, look: null };

  const tell = (name, detail) => window.dispatchEvent(new CustomEvent(name, { detail: { ...detail } }));

  function show(change) {
    Object.assign(state, change);
    tell("ask2do:state", state);
    draw();
  }

  // One call of the customer's endpoint, with a trace of its own.
  async function fetchToken() {
    const traceId = hex(16);
    const begun = performance.now();
    const call = { status: 0, ms: 0, traceId, error: null, code: null, at: new Date(), retryAfter: 0, body: null };
    try {
      const response = await fetch(tokenUrl, {
        method: "POST",
        credentials: "same-origin",
        headers: { traceparent: `00-${traceId}-${hex(8)}-01` },
      });
      call.status = response.status;
      call.retryAfter = Number(response.headers.get("retry-after")) || 0;
      call.body = await response.json();
      call.error = call.body.error ?? null;
      call.code = call.body.code ?? null;
      call.traceId = call.body.requestId ?? traceId;
    } catch (error) {
      call.error = call.status ? "the answer is no JSON" : "no answer";
    }
    call.ms = Math.round(performance.now() - begun);
    tell("ask2do:call", { ...call, body: null });
    return call;
  }

  async function connect() {
    const mine = ++turn;
    clearTimeout(timer);
    if (state.state !== "connected") show({ state: "connecting" });
    const call = await fetchToken();
    if (mine !== turn) return;
    if (call.status !== 200 || !call.body?.token) return failed(explain(call), call.retryAfter);
    authenticate(call.body.token, Date.parse(call.body.expiresAt), mine);
  }

  function authenticate(token, expiresAt, mine) {
    const next = new WebSocket(cloudUrl + "/chat");
    next.onopen = () => next.send(JSON.stringify({ type: "auth", jwt: token }));
    next.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.type === "auth_ok") {
        const refreshed = socket !== null;
        const old = socket;
        socket = next;
        failures = 0;
        if (old) { old.onclose = null; old.close(); }
        const { sub = "?", role = panelRole } = claims(token);
        show({ state: "connected", user: sub, role, expiresAt, refreshes: state.refreshes + (refreshed ? 1 : 0), symptom: null, look: null });
        const left = expiresAt - Date.now();
        timer = setTimeout(connect, Math.max(1000, left - Math.min(REFRESH_AHEAD * 1000, left / 5)));
      } else if (frame.type === "auth_error") {
        next.onclose = null;
        next.close();
        failed({ kind: frame.error === "role not allowed" ? "role" : "token", again: false }, 0);
      }
    };
    next.onclose = () => {
      const current = socket === next;
      if (current) socket = null;
      // Cut off, or never got through: again with a new token, since this one may be why.
      if (current || mine === turn) failed({ other: "The connection to Ask2Do was lost.", again: true }, 0);
    };
  }

  function explain({ status, error, code }) {
    if (code === "TENANT_KEY_REJECTED") return { kind: "key", again: false };
    if (code === "ROLE_NOT_ALLOWED") return { kind: "role", again: false };
    const again = PASSING.includes(code) || status === 0;
    return { title: error, other: OTHERS[code] ?? "None of the vendor's three. Look for the trace id in the gateway's log.", again };
  }

  function failed({ kind, title, other, again }, retryAfter) {
    ++turn;
    clearTimeout(timer);
    if (socket) { socket.onclose = null; socket.close(); socket = null; }
    const [symptom, look] = kind ? SYMPTOMS[kind] : [title ?? "connection lost", other];
    show({ state: again ? "waiting" : "failed", user: null, expiresAt: null, symptom, look });
    if (!again) return;
    const wait = Math.max(retryAfter, Math.min(RETRY_MOST, RETRY_FIRST * 2 ** failures++));
    timer = setTimeout(connect, wait * 1000);
  }

  const hex = (bytes) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (b) => b.toString(16).padStart(2, "0")).join("");

  function claims(token) {
    try {
      const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
      return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
    } catch {
      return {};
    }
  }

  // The bubble in the corner, away from the page's own style.
  const bubble = document.createElement("div");
  const root = bubble.attachShadow({ mode: "open" });
  root.innerHTML = `
    <style>
      :host { all: initial; }
      button {
        position: fixed; right: max(1rem, env(safe-area-inset-right)); bottom: 1rem; z-index: 10;
        display: flex; align-items: center; gap: .6rem; padding: .7rem 1.1rem; border: 0; border-radius: 99rem;
        font: 600 .9rem/1.2 system-ui, sans-serif; color: #fff; background: #3d3a8c; cursor: pointer;
        box-shadow: 0 .5rem 1.5rem rgb(20 18 70 / .3); max-width: calc(100vw - 2rem);
      }
      button:focus-visible { outline: 3px solid #f2b84b; outline-offset: 2px; }
      i { flex: none; width: .7rem; height: .7rem; border-radius: 50%; background: #f2b84b; }
      .connected i { background: #4cd38a; } .failed i, .waiting i { background: #ff6b6b; }
    </style>
    <button type="button" part="bubble"><i></i><span></span></button>`;
  const button = root.querySelector("button");
  button.addEventListener("click", () => { if (state.state !== "connected") connect(); });

  function draw() {
    const words = {
      connected: `connected as ${state.user} (${state.role})`,
      failed: state.symptom,
      waiting: `${state.symptom} · trying again`,
    };
    button.className = state.state;
    root.querySelector("span").textContent = words[state.state] ?? "connecting …";
    button.title = state.look ? `${state.look} Press to try again.` : "A stand-in for the Ask2Do widget";
  }

  document.body.append(bubble);
  connect();
})();
