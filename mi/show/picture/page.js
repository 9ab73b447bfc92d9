"use strict";
// The picture is whole without this script. It adds a threshold, a choice of signs and branches, bundles, and what the
// pointer rests on. Data: {view: {about: text, links: [[source, target, branch, score or null], ...], largest first}}.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const slider = find("threshold"), said = find("said"), tip = find("tip"), search = find("search");
  let pinned = null;

  const views = {};
  for (const [name, { links, about }] of Object.entries(data)) {
    const svg = find("view-" + name), paths = [], boxes = [];
    for (const mark of svg.querySelectorAll("[data-i],[data-n]")) {
      const title = mark.querySelector("title");
      mark.says = title.textContent;
      mark.name = mark.says.split("\n")[0];
      title.remove();
      if (mark.dataset.i !== undefined) paths[mark.dataset.i] = mark; else boxes[mark.dataset.n] = mark;
    }
    boxes.forEach((box) => { box.setAttribute("tabindex", "0"); box.setAttribute("aria-label", box.name); });
    views[name] = { svg, paths, boxes, links, about };
  }
  const current = () => views[find("bundles").checked ? "layers" : "heads"];
  const checked = (id) => { const box = find(id); return !box || box.checked; };
  const short = (x) => Number(x.toPrecision(3)).toString();

  // The slider runs over the logarithm of how many edges are shown: half of its way is the square root of all.
  const shown = (links) => Math.max(1, Math.round(links.length ** (slider.value / 1000)));

  function draw() {
    const view = current(), n = shown(view.links), idle = view.boxes.map(() => true);
    for (const each of Object.values(views)) each.svg.classList.toggle("off", each !== view);
    let count = 0, least = 0;
    view.links.forEach(([source, target, branch, score], i) => {
      const sign = score === null ? "none" : score < 0 ? "negative" : "positive";
      const on = i < n && checked("sign-" + sign) && checked("branch-" + (branch || "other"));
      view.paths[i].classList.toggle("off", !on);
      if (i < n) least = Math.abs(score || 0);
      if (on) { count += 1; idle[source] = idle[target] = false; }
    });
    view.boxes.forEach((box, i) => box.classList.toggle("idle", idle[i]));
    const what = find("bundles").checked ? "bundles" : "edges";
    said.textContent = `|score| ≥ ${short(least)}: ${count} of ${view.links.length} ${what}`;
  }

  function light(mark) {
    const view = current(), lit = new Set();
    if (mark && mark.dataset.i !== undefined) {
      const link = view.links[mark.dataset.i];
      lit.add(mark).add(view.boxes[link[0]]).add(view.boxes[link[1]]);
    } else if (mark) {
      lit.add(mark);
      view.links.forEach((link, i) => {
        if ([link[0], link[1]].includes(Number(mark.dataset.n)) && !view.paths[i].classList.contains("off"))
          lit.add(view.paths[i]).add(view.boxes[link[0]]).add(view.boxes[link[1]]);
      });
    }
    view.svg.classList.toggle("focused", lit.size > 0);
    for (const each of [...view.paths, ...view.boxes]) each.classList.toggle("lit", lit.has(each));
  }

  function tell(mark, x, y) {
    tip.hidden = !mark;
    if (!mark) return;
    const view = current(), into = [], from = [];
    let text = mark.says;
    if (mark.dataset.i !== undefined) text += `\n${view.about}`;
    if (mark.dataset.n !== undefined) {
      view.links.forEach((link, i) => {
        if (view.paths[i].classList.contains("off")) return;
        if (link[1] === Number(mark.dataset.n)) into.push(i);
        if (link[0] === Number(mark.dataset.n)) from.push(i);
      });
      text += `\n${into.length} in, ${from.length} out`;
      const few = [...into, ...from].sort((a, b) => a - b).slice(0, 5);
      for (const i of few) text += `\n${view.paths[i].name}  ${view.links[i][3] === null ? "" : short(view.links[i][3])}`;
    }
    tip.textContent = text;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(4, Math.min(y + 14, innerHeight - box.height - 8)) + "px";
  }

  const marked = (event) => event.target.closest && event.target.closest("[data-i],[data-n]");
  for (const { svg } of Object.values(views)) {
    svg.addEventListener("pointermove", (event) => {
      const mark = marked(event);
      tell(mark, event.clientX, event.clientY);
      if (!pinned) light(mark);
    });
    svg.addEventListener("pointerleave", () => { tell(null); light(pinned); });
    svg.addEventListener("click", (event) => { const mark = marked(event); pinned = mark === pinned ? null : mark; light(pinned); });
    svg.addEventListener("focusin", (event) => {
      const mark = marked(event), box = mark.getBoundingClientRect();
      light(mark);
      tell(mark, box.right, box.bottom);
    });
    svg.addEventListener("focusout", () => { tell(null); light(pinned); });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { pinned = null; light(null); tell(null); } });
  search.addEventListener("input", () => {
    for (const box of current().boxes) box.classList.toggle("found", search.value !== "" && box.name.includes(search.value));
  });
  slider.addEventListener("input", draw);
  for (const box of document.querySelectorAll(".controls input[type=checkbox]"))
    box.addEventListener("change", () => { pinned = null; light(null); draw(); });
  find("real").addEventListener("change", (event) => find("sheet").classList.toggle("real", event.target.checked));
  find("controls").hidden = false;
  draw();
})();
