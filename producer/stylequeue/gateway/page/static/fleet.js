// Queues, workers and dead letters, for who looks after them.
import { ask, askJson, Problem } from "./api.js";
import { onLeave } from "./key.js";
import { changed, state } from "./state.js";

const QUEUES = ["fast", "paint", "bulk"];
export const LETTERS = 10; // shown at most
const EVERY_MS = 10_000;
let timer;

onLeave(() => clearTimeout(timer));

/** Look at them, now and from then on, while they are seen. */
export async function followFleet() {
  clearTimeout(timer);
  const isSeen = document.visibilityState === "visible" && (!state.fleet || document.querySelector(".fleet details")?.open);
  if (isSeen && !state.away.size) await refreshFleet();
  clearTimeout(timer);
  if (state.may?.fleet || state.may?.admin) timer = setTimeout(followFleet, EVERY_MS);
}

export async function refreshFleet() {
  const { key, may } = state;
  const [workers, dead, ...queues] = await Promise.all([
    may.fleet && had("/v1/workers"),
    may.admin && had(`/v1/admin/dead?limit=${LETTERS}`),
    ...(may.fleet ? QUEUES.map((name) => had(`/v1/queues/${name}`)) : []),
  ]);
  if (state.key !== key) return; // what another key is told is not this one's
  state.fleet = { queues: queues.filter(Boolean), workers: workers?.workers ?? null, letters: dead?.letters ?? null };
  changed();
}

/** What is there; null: it cannot be had now. */
async function had(path) {
  try {
    return await askJson("GET", path);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return null;
  }
}

/** Do it, and look again. Raises Problem. */
export async function tend(method, path) {
  await ask(method, path);
  await refreshFleet();
}
