// The same page at every level, side by side.
import { find, make } from "./page.js";

// Who scrolls one of them scrolls all: what is gone at a level is further down.
function together(place) {
  const glasses = [...place.querySelectorAll(".glass")];
  for (const glass of glasses) {
    glass.addEventListener("scroll", () => { for (const other of glasses) other.scrollTop = glass.scrollTop; }, { passive: true });
  }
}

export function frames(now) {
  const place = find("seen-frames");
  find("seen-phone").addEventListener("change", ({ target }) => { place.dataset.width = target.checked ? "phone" : "desk"; });
  find("seen-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const picture = now();
    if (!picture) return;
    const path = find("seen-path").value;
    const names = ["full page", ...picture.level.ladder.map(({ name }) => `without ${name}`)];
    place.replaceChildren(...names.map((name, level) => make("figure", { "data-here": level === picture.level.level },
      make("figcaption", {}, make("b", {}, String(level)), ` ${name}`, level === picture.level.level ? " (now)" : ""),
      make("div", { class: "glass", tabindex: "0", role: "group", "aria-label": `Level ${level}, to scroll` }, make("iframe", {
        src: `/preview?path=${encodeURIComponent(path)}&level=${level}`, sandbox: "", tabindex: "-1", loading: "lazy", title: `${path} at level ${level}: ${name}`,
      })))));
    together(place);
  });
}
