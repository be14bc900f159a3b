// How the service fares, in a strip below the pictures.
import { html, nothing } from "../vendor/lit-html.js";
import { followFleet, LETTERS, tend } from "../fleet.js";
import { changed, state } from "../state.js";
import { count, kindly, moment, span } from "../words.js";

let trouble = "";

export function fleet() {
  const { fleet, may } = state;
  if (!may || !fleet) return nothing;
  return html`
    <section class="fleet" aria-label="How the service fares"><details ?open=${!may.see} @toggle=${({ target }) => target.open && followFleet()}>
      <summary>Behind the pictures: <span>${inShort(fleet)}</span></summary>
      ${trouble ? html`<p class="trouble" role="alert">${trouble}</p>` : nothing}
      <div class="strip">
        ${fleet.queues.length ? queues(fleet.queues, may.admin) : nothing}
        ${fleet.workers ? painters(fleet.workers) : nothing}
        ${fleet.letters ? letters(fleet.letters) : nothing}
      </div>
    </details></section>
  `;
}

function inShort({ queues, workers, letters }) {
  const waiting = queues.reduce((sum, one) => sum + one.waiting + one.due + one.parked, 0);
  return [
    ...(workers ? [ready(workers)] : []),
    ...(queues.length ? [`${waiting} waiting`] : []),
    ...(letters?.length ? [`${letters.length === LETTERS ? `${LETTERS} and more` : letters.length} given up`] : []),
  ].join(", ");
}

function ready(workers) {
  if (!workers.length) return "no painter there";
  const painting = workers.filter(isAtWork).length;
  if (!painting) return `${count(workers.length, "painter")} ready`;
  return painting === workers.length ? `${count(painting, "painter")} at work` : `${painting} of ${workers.length} painters at work`;
}

function queues(all, isAdmin) {
  return html`<table>
    <caption class="unseen">Queues</caption>
    <thead><tr><th scope="col">Queue</th><th scope="col">waiting</th><th scope="col">painting</th><th scope="col">painters</th><th scope="col">takes more</th></tr></thead>
    <tbody>${all.map((one) => html`<tr>
      <th scope="row">${one.queue}</th>
      <td title=${one.oldest_s ? `the first for ${span(one.oldest_s)}` : nothing}>${one.waiting + one.due + one.parked}</td>
      <td>${one.running}</td>
      <td>${one.workers}</td>
      <td>${one.paused ? "No" : "Yes"} ${isAdmin ? acting(one.paused ? "Resume" : "Pause", `queue ${one.queue}`, "POST", `/v1/admin/queues/${one.queue}/${one.paused ? "resume" : "pause"}`) : nothing}</td>
    </tr>`)}</tbody>
  </table>`;
}

function painters(all) {
  return html`<table>
    <caption class="unseen">Painters</caption>
    <thead><tr><th scope="col">Painter</th><th scope="col">is doing</th><th scope="col">painted</th></tr></thead>
    ${all.length ? nothing : html`<tbody><tr><td colspan="3">None is there.</td></tr></tbody>`}
    <tbody>${all.map((one) => html`<tr>
      <th scope="row">${one.name} <span class="faint">${one.device}</span></th>
      <td>${one.draining ? "Stopping" : isAtWork(one) ? at(one) : "Waiting for work"}</td>
      <td>${one.jobs_done}</td>
    </tr>`)}</tbody>
  </table>`;
}

/** Who may look at no jobs is not told which it has. */
function isAtWork({ job, job_since }) {
  return Boolean(job ?? job_since);
}

function at({ job, step, steps }) {
  const text = steps ? `Step ${step} of ${steps}` : "Beginning";
  return job ? html`<a href="#job=${encodeURIComponent(job)}">${text}</a>` : text;
}

function letters(all) {
  return html`<table>
    <caption class="unseen">Given up</caption>
    <thead><tr><th scope="col">Given up</th><th scope="col">because</th><th scope="col">what to do</th></tr></thead>
    ${all.length ? nothing : html`<tbody><tr><td colspan="3">Nothing.</td></tr></tbody>`}
    <tbody>${all.map((one) => html`<tr>
      <th scope="row">${one.code} <span class="faint">${one.kind}, ${moment(one.buried_at)}</span></th>
      <td>${one.reason}</td>
      <td>${acting("Try again", one.id, "POST", `/v1/admin/dead/${encodeURIComponent(one.id)}/replay`)}
        ${acting("Drop", one.id, "DELETE", `/v1/admin/dead/${encodeURIComponent(one.id)}`)}</td>
    </tr>`)}</tbody>
  </table>`;
}

function acting(text, what, method, path) {
  return html`<button class="quiet" aria-label="${text}: ${what}" @click=${() => doing(method, path)}>${text}</button>`;
}

async function doing(method, path) {
  try {
    trouble = "";
    await tend(method, path);
  } catch (error) {
    const said = kindly(error);
    trouble = `${said.what} ${said.hint}`;
  }
  changed();
}
