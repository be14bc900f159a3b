// How things are said.

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** Seconds as people say them, about. */
export function span(seconds) {
  if (seconds < 1.5) return "1 s";
  if (seconds < 10) return `${Math.round(seconds)} s`;
  if (seconds < 55) return `${Math.round(seconds / 5) * 5} s`;
  if (seconds < 90) return "1 min";
  if (seconds < 3300) return `${Math.round(seconds / 60)} min`;
  const hours = Math.floor((seconds + 300) / 3600);
  const minutes = Math.max(0, Math.round((seconds - hours * 3600) / 600) * 10);
  return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
}

const ORDINALS = ["next", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];

/** The place of one before which so many wait. */
export function place(ahead) {
  return `${ORDINALS[ahead] ?? `number ${ahead + 1}`} in line`;
}

export const METHODS = [
  { id: "fast", name: "Sketch", says: "In seconds, at a glance", recipe: { method: "fast" } },
  { id: "brushwork", name: "Brushwork", says: "Minutes, stroke by stroke", recipe: { method: "optimize", preset: "brushwork" } },
  { id: "painterly", name: "Painterly", says: "Minutes, in soft, broad forms", recipe: { method: "optimize", preset: "painterly" } },
  { id: "gatys-2016", name: "Gatys 2016", says: "As first published", recipe: { method: "optimize", preset: "gatys-2016" } },
  { id: "tf-tutorial", name: "TensorFlow 2019", says: "As in its tutorial", recipe: { method: "optimize", preset: "tf-tutorial" } },
];
/** Methods that have a strength; the others are published recipes, painted as they were. */
export const hasStrength = (method) => ["fast", "brushwork", "painterly"].includes(method);

export const SIZES = [
  { px: 320, name: "Tiny", says: "a quick trial" },
  { px: 512, name: "Small", says: "for a message" },
  { px: 1024, name: "Medium", says: "for a screen" },
  { px: 2048, name: "Large", says: "to print" },
  { px: 4096, name: "Very large", says: "to print as a poster" },
];

/** How large a painting is, by its longer side. */
export function largenessInWords(px) {
  const { name, says } = SIZES.findLast((size) => size.px <= px) ?? SIZES[0];
  return `${name}, ${says}`;
}

export function strengthInWords(strength) {
  if (strength <= 0.2) return "a breath of it";
  if (strength <= 0.4) return "gently";
  if (strength <= 0.6) return "in balance";
  if (strength <= 0.8) return "strongly";
  return "almost only style";
}

const STATES = {
  queued: "Waiting",
  running: "Painting",
  succeeded: "Painted",
  failed: "Not painted",
  cancelled: "Cancelled",
  expired: "Too late",
};

export function stateInWords(job) {
  if (job.state === "succeeded" && job.output?.partial) return "Stopped early";
  if (job.state === "queued" && job.attempt) return "Trying again";
  return STATES[job.state] ?? job.state;
}

const STAGES = { fetching: "Fetching the pictures", painting: "Painting", storing: "Hanging it up" };
export const stageInWords = (stage) => STAGES[stage] ?? "Painting";

const KINDLY = {
  network: ["There is no connection.", "What you have prepared is kept. It goes on by itself once you are back."],
  broker_unavailable: ["The painting service is out of reach of its memory.", "Nothing is lost; this page tries again."],
  store_unavailable: ["The store of pictures does not answer.", "Nothing is lost; this page tries again."],
  stopping: ["The service is being restarted.", "This page tries again."],
  forbidden: ["This key may look, but not paint.", "Ask whoever gave it to you for one that may."],
  rate_limited: ["That was a little fast.", "Wait a moment, and try again."],
  too_many_open_jobs: ["You have as many pictures under way as you may.", "Wait until one is done, or cancel one."],
  queue_full: ["So many wait that no more are taken now.", "Try again in some minutes."],
  job_too_costly: ["That is more painting than one picture may take here.", "Choose a smaller size, or the sketch."],
  job_not_found: ["This picture is not, or no longer, known here.", "It may have been deleted, or was painted under another key."],
  image_not_recognised: ["One of the pictures is none.", "Take another one."],
  image_corrupt: ["One of the pictures is damaged.", "Copy it once more from where it came, or take another one."],
  image_truncated: ["One of the pictures is cut off.", "Copy it once more from where it came, or take another one."],
  image_too_many_pixels: ["One of the pictures is larger than the painter can hold.", "Save it smaller, and try again."],
  image_too_narrow: ["The photograph is so narrow that nothing would be left of it at this size.", "Choose a larger size."],
  out_of_memory: ["The painter ran out of memory.", "Choose a smaller size."],
  insufficient_memory: ["The painter has no memory left.", "Choose a smaller size, or try later."],
  network_unavailable: ["No painter here can paint by this method.", "Choose another one."],
  attempts_exhausted: ["Several tries went wrong.", "Try again; if it goes wrong once more, tell whoever runs the service."],
  time_limit: ["It took longer than a picture may.", "Choose a smaller size, or the sketch."],
  object_not_found: ["A picture is no longer where it was.", "Choose the photograph anew, and paint it again."],
  object_changed: ["A picture was replaced by another since.", "Choose the photograph anew, and paint it again."],
  deadline_passed: ["Its time was over before its turn came.", "Paint it again."],
  cancelled: ["You cancelled it.", ""],
  image_transparent: ["One of the pictures is wholly transparent.", "Take another one."],
};

/** What happened and what to do, for a problem or for the error of a job. */
export function kindly(problem) {
  const [what, hint] = KINDLY[problem.code] ?? [sentence(problem.message), sentence(problem.hint)];
  return { what, hint };
}

function sentence(text) {
  if (!text) return "";
  const whole = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

/** What a picture is, for who does not see it. */
export function title(job) {
  const { photo, style } = job.labels ?? {};
  if (photo && style) return `${bare(photo)}, in the style of ${style}`;
  return photo ? bare(photo) : "A painting";
}

export const bare = (name) => name.replace(/\.[a-z0-9]{2,5}$/i, "");

export const isToday = (text) => new Date(text).toDateString() === new Date().toDateString();

export function moment(text) {
  const then = new Date(text);
  const time = then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return isToday(text) ? time : `${then.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}
