// The whole page: what is around each view.
import { html, nothing } from "../vendor/lit-html.js";
import { dropKey, keepKey } from "../key.js";
import { state } from "../state.js";
import { compareView } from "./compare.js";
import { fleet } from "./fleet.js";
import { gallery, nothingYet } from "./gallery.js";
import { jobView } from "./job.js";
import { setView } from "./set.js";
import { studio } from "./studio.js";

const VIEWS = { studio, job: jobView, set: setView, compare: compareView };

export function page() {
  return html`
    <a class="skip" href="#main" @click=${skip}>To the picture</a>
    <header class="top">
      <a class="name" href="#" aria-label="stylequeue, the first page">stylequeue</a>
      ${state.key
        ? html`<nav aria-label="Page">
            ${state.route.view === "studio" || !state.may?.paint ? nothing : html`<a href="#">New painting</a>`}
            ${state.may?.see ? html`<a href="#gallery" aria-current=${state.route.view === "studio" && !state.may.paint ? "page" : nothing} @click=${toGallery}>Gallery</a>` : nothing}
          </nav>`
        : nothing}
    </header>
    ${banner()}
    <main id="main" tabindex="-1">${state.key ? view() : keyForm()}</main>
    ${state.may?.see ? gallery() : nothing}
    ${fleet()}
    ${state.key
      ? html`<footer>
          <button class="quiet" @click=${() => dropKey()}>Sign out</button>
        </footer>`
      : nothing}
  `;
}

function view() {
  const { may, route } = state;
  if (!may) return nothing; // in a moment
  if (!may.see) return html`<div class="alone"><h1 tabindex="-1">No pictures here</h1><p>This key sees how the service fares, and nobody’s pictures.</p></div>`;
  return route.view === "studio" && !may.paint ? nothingYet() : VIEWS[route.view]();
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function toGallery(event) {
  event.preventDefault();
  const there = document.getElementById("gallery");
  if (!there) return; // nothing was painted yet
  there.scrollIntoView();
  there.focus({ preventScroll: true });
}

function banner() {
  const goesOn = "What you have prepared is kept, what is being painted goes on. This page picks it up again by itself.";
  const said = state.away.has("network")
    ? [navigator.onLine ? "The painting service does not answer." : "You are offline.", goesOn]
    : state.away.has("service")
      ? ["The painting service is not all there just now.", "Nothing is lost. This page tries again every few seconds."]
      : null;
  return said ? html`<p class="banner" role="alert"><strong>${said[0]}</strong> ${said[1]}</p>` : nothing;
}

function keyForm() {
  return html`
    <form class="key" @submit=${takeKeyFrom}>
      <h1 tabindex="-1">A key, please</h1>
      <p>${state.keyTrouble || html`<code>stylequeue up</code> prints an address that has one; <code>stylequeue keys new</code> makes more.`}</p>
      <label for="key">Key</label>
      <input id="key" name="key" type="password" autocomplete="off" spellcheck="false" required placeholder="sq_…" />
      <button class="main">Go on</button>
    </form>
  `;
}

function takeKeyFrom(event) {
  event.preventDefault();
  keepKey(new FormData(event.target).get("key"));
}
