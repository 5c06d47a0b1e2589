// What goes wrong on purpose: which faults are in force, which the site declares, and which are over; and
// what a fault that is to be set says of itself.
import { decides, find, make, say, fill, span } from "./page.js";
import { decide } from "./decide.js";

const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

const had = ({ pages, requests }) => `${count(pages, "page", "pages")} and ${count(requests, "request", "requests")} have had it`;

export function faults({ chaos }) {
  const { faults: inForce, declared, past, forbidden } = chaos;
  find("faults-forbidden").hidden = !forbidden;
  say(find("faults-forbidden"), forbidden ?? "");
  for (const button of document.querySelectorAll("button[data-act=fault]")) {
    button.disabled = Boolean(forbidden);
    decides(button);
  }
  fill(find("faults-list"), inForce, () => {
    if (inForce.length === 0) return [make("li", { class: "soft" }, "None: nothing goes wrong on purpose.")];
    return inForce.map((one) => make("li", { "data-fault": one.name },
      make("p", {}, make("b", {}, `${one.name}: `), one.says),
      make("p", { class: "soft" }, `${one.fault.owner}: ${one.fault.reason}`),
      make("p", { class: "soft" }, `${span(one.left_s)} left; ${had(one)}, of ${one.fault.pages_max.toLocaleString("en")} pages that may`),
      decides(make("button", { class: "quiet", "aria-label": `End the fault ${one.name}`, on: { click: () => decide("calm", { one }) } }, "End…"))));
  });
  const waiting = declared.filter(({ name }) => !inForce.some((one) => one.name === name));
  find("faults-declared").hidden = waiting.length === 0;
  fill(find("faults-declared-list"), [waiting, Boolean(forbidden)], () => waiting.map((one) => make("li", { "data-fault": one.name },
    make("p", {}, make("b", {}, `${one.name}: `), one.says),
    make("p", { class: "soft" }, `${one.owner}: ${one.reason}; ${one.from ? `begins ${new Date(one.from).toLocaleString()}` : `for ${one.lasts}`}`),
    decides(make("button", { class: "quiet", disabled: Boolean(forbidden), "aria-label": `Begin the fault ${one.name}`, on: { click: () => decide("begin", { one }) } }, "Begin…")))));
  find("faults-past").hidden = past.length === 0;
  fill(find("faults-past-list"), past, () => past.slice(0, 5).map((one) => make("li", { "data-fault": one.name },
    make("p", {}, make("b", {}, `${one.name}: `), one.says),
    make("p", { class: "soft" }, `${one.how} ${new Date(one.ended).toLocaleTimeString()}: ${one.why}; ${had(one)}`))));
}
