// The list of shapes: each with its name, labels, seconds and corners as fields, for those who do not draw.
//
// Invariants: a field that a person is in is never written; the list is made anew only if shapes or corners came or
// went, or another shape was selected.

import {h, replace, setText} from "./dom.js";
import {labelsFrom} from "./draft.js";
import {isNamed, POINTS_MAX, POINTS_MIN, rectangle, rounded} from "./geometry.js";
import {texts} from "./texts.js";

const words = texts.setup;

export class ShapeList {
  #made = "";
  #live = [];       // each writes the newest value of a part

  constructor(shapes) {
    this.shapes = shapes;
    this.list = h("ul", {class: "setup-shapes", tabindex: "-1"});
    this.empty = h("p", {class: "muted"}, words.noShapes);
    this.element = h("div", {}, this.empty, this.list);
    shapes.addEventListener("change", () => this.update());
  }

  update() {
    const {list, selected} = this.shapes;
    const made = JSON.stringify([selected, list.map((shape) => [shape.id, shape.points.length])]);
    if (made !== this.#made) this.#make();
    this.#made = made;
    for (const write of this.#live) write();
  }

  #make() {
    const focused = this.list.contains(document.activeElement) && document.activeElement.dataset.key;
    this.#live = [];
    this.empty.hidden = this.shapes.list.length > 0;
    replace(this.list, this.shapes.list.map((shape) => this.#item(shape)));
    if (focused) this.list.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  #item({id, kind}) {
    const isOpen = id === this.shapes.selected;
    const shape = () => this.shapes.get(id);
    const title = h("button", {
      class: "setup-shape-title", type: "button", "aria-expanded": String(isOpen), "data-key": `title-${id}`,
      onclick: () => this.shapes.select(isOpen ? null : id),
      onkeydown: (event) => {
        if (event.key === "Delete") this.#remove(id);
      },
    });
    const problem = h("p", {class: "problem", id: `setup-problem-${id}`});
    const remove = h("button", {class: "button quiet small", type: "button", onclick: () => this.#remove(id)},
      words.remove);
    this.#live.push(() => {
      setText(title, this.shapes.titleOf(id));
      setText(problem, (this.shapes.problems[id] ?? []).map((name) => words.problems[name]).join(" "));
      remove.ariaLabel = words.removeShape(this.shapes.titleOf(id));
    });
    return h("li", {class: `setup-shape ${kind}`},
      h("div", {class: "setup-shape-head"}, h("span", {class: "setup-swatch", "aria-hidden": "true"}), title,
        remove),
      problem, isOpen && this.#form(id, kind, shape));
  }

  #form(id, kind, shape) {
    return h("div", {class: "setup-form", role: "group", "aria-label": this.shapes.titleOf(id)},
      isNamed(kind) && this.#text(id, words.name, "name", () => shape().name, (value) => ({name: value})),
      isNamed(kind) && this.#text(id, words.labels, "labels", () => shape().labels.join(", "),
        (value) => ({labels: labelsFrom(value)}), {placeholder: words.allLabels}),
      kind === "zone" && h("div", {class: "row"},
        this.#seconds(id, words.loiter, "loiter_s", shape, words.never),
        this.#seconds(id, words.hold, "hold_s", shape, "")),
      kind === "line" && h("p", {class: "muted small"}, words.direction),
      kind === "line" && h("button", {class: "button small", type: "button", "data-key": `turn-${id}`,
        onclick: () => this.shapes.change(id, {points: shape().points.toReversed()})}, words.turn),
      this.#corners(id, kind, shape));
  }

  #text(id, label, key, value, changes, more = {}) {
    const input = h("input", {type: "text", autocomplete: "off", "aria-describedby": `setup-problem-${id}`,
      "data-key": `${key}-${id}`, ...more,
      oninput: () => this.shapes.change(id, changes(input.value), `${key}-${id}`),
      onchange: () => { input.value = value(); }});
    this.#live.push(() => write(input, value()));
    return h("label", {class: "field"}, label, input);
  }

  #seconds(id, label, key, shape, placeholder) {
    const value = () => shape()[key] ?? "";
    const input = h("input", {type: "number", min: "0", step: "any", inputmode: "decimal", placeholder,
      "aria-describedby": `setup-problem-${id}`, "data-key": `${key}-${id}`,
      oninput: () => this.shapes.change(id, {[key]: numberIn(input)}, `${key}-${id}`)});
    this.#live.push(() => write(input, value()));
    return h("label", {class: "field"}, label, input);
  }

  #corners(id, kind, shape) {
    const {points} = shape();
    const rows = points.map((_, index) => {
      const inputs = [0, 1].map((axis) => this.#coordinate(id, kind, shape, index, axis));
      return h("li", {class: "setup-corner"}, h("span", {class: "muted"}, words.pointName(kind, index)), inputs,
        POINTS_MAX[kind] > 2 && h("button", {class: "button quiet small", type: "button",
          "data-key": `add-${id}-${index}`, "aria-label": words.addCorner(index + 1),
          onclick: () => this.shapes.addCorner(id, index)}, "+"),
        points.length > POINTS_MIN[kind] && h("button", {class: "button quiet small", type: "button",
          "data-key": `cut-${id}-${index}`, "aria-label": words.removeCorner(index + 1),
          onclick: () => this.shapes.removeCorner(id, index)}, "×"));
    });
    return h("div", {class: "setup-corners"},
      h("p", {class: "setup-corner muted small", "aria-hidden": "true"}, h("span"),
        words.axes.map((axis) => h("b", {}, axis)), POINTS_MAX[kind] > 2 && h("i")),
      h("ol", {class: "setup-corners"}, rows));
  }

  #coordinate(id, kind, shape, index, axis) {
    const value = () => shape().points[index][axis];
    const key = `point-${id}-${index}-${axis}`;
    const input = h("input", {type: "number", min: "0", max: "1", step: "0.005", inputmode: "decimal", "data-key": key,
      "aria-label": words.coordinate(kind, index, axis), "aria-describedby": `setup-problem-${id}`,
      oninput: () => {
        const number = numberIn(input);
        if (number === null || Number.isNaN(number)) return;
        const points = shape().points.map((point) => [...point]);
        points[index][axis] = rounded(number);
        this.shapes.change(id, {points}, key);
      },
      onchange: () => {
        if (kind === "roi") this.shapes.change(id, {points: rectangle(shape().points)}, key);
        input.value = value();
      }});
    this.#live.push(() => write(input, value()));
    return input;
  }

  #remove(id) {
    const {list} = this.shapes;
    const next = list[list.findIndex((shape) => shape.id === id) + 1] ?? list[0];
    this.shapes.remove(id);
    (this.list.querySelector(`[data-key="title-${next.id}"]`) ?? this.list).focus();
  }
}

/** Give a field a value, unless a person is in it. */
function write(input, value) {
  if (input !== document.activeElement) input.value = value;
}

function numberIn(input) {
  return input.value === "" && !input.validity.badInput ? null : input.valueAsNumber;
}
