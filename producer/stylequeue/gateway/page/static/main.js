// Where it begins: the key, the draft, the address, and what is drawn of them.
import { addPhotos, loadDraft } from "./draft.js";
import { refreshEstimate } from "./estimate.js";
import { followFleet } from "./fleet.js";
import { followJobs, listAround, lookAt, refreshSoon } from "./jobs.js";
import { madeAt } from "./keep.js";
import { onLeave, takeKey } from "./key.js";
import { isKnown, lookAtKey } from "./may.js";
import { close, open } from "./opened.js";
import { loadShelf } from "./shelf.js";
import { changed, onChange, state } from "./state.js";
import { Problem, setAway } from "./api.js";
import { render } from "./vendor/lit-html.js";
import { closeComparison } from "./views/compare.js";
import { wantAgain } from "./views/gallery.js";
import { page } from "./views/page.js";
import { kindly, title } from "./words.js";

const RETRY_MS = 4000;

function draw() {
  render(page(), document.getElementById("page"));
  document.title = titleOf();
}

function titleOf() {
  const job = state.open && state.jobs.get(state.open.id);
  if (!job) return "stylequeue";
  const progress = state.progress.get(job.id);
  const share = job.state === "running" && progress?.steps ? `${Math.round((100 * progress.step) / progress.steps)} % · ` : "";
  return `${share}${title(job)} · stylequeue`;
}

/** The view that the address names. */
function route() {
  if (new URLSearchParams(location.hash.slice(1)).has("key")) {
    takeKey();
    begin();
  }
  const parts = new URLSearchParams(location.hash.slice(1));
  const before = state.route;
  if (parts.has("job")) state.route = { view: "job", id: parts.get("job") };
  else if (parts.has("set")) state.route = { view: "set", id: parts.get("set") };
  else if (parts.has("compare")) state.route = { view: "compare", ids: parts.get("compare").split(",").slice(0, 2) };
  else state.route = { view: "studio" };
  state.choosing = null;
  state.trouble = "";
  show();
  if (before.view !== state.route.view || before.id !== state.route.id) {
    scrollTo({ top: 0 });
    // Who does not see the page is told where it is now.
    queueMicrotask(() => document.querySelector("main h1")?.focus({ preventScroll: true }));
  }
}

function show() {
  const { view, id, ids } = state.route;
  if (view !== "job" || state.open?.id !== id) close();
  closeComparison();
  changed();
  if (!state.key || !state.may?.see) return;
  if (view === "job" && !state.open) open(id);
  if (view === "compare") for (const one of ids) lookAt(one).catch(tell);
  if (view === "set" && madeAt(id) !== null) listAround(madeAt(id)).catch(tell);
}

function tell(error) {
  if (!(error instanceof Problem)) throw error;
  if (error.status === 401) return; // a key is asked for
  state.trouble = kindly(error).what;
  changed();
}

let hasBegun = false;
onLeave(() => {
  hasBegun = false;
});

/** All that takes a key. */
async function begin() {
  if (!state.key || !state.draft || hasBegun) return;
  hasBegun = true;
  await lookAtKey();
  if (state.may) followAll(); // else the key was left
}

function followAll() {
  if (state.may.see) followJobs();
  if (state.may.paint) {
    if (!state.shelf.isLoaded) loadShelf();
    refreshEstimate();
  }
  if (state.may.fleet || state.may.admin) followFleet();
  show();
}

// What is asked for again once it may answer.
setInterval(async () => {
  if (state.key && navigator.onLine && !isKnown()) {
    await lookAtKey();
    if (state.may && isKnown()) followAll();
  }
  if (state.key && state.away.size && navigator.onLine) {
    if (state.may?.see) refreshSoon();
    if (state.may?.paint && !state.shelf.isLoaded) loadShelf();
  }
}, RETRY_MS);

addEventListener("hashchange", route);
addEventListener("offline", () => setAway("network", true));
addEventListener("online", () => {
  setAway("network", false);
  if (state.may?.see) refreshSoon();
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length || !state.may?.paint || state.route.view !== "studio") return;
  event.preventDefault();
  addPhotos(files);
});
// What misses its place must not take the page away.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

onChange(() => {
  begin();
  if (state.draft) draw();
  wantAgain();
});
await loadDraft();
takeKey();
route();
begin();
