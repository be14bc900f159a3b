// The styles that are there to choose from, with small pictures that are made here and kept.
import { askJson, fetchStored, Problem } from "./api.js";
import { changed, state } from "./state.js";
import { thumbOf } from "./thumbs.js";
import { kindly } from "./words.js";

export async function loadShelf() {
  try {
    const { styles } = await askJson("GET", "/v1/styles");
    state.shelf = { styles: styles.map(({ name, image, url }) => ({ id: `shelf:${image.bucket}/${image.key}`, name: name.replace(/[-_]/g, " "), image, url })), trouble: "", isLoaded: true };
    changed();
    await Promise.all(state.shelf.styles.map(addThumb));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    state.shelf.trouble = kindly(error).what;
    changed();
  }
}

async function addThumb(style) {
  style.thumb = await thumbOf(`style:${style.image.etag}`, async () => (await fetchStored(style.url)).blob);
  changed();
}
