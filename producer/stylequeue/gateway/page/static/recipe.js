// From what was chosen to what the service paints by.
import { hasStrength, METHODS } from "./words.js";

export const ROW = [0.25, 0.5, 0.75, 1];

export function recipeOf(draft, strength) {
  const { recipe } = METHODS.find(({ id }) => id === draft.method);
  return {
    ...recipe,
    size: draft.size,
    ...(hasStrength(draft.method) ? { strength } : {}),
    ...(draft.colours === "style" ? {} : { colours: draft.colours }),
  };
}

/** Each of them is a picture. */
export function strengthsOf(draft) {
  return draft.isRow && hasStrength(draft.method) ? ROW : [draft.strength];
}

const WORDS = ["method", "preset", "size", "strength", "colours"];

/** Whether a recipe can be said by this page's settings. */
export function isOurs(recipe) {
  const isMethod = METHODS.some(({ id }) => id === (recipe.method === "fast" ? "fast" : recipe.preset));
  return isMethod && Object.keys(recipe).every((name) => WORDS.includes(name));
}

/** The settings of a recipe, as the draft has them. */
export function settingsOf(recipe) {
  return {
    method: recipe.method === "fast" ? "fast" : recipe.preset,
    size: recipe.size ?? 512,
    strength: recipe.strength ?? (recipe.method === "fast" ? 1 : 0.5),
    colours: recipe.colours ?? "style",
  };
}
