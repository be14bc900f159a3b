// Asks the gateway, with the key in a header, and the store.
import { dropKey, whileHeld } from "./key.js";
import { changed, state } from "./state.js";

const TIMEOUT_MS = 30_000;
const SERVICE_AWAY = new Set(["broker_unavailable", "broker_refused", "store_unavailable", "stopping"]);

/** What a request came to that was not done. `code` is the service's own, or `network`. */
export class Problem extends Error {
  constructor(code, detail, hint = "", status = 0, retryAfterS = 0) {
    super(detail);
    Object.assign(this, { code, hint, status, retryAfterS });
  }

  /** Whether what was asked for lies there no longer: it was deleted, or another is in its place. */
  get isGone() {
    return this.code === "object_not_found" || this.code === "object_changed";
  }

  /** Whether the same may well go through in a while. */
  get passes() {
    return this.code === "network" || this.code === "rate_limited" || this.status >= 502 || SERVICE_AWAY.has(this.code);
  }
}

/** The answer to a request, once it is one of success. Raises Problem. */
export async function ask(method, path, { body, headers = {}, signal, timeoutMs = TIMEOUT_MS } = {}) {
  const { key } = state;
  const held = whileHeld();
  if (!key) throw new Problem("key_left", "there is no key", "", 401);
  const signals = [held, ...(signal ? [signal] : []), ...(timeoutMs ? [AbortSignal.timeout(timeoutMs)] : [])];
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        Authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any(signals),
      cache: "no-store",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (held.aborted) throw new Problem("key_left", "the key was left", "", 401);
    setAway("network", true);
    throw new Problem("network", "there is no connection to the painting service");
  }
  setAway("network", false);
  if (response.ok) {
    setAway("service", false);
    return response;
  }
  throw await problemOf(response, key);
}

/** The same, read as JSON. */
export async function askJson(method, path, options) {
  return bodyOf(await ask(method, path, options), "json", options?.signal);
}

/** An answer's body, read as `json` or `blob`. Raises Problem where the connection is cut before its end. */
export async function bodyOf(response, kind, signal) {
  try {
    return await response[kind]();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem("network", "the connection was cut in the middle of an answer");
  }
}

async function problemOf(response, key) {
  const told = await response.json().catch(() => ({}));
  const retryAfterS = Number(response.headers.get("Retry-After")) || 0;
  const problem = new Problem(told.code ?? "unknown", told.detail ?? response.statusText, told.hint, response.status, retryAfterS);
  // One that was asked by a key before says nothing of this one.
  if (response.status === 401 && key === state.key) dropKey("The key is not, or no longer, in force. Nothing of your work is lost: give another key, and go on.");
  else if (response.status !== 401) setAway("service", problem.passes && problem.code !== "rate_limited");
  return problem;
}

export function setAway(what, isAway) {
  if (state.away.has(what) === isAway) return;
  if (isAway) state.away.add(what);
  else state.away.delete(what);
  changed();
}

/** Send a picture to where an upload form leads; `onShare` hears how much of it has left, 0 to 1. What a job is to name
 *  it by. Raises Problem. */
export function sendPicture(form, blob, onShare, signal) {
  const { key } = state;
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(form.method, form.url);
    // Where pictures pass through the gateway, the address is its own.
    if (form.url.startsWith("/")) request.setRequestHeader("Authorization", `Bearer ${key}`);
    request.upload.onprogress = (event) => event.lengthComputable && onShare(event.loaded / event.total);
    request.onload = () => sentAs(form, request, key).then(resolve, reject);
    request.onerror = () => {
      setAway("network", !navigator.onLine);
      reject(new Problem("network", "the picture could not be sent to the store"));
    };
    request.onabort = () => reject(new DOMException("given up", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    if (form.method === "PUT") {
      for (const [name, value] of Object.entries(form.headers)) {
        if (name.toLowerCase() !== "content-length") request.setRequestHeader(name, value);
      }
      return request.send(blob);
    }
    const fields = new FormData();
    for (const [name, value] of Object.entries(form.fields)) fields.append(name, value);
    fields.append("file", blob);
    request.send(fields);
  });
}

/** What came of it, as the store has it, or the gateway. */
async function sentAs({ url, image }, request, key) {
  const { status } = request;
  if (url.startsWith("/")) {
    const headers = { "Retry-After": request.getResponseHeader("Retry-After") ?? "" };
    const response = new Response(request.responseText, { status, statusText: request.statusText, headers });
    if (!response.ok) throw await problemOf(response, key);
    return bodyOf(response, "json");
  }
  if (status >= 300) throw new Problem("store_refused", `the store would not take the picture (${status})`, "try again", status);
  return image;
}

/** The bytes of a job's picture: `link` is one of those in its view. Raises Problem. */
export async function fetchPicture(link, { etag, signal } = {}) {
  const { url } = await askJson("GET", `${link}?as=json`, { signal });
  return fetchStored(url, { etag, signal });
}

/** What lies at a signed address, or null where it is still that of `etag`. Raises Problem. */
export async function fetchStored(url, { etag, signal } = {}) {
  // Where pictures pass through the gateway, the address is its own.
  if (url.startsWith("/")) {
    const response = await ask("GET", url, { signal });
    return { blob: await bodyOf(response, "blob", signal), etag: response.headers.get("ETag") };
  }
  let response;
  try {
    response = await fetch(url, { signal, cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem("network", "the picture could not be fetched");
  }
  if (!response.ok) {
    const code = response.status === 404 ? "object_not_found" : "store_refused";
    throw new Problem(code, "the picture could not be fetched", "try again", response.status);
  }
  const found = response.headers.get("ETag");
  if (etag && etag === found) {
    await response.body?.cancel();
    return null;
  }
  return { blob: await bodyOf(response, "blob", signal), etag: found };
}
