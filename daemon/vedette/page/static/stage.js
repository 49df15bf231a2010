// The picture with the shapes on it, where a person draws them: by mouse, by touch and by keyboard.
//
// Invariants: all that is drawn comes from the `Shapes`; it is drawn anew after each change, and the focus stays where
// it was. Only corners, and the whole picture while somebody draws, keep a touch from scrolling the page.

import {replace, svg} from "./dom.js";
import {arrow, corners, POINTS_MAX, POINTS_MIN, rounded} from "./geometry.js";
import {texts} from "./texts.js";

const words = texts.setup;
const NEAR_PX = 12;
const STEP = 0.005;
const LARGE_STEP = 0.05;
const ARROW_PX = 26;
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

export class Stage {
  /** The shape that is being drawn: {kind, points, cross}. Null: none. `cross` is where the next corner would be. */
  drawing = null;

  #drag = null;         // {id, index, from, key}, or {} while a corner of `drawing` follows the pointer
  #drags = 0;

  /** `canvas` has the picture. `onDrawing` is called when a person begins or ends to draw. */
  constructor(canvas, shapes, {onDrawing, announce}) {
    this.shapes = shapes;
    this.onDrawing = onDrawing;
    this.announce = announce;
    this.element = svg("svg", {
      class: "setup-stage", role: "application", tabindex: "0", "aria-label": words.stage,
      onpointerdown: (event) => this.#press(event), onpointermove: (event) => this.#move(event),
      onpointerup: (event) => this.#release(event), onpointercancel: (event) => this.#release(event),
      onmousedown: (event) => event.preventDefault(),      // its target may be gone, and the focus would go astray
      ondblclick: () => this.finish(), onkeydown: (event) => this.#key(event),
    });
    new ResizeObserver(() => this.paint()).observe(this.element);
    shapes.addEventListener("change", () => this.paint());
  }

  /** Begin to draw a shape of this kind. */
  draw(kind) {
    this.drawing = {kind, points: [], cross: [0.5, 0.5]};
    this.shapes.select(null);
    this.#drawn();
    this.element.focus();
  }

  /** Take the shape that is drawn, if it has enough corners. */
  finish() {
    if (!this.drawing) return;
    const {kind, points} = this.drawing;
    if (points.length < POINTS_MIN[kind]) {
      this.announce(words.problems.corners, {bad: true});
      return;
    }
    this.drawing = null;
    const shape = this.shapes.add(kind, points);
    this.#drawn();
    this.#focus(`shape-${shape.id}`);
    this.announce(words.added(this.shapes.titleOf(shape.id)));
  }

  cancel() {
    this.drawing = null;
    this.#drag = null;
    this.#drawn();
  }

  /** Take back the newest corner of the shape that is drawn. */
  back() {
    this.drawing.points = this.drawing.points.slice(0, -1);
    this.#drawn();
  }

  paint() {
    const focused = this.element.contains(document.activeElement) && document.activeElement.dataset.key;
    const {width, height} = this.#box();
    this.element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.element.classList.toggle("drawing", this.drawing !== null);
    const {selected} = this.shapes;
    const ordered = [...this.shapes.list].sort((one, other) => (one.id === selected) - (other.id === selected));
    replace(this.element, ordered.map((shape) => this.#shape(shape, shape.id === selected)), this.#drawingNow());
    if (focused) this.#focus(focused);
  }

  #box() {
    const {width, height} = this.element.getBoundingClientRect();
    return {width: width || 1, height: height || 1};
  }

  #pixels([x, y]) {
    const {width, height} = this.#box();
    return [x * width, y * height];
  }

