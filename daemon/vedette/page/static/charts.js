// Curves, drawn with uPlot. Each has a text that says the same.

import {h, setShown, setText} from "./dom.js";
import {clock, texts} from "./texts.js";
import uPlot from "./vendor/uPlot.esm.js";

const HEIGHT = 170;
const FONT = "12px system-ui, sans-serif";

/** The value of a colour of style.css now: it differs by day and by night. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** One drawing, as wide as its place. It is made as soon as it has a width. */
class Plot {
  #options;
  #data;
  #plot;

  constructor(options) {
    this.#options = options;
    this.element = h("div", {class: "plot", role: "img"});
    new ResizeObserver(() => this.#fit()).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#plot?.redraw(false));
  }

  /** Shows the columns: the first has the places on the x axis. A null is a gap. */
  show(data) {
    this.#data = data;
    if (this.#plot) this.#plot.setData(data);
    else this.#fit();
  }

  #fit() {
    const width = Math.floor(this.element.clientWidth);
    if (!width || !this.#data) return;
    if (this.#plot) this.#plot.setSize({width, height: HEIGHT});
    else this.#plot = new uPlot({...this.#options, width, height: HEIGHT}, this.#data, this.element);
  }
}

/** What all drawings have: axes in the colours of the page, no legend, no zoom. */
function plain({range, yRange, xValues, yValues, ySplits, series, onCursor, isTime}) {
  const axis = {stroke: () => colour("--text-2"), font: FONT, grid: {stroke: () => colour("--border"), width: 1},
    ticks: {show: false}};
  return {
    legend: {show: false},
    cursor: {y: false, drag: {x: false, y: false}},
    padding: [8, 12, 0, 0],
    scales: {x: {time: isTime, range: () => range()}, y: {range: yRange}},
    axes: [{...axis, space: 60, size: 28, values: xValues},
      {...axis, size: 46, values: yValues, ...(ySplits ? {splits: () => ySplits} : {})}],
    series: [{}, ...series],
    hooks: {setCursor: [(plot) => onCursor(plot.cursor.idx)]},
  };
}

/** Values of one kind over hours or days. */
export class Curve {
  #range = [0, 1];
  #at = [];
  #columns = [];

  /** `lines`: [{name, colour: a variable of style.css}]. `say`: a value as text, with its unit. `from`: lowest y. */
  constructor(title, lines, say, from = null) {
    this.lines = lines;
    this.say = say;
    this.readout = h("span", {class: "readout", "aria-hidden": "true"});
    this.summary = h("p", {class: "small muted"});
    this.plot = new Plot(plain({
      isTime: true,
      range: () => this.#range,
      yRange: (_, low, high) => yRange(from ?? low, high),
      xValues: (_, splits) => splits.map((at) => texts.health.tick(at * 1000)),
      yValues: (_, splits) => splits.map((value) => say(value, true)),
      series: lines.map((line) => ({stroke: () => colour(line.colour), width: 1.5, spanGaps: false,
        points: {size: 4, fill: () => colour(line.colour)}})),
      onCursor: (index) => setText(this.readout, this.#read(index)),
    }));
    this.element = h("figure", {class: "curve"},
      h("figcaption", {}, h("strong", {}, title),
        lines.length > 1 ? lines.map((line) => [" ", h("span", {class: "key", "data-colour": line.colour}), line.name])
          : null, this.readout),
      this.plot.element, this.summary);
    this.title = title;
  }

  /** Shows the values of these seconds since 1970, in this range of seconds. */
  show(at, columns, range) {
    this.#at = at;
    this.#columns = columns;
    this.#range = range;
    const said = this.lines.map((line, index) => this.#said(line.name, columns[index])).join(" ");
    setText(this.summary, said);
    this.plot.element.setAttribute("aria-label", `${this.title}. ${said}`);
    setShown(this.plot.element, columns.some((column) => column.some((value) => value !== null)));
    this.plot.show([at, ...columns]);
  }

  #said(name, column) {
    const known = column.filter((value) => value !== null);
    if (!known.length) return texts.health.unknownCurve(this.lines.length > 1 ? name : "");
    let [low, high] = [known[0], known[0]];
    for (const value of known) [low, high] = [Math.min(low, value), Math.max(high, value)];
    return texts.health.summary(this.lines.length > 1 ? name : "",
      column.at(-1) === null ? null : this.say(column.at(-1)), this.say(low), this.say(high));
  }

  #read(index) {
    if (index === null || index === undefined || this.#at[index] === undefined) return "";
    const values = this.#columns.map((column) => (column[index] === null ? texts.health.unknown
      : this.say(column[index])));
    return `${clock(this.#at[index] * 1000)}: ${values.join(", ")}`;
  }
}

/** The scores of one event over its life, and the threshold. */
export class ScoreChart {
  #scores = [];
  #seconds = 1;

  constructor() {
    this.readout = h("span", {class: "readout", "aria-hidden": "true"});
    this.plot = new Plot(plain({
      isTime: false,
      range: () => [0, this.#seconds],
      yRange: () => [0, 1],
      xValues: (_, splits) => splits.map((value) => `${Number(value.toFixed(2))} s`),
      ySplits: [0, 0.2, 0.4, 0.6, 0.8, 1],
      yValues: (_, splits) => splits.map((value) => value.toFixed(1)),
      series: [
        {stroke: () => colour("--chart-1"), width: 1.5, points: {show: true, size: 6, fill: () => colour("--chart-1")}},
        {stroke: () => colour("--chart-2"), width: 2, dash: [7, 5], points: {show: false}},
      ],
      onCursor: (index) => setText(this.readout, (this.#scores[index]?.[1] ?? null) === null ? ""
        : texts.events.scoreAt(...this.#scores[index])),
    }));
    this.key = h("span");
    this.element = h("figure", {class: "curve"},
      h("figcaption", {}, h("span", {class: "key", "data-colour": "--chart-1"}), texts.events.score, " ",
        h("span", {class: "key", "data-colour": "--chart-2"}), this.key, this.readout),
      this.plot.element);
  }

  /** Shows pairs of seconds and score, of an event of so many seconds. `threshold` null: it is not known. */
  show(scores, seconds, threshold, said) {
    this.#seconds = Math.max(seconds, scores.at(-1)[0], 0.1);
    const ends = [[0, null], [this.#seconds, null]].filter(([at]) => !scores.some((score) => score[0] === at));
    this.#scores = [...scores, ...ends].sort(([one], [other]) => one - other);
    setText(this.key, texts.events.thresholdKey(threshold));
    this.plot.element.setAttribute("aria-label", said);
    this.plot.show([this.#scores.map(([at]) => at), this.#scores.map(([, score]) => score),
      this.#scores.map(() => threshold)]);
  }
}

function yRange(low, high) {
  if (low === null || high === null) return [0, 1];
  const margin = (high - low) * 0.1 || Math.abs(high) * 0.1 || 1;
  return [low === 0 ? 0 : low - margin, high + margin];
}
