// A panel in small: sessions, users who log in and out, and the recipe.
const express = require("express");
const session = require("express-session");

const app = express();
app.use(session({ secret: "demo", resave: false, saveUninitialized: false }));

app.post("/login/:user", (req, res) => {
  const [id, role] = req.params.user.split("-");
  req.session.user = { id: Number(id), role };
  res.sendStatus(204);
});
app.post("/logout", (req, res) => req.session.destroy(() => res.sendStatus(204)));

/* recipe: express/whoami.js */

app.listen(Number(process.argv[2]), "127.0.0.1");
