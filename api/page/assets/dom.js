// Elements without markup: every text goes in as a text node.

export const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// h("p", {class: "fine", onclick: f, hidden: true}, "text", element, null): null and false are left out.
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `assets/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

// A button that shows an icon and is called `label` by screen readers and on hover.
export const iconButton = (name, label, onclick) =>
  h("button", { type: "button", class: "icon", title: label, "aria-label": label, onclick }, icon(name));

// Text of unknown script inside a sentence of ours: it must not reorder its surroundings.
export const bdi = (text) => h("bdi", {}, text);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Says something to screen readers; a repeated text is said again.
export function announce(text) {
  const live = byId("live");
  live.textContent = "";
  setTimeout(() => { live.textContent = text; }, 50);
}
