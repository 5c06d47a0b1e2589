// What a person finds who has signed in to look (loaded before this: who they are, and person.js): nothing that can
// be pressed decides anything, and each says why; what is sent by force is refused.
(async () => {
  if (location.pathname === "/login") {
    const answer = await fetch("/login", { method: "POST", body: new URLSearchParams({ token: globalThis.token }) });
    return { entered: answer.redirected && new URL(answer.url).pathname };
  }
  const label = (button) => button.getAttribute("aria-label") ?? button.textContent.trim();
  const isSeen = (button) => button.getClientRects().length > 0;
  const buttons = () => [...document.querySelectorAll("button, input[type=submit]")].filter(isSeen);
  const can = (button) => !button.matches(":disabled");
  const why = (button) => {
    const by = button.closest("[aria-describedby]")?.getAttribute("aria-describedby");
    return by?.split(" ").map((id) => document.getElementById(id)?.textContent.trim() ?? "").join(" ") ?? "";
  };
  const told = { page: location.pathname };
  if (location.pathname === "/") {
    await person.until("the first account", () => person.row("slideshow") && person.dial("media"));
    await person.until("the schedule", () => person.text("scheduled-list"));
  }
  told.on = buttons().filter(can).map(label);
  told.off = buttons().filter((button) => !can(button) && button.id !== "machine-now").map((button) => [label(button), why(button)]);
  const place = location.href;
  for (const button of buttons().filter((button) => !can(button))) button.click();
  told.dialog = document.getElementById("decide")?.open ?? false;
  document.getElementById("decide-form")?.requestSubmit();
  told.stayed = location.href === place;
  // by force
  const sent = [["PUT", "/level", "1"], ["POST", "/reload", ""], ["PUT", "/dials/media?off=1", ""], ["POST", "/purge?all=true", ""]];
  told.forced = [];
  for (const [method, path, body] of sent) {
    const answer = await fetch(path, { method, body });
    told.forced.push([answer.status, await answer.text()]);
  }
  return told;
})();
