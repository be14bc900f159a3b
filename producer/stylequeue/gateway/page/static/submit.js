// From the draft to jobs on record: pictures to the store, jobs to the gateway; each may be repeated, and is.
import { askJson, Problem, sendPicture } from "./api.js";
import { chosenStyles, saveDraft } from "./draft.js";
import { put } from "./jobs.js";
import { keep, newId } from "./keep.js";
import { keyId, onLeave } from "./key.js";
import { recipeOf, strengthsOf } from "./recipe.js";
import { changed, state } from "./state.js";
import { pause } from "./stream.js";
import { bare, kindly } from "./words.js";

const SENT_HOLDS_MS = 20 * 3600 * 1000; // what no job names goes by the bucket's lifecycle rule, a day or more after it came
const TRIES = 40;

let sending = null;
let lastTry = null; // { content, jobs }, while it is not known what became of all of them

onLeave(() => {
  giveUp();
  lastTry = null;
});

export function giveUp() {
  sending?.abort();
}

/** Hand the draft in; the address leads to what comes of it. */
export async function paint() {
  if (sending) return;
  sending = new AbortController();
  const { signal } = sending;
  // What is changed meanwhile is for another time.
  const draft = { ...state.draft };
  try {
    const chosen = chosenStyles();
    const all = [...draft.photos, ...draft.ownStyles.filter(({ id }) => draft.chosen.includes(id))];
    for (const [n, record] of all.entries()) {
      await send(record, all.length > 1 ? `Sending picture ${n + 1} of ${all.length}` : "Sending the photograph", signal);
    }
    await saveDraft();
    show("Handing it in", 1);
    const jobs = named(jobsOf(draft, chosen));
    for (const job of jobs) await remember(job, draft);
    await handIn(jobs, signal);
    lastTry = null;
    if (state.draft.from === draft.from) state.draft.from = null;
    await saveDraft();
    location.hash = jobs.length === 1 ? `job=${jobs[0].id}` : `set=${jobs[0].labels.set}`;
  } catch (error) {
    if (!signal.aborted) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 409) lastTry = null; // an id is another job's
      const { what, hint } = kindly(error);
      state.trouble = `${what} ${hint}`;
    }
  } finally {
    sending = null;
    state.sending = null;
    changed();
  }
}

function show(text, share) {
  state.sending = { text, share };
  changed();
}

/** Try until it goes through, where it may. */
async function patiently(what, signal) {
  for (let tries = 1; ; tries++) {
    try {
      return await what();
    } catch (error) {
      if (signal.aborted || !(error instanceof Problem) || !error.passes || tries === TRIES) throw error;
      show("Waiting for the connection", 0);
      await pause(Math.min(1000 * tries, 5000), signal);
      signal.throwIfAborted();
    }
  }
}

async function send(record, text, signal) {
  if (record.image && record.sentBy === keyId() && Date.now() - record.sentAt < SENT_HOLDS_MS) return;
  const { blob } = record;
  const sentBy = keyId();
  const suffix = { "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp" }[blob.type];
  await patiently(async () => {
    show(text, 0);
    const body = { filename: `picture${suffix}`, content_type: blob.type, size: blob.size };
    const form = await askJson("POST", "/v1/uploads", { body, signal });
    const image = await sendPicture(form, blob, (share) => show(text, share), signal);
    Object.assign(record, { image, sentAt: Date.now(), sentBy });
  }, signal);
}

function jobsOf(draft, chosen) {
  const strengths = strengthsOf(draft);
  const isSet = draft.photos.length * strengths.length > 1;
  const shares = chosen.length === 2 ? [1 - draft.share, draft.share] : [1];
  const styles = chosen.map(({ image, id }, n) => ({
    image: image ?? draft.ownStyles.find((style) => style.id === id).image,
    weight: Math.max(0.02, shares[n]),
  }));
  return draft.photos.flatMap((photo) =>
    strengths.map((strength) => ({
      content: photo.image,
      styles,
      recipe: recipeOf(draft, strength),
      output: { thumbnail: true },
      labels: {
        photo: label(bare(photo.name)),
        style: label(chosen.map(({ name }) => name).join(" and ")),
        ...(strengths.length > 1 ? { strength: String(strength) } : {}),
        ...(draft.from && !isSet ? { from: draft.from } : {}),
      },
    })),
  );
}

/** The jobs with their ids, and what they are a set by. What is handed in once more is so by the ids it had. */
function named(jobs) {
  const content = JSON.stringify(jobs);
  if (lastTry?.content === content) return lastTry.jobs;
  const set = jobs.length > 1 ? { set: newId() } : {};
  lastTry = { content, jobs: jobs.map((job) => ({ id: newId(), ...job, labels: { ...job.labels, ...set } })) };
  return lastTry.jobs;
}

/** As labels may be: short, and without what cannot be seen. */
const label = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "").slice(0, 120) || "picture";

async function handIn(jobs, signal) {
  if (jobs.length === 1) {
    const [{ id, ...body }] = jobs;
    return put(await patiently(() => askJson("PUT", `/v1/jobs/${id}`, { body, signal }), signal));
  }
  const { jobs: verdicts } = await patiently(() => askJson("POST", "/v1/jobs:batch", { body: { jobs }, signal }), signal);
  for (const { job } of verdicts) if (job) put(job);
  const refused = verdicts.find(({ problem }) => problem)?.problem;
  if (refused) throw new Problem(refused.code, refused.detail, refused.hint, refused.status);
}

/** Keep how it was handed in, for who paints it again: before anybody can look at it. */
async function remember(job, draft) {
  const photo = draft.photos.find(({ image }) => image.key === job.content.key);
  const { blob, ...rest } = photo;
  if (blob) await keep("pictures", photo.id, blob);
  const settings = { ...draft, photos: undefined, ownStyles: undefined, from: undefined, strength: job.recipe.strength ?? draft.strength };
  const own = draft.ownStyles.filter(({ id }) => draft.chosen.includes(id));
  await keep("made", job.id, { photo: rest, ownStyles: own, settings: JSON.parse(JSON.stringify(settings)) });
}
