// What the key may do: that decides what the page offers.
import { askJson, Problem } from "./api.js";
import { onLeave } from "./key.js";
import { changed, state } from "./state.js";

const NAME = "stylequeue.may"; // what was known last: a reload without a connection offers the same
const UNKNOWN = { see: true, paint: true, fleet: false, admin: false }; // the service says so where it is not so

onLeave(() => sessionStorage.removeItem(NAME));

/** Ask what the key may do; what was known before in this tab holds meanwhile. */
export async function lookAtKey() {
  state.may ??= JSON.parse(sessionStorage.getItem(NAME));
  const asked = asking();
  if (!state.may || !isKnown()) await asked;
}

async function asking() {
  try {
    const { role, templates, tenant } = await askJson("GET", "/v1/key");
    state.may = {
      see: role !== "monitor",
      // By templates alone: what this page says of a picture they would not take.
      paint: (role === "submit" || role === "admin") && !templates,
      fleet: (role === "monitor" || role === "admin") && tenant === null, // queues and workers are no tenant's
      admin: role === "admin",
    };
    sessionStorage.setItem(NAME, JSON.stringify(state.may));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status !== 401) state.may ??= UNKNOWN; // until it answers: see main.js
  }
  changed();
}

/** Whether it is known, and not only taken to be so. */
export const isKnown = () => state.may !== UNKNOWN;
