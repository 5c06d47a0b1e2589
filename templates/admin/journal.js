// What has happened, where the server keeps a journal; the place stays hidden where it does not.
import { find, make, clock } from "./page.js";

const SHOWN = 100;
const EVERY_MS = 5000;

function line(entry) {
  const at = entry.at_ms ?? Date.parse(entry.at ?? "");
  const text = entry.says ?? entry.text ?? entry.message ?? JSON.stringify(entry);
  return make("li", {}, make("time", {}, Number.isFinite(at) ? clock(at) : ""), " ", make("b", {}, entry.kind ?? ""), " ", text);
}

export async function journal() {
  const index = await fetch("/", { headers: { accept: "text/plain" } }).then((answer) => answer.text()).catch(() => "");
  if (!/\s\/journal/.test(index)) return;
  const answer = await fetch(`/journal?since=${Date.now() - 3_600_000}`).catch(() => null);
  if (!answer?.ok) return;
  const told = await answer.json().catch(() => null);
  const entries = Array.isArray(told) ? told : told?.entries ?? told?.lines;
  if (!Array.isArray(entries)) return;
  for (const part of document.querySelectorAll("[data-journal]")) part.hidden = false;
  find("journal-lines").replaceChildren(...entries.slice(-SHOWN).reverse().map(line));
  setTimeout(journal, EVERY_MS);
}
