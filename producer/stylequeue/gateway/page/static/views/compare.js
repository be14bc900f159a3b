// Any two pictures, one over the other or side by side.
import { html, nothing } from "../vendor/lit-html.js";
import { fetchPicture, Problem } from "../api.js";
import { onLeave } from "../key.js";
import { decoded } from "../opened.js";
import { changed, state } from "../state.js";
import { kindly, moment, title } from "../words.js";
import { slider } from "./slider.js";

const pictures = new Map(); // addresses by job; null while one is fetched, and where it cannot be
let looking = new AbortController();
let isBeside = false;

export function compareView() {
  const jobs = state.route.ids.map((id) => state.jobs.get(id));
  for (const job of jobs) if (job) fetchOne(job);
  const shown = jobs.map((job) => job && pictures.get(job.id));
  const same = title(jobs[0] ?? {}) === title(jobs[1] ?? {});
  const sides = jobs.map((job, n) => ({
    url: shown[n],
    alt: job ? title(job) : "",
    width: job?.output?.width_px,
    ratio: job?.output ? job.output.width_px / job.output.height_px : 1.5,
    called: job ? (same ? `${n ? "Later" : "Earlier"}, ${moment(job.created_at)}` : title(job)) : "",
  }));
  return html`
    <div class="wide">
      <h1 tabindex="-1">Compare</h1>
      ${state.trouble ? html`<p class="trouble" role="alert">${state.trouble}</p>` : nothing}
      ${shown.every(Boolean) ? (isBeside ? beside(sides) : slider(...sides)) : html`<div class="blank canvas"></div>`}
      <p><button class="quiet" @click=${toggle}>${isBeside ? "One over the other" : "Side by side"}</button></p>
    </div>
  `;
}

/** Let go of the pictures: the address leads elsewhere. */
export function closeComparison() {
  looking.abort();
  looking = new AbortController();
  for (const url of pictures.values()) if (url) URL.revokeObjectURL(url);
  pictures.clear();
}

onLeave(closeComparison);

function beside(sides) {
  return html`<ul class="row two">
    ${sides.map(({ url, alt, called }) => html`<li><figure><img src=${url} alt=${alt} /><figcaption>${called}</figcaption></figure></li>`)}
  </ul>`;
}

function toggle() {
  isBeside = !isBeside;
  changed();
}

async function fetchOne(job) {
  if (pictures.has(job.id) || !job.links.result) return;
  const { signal } = looking;
  pictures.set(job.id, null);
  try {
    const { blob } = await fetchPicture(job.links.result, { signal });
    pictures.set(job.id, await decoded(blob, signal));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    state.trouble = kindly(error).what;
  }
  changed();
}
