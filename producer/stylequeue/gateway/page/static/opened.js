// The job that is looked at: its losses so far, its newest preview, its picture, the photograph it was painted from.
import { announce } from "./announce.js";
import { fetchPicture, Problem } from "./api.js";
import { drop, isOpen, isWithoutPictures, lookAt, onEvent } from "./jobs.js";
import { kept } from "./keep.js";
import { onLeave } from "./key.js";
import { changed, state } from "./state.js";
import { eventsOf, pause } from "./stream.js";
import { kindly, span, stageInWords, title } from "./words.js";

const PREVIEW_MS = 2500;
const LOOKS_APART_MS = 1000;
const LOOK_MS = 5000;

/** Look at a job; what was looked at before is let go. */
export async function open(id) {
  close();
  const aborting = new AbortController();
  const opened = {
    id,
    signal: aborting.signal,
    abort: () => aborting.abort(),
    losses: [],         // { run, attempt, step, ...losses }
    succeeded: null,    // the event's data
    preview: null,      // { url, etag } of a blob that has been decoded
    result: null,       // { url, blob } likewise
    photo: null,        // the photograph: this browser's, or as it lies in the store
    isGone: false,      // whether the picture is no longer there
    made: null,         // what this browser knows of how it was handed in
    trouble: null,
  };
  state.open = opened;
  changed();
  opened.remembered = remembered(opened);
  await Promise.all([opened.remembered, looking(opened)]);
}

export function close() {
  if (!state.open) return;
  const { preview, result } = state.open;
  state.open.abort();
  for (const shown of [preview, result]) if (shown) URL.revokeObjectURL(shown.url);
  state.open = null;
}

onLeave(close);

async function remembered(opened) {
  opened.made = (await kept("made", opened.id)) ?? null;
  opened.photo = (opened.made && (await kept("pictures", opened.made.photo.id))) ?? null;
  changed();
}

/** Something happened to it: it is looked at again, also where it was at its end. */
export function lookAgain(opened) {
  opened.hasNews = true;
  if (opened.isLooking) opened.wake?.();
  else looking(opened);
}

/** While it is open and not at its end: what is known of it, first; then what is told. */
async function looking(opened) {
  opened.isLooking = true;
  try {
    while (!opened.signal.aborted && (await looked(opened)));
  } finally {
    opened.isLooking = false;
  }
}

/** Look once, and wait for what comes. Whether there is more to come. */
async function looked(opened) {
  const { signal } = opened;
  opened.hasNews = false;
  try {
    const { job, sequence } = await lookAt(opened.id, { signal });
    opened.trouble = null;
    const { from } = job.labels;
    if (from && !state.jobs.has(from)) lookAt(from, { signal }).catch(() => {}); // it may be gone
    showPhoto(opened, job);
    if (job.state !== "queued") await history(opened, sequence);
    if (job.state === "succeeded" && !opened.result) await showResult(opened, job);
    changed();
    if (!isOpen(job)) return opened.hasNews;
    if (job.state === "running") await showPreview(opened, job);
    await told(opened, job.state === "running" ? PREVIEW_MS : LOOK_MS);
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    if (!(error instanceof Problem)) throw error;
    if (!error.passes && error.status !== 401) {
      if (error.code === "job_not_found") drop(opened.id);
      opened.trouble = kindly(error);
      changed();
      return opened.hasNews;
    }
    await pause(3000, signal);
    return true;
  }
}

/** Return when its state may be another, or after a while. */
function told(opened, ms) {
  const soonest = pause(LOOKS_APART_MS, opened.signal);
  return new Promise((resolve) => {
    opened.wake = () => soonest.then(resolve);
    if (opened.hasNews) opened.wake();
    pause(ms, opened.signal).then(resolve);
  });
}

