// The losses as they fall: one line each, on a logarithmic scale, for only their fall can be compared.
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

/** Of the losses that there is something to draw of. */
function namesOf(losses) {
  const names = [...new Set(losses.flatMap(Object.keys))].filter((name) => !["run", "step", "size"].includes(name));
  return names.filter((name) => losses.some((one) => one[name] > 0));
}

/** Of the ticks of a logarithmic scale, few: 1, 10, 100. */
const tens = (_, ticks) => ticks.map((tick) => (Number.isInteger(Math.round(1e6 * Math.log10(tick)) / 1e6) ? tick : null));

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
    return { width: Math.max(200, this.clientWidth), height: 160 };
  }

  async #draw() {
    const uPlot = await plotter().catch(() => null);
    if (!uPlot || !this.isConnected) return;
    const names = namesOf(this.#losses);
    const data = [
      this.#losses.map(({ step }) => step),
      ...names.map((name) => this.#losses.map((one) => (one[name] > 0 ? one[name] : null))),
    ];
    if (this.#plot && names.join() === this.#names) return this.#plot.setData(data);
    this.#plot?.destroy();
    this.#names = names.join();
    const colour = (name) => getComputedStyle(this).getPropertyValue(name).trim();
    const axis = { stroke: colour("--faint"), ticks: { show: false }, font: "12px system-ui" };
    const steps = { ...axis, grid: { show: false }, size: 26 };
    const heights = { ...axis, grid: { stroke: colour("--line"), width: 1, filter: tens }, size: 56, filter: tens, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : String(Number(tick.toPrecision(1))))) };
    const options = {
      ...this.#size(),
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false }, y: { distr: 3 } },
      axes: [steps, heights],
      series: [{}, ...names.map((name, n) => ({ label: name, stroke: colour(`--series-${n + 1}`), width: 2, spanGaps: true, points: { show: false } }))],
    };
    this.#plot = new uPlot(options, data, this);
  }
}
customElements.define("loss-chart", LossChart);

/** What the lines are of. */
export const termsOf = (losses) => namesOf(losses).map((name) => TERMS[name] ?? name);
