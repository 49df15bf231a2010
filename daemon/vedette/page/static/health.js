// The section "health": how the device is, what to do about it, and how that went over the last hours or days.

import {Curve} from "./charts.js";
import {h, replace, setShown, setText} from "./dom.js";
import {facts, reasonCards, renew, showNotice, table} from "./tables.js";
import {texts} from "./texts.js";

const EVERY_MS = 60_000;
const WEEK_EVERY = 10;      // of these times: a week of minutes is much to send
const SHORTEST_S = 600;     // of the time axis

/** Health of the chosen device. */
export class Health {
  #timer;
  #asked = 0;

  constructor(app) {
    this.app = app;
    const words = texts.health;
    this.notice = h("p", {class: "notice", hidden: true});
    this.state = h("p", {class: "state"});
    this.reasons = h("div");
    this.hours = h("select", {"aria-label": words.time, onchange: () => void this.#load()},
      Object.entries(words.ranges).map(([value, text]) => h("option", {value}, text)));
    this.curvesSaid = h("p", {class: "muted", hidden: true});
    this.curvesBox = h("div", {class: "curves"});
    this.curves = {
      age: new Curve(words.age, [{name: words.age, colour: "--chart-1"}], words.ms, 0),
      rate: new Curve(words.rate, [{name: words.captured, colour: "--chart-1"},
        {name: words.detected, colour: "--chart-2"}], words.perSecond, 0),
      temperature: new Curve(words.temperature, [{name: words.temperature, colour: "--chart-1"}], words.celsius),
      score: new Curve(words.score, [{name: words.score, colour: "--chart-1"}], words.scoreValue),
    };
    this.frames = h("div");
    this.drift = h("div", {class: "stack"});
    this.device = h("div");
    this.element = h("section", {class: "health stack", "aria-labelledby": "health-title"},
      h("h2", {id: "health-title"}, texts.page.sections.health),
      this.notice,
      h("div", {class: "card stack"}, this.state, this.reasons),
      h("div", {class: "card stack"},
        h("div", {class: "card-head"}, h("h3", {}, words.curvesTitle), this.hours),
        this.curvesSaid,
        replace(this.curvesBox, Object.values(this.curves).map((curve) => curve.element))),
      h("div", {class: "halves"},
        h("div", {class: "card stack"}, h("h3", {}, words.framesTitle), this.frames),
        h("div", {class: "card stack"}, h("h3", {}, words.deviceTitle), this.device)),
      h("div", {class: "card stack"}, h("h3", {}, words.driftTitle), this.drift));
  }

  show() {
    let times = 0;
    this.#timer = setInterval(() => {
      times += 1;
      if (!document.hidden && (this.hours.value === "24" || times % WEEK_EVERY === 0)) void this.#load();
    }, EVERY_MS);
    void this.#load();
  }

  hide() {
    clearInterval(this.#timer);
    this.#asked += 1;
  }

  update() {
    showNotice(this);
    const current = this.app.current;
    const health = current?.messages.health;
    if (current?.device && current.device !== this.of) void this.#load();
    setText(this.state, health ? texts.health.state(health.state, health.at, current.reachable, this.app.now())
      : current?.reachable ? texts.health.noneYet : "");
    this.state.dataset.state = health && current.reachable ? health.state : "";
    renew(this.reasons, [health?.reasons, Object.keys(this.app.reasons).length], () =>
      (health?.reasons.length ? reasonCards(this.app, health.reasons) : null));
    renew(this.frames, health?.capture, () => (health ? frames(health.capture) : texts.health.noneYet));
    renew(this.drift, [health?.drift, Boolean(health)], () => (health ? drift(health.drift) : texts.health.noneYet));
    renew(this.device, health?.at, () =>
      (health ? facts(texts.health.facts(health)) : texts.health.noneYet));
  }

  async #load() {
    const device = this.app.current?.device;
    if (!device) return;
    this.of = device;
    const asked = ++this.#asked;
    const hours = Number(this.hours.value);
    let said = "";
    try {
      const minutes = await this.app.get("api/minutes", {device, hours});
      if (asked !== this.#asked) return;
      const to = this.app.now() / 1000;
      const range = [Math.max(to - hours * 3600, Math.min((minutes.at[0] ?? 0), to - SHORTEST_S)), to];
      this.curves.age.show(minutes.at, [minutes.age_ms], range);
      this.curves.rate.show(minutes.at, [minutes.captured_per_s, minutes.detected_per_s], range);
      this.curves.temperature.show(minutes.at, [minutes.temperature_c], range);
      this.curves.score.show(minutes.at, [minutes.score], range);
      if (!minutes.at.length) said = texts.health.noMinutes;
      setShown(this.curvesBox, minutes.at.length > 0);
    } catch (error) {
      if (asked !== this.#asked) return;
      said = texts.health.curvesFailed(error.message);
    }
    setText(this.curvesSaid, said);
    setShown(this.curvesSaid, Boolean(said));
  }
}

/** What became of each frame: the counts add up. */
function frames(capture) {
  const words = texts.health;
  const dropped = Object.entries(capture.dropped).filter(([, number]) => number);
  return table(words.framesCaption, [words.what, words.frames, words.share], [
    [words.allCaptured, capture.captured], [words.detectedIn, capture.detected],
    ...dropped.map(([cause, number]) => [words.dropped(cause), number]), [words.pending, capture.pending],
  ].map(([name, number]) => [name, words.number(number), words.shareOf(number, capture.captured)]));
}

function drift(found) {
  const words = texts.health;
  if (!found) return h("p", {}, words.noDrift);
  const labels = Object.entries(found.labels);
  return [
    h("p", {class: "small muted"}, words.driftIs(found.learning_hours)),
    labels.length ? table(words.driftCaption, [words.label, words.mean, words.baseline, words.change, words.scores],
      labels.map(([label, {mean, baseline, count}]) => [label, words.scoreValue(mean), words.baselineOf(baseline),
        words.changeOf(mean, baseline), words.number(count)])) : h("p", {}, words.noLabels),
    facts(words.driftFacts(found)),
  ];
}
