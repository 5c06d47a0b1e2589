// What an operator decides: asks who, why and how long, says what will come of it, does it, and can
// take it back.
import { find, make, onlyLooks, say, span } from "./page.js";

const dialog = () => find("decide");
let going = null;

const names = (list) => (list.length === 0 ? "nothing" : list.length === 1 ? list[0] : `${list.slice(0, -1).join(", ")} and ${list.at(-1)}`);
const picture = () => decide.picture();
const value = (id) => find(id)?.value;
const number = (id) => Number(value(id));

function until() {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(value("decide-for"));
  const end = new Date(Date.now() + Number(count) * { s: 1, m: 60, h: 3600, d: 86400 }[unit] * 1000);
  const text = end.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: unit === "s" ? "2-digit" : undefined, hourCycle: "h23" });
  return unit === "d" ? `${end.toLocaleDateString()} ${text}` : text;
}

// What the pages of a level do without.
function without(level) {
  const { level: { ladder } } = picture();
  return ladder.slice(0, level).flatMap((step) => step.blocks);
}

const pages = () => {
  const { now } = picture();
  const rate = now.pages / Math.max(now.span_s, 0.1);
  return rate >= 1 ? ` About ${Math.round(rate)} pages a second are concerned.` : "";
};

function levelField(chosen) {
  const { level } = picture();
  const names = ["full page", ...level.ladder.map((step) => step.name)];
  const options = names.map((name, n) => make("option", { value: n, selected: n === chosen }, `${n}: ${n === 0 ? name : `without ${name}`}`));
  return [make("label", { for: "decide-level" }, "Level"), make("select", { id: "decide-level", name: "level" }, ...options)];
}

function ladderEffect(level, lead) {
  const lost = without(level);
  const at = picture().level.level;
  const change = level > at ? `That is ${level - at} more than now.` : level < at ? `That is ${at - level} less than now, whatever the load.` : "That is what it is now.";
  return `${lead} ${level === 0 ? "Full pages." : `Without ${names(lost)}.`} ${change} The article stays.${pages()}`;
}

