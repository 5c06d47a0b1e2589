// What has happened, the latest first: what the journal knows, but for the counts of pages unless they are
// asked for, as there is one every few seconds.
import { find, make, say, fill, moment } from "./page.js";

const SHOWN = 100;
// longer for more than an hour, which may be much to read
const EVERY_MS = 5000;
const EVERY_MS_OF_MORE = 30000;
const KINDS = ["start", "stop", "level", "breaker", "origin", "switch", "reload", "purge", "act", "refusal", "push", "fault", "certificate", "slo", "journal", "unknown"];
// a moment within a sentence, as programs write it
const MOMENT = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g;

let next = null;

function line({ at, at_ms, kind, says }) {
  const text = says.replace(MOMENT, (found) => moment(Date.parse(found)));
  return make("li", {}, make("time", { datetime: at }, moment(at_ms, true)), make("b", {}, kind), text);
}

async function read() {
  const kinds = find("journal-counts").checked ? "" : `&kinds=${KINDS.join(",")}`;
  const answer = await fetch(`/journal?since=${find("journal-since").value}${kinds}`);
  if (!answer.ok) return;
  const { entries, trouble } = await answer.json();
  for (const part of document.querySelectorAll("[data-journal]")) part.hidden = false;
  find("journal-trouble").hidden = !trouble;
  say(find("journal-trouble"), trouble ? `This would not survive a restart: ${trouble}` : "");
  const shown = entries.slice(-SHOWN).reverse();
  say(find("journal-count"), entries.length > SHOWN ? `The last ${SHOWN} of ${entries.length} entries.` : entries.length ? "" : "Nothing has happened.");
  fill(find("journal-lines"), shown, () => shown.map(line));
}

// Reads it now, and again and again from then on, also after the server was away.
export async function readJournal() {
  clearTimeout(next);
  await read().catch(() => {});
  clearTimeout(next);
  next = setTimeout(readJournal, find("journal-since").value === "1h" ? EVERY_MS : EVERY_MS_OF_MORE);
}

find("journal-form").addEventListener("change", readJournal);
find("journal-form").addEventListener("submit", (event) => event.preventDefault());
addEventListener("decided", readJournal);
