// Small means to write the page: nothing is written from text that could be markup.

export const find = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name.startsWith("data-") && value != null) element.setAttribute(name, String(value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

// Whoever has signed in to look sees what could be decided, and that it is not theirs to decide.
export const onlyLooks = document.body.dataset.onlyLooks === "true";

// A button that decides something.
export function decides(button) {
  if (!onlyLooks) return button;
  button.disabled = true;
  button.setAttribute("aria-describedby", "only-looks");
  button.title = find("only-looks").textContent;
  return button;
}

// Writes a text only where it is another: a live region speaks of changes.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const written = new WeakMap();

// Writes the children anew only if what they are made of has changed: whoever is within keeps focus.
export function fill(element, data, children) {
  const key = JSON.stringify(data);
  if (written.get(element) === key) return;
  written.set(element, key);
  element.replaceChildren(...children());
}

// Rows by key: each is made once, and then only told what is new.
export function rows(body, items, key, create) {
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let last = null;
  for (const item of items) {
    let row = known.get(key(item));
    known.delete(key(item));
    if (!row) {
      row = create(item);
      row.dataset.key = key(item);
    }
    const place = last ? last.nextElementSibling : body.firstElementChild;
    if (place !== row) body.insertBefore(row, place);
    row.tell(item);
    last = row;
  }
  for (const gone of known.values()) gone.remove();
}

export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

// A moment as people say it here: its day only if that is another one.
export function moment(ms, seconds = false) {
  const at = new Date(ms);
  const day = at.toDateString() === new Date().toDateString() ? {} : { weekday: "short", day: "numeric", month: "short" };
  return at.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined, hourCycle: "h23" });
}

export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function milliseconds(ms) {
  if (ms == null) return "–";
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 10000 ? 0 : 1)} s`;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

export const perSecond = (beat) => beat.pages / Math.max(beat.span_s, 0.1);

// The share of pages that had every block; none where there was no page.
export function complete(beat) {
  const seen = beat.pages - beat.left;
  return seen > 0 ? (100 * beat.complete) / seen : null;
}

// How a state is called, and how grave it is.
export const STATES = {
  shown: ["shown", "good"],
  held: ["kept on", "told"],
  old: ["last good copy", "mild"],
  thinned: ["thinned out", "mild"],
  partly: ["partly given up", "mild"],
  recovering: ["recovering", "mild"],
  stand_in: ["stand-in", "mild"],
  shed: ["given up", "warn"],
  off: ["switched off", "told"],
  missing: ["missing", "bad"],
  open: ["left alone", "bad"],
  half_open: ["being tried", "bad"],
  closed: ["healthy", "good"],
  kept: ["kept", "good"],
  burning: ["burning", "warn"],
  spent: ["budget spent", "bad"],
};

export function pill() {
  const element = make("span", { class: "pill" });
  element.tell = (state) => {
    const [text, grave] = STATES[state] ?? [state, "mild"];
    element.dataset.grave = grave;
    say(element, text);
  };
  return element;
}
