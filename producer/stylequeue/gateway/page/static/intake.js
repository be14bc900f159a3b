// Pictures that come in: looked at by their bytes, made such that workers read them, told from what is none.
import { newId } from "./keep.js";
import { kindOf, stripped } from "./strip.js";

export const MAX_SENT_PX = 4096; // no painting is larger
const MAX_PIXELS = 50e6; // more is scaled down here; a store or a worker might not take it
const MAX_BYTES = 40 * 1024 ** 2;
const MIN_PX = 16;
const JPEG_QUALITY = 0.93;

/** What cannot be taken in, in words for whoever gave it. */
export class NotTaken extends Error {}

/** A picture ready to be sent: `{ id, name, blob, width, height }`. Raises NotTaken. */
export async function taken(file) {
  const name = file.name || "photograph";
  if (!file.size) throw new NotTaken(`“${name}” is empty. Was it still being copied?`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const kind = kindOf(bytes);
  const sides = await sidesOf(new Blob([bytes]));
  if (!sides) throw new NotTaken(whyNot(name, kind, bytes));
  const { width, height } = sides;
  if (Math.min(width, height) < MIN_PX) {
    throw new NotTaken(`“${name}” is only ${width} × ${height} pixels, too small to paint from.`);
  }
  const isReadByWorkers = ["jpeg", "png", "webp"].includes(kind);
  const isLarge = width * height > MAX_PIXELS || Math.max(width, height) > 2 * MAX_SENT_PX || file.size > MAX_BYTES;
  const plain = isReadByWorkers && !isLarge ? stripped(bytes, kind) : null;
  const record = { id: newId(), name };
  if (plain) return { ...record, blob: plain, width, height };
  return { ...record, ...(await redrawn(new Blob([bytes], { type: file.type }), sides, kind === "png" && !isLarge, name)) };
}

/** How large a picture is once it stands upright; null where this browser cannot open it. */
async function sidesOf(blob) {
  const url = URL.createObjectURL(blob);
  try {
    const image = new Image();
    image.src = url;
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
    return image.naturalWidth ? { width: image.naturalWidth, height: image.naturalHeight } : null;
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(url);
  }
}

async function redrawn(blob, sides, asPng, name) {
  const scale = Math.min(1, MAX_SENT_PX / Math.max(sides.width, sides.height));
  const width = Math.max(1, Math.round(sides.width * scale));
  const height = Math.max(1, Math.round(sides.height * scale));
  try {
    const type = asPng ? "image/png" : "image/jpeg";
    return { blob: await drawn(blob, width, height, type, JPEG_QUALITY), width, height };
  } catch {
    throw new NotTaken(
      `“${name}” is so large (${sides.width} × ${sides.height} pixels) that this browser cannot open it. ` +
        `Save it with at most ${MAX_SENT_PX} pixels a side, and try again.`,
    );
  }
}

/** The picture at another size, upright. */
export async function drawn(blob, width, height, type, quality) {
  const bitmap = await createImageBitmap(blob, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  const made = await new Promise((resolve) => canvas.toBlob(resolve, type, quality));
  canvas.width = 0; // some browsers hold its memory for long
  if (!made) throw new Error("the canvas is too large");
  return made;
}

function whyNot(name, kind, bytes) {
  if (kind === "heic") {
    return (
      `“${name}” is a HEIC photograph, which this browser cannot open, whatever its name says. ` +
      "Export it as JPEG; or, on the iPhone, choose Settings › Camera › Formats › Most Compatible."
    );
  }
  if (["jpeg", "png", "webp"].includes(kind)) {
    return `“${name}” is damaged: only a part of it is there. Copy it once more from where it came.`;
  }
  if (kind) return `“${name}” is a ${kind.toUpperCase()} picture, which this browser cannot open. Save it as JPEG or PNG.`;
  const isText = !bytes.subarray(0, 512).some((byte) => byte < 9);
  return `“${name}” is no picture${isText ? " but text" : ""}, whatever its name says. JPEG, PNG and WebP are painted.`;
}

const urls = new WeakMap();
const letGo = new FinalizationRegistry((url) => URL.revokeObjectURL(url));

/** An address for `<img>` of a picture that is held here; it is good for as long as the picture is held. */
export function urlOf(blob) {
  if (!urls.has(blob)) {
    urls.set(blob, URL.createObjectURL(blob));
    letGo.register(blob, urls.get(blob));
  }
  return urls.get(blob);
}
