// The one state of the page, and who draws it anew.

const whatAKeyGives = () => ({
  may: null,                // what the key may do, see may.js; null: not known yet
  fleet: null,              // how the deployment fares, for who looks after it, see fleet.js
  shelf: { styles: [], trouble: "", isLoaded: false },
  estimate: { text: "" },
  trouble: "",              // of the studio, in words
  jobs: new Map(),          // views by id
  order: [],                // ids, the newest first
  cursor: null,             // of the next page of the gallery
  isListed: false,
  progress: new Map(),      // the newest of each job that is painted
  choosing: null,           // ids of pictures to compare, while they are chosen
});

export const state = {
  key: null,
  keyTrouble: "",           // why a key is asked for again
  away: new Set(),          // what does not answer: "network", "service"
  route: { view: "studio" },
  draft: null,              // see draft.js
  sending: null,            // { text, share } while pictures and jobs leave
  open: null,               // the job that is looked at, see opened.js
  ...whatAKeyGives(),
};

export const forgetWhatAKeyGave = () => Object.assign(state, whatAKeyGives());

const listeners = new Set();
let isQueued = false;

/** Have the page drawn anew, once for all changes of a moment. */
export function changed() {
  if (isQueued) return;
  isQueued = true;
  queueMicrotask(() => {
    isQueued = false;
    for (const listener of listeners) listener();
  });
}

export function onChange(listener) {
  listeners.add(listener);
}
