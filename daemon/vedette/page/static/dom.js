// Makes elements. Nothing here takes HTML as text, so no text of a device can become an element.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns a new element: h("button", {class: "button", onclick: save, "aria-label": "Save"}, "Save").
 *
 * A property that begins with "on" is a listener. `class`, `data-…`, `aria-…` and all others are attributes: true gives
 * an empty one, false, null and undefined none. `value`, `checked`, `disabled` and `selected` are set as properties.
 * A child is a node, a text, a number, or a list of these; null, undefined and false are left out.
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Returns a new SVG element, as `h` does. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** Puts these children into the element, in place of those that it has. */
export function replace(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** Sets the text of an element only where it differs, so that nothing is announced or drawn again for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides an element. */
export function setShown(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

/** Returns a small drawing in the colour of the text: `icon("pause")`. It says nothing to a screen reader. */
export function icon(name) {
  return svg("svg", {class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false"},
    (ICONS[name] ?? []).map((d) => svg("path", {d})));
}

const ICONS = {
  live: ["M3 8.5A2.5 2.5 0 0 1 5.5 6h8A2.5 2.5 0 0 1 16 8.5v7a2.5 2.5 0 0 1-2.5 2.5h-8A2.5 2.5 0 0 1 3 15.5z",
    "m16 10.5 5-3v9l-5-3"],
  events: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z", "M12 7v5l3.5 2"],
  health: ["M3 12h4l2.5-6 5 12 2.5-6h4"],
  model: ["M12 3 20 7.5v9L12 21l-8-4.5v-9z", "m4 7.5 8 4.5 8-4.5M12 12v9"],
  setup: ["M4 6h9M17 6h3M4 12h3M11 12h9M4 18h9M17 18h3", "M15 4v4M9 10v4M15 16v4"],
  broker: ["M5 12.5a10 10 0 0 1 14 0M8 15.5a6 6 0 0 1 8 0M2 9.5a14.5 14.5 0 0 1 20 0", "M12 19h.01"],
  pause: ["M9 5v14M15 5v14"],
  resume: ["M7 4.5v15l12-7.5z"],
  snapshot: ["M4 8.5A1.5 1.5 0 0 1 5.5 7H8l1.5-2.5h5L16 7h2.5A1.5 1.5 0 0 1 20 8.5v9a1.5 1.5 0 0 1-1.5 1.5h-13"
    + "A1.5 1.5 0 0 1 4 17.5z", "M12 16.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z"],
  tiles: ["M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z"],
  close: ["M6 6l12 12M18 6 6 18"],
  warning: ["M12 4 21 19H3zM12 10v4M12 17h.01"],
  logout: ["M10 4H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h4M15 8l4 4-4 4M19 12H9"],
};

const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "hidden", "htmlFor"]);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith("on") && typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}
