// What readers are promised: for each objective whether it is kept, what is left of its error budget, and
// how fast that is used.
import { find, make, say, fill, rows, pill, span } from "./page.js";

const percent = (share, digits) => `${(100 * share).toFixed(digits)} %`;

// As many digits as the objective has, and one more: 99.9 % is missed by 99.87 %.
function fine(share, objective) {
  if (share === 1) return "100 %";
  const digits = (String(+(100 * objective).toFixed(4)).split(".")[1] ?? "").length + 1;
  return percent(share, digits);
}

const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

function state({ spent, burning }) {
  if (spent) return "spent";
  return burning ? "burning" : "kept";
}

function budget({ budget_left: left, measured }) {
  if (measured === 0) return "All of the error budget is left";
  if (left < 0) return `The error budget is spent, ${(1 - left).toFixed(1)} times over`;
  return left === 0 ? "The error budget is spent" : `${percent(left, left < 0.1 ? 1 : 0)} of the error budget is left`;
}

function speed({ burning, burn, spent_in_h: hours, spent }) {
  const hour = burn.find(({ window }) => window === "1h").rate;
  const called = burning === "page" ? " So fast that somebody is called." : burning === "ticket" ? " For so long that somebody must look at it." : "";
  if (hour === 0) return `Nothing was missed in the last hour.${called}`;
  const end = hours == null || spent ? "" : ` At that speed it lasts ${span(hours * 3600)}.`;
  return `In the last hour it was used ${hour.toFixed(1)} times as fast as it may be.${end}${called}`;
}

function promise() {
  const [name, word, says, now, left, bar, fast, windows] = [make("b"), pill(), make("p", { class: "soft" }), make("p"), make("p", { class: "left" }), make("meter", { min: 0, max: 1, low: 0.1, high: 0.3, optimum: 1 }), make("p", { class: "soft" }), make("dl", { class: "facts" })];
  const row = make("li", {}, make("p", {}, name, " ", word), says, now, bar, left, fast, windows);
  row.tell = (slo) => {
    row.dataset.state = state(slo);
    say(name, slo.name);
    word.tell(state(slo));
    say(says, `${slo.says}${slo.pages.length ? ` (${slo.pages.join(", ")})` : ""}, over ${slo.period}`);
    const missed = slo.missed_pages === 0 ? "none missed it" : `${count(slo.missed_pages, "page", "pages")} missed it`;
    say(now, slo.kept == null ? "No page was read so far." : `Now ${fine(slo.kept, slo.objective)}; ${missed}.`);
    bar.value = Math.min(1, Math.max(0, slo.budget_left));
    bar.setAttribute("aria-label", `Error budget left of ${slo.name}`);
    bar.textContent = budget(slo);
    say(left, budget(slo));
    say(fast, speed(slo));
    fill(windows, slo.burn, () => slo.burn.map(({ window, rate }) => make("div", {}, make("dt", {}, `Burn in ${window}`), make("dd", {}, `× ${rate < 10 ? rate.toFixed(1) : Math.round(rate)}`))));
  };
  return row;
}

export function promises({ slo }) {
  for (const part of document.querySelectorAll("[data-promises]")) part.hidden = slo.slos.length === 0;
  find("promises-faults").hidden = !slo.faults_stopped;
  say(find("promises-faults"), slo.faults_stopped ?? "");
  rows(find("promises-list"), slo.slos, ({ name }) => name, promise);
}
