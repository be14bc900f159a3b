// What was painted and what is under way, with their states.
import { html, nothing } from "../vendor/lit-html.js";
import { fetchPicture } from "../api.js";
import { urlOf } from "../intake.js";
import { isOpen, isWithoutPictures, listMore, onEvent } from "../jobs.js";
import { kept } from "../keep.js";
import { onLeave } from "../key.js";
import { changed, state } from "../state.js";
import { thumbOf } from "../thumbs.js";
import { isToday, moment, stateInWords, title } from "../words.js";

const FEW = 4; // have more room, each
const thumbs = new Map(); // blobs by job
const asked = new Set();
const gone = new Set(); // jobs whose pictures are
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) want(target.dataset.job);
}, { rootMargin: "400px" });

onLeave(() => {
  thumbs.clear();
  asked.clear();
  gone.clear();
});

/** In place of the studio, for who looks and does not paint. */
export function nothingYet() {
  const isEmpty = state.isListed && !state.order.length;
  return html`<h1 class=${isEmpty ? "" : "unseen"} tabindex="-1">${isEmpty ? "Nothing has been painted yet" : "Pictures"}</h1>
    <p class="faint">${isEmpty ? "What is painted appears here by itself." : "You can look and download."}</p>`;
}

export function gallery() {
  const jobs = state.order.map((id) => state.jobs.get(id)).filter(Boolean);
  if (!jobs.length) return nothing;
  queueMicrotask(watch);
  return html`
    <section class="gallery ${state.route.view === "studio" && !state.may.paint ? "first" : ""}" id="gallery" tabindex="-1" aria-labelledby="gallery-title">
      <div class="head">
        <h2 id="gallery-title">Gallery</h2>
        ${jobs.filter(({ state }) => state === "succeeded").length > 1 ? chooser() : nothing}
      </div>
      <ul class=${jobs.length <= FEW ? "few" : ""}>${jobs.map(card)}</ul>
      ${state.cursor ? html`<p><button @click=${() => listMore().catch(() => {})}>Show earlier ones</button></p>` : nothing}
    </section>
  `;
}

function chooser() {
  if (!state.choosing) return html`<button class="quiet" @click=${() => choose([])}>Compare two</button>`;
  return html`<p role="status" class="faint">${["Choose the first of two.", "And the second."][state.choosing.length] ?? ""}
    <button class="quiet" @click=${() => choose(null)}>Never mind</button></p>`;
}

function choose(ids) {
  state.choosing = ids;
  if (ids?.length === 2) location.hash = `compare=${ids.join(",")}`;
  changed();
}

function card(job) {
  const progress = state.progress.get(job.id);
  const share = progress?.steps ? Math.round((100 * progress.step) / progress.steps) : null;
  const thumb = thumbs.get(job.id);
  const isHere = state.route.view === "job" && state.route.id === job.id;
  const inside = html`
    ${thumb ? html`<img class=${job.state === "succeeded" ? "" : "dim"} src=${urlOf(thumb)} alt="" />` : html`<span class="blank"></span>`}
    <span class="caption">
      <span class="called">${title(job)}</span>
      <span class="faint">${gone.has(job.id) ? "No longer there" : job.state === "running" && share !== null ? `Painting, ${share} %` : standing(job)}${job.labels.strength ? ` · ${Math.round(100 * job.labels.strength)} %` : ""}</span>
    </span>
    ${isOpen(job) ? html`<span class="bar" .style=${`--share: ${share ?? 0}%`}></span>` : nothing}
  `;
  if (state.choosing) {
    return html`<li data-job=${job.id}>
      <button class="card" ?disabled=${job.state !== "succeeded"} aria-pressed=${state.choosing.includes(job.id)}
        @click=${() => choose([...state.choosing.filter((id) => id !== job.id), job.id])}>${inside}</button>
    </li>`;
  }
  return html`<li data-job=${job.id}><a class="card" href="#job=${job.id}" aria-current=${isHere ? "page" : nothing}>${inside}</a></li>`;
}

/** Of what is painted, when: that it is, can be seen. */
function standing(job) {
  const then = moment(job.created_at);
  if (job.state === "succeeded" && !job.output?.partial) return then;
  return isToday(job.created_at) ? stateInWords(job) : `${stateInWords(job)} · ${then}`;
}

function watch() {
  for (const item of document.querySelectorAll(".gallery li[data-job]")) near.observe(item);
}

/** A small picture of a job, once it is near enough to be seen. */
export async function want(id) {
  const job = state.jobs.get(id);
  if (!job) return;
  const mark = `${id} ${job.state === "succeeded"}`;
  if (asked.has(mark)) return;
  asked.add(mark);
  const thumb = job.state === "succeeded" ? await painted(job) : await photograph(job);
  if (thumb) thumbs.set(id, thumb);
  if (thumb || gone.has(id)) changed();
}

export const smallOf = (id) => thumbs.get(id);

async function painted(job) {
  return thumbOf(`job:${job.output.sha256}`, async () => {
    try {
      return (await smallest(job.links)).blob;
    } catch (error) {
      if (error.isGone) gone.add(job.id);
      throw error;
    }
  });
}

async function smallest({ thumbnail, result }) {
  try {
    return await fetchPicture(thumbnail ?? result);
  } catch (error) {
    if (!thumbnail || !error.isGone) throw error;
    return fetchPicture(result);
  }
}

async function photograph({ id, links, error }) {
  const made = await kept("made", id);
  const blob = made && (await kept("pictures", made.photo.id));
  if (blob) return thumbOf(`photo:${made.photo.id}`, async () => blob);
  if (!links.content || isWithoutPictures({ error })) return null;
  return thumbOf(`content:${id}`, async () => (await fetchPicture(links.content)).blob);
}

// Of what could not be had, another try is made once the stream begins anew.
onEvent((told) => {
  if (told) return;
  for (const mark of asked) {
    const [id] = mark.split(" ");
    if (!thumbs.has(id) && !gone.has(id)) asked.delete(mark);
  }
});

/** Ask again for those whose state is another by now. */
export function wantAgain() {
  for (const item of document.querySelectorAll(".gallery li[data-job]")) {
    const job = state.jobs.get(item.dataset.job);
    if (job?.state === "succeeded" && !asked.has(`${job.id} true`) && isNear(item)) want(job.id);
  }
}

function isNear(item) {
  const { top, bottom } = item.getBoundingClientRect();
  return bottom > -400 && top < innerHeight + 400;
}