const KINDS = {
  pin: {
    title: () => "Pin the level",
    what: ({ level }) => levelField(level ?? picture().level.level),
    subject: () => "pin",
    body: () => ({ level: number("decide-level") }),
    effect: () => ladderEffect(number("decide-level"), `Every reader gets level ${number("decide-level")} until ${until()}; the law is not asked.`),
  },
  floor: {
    title: () => "At least this level",
    what: ({ level }) => levelField(level ?? Math.max(1, picture().level.level)),
    subject: () => "floor",
    body: () => ({ level: number("decide-level") }),
    effect: () => ladderEffect(number("decide-level"), `Nobody gets more than level ${number("decide-level")} gives until ${until()}; the law may give up more.`),
  },
  cap: {
    title: () => "At most this level",
    what: ({ level }) => levelField(level ?? picture().level.level),
    subject: () => "cap",
    body: () => ({ level: number("decide-level") }),
    effect: () => `The law gives up no more than ${names(without(number("decide-level")))} until ${until()}. Under too much load pages then become slow instead.`,
  },
  off: {
    title: ({ block }) => `Switch off ${block}`,
    what: () => [],
    subject: ({ block }) => `block/${block}`,
    body: () => ({ off: true }),
    effect: ({ block }) => {
      const { origin } = picture().blocks.find(({ name }) => name === block) ?? {};
      return `No page shows ${block} until ${until()}: what is declared to stand in for it does, or its place stays empty.${origin ? ` ${origin} is not asked for it.` : ""}${pages()}`;
    },
  },
  on: {
    title: ({ block }) => `Keep ${block} on`,
    what: () => [],
    subject: ({ block }) => `block/${block}`,
    body: () => ({ on: true }),
    effect: ({ block }) => `No level gives ${block} up until ${until()}. Under load, other blocks go for it.`,
  },
  ttl: {
    title: () => "Keep copies longer",
    what: () => [make("label", { for: "decide-factor" }, "Times as long"), make("input", { id: "decide-factor", name: "factor", type: "number", min: "0.1", max: "100", step: "0.1", value: "4", required: true })],
    subject: () => "ttl",
    body: () => ({ factor: number("decide-factor") }),
    effect: () => `Every copy is fresh for ${value("decide-factor")} times as long until ${until()}: origins are asked that much less, and readers see news that much later.`,
  },
  freeze: {
    title: () => "Freeze what the law has learned",
    what: () => [],
    subject: () => "freeze",
    body: () => ({}),
    effect: () => `The law goes on deciding until ${until()}, by what it knows of this machine now.`,
  },
  "dry-run": {
    title: () => "Only say what would be given up",
    what: () => [],
    subject: () => "dry-run",
    body: () => ({}),
    effect: () => {
      const { level } = picture();
      return `Nothing is given up by itself until ${until()}.${level.level > 0 ? ` ${names(without(level.level))} come back at once, whatever the load.` : " Under too much load pages become slow instead."}`;
    },
  },
  purge: {
    title: () => "Purge copies",
    ends: false,
    what: () => [
      make("label", { for: "decide-block" }, "Of"),
      make("select", { id: "decide-block", name: "block" }, make("option", { value: "" }, "all blocks"), ...picture().blocks.map(({ name }) => make("option", { value: name }, name))),
      make("label", { class: "check" }, make("input", { type: "checkbox", id: "decide-hard" }), " throw them away, do not keep them as stand-ins"),
    ],
    effect: () => `${value("decide-block") ? `Every copy of ${value("decide-block")}` : "Every copy of every block"} is asked for again at its next use. ${find("decide-hard").checked ? "Until then there is nothing to show if its origin is down. " : "If its origin is down, the old copy is still shown. "}This cannot be undone.`,
    async act() {
      const block = value("decide-block");
      const who = { by: value("decide-owner"), reason: value("decide-reason") };
      const body = { ...who, ...(block ? { fragment: block } : { all: true }), ...(find("decide-hard").checked ? { hard: true } : {}) };
      await ask("POST", "/purge", body);
      return { text: `Purged: ${block || "all blocks"}.` };
    },
  },
  reload: {
    title: () => "Read the declaration again",
    ends: false,
    what: () => [],
    effect: () => "fragments.toml and its templates are read again. If something in them is wrong nothing changes, and you are told what. No request is lost.",
    async act() {
      const { changes } = await ask("POST", `/reload?${signed()}`);
      return { text: changes.length ? `Reloaded: ${changes.join("; ")}` : "Reloaded: nothing has changed." };
    },
  },
  dial: {
    title: ({ origin }) => `Dial of ${origin}`,
    what: ({ dial }) => [
      make("label", { for: "decide-latency" }, "Added delay, ms"), make("input", { id: "decide-latency", type: "number", min: 0, max: 600000, value: dial.latency_ms, required: true }),
      make("label", { for: "decide-error" }, "Share of errors, 0 to 1"), make("input", { id: "decide-error", type: "number", min: 0, max: 1, step: "any", value: dial.error, required: true }),
      ...TROUBLES.map(([name, text]) => make("label", { class: "check" }, make("input", { type: "checkbox", id: `decide-${name}`, checked: dial[name] }), ` ${name}: ${text}`)),
    ],
    effect: ({ origin }) => {
      const set = readDial();
      const blocks = picture().blocks.filter((block) => block.origin === origin).map(({ name }) => name);
      return `${origin} ${isHealthy(set) ? "answers at once and in full" : `is made sick from its next request on, until ${until()}: ${dialled(set)}`}. It answers for ${names(blocks)}.`;
    },
    async act({ origin, dial, left }) {
      const set = readDial();
      await turn(origin, set, isHealthy(set) ? null : value("decide-for"), signed());
      const by = signed("taken back");
      return {
        text: `${origin}: ${dialled(set)}${isHealthy(set) ? "" : `, until ${until()}`}.`,
        undo: () => turn(origin, dial, left == null ? null : `${Math.max(1, left)}s`, by),
      };
    },
  },
  fault: {
    title: () => "Make something go wrong",
    what: () => [
      make("label", { for: "decide-on" }, "On"),
      make("select", { id: "decide-on" },
        ...picture().origins.map(({ name }) => make("option", { value: `origin ${name}` }, `the origin ${name}`)),
        ...picture().blocks.filter(({ origin }) => origin).map(({ name }) => make("option", { value: `fragment ${name}` }, `the block ${name}`)),
        make("option", { value: "store" }, "the shared store")),
      make("label", { for: "decide-harm" }, "What goes wrong"),
      make("select", { id: "decide-harm" }, ...HARMS.map(([name, text]) => make("option", { value: name }, `${name}: ${text}`))),
      make("label", { for: "decide-latency" }, "Of latency and slow-start: delay, ms"), make("input", { id: "decide-latency", type: "number", min: 1, max: 600000, value: 800, required: true }),
      make("label", { for: "decide-share" }, "For how many percent of the pages"), make("input", { id: "decide-share", type: "number", min: 0.01, max: 100, step: "any", value: 10, required: true }),
      make("label", { for: "decide-most" }, "At most so many pages"), make("input", { id: "decide-most", type: "number", min: 1, max: 1000000000, value: 1000, required: true }),
    ],
    effect: () => {
      const set = readFault();
      const hit = picture().blocks.filter((block) => (set.origin ? block.origin === set.origin : set.fragment ? block.name === set.fragment : block.origin)).map(({ name }) => name);
      const whose = set.share ? `${Number((set.share * 100).toFixed(2))} % of the pages have` : "Every page has";
      return `${whose} it until ${until()}, ${set.pages_max} at most: ${set.harm} on ${set.origin ?? set.fragment ?? "the shared store"}, which ${names(hit)} come${hit.length === 1 ? "s" : ""} from. Copies that are fresh are shown as ever.${pages()}`;
    },
    async act() {
      const set = readFault();
      const name = `desk-${set.harm}-${set.origin ?? set.fragment ?? "store"}`;
      const done = await ask("PUT", `/chaos/${name}`, { ...set, owner: value("decide-owner"), reason: value("decide-reason"), for: value("decide-for") });
      return faultSet(name, done);
    },
  },
  begin: {
    title: ({ one }) => `Begin the fault ${one.name}`,
    what: () => [],
    effect: ({ one }) => `${one.says}, until ${until()}.${pages()}`,
    async act({ one }) {
      const done = await ask("PUT", `/chaos/${one.name}`, { owner: value("decide-owner"), reason: value("decide-reason"), for: value("decide-for") });
      return faultSet(one.name, done);
    },
  },
  calm: {
    title: ({ one }) => `End the fault ${one.name}`,
    ends: false,
    what: () => [],
    effect: ({ one }) => `At once this is no longer so: ${one.says}. It would have ended in ${span(one.left_s)}.`,
    async act({ one }) {
      const { ended } = await ask("DELETE", `/chaos/${one.name}?${signed()}`);
      return { text: `${one.name} is over.`, undo: () => ask("PUT", `/chaos/${one.name}`, ended.fault) };
    },
  },
  skip: {
    title: ({ name, one }) => (one.state === "begun" ? `End ${name} now` : `Skip ${name} this time`),
    ends: false,
    what: () => [],
    effect: ({ one }) => `${one.state === "begun" ? "At once this is no longer so" : "This is not going to be so"}: ${one.says.join(", ")} (${one.local}).${one.weekly ? " The next time it is as scheduled." : ""}`,
    async act({ name, one }) {
      const owner = value("decide-owner");
      await ask("PUT", `/switches/${one.address}`, { owner, reason: value("decide-reason") });
      return { text: `${name} is skipped this time.`, undo: () => ask("DELETE", `/switches/${one.address}?by=${encodeURIComponent(owner)}`) };
    },
  },
  back: {
    title: ({ one }) => `Take back: ${one.says}`,
    ends: false,
    reason: false,
    what: () => [],
    effect: ({ one }) => (one.begins_in_s
      ? `What ${one.owner} decided (${one.reason}) is not going to begin.`
      : `What ${one.owner} decided (${one.reason}) ends now${one.left_s ? `, ${span(one.left_s)} early` : ""}.`),
    async act({ one }) {
      await ask("DELETE", `/switches/${one.address}?by=${encodeURIComponent(value("decide-owner"))}`);
      return { text: `Taken back: ${one.says}.`, undo: () => restore(one) };
    },
  },
};

