/* Asks once more for the blocks that could not be had when this page was made. Each is marked by an
   empty element whose attribute says where to ask; it becomes the block, or goes. A page may hold
   this script many times: whoever finds an element first takes it. Scripts within a block do not run. */
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
    element.removeAttribute(mark);
    if (url.indexOf(home) !== 0 || !window.fetch) return leave(element);
    setTimeout(function () { ask(element, url); }, soonest + Math.random() * spread);
  }

  function takeAll() {
    var elements = document.querySelectorAll("[" + mark + "]");
    for (var i = 0; i < elements.length; i++) take(elements[i]);
  }

  if (document.readyState === "complete") takeAll();
  else window.addEventListener("load", takeAll);
})();
