// How it is painted.
import { html, nothing } from "../vendor/lit-html.js";
import { change } from "../draft.js";
import { state } from "../state.js";
import { hasStrength, METHODS, SIZES, strengthInWords } from "../words.js";

const SHOWN = 3; // methods that all see; the others are for who looks for them

export function settings() {
  const { draft } = state;
  return html`
    <section class="settings" aria-label="Settings">
      <fieldset class="methods">
        <legend>Method</legend>
        ${METHODS.slice(0, SHOWN).map(method)}
      </fieldset>
      ${hasStrength(draft.method) ? strength(draft) : html`<p class="faint">A published recipe: it is painted as strongly as it was then.</p>`}
      <label class="field" for="size">Size</label>
      <select id="size" @change=${(event) => change({ size: Number(event.target.value) })}>
        ${sizes(draft.size).map(({ px, name }) => html`<option value=${px} ?selected=${px === draft.size}>${name}, ${px} pixels</option>`)}
      </select>
      <details>
        <summary>More</summary>
        <label class="field" for="colours">Colours</label>
        <select id="colours" @change=${(event) => change({ colours: event.target.value })}>
          ${Object.entries(COLOURS).map(([id, name]) => html`<option value=${id} ?selected=${id === draft.colours}>${name}</option>`)}
        </select>
        ${hasStrength(draft.method)
          ? html`<label class="check">
              <input type="checkbox" .checked=${draft.isRow} @change=${(event) => change({ isRow: event.target.checked })} />
              <span>A row of four strengths, side by side</span>
            </label>`
          : nothing}
        <fieldset class="methods">
          <legend>Published recipes</legend>
          ${METHODS.slice(SHOWN).map(method)}
        </fieldset>
      </details>
    </section>
  `;
}

const COLOURS = { style: "The style’s", luminance: "The photograph’s own", match: "The style’s, brought over first" };

const sizes = (px) => (SIZES.some((size) => size.px === px) ? SIZES : [...SIZES, { px, name: "As it was" }]);

function method({ id, name, says }) {
  return html`
    <label class="method">
      <input type="radio" name="method" value=${id} .checked=${state.draft.method === id} @change=${() => change({ method: id })} />
      <span><span class="called">${name}</span> <span class="faint">${says}</span></span>
    </label>
  `;
}

function strength({ strength, isRow }) {
  if (isRow) return html`<p class="faint">Strength: 25, 50, 75 and 100 %.</p>`;
  return html`
    <label class="field" for="strength">Strength <output>${Math.round(100 * strength)} %</output></label>
    <input
      id="strength" type="range" min="0.05" max="1" step="0.05" .value=${String(strength)}
      aria-valuetext="${Math.round(100 * strength)} percent, ${strengthInWords(strength)}"
      @input=${(event) => change({ strength: Number(event.target.value) })}
    />
    <div class="ends"><span>The photograph</span><span>The style</span></div>
  `;
}
