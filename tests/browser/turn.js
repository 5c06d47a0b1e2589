// Turns a dial of the demo in each way that a block is given up for (loaded before this: person.js), and
// says what is shown of it, and how long that has taken from the click on, in milliseconds.
(async () => {
  const { find, until, row, dial, set, sign, agree, undo, since } = person;
  const told = [];
  const turns = {
    off: () => find("decide-off").click(),
    hang: () => find("decide-hang").click(),
    error: () => set("decide-error", "1"),
  };
  for (const [turn, choose] of Object.entries(turns)) {
    await until("a block that is shown", () => row("slideshow")?.dataset.state === "shown" && dial("media"));
    dial("media").click();
    choose();
    sign(`a rehearsal: ${turn}`);
    await agree();
    const sick = await until("the block left alone", () => row("slideshow").dataset.state === "open" && row("slideshow"));
    const ms = since();
    told.push({ turn, ms, word: sick.querySelector(".pill").textContent, why: sick.querySelector(".why").textContent, act: person.text("act-list") });
    await undo();
  }
  await until("the block as before", () => row("slideshow").dataset.state === "shown");
  return { told, hosts: person.hosts() };
})();
