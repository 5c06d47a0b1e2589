// The dashboard: listens to the server, and shows what it tells. What is decided is in decide.js.
import { decides, find, make, say, fill, rows, clock, span, milliseconds, perSecond, complete, pill } from "./page.js";
import { Charts } from "./charts.js";
import { decide, takeBack, dialled } from "./decide.js";
import { frames } from "./frames.js";
import { readJournal } from "./journal.js";
import { faults } from "./faults.js";
import { promises } from "./promises.js";

const WORDS = { fine: "Readers are fine", reduced: "Readers get less", hurt: "Readers are hurt" };
let picture = null;
let dials = null;
const now = () => picture;
const charts = new Charts();

function readers({ readers, says, now: beat }) {
  find("readers").dataset.state = readers;
  say(find("readers-word"), WORDS[readers]);
  say(find("readers-says"), says);
  document.title = `${readers === "fine" ? "✓" : "▲"} ${WORDS[readers]} — marbre`;
  const share = complete(beat);
  find("now-pages").textContent = perSecond(beat).toFixed(perSecond(beat) < 10 ? 1 : 0);
  find("now-p95").textContent = milliseconds(beat.p95_ms);
  find("now-complete").textContent = share == null ? "–" : `${share.toFixed(share > 99.9 || share < 10 ? 0 : 1)} %`;
  find("now-queue").textContent = milliseconds(beat.queue_delay_ms);
}

function givenUp({ level, why, blocks, mode }) {
  say(find("level-number"), String(level.level));
  find("level-number").dataset.level = level.level === 0 ? "full" : "less";
  say(find("level-called"), level.level === 0 ? "full page" : `of ${level.text_only}: without ${level.called}${level.level > 1 ? " and what goes before" : ""}`);
  say(find("level-why"), why);
  const gone = blocks.filter(({ state }) => ["shed", "partly", "off", "missing", "open", "thinned", "stand_in"].includes(state));
  // what the level has taken is explained above, the others have causes of their own
  const own = ({ state, cause }) => (cause && !["shed", "partly"].includes(state) ? cause : null);
  fill(find("given-list"), gone.map((block) => [block.name, block.state, own(block)]), () => gone.map((block) => {
    const word = pill();
    word.tell(block.state);
    return make("li", {}, make("b", {}, block.name), " ", word, own(block) ? make("span", { class: "soft" }, ` ${own(block)}`) : null);
  }));
  const notes = { off: "Degradation is off on this site: nothing is given up by itself.", "dry-run": "Dry run: the law only says what it would give up." };
  find("level-mode").hidden = !notes[mode];
  say(find("level-mode"), notes[mode] ?? "");
}

// What operators keep from readers: that does not come back before it ends, or is taken back.
function keptAway({ switches, level, blocks }) {
  const off = new Set(blocks.filter(({ state }) => state === "off").map(({ name }) => `block/${name}`));
  return switches.switches.filter(({ subject }) => (["pin", "floor"].includes(subject) && level.level > 0) || off.has(subject));
}

function acts(picture) {
  const { act, slo } = picture;
  const kept = keptAway(picture);
  const burning = slo.slos.filter(({ burning }) => burning === "page").map(({ name }) => name);
  fill(find("act-list"), [act.map(({ since_s, ...rest }) => [rest, Math.round(since_s / 10)]), kept.map(({ says, owner }) => [says, owner]), burning], () => {
    const sick = act.map(({ origin, owner, what, blocks, since_s }) => make("li", {},
      make("p", {}, make("b", {}, owner ?? "nobody is declared as its owner"), " must look at ", make("b", {}, origin)),
      make("p", { class: "soft" }, `${what}; for ${span(since_s)}`),
      blocks.length ? make("p", { class: "soft" }, `It answers for ${blocks.join(", ")}.`) : null));
    const decided = kept.map(({ owner, says, until }) => make("li", {},
      make("p", {}, make("b", {}, owner), " has decided: ", make("b", {}, says)),
      make("p", { class: "soft" }, until ? "It comes back when that ends, or is taken back below." : "It comes back when that is taken back below.")));
    const spent = burning.map((name) => make("li", {},
      make("p", {}, make("b", {}, "Whoever is on call"), " must look at the objective ", make("b", {}, name)),
      make("p", { class: "soft" }, "Its error budget is used too fast.")));
    const all = [...sick, ...decided, ...spent];
    return all.length ? all : [make("li", { class: "nobody" }, "Nobody. What is given up comes back by itself.")];
  });
}

