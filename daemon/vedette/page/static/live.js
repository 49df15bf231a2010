// The section "live": the newest picture with its boxes, or all cameras as tiles.
//
// Pictures are asked for only while the section is shown and the tab is visible: nothing is encoded for nobody.

import {h, icon, replace, setShown, setText} from "./dom.js";
import {colourOf, draw, Feed} from "./picture.js";
import {condition, isStill} from "./strip.js";
import {clock, texts} from "./texts.js";

const LAYERS = ["boxes", "names", "zones", "lines", "masks"];
const SPOKEN_EVERY_MS = 3000;
const LISTED_EVERY_MS = 500;
const LISTED_MAX = 100;         // a thousand rows twice a second would hold up the browser
const TICK_MS = 1000;
const SILENT_MS = 5000;         // so long a picture may be alone before it is called an old one
const FEW_CAMERAS = 3;          // more of them take turns, since a browser makes few requests at a time

/** One camera's picture, with what is drawn over it and what is said about it. */
class View {
  #app;
  #feed;
  #layers;
  #isTile;
  #spokenMs = -Infinity;
  #dirty = false;

  constructor(app, device, layers, {waitS, isTile, onPicture}) {
    this.#app = app;
    this.device = device;
    this.#layers = layers;
    this.#isTile = isTile;
    this.#feed = new Feed(app, device, () => {
      this.redraw();
      onPicture?.();
    }, {waitS});
    this.canvas = h("canvas", {role: "img", "aria-label": texts.live.picture(device)});
    this.message = h("p", {class: "picture-message", hidden: true});
    this.element = h("div", {class: "picture"}, this.canvas, this.message);
    this.resized = new ResizeObserver(() => this.redraw());
    this.resized.observe(this.canvas);
    const size = this.entry?.messages.info?.camera;
    if (size?.width) this.#shape(size.width, size.height);
    this.explain();
  }

  get entry() {
    return this.#app.state?.devices.find((entry) => entry.device === this.device);
  }

  get picture() {
    return this.#feed.picture;
  }

  get rate() {
    return this.#feed.rate;
  }

  follow(wanted) {
    if (wanted) this.#feed.start();
    else this.#feed.stop();
  }

  close() {
    this.resized.disconnect();
    this.#feed.close();
  }

  /** Draws at the next frame of the screen, once, however often it is called until then. */
  redraw() {
    if (this.#dirty) return;
    this.#dirty = true;
    requestAnimationFrame(() => {
      this.#dirty = false;
      const {picture} = this;
      if (picture) this.#shape(picture.image.width, picture.image.height);
      draw(this.canvas, picture, {...this.#layers, config: this.#config});
      this.explain();
      this.#speak();
    });
  }

  /** Says why there is no new picture, where there is none, and turns the old one grey. */
  explain() {
    const app = this.#app;
    const {entry, picture} = this;
    const now = condition(app, entry);
    const at = picture && clock(picture.result.frame.captured_at, app.now(), {seconds: true});
    let words = "";
    let isOld = true;
    if (WHY[now.kind]) words = texts.live.last(texts.live[WHY[now.kind]], at);
    else if (!picture) words = now.looks || now.kind === "starting" ? texts.live.waiting : texts.live.notDetecting;
    else if (isStill(app, entry, picture.result)) [words, isOld] = [texts.live.still(at), false];
    else if (this.#feed.problem || app.now() - Date.parse(picture.result.frame.captured_at) > SILENT_MS) {
      words = texts.live.last(now.looks ? texts.live.none : texts.live.notDetecting, at);
    } else isOld = false;
    setText(this.message, words);
    setShown(this.message, words !== "");
    this.isOld = isOld;
    this.element.classList.toggle("old", isOld);
    this.element.classList.toggle("none", !picture);
  }

  get #config() {
    return this.#isTile ? undefined : this.#app.config?.config;
  }

  #shape(width, height) {
    const ratio = `${width} / ${height}`;
    if (this.element.dataset.ratio === ratio) return;
    this.element.dataset.ratio = ratio;
    this.element.style.setProperty("--ratio", String(width / height));
  }

  #speak() {
    if (performance.now() - this.#spokenMs < SPOKEN_EVERY_MS) return;
    this.#spokenMs = performance.now();
    const seen = this.picture ? texts.live.spoken(countsOf(this.picture.result.detections)) : "";
    this.canvas.setAttribute("aria-label", `${texts.live.picture(this.device)}. ${this.message.textContent || seen}`);
  }
}

