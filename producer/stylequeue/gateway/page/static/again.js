// A picture painted before, to be painted again with one thing changed.
import { change } from "./draft.js";
import { kept } from "./keep.js";

export async function again(jobId) {
  const made = await kept("made", jobId);
  const blob = await kept("pictures", made.photo.id);
  if (!blob) return;
  change({
    ...made.settings,
    photos: [{ ...made.photo, blob }],
    ownStyles: made.ownStyles,
    isRow: false,
    from: jobId,
  });
  location.hash = "";
}
