// One picture: while it waits, while it is painted, and once it is there.
import { html, nothing } from "../vendor/lit-html.js";
import { changed, state } from "../state.js";
import { act, isOpen, remove } from "../jobs.js";
import { urlOf } from "../intake.js";
import { forget } from "../keep.js";
import { close, lookAgain, open } from "../opened.js";
import { again, isRepeatable } from "../again.js";
import { kindly, largenessInWords, moment, place, span, stageInWords, stateInWords, title } from "../words.js";
import { termsOf } from "./chart.js";
import { shapeOf, slider } from "./slider.js";

export function jobView() {
  const opened = state.open;
  const job = opened && state.jobs.get(opened.id);
  if (!job) {
    return html`<div class="alone">
      <h1 tabindex="-1">${opened?.trouble ? opened.trouble.what : "One moment"}</h1>
      <p>${opened?.trouble?.hint ?? "The picture is being looked for."}</p>
      ${opened?.trouble ? html`<p><a class="strong" href="#">A new painting</a></p>` : nothing}
    </div>`;
  }
  return html`
    <div class="studio job">
      <section class="easel" aria-label="Picture">${canvas(opened, job)}</section>
      <div class="palette">
        <h1 tabindex="-1">${title(job)}</h1>
        <p class="state">${stateInWords(job)}<span class="faint"> · ${moment(job.created_at)}${recipeOf(job)}</span></p>
        ${isOpen(job) ? underWay(job) : job.state === "succeeded" ? done(opened, job) : failed(job)}
        ${opened.succeeded ? facts(opened) : curves(opened)}
        ${opened.failedToAct ? html`<p class="trouble" role="alert">${opened.failedToAct}</p>` : nothing}
        ${isOpen(job) || !state.may?.paint ? nothing : html`<p><button class="quiet" @click=${() => doing(() => deleted(job))}>Delete this picture</button></p>`}
      </div>
    </div>
  `;
}

function canvas(opened, job) {
  const name = title(job);
  const photo = opened.photo && urlOf(opened.photo);
  if (opened.result && photo) {
    return slider({ url: photo, alt: "The photograph", called: "Before" }, { url: opened.result.url, alt: name, called: "After", ...sidesOf(opened, job) });
  }
  const shown = opened.result?.url ?? (isOpen(job) ? opened.preview?.url : null) ?? photo;
  if (!shown) return html`<div class="blank canvas"></div>`;
  const alt = opened.result ? name : opened.preview ? `${name}, half painted` : "The photograph, not painted yet";
  return html`<figure class="photo fitted" .style=${shapeOf(sidesOf(opened, job))}>
    <img class=${opened.result || opened.preview ? "" : "dim"} src=${shown} alt=${alt} />
    ${isOpen(job) ? html`<figcaption class="faint">${captionOf(opened, job)}</figcaption>` : nothing}
  </figure>`;
}

function captionOf({ preview, made }, { state }) {
  if (preview) return "The painting so far";
  return `${made ? "Your" : "The"} photograph${state === "running" ? "; the first view comes soon" : ""}`;
}

/** How wide it is, or will be, and its width over its height. */
function sidesOf({ made }, { asked, output }) {
  if (output) return { width: output.width_px, ratio: output.width_px / output.height_px };
  const ratio = made ? made.photo.width / made.photo.height : 1.5;
  const size = made?.settings.size ?? asked?.recipe.size;
  return { width: size && size * Math.min(1, ratio), ratio };
}

function recipeOf(job) {
  const strength = job.labels.strength;
  return strength ? `, strength ${Math.round(100 * strength)} %` : "";
}

function underWay(job) {
  const progress = state.progress.get(job.id);
  const share = progress?.steps ? progress.step / progress.steps : null;
  return html`
    <div class="progress">
      <progress aria-label="How far it is painted" max="1" value=${share ?? nothing}></progress>
      <p>${job.state === "queued" ? waiting(job) : painting(progress)}</p>
    </div>
    ${state.may?.paint
      ? html`<div class="acts">
          ${job.state === "running" ? html`<button @click=${() => doing(() => act(job.links.stop))}>Finish now, keep it</button>` : nothing}
          <button @click=${() => doing(() => act(job.links.cancel))}>Cancel</button>
        </div>`
      : nothing}
  `;
}

function waiting({ queue, waits_for: waitsFor, last_error: lastError }) {
  if (waitsFor) return `It waits: ${waitsFor}.`;
  if (lastError) return "A first try went wrong. It is tried again in a moment.";
  if (queue.workers === 0) return "No painter is at work just now. It waits until one is.";
  const eta = queue.eta_s ? `, done in about ${span(queue.eta_s)}` : "";
  return queue.ahead === null ? "It waits for its turn." : `It is ${place(queue.ahead)}${eta}.`;
}

