// The key: it comes behind the `#`, of which no server hears, and is kept for this tab alone.
import { changed, state } from "./state.js";

const NAME = "stylequeue.key";

/** Take the key from the address, or the one that this tab has. */
export function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    keepKey(given);
    const rest = location.hash.slice(1).split("&").filter((part) => !part.startsWith("key="));
    history.replaceState(null, "", rest.length ? `#${rest.join("&")}` : location.pathname);
  }
  state.key = sessionStorage.getItem(NAME);
}

export function keepKey(text) {
  sessionStorage.setItem(NAME, text.trim());
  state.key = text.trim();
  state.keyTrouble = "";
  changed();
}

/** Forget the key, and say why another is needed. */
export function dropKey(why = "") {
  sessionStorage.removeItem(NAME);
  state.key = null;
  state.keyTrouble = why;
  changed();
}
