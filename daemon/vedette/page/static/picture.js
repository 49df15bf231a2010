// Pictures of a device with their results, and how they are drawn.
//
// A feed has one request under way, and asks again only when it has drawn: so a slow browser misses pictures in place of
// queuing them. The result comes inside the JPEG, in its comment segments, so boxes and picture are always of one frame.

import {texts} from "./texts.js";

const WAIT_S = 20;
const FIRST_WAIT_S = 2;         // then an old picture is better than none
const AT_ONCE = 4;              // a browser has six connections to a host, and state and commands need some
const SHORTEST_MS = 100;
const RATE_OVER_MS = 5000;
const LONGEST_BACKOFF_MS = 8_000;
const COLOURS = {person: "#5ab8ff", car: "#ffa552", bicycle: "#c9a2ff", dog: "#5fe08d", cat: "#ffe45c", parcel: "#f5d547",
  cone: "#ff8a80", truck: "#ff8fb3", bus: "#4fe3e0", motorcycle: "#b7e05c"};
const OTHERS = ["#a9b8ff", "#4fe3e0", "#ffb3c7", "#b7e05c", "#ffc46b", "#d9b3ff", "#7fe3b5", "#ffd966"];
const NARROW = 600;             // CSS pixels: there names are the label alone
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

let underWay = 0;
const waiting = [];

/** Follows the pictures of one device while it is started. */
export class Feed {
  /** The newest picture: {image: ImageBitmap, result, seq}. The feed closes its image when a newer one comes. */
  picture = null;

  /** Why the last request failed, or null. */
  problem = null;

  #app;
  #listener;
  #waitS;
  #stopping = null;
  #times = [];

  /** `listener` is called after each picture and each failure. `waitS`: how long a request waits for a picture. */
  constructor(app, device, listener, {waitS = WAIT_S} = {}) {
    this.#app = app;
    this.device = device;
    this.#listener = listener;
    this.#waitS = waitS;
  }

  /** Begins to ask. Safe to call twice. */
  start() {
    if (this.#stopping) return;
    this.#stopping = new AbortController();
    void this.#follow(this.#stopping.signal);
  }

  /** Ends the request; the newest picture stays. Safe to call twice. */
  stop() {
    this.#stopping?.abort();
    this.#stopping = null;
    this.#times = [];
    this.#app.results.delete(this.device);      // nobody knows any more how old the newest one is
  }

  /** Stops, and gives the memory of the picture back. */
  close() {
    this.stop();
    this.picture?.image.close();
    this.picture = null;
  }

  /** Pictures per second in the last five seconds; 0 while none come. */
  get rate() {
    const now = performance.now();
    const times = this.#times.filter((at) => now - at < RATE_OVER_MS);
    return times.length > 1 ? (times.length - 1) * 1000 / (now - times[0]) : 0;
  }

  async #follow(signal) {
    let failures = 0;
    for (let asked = 0; !signal.aborted; asked += 1) {
      const began = performance.now();
      try {
        await this.#take(await this.#ask(signal, asked === 0 ? FIRST_WAIT_S : this.#waitS), signal);
        failures = 0;
        if (this.problem) this.#tell(null);
      } catch (error) {
        if (signal.aborted || error.status === 401) return;
        failures += 1;
        this.#tell(error);
        await delay(Math.min(LONGEST_BACKOFF_MS, 500 * 2 ** failures) * (0.75 + Math.random() / 2), signal);
      }
      await delay(SHORTEST_MS - (performance.now() - began), signal);
    }
  }

  async #ask(signal, wait) {
    if (underWay >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
    underWay += 1;
    try {
      if (signal.aborted) return null;
      const answer = await this.#app.fetch("frame.jpg", {device: this.device, after: this.picture?.seq, wait}, {signal});
      return answer.status === 204 ? null : {seq: answer.headers.get("Vedette-Seq"), jpeg: await answer.arrayBuffer()};
    } finally {
      underWay -= 1;
      waiting.shift()?.();
    }
  }

