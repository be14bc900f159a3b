// The losses as they fall: one line each, on a logarithmic scale, for only their fall can be compared.
import { nothing } from "../vendor/lit-html.js";

const TERMS = { content: "the photograph", style: "the style", matching: "its strokes", variation: "smoothness" };
let loading;

/** uPlot, which is loaded when it is first needed. */
function plotter() {
  loading ??= new Promise((resolve, reject) => {
    const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: "page/vendor/uPlot.min.css" });
    const script = Object.assign(document.createElement("script"), { src: "page/vendor/uPlot.iife.min.js" });
    script.onload = () => resolve(window.uPlot);
    script.onerror = () => {
      loading = undefined;
      reject(new Error("the chart could not be loaded"));
    };
    document.head.append(sheet, script);
  });
  return loading;
}

class LossChart extends HTMLElement {
  #plot = null;
  #names = "";
  #losses = [];
  #sizes = new ResizeObserver(() => this.#plot?.setSize(this.#size()));

  connectedCallback() {
    this.#sizes.observe(this);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.#anew);
  }

  disconnectedCallback() {
    this.#sizes.disconnect();
    matchMedia("(prefers-color-scheme: dark)").removeEventListener("change", this.#anew);
    this.#plot?.destroy();
    this.#plot = null;
  }

  set losses(losses) {
    if (losses === this.#losses) return;
    this.#losses = losses;
    this.#draw();
  }

  #anew = () => {
    this.#names = "";
    this.#draw();
  };

  #size() {
    return { width: Math.max(200, this.clientWidth), height: 180 };
  }

  async #draw() {
    const uPlot = await plotter().catch(() => null);
    if (!uPlot || !this.isConnected) return;
    const names = [...new Set(this.#losses.flatMap(Object.keys))].filter((name) => !["run", "step", "size"].includes(name));
    const data = [
      this.#losses.map(({ step }) => step),
      ...names.map((name) => this.#losses.map((one) => (one[name] > 0 ? one[name] : null))),
    ];
    if (this.#plot && names.join() === this.#names) return this.#plot.setData(data);
    this.#plot?.destroy();
    this.#names = names.join();
    const colour = (name) => getComputedStyle(this).getPropertyValue(name).trim();
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const options = {
      ...this.#size(),
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false }, y: { distr: 3 } },
      axes: [axis, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : String(Number(tick.toPrecision(1))))) }],
      series: [{}, ...names.map((name, n) => ({ label: name, stroke: colour(`--series-${n + 1}`), width: 2, points: { show: false } }))],
    };
    this.#plot = new uPlot(options, data, this);
  }
}
customElements.define("loss-chart", LossChart);

/** What the lines are, and how far each has fallen: for all, and for who sees no chart. */
export function legendOf(losses) {
  const [first, last] = [losses[0], losses.at(-1)];
  if (!last) return nothing;
  return Object.keys(last)
    .filter((name) => !["run", "step", "size"].includes(name))
    .map((name) => ({ name: TERMS[name] ?? name, fell: first[name] > 0 ? 1 - last[name] / first[name] : 0 }));
}
