// Signing in: with a token, or with the secret that all gateways share.

import { token } from "./api.js";
import { announce, h, show } from "./dom.js";

export function signIn(place, { reason, taken }) {
  const field = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "token-help" });
  const submit = (event) => {
    event.preventDefault();
    const value = field.value.trim();
    if (!/^[\x21-\x7e]+$/.test(value)) {
      announce("That is no token.");
      field.setAttribute("aria-invalid", "true");
      return;
    }
    token.set(value);
    taken();
  };
  document.title = "Sign in · trio-oplog";
  show(
    place,
    h(
      "form",
      { class: "sign-in", submit },
      h("h1", {}, "Sign in"),
      reason && h("p", { class: "reason", role: "alert" }, reason),
      h("label", { for: "token" }, "Token"),
      field,
      h("button", { type: "submit", class: "main" }, "Sign in"),
      h(
        "p",
        { id: "token-help", class: "help" },
        "Whoever runs this collector makes one with ",
        h("code", {}, "trio-oplog token --user NAME --role read"),
        " (or ",
        h("code", {}, "audit"),
        ", to see arguments and results). It stays in this tab until you close it or sign out.",
      ),
    ),
  );
  field.focus();
}
