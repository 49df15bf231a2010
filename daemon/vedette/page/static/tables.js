// Tables and notices that several sections have in common.

import {h, setShown, setText} from "./dom.js";
import {texts} from "./texts.js";

/**
 * Returns a table in a box that scrolls by itself, so that the page never does.
 *
 * `head`: the names of the columns. `rows`: lists of cells (texts or nodes); the first of each is the row's name.
 */
export function table(caption, head, rows) {
  return h("div", {class: "scroll-x", tabindex: "0", role: "region", "aria-label": caption},
    h("table", {class: "table"},
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, head.map((name) => h("th", {scope: "col"}, name)))),
      h("tbody", {}, rows.map(([name, ...cells]) =>
        h("tr", {}, h("th", {scope: "row"}, name), cells.map((cell) => h("td", {}, cell)))))));
}

/** Returns a list of names and values: [[name, text or node], …]. */
export function facts(rows) {
  return h("dl", {class: "facts"}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** Returns a text in which what stands between backticks is code. */
export function withCode(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

/** Returns one card for each health reason: what it means, the cause, since when, and what to do. */
export function reasonCards(app, reasons) {
  return h("ul", {class: "reasons"}, reasons.map(({code, detail, since}) => {
    const known = app.reasons[code];
    return h("li", {class: "reason", "data-state": known?.state ?? "degraded"},
      h("p", {class: "reason-meaning"}, known ? withCode(known.meaning) : code),
      detail ? h("p", {}, texts.health.detail(detail)) : null,
      known ? h("p", {}, h("strong", {}, texts.health.toDo), " ", withCode(known.action)) : null,
      h("p", {class: "small muted"}, texts.health.since(since, app.now()), " ", h("code", {}, code)));
  }));
}

/** Says in `section.notice` why there is nothing new to show, or these words. Without a device, all else is hidden. */
export function showNotice({app, element, notice}, otherwise = "") {
  const {current} = app;
  const words = !app.state ? texts.page.loading : !current?.device ? texts.notice.none
    : current.reachable ? otherwise : texts.notice.away(current.since, app.now());
  setText(notice, words);
  setShown(notice, Boolean(words));
  element.toggleAttribute("data-empty", !current?.device);
}

/** Calls `build` and shows what it returns, but only if `facts` differ from the last time. So nothing flickers. */
export function renew(element, known, build) {
  const key = JSON.stringify(known);
  if (element.known === key) return;
  element.known = key;
  element.replaceChildren(...[build()].flat(Infinity).filter(Boolean));
}