function ladder({ level, blocks }) {
  const state = (name) => blocks.find((block) => block.name === name)?.state;
  const held = (name) => state(name) === "held";
  const steps = [{ name: "full page", blocks: [] }, ...level.ladder];
  fill(find("ladder-steps"), [level, level.ladder.map((step) => step.blocks.map(held))], () => steps.map((step, number) => {
    const gone = number > 0 && number <= level.level;
    const here = number === level.level;
    return make("li", { "data-gone": gone, "data-here": here, "aria-current": here ? "step" : null },
      make("span", { class: "rung" }, String(number)),
      make("span", { class: "what" }, make("b", {}, step.name),
        step.blocks.length && step.blocks.join(", ") !== step.name ? ` ${step.blocks.join(", ")}` : "",
        step.blocks.some(held) ? " (kept on)" : ""),
      make("span", { class: "soft" }, here ? "now" : gone ? "given up" : ""),
      decides(make("button", { class: "quiet", "aria-label": `Pin level ${number}, ${step.name}`, on: { click: () => decide("pin", { level: number }) } }, "Pin…")));
  }));
}

function blockRow() {
  const cell = (about) => make("td", about ? { "data-about": about, class: "who" } : {});
  const [word, why, origin, owner, buttons] = [pill(), cell(), cell("Origin"), cell("Owner"), cell()];
  const name = make("th", { scope: "row" });
  const row = make("tr", {}, name, make("td", {}, word), why, origin, owner, buttons);
  why.className = "why";
  row.tell = (block) => {
    fill(name, [block.name, block.priority], () => [block.name, make("small", {}, block.priority)]);
    row.dataset.state = block.state;
    word.tell(block.state);
    say(why, block.cause);
    say(origin, block.origin ?? "—");
    say(owner, block.owner ?? "—");
    const isSet = now().switches.switches.some(({ subject }) => subject === `block/${block.name}`);
    fill(buttons, [block.name, isSet, block.priority], () => {
      if (block.priority === "core") return [make("span", { class: "soft" }, "always shown")];
      const button = (text, about, act) => decides(make("button", { class: "quiet", "aria-label": `${about} ${block.name}`, on: { click: act } }, text));
      if (isSet) return [button("Take back…", "Take back what is decided on", () => takeBack(`block/${block.name}`))];
      return [
        button("Off…", "Switch off", () => decide("off", { block: block.name })), " ",
        block.level ? button("Keep on…", "Keep on", () => decide("on", { block: block.name })) : null,
      ].filter(Boolean);
    });
  };
  return row;
}

function originRow() {
  const cell = (kind, about) => make("td", { class: kind, "data-about": about });
  const number = (about) => cell("number", about);
  const [why, owner, half, most, flight, dial] = [cell("why"), cell("who", "Owner"), number("Half within"), number("95 of 100 within"), number("In flight"), make("td")];
  const [name, word] = [make("th", { scope: "row" }), pill()];
  const row = make("tr", {}, name, make("td", {}, word), why, owner, half, most, flight, dial);
  row.tell = (origin) => {
    say(name, origin.name);
    word.tell(origin.state);
    const ill = origin.replicas.length ? `not well: ${origin.replicas.join(", ")}` : "";
    say(why, origin.state === "closed" ? ill : `${origin.cause ?? ""}; for ${span(origin.since_s)}`);
    say(owner, origin.owner ?? "—");
    say(half, milliseconds(origin.p50_ms));
    say(most, milliseconds(origin.p95_ms));
    say(flight, `${origin.in_flight} of ${origin.max_in_flight}`);
    dial.hidden = !dials?.[origin.name];
    const turned = dials?.[origin.name];
    fill(dial, turned?.dial, () => {
      if (!turned) return [];
      const ask = () => decide("dial", { origin: origin.name, dial: turned.dial, left: dials[origin.name].ends_in_s });
      return [decides(make("button", { class: "quiet", "aria-label": `${dialled(turned.dial)}…, the dial of ${origin.name}`, on: { click: ask } }, `${dialled(turned.dial)}…`))];
    });
    // how it has come to be so, and for how long it is
    dial.title = turned && (turned.by || turned.reason || turned.ends_in_s != null)
      ? [[turned.by, turned.reason].filter(Boolean).join(": "), turned.ends_in_s == null ? "" : `${span(turned.ends_in_s)} left`].filter(Boolean).join("; ")
      : "";
  };
  return row;
}

