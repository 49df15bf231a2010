// The section "events": what came and went, and why it was published. Hatched where the device did not look.

import {h, replace, setShown, setText} from "./dom.js";
import {Lanes} from "./lanes.js";
import {renew, showNotice} from "./tables.js";
import {texts} from "./texts.js";
import {Why} from "./why.js";

const EVENTS_PER_ANSWER = 200;
const EVENTS_MAX = 1000;        // in one view; the newest ones
const SHOWN = 24;               // in the list, and with each "more"
const EVERY_MS = 5_000;
const HOUR_MS = 3_600_000;
const SHORTEST_MS = 300_000;    // of the time axis

/** Events of some hours or of one day, with filters. */
export class Events {
  #timer;
  #asked = 0;
  #events = new Map();
  #blind = [];
  #since = null;
  #last = null;
  #oldest = null;         // what began before this moment is not loaded; null: all is
  #shown = SHOWN;
  #error = "";
  #isLoaded = false;

  constructor(app) {
    this.app = app;
    const reload = () => void this.#load();
    this.hours = h("select", {id: "events-hours", onchange: () => {
      setShown(this.dayLabel, this.hours.value === "day");
      reload();
    }}, Object.entries(texts.events.ranges).map(([value, text]) => h("option", {value}, text)));
    this.hours.value = app.recall("events.hours", "24");
    if (!this.hours.value) this.hours.value = "24";
    this.day = h("input", {type: "date", id: "events-day", onchange: reload});
    this.dayLabel = h("label", {class: "field", hidden: this.hours.value !== "day"}, texts.events.day, this.day);
    this.label = h("select", {onchange: reload});
    this.zone = h("select", {onchange: reload});
    this.notice = h("p", {class: "notice", hidden: true});
    this.lanes = new Lanes((event) => this.#why(event));
    this.gaps = h("details", {class: "gaps", hidden: true}, h("summary"),
      h("ul", {tabindex: "0", "aria-label": texts.events.gapsLabel}));
    this.summary = h("p", {class: "muted"});
    this.list = h("ul", {class: "event-list"});
    this.more = h("button", {class: "button", type: "button", hidden: true, onclick: () => this.#showMore()});
    this.why = new Why(app);
    this.element = h("section", {class: "events stack", "aria-labelledby": "events-title"},
      h("div", {class: "section-head"},
        h("h2", {id: "events-title"}, texts.page.sections.events),
        h("form", {class: "filters", onsubmit: (event) => event.preventDefault()},
          h("label", {class: "field"}, texts.events.time, this.hours), this.dayLabel,
          h("label", {class: "field"}, texts.events.label, this.label),
          h("label", {class: "field"}, texts.events.zone, this.zone))),
      this.notice, h("div", {class: "card stack"}, this.lanes.element, this.gaps),
      this.summary, this.list, this.more, this.why.element);
  }

  show() {
    this.day.max = isoDay(this.app.now());
    if (!this.day.value) this.day.value = isoDay(this.app.now());
    this.#timer = setInterval(() => {
      if (!document.hidden) void this.#refresh();
    }, EVERY_MS);
    void this.#load();
  }

  hide() {
    clearInterval(this.#timer);
    this.#asked += 1;
  }

  update() {
    showNotice(this, this.#isOff("enabled") ? texts.events.off : "");
    if (this.app.current?.device && this.app.current.device !== this.device) void this.#load();
    else this.#showSummary();
  }

  /** Whether this key of the section `events` of the configuration is false. */
  #isOff(key) {
    return this.app.config?.config.events[key] === false;
  }

  /** The moments that are asked for, in milliseconds: never later than now. */
  #range() {
    const now = this.app.now();
    if (this.hours.value !== "day") return [now - Number(this.hours.value) * HOUR_MS, now];
    const from = new Date(`${this.day.value || isoDay(now)}T00:00:00`).getTime();
    const next = new Date(from);
    next.setDate(next.getDate() + 1);
    return [from, Math.max(from + 60_000, Math.min(next.getTime(), now))];
  }

  /** The moments that are drawn: the last hours begin a little before the first record that is there. */
  #axis() {
    const [from, to] = this.#range();
    const known = Math.max(this.#since ?? from, this.#oldest ?? from);
    if (this.hours.value === "day" || known <= from) return [from, to];
    return [Math.max(from, to - 1.04 * Math.max(to - known, SHORTEST_MS)), to];
  }

  /** Asks for all events of the range, the newest first. A newer call ends this one. */
  async #load() {
    const device = this.app.current?.device;
    if (!device) return;
    this.app.remember("events.hours", this.hours.value);
    const asked = ++this.#asked;
    if (device !== this.device) this.#isLoaded = false;
    this.device = device;
    const [from, to] = this.#range();
    const found = new Map();
    this.#shown = SHOWN;
    try {
      let before = new Date(to).toISOString();
      do {
        const answer = await this.#ask(before, EVENTS_PER_ANSWER);
        if (asked !== this.#asked) return;
        this.#take(answer);
        for (const event of answer.events) if (touches(event, from, to)) found.set(event.id, event);
        before = answer.next;
        const began = Date.parse(answer.events.at(-1)?.began);
        this.#oldest = answer.events.length < EVENTS_PER_ANSWER || began < from ? null : began;
        this.#events = found;
        this.#last = answer.events[0] ?? null;
        this.#error = "";
        this.#isLoaded = true;
        this.#render();
      } while (this.#oldest !== null && found.size < EVENTS_MAX);
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#error = error.message;
      this.#render();
    }
  }

  /** Asks for what is new since, while the time goes on. */
  async #refresh() {
    const [, to] = this.#range();
    if (to < this.app.now() - EVERY_MS || !this.#isLoaded) return this.#isLoaded ? undefined : this.#load();
    const asked = this.#asked;
    try {
      const answer = await this.#ask(new Date(to).toISOString(), EVENTS_PER_ANSWER / 4);
      if (asked !== this.#asked) return undefined;
      this.#take(answer);
      const [from] = this.#range();
      const all = new Map(answer.events.map((event) => [event.id, event]));
      for (const [id, event] of this.#events) if (!all.has(id)) all.set(id, event);
      this.#events = new Map([...all].filter(([, event]) => touches(event, from, to))
        .sort(([, one], [, other]) => other.began.localeCompare(one.began)));
      if (!this.#events.size) this.#last = answer.events[0] ?? null;
      this.#error = "";
    } catch (error) {
      if (asked !== this.#asked) return undefined;
      this.#error = error.message;
    }
    return this.#render();
  }

  async #ask(before, limit) {
    const run = this.app.current?.messages.health?.run;
    const hours = Math.ceil((this.app.now() - this.#range()[0]) / HOUR_MS) + 1;
    const answer = await this.app.get("api/events",
      {device: this.device, label: this.label.value, zone: this.zone.value, before, limit, hours});
    for (const event of answer.events) event.isLost = event.ended === null && run !== undefined && event.run !== run;
    return answer;
  }

  #take(answer) {
    this.#blind = answer.blind.map(({from, to, why}) => ({from: Date.parse(from), to: to && Date.parse(to), why}));
    this.#since = answer.since ? Date.parse(answer.since) : null;
    const zones = new Set([...answer.zones, ...Object.keys(this.app.config?.config.zones ?? {})]);
    choices(this.label, texts.events.allLabels, answer.labels);
    choices(this.zone, texts.events.allZones, [...zones].sort());
  }

  #render() {
    const [from, to] = this.#axis();
    const now = this.app.now();
    const events = [...this.#events.values()];
    const gaps = this.#blind.filter((gap) => gap.from < to && (gap.to ?? now) > from);
    if (this.#since === null || this.#since > from) {
      gaps.unshift({from, to: Math.min(to, this.#since ?? to), why: "unrecorded"});
    }
    const unloaded = {from: Math.max(from, this.#since ?? from), to: this.#oldest, why: "unloaded"};
    if (this.#oldest !== null && unloaded.from < unloaded.to) gaps.push(unloaded);
    const labels = [...new Set(events.map((event) => event.label))].sort();
    this.lanes.show({from, to, labels, events, blind: gaps, now});
    setShown(this.gaps, gaps.length > 0);
    renew(this.gaps.querySelector("summary"), gaps.length, () => texts.events.gaps(gaps.length));
    renew(this.gaps.querySelector("ul"), gaps, () => [...gaps].reverse().slice(0, 100).map((gap) =>
      h("li", {}, texts.events.gap(gap.why, gap.from, gap.to, now))));
    this.#showSummary();
    this.#showList();
  }

  #showSummary() {
    let words = this.#error ? texts.events.failed(this.#error) : "";
    if (!words && !this.#isLoaded) words = this.app.current?.device ? texts.page.loading : "";
    const events = this.#events.size;
    if (!words && events) words = this.#oldest === null ? texts.events.found(events) : texts.events.tooMany(events);
    if (events && this.#isOff("pictures")) words += ` ${texts.events.picturesOff}`;
    setText(this.summary, words || (this.#isOff("enabled") ? "" : this.#nothing()));
    setShown(this.summary, Boolean(this.summary.textContent));
    this.summary.className = this.#isLoaded && !events && !this.#error ? "empty" : "muted";
  }

  /** "Nothing since 09:14. Looked at 41,200 pictures." */
  #nothing() {
    const [, to] = this.#range();
    const now = this.app.now();
    if (this.label.value || this.zone.value) return texts.events.nothingFits;
    if (to < now - EVERY_MS) return texts.events.nothingThen;
    const health = this.app.current?.messages.health;
    const began = health ? Date.parse(health.at) - health.uptime_s * 1000 : null;
    const looked = health ? health.capture.detected + (health.capture.dropped.still ?? 0) : null;
    const last = this.#last ? Date.parse(this.#last.ended ?? this.#last.began) : null;
    return texts.events.nothing(last ?? began, looked, last !== null && began !== null && began > last ? began : null,
      now);
  }

  #showList() {
    const events = [...this.#events.values()].slice(0, this.#shown);
    const now = this.app.now();
    const known = new Map([...this.list.children].map((item) => [item.dataset.id, item]));
    const items = events.map((event) => {
      const key = JSON.stringify([event.seq, event.run, event.isLost, event.picture, this.#isOff("pictures")]);
      const item = known.get(event.id);
      if (item?.known === key) {
        setText(item.querySelector(".event-time"), texts.events.when(event, now));
        return item;
      }
      return Object.assign(this.#item(event, now), {known: key});
    });
    const focused = document.activeElement;
    if (items.length !== this.list.children.length || items.some((item, at) => item !== this.list.children[at])) {
      replace(this.list, items);
    }
    if (this.list.contains(focused)) focused.focus({preventScroll: true});
    const left = this.#events.size - events.length;
    setShown(this.more, left > 0);
    setText(this.more, texts.events.more(Math.min(SHOWN, left), left));
  }

  #item(event, now) {
    const tags = texts.events.tags(event);
    const hasPlace = event.picture || !this.#isOff("pictures");
    return h("li", {"data-id": event.id}, h("button", {class: hasPlace ? "event" : "event plain", type: "button", "aria-haspopup": "dialog",
      onclick: () => this.#why(this.#events.get(event.id) ?? event)},
    hasPlace ? h("span", {class: "event-none"}, event.picture ? ""
      : event.ended ? texts.events.noPicture : texts.events.laterPicture) : null,
    event.picture ? h("img", {src: this.#picture(event), alt: "", loading: "lazy"}) : null,
    h("span", {class: "event-text"},
      h("strong", {}, event.label), " ",
      h("span", {class: "event-time"}, texts.events.when(event, now)), " ",
      h("span", {class: "event-tags"}, tags.map((tag) => h("span", {class: "chip"}, tag)))),
    h("span", {class: "event-why"}, texts.events.whyButton)));
  }

  #showMore() {
    const next = this.#shown;
    this.#shown += SHOWN;
    this.#showList();
    this.list.children[next]?.querySelector("button").focus();
  }

  #picture(event) {
    const query = new URLSearchParams({device: this.device, id: event.id, seq: event.seq});
    return `event.jpg?${query}`;
  }

  #why(event) {
    this.why.open(event, this.#picture(event));
  }
}

function touches(event, from, to) {
  const until = event.isLost ? event.began : event.ended;
  return Date.parse(event.began) <= to && (until === null || Date.parse(until) >= from);
}

/** Offers these choices, and keeps the one that is chosen. */
function choices(select, all, names) {
  renew(select, names, () => {
    const chosen = select.value;
    const offered = chosen && !names.includes(chosen) ? [...names, chosen] : names;
    return [h("option", {value: ""}, all),
      offered.map((name) => h("option", {value: name, selected: name === chosen}, name))];
  });
}

function isoDay(time) {
  const at = new Date(time);
  return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}
