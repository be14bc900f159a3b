// A picture painted before, to be painted again with one thing changed.
import { fetchPicture } from "./api.js";
import { change } from "./draft.js";
import { taken } from "./intake.js";
import { kept } from "./keep.js";
import { keyId } from "./key.js";
import { isOurs, settingsOf } from "./recipe.js";
import { state } from "./state.js";

/** Whether this page can say all that the job does: handed in here, or in its words by anybody. */
export function isRepeatable({ made, photo }, { asked, links }) {
  if (made && photo) return true;
  if (!asked || !links.content || asked.keep_mask || asked.styles.length > 2) return false;
  return isOurs(asked.recipe) && asked.styles.every(({ mask }) => !mask);
}

/** Make it the draft. Raises Problem, NotTaken. */
export async function again(job) {
  const sentBy = keyId();
  const made = await kept("made", job.id);
  const blob = made && (await kept("pictures", made.photo.id));
  const before = blob ? { ...made.settings, photos: [{ ...made.photo, blob }], ownStyles: made.ownStyles } : await asAsked(job, sentBy);
  if (keyId() !== sentBy) return; // by another key it may not be seen
  change({ ...before, isRow: false, from: job.id });
  location.hash = "";
}

/** As another browser handed it in, or a program. */
async function asAsked({ asked, labels, links, created_at: createdAt }, sentBy) {
  // It came before the job: when it goes is not put off.
  const sent = { sentAt: Date.parse(createdAt), sentBy };
  const photo = await fetched(links.content, labels.photo ?? "photograph", asked.content, sent);
  const called = labels.style?.split(" and ") ?? [];
  const styles = await Promise.all(
    asked.styles.map(async ({ image }, n) => {
      const id = `shelf:${image.bucket}/${image.key}`;
      return state.shelf.styles.some((one) => one.id === id) ? { id } : fetched(links.styles[n], called[n] ?? "style", image, sent);
    }),
  );
  const [first, second] = asked.styles.map(({ weight }) => weight);
  return {
    ...settingsOf(asked.recipe),
    photos: [photo],
    ownStyles: styles.filter(({ blob }) => blob),
    chosen: styles.map(({ id }) => id),
    share: second ? second / (first + second) : 0.5,
  };
}

/** A picture that lies in the store, as if it had been chosen here and sent there. */
async function fetched(link, name, image, sent) {
  const { blob } = await fetchPicture(link);
  return { ...(await taken(new File([blob], name))), image, ...sent };
}