function decisions({ switches }) {
  const list = switches.switches;
  find("decisions-trouble").hidden = !switches.trouble;
  say(find("decisions-trouble"), switches.trouble ? `These would not survive a restart: ${switches.trouble}` : "");
  const nodes = switches.shared?.trouble;
  find("decisions-nodes").hidden = !nodes;
  say(find("decisions-nodes"), nodes ?? "");
  byClock(switches);
  fill(find("decisions-list"), list.map(({ left_s, ...rest }) => [rest, left_s < 90 ? left_s : Math.round(left_s / 60)]), () => {
    if (list.length === 0) return [make("li", { class: "soft" }, "None: the law decides.")];
    return list.map((one) => make("li", { "data-subject": one.subject, "data-address": one.address },
      make("p", {}, make("b", {}, one.says)),
      make("p", { class: "soft" }, `${one.owner}: ${one.reason}`),
      make("p", { class: "soft" }, one.until ? `until ${new Date(one.until).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" })}, ${span(one.left_s)} left` : "as long as this server runs"),
      one.note ? make("p", { class: "notice" }, one.note) : null,
      one.by_schedule
        ? make("p", { class: "soft" }, `by the schedule ${one.by_schedule}, below`)
        : decides(make("button", { class: "quiet", "aria-label": `Take back: ${one.says}`, on: { click: () => takeBack(one.address) } }, "Take back…"))));
  });
}

// What begins and ends by itself: tonight's switches, and what the site declares.
function byClock({ scheduled, zone }) {
  find("scheduled").hidden = scheduled.length === 0;
  const rough = (seconds) => (seconds < 90 ? seconds : Math.round(seconds / 60));
  fill(find("scheduled-list"), scheduled.map(({ begins_in_s, ...rest }) => [rest, rough(begins_in_s)]), () => scheduled.map((one) => {
    const name = one.address.replace(/^schedule\//, "");
    const isDeclared = one.address.startsWith("schedule/");
    const when = { waits: `in ${span(one.begins_in_s)}`, begun: "in force now", skipped: "skipped this time", over: "over" }[one.state];
    const act = {
      waits: ["Cancel…", () => (isDeclared ? decide("skip", { name, one }) : takeBack(one.address))],
      begun: ["Skip the rest…", () => decide("skip", { name, one })],
      skipped: ["Let it begin…", () => takeBack(one.address)],
    }[one.state];
    return make("li", { "data-address": one.address, "data-state": one.state },
      make("p", {}, make("b", {}, isDeclared ? `${name}: ` : ""), one.says.join(", ")),
      make("p", { class: "soft" }, `${one.owner}: ${one.reason}`),
      make("p", { class: "soft" }, [one.weekly && `every ${one.weekly}`, one.local ?? `no more, by the clocks of ${zone}`, when].filter(Boolean).join("; ")),
      one.note ? make("p", { class: "notice" }, one.note) : null,
      act ? decides(make("button", { class: "quiet", "aria-label": `${act[0]} ${isDeclared ? name : one.says.join(", ")}`, on: { click: act[1] } }, act[0])) : null);
  }));
}

function show(told) {
  picture = told;
  readers(told);
  givenUp(told);
  acts(told);
  ladder(told);
  rows(find("blocks-rows"), told.blocks, ({ name }) => name, blockRow);
  rows(find("origins-rows"), told.origins, ({ name }) => name, originRow);
  decisions(told);
  faults(told);
  promises(told);
  charts.add(told.now);
  document.body.dataset.at = told.now.at_ms;
  // they end by themselves, and others turn them too
  if (dials) readDials();
}

// ---- listening ----

function connected(text, state) {
  say(find("connection"), text);
  find("connection").dataset.state = state;
}

let waiting = null;
function again() {
  connected("no connection; trying again", "lost");
  find("readers").dataset.state = "unknown";
  say(find("readers-word"), "Not known");
  say(find("readers-says"), "This page has lost the server. What it shows below is from before.");
  clearTimeout(waiting);
  waiting = setTimeout(async () => {
    // a session that is over is told apart from a server that is away
    const asked = await fetch("/level").catch(() => null);
    if (asked?.status === 401) location.assign("/login");
    else listen();
  }, 2000);
}

function listen() {
  const source = new EventSource("/live");
  let silent = null;
  const lost = () => {
    source.close();
    clearTimeout(silent);
    again();
  };
  const alive = () => {
    clearTimeout(silent);
    silent = setTimeout(lost, 6000);
  };
  source.onopen = async () => {
    alive();
    connected("live", "live");
    const missed = await fetch(`/history?since=${charts.last()}`).then((answer) => answer.json()).catch(() => []);
    charts.addAll(missed);
  };
  source.onmessage = ({ data }) => {
    alive();
    show(JSON.parse(data));
  };
  source.onerror = lost;
}

async function readDials() {
  const answer = await fetch("/dials.json", { headers: { accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) return;
  dials = await answer.json();
  for (const part of document.querySelectorAll("[data-dials]")) part.hidden = false;
  if (picture) rows(find("origins-rows"), picture.origins, ({ name }) => name, originRow);
}

for (const button of document.querySelectorAll("button[data-act]")) {
  decides(button);
  button.addEventListener("click", () => decide(button.dataset.act, {}));
}
addEventListener("decided", readDials);
decide.picture = now;
listen();
// only the demo has any
if (document.body.dataset.dials === "true") readDials();
frames(now);
readJournal();
