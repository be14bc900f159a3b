// What painting would take, before anybody presses.
import { askJson, Problem } from "./api.js";
import { changed, state } from "./state.js";
import { recipeOf, strengthsOf } from "./recipe.js";
import { count, span } from "./words.js";

let waiting;
let asking;

/** Ask anew, once nothing has changed for a moment. */
export function refreshEstimate() {
  clearTimeout(waiting);
  waiting = setTimeout(estimate, 250);
}

async function estimate() {
  asking?.abort();
  const { draft } = state;
  if (!state.may?.paint || !draft.photos.length) return show("");
  asking = new AbortController();
  const { signal } = asking;
  const strengths = strengthsOf(draft);
  const { width, height } = draft.photos[0];
  const body = {
    recipe: recipeOf(draft, strengths[0]),
    content: { width_px: width, height_px: height },
    styles: Math.max(1, draft.chosen.length),
  };
  try {
    const answer = await askJson("POST", "/v1/estimate", { body, signal });
    if (!signal.aborted) show(inWords(answer, draft.photos.length * strengths.length));
  } catch (error) {
    if (error instanceof Problem) show("");
  }
}

function show(text) {
  state.estimate = { text };
  changed();
}

function inWords({ paint_s: paintS, wait_s: waitS, workers }, pictures) {
  if (!workers) return "No painter is at work just now: it waits until one is.";
  if (paintS === null) return "How long it takes is not known yet: nothing like it was painted here so far.";
  const all = paintS * Math.ceil(pictures / workers);
  const takes = `About ${span(all)}${pictures > 1 ? ` for ${count(pictures, "picture")}` : ""}`;
  return `${takes}, ${waitS > 2 ? `after a wait of about ${span(waitS)}` : "and it begins at once"}.`;
}
