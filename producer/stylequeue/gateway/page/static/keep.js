// What outlives a reload: IndexedDB, in which pictures may lie as they are.
//   draft: the draft, under "draft"
//   made: what this browser knows of jobs it handed in, by id
//   pictures: photographs of those jobs, by the record's id
//   thumbs: small pictures, by what they are of

const STORES = ["draft", "made", "pictures", "thumbs"];
const MOST = { made: 200, pictures: 60, thumbs: 400 };
let opening;

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("stylequeue", 1);
    request.onupgradeneeded = () => {
      for (const name of STORES) request.result.createObjectStore(name);
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function within(store, mode, work) {
  try {
    const transaction = (await database()).transaction(store, mode);
    const request = work(transaction.objectStore(store));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return undefined; // a private window, a full disk: the page goes on without
  }
}

export const kept = (store, id) => within(store, "readonly", (there) => there.get(id));

export async function keep(store, id, value) {
  await within(store, "readwrite", (there) => there.put(value, id));
  if (!MOST[store]) return;
  const ids = await within(store, "readonly", (there) => there.getAllKeys());
  // Ids of ours grow with time; of others the first by name go, which is as good as any.
  for (const old of (ids ?? []).slice(0, Math.max(0, (ids?.length ?? 0) - MOST[store]))) {
    await within(store, "readwrite", (there) => there.delete(old));
  }
}

export const forget = (store, id) => within(store, "readwrite", (there) => there.delete(id));

/** When an id was made, in milliseconds; null for one that does not say it. */
export function madeAt(id) {
  const found = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i.exec(id);
  return found && parseInt(found[1] + found[2], 16);
}

/** A new id; later ones sort behind earlier ones (UUIDv7, RFC 9562). */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setBigUint64(0, BigInt(Date.now()) << 16n | BigInt(0x7000 | (bytes[6] << 8 | bytes[7]) & 0xfff));
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
