// Signing in: with a token, or with the secret that all gateways share; on the page of `trio-oplog ui` by its link only.

import { token } from "./api.js";
import { announce, h, show } from "./dom.js";

const isByLink = document.querySelector('meta[name="trio-oplog-sign-in"]').content === "link";

const why = (reason) => reason && h("p", { class: "reason", role: "alert" }, reason);

export function signIn(place, { reason, taken }) {
  document.title = "Sign in · trio-oplog";
  if (isByLink) {
    show(
      place,
      h(
        "section",
        { class: "sign-in", "aria-label": "Sign in" },
        h("h1", {}, "Sign in"),
        why(reason),
        h("p", {}, "Open the link that ", h("code", {}, "trio-oplog ui"), " has printed in your terminal. Each signs in once; the last one is good."),
      ),
    );
    return;
  }
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
  show(
    place,
    h(
      "form",
      { class: "sign-in", submit },
      h("h1", {}, "Sign in"),
      why(reason),
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