const TROUBLES = [["hang", "accepts and never answers"], ["cut", "breaks off half-way"], ["drip", "a byte a second"], ["off", "refuses connections"]];

const HARMS = [["latency", "answers come later"], ["error", "answers are a 503"], ["refuse", "no connection"], ["reset", "the connection is reset"], ["hang", "no answer"], ["cut", "answers end half-way"], ["drip", "a byte a second"], ["garbage", "answers hold no text"], ["slow-start", "late at first"], ["dns", "its hosts are not found"]];

function readFault() {
  const [kind, name] = value("decide-on").split(" ");
  const harm = value("decide-harm");
  const share = Math.min(1, number("decide-share") / 100);
  return {
    ...(kind === "store" ? { store: true } : { [kind]: name }),
    harm,
    ...(harm === "latency" || harm === "slow-start" ? { latency: `${number("decide-latency")}ms` } : {}),
    // these are nobody's in particular
    ...(share < 1 && kind !== "store" && harm !== "dns" ? { share } : {}),
    pages_max: number("decide-most"),
  };
}

const faultSet = (name, { set, replaced }) => ({
  text: `Done: ${set.says}, until ${until()}.`,
  undo: () => (replaced ? ask("PUT", `/chaos/${name}`, replaced.fault) : ask("DELETE", `/chaos/${name}?${signed("taken back")}`)),
});

const readDial = () => ({
  latency_ms: number("decide-latency"), error: number("decide-error"),
  ...Object.fromEntries(TROUBLES.map(([name]) => [name, find(`decide-${name}`).checked])),
});

// What a dial is set to, in words.
export function dialled(dial) {
  const said = [
    dial.latency_ms ? `${dial.latency_ms} ms slower` : null,
    dial.error ? `${Math.round(dial.error * 100)} % errors` : null,
    ...TROUBLES.map(([name]) => (dial[name] ? name : null)),
  ].filter(Boolean);
  return said.join(", ") || "healthy";
}

