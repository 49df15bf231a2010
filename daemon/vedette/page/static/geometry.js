// Rules for what a person draws: masks, zones, lines and the region, in 0-1 of the frame.
//
// Invariants: pure; what passes here, the configuration takes (config/scene.py and config/camera_values.py); a
// coordinate that a person sets has at most four digits.
//
// A shape is {id, kind, name, points, labels, loiter_s, hold_s}. `kind` is roi, mask, zone or line. The points of a
// roi are its upper left and its lower right corner. Only zones and lines have a name and labels, only zones seconds.

const DIGITS = 1e4;
const NAME_MAX = 64;
// What the daemon refuses in a name, or in a key of its configuration.
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]|\p{Surrogate}/u;

export const POINTS_MIN = Object.freeze({roi: 2, mask: 3, zone: 3, line: 2});
export const POINTS_MAX = Object.freeze({roi: 2, mask: Infinity, zone: Infinity, line: 2});

export function isNamed(kind) {
  return kind === "zone" || kind === "line";
}

/** Return a number within 0-1, rounded to four digits. */
export function rounded(value) {
  return Math.round(Math.min(Math.max(value, 0), 1) * DIGITS) / DIGITS;
}

/** Return the names of all problems for which the configuration would refuse a shape. `shapes`: it and all others. */
export function problemsOf(shape, shapes) {
  const problems = isNamed(shape.kind) ? nameProblems(shape, shapes) : [];
  const problem = pointsProblem(shape);
  if (problem) {
    problems.push(problem);
  }
  if (shape.loiter_s !== null && !(shape.loiter_s > 0 && isFinite(shape.loiter_s))) {
    problems.push("loiter");
  }
  if (shape.kind === "zone" && !(shape.hold_s !== null && shape.hold_s >= 0 && isFinite(shape.hold_s))) {
    problems.push("hold");
  }
  return problems;
}

function nameProblems(shape, shapes) {
  if (shape.name === "") {
    return ["name_empty"];
  }
  if ([...shape.name].length > NAME_MAX) {
    return ["name_long"];
  }
  if (CONTROL.test(shape.name)) {
    return ["name_control"];
  }
  const same = shapes.some((other) => other.id !== shape.id && other.kind === shape.kind && other.name === shape.name);
  return same ? ["name_twice"] : [];
}

function pointsProblem({kind, points}) {
  if (points.some((point) => point.some((each) => !(each >= 0 && each <= 1)))) {
    return "range";
  }
  if (points.length < POINTS_MIN[kind]) {
    return "corners";
  }
  const [[x0, y0], [x1, y1]] = points;
  if (kind === "roi") {
    return x0 < x1 && y0 < y1 ? null : "region";
  }
  if (kind === "line") {
    return x0 === x1 && y0 === y1 ? "length" : null;
  }
  return hasInside(points) ? null : "inside";
}

/** Return whether a polygon has an inside. */
function hasInside([[x0, y0], ...others]) {
  return others.some(([x1, y1]) => others.some(([x2, y2]) => (x1 - x0) * (y2 - y0) !== (x2 - x0) * (y1 - y0)));
}

/** Return two opposite corners as upper left and lower right. */
export function rectangle([[x0, y0], [x1, y1]]) {
  return [[Math.min(x0, x1), Math.min(y0, y1)], [Math.max(x0, x1), Math.max(y0, y1)]];
}

/** Return the corners that a person sees: those of a roi are four, clockwise from the upper left. */
export function corners({kind, points}) {
  if (kind !== "roi") {
    return points;
  }
  const [[left, top], [right, bottom]] = points;
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}

/** Return the points after corner `index` was moved to (x, y). A roi stays a rectangle. */
export function moved({kind, points}, index, [x, y]) {
  const to = [rounded(x), rounded(y)];
  if (kind !== "roi") {
    return points.map((point, at) => at === index ? to : point);
  }
  const [[left, top], [right, bottom]] = points;
  return rectangle([
    [index === 0 || index === 3 ? to[0] : left, index < 2 ? to[1] : top],
    [index === 1 || index === 2 ? to[0] : right, index > 1 ? to[1] : bottom],
  ]);
}

/** Return where the arrow of a line begins and ends, in pixels: it points where `in` is, right along the line. */
export function arrow([[x0, y0], [x1, y1]], length) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const size = Math.hypot(dx, dy) || 1;
  const middle = [(x0 + x1) / 2, (y0 + y1) / 2];
  return [middle, [middle[0] - dy / size * length, middle[1] + dx / size * length]];
}

/** Return the first of zone-1, zone-2, … that is no shape's name. */
export function freeName(kind, shapes) {
  const taken = new Set(shapes.filter((shape) => shape.kind === kind).map((shape) => shape.name));
  let number = 1;
  while (taken.has(`${kind}-${number}`)) {
    number += 1;
  }
  return `${kind}-${number}`;
}
