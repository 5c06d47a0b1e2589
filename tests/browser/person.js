// What a person does with the dashboard, for the scripts that are run after this one.
globalThis.person = (() => {
  const find = (id) => document.getElementById(id);
  const text = (id) => find(id).textContent;
  // A guard against what never comes, not a measure.
  const until = (what, is) => new Promise((resolve, reject) => {
    const begun = performance.now();
    const look = () => {
      const found = is();
      if (found) resolve(found);
      else if (performance.now() - begun > 60000) reject(new Error(`${what} did not come; readers: ${text("readers-says")} blocks: ${text("blocks-rows")} done: ${text("done-text")} trouble: ${text("decide-trouble")} journal: ${text("journal-lines")}`));
      else setTimeout(look, 50);
    };
    look();
  });
  const row = (name) => document.querySelector(`#blocks-rows [data-key="${name}"]`);
  const dial = (origin) => button(document.querySelector(`#origins-rows [data-key="${origin}"]`), "the dial of");
  const button = (part, label) => [...part.querySelectorAll("button")].find((one) => (one.getAttribute("aria-label") ?? one.textContent).includes(label));
  const set = (id, value) => {
    find(id).value = value;
    find(id).dispatchEvent(new Event("input", { bubbles: true }));
  };
  const sign = (reason) => {
    set("decide-owner", "Léa");
    set("decide-reason", reason);
  };
  let agreed = 0;
  const agree = async () => {
    find("done").hidden = true;
    const effect = text("decide-effect");
    agreed = performance.now();
    find("decide-yes").click();
    await until("an answer", () => !find("done").hidden);
    return { effect, done: text("done-text") };
  };
  const undo = async () => {
    find("done-undo").click();
    await until("the undoing", () => text("done-text") === "Undone.");
  };
  // Milliseconds since the person agreed to something.
  const since = () => Math.round(performance.now() - agreed);
  // Who was asked for anything that the page is made of.
  const hosts = () => [...new Set(performance.getEntriesByType("resource").map(({ name }) => new URL(name).host))];
  return { find, text, until, row, dial, button, set, sign, agree, undo, since, hosts };
})();
