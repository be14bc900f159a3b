// Events as they happen: server-sent, read by fetch, so that the key stays in a header; resumed by their ids.
import { ask, Problem } from "./api.js";

const SILENCE_MS = 40_000; // a living stream has a comment every 15 s
const PAUSES_MS = [500, 1000, 2000, 4000, 8000, 15_000];

/** The events of one answer, until it ends. Raises Problem, also where it is cut or falls silent. */
export async function* eventsOf(path, { lastId, signal, onOpen } = {}) {
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  try {
    const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
    const both = AbortSignal.any([silence.signal, ...(signal ? [signal] : [])]);
    const response = await ask("GET", path, { headers, signal: both, timeoutMs: 0 });
    onOpen?.();
    if (response.status === 204) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      text += value;
      const parts = text.split(/\r?\n\r?\n/);
      text = parts.pop();
      for (const part of parts) {
        const event = read(part);
        if (event) yield event;
      }
    }
  } catch (error) {
    if (signal?.aborted || error instanceof Problem) throw error;
    throw new Problem("network", "the stream of events broke off");
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

function read(part) {
  const event = { type: "message", id: null, data: "" };
  for (const line of part.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "event") event.type = value;
    if (name === "id") event.id = value;
    if (name === "data") event.data += value;
  }
  return event.data ? { ...event, data: JSON.parse(event.data) } : null;
}

/** Follow a stream for ever: `onEvent` hears each event, `onOpen` each time that it begins anew. */
export async function follow(path, { onOpen, onEvent, signal }) {
  let lastId = null;
  let tries = 0;
  while (!signal.aborted) {
    try {
      const began = () => {
        tries = 0;
        onOpen();
      };
      for await (const event of eventsOf(path, { lastId, signal, onOpen: began })) {
        if (event.id) lastId = event.id;
        onEvent(event);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status === 401) return;
      if (error instanceof Problem && error.status === 400) lastId = null;
    }
    await pause(PAUSES_MS[Math.min(tries++, PAUSES_MS.length - 1)], signal);
  }
}

/** Wait, or until there is reason to try at once: the connection is back, somebody looks at the page again. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer);
      removeEventListener("online", over);
      document.removeEventListener("visibilitychange", seen);
      signal?.removeEventListener("abort", over);
      resolve();
    };
    const seen = () => document.visibilityState === "visible" && over();
    const timer = setTimeout(over, ms * (0.8 + 0.4 * Math.random()));
    addEventListener("online", over);
    document.addEventListener("visibilitychange", seen);
    signal?.addEventListener("abort", over);
  });
}
