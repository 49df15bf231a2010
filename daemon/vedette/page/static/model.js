// The section "model": which one runs, which one comes, and what a person may do about it.

import {h, replace, setShown, setText} from "./dom.js";
import {facts, renew, showNotice, table} from "./tables.js";
import {texts} from "./texts.js";

const SAME_BOX = 0.5;       // from this IoU on, two boxes of one label are the same thing

/** Models of the chosen device. */
export class Model {
  #asked = 0;
  #models = null;
  #error = "";
  #shadow = null;
  #compared = {frames: 0, both: 0, running: 0, coming: 0};

  constructor(app) {
    this.app = app;
    const words = texts.model;
    this.notice = h("p", {class: "notice", hidden: true});
    this.state = h("p", {class: "state"});
    this.progress = h("progress", {max: 100, "aria-label": words.progress, hidden: true});
    this.progressSaid = h("p", {class: "muted", hidden: true});
    this.running = h("div");
    this.newest = h("p");
    this.outcome = h("p");
    this.check = h("button", {class: "button", type: "button", onclick: () => void this.#check()}, words.check);
    this.back = h("button", {class: "button", type: "button", "aria-haspopup": "dialog",
      onclick: () => this.#askBack()}, words.back);
    this.buttonsSaid = h("ul", {class: "small muted"});
    this.answer = h("p", {class: "model-answer", hidden: true});
    this.shadow = h("div", {class: "card stack", hidden: true});
    this.models = h("div", {class: "stack"});
    this.question = h("p", {id: "back-question"});
    this.dialog = h("dialog", {class: "dialog", "aria-labelledby": "back-title", "aria-describedby": "back-question"},
      h("h3", {id: "back-title"}, words.backTitle), this.question,
      h("form", {method: "dialog", class: "row"},
        h("button", {class: "button", value: "no"}, words.cancel),
        h("button", {class: "button danger", value: "yes"}, words.back)));
    this.dialog.addEventListener("close", () => {
      if (this.dialog.returnValue === "yes") void this.#send("rollback", words.went);
    });
    this.element = h("section", {class: "model stack", "aria-labelledby": "model-title"},
      h("h2", {id: "model-title"}, texts.page.sections.model),
      this.notice,
      h("div", {class: "halves"},
        h("div", {class: "card stack"}, h("h3", {}, words.runningTitle), this.state, this.running),
        h("div", {class: "card stack"}, h("h3", {}, words.newestTitle), this.newest, this.progress, this.progressSaid,
          this.outcome, h("div", {class: "row"}, this.check, this.back), this.buttonsSaid, this.answer)),
      this.shadow,
      h("div", {class: "card stack"}, h("h3", {}, words.listTitle), this.models), this.dialog);
  }

  show() {
    void this.#load();
  }

  hide() {
    this.#asked += 1;
  }

  update() {
    const {app} = this;
    showNotice(this);
    const {model, info, health, shadow} = app.current?.messages ?? {};
    if (app.current?.device !== this.of) {
      this.of = app.current?.device;
      this.#models = this.#shadow = null;
      this.#compared = {frames: 0, both: 0, running: 0, coming: 0};
    }
    const known = JSON.stringify([app.current?.device, app.current?.reachable, model]);
    if (known !== this.known) {
      this.known = known;
      void this.#load();
    }
    setText(this.state, model ? texts.model.state(model) : app.current?.reachable ? texts.model.noneYet : "");
    this.#showProgress(model);
    renew(this.running, [model, info?.detector, health?.inference.xnnpack_share], () =>
      (model ? facts(texts.model.running(model, info?.detector, health?.inference)) : texts.model.noneYet));
    setText(this.newest, model ? texts.model.newest(model) : texts.model.noneYet);
    setText(this.outcome, model?.last_outcome ? texts.model.outcome(model.last_outcome) : "");
    this.#showButtons(model);
    this.#showShadow(shadow, model?.state === "shadow");
  }

  #showProgress(model) {
    const trial = this.#models?.trial;
    const said = model?.state === "trial" && trial ? texts.model.trial(trial, this.#models.active, this.app.now())
      : model?.in_progress ? texts.model.inProgress(model) : "";
    setText(this.progressSaid, said);
    setShown(this.progressSaid, Boolean(said));
    const percent = model?.in_progress ? model.update_percentage
      : model?.state === "trial" ? trialPercent(trial, this.#models?.active?.trial) : undefined;
    setShown(this.progress, percent !== undefined);
    if (percent === null) this.progress.removeAttribute("value");
    else this.progress.value = percent ?? 0;
  }

  #showButtons(model) {
    const {app} = this;
    const canAsk = Boolean(app.current?.reachable && model);
    const pinned = model?.state === "pinned";
    const previous = this.#models?.previous;
    const said = [];
    if (canAsk && app.config && !app.allows("update")) said.push(texts.model.noCheck);
    if (canAsk && app.config && !app.allows("rollback")) said.push(texts.model.noBack);
    else if (canAsk && pinned) said.push(texts.model.pinnedBack);
    else if (canAsk && this.#models && !previous) said.push(texts.model.noPrevious);
    setShown(this.check, canAsk && app.allows("update"));
    setShown(this.back, canAsk && app.allows("rollback") && !pinned && Boolean(previous));
    renew(this.buttonsSaid, said, () => said.map((text) => h("li", {}, text)));
    setShown(this.buttonsSaid, said.length > 0);
  }

  async #load() {
    const device = this.app.current?.device;
    if (!device) return;
    const asked = ++this.#asked;
    try {
      if (!this.app.current.reachable) throw new Error(texts.notice.noAnswer);
      const models = await this.app.get("api/models", {device});
      if (asked !== this.#asked) return;
      this.#models = models;
      this.#error = "";
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#models = null;
      this.#error = error.message;
    }
    renew(this.models, [this.#models, this.#error], () => (this.#models ? list(this.#models)
      : h("p", {}, texts.model.listFailed(this.#error))));
    this.#showProgress(this.app.current?.messages.model);
    this.#showButtons(this.app.current?.messages.model);
  }

  #check() {
    return this.#send("update", texts.model.asked);
  }

  #askBack() {
    replace(this.question, texts.model.backQuestion(this.#models.active, this.#models.previous));
    this.dialog.returnValue = "no";
    this.dialog.showModal();
  }

  async #send(name, done) {
    this.check.disabled = this.back.disabled = true;
    let said, bad = false;
    try {
      const reply = await this.app.command(name);
      bad = reply.status !== "ok";
      said = bad ? texts.model.notDone(reply.error) : done(reply.data);
    } catch (error) {
      bad = true;
      said = texts.model.notDone(error.message);
    }
    this.check.disabled = this.back.disabled = false;
    setText(this.answer, said);
    setShown(this.answer, true);
    this.app.announce(said, {bad});
    void this.#load();
  }

  #showShadow(shadow, isOn) {
    setShown(this.shadow, isOn || this.#compared.frames > 0);
    if (shadow && shadow.frame.seq !== this.#shadow?.frame.seq) {
      this.#shadow = shadow;
      const both = matches(shadow.active_detections, shadow.detections);
      this.#compared.frames += 1;
      this.#compared.both += both;
      this.#compared.running += shadow.active_detections.length - both;
      this.#compared.coming += shadow.detections.length - both;
    }
    renew(this.shadow, [isOn, this.#compared], () => comparison(this.#shadow, this.#compared, isOn));
  }
}

/** How much of what a trial needs is there, in percent. Undefined if that is not known. */
function trialPercent(trial, required) {
  if (!trial || !required) return undefined;
  return 100 * Math.min(1, trial.frames / required.frames, trial.seconds / (60 * required.minutes));
}

/** What both models see in the newest frame, and in all that were compared. */
function comparison(shadow, compared, isOn) {
  const words = texts.model;
  const title = h("h3", {}, words.shadowTitle);
  if (!shadow) return [title, h("p", {}, isOn ? words.shadowNone : "")];
  const labels = [...new Set([...shadow.active_detections, ...shadow.detections].map(({label}) => label))].sort();
  return [title, h("p", {}, words.shadowIs(shadow.model)), h("p", {}, words.compared(compared)),
    h("p", {}, words.shadowTimes(shadow)),
    labels.length ? table(words.shadowCaption(shadow.frame.captured_at),
      [words.label, words.runningModel, words.comingModel], labels.map((label) => [label,
        words.scores(shadow.active_detections, label), words.scores(shadow.detections, label)]))
      : h("p", {}, words.shadowEmpty)];
}

/** The number of pairs of boxes that show the same thing. Each box is in one pair at most. */
function matches(ours, theirs) {
  const left = [...theirs];
  let found = 0;
  for (const one of ours) {
    const index = left.findIndex((other) => other.label === one.label && iou(one.box, other.box) >= SAME_BOX);
    if (index >= 0) {
      left.splice(index, 1);
      found += 1;
    }
  }
  return found;
}

function iou(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return width * height / (area(one) + area(other) - width * height);
}

/** The models on the device, and those that it refused. */
function list(models) {
  const words = texts.model;
  const rows = ["active", "previous", "candidate"].filter((role) => models[role])
    .map((role) => [words.roles[role], ...words.row(models[role])]);
  const refused = [...models.refused].reverse();
  return [
    models.trouble ? h("p", {class: "notice"}, models.trouble) : null,
    rows.length ? table(words.listCaption, words.listHead, rows) : h("p", {}, words.listNone),
    models.held === null ? null : h("p", {}, words.held(models.held)),
    refused.length ? table(words.refusedCaption, words.refusedHead, refused.map(words.refusedRow))
      : h("p", {class: "muted"}, words.refusedNone),
  ];
}
