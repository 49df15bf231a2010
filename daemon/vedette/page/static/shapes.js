// The shapes that a person has drawn, which of them is selected, and the way back.
//
// Invariants: shapes are never changed in place, so each step can be undone; steps with the same key that follow each
// other, such as those of one drag, are one step to undo.

import {freeName, isNamed, moved, POINTS_MIN, problemsOf, rectangle} from "./geometry.js";
import {texts} from "./texts.js";

const UNDO_MAX = 100;
const HOLD_S = 5;

export class Shapes extends EventTarget {
  #past = [];
  #key = null;

  constructor() {
    super();
    this.list = [];
    this.selected = null;
  }

  /** Start with these shapes; nothing can be undone. */
  reset(list) {
    this.list = list;
    this.selected = null;
    this.#past = [];
    this.#key = null;
    this.#tell();
  }

  get(id) {
    return this.list.find((shape) => shape.id === id);
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  /** All problems: {id: [names]}, only of shapes that have one. */
  get problems() {
    const found = this.list.map((shape) => [shape.id, problemsOf(shape, this.list)]);
    return Object.fromEntries(found.filter(([, problems]) => problems.length > 0));
  }

  /** What a person calls the shape. */
  titleOf(id) {
    const shape = this.get(id);
    const number = 1 + this.list.filter(({kind}) => kind === shape.kind).indexOf(shape);
    return texts.setup.shapeName(shape.kind, shape.name || number);
  }

  select(id) {
    if (this.selected !== id) {
      this.selected = id;
      this.#key = null;
      this.#tell();
    }
  }

  /** Add a shape and select it. A second region takes the place of the first. Returns it. */
  add(kind, points) {
    const shape = {
      id: 1 + Math.max(0, ...this.list.map((each) => each.id)), kind,
      name: isNamed(kind) ? freeName(kind, this.list) : "",
      points: kind === "roi" ? rectangle(points) : points, labels: [], loiter_s: null,
      hold_s: kind === "zone" ? HOLD_S : null,
    };
    this.#step(null, [...this.list.filter((each) => kind !== "roi" || each.kind !== "roi"), shape]);
    this.selected = shape.id;
    this.#tell();
    return shape;
  }

  /** Change a shape: `changes` are new values of its keys. Steps of the same `key` are undone together. */
  change(id, changes, key = null) {
    this.#step(key, this.list.map((shape) => shape.id === id ? {...shape, ...changes} : shape));
    this.#tell();
  }

  remove(id) {
    this.#step(null, this.list.filter((shape) => shape.id !== id));
    this.selected = null;
    this.#tell();
  }

  moveCorner(id, index, to, key, from = this.get(id)) {
    this.change(id, {points: moved(from, index, to)}, key);
  }

  /** Add a corner after the corner `index`, in the middle of the edge that begins there. */
  addCorner(id, index, key = null) {
    const {points} = this.get(id);
    const [[x0, y0], [x1, y1]] = [points[index], points[(index + 1) % points.length]];
    const added = moved({kind: "mask", points: [[0, 0]]}, 0, [(x0 + x1) / 2, (y0 + y1) / 2]);
    this.change(id, {points: [...points.slice(0, index + 1), ...added, ...points.slice(index + 1)]}, key);
  }

  /** Remove a corner, or the whole shape if it needs all of them. Returns whether the shape is still there. */
  removeCorner(id, index) {
    const shape = this.get(id);
    if (shape.points.length <= POINTS_MIN[shape.kind]) {
      this.remove(id);
      return false;
    }
    this.change(id, {points: shape.points.filter((_, at) => at !== index)});
    return true;
  }

  /** Have these shapes in place of all; this can be undone. */
  replace(list) {
    this.#step(null, list);
    this.selected = null;
    this.#tell();
  }

  undo() {
    if (this.canUndo) {
      this.list = this.#past.pop();
      this.#key = null;
      this.selected = this.get(this.selected) ? this.selected : null;
      this.#tell();
    }
  }

  #step(key, list) {
    if (key === null || key !== this.#key) {
      this.#past = [...this.#past, this.list].slice(-UNDO_MAX);
    }
    this.#key = key;
    this.list = list;
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