function painting(progress) {
  if (!progress) return "A painter has taken it.";
  if (!progress.steps && progress.stage === "painting") return "The canvas is being prepared.";
  if (progress.stage !== "painting") return `${stageInWords(progress.stage)}.`;
  const left = progress.left_s === null || progress.left_s === undefined ? "" : ` · about ${span(progress.left_s)} left`;
  return `Step ${progress.step} of ${progress.steps}${left} · at ${progress.size_px} pixels`;
}

function done(opened, job) {
  const { result } = opened;
  return html`
    ${opened.isGone ? html`<p class="trouble"><strong>This picture is no longer there.</strong> It was deleted where it lay, or another was put in its place.</p>` : nothing}
    <div class="acts">
      ${result
        ? html`<a class="strong" href=${result.url} download=${fileName(job)}>Download</a>`
        : opened.isGone ? nothing : html`<span class="strong waits">Fetching it</span>`}
      ${repeating(opened, job)}
      ${job.labels.from && state.jobs.get(job.labels.from)?.state === "succeeded"
        ? html`<a class="button" href="#compare=${encodeURIComponent(job.labels.from)},${job.id}">Compare with the one before</a>`
        : nothing}
      ${job.labels.set ? html`<a class="button" href="#set=${encodeURIComponent(job.labels.set)}">See them side by side</a>` : nothing}
    </div>
    <p class="faint">
      ${largenessInWords(Math.max(job.output.width_px, job.output.height_px))}: ${job.output.width_px} × ${job.output.height_px} pixels${job.output.partial ? ", stopped before it was done" : ""}${job.output.reused ? "; it had been painted before, and was there at once" : ""}.
    </p>
  `;
}

function repeating(opened, job) {
  if (!state.may?.paint || !isRepeatable(opened, job)) return nothing;
  return html`<button @click=${() => doing(() => again(job))}>Change and paint again</button>`;
}

const fileName = (job) => `${title(job).replace(/[^\p{L}\p{N} ,.-]/gu, "")}.${job.output.content_type.split("/")[1].replace("jpeg", "jpg")}`;

function failed(job) {
  const { what, hint } = kindly(job.error ?? { code: job.state, message: stateInWords(job) });
  return html`
    <div class="trouble"><p><strong>${what}</strong> ${hint}</p></div>
    <div class="acts">
      ${job.links.retry && job.state !== "cancelled" && state.may?.paint ? html`<button class="strong" @click=${() => doing(() => act(job.links.retry))}>Try again</button>` : nothing}
      ${repeating(state.open, job)}
    </div>
  `;
}

function curves({ losses }) {
  if (losses.length < 2) return nothing;
  const terms = termsOf(losses);
  return html`
    <section class="curves" aria-labelledby="curves-title">
      <h2 id="curves-title">${terms.length > 1 ? "How close it comes, step by step" : `How close it comes to ${terms[0]}`}</h2>
      <p class="faint">Lower is closer.</p>
      <loss-chart aria-hidden="true" .losses=${losses}></loss-chart>
      ${terms.length > 1 ? html`<ul>${terms.map((name, n) => html`<li class="series-${n + 1}">${name}</li>`)}</ul>` : nothing}
    </section>
  `;
}

function facts(opened) {
  const { recipe, report } = opened.succeeded;
  const took = report.timings_s?.paint;
  return html`
    <details class="facts">
      <summary>How it was painted</summary>
      <dl>
        <dt>Method</dt><dd>${recipe.method === "fast" ? "sketch" : recipe.preset}</dd>
        ${recipe.strength === undefined || recipe.strength === null ? nothing : html`<dt>Strength</dt><dd>${Math.round(100 * recipe.strength)} %</dd>`}
        <dt>Size</dt><dd>${recipe.size} pixels</dd>
        ${report.steps ? html`<dt>Steps</dt><dd>${report.steps}</dd>` : nothing}
        ${took ? html`<dt>Took</dt><dd>${span(took)}</dd>` : nothing}
        <dt>Likeness to the photograph</dt><dd>${Math.round(100 * report.ssim)} %</dd>
      </dl>
      ${curves(opened)}
      ${(report.notes ?? []).map((note) => html`<p class="faint">${note}</p>`)}
    </details>
  `;
}

/** Do it, and say kindly what came between. */
async function doing(what) {
  const opened = state.open;
  try {
    opened.failedToAct = "";
    await what();
    lookAgain(opened);
  } catch (error) {
    const said = kindly(error);
    (state.open ?? opened).failedToAct = `${said.what} ${said.hint}`;
  }
  changed();
}

async function deleted(job) {
  if (!confirm("Delete this picture for good?")) return;
  close(); // nothing of it is asked for any more
  try {
    await remove(job);
  } catch (error) {
    open(job.id);
    throw error;
  }
  await forget("made", job.id);
  location.hash = "";
}