  #drawn() {
    this.paint();
    this.onDrawing();
  }

  #focus(key) {
    this.element.querySelector(`[data-key="${key}"]`)?.focus({preventScroll: true});
  }

  #shape(shape, isSelected) {
    const at = corners(shape).map((corner) => this.#pixels(corner));
    const label = this.shapes.titleOf(shape.id);
    const bad = shape.id in this.shapes.problems;
    const body = svg("g", {
      class: `shape ${shape.kind}${isSelected ? " selected" : ""}${bad ? " bad" : ""}`, "data-shape": shape.id,
      "data-key": `shape-${shape.id}`, tabindex: "0", role: "button", "aria-pressed": String(isSelected),
      "aria-label": label,
    }, shape.kind === "roi" && svg("path", {class: "outside", "fill-rule": "evenodd", d: this.#outside(at)}),
    shape.kind === "line" ? line(at) : svg("polygon", {class: "area", points: at.join(" ")}),
    shape.kind === "line" && svg("polyline", {class: "reach", points: at.join(" ")}),
    svg("text", {class: "name", ...nameAt(shape, at)}, shape.name || words.kinds[shape.kind]));
    return isSelected && !this.drawing ? [body, this.#middles(shape, at), this.#corners(shape, at)] : body;
  }

  #outside(at) {
    const {width, height} = this.#box();
    return `M0 0H${width}V${height}H0Z M${at.join("L")}Z`;
  }

  #corners(shape, at) {
    return at.map(([x, y], index) => svg("g", {
      class: "corner", "data-corner": index, "data-key": `corner-${shape.id}-${index}`, tabindex: "0", role: "button",
      "aria-label": words.corner(index + 1, at.length, corners(shape)[index]),
    }, svg("circle", {class: "reach", cx: x, cy: y, r: 20}), svg("circle", {class: "dot", cx: x, cy: y, r: 7})));
  }

  #middles(shape, at) {
    if (POINTS_MAX[shape.kind] === at.length || shape.kind === "roi") return null;
    return at.map(([x, y], index) => {
      const [nextX, nextY] = at[(index + 1) % at.length];
      return Math.hypot(nextX - x, nextY - y) > 60 && svg("circle",
        {class: "middle", "data-middle": index, cx: (x + nextX) / 2, cy: (y + nextY) / 2, r: 8});
    });
  }

  #drawingNow() {
    if (!this.drawing) return null;
    const {kind, points, cross} = this.drawing;
    const at = points.map((point) => this.#pixels(point));
    const [x, y] = this.#pixels(cross);
    const way = kind === "roi" && at.length === 1
      ? svg("polygon", {class: "way", points: [at[0], [x, at[0][1]], [x, y], [at[0][0], y]].join(" ")})
      : svg("polyline", {class: "way", points: [...at, [x, y]].join(" ")});
    return svg("g", {class: `shape ${kind} new`}, at.length > 0 && way,
      at.map(([cx, cy]) => svg("circle", {class: "dot", cx, cy, r: 6})),
      svg("path", {class: "cross", d: `M${x - 14} ${y}H${x + 14}M${x} ${y - 14}V${y + 14}`}));
  }

  #place(event) {
    const {left, top, width, height} = this.element.getBoundingClientRect();
    return [rounded((event.clientX - left) / width), rounded((event.clientY - top) / height)];
  }

  #isNear(one, other) {
    const [[x0, y0], [x1, y1]] = [this.#pixels(one), this.#pixels(other)];
    return Math.hypot(x1 - x0, y1 - y0) < NEAR_PX;
  }

  #press(event) {
    if (!event.isPrimary || event.button !== 0) return;
    this.element.focus({preventScroll: true});
    if (this.drawing) {
      this.#addPoint(this.#place(event));
      this.#drag = {};
      this.element.setPointerCapture(event.pointerId);
      return;
    }
    const {shape, corner, middle} = event.target.closest("[data-shape], [data-corner], [data-middle]")?.dataset ?? {};
    if (shape !== undefined) {
      this.shapes.select(Number(shape));
      this.#focus(`shape-${shape}`);
      return;
    }
    if (corner === undefined && middle === undefined) {
      this.shapes.select(null);
      return;
    }
    const id = this.shapes.selected;
    const key = `drag-${this.#drags += 1}`;
    if (middle !== undefined) this.shapes.addCorner(id, Number(middle), key);
    const index = corner === undefined ? Number(middle) + 1 : Number(corner);
    this.#drag = {id, index, key, from: this.shapes.get(id)};
    this.element.setPointerCapture(event.pointerId);
    this.#focus(`corner-${id}-${index}`);
  }

  #addPoint(point) {
    const {kind, points} = this.drawing;
    this.drawing.cross = point;
    if (points.length > 0 && this.#isNear(point, points.at(-1))) return;
    if (points.length >= Math.max(3, POINTS_MIN[kind]) && this.#isNear(point, points[0])) {
      this.finish();
      return;
    }
    this.drawing.points = [...points, point];
    if (this.drawing.points.length === POINTS_MAX[kind]) this.finish();
    else this.#drawn();
  }

  #move(event) {
    if (!event.isPrimary) return;
    const place = this.#place(event);
    if (this.drawing) {
      this.drawing.cross = place;
      this.paint();
    } else if (this.#drag?.key) {
      const {id, index, key, from} = this.#drag;
      this.shapes.moveCorner(id, index, place, key, from);
    }
  }

  #release(event) {
    if (!this.#drag || !event.isPrimary) return;
    // A line and the region can be drawn in one stroke too, from one end to the other.
    const isStroke = this.drawing && event.type === "pointerup" && POINTS_MAX[this.drawing.kind] === 2;
    this.#drag = null;
    if (isStroke) this.#addPoint(this.#place(event));
  }

  #key(event) {
    const done = this.drawing ? this.#drawingKey(event) : this.#shapeKey(event);
    if (done) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  #drawingKey(event) {
    const direction = ARROWS[event.key];
    if (direction) {
      this.drawing.cross = stepped(this.drawing.cross, direction, event);
      this.paint();
    } else if (event.key === " ") {
      this.#addPoint(this.drawing.cross);
      if (this.drawing) this.announce(words.cornerSet(this.drawing.points.length));
    } else if (event.key === "Enter") {
      this.finish();
    } else if (event.key === "Escape") {
      this.cancel();
    } else if (event.key === "Backspace" || event.key === "Delete") {
      this.back();
    } else {
      return false;
    }
    return true;
  }

  #shapeKey(event) {
    const {shape, corner} = event.target.closest("[data-key]")?.dataset ?? {};
    const id = shape === undefined ? this.shapes.selected : Number(shape);
    const current = this.shapes.get(id);
    if (!current) return false;
    if (ARROWS[event.key] && corner !== undefined) {
      const from = corners(current)[corner];
      this.shapes.moveCorner(id, Number(corner), stepped(from, ARROWS[event.key], event), `keys-${id}-${corner}`);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      if (corner === undefined || current.kind === "roi") this.shapes.remove(id);
      else if (this.shapes.removeCorner(id, Number(corner))) this.#focus(`corner-${id}-0`);
      if (!this.element.contains(document.activeElement)) this.element.focus();
    } else if ((event.key === "Enter" || event.key === " ") && shape !== undefined) {
      this.shapes.select(id);
    } else if (event.key === "Escape") {
      this.shapes.select(null);
      this.#focus(`shape-${id}`);
    } else {
      return false;
    }
    return true;
  }
}

function stepped([x, y], [dx, dy], event) {
  const step = event.shiftKey ? LARGE_STEP : STEP;
  return [rounded(x + dx * step), rounded(y + dy * step)];
}

function line(at) {
  const [[x0, y0], [x1, y1]] = arrow(at, ARROW_PX);
  const [dx, dy] = [(x1 - x0) / ARROW_PX, (y1 - y0) / ARROW_PX];
  const head = [[x1 - 8 * dx - 5 * dy, y1 - 8 * dy + 5 * dx], [x1, y1], [x1 - 8 * dx + 5 * dy, y1 - 8 * dy - 5 * dx]];
  return [
    svg("polyline", {class: "edge", points: at.join(" ")}),
    svg("polyline", {class: "arrow", points: [[x0, y0], [x1, y1]].join(" ")}),
    svg("polyline", {class: "arrow", points: head.join(" ")}),
    svg("text", {class: "direction", x: x1 + 12 * dx, y: y1 + 12 * dy + 4, "text-anchor": "middle"}, words.in),
  ];
}

function nameAt({kind}, at) {
  const [x, y] = kind === "line" ? at[0] : at.reduce((best, each) => each[1] < best[1] ? each : best);
  return {x: x + 6, y: y + 16};
}