const isHealthy = (dial) => dialled(dial) === "healthy";

// Who decides and why, as the query of a request.
const signed = (reason = value("decide-reason")) => new URLSearchParams({ by: value("decide-owner"), reason });

function turn(origin, dial, lasts, signature) {
  const query = Object.entries(dial).map(([name, set]) => `${name}=${Number(set)}`).join("&");
  return ask("PUT", `/dials/${origin}?reset=1&${query}${lasts ? `&for=${lasts}` : ""}&${signature}`);
}

// What is said of a request that is not done: as text, or as JSON with an error.
function complaint(text) {
  try {
    return JSON.parse(text).error ?? text.trim();
  } catch {
    return text.trim();
  }
}

async function ask(method, path, body) {
  const answer = await fetch(path, { method, body: body === undefined ? undefined : JSON.stringify(body), headers: { accept: "application/json" } });
  const text = await answer.text();
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(complaint(text) || `the server answered with ${answer.status}`);
  return text ? JSON.parse(text) : null;
}

// Sets again what was there before, for as long as it had still to go.
function restore(one) {
  const what = { off: { off: true }, on: { on: true }, pin: { level: one.level }, floor: { level: one.level }, cap: { level: one.level }, ttl: { factor: one.factor / 1000 } }[one.act] ?? {};
  const later = one.from ? { from: one.from, until: one.until } : null;
  const left = one.act === "skip" ? {} : later ?? (one.left_s ? { for: `${Math.max(1, one.left_s)}s` } : {});
  return ask("PUT", `/switches/${one.subject}`, { ...what, owner: one.owner, reason: one.reason, ...left });
}

async function set(kind, about) {
  const subject = kind.subject(about);
  const body = { ...kind.body(about), owner: value("decide-owner"), reason: value("decide-reason"), for: value("decide-for") };
  const done = await ask("PUT", `/switches/${subject}`, body);
  const by = encodeURIComponent(body.owner);
  return {
    text: `Done: ${done.set.says}, until ${until()}.${done.survives_restart ? "" : " It would not survive a restart."}${done.on_all_nodes === false ? " So far it is so on this node only." : ""}`,
    undo: () => (done.replaced ? restore(done.replaced) : ask("DELETE", `/switches/${subject}?by=${by}`)),
  };
}

function effect() {
  if (going) say(find("decide-effect"), going.kind.effect(going.about));
}

export function decide(name, about) {
  if (onlyLooks || !picture()) return;
  const kind = KINDS[name];
  going = { kind, about };
  say(find("decide-title"), kind.title(about));
  find("decide-what").replaceChildren(...kind.what(about));
  find("decide-until").hidden = kind.ends === false;
  for (const field of ["owner", "reason"]) {
    const hidden = field === "reason" && kind.reason === false;
    const input = find(`decide-${field}`);
    input.required = !hidden;
    input.hidden = hidden;
    input.previousElementSibling.hidden = hidden;
  }
  find("decide-owner").value = localStorage.getItem("owner") ?? "";
  find("decide-reason").value = "";
  find("decide-trouble").hidden = true;
  effect();
  dialog().showModal();
}

export async function takeBack(address) {
  // what is not in force yet is known to the server in full
  const one = picture()?.switches.switches.find((found) => found.address === address)
    ?? await ask("GET", `/switches/${address}`).catch(() => null);
  // what the clock has set ends with all that it has set
  const entry = one?.by_schedule && picture().switches.scheduled.find((found) => found.address === one.address);
  if (entry) decide("skip", { name: one.by_schedule, one: entry });
  else if (one) decide("back", { one });
}

function tell({ text, undo }) {
  say(find("done-text"), text);
  find("done").hidden = false;
  find("done-undo").hidden = !undo;
  find("done-undo").onclick = async () => {
    try {
      await undo();
      tell({ text: "Undone." });
      dispatchEvent(new Event("decided"));
    } catch (trouble) {
      tell({ text: `It could not be undone: ${trouble.message}` });
    }
  };
}

find("decide-form").addEventListener("input", effect);
find("decide-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!going) return;
  const { kind, about } = going;
  find("decide-yes").disabled = true;
  try {
    const done = await (kind.act ? kind.act(about) : set(kind, about));
    localStorage.setItem("owner", value("decide-owner"));
    dialog().close();
    tell(done);
    dispatchEvent(new Event("decided"));
  } catch (trouble) {
    find("decide-trouble").hidden = false;
    say(find("decide-trouble"), trouble.message);
  } finally {
    find("decide-yes").disabled = false;
  }
});
find("decide-no").addEventListener("click", () => dialog().close());
find("done-close").addEventListener("click", () => { find("done").hidden = true; });
dialog().addEventListener("close", () => { going = null; });
