// Opens each dialog of the dashboard (loaded before this: person.js and axe-core), and says what axe-core finds
// while it is open, and whether it is wider than the window.
(async () => {
  const { find, text, until, row, dial, button, sign, agree, undo } = person;
  const said = {};
  const look = async (open) => {
    open.click();
    await until("a dialog", () => find("decide").open);
    const found = await axe.run(document, { resultTypes: ["violations"] });
    const dialog = find("decide");
    said[text("decide-title")] = {
      checked: found.passes.length,
      wide: dialog.scrollWidth > dialog.clientWidth || document.documentElement.scrollWidth > document.documentElement.clientWidth,
      violations: found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary.replace(/\s+/g, " ")}`)),
    };
    find("decide-no").click();
  };
  await until("the first account", () => row("weather") && dial("media"));
  for (const open of document.querySelectorAll("button[data-act]")) await look(open);
  await look(button(row("weather"), "Switch off"));
  await look(button(row("weather"), "Keep on"));
  await look(dial("media"));
  const night = '#scheduled-list [data-address="schedule/election-night"]';
  await look(await until("the schedule", () => document.querySelector(`${night} button`)));
  // with something to take back, and the message that it is done
  button(row("weather"), "Switch off").click();
  sign("a look");
  await agree();
  await look(await until("what is set", () => button(row("weather"), "Take back")));
  // what cannot be done is said where it was asked for
  document.querySelector('button[data-act="cap"]').click();
  find("decide-level").append(new Option("none", "200"));
  find("decide-level").value = "200";
  sign("more than there is");
  find("decide-yes").click();
  await until("the refusal", () => !find("decide-trouble").hidden);
  const refused = text("decide-trouble");
  find("decide-no").click();
  await undo();
  return { said, refused };
})();