/** What was told of it before now, up to an event. */
async function history(opened, sequence) {
  const known = opened.sequence ?? 0;
  if (sequence <= known) return;
  const reading = new AbortController();
  const signal = AbortSignal.any([reading.signal, opened.signal]);
  try {
    for await (const event of eventsOf(`/v1/jobs/${encodeURIComponent(opened.id)}/events`, { lastId: known ? String(known) : null, signal })) {
      take(opened, event.type, event.data);
      if (Number(event.data.sequence) >= sequence) break;
    }
  } catch (error) {
    if (opened.signal.aborted || !(error instanceof Problem)) throw error;
  } finally {
    reading.abort();
  }
  changed();
}

function take(opened, type, event) {
  if (!event?.data) return; // `lost` has a job
  const { data } = event;
  const sequence = Number(event.sequence);
  if (sequence <= (opened.sequence ?? 0)) return;
  opened.sequence = sequence;
  if (type === "started") opened.losses = opened.losses.filter((one) => one.run === data.run);
  if (type === "progress" && Object.keys(data.losses ?? {}).length) {
    // An attempt goes on from a checkpoint: what was beyond it is done again.
    const before = opened.losses.filter(({ run, step }) => run === data.run && step < data.step);
    opened.losses = [...before, { run: data.run, step: data.step, size: data.size_px, ...data.losses }];
  }
  if (type === "succeeded") opened.succeeded = data;
}

onEvent((told) => {
  const opened = state.open;
  if (!opened) return;
  // The stream begins anew, or something happened: it is looked at again.
  if (!told) return lookAgain(opened);
  const { type, event } = told;
  if (event.subject !== opened.id) return;
  if (type === "progress") {
    // Only right behind what is known: what lies between is read as history.
    if (Number(event.sequence) === (opened.sequence ?? -1) + 1) take(opened, type, event);
    else if (Number(event.sequence) > (opened.sequence ?? 0)) lookAgain(opened);
    const { data } = event;
    const left = data.left_s ? `, about ${span(data.left_s)} left` : "";
    const share = data.steps ? `${Math.round((100 * data.step) / data.steps)} percent${left}` : "";
    announce(`${stageInWords(data.stage)}: ${share || title(state.jobs.get(opened.id) ?? {})}.`);
    changed();
  } else lookAgain(opened);
});

async function showPreview(opened, job) {
  if (!job.links.preview) return;
  try {
    const found = await fetchPicture(job.links.preview, { etag: opened.preview?.etag, signal: opened.signal });
    if (!found) return;
    const url = await decoded(found.blob, opened.signal);
    const before = opened.preview;
    opened.preview = { url, etag: found.etag };
    changed();
    // The one before stays until the new one is drawn.
    if (before) setTimeout(() => URL.revokeObjectURL(before.url), 1000);
  } catch (error) {
    if (!(error instanceof Problem) || error.status === 401) throw error;
    // It may be gone by now, with the job's end.
  }
}

async function showResult(opened, job) {
  try {
    const { blob } = await fetchPicture(job.links.result, { signal: opened.signal });
    opened.result = { url: await decoded(blob, opened.signal), blob };
    opened.isGone = false;
  } catch (error) {
    if (!error.isGone) throw error;
    opened.isGone = true;
  }
  changed();
}

/** What it was painted from, where another browser, or a program, handed it in. */
async function showPhoto(opened, job) {
  await opened.remembered;
  if (opened.photo || opened.isFetching || !job.links.content || isWithoutPictures(job)) return;
  opened.isFetching = true;
  try {
    const { blob } = await fetchPicture(job.links.content, { signal: opened.signal });
    URL.revokeObjectURL(await decoded(blob, opened.signal));
    opened.photo = blob;
    changed();
  } catch (error) {
    // It may be gone, which takes nothing from the painting; what passes is tried again with the next look.
    if (!opened.signal.aborted && !(error instanceof Problem)) throw error;
    opened.isFetching = !error.passes;
  }
}

/** The address of a picture that the browser has decoded: it appears whole, or not at all. Whoever asks revokes it. */
export async function decoded(blob, signal) {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    URL.revokeObjectURL(url);
    throw new Problem("image_corrupt", "the picture did not come whole", "look again");
  }
  if (signal.aborted) {
    URL.revokeObjectURL(url);
    signal.throwIfAborted();
  }
  return url;
}
