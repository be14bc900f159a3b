// Takes out of a picture's file what tells where, when and by which camera it was taken, and leaves all else as it is:
// pixels, colour profile, and which way is up.

/** What kind of picture the bytes are, whatever the name says: jpeg, png, webp, heic, gif, avif, tiff, bmp; or "". */
export function kindOf(bytes) {
  const text = String.fromCharCode(...bytes.subarray(0, 16));
  if (text.startsWith("\xff\xd8\xff")) return "jpeg";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "webp";
  if (text.startsWith("GIF8")) return "gif";
  if (text.startsWith("BM")) return "bmp";
  if (text.startsWith("II*\0") || text.startsWith("MM\0*")) return "tiff";
  if (text.slice(4, 8) === "ftyp") {
    const brand = text.slice(8, 12);
    if (/^avi[fs]$/.test(brand)) return "avif";
    if (/^(hei[cxms]|hev[cmsx]|mif1|msf1)$/.test(brand)) return "heic";
  }
  return "";
}

/** The file without such data; null where it says which way is up in a place that not all read. */
export function stripped(bytes, kind) {
  return { jpeg: strippedJpeg, png: strippedPng, webp: strippedWebp }[kind](bytes);
}

function strippedJpeg(bytes) {
  const parts = [bytes.subarray(0, 2)];
  let orientation = 1;
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker === 0xda) break; // the pixels
    const end = at + 2 + (bytes[at + 2] << 8 | bytes[at + 3]);
    const segment = bytes.subarray(at, end);
    if (marker === 0xe1) orientation = orientationIn(segment) ?? orientation;
    // Kept: JFIF, the colour profile (APP2), Adobe's word on colours (APP14), and what is needed to decode.
    const isKept = marker < 0xe0 || [0xe0, 0xee].includes(marker) || (marker === 0xe2 && ascii(segment, 4, 11) === "ICC_PROFILE");
    if (isKept && marker !== 0xfe) parts.push(segment);
    at = end;
  }
  if (orientation !== 1) parts.splice(1, 0, exifOf(orientation));
  return new Blob([...parts, bytes.subarray(at)], { type: "image/jpeg" });
}

function orientationIn(segment) {
  if (ascii(segment, 4, 4) !== "Exif") return null;
  const view = new DataView(segment.buffer, segment.byteOffset + 10, segment.length - 10);
  try {
    const isLittle = view.getUint16(0) === 0x4949;
    const first = view.getUint32(4, isLittle);
    for (let n = 0; n < view.getUint16(first, isLittle); n++) {
      const entry = first + 2 + 12 * n;
      if (view.getUint16(entry, isLittle) === 0x0112) return view.getUint16(entry + 8, isLittle);
    }
  } catch {
    // Cut off: it says nothing.
  }
  return null;
}

function exifOf(orientation) {
  return Uint8Array.from([
    0xff, 0xe1, 0, 34, 0x45, 0x78, 0x69, 0x66, 0, 0, // an APP1 segment of 34 bytes, "Exif"
    0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, // TIFF, the high byte first; one entry
    0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0,
  ]);
}

function strippedPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const parts = [bytes.subarray(0, 8)];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 12 + view.getUint32(at);
    const name = ascii(bytes, at + 4, 4);
    if (name === "eXIf") return null;
    if (!["tEXt", "zTXt", "iTXt", "tIME"].includes(name)) parts.push(bytes.subarray(at, end));
    at = end;
  }
  return new Blob(parts, { type: "image/png" });
}

function strippedWebp(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 12; at + 8 <= bytes.length; at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) & 1)) {
    if (["EXIF", "XMP "].includes(ascii(bytes, at, 4))) return null;
  }
  return new Blob([bytes], { type: "image/webp" });
}

function ascii(bytes, from, length) {
  return String.fromCharCode(...bytes.subarray(from, from + length));
}
