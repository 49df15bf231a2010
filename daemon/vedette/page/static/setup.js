// The section "setup": draw the region, masks, zones and lines, choose thresholds, try them, and take them as YAML.
//
// Invariants: nothing that a person drew is lost by an answer of the daemon: what it runs replaces the draft only while
// the draft says the same. Only `try` changes the daemon, and a region or masks are never part of it.

import {h, replace, setText} from "./dom.js";
import {differences, hasUntriable, needsRestart, overlaid, same, shapesOf, triable, withShapes} from "./draft.js";
import {draw, Feed} from "./picture.js";
import {Thresholds} from "./preview.js";
import {ShapeList} from "./shapelist.js";
import {Settings} from "./settings.js";
import {Shapes} from "./shapes.js";
import {Stage} from "./stage.js";
import {texts} from "./texts.js";
import {thresholdOf} from "./thresholds.js";
import {toYaml} from "./yaml.js";

const words = texts.setup;
const KINDS = ["zone", "line", "mask", "roi"];
const RESULTS_EVERY_MS = 10_000;

export class Setup {
  #device = "";
  #running = null;      // what the daemon runs now, with what is tried
  #draft = null;        // the same with the thresholds that are wanted; the shapes are in `shapes`
  #feed = null;
  #timer = null;
  #isShown = false;
  #hasPicture = false;
  #isBusy = false;

