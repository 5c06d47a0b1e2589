// The charts and the time machine over them. What they show is the same list of seconds.
import { find, make, say, clock, span, milliseconds, perSecond, complete } from "./page.js";

const KEPT = 4000;
const round = (value, digits) => (value == null ? "–" : value.toFixed(digits));

// name of the chart: its lines (label, colour, value of a second) and how its last value is written
const KINDS = {
  load: { lines: [["pages/s", "--line-1", perSecond]], text: (beat) => round(perSecond(beat), 1), zero: true },
  time: {
    lines: [["95 of 100", "--line-2", (beat) => beat.p95_ms], ["half", "--line-1", (beat) => beat.p50_ms]],
    text: (beat) => (beat.p95_ms == null ? "–" : `95 of 100 in ${milliseconds(beat.p95_ms)}, half in ${milliseconds(beat.p50_ms)}`),
    zero: true,
  },
  level: { lines: [["level", "--line-3", (beat) => beat.level]], text: (beat) => String(beat.level), steps: true },
  complete: { lines: [["complete", "--line-4", complete]], text: (beat) => round(complete(beat), 1), range: [0, 100] },
};

export class Charts {
  constructor() {
    this.beats = [];
    this.span = 600;
    this.at = null;
    this.plots = {};
    this.machine = find("machine");
    this.machine.addEventListener("input", () => this.travel(Number(this.machine.value)));
    find("machine-now").addEventListener("click", () => this.present());
    for (const choice of document.querySelectorAll("input[name=range]")) {
      choice.addEventListener("change", () => {
        this.span = Number(choice.value);
        this.present();
      });
    }
    const watcher = new ResizeObserver(() => this.resize());
    for (const kind of Object.keys(KINDS)) watcher.observe(find(`${kind}-chart`));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
  }

  last() {
    return this.beats.at(-1)?.at_ms ?? 0;
  }

  add(beat) {
    this.addAll([beat]);
  }

  addAll(beats) {
    const last = this.last();
    const newer = beats.filter(({ at_ms }) => at_ms > last);
    // what was missed may come after what is newer
    const older = last ? beats.filter(({ at_ms }) => at_ms < (this.beats[0]?.at_ms ?? 0)) : [];
    if (newer.length + older.length === 0) return;
    this.beats = [...older, ...this.beats, ...newer].slice(-KEPT);
    this.draw();
  }

  shown() {
    const end = this.last();
    return this.beats.filter(({ at_ms }) => at_ms > end - this.span * 1000);
  }

  draw() {
    const shown = this.shown();
    if (!window.uPlot || shown.length === 0) return;
    for (const [kind, { lines, text }] of Object.entries(KINDS)) {
      const data = [shown.map(({ at_ms }) => at_ms / 1000), ...lines.map(([, , value]) => shown.map((beat) => value(beat) ?? null))];
      if (!this.plots[kind]) this.plots[kind] = this.plot(kind, data);
      else this.plots[kind].setData(data);
      say(find(`${kind}-value`), text(shown.at(-1)));
    }
    this.machine.max = shown.length - 1;
    if (this.at == null) this.machine.value = shown.length - 1;
    else this.machine.value = Math.max(0, shown.findIndex(({ at_ms }) => at_ms >= this.at));
    this.machine.setAttribute("aria-valuetext", this.at == null ? "now" : clock(this.at));
  }

  plot(kind, data) {
    const { lines, steps, zero, range } = KINDS[kind];
    const place = find(`${kind}-chart`);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--rule"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const series = lines.map(([label, name]) => ({
      label, stroke: colour(name), width: 2, points: { show: !steps && kind !== "load", size: 3, fill: colour(name) }, spanGaps: false,
      fill: lines.length === 1 ? `${colour(name)}22` : undefined,
      paths: steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
    }));
    const y = range ? { range: () => [0, 100] } : steps ? { range: (_, low, high) => [0, Math.max(2, high + 1)] } : zero ? { range: (_, low, high) => [0, Math.max(high * 1.15, 1)] } : {};
    const mark = (plot) => {
      if (this.at == null) return;
      const x = Math.round(plot.valToPos(this.at / 1000, "x", true));
      plot.ctx.save();
      plot.ctx.fillStyle = colour("--ink");
      plot.ctx.fillRect(x, plot.bbox.top, 2, plot.bbox.height);
      plot.ctx.restore();
    };
    return new uPlot({
      width: Math.max(place.clientWidth, 200), height: 150, legend: { show: false },
      cursor: { sync: { key: "time" }, y: false, drag: { x: false, y: false } },
      scales: { x: { range: () => [this.last() / 1000 - this.span, this.last() / 1000] }, y }, series: [{}, ...series],
      axes: [{ ...axis, size: 26, space: 70, values: (_, ticks) => ticks.map((s) => new Date(s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })) }, { ...axis, size: 44, space: 34, incrs: steps ? [1, 2, 5, 10, 20] : undefined }],
      hooks: { draw: [mark], ready: [(plot) => plot.over.addEventListener("click", () => this.travel(plot.cursor.idx))] },
    }, data, place);
  }

  resize() {
    for (const [kind, plot] of Object.entries(this.plots)) {
      const width = find(`${kind}-chart`).clientWidth;
      if (width && Math.abs(width - plot.width) > 1) plot.setSize({ width, height: 150 });
    }
  }

  rebuild() {
    for (const plot of Object.values(this.plots)) plot.destroy();
    this.plots = {};
    this.draw();
  }

  // ---- the time machine ----

  travel(index) {
    const shown = this.shown();
    const beat = shown[index];
    if (!beat) return;
    if (index === shown.length - 1) return this.present();
    this.at = beat.at_ms;
    find("machine-now").disabled = false;
    const share = complete(beat);
    const list = (names, none) => (names.length ? names.join(", ") : none);
    const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
    const moment = find("moment");
    moment.hidden = false;
    moment.replaceChildren(
      make("p", {}, make("b", {}, clock(beat.at_ms)), ` ${span((this.last() - beat.at_ms) / 1000)} ago`, beat.span_s > 2 ? `, the worst of ${Math.round(beat.span_s)} s` : ""),
      make("dl", { class: "facts" },
        fact("Level", String(beat.level)),
        fact("Pages a second", round(perSecond(beat), 1)),
        fact("95 of 100 within", milliseconds(beat.p95_ms)),
        fact("Complete", share == null ? "–" : `${round(share, 1)} %`),
        fact("Work waited", milliseconds(beat.queue_delay_ms)),
        fact("Not as declared for somebody", list(beat.missing, "nothing")),
        fact("Origins left alone", list(beat.sick, "none"))));
    this.draw();
    for (const plot of Object.values(this.plots)) plot.redraw();
  }

  present() {
    this.at = null;
    find("machine-now").disabled = true;
    find("moment").hidden = true;
    this.draw();
    for (const plot of Object.values(this.plots)) plot.redraw();
  }
}
