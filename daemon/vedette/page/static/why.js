// Why an event was published: its scores and the threshold, its zones, and the same in words.

import {h, replace, setShown, svg} from "./dom.js";
import {ScoreChart} from "./charts.js";
import {facts} from "./tables.js";
import {texts} from "./texts.js";

/** A dialog about one event. */
export class Why {
  constructor(app) {
    this.app = app;
    this.title = h("h3", {id: "why-title"});
    this.picture = h("img", {class: "why-picture", hidden: true});
    this.words = h("p", {class: "why-words"});
    this.chart = new ScoreChart();
    this.noScores = h("p", {class: "muted"}, texts.events.noScores);
    this.place = h("div", {class: "why-place"});
    this.facts = h("div");
    this.element = h("dialog", {class: "why", "aria-labelledby": "why-title"},
      h("div", {class: "why-head"}, this.title,
        h("button", {class: "button", type: "button", onclick: () => this.element.close()}, texts.events.close)),
      h("div", {class: "why-body"},
        h("div", {class: "why-side"}, this.picture, this.place),
        h("div", {class: "why-main"}, this.words, this.chart.element, this.noScores, this.facts)));
    this.element.addEventListener("click", (event) => {
      if (event.target === this.element) this.element.close();     // beside the dialog
    });
  }

  /** Shows the event. The focus goes back to where it was when the dialog is closed. */
  open(event, picture) {
    const config = this.app.config?.config;
    const threshold = config ? config.detector.labels?.[event.label] ?? config.detector.score_threshold ?? null : null;
    const now = this.app.now();
    const words = texts.events.why(event, threshold, config?.events.minimum?.[event.label]?.score ?? 0, now);
    replace(this.title, texts.events.bar(event, now));
    replace(this.words, words);
    setShown(this.picture, event.picture);
    if (event.picture) {
      this.picture.src = picture;
      this.picture.alt = texts.events.pictureOf(event);
    }
    setShown(this.chart.element, event.scores.length > 0);
    setShown(this.noScores, event.scores.length === 0);
    replace(this.place, place(event, config, this.app.current?.messages.info?.camera));
    replace(this.facts, facts(texts.events.facts(event)));
    this.element.showModal();
    if (!event.scores.length) return;
    const until = event.ended && Date.parse(event.ended);
    const seconds = ((event.isLost ? 0 : until ?? now) - Date.parse(event.began)) / 1000;
    this.chart.show(event.scores, seconds, threshold, texts.events.chart(event.scores, threshold));
  }
}

/** A map of the picture: zones and lines, and the box of the thing. */
function place(event, config, camera) {
  const [width, height] = camera?.width ? [camera.width, camera.height] : [1280, 720];
  const at = ([x, y]) => `${x * width},${y * height}`;
  const [xmin, ymin, xmax, ymax] = event.box;
  const was = new Set([...event.entered, ...event.zones]);
  const crossed = new Set(event.crossed.map((each) => each.line));
  return h("figure", {},
    svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": texts.events.place(event)},
      svg("rect", {class: "place-ground", width, height}),
      Object.entries(config?.zones ?? {}).map(([name, zone]) => svg("polygon",
        {class: was.has(name) ? "place-zone on" : "place-zone", points: zone.points.map(at).join(" ")})),
      Object.entries(config?.lines ?? {}).map(([name, line]) => svg("line",
        {class: crossed.has(name) ? "place-line on" : "place-line", x1: line.from[0] * width, y1: line.from[1] * height,
          x2: line.to[0] * width, y2: line.to[1] * height})),
      svg("rect", {class: "place-box", x: xmin * width, y: ymin * height, width: (xmax - xmin) * width,
        height: (ymax - ymin) * height}),
      Object.entries(config?.zones ?? {}).map(([name, zone]) => svg("text",
        {class: "place-name", x: mean(zone.points, 0) * width, y: mean(zone.points, 1) * height,
          "font-size": height / 12, "text-anchor": "middle"}, name))),
    h("figcaption", {class: "small muted"}, texts.events.place(event)));
}

function mean(points, axis) {
  return points.reduce((sum, point) => sum + point[axis], 0) / points.length;
}
