// Says to who does not see the page what happens on it, at most every five seconds; what is said last counts.

const EVERY_MS = 5000;
let spokeAt = -Infinity;
let timer;

export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    spokeAt = performance.now();
    const there = document.getElementById("said");
    if (there.textContent !== text) there.textContent = text;
  }, Math.max(0, spokeAt + EVERY_MS - performance.now()));
}
