// What happened, on a time axis: a lane for each label, and hatched where nothing is known.

import {h, replace, setText, svg} from "./dom.js";
import {texts} from "./texts.js";

const LANE = 38;        // pixels
const AXIS = 24;
const NARROWEST = 4;
const STEPS_MIN = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360];
const TICK_PX = 76;

/** Draws events and blind times. `onChoose` is called with the event that was clicked. */
export class Lanes {
  #drawn;

  constructor(onChoose) {
    this.onChoose = onChoose;
    this.said = h("p", {class: "lanes-said", "aria-hidden": "true"}, texts.events.pointAt);
    this.box = h("div", {class: "lanes-box", onpointerleave: () => setText(this.said, texts.events.pointAt)});
    this.element = h("div", {class: "lanes"}, this.box, this.said);
    new ResizeObserver(() => this.#draw()).observe(this.box);
  }

  /**
   * Shows `events` and `blind` ([{from, to, why}]) from one moment to another, in milliseconds.
   *
   * `labels`: the names of the lanes. `now`: until when an event lasts that goes on. While a hatched part has the focus,
   * it stays as it is.
   */
  show(drawn) {
    this.#drawn = drawn;
    if (!this.box.contains(document.activeElement)) this.#draw();
  }

  #draw() {
    const width = Math.floor(this.box.clientWidth);
    if (!width || !this.#drawn) return;
    const {from, to, labels, events, blind, now} = this.#drawn;
    const x = (time) => Math.min(1, Math.max(0, (time - from) / (to - from))) * width;
    const lanes = labels.length ? labels : [""];
    const bottom = lanes.length * LANE;
    replace(this.box, svg("svg", {width, height: bottom + AXIS, viewBox: `0 0 ${width} ${bottom + AXIS}`, role: "group",
      "aria-label": texts.events.lanesLabel(events.length, from, to, now)},
      svg("defs", {}, svg("pattern", {id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse",
        patternTransform: "rotate(45)"}, svg("rect", {width: 7, height: 7, class: "hatch-ground"}),
      svg("rect", {width: 2, height: 7, class: "hatch-stroke"}))),
      ticks(from, to, width).map(([time, text]) => [
        svg("line", {class: "lane-tick", x1: x(time), x2: x(time), y1: 0, y2: bottom}),
        svg("text", {class: "lane-time", x: x(time), y: bottom + 16, "text-anchor": "middle", "aria-hidden": "true"},
          text)]),
      blind.map((gap) => this.#gap(gap, x, bottom)),
      lanes.map((label, index) => [
        svg("line", {class: "lane-line", x1: 0, x2: width, y1: (index + 1) * LANE, y2: (index + 1) * LANE}),
        svg("text", {class: "lane-label", x: 4, y: index * LANE + 14, "aria-hidden": "true"}, label)]),
      events.map((event) => this.#event(event, lanes.indexOf(event.label), x, now))));
  }

  #gap({from, to, why}, x, bottom) {
    const left = x(from);
    const said = texts.events.gap(why, from, to, this.#drawn.now);
    const say = () => setText(this.said, said);
    return svg("rect", {class: "lane-gap", x: left, y: 0, width: Math.max(1, x(to ?? this.#drawn.now) - left),
      height: bottom, fill: "url(#hatch)", tabindex: "0", role: "img", "aria-label": said,
      onfocus: say, onpointerenter: say}, svg("title", {}, said));
  }

  #event(event, lane, x, now) {
    const left = x(Date.parse(event.began));
    const right = event.isLost ? left : x(event.ended ? Date.parse(event.ended) : now);
    const said = texts.events.bar(event, now);
    return svg("rect", {class: event.interrupted || event.isLost ? "lane-event interrupted" : "lane-event", x: left,
      y: lane * LANE + 19, width: Math.max(NARROWEST, right - left), height: LANE - 24, rx: 2,
      onclick: () => this.onChoose(event), onpointerenter: () => setText(this.said, said)}, svg("title", {}, said));
  }
}

/** The moments that the axis names, with their texts. */
function ticks(from, to, width) {
  const step = 60_000 * (STEPS_MIN.find((minutes) => (to - from) / (minutes * 60_000) * TICK_PX <= width) ?? 720);
  const midnight = new Date(from).setHours(0, 0, 0, 0);
  const found = [];
  for (let at = midnight + Math.ceil((from - midnight) / step) * step; at < to; at += step) {
    const place = (at - from) / (to - from) * width;
    if (place > 18 && place < width - 18) found.push([at, texts.events.tick(at)]);
  }
  return found;
}
