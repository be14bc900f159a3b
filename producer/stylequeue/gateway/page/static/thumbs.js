// Small pictures of large ones, made here once and kept.
import { Problem } from "./api.js";
import { drawn } from "./intake.js";
import { keep, kept } from "./keep.js";
import { whileHeld } from "./key.js";

const LONG_PX = 640;
const AT_ONCE = 3;
let running = 0;
const waiting = [];

/** A small picture of what `fetch` answers with; null where that cannot be had. */
export async function thumbOf(id, fetch) {
  const there = await kept("thumbs", id);
  if (there) return there;
  const held = whileHeld();
  if (running >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  running += 1;
  try {
    if (held.aborted) return null; // by another key it may not be seen
    const blob = await fetch();
    const small = await smaller(blob);
    await keep("thumbs", id, small);
    return small;
  } catch (error) {
    if (error instanceof Problem || error.name === "InvalidStateError" || error.name === "AbortError") return null;
    throw error;
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

async function smaller(blob) {
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, LONG_PX / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  bitmap.close();
  return drawn(blob, width, height, "image/webp", 0.8);
}
