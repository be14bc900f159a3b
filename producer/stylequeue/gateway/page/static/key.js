// The key: it comes behind the `#`, of which no server hears, and is kept for this tab alone.
import { changed, forgetWhatAKeyGave, state } from "./state.js";

const NAME = "stylequeue.key";
const listeners = new Set();
let holding = new AbortController();

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
  const before = sessionStorage.getItem(NAME);
  const key = text.trim();
  if (before && before !== key) leave();
  sessionStorage.setItem(NAME, key);
  state.key = key;
  state.keyTrouble = "";
  changed();
}

/** Forget the key and what was had by it, and say why another is needed. */
export function dropKey(why = "") {
  sessionStorage.removeItem(NAME);
  leave();
  state.key = null;
  state.keyTrouble = why;
  changed();
}

/** Hear of it when a key is left, which may be for another tenant's: what it gave is to be forgotten. */
export const onLeave = (listener) => listeners.add(listener);

/** Aborted when the key is left. */
export const whileHeld = () => holding.signal;

/** The key's name, which is no secret; null where it has none. */
export const keyId = () => /^sq_([0-9a-f]+)_/.exec(state.key)?.[1] ?? null;

function leave() {
  holding.abort();
  holding = new AbortController();
  for (const listener of listeners) listener();
  forgetWhatAKeyGave();
}
