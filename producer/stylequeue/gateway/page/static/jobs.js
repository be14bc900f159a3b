// The gallery's jobs: what the service says of them, and what happens to them, from one stream.
import { ask, askJson, bodyOf, Problem } from "./api.js";
import { announce } from "./announce.js";
import { onLeave } from "./key.js";
import { changed, state } from "./state.js";
import { follow } from "./stream.js";
import { stateInWords, title } from "./words.js";

const PAGE = 24;
const RANK = { queued: 0, running: 1 };
const listeners = new Set();
const removed = new Set();
let following;

/** Whether a job failed for want of one of its pictures: they are not asked for either. */
export const isWithoutPictures = ({ error }) => error?.code === "object_not_found" || error?.code === "object_changed";

export const isOpen = (job) => job.state in RANK;

/** Hear of each event, after what is known of its job was changed. */
export const onEvent = (listener) => listeners.add(listener);

/** Follow what happens, from now on. Each time that the stream begins anew, all is looked at once. */
export function followJobs() {
  following?.abort();
  following = new AbortController();
  follow("/v1/events", {
    signal: following.signal,
    onOpen: () => {
      refreshSoon();
      for (const listener of listeners) listener(null);
    },
    onEvent: happened,
  });
}

let refreshing;
onLeave(() => {
  removed.clear();
  following?.abort();
  clearTimeout(refreshing);
});

/** Look at the newest jobs, once for all that happens in a moment. */
export function refreshSoon() {
  clearTimeout(refreshing);
  refreshing = setTimeout(() => list().catch(quietly), 200);
}

function quietly(error) {
  if (!(error instanceof Problem)) throw error; // the banner tells of those
}

async function list() {
  const before = [...state.jobs.values()];
  const { jobs, cursor } = await askJson("GET", `/v1/jobs?limit=${PAGE}`);
  for (const job of jobs) put(job);
  // What was known, and would be on this page, was deleted elsewhere.
  const listed = new Set(jobs.map(({ id }) => id));
  const oldest = cursor ? jobs.at(-1)?.created_at : "";
  for (const { id, created_at: at } of before) if (!listed.has(id) && at > oldest) drop(id);
  if (!state.isListed) state.cursor = cursor;
  state.isListed = true;
  changed();
}

export async function listMore() {
  const { jobs, cursor } = await askJson("GET", `/v1/jobs?limit=${PAGE}&cursor=${encodeURIComponent(state.cursor)}`);
  for (const job of jobs) put(job);
  state.cursor = cursor;
  changed();
}

/** Look at what was handed in about then. */
export async function listAround(ms) {
  const [after, before] = [ms - 600_000, ms + 1_800_000].map((at) => encodeURIComponent(new Date(at).toISOString()));
  const { jobs } = await askJson("GET", `/v1/jobs?limit=100&created_after=${after}&created_before=${before}`);
  for (const job of jobs) put(job);
}

/** Take a view of a job, unless what is known is newer. */
export function put(job) {
  if (removed.has(job.id)) return; // a list that was asked for before still has it
  const before = state.jobs.get(job.id);
  if (before && isBehind(job, before)) return;
  // Lists do not say how a job stands in its queue.
  if (before && isOpen(job) && job.queue.ahead === null) job.queue = { ...before.queue, ...nonNull(job.queue) };
  state.jobs.set(job.id, job);
  if (!isOpen(job)) state.progress.delete(job.id);
  else if (job.progress) note(job.id, { ...job.progress, run: job.run, attempt: job.attempt });
  state.order = [...state.jobs.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1)).map(({ id }) => id);
  if (before && isOpen(before) && !isOpen(job)) announce(`${title(job)}: ${stateInWords(job).toLowerCase()}.`);
  changed();
}

const nonNull = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));

function isBehind(job, before) {
  const [own, other] = [job, before].map(({ run, attempt, state }) => [run, RANK[state] ?? 2, attempt]);
  const at = own.findIndex((value, n) => value !== other[n]);
  // A job that waits for its next attempt was painted before: by the number of attempts alone it is no step back.
  if (at === 1 && own[2] >= other[2] && other[1] < 2) return false;
  return at >= 0 && own[at] < other[at];
}

function note(id, progress) {
  const before = state.progress.get(id);
  const isOld = before && (progress.run < before.run || (progress.run === before.run && progress.attempt < before.attempt));
  const isBack = before && progress.run === before.run && progress.attempt === before.attempt && progress.step < before.step;
  if (!isOld && !isBack) state.progress.set(id, { ...before, ...progress });
}

function happened({ type, data }) {
  if (type === "lost") put(data);
  else {
    const job = state.jobs.get(data.subject);
    if (type === "progress") {
      if (job && isOpen(job)) {
        note(job.id, data.data);
        job.state = "running";
        changed();
      }
    } else {
      if (type === "started" && job && isOpen(job)) put({ ...job, state: "running", run: data.data.run, attempt: data.data.attempt });
      refreshSoon();
    }
  }
  for (const listener of listeners) listener({ type, event: data });
}

/** A job, looked at now: `{ job, sequence }`, of its newest event. Raises Problem. */
export async function lookAt(id, options) {
  const response = await ask("GET", `/v1/jobs/${encodeURIComponent(id)}`, options);
  const job = await bodyOf(response, "json", options?.signal);
  put(job);
  return { job, sequence: Number(response.headers.get("ETag").split("-")[1].replace('"', "")) };
}

/** Follow a link that changes a job: cancel, stop, retry. Raises Problem. */
export async function act(link) {
  const job = await askJson("POST", link);
  state.jobs.delete(job.id); // whatever it is by now
  put(job);
}

/** Take a job and its picture away for good. Raises Problem. */
export async function remove(job) {
  await ask("DELETE", job.links.self);
  removed.add(job.id);
  drop(job.id);
}

/** It is known no longer. */
export function drop(id) {
  state.jobs.delete(id);
  state.order = state.order.filter((other) => other !== id);
  changed();
}
