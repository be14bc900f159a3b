// What is about to be painted: photographs, styles, settings. Kept over reloads as it is changed.
import { refreshEstimate } from "./estimate.js";
import { taken, NotTaken } from "./intake.js";
import { keep, kept } from "./keep.js";
import { onLeave } from "./key.js";
import { changed, state } from "./state.js";
import { bare } from "./words.js";

export const MAX_PHOTOS = 12;
const MAX_OWN_STYLES = 12;
const MAX_CHOSEN = 2;

export const emptyDraft = () => ({
  photos: [],       // records of intake.js; once sent with `image`, `sentAt`, and `sentBy`, the key's name
  ownStyles: [],    // likewise
  chosen: [],       // ids of styles, two at most: of the shelf "shelf:KEY", else of own ones
  share: 0.5,       // of the second of two styles
  method: "brushwork",
  strength: 0.5,
  size: 512,
  colours: "style",
  isRow: false,     // a row of strengths, side by side
  from: null,       // the job that this one changes
});

export async function loadDraft() {
  state.draft = { ...emptyDraft(), ...(await kept("draft", "draft")) };
  changed();
}

onLeave(() => {
  const { draft } = state;
  if (!draft) return;
  for (const record of [...draft.photos, ...draft.ownStyles]) {
    for (const name of ["image", "sentAt", "sentBy"]) delete record[name];
  }
  change({ from: null });
});

let saving;
/** Change the draft. */
export function change(fields) {
  Object.assign(state.draft, fields);
  state.trouble = "";
  clearTimeout(saving);
  saving = setTimeout(saveDraft, 150);
  refreshEstimate();
  changed();
}

export const saveDraft = () => keep("draft", "draft", state.draft);

/** Take in what was dropped, pasted or picked as photographs. */
export async function addPhotos(files) {
  const { good, bad } = await all(files);
  const photos = [...state.draft.photos, ...good];
  change({ photos: photos.slice(-MAX_PHOTOS), ...(good.length ? { from: null } : {}) });
  if (photos.length > MAX_PHOTOS) bad.push(`At most ${MAX_PHOTOS} photographs are painted at once; the first were left out.`);
  tell(bad);
}

/** Likewise as styles, and choose them. */
export async function addStyles(files) {
  const { good, bad } = await all(files);
  const ownStyles = [...good, ...state.draft.ownStyles].slice(0, MAX_OWN_STYLES);
  change({ ownStyles, chosen: [...state.draft.chosen, ...good.map(({ id }) => id)].slice(-1) });
  tell(bad);
}

async function all(files) {
  const good = [];
  const bad = [];
  for (const file of files) {
    try {
      good.push(await taken(file));
    } catch (error) {
      if (!(error instanceof NotTaken)) throw error;
      bad.push(error.message);
    }
  }
  return { good, bad };
}

function tell(bad) {
  if (bad.length) {
    state.trouble = bad.join(" ");
    changed();
  }
}

export const removePhoto = (id) => change({ photos: state.draft.photos.filter((photo) => photo.id !== id) });

export function removeStyle(id) {
  change({
    ownStyles: state.draft.ownStyles.filter((style) => style.id !== id),
    chosen: state.draft.chosen.filter((one) => one !== id),
  });
}

/** Choose a style, or leave it; a third takes the place of the one chosen first. */
export function toggleStyle(id) {
  const { chosen } = state.draft;
  change({ chosen: chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-MAX_CHOSEN) });
}

/** All styles there are: `{ id, name, blob?, thumb?, image?, own }`, own ones first. */
export function styles() {
  const own = state.draft.ownStyles.map((style) => ({ ...style, name: bare(style.name), own: true }));
  return [...own, ...state.shelf.styles];
}

export function chosenStyles() {
  const byId = new Map(styles().map((style) => [style.id, style]));
  return state.draft.chosen.map((id) => byId.get(id)).filter(Boolean);
}
