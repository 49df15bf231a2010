// The part of the configuration that a person changes on the page: as the daemon gives it, as shapes, and what differs.
//
// Invariants: pure; what nobody changed stays as it was, to the digit; `zones` and `lines` are whole values, since
// a name that is gone is a difference too. The order of names is none.

const WHOLE = ["zones", "lines"];

/** Return the configuration with what is tried now in place of what the file says. */
export function overlaid(config, tried) {
  const running = structuredClone(config);
  for (const [section, value] of Object.entries(tried)) {
    running[section] = WHOLE.includes(section) ? value : {...running[section], ...value};
  }
  return running;
}

/** Return the shapes of a configuration, with ids from 1. */
export function shapesOf({camera, zones, lines}) {
  const shapes = [
    ...camera.roi ? [{kind: "roi", points: [camera.roi.slice(0, 2), camera.roi.slice(2)]}] : [],
    ...camera.masks.map((points) => ({kind: "mask", points})),
    ...Object.entries(zones).map(([name, {points, ...more}]) => ({kind: "zone", name, points, ...more})),
    ...Object.entries(lines).map(([name, {from, to, ...more}]) => ({kind: "line", name, points: [from, to], ...more})),
  ];
  return shapes.map((shape, index) => ({
    id: index + 1, name: "", labels: [], loiter_s: null, hold_s: null, ...structuredClone(shape)}));
}

/** Return the configuration with these shapes in place of its own. */
export function withShapes(config, shapes) {
  const of = (kind) => shapes.filter((shape) => shape.kind === kind);
  const roi = of("roi")[0];
  return {
    ...config,
    camera: {
      ...config.camera,
      roi: roi ? roi.points.flat() : null,
      masks: of("mask").map(({points}) => points),
    },
    zones: Object.fromEntries(of("zone").map((shape) => [shape.name, {
      points: shape.points, ...labelsOf(shape), ...loiterOf(shape), hold_s: shape.hold_s}])),
    lines: Object.fromEntries(of("line").map((shape) => [shape.name, {
      from: shape.points[0], to: shape.points[1], ...labelsOf(shape)}])),
  };
}

function labelsOf({labels}) {
  return labels.length > 0 ? {labels} : {};
}

function loiterOf({loiter_s}) {
  return loiter_s === null ? {} : {loiter_s};
}

/** Return the sections and keys of `wanted` that differ from `base`. */
export function differences(base, wanted) {
  const found = {};
  const plain = withShapes(base, shapesOf(base));    // without what a zone need not state
  for (const [section, value] of Object.entries(wanted)) {
    if (WHOLE.includes(section)) {
      if (!same(plain[section], value)) {
        found[section] = value;
      }
      continue;
    }
    const keys = Object.entries(value).filter(([key, each]) => !same(base[section]?.[key], each));
    if (keys.length > 0) {
      found[section] = Object.fromEntries(keys);
    }
  }
  return found;
}

/** Return the differences that can be tried: all but those of the camera. */
export function triable({camera, ...live}) {
  return live;
}

/** Return whether a region or masks are among the differences. */
export function hasUntriable({camera}) {
  return camera !== undefined;
}

/** Return whether masks are among the differences. */
export function needsRestart({camera}) {
  return camera?.masks !== undefined;
}

/** Return the labels that a person wrote, with commas between them. */
export function labelsFrom(written) {
  return [...new Set(written.split(",").map((label) => label.trim()).filter((label) => label !== ""))];
}

export function same(one, other) {
  return canonical(one) === canonical(other);
}

function canonical(value) {
  return JSON.stringify(value, (_, each) => each !== null && typeof each === "object" && !Array.isArray(each)
    ? Object.fromEntries(Object.entries(each).sort(([one], [other]) => one < other ? -1 : 1)) : each);
}
