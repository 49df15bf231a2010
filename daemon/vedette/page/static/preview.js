// The thresholds, with what they would have left of the last results.

import {h, replace, setText, svg} from "./dom.js";
import {labelsFrom} from "./draft.js";
import {texts} from "./texts.js";
import {preview, thresholdOf} from "./thresholds.js";

const words = texts.setup;
const BAR_HEIGHT = 28;

export class Thresholds {
  #rows = new Map();        // label -> its parts
  #labels = "";

  /** `onChange` gets the keys of `detector` that a person has changed. */
  constructor(onChange) {
    this.onChange = onChange;
    this.results = [];
    this.range = slider(words.overall, (value) => this.#change({score_threshold: value}));
    this.summary = h("p", {class: "setup-summary", "aria-live": "polite"});
    this.lowered = h("p", {class: "muted"}, words.lowered);
    this.rows = h("ul", {class: "setup-labels"});
    this.allow = h("input", {type: "text", autocomplete: "off", placeholder: words.allLabels,
      oninput: () => this.#change({allow: labelsFrom(this.allow.value)})});
    this.deny = h("input", {type: "text", autocomplete: "off", placeholder: words.noLabels,
      oninput: () => this.#change({deny: labelsFrom(this.deny.value)})});
    this.element = h("div", {class: "stack"},
      h("label", {class: "field"}, words.overall,
        h("span", {class: "setup-slider"}, this.range.input, this.range.output)),
      this.summary, this.lowered, this.rows,
      h("div", {class: "setup-filter"}, h("label", {class: "field"}, words.allow, this.allow),
        h("label", {class: "field"}, words.deny, this.deny)));
  }

  /** Show these keys of `detector`: those that run, and those that are wanted. */
  update(running, wanted) {
    this.wanted = wanted;
    const {results, boxes, fewer, lowered, labels} = preview(this.results, running, wanted);
    this.range.show(wanted.score_threshold);
    for (const [input, names] of [[this.allow, wanted.allow], [this.deny, wanted.deny]]) {
      if (input !== document.activeElement) input.value = names.join(", ");
    }
    setText(this.summary, results ? words.fewer(wanted.score_threshold, fewer, boxes, results) : words.noResults);
    this.lowered.hidden = !lowered;
    this.#makeRows(labels.map(({label}) => label));
    for (const each of labels) this.#rows.get(each.label)(each, wanted);
  }

  #makeRows(labels) {
    if (JSON.stringify(labels) === this.#labels) return;
    this.#labels = JSON.stringify(labels);
    const focused = this.rows.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    this.#rows = new Map();
    replace(this.rows, labels.map((label) => this.#row(label)));
    if (focused) [...this.rows.querySelectorAll("input")].find((each) => each.ariaLabel === focused)?.focus();
  }

  #row(label) {
    const own = h("input", {type: "checkbox", "aria-label": words.ownThreshold(label),
      onchange: () => this.#change({labels: own.checked
        ? {...this.wanted.labels, [label]: this.wanted.score_threshold} : without(this.wanted.labels, label)})});
    const range = slider(words.thresholdOf(label), (value) =>
      this.#change({labels: {...this.wanted.labels, [label]: value}}));
    const count = h("span", {class: "muted small"});
    const bars = svg("svg", {class: "setup-bars", viewBox: `0 0 100 ${BAR_HEIGHT}`, preserveAspectRatio: "none",
      "aria-hidden": "true"});
    this.#rows.set(label, (each, wanted) => {
      const isOwn = Object.hasOwn(wanted.labels, label);
      own.checked = isOwn;
      range.input.disabled = !isOwn;
      range.show(thresholdOf(wanted, label));
      setText(count, each.lowered ? words.unknown : words.fewerOf(each.fewer, each.boxes));
      draw(bars, each.bars, thresholdOf(wanted, label));
    });
    return h("li", {class: "setup-label"}, h("div", {class: "setup-label-head"},
      h("label", {class: "check"}, own, label), count), h("div", {class: "setup-range"}, bars, range.input), range.output);
  }

  #change(keys) {
    this.onChange(keys);
  }
}

function slider(label, onInput) {
  const input = h("input", {type: "range", min: "0", max: "1", step: "0.01", "aria-label": label,
    oninput: () => onInput(input.valueAsNumber)});
  const output = h("output", {class: "mono"});
  const show = (value) => {
    if (input.valueAsNumber !== value) input.value = value;
    setText(output, value.toFixed(2));
  };
  return {input, output, show};
}

function draw(bars, counts, threshold) {
  const most = Math.max(1, ...counts);
  const width = 100 / counts.length;
  replace(bars, counts.map((count, index) => count > 0 && svg("rect", {
    class: (index + 1) / counts.length <= threshold ? "gone" : "", x: index * width + 0.4, width: width - 0.8,
    y: BAR_HEIGHT * (1 - Math.max(count / most, 0.08)), height: BAR_HEIGHT * Math.max(count / most, 0.08)})),
  svg("line", {x1: threshold * 100, x2: threshold * 100, y1: 0, y2: BAR_HEIGHT}));
}

function without(labels, label) {
  return Object.fromEntries(Object.entries(labels).filter(([name]) => name !== label));
}
