// Two pictures of one thing, one over the other, and a line to draw between them.
import { html } from "../vendor/lit-html.js";

const ENLARGED = 2; // at most: beyond, pixels are seen

/** The style of what is `fitted`. */
export const shapeOf = ({ ratio, width }) => `--ratio: ${ratio}${width ? `; --widest: ${ENLARGED * width}px` : ""}`;

/** `left` and `right`: `{ url, alt, called }`; the right one gives the shape, its `ratio` is width over height, and
 * its `width` in pixels says how large it is shown at most. */
export function slider(left, right) {
  return html`
    <figure class="slider fitted" .style=${shapeOf(right)}>
      <div class="pair">
        <img src=${right.url} alt=${right.alt} />
        <img class="upper" src=${left.url} alt=${left.alt} />
        <span class="line" aria-hidden="true"></span>
        <input
          type="range" min="0" max="100" step="1" value="50"
          aria-label="How much is shown of ${left.called} and of ${right.called}"
          aria-valuetext="Half of each"
          @input=${moved}
        />
      </div>
      <figcaption class="ends"><span>${left.called}</span><span>${right.called}</span></figcaption>
    </figure>
  `;

  function moved({ target }) {
    target.parentElement.style.setProperty("--at", `${target.value}%`);
    target.setAttribute("aria-valuetext", `${target.value} percent ${left.called}, the rest ${right.called}`);
  }
}
