// Pictures that were handed in together: a row of strengths, or several photographs in one style.
import { html, nothing } from "../vendor/lit-html.js";
import { urlOf } from "../intake.js";
import { madeAt } from "../keep.js";
import { state } from "../state.js";
import { stateInWords, title } from "../words.js";
import { smallOf, want } from "./gallery.js";

export function setView() {
  const jobs = state.order.map((id) => state.jobs.get(id)).filter((job) => job?.labels.set === state.route.id).reverse();
  const isRow = jobs.some(({ labels }) => labels.strength);
  const open = jobs.filter(({ state }) => state === "queued" || state === "running").length;
  for (const job of jobs) want(job.id);
  return html`
    <div class="wide">
      <h1 tabindex="-1">${isRow && jobs[0] ? title(jobs[0]) : "Painted together"}</h1>
      <p class="faint">${!jobs.length ? (madeAt(state.route.id) === null ? "None of them is known here." : "They are being looked for.") : open ? `${jobs.length - open} of ${jobs.length} are done.` : `All ${jobs.length} are done.`}</p>
      <ul class="row ${jobs.length > 4 ? "many" : ""}">
        ${jobs.map((job) => one(job, isRow))}
      </ul>
    </div>
  `;
}

function one(job, isRow) {
  const small = smallOf(job.id);
  const progress = state.progress.get(job.id);
  const share = progress?.steps ? Math.round((100 * progress.step) / progress.steps) : 0;
  return html`<li>
    <a href="#job=${job.id}">
      ${small ? html`<img class=${job.state === "succeeded" ? "" : "dim"} src=${urlOf(small)} alt=${title(job)} />` : html`<span class="blank"></span>`}
      <span class="caption">
        <span class="called">${isRow ? `Strength ${Math.round(100 * job.labels.strength)} %` : title(job)}</span>
        ${job.state === "succeeded" ? nothing : html`<span class="faint">${job.state === "running" ? `Painting, ${share} %` : stateInWords(job)}</span>`}
      </span>
    </a>
  </li>`;
}
