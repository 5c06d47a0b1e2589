/* Asks once more for the blocks that could not be had when this page was made. Each is marked by an
   empty element whose attribute says where to ask; it becomes the block, or goes. Another says how much
   later than usual, where many ask. A page may hold this script many times: whoever finds an element first
   takes it. Scripts within a block do not run. */
(function () {
  "use strict";
  var mark = "data-marbre-lazy";
  var home = "/.marbre/block?";
  var soonest = 1000, spread = 4000; // milliseconds after the page has loaded

  function leave(element, content) {
    if (!element.parentNode) return;
    if (content) element.parentNode.replaceChild(content, element);
    else element.parentNode.removeChild(element);
  }

  function ask(element, url) {
    fetch(url, { credentials: "same-origin", redirect: "error" }).then(function (answer) {
      return answer.status === 200 ? answer.text() : "";
    }).then(function (html) {
      var template = document.createElement("template");
      template.innerHTML = html;
      leave(element, html && template.content);
    }).catch(function () {
      leave(element);
    });
  }

  function take(element) {
    var url = element.getAttribute(mark);
    var after = Number(element.getAttribute(mark + "-after")) || 0;
    element.removeAttribute(mark);
    if (url.indexOf(home) !== 0 || !window.fetch) return leave(element);
    setTimeout(function () { ask(element, url); }, after + soonest + Math.random() * spread);
  }

  function takeIn(root) {
    var elements = root.querySelectorAll("[" + mark + "]");
    for (var i = 0; i < elements.length; i++) take(elements[i]);
  }

  function takeAll() {
    takeIn(document);
    // a page with blocks that come late holds a part of itself in a shadow tree
    var late = document.querySelectorAll("[data-marbre-late]");
    for (var i = 0; i < late.length; i++) if (late[i].shadowRoot) takeIn(late[i].shadowRoot);
  }

  if (document.readyState === "complete") takeAll();
  else window.addEventListener("load", takeAll);
})();
