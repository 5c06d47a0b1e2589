// Makes something go wrong on purpose as a person would (loaded before this: person.js), ends it, and takes
// both back; says what was shown at each step.
(async () => {
  const { find, text, until, row, button, set, sign, agree, undo } = person;
  const told = {};
  const fault = () => document.querySelector('#faults-list [data-fault="desk-latency-slideshow"]');
  await until("the first account", () => row("slideshow")?.dataset.state === "shown");
  told.none = text("faults-list");

  document.querySelector('button[data-act="fault"]').click();
  set("decide-on", "fragment slideshow");
  set("decide-harm", "latency");
  // so little that no promise to readers is missed, which would end it
  set("decide-latency", "5");
  set("decide-share", "100");
  set("decide-most", "100000");
  sign("do pages do without it?");
  told.set = await agree();
  told.fault = (await until("the fault", fault)).textContent;
  told.hit = await until("a request that it has hit", () => /[1-9]\d* requests? have had it/.test(text("faults-list")));

  button(fault(), "End the fault").click();
  sign("seen enough");
  told.end = await agree();
  await until("the end", () => !fault());
  told.past = text("faults-past-list");
  await undo();
  await until("the fault again", fault);
  button(fault(), "End the fault").click();
  sign("seen enough");
  await agree();
  return told;
})();