  async #take(answer, signal) {
    if (!answer) return;
    const result = resultOf(answer.jpeg);
    const image = await createImageBitmap(new Blob([answer.jpeg], {type: "image/jpeg"}));
    if (signal.aborted) {
      image.close();
      return;
    }
    this.picture?.image.close();
    this.picture = {image, result, seq: answer.seq ?? result.seq};
    this.#app.results.set(this.device, result);
    this.#times = [...this.#times.filter((at) => performance.now() - at < RATE_OVER_MS), performance.now()];
    this.#tell(null);
  }

  #tell(problem) {
    this.problem = problem;
    this.#listener();
  }
}

/** Returns the result inside a JPEG (ArrayBuffer): the JSON of its comment segments. Throws Error without one. */
export function resultOf(jpeg) {
  const bytes = new Uint8Array(jpeg);
  const parts = [];
  for (let at = 2; bytes[at] === 0xff && bytes[at + 1] === 0xfe;) {
    const length = bytes[at + 2] << 8 | bytes[at + 3];
    parts.push(bytes.subarray(at + 4, at + 2 + length));
    at += 2 + length;
  }
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let filled = 0;
  for (const part of parts) {
    joined.set(part, filled);
    filled += part.length;
  }
  return JSON.parse(new TextDecoder().decode(joined));
}

/** Returns the colour of a label, the same everywhere and after each start. */
export function colourOf(label) {
  if (Object.hasOwn(COLOURS, label)) return COLOURS[label];
  let hash = 7;
  for (const letter of label) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return OTHERS[hash % OTHERS.length];
}

/**
 * Draws a picture over the whole canvas, in as many pixels as the screen has there. `picture` may be null: then only
 * what lies over it is drawn.
 *
 * Options: `boxes`, `names`, `zones`, `lines`, `masks` (booleans); `config` (the `config` of api/config); `least` (only
 * detections of at least this score).
 */
export function draw(canvas, picture, options = {}) {
  const view = fit(canvas);
  if (!view) return;
  const {context, width, height} = view;
  context.clearRect(0, 0, width, height);
  if (picture) context.drawImage(picture.image, 0, 0, width, height);
  const config = options.config ?? {};
  if (options.masks) {
    for (const points of config.camera?.masks ?? []) drawMask(view, points);
  }
  if (options.zones) {
    for (const [name, zone] of Object.entries(config.zones ?? {})) {
      drawZone(view, name, zone, picture?.result.detections ?? []);
    }
  }
  if (options.lines) {
    for (const [name, line] of Object.entries(config.lines ?? {})) drawLine(view, name, line.from, line.to);
  }
  if (picture && options.boxes) {
    const found = picture.result.detections.filter((each) => (each.score ?? 1) >= (options.least ?? 0));
    for (const each of [...found].reverse()) drawBox(view, each);
    if (options.names) {
      for (const each of [...found].reverse()) drawName(view, each);
    }
  }
}

/** Gives the canvas the pixels of its place on the screen. Returns {context, width, height}, in CSS pixels, or null. */
function fit(canvas) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !height) return null;
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const wide = Math.round(width * ratio);
  const high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = canvas.getContext("2d");
  context.setTransform(wide / width, 0, 0, high / height, 0, 0);
  return {context, width, height};
}

function drawBox({context, width, height}, {label, box: [left, top, right, bottom]}) {
  const shape = [left * width, top * height, (right - left) * width, (bottom - top) * height];
  context.lineJoin = "round";
  context.lineWidth = 4;
  context.strokeStyle = "rgb(0 0 0 / 45%)";
  context.strokeRect(...shape);
  context.lineWidth = 2;
  context.strokeStyle = colourOf(label);
  context.strokeRect(...shape);
}

function drawName(view, {label, score, track, box: [left, top, right]}) {
  const small = view.width < NARROW;
  const text = small ? label : texts.live.thing(label, score, track ?? null);
  const size = small ? 11 : 13;
  view.context.font = `600 ${size}px ${FONT}`;
  const wide = view.context.measureText(text).width + 10;
  const high = size + 6;
  const x = Math.max(0, Math.min(left * view.width - 1, view.width - wide));
  const above = top * view.height - high;
  const y = above >= 0 ? above : top * view.height;
  drawTag(view, text, x, y, wide, high, colourOf(label));
}

