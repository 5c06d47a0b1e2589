// What axe-core (loaded before this) finds against WCAG 2.2 A and AA and its own best practices, and
// whether the page is wider than the window.
axe.run(document, { resultTypes: ["violations"] }).then((found) => ({
  checked: found.passes.length,
  wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  violations: found.violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary.replace(/\s+/g, " ")}`)),
}));