  constructor(app) {
    this.app = app;
    this.shapes = new Shapes();
    this.canvas = h("canvas", {class: "setup-picture", width: 640, height: 360, "aria-hidden": "true"});
    this.stage = new Stage(this.canvas, this.shapes, {
      onDrawing: () => this.#showDrawing(), announce: (text, options) => app.announce(text, options)});
    this.list = new ShapeList(this.shapes);
    this.thresholds = new Thresholds((keys) => this.#setDetector(keys));
    this.shapes.addEventListener("change", () => this.#showChanges());
    new ResizeObserver(() => this.#drawPicture()).observe(this.canvas);
    this.settings = new Settings();
    this.away = h("p", {class: "empty"});
    this.body = h("div", {class: "stack"}, this.#pictureCard(), this.#thresholdCard(), this.#applyCard(),
      this.settings.element);
    this.element = h("section", {
      class: "setup", "aria-labelledby": "setup-title", onkeydown: (event) => this.#key(event)},
    h("div", {class: "section-head"}, h("h2", {id: "setup-title"}, texts.page.sections.setup)), this.away, this.body);
  }

  update() {
    const {config, current} = this.app;
    if (current?.device !== this.#device) {
      this.#device = current?.device;
      this.#running = null;
      this.#hasPicture = false;
      this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
      this.stage.cancel();
      this.#follow();
    }
    if (config?.config) this.#adopt(overlaid(config.config, config.tried ?? {}));
    this.settings.update(config);
    this.away.hidden = this.#running !== null;
    this.body.hidden = this.#running === null;
    setText(this.away, current && !current.reachable ? words.away : words.noConfig);
    this.#showStale();
    if (this.#running) this.#showChanges();
  }

  show() {
    this.#isShown = true;
    this.#follow();
    void this.app.refreshConfig();
  }

  hide() {
    this.#isShown = false;
    this.#unfollow();
  }

  #follow() {
    this.#unfollow();
    if (!this.#isShown || !this.#device) return;
    this.#feed = new Feed(this.app, this.#device, () => this.#drawPicture());
    this.#feed.start();
    void this.#readResults();
    this.#timer = setInterval(() => void this.#readResults(), RESULTS_EVERY_MS);
  }

  #unfollow() {
    this.#feed?.close();
    this.#feed = null;
    clearInterval(this.#timer);
  }

  /** Draw the newest picture, with the boxes that the wanted thresholds would leave. */
  #drawPicture() {
    const picture = this.#feed?.picture;
    this.#showStale();
    if (!picture) return;
    this.#hasPicture = true;
    this.canvas.style.aspectRatio = `${picture.image.width} / ${picture.image.height}`;
    const wanted = this.#draft?.detector;
    const detections = picture.result.detections.filter(({label, score}) =>
      !wanted || score === null || score >= thresholdOf(wanted, label));
    draw(this.canvas, {...picture, result: {...picture.result, detections}}, {boxes: true, names: true});
  }

  /** Say why there is no new picture. */
  #showStale() {
    const why = this.app.current?.reachable ? "" : words.away;
    setText(this.stale, this.#hasPicture ? why && `${why} ${words.lastPicture}` : `${why} ${words.noPicture}`.trim());
  }

  async #readResults() {
    if (document.hidden || !this.app.current?.reachable) return;
    const device = this.#device;
    try {
      const {results} = await this.app.get("api/results", {device});
      if (device !== this.#device) return;
      this.thresholds.results = results;
      if (this.#running) this.thresholds.update(this.#running.detector, this.#draft.detector);
    } catch {
      // The next time asks again; the strip says what is wrong.
    }
  }

  #pictureCard() {
    this.hint = h("p", {class: "muted small", id: "setup-hint"});
    this.stage.element.setAttribute("aria-describedby", "setup-hint");
    this.stale = h("p", {class: "warn small"});
    this.undo = h("button", {class: "button small", type: "button", onclick: () => this.shapes.undo()}, words.undo);
    this.reset = h("button", {class: "button small", type: "button", onclick: () => this.#discard()}, words.reset);
    this.tools = h("div", {class: "row"}, KINDS.map((kind) => h("button", {class: "button small", type: "button",
      onclick: () => this.stage.draw(kind)}, words.draw[kind])), this.undo, this.reset);
    this.drawingTools = h("div", {class: "row"},
      h("button", {class: "button small primary", type: "button", onclick: () => this.stage.finish()}, words.finish),
      h("button", {class: "button small", type: "button", onclick: () => this.stage.back()}, words.back),
      h("button", {class: "button small", type: "button", onclick: () => this.stage.cancel()}, words.cancel));
    this.#showDrawing();
    return h("div", {class: "card setup-grid"},
      h("div", {class: "stack"}, this.tools, this.drawingTools,
        h("div", {class: "setup-frame"}, this.canvas, this.stage.element), this.stale, this.hint),
      h("div", {class: "stack"}, h("h3", {}, words.shapes), this.list.element));
  }

  #thresholdCard() {
    return h("div", {class: "card stack"}, h("h3", {}, words.thresholds), this.thresholds.element);
  }

  #applyCard() {
    this.problems = h("p", {class: "problem", role: "status"});
    this.tried = h("p", {role: "status"});
    this.try = h("button", {class: "button primary", type: "button", onclick: () => void this.#try()}, words.try);
    this.takeBack = h("button", {class: "button", type: "button", onclick: () => void this.#takeBack()},
      words.takeBack);
    this.tryNote = h("p", {class: "muted"});
    this.allowYaml = h("pre", {tabindex: "0", "aria-label": words.allowYaml});
    this.allowHow = h("div", {class: "stack"}, h("p", {}, words.notAllowed), this.allowYaml);
    this.nothing = h("p", {class: "muted"}, words.nothing);
    this.yaml = h("pre", {tabindex: "0", "aria-label": words.yaml});
    this.copy = h("button", {class: "button", type: "button", onclick: () => void this.#copy()}, words.copy);
    this.restart = h("p", {class: "warn"}, words.restart);
    this.forGood = h("div", {class: "stack"}, h("p", {}, words.forGood), this.yaml, h("div", {class: "row"}, this.copy),
      h("ol", {class: "setup-steps"}, h("li", {}, words.save), h("li", {}, words.apply, h("code", {}, words.command)),
        h("li", {}, words.next)),
      this.restart);
    return h("div", {class: "card setup-apply"},
      h("div", {class: "stack"}, h("h3", {}, words.tryTitle), this.problems, this.tried,
        h("div", {class: "row"}, this.try, this.takeBack), this.tryNote, this.allowHow),
      h("div", {class: "stack"}, h("h3", {}, words.forGoodTitle), this.nothing, this.forGood));
  }

  /** Take what the daemon runs now. The draft follows if nothing in it was changed. */
  #adopt(running) {
    if (this.#running && same(running, this.#running)) return;
    const isChanged = this.#running && Object.keys(this.#differences()).length > 0;
    this.#running = running;
    if (!isChanged) this.#reset();
  }

  #reset() {
    this.#draft = structuredClone(this.#running);
    this.shapes.reset(shapesOf(this.#running));
  }

  #discard() {
    this.#draft = structuredClone(this.#running);
    this.shapes.replace(shapesOf(this.#running));
  }

  #setDetector(keys) {
    this.#draft = {...this.#draft, detector: {...this.#draft.detector, ...keys}};
    this.#showChanges();
    this.#drawPicture();
  }

  #differences() {
    return differences(this.#running, withShapes(this.#draft, this.shapes.list));
  }

  /** Show what can be done with the draft as it is now. */
  #showChanges() {
    if (!this.#draft) return;
    const {config} = this.app;
    const tried = config?.tried ?? {};
    const found = this.#differences();
    const wanted = overlaid(tried, found);
    const isRight = this.#showProblems();
    const live = Object.keys(triable(found)).length > 0;
    this.thresholds.update(this.#running.detector, this.#draft.detector);
    this.undo.disabled = !this.shapes.canUndo;
    this.reset.disabled = Object.keys(found).length === 0;
    const allowed = this.app.allows("try");
    this.try.disabled = this.#isBusy || !allowed || !isRight || !live || !this.app.current?.reachable;
    this.takeBack.hidden = Object.keys(tried).length === 0;
    this.takeBack.disabled = this.#isBusy || !allowed;
    setText(this.tried, Object.keys(tried).length ? words.tried(namesOf(tried)) : words.notTried);
    setText(this.tryNote, [live && words.tryWhat(namesOf(triable(found))), hasUntriable(found) && words.notTriable]
      .filter(Boolean).join(" ") || words.same);
    this.allowHow.hidden = allowed;
    setText(this.allowYaml, toYaml({page: {allow: [...config?.allow ?? [], "try"]}}));
    const hasYaml = Object.keys(wanted).length > 0;
    this.nothing.hidden = hasYaml;
    this.forGood.hidden = !hasYaml;
    this.copy.disabled = !isRight;
    this.restart.hidden = !needsRestart(wanted);
    setText(this.yaml, isRight ? toYaml(wanted) : words.mendFirst);
  }

  #showProblems() {
    const problems = Object.entries(this.shapes.problems);
    const sentences = problems.map(([id, names]) =>
      `${this.shapes.titleOf(Number(id))}: ${names.map((name) => words.problems[name]).join(" ")}`);
    setText(this.problems, [...new Set(sentences)].join(" "));
    return problems.length === 0;
  }

  #showDrawing() {
    const kind = this.stage?.drawing?.kind;
    this.tools.hidden = kind !== undefined;
    this.drawingTools.hidden = kind === undefined;
    setText(this.hint, kind ? words.drawHints[kind] : words.hint);
  }

  async #try() {
    await this.#command(overlaid(this.app.config?.tried ?? {}, triable(this.#differences())), words.triedNow);
  }

  /** Have the daemon run its configuration again. What is drawn stays. */
  async #takeBack() {
    const [draft, shapes] = [this.#draft, this.shapes.list];
    await this.#command({}, words.takenBack);
    this.#draft = draft;
    if (!same(this.shapes.list, shapes)) this.shapes.replace(shapes);
    this.#showChanges();
  }

  async #command(body, done) {
    this.#isBusy = true;
    this.#showChanges();
    try {
      const reply = await this.app.command("try", body);
      if (reply.status !== "ok") throw new Error(reply.error);
      this.app.announce(done);
    } catch (error) {
      this.app.announce(words.refused(error.message), {bad: true});
    }
    this.#isBusy = false;
    await this.app.refreshConfig();
    this.#showChanges();
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.yaml.textContent);
    } catch {
      // Without TLS a browser has no clipboard for scripts, but a selection can be copied.
      getSelection().selectAllChildren(this.yaml);
      if (!document.execCommand("copy")) {
        this.app.announce(words.notCopied, {bad: true});
        return;
      }
    }
    this.app.announce(words.copied);
  }

  #key(event) {
    if (this.stage.drawing) {
      if (event.key === "Escape") this.stage.cancel();
      return;
    }
    const isUndo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
    if (isUndo && event.target.type !== "text") {
      event.preventDefault();
      this.shapes.undo();
    }
  }
}

/** The keys of a part of the configuration, dotted; `zones` and `lines` as such. */
function namesOf(part) {
  return Object.entries(part).flatMap(([section, value]) => section === "zones" || section === "lines" ? [section]
    : Object.keys(value).map((key) => `${section}.${key}`));
}
