// The section "broker": whether messages reach it, what waits, and the log of the daemon.

import {h, setShown, setText} from "./dom.js";
import {facts, reasonCards, renew, showNotice} from "./tables.js";
import {texts} from "./texts.js";

const EVERY_MS = 3_000;
const ABOUT_THE_BROKER = new Set(["mqtt_offline", "mqtt_refused", "mqtt_denied", "mqtt_limited", "duplicate_device",
  "outbox_dropping", "spool_failed"]);
const BAD = /\b(WARNING|ERROR|CRITICAL)\b/;

/** Broker and log of the chosen device. */
export class Broker {
  #timer;
  #asked = 0;
  #lines = [];

  constructor(app) {
    this.app = app;
    const words = texts.broker;
    this.notice = h("p", {class: "notice", hidden: true});
    this.state = h("p", {class: "state"});
    this.reasons = h("div");
    this.facts = h("div");
    this.filter = h("input", {type: "search", autocomplete: "off", spellcheck: "false", oninput: () => this.#show()});
    this.onlyBad = h("input", {type: "checkbox", onchange: () => this.#show()});
    this.logSaid = h("p", {class: "small muted"});
    this.log = h("pre", {class: "log", tabindex: "0", role: "region", "aria-label": words.logTitle});
    this.element = h("section", {class: "broker stack", "aria-labelledby": "broker-title"},
      h("h2", {id: "broker-title"}, texts.page.sections.broker),
      this.notice,
      h("div", {class: "card stack"}, this.state, this.reasons, this.facts),
      h("div", {class: "card stack"},
        h("h3", {}, words.logTitle),
        h("form", {class: "filters", onsubmit: (event) => event.preventDefault()},
          h("label", {class: "field"}, words.filter, this.filter),
          h("label", {class: "check"}, this.onlyBad, words.onlyBad)),
        this.logSaid, this.log));
  }

  show() {
    this.#timer = setInterval(() => {
      if (!document.hidden) void this.#load();
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
    const reasons = health?.reasons.filter(({code}) => ABOUT_THE_BROKER.has(code)) ?? [];
    const away = reasons.find(({code}) => code === "mqtt_offline" || code === "mqtt_refused");
    setText(this.state, health ? texts.broker.state(health.mqtt.connected, away?.since, this.app.now())
      : current?.reachable ? texts.health.noneYet : "");
    this.state.dataset.state = !health || !current.reachable ? "" : health.mqtt.connected ? "ok" : "degraded";
    renew(this.reasons, [reasons, Object.keys(this.app.reasons).length], () =>
      (reasons.length ? reasonCards(this.app, reasons) : health ? h("p", {}, texts.broker.noErrors) : null));
    renew(this.facts, health?.mqtt, () => (health ? facts(texts.broker.facts(health.mqtt)) : null));
    if (current?.device && current.device !== this.of) void this.#load();
  }

  async #load() {
    const device = this.app.current?.device;
    if (!device) return;
    if (device !== this.of) this.#lines = [];
    this.of = device;
    const asked = ++this.#asked;
    try {
      if (!this.app.current.reachable) throw new Error(texts.notice.noAnswer);
      const answer = await this.app.get("api/log", {device});
      if (asked !== this.#asked) return;
      this.#lines = answer.lines;
      this.#show();
    } catch (error) {
      if (asked === this.#asked) this.#show(error.message);
    }
  }

  /** Shows the lines that fit. Lines that are being selected stay as they are. */
  #show(error = "") {
    const wanted = this.filter.value.toLowerCase();
    const lines = this.#lines.filter((line) => line.toLowerCase().includes(wanted)
      && (!this.onlyBad.checked || BAD.test(line)));
    setText(this.logSaid, error ? texts.broker.logFailed(error)
      : texts.broker.lines(lines.length, this.#lines.length));
    setShown(this.log, lines.length > 0);
    const selection = getSelection();
    if (!selection.isCollapsed && this.log.contains(selection.anchorNode)) return;
    const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 8;
    const text = lines.join("\n");
    if (this.log.textContent === text) return;
    this.log.textContent = text;
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }
}