const WHY = {pageAway: "pageAway", daemonAway: "daemonAway", paused: "paused", cameraSilent: "cameraAway",
  cameraOffline: "cameraAway"};

function countsOf(detections) {
  const numbers = new Map();
  for (const {label} of detections) numbers.set(label, (numbers.get(label) ?? 0) + 1);
  return [...numbers].map(([label, number]) => texts.live.things(number, label));
}

/** The section. */
export class Live {
  #app;
  #isShown = false;
  #views = new Map();
  #known = "";
  #listedMs = -Infinity;

  constructor(app) {
    this.#app = app;
    this.layers = {boxes: true, names: true, zones: true, lines: true, masks: false, ...app.recall("layers", {})};
    this.isOne = app.recall("one", false);
    this.choices = app.choices;
    this.pictures = h("div", {class: "pictures"});
    this.all = h("button", {class: "button small", type: "button", hidden: true,
      onclick: () => this.#open(null)},
      icon("tiles"), texts.live.all);
    this.facts = h("p", {class: "muted small live-facts"});
    this.list = h("tbody");
    this.nothing = h("p", {class: "muted"}, texts.live.noPicture);
    this.table = h("table", {class: "table", hidden: true}, h("thead", {}, h("tr", {},
      h("th", {scope: "col"}, texts.live.label), h("th", {scope: "col", class: "number"}, texts.live.score),
      h("th", {scope: "col", class: "number"}, texts.live.track))), this.list);
    this.heading = h("h3", {}, texts.live.seenNow);
    this.side = h("div", {class: "live-side"},
      h("div", {class: "card live-seen"}, this.heading,
        h("div", {class: "live-list", tabindex: "0", role: "region", "aria-label": texts.live.list},
          this.nothing, this.table), this.facts));
    this.layersOf = h("fieldset", {class: "row live-layers"}, h("legend", {class: "visually-hidden"}, texts.live.show),
      LAYERS.map((name) => this.#layer(name)));
    this.body = h("div", {class: "live"}, this.pictures, this.side);
    this.empty = h("p", {class: "empty", hidden: true}, texts.live.noDevice);
    this.element = h("section", {"aria-labelledby": "live-title"},
      h("div", {class: "section-head"},
        h("div", {class: "row"}, h("h2", {id: "live-title"}, texts.live.title), this.all), this.layersOf),
      this.empty, this.body);
    document.addEventListener("visibilitychange", () => this.#followAll());
    setInterval(() => {
      if (this.#isShown && !document.hidden) this.#tick();
    }, TICK_MS);
  }

  show() {
    this.#isShown = true;
    void this.#app.refreshConfig();
    this.update();
  }

  hide() {
    this.#isShown = false;
    this.#followAll();
  }

  update() {
    const app = this.#app;
    if (!app.state) return;
    const names = app.state.devices.map((entry) => entry.device).filter(Boolean);
    if (this.choices !== app.choices) this.#remember(true);
    this.choices = app.choices;
    const shown = names.length > 1 && !this.isOne ? names : [app.current?.device].filter(Boolean);
    setShown(this.empty, app.state.devices.length === 0);
    setShown(this.body, app.state.devices.length > 0);
    this.#arrange(shown, names.length > 1);
    this.#showLayers();
    this.#followAll();
    this.#tick();
    for (const view of this.#views.values()) view.redraw();
  }

  /** Makes the views of these devices, where they are not there already. */
  #arrange(names, areMore) {
    const areTiles = areMore && !this.isOne;
    setShown(this.all, areMore && this.isOne);
    setShown(this.side, !areTiles);
    this.body.classList.toggle("tiled", areTiles);
    const wanted = JSON.stringify([names, areTiles]);
    if (wanted === this.#known) return;
    this.#known = wanted;
    for (const view of this.#views.values()) view.close();
    const waitS = names.length > FEW_CAMERAS ? 1 : undefined;
    this.#views = new Map(names.map((name) => [name,
      new View(this.#app, name, this.layers, {waitS, isTile: areTiles, onPicture: areTiles ? undefined : () => this.#describe()})]));
    if (names.length === 0) this.#views.set("", new View(this.#app, "", this.layers, {}));
    replace(this.pictures, [...this.#views.values()].map((view) => (areTiles ? this.#tile(view) : view.element)));
    this.#list(null);
    this.#listedMs = -Infinity;
  }

  #tile(view) {
    view.condition = h("span", {class: "muted small"});
    view.dot = h("span", {class: "dot", "aria-hidden": "true"});
    return h("button", {class: "tile", type: "button", "aria-label": texts.live.one(view.device),
      onclick: () => this.#open(view.device)}, view.element,
    h("span", {class: "tile-foot"}, view.dot, h("strong", {}, view.device), view.condition));
  }

  #open(device) {
    this.#remember(device !== null);
    if (device !== null && device !== this.#app.device) this.#app.choose(device);
    this.update();
    if (device !== null) this.all.focus();
    else this.pictures.querySelector("button")?.focus();
  }

  #remember(isOne) {
    this.isOne = isOne;
    this.#app.remember("one", isOne);
  }

  #followAll() {
    for (const view of this.#views.values()) {
      view.follow(this.#isShown && !document.hidden && Boolean(view.entry?.reachable) && this.#app.awaySince === null);
    }
  }

  #tick() {
    for (const view of this.#views.values()) {
      view.explain();
      if (!view.dot) continue;
      const now = condition(this.#app, view.entry);
      view.dot.className = `dot ${now.tone}`;
      const counts = view.entry?.messages.counts?.counts;
      setText(view.condition, now.looks && counts ? texts.strip.seen(counts) : texts.live.states[now.kind] ?? "");
    }
    this.#describe();
  }

  /** Lists what is in the picture, in words. */
  #describe() {
    if (this.body.classList.contains("tiled") || performance.now() - this.#listedMs < LISTED_EVERY_MS) return;
    const [view] = this.#views.values();
    setText(this.heading, view?.picture && view.isOld ? texts.live.seenLast : texts.live.seenNow);
    if (view?.picture) this.#list(view.picture.result, view.rate);
  }

  #list(result, rate = 0) {
    this.#listedMs = performance.now();
    const found = result?.detections ?? [];
    replace(this.list, found.slice(0, LISTED_MAX).map(({label, score, track}) => h("tr", {},
      h("td", {}, this.#swatch(label), label), h("td", {class: "number"}, score === null ? "" : score.toFixed(2)),
      h("td", {class: "number"}, track ?? ""))),
    found.length > LISTED_MAX && h("tr", {}, h("td", {colspan: 3}, texts.live.more(found.length - LISTED_MAX))));
    setShown(this.table, Boolean(result?.detections.length));
    setShown(this.nothing, !result?.detections.length);
    setText(this.nothing, result ? texts.live.nothing : texts.live.noPicture);
    setText(this.facts, result ? [texts.live.facts(result.frame.width, result.frame.height,
      texts.live.sources[result.source]), rate ? texts.live.rate(rate) : ""].join("\n") : "");
  }

  #swatch(label) {
    const swatch = h("span", {class: "swatch", "aria-hidden": "true"});
    swatch.style.background = colourOf(label);
    return swatch;
  }

  #layer(name) {
    const box = h("input", {type: "checkbox", checked: this.layers[name], onchange: () => {
      this.layers[name] = box.checked;
      this.#app.remember("layers", this.layers);
      for (const view of this.#views.values()) view.redraw();
    }});
    return h("label", {class: "check", "data-layer": name}, box, texts.live[name]);
  }

  /** Offers only what there is to draw: no switch for zones on a device without zones. */
  #showLayers() {
    const config = this.body.classList.contains("tiled") ? undefined : this.#app.config?.config;
    const areThere = {boxes: true, names: true, zones: Object.keys(config?.zones ?? {}).length,
      lines: Object.keys(config?.lines ?? {}).length, masks: config?.camera?.masks?.length};
    for (const label of this.layersOf.querySelectorAll("[data-layer]")) {
      setShown(label, Boolean(areThere[label.dataset.layer]));
    }
  }
}