function drawTag({context}, text, x, y, wide, high, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.roundRect(x, y, wide, high, 3);
  context.fill();
  context.fillStyle = "#10151c";
  context.textBaseline = "middle";
  context.textAlign = "left";
  context.fillText(text, x + 5, y + high / 2 + 0.5);
}

function trace({context, width, height}, points) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x * width, y * height);
  context.closePath();
}

function outline(context, colour, dash) {
  context.setLineDash(dash);
  context.lineJoin = "round";
  context.lineWidth = 3.5;
  context.strokeStyle = "rgb(0 0 0 / 45%)";
  context.stroke();
  context.lineWidth = 1.75;
  context.strokeStyle = colour;
  context.stroke();
  context.setLineDash([]);
}

function drawMask(view, points) {
  trace(view, points);
  outline(view.context, "#d5dae0", [3, 4]);
  const [x, y] = middle(points);
  drawWords(view, texts.live.mask, x * view.width, y * view.height, "#d5dae0");
}

/** A zone, with the number of things of this very picture that stand in it: their foot counts, as for the device. */
function drawZone(view, name, {points, labels}, detections) {
  const {context, width, height} = view;
  trace(view, points);
  const number = detections.filter(({label, box: [left, , right, bottom]}) => (!labels?.length || labels.includes(label))
    && context.isPointInPath((left + right) / 2 * context.canvas.width, bottom * context.canvas.height)).length;
  const colour = "#8ee6ff";
  context.fillStyle = number ? "rgb(142 230 255 / 22%)" : "rgb(142 230 255 / 8%)";
  context.fill();
  outline(context, colour, [7, 5]);
  const [x, y] = points.reduce((best, point) => (point[0] + point[1] < best[0] + best[1] ? point : best));
  drawWords(view, number ? `${name}: ${number}` : name, x * width + 8, y * height + 12, colour, "left");
}

/** A line with an arrow to the side that counts as `in`: the right hand of who walks from its start to its end. */
function drawLine(view, name, from, to) {
  const {context, width, height} = view;
  const [x1, y1, x2, y2] = [from[0] * width, from[1] * height, to[0] * width, to[1] * height];
  const colour = "#ffd76a";
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const long = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [dx, dy] = [-(y2 - y1) / long, (x2 - x1) / long];
  const [tipX, tipY] = [x + 22 * dx, y + 22 * dy];
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.moveTo(x, y);
  context.lineTo(tipX, tipY);
  context.moveTo(tipX - 7 * dx - 5 * dy, tipY - 7 * dy + 5 * dx);
  context.lineTo(tipX, tipY);
  context.lineTo(tipX - 7 * dx + 5 * dy, tipY - 7 * dy - 5 * dx);
  outline(context, colour, []);
  drawWords(view, texts.live.crossed, tipX + 12 * dx, tipY + 12 * dy, colour);
  drawWords(view, name, x1, y1 - 11, colour);
}

function drawWords({context, width, height}, text, x, y, colour, align = "center") {
  context.font = `600 12px ${FONT}`;
  context.textAlign = align;
  context.textBaseline = "middle";
  const wide = context.measureText(text).width + 6;
  const before = align === "left" ? 3 : wide / 2;
  const at = [Math.min(Math.max(x, before), width - wide + before), Math.min(Math.max(y, 9), height - 9)];
  context.lineJoin = "round";
  context.lineWidth = 3.5;
  context.strokeStyle = "rgb(0 0 0 / 75%)";
  context.strokeText(text, ...at);
  context.fillStyle = colour;
  context.fillText(text, ...at);
}

function middle(points) {
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  return [(Math.min(...xs) + Math.max(...xs)) / 2, (Math.min(...ys) + Math.max(...ys)) / 2];
}

function delay(ms, signal) {
  if (!(ms > 0) || signal.aborted) return undefined;
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
