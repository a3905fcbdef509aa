// The token endpoint that a panel in Node would write by hand, after the vendor's sample: the user is in
// the session, the tenant key in the process, and one fetch with a time-out asks the cloud.
//
//   node app.js CLOUD_URL TENANT_KEY

import express from "express";
import session from "express-session";

const [cloud, tenantKey] = process.argv.slice(2);
const app = express();

app.use(session({ secret: "bench", resave: false, saveUninitialized: false }));

// Logs anybody in: how that is done is not what is measured.
app.post("/login/:id", (request, response) => {
  request.session.user = { id: request.params.id, role: "admin" };
  response.sendStatus(204);
});

app.post("/api/ask2do/token", async (request, response) => {
  const user = request.session.user;
  if (!user) {
    return response.status(401).json({ error: "login required" });
  }
  try {
    const answer = await fetch(`${cloud}/auth/token`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ tenantKey, panelUser: { id: user.id, role: user.role } }),
      signal: AbortSignal.timeout(5000),
    });
    if (!answer.ok) {
      throw new Error(`the cloud answered ${answer.status}`);
    }
    const { token, expiresAt } = await answer.json();
    response.set("Cache-Control", "no-store").json({ token, expiresAt });
  } catch (error) {
    console.error(error);
    response.status(502).json({ error: "ask2do auth failed" });
  }
});

const server = app.listen(0, "127.0.0.1", () => {
  console.log(`listening 127.0.0.1:${server.address().port}`);
});
