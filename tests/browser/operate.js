// Operates the dashboard of the demo as a person would (loaded before this: person.js), and says what was
// shown at each step.
(async () => {
  const { find, text, since, until, row, button, set, sign, agree, undo } = person;
  const told = {};

  await until("the first account", () => row("slideshow"));
  told.first = { word: text("readers-word"), level: text("level-number") };

  told.promises = text("promises-list");

  // an origin dies: its block says so, and who must act is told
  const dial = await until("the dial", () => person.dial("media"));
  dial.click();
  find("decide-off").click();
  sign("what if the pictures are gone");
  told.dial = await agree();
  const sick = await until("the sick block", () => row("slideshow").dataset.state === "open" && row("slideshow"));
  told.sick = { why: sick.querySelector(".why").textContent };
  told.act = await until("who must act", () => text("act-list").includes("media") && text("act-list"));
  await undo();
  await until("the dial as before", () => dial.isConnected === false || dial.textContent.startsWith("healthy"));

  // a level that is pinned, and comes to its end
  button(document.querySelector("#ladder-steps li:nth-child(3)"), "Pin level 2").click();
  find("decide-for").append(new Option("5 seconds", "5s"));
  find("decide-for").value = "5s";
  sign("a rehearsal of the evening");
  told.pin = await agree();
  await until("level 2", () => text("level-number") === "2" && row("weather").dataset.state === "shed");
  told.shed_after_ms = since();
  told.pinned = { why: text("level-why"), weather: row("weather").dataset.state, step: document.querySelector("#ladder-steps [aria-current]").textContent };
  await until("the end of the pin", () => text("level-number") === "0" && !text("decisions-list").includes("rehearsal"));

  // a switch that is undone
  button(row("weather"), "Switch off").click();
  sign("the forecast is wrong");
  told.off = await agree();
  await until("weather off", () => row("weather").dataset.state === "off");
  await until("who has decided so", () => text("act-list").includes("has decided"));
  told.switched = { act: text("act-list"), why: row("weather").querySelector(".why").textContent, list: text("decisions-list") };
  await undo();
  await until("weather on", () => row("weather").dataset.state !== "off" && text("decisions-list").startsWith("None"));

  // what is scheduled, left out this time, and put back
  const night = (state) => document.querySelector(`#scheduled-list [data-address="schedule/election-night"][data-state="${state}"]`);
  told.scheduled = (await until("the schedule", () => night("waits"))).textContent;
  button(night("waits"), "Cancel").click();
  sign("there is no second round");
  told.skip = await agree();
  told.skipped = (await until("the skipped schedule", () => night("skipped"))).textContent;
  await undo();
  await until("the schedule as before", () => night("waits"));

  // what was decided is in the journal, the latest first
  told.journal = await until("the journal", () => text("journal-lines").includes("no second round") && text("journal-lines"));

  // without a name or a reason nothing is decided
  button(row("weather"), "Switch off").click();
  set("decide-owner", "");
  find("decide-yes").click();
  told.refused = find("decide").open;
  find("decide-no").click();

  // the time machine
  find("machine").value = 0;
  find("machine").dispatchEvent(new Event("input", { bubbles: true }));
  told.moment = text("moment");
  find("machine-now").click();

  // the page at every level
  find("seen-form").requestSubmit();
  const frames = await until("the frames", () => document.querySelectorAll("#seen-frames iframe").length && [...document.querySelectorAll("#seen-frames iframe")]);
  told.frames = frames.map((frame) => frame.title);
  told.hosts = person.hosts();
  return told;
})();
