// Where a picture is prepared: photograph, style, settings, and the button.
import { html, nothing } from "../vendor/lit-html.js";
import { addPhotos, addStyles, change, MAX_PHOTOS, removePhoto, removeStyle, styles, toggleStyle } from "../draft.js";
import { urlOf } from "../intake.js";
import { state } from "../state.js";
import { giveUp, paint } from "../submit.js";
import { bare, count } from "../words.js";
import { settings } from "./settings.js";

const ACCEPTED = "image/jpeg,image/png,image/webp"; // so that phones convert what is none of these

export function studio() {
  return html`
    <div class="studio">
      <section class="easel" aria-labelledby="photo-title" @dragover=${over} @dragleave=${out} @drop=${dropped(addPhotos)}>
        ${state.draft.photos.length ? photos() : invitation()}
      </section>
      <div class="palette">
        ${shelf()} ${settings()} ${go()}
      </div>
    </div>
  `;
}

function invitation() {
  return html`
    <div class="invitation">
      <h1 id="photo-title" tabindex="-1">Begin with a photograph</h1>
      <p class="for-a-mouse">Drop it here, paste it, or</p>
      <div class="choices">
        ${picker("Choose photographs", { multiple: true, isMain: true })}
        ${picker("Take one", { capture: true })}
      </div>
    </div>
  `;
}

function picker(text, { multiple = false, capture = false, isMain = false, onFiles = addPhotos } = {}) {
  // A label works by mouse and finger, the field within by keyboard and screen reader.
  return html`
    <label class="picker ${isMain ? "strong" : ""} ${capture ? "camera" : ""}">
      <input
        type="file"
        accept=${ACCEPTED}
        ?multiple=${multiple}
        capture=${capture ? "environment" : nothing}
        @change=${(event) => {
          const files = [...event.target.files];
          event.target.value = "";
          onFiles(files);
        }}
      />
      <span>${text}</span>
    </label>
  `;
}

function photos() {
  const { photos } = state.draft;
  const isOne = photos.length === 1;
  return html`
    <h1 id="photo-title" class="unseen" tabindex="-1">${isOne ? "Your photograph" : `${count(photos.length, "photograph")} to paint`}</h1>
    ${isOne ? onePhoto(photos[0]) : html`<ul class="contact">${photos.map((photo) => html`<li>${onePhoto(photo)}</li>`)}</ul>`}
    ${photos.length < MAX_PHOTOS
      ? html`<div class="choices">${picker(isOne ? "Add more photographs" : "Add more", { multiple: true })}</div>`
      : nothing}
  `;
}

function onePhoto(photo) {
  return html`
    <figure class="photo fitted" .style=${`--ratio: ${photo.width / photo.height}`}>
      <img src=${urlOf(photo.blob)} alt="Photograph: ${bare(photo.name)}" width=${photo.width} height=${photo.height} />
      <figcaption>
        <span>${bare(photo.name)}</span> <span class="faint">${photo.width} × ${photo.height}</span>
        <button class="quiet" @click=${() => removePhoto(photo.id)} aria-label="Take ${bare(photo.name)} away">Take away</button>
      </figcaption>
    </figure>
  `;
}

function shelf() {
  const { chosen, share } = state.draft;
  const all = styles();
  return html`
    <section class="shelf" aria-labelledby="style-title" @dragover=${over} @dragleave=${out} @drop=${dropped(addStyles)}>
      <h2 id="style-title">Style <span class="faint">one, or a blend of two</span></h2>
      <ul>
        ${all.map((style) => tile(style, chosen.includes(style.id)))}
        <li>${picker("+ Your own", { multiple: true, onFiles: addStyles })}</li>
      </ul>
      ${state.shelf.trouble ? html`<p class="faint">${state.shelf.trouble}</p>` : nothing}
      ${chosen.length === 2 ? blend(all, chosen, share) : nothing}
    </section>
  `;
}

function tile(style, isChosen) {
  const thumb = style.thumb ?? style.blob;
  return html`
    <li>
      <button class="tile" aria-pressed=${isChosen} @click=${() => toggleStyle(style.id)}>
        ${thumb ? html`<img src=${urlOf(thumb)} alt="" />` : html`<span class="blank"></span>`}
        <span class="label">${style.name}</span>
      </button>
      ${style.own
        ? html`<button class="remove" aria-label="Take style ${style.name} away" @click=${() => removeStyle(style.id)}>×</button>`
        : nothing}
    </li>
  `;
}

/** In the order of the tiles, whichever was chosen first. */
function blend(all, chosen, share) {
  const both = all.filter(({ id }) => chosen.includes(id));
  const isTurned = both[0]?.id === chosen[1];
  const ofRight = isTurned ? 1 - share : share;
  const [first, second] = both.length === 2 ? both.map(({ name }) => name) : ["", ""];
  const [left, right] = [1 - ofRight, ofRight].map((part) => Math.round(100 * part));
  return html`
    <label class="field" for="share">Blend <output>${left} % ${first}, ${right} % ${second}</output></label>
    <input
      id="share" class="balance" type="range" min="0" max="1" step="0.05" .value=${String(ofRight)}
      aria-valuetext="${left} percent ${first}, ${right} percent ${second}"
      @input=${({ target }) => change({ share: isTurned ? 1 - Number(target.value) : Number(target.value) })}
    />
    <div class="ends"><span>${first}</span><span>${second}</span></div>
  `;
}

function go() {
  const { draft, sending } = state;
  const lacking = [draft.photos.length ? "" : "a photograph", draft.chosen.length ? "" : "a style"].filter(Boolean).join(" and ");
  return html`
    <section class="go" aria-label="Paint">
      ${state.trouble ? html`<p class="trouble" role="alert">${state.trouble}</p>` : nothing}
      ${draft.from && !sending
        ? html`<p class="note">As before. Change one thing, and paint it again. <button class="quiet" @click=${() => change({ from: null })}>Never mind</button></p>`
        : nothing}
      ${sending
        ? html`<div class="sending">
            <label for="sent">${sending.text}</label>
            <progress id="sent" max="1" .value=${sending.share}></progress>
            <button class="quiet" @click=${giveUp}>Give up</button>
          </div>`
        : html`<button class="main" ?disabled=${Boolean(lacking)} aria-describedby="takes" @click=${paint}>${callOf(draft)}</button>`}
      <p id="takes" class="faint takes">${lacking ? `Choose ${lacking}.` : state.estimate.text}</p>
    </section>
  `;
}

function callOf(draft) {
  const pictures = draft.photos.length * (draft.isRow ? 4 : 1);
  return pictures > 1 ? `Paint ${pictures} pictures` : "Paint";
}

// Dropping

function over(event) {
  event.preventDefault();
  event.currentTarget.classList.add("over");
}

function out(event) {
  event.currentTarget.classList.remove("over");
}

function dropped(take) {
  return (event) => {
    event.preventDefault();
    event.stopPropagation();
    event.currentTarget.classList.remove("over");
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
  };
}
