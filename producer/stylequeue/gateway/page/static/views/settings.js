// How it is painted.
import { html, nothing } from "../vendor/lit-html.js";
import { change } from "../draft.js";
import { state } from "../state.js";
import { hasStrength, METHODS, SIZES, strengthInWords } from "../words.js";

const SHOWN = 3; // methods that all see; the others are for who looks for them
let isMoreOpen = false; // as it was left; what is chosen in it opens it, too

export function settings() {
  const { draft } = state;
  const within = chosenWithin(draft);
  return html`
    <section class="settings" aria-label="Settings">
      <fieldset class="methods">
        <legend>Method</legend>
        ${METHODS.slice(0, SHOWN).map(method)}
      </fieldset>
      ${hasStrength(draft.method) ? strength(draft) : html`<p>${nameOf(draft.method)} <span class="faint">As the authors published it; strength is fixed.</span></p>`}
      <label class="field" for="size">Size</label>
      <select id="size" @change=${(event) => change({ size: Number(event.target.value) })}>
        ${sizes(draft.size).map(({ px, name, says }) => html`<option value=${px} ?selected=${px === draft.size}>${name}${says ? `: ${says}` : ""}, ${px} pixels</option>`)}
      </select>
      <details ?open=${isMoreOpen || within.length > 0} @toggle=${({ target }) => { isMoreOpen = target.open; }}>
        <summary>More${within.length ? html`<span>: ${within.join(", ")}</span>` : nothing}</summary>
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

/** What is chosen of what lies under "More". */
function chosenWithin({ method, colours, isRow }) {
  return [
    colours === "style" ? "" : `colours: ${COLOURS[colours].toLowerCase()}`,
    isRow && hasStrength(method) ? "four strengths" : "",
    METHODS.slice(SHOWN).some(({ id }) => id === method) ? nameOf(method) : "",
  ].filter(Boolean);
}

const nameOf = (method) => METHODS.find(({ id }) => id === method).name;

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
      id="strength" type="range" min="0" max="1" step="0.05" .value=${String(strength)}
      aria-valuetext="${Math.round(100 * strength)} percent, ${strengthInWords(strength)}"
      @input=${(event) => change({ strength: Number(event.target.value) })}
    />
    <div class="ends"><span>The photograph</span><span>The style</span></div>
  `;
}
