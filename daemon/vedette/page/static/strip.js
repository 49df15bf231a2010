// The strip: one sentence on what the device does, the worst thing first, and the commands that end or begin a pause.

import {h, icon, replace, setShown, setText} from "./dom.js";
import {clock, elapsed, texts} from "./texts.js";

const TICK_MS = 1000;
const FRESH_MS = 3000;          // a younger picture is as old as its result was when it was ready
const HEALTH_HOLDS_MS = 120_000;

/**
 * Returns what a device does: {kind, tone, looks, since, until, reason}. `entry` is one of `app.state.devices`.
 *
 * `kind` names a sentence of `texts.strip`; `tone` is ok, warn, bad or off; `looks`: whether the device looks at pictures
 * now; `since` and `until` are milliseconds of `app.now()`, or null; `reason` is the health reason behind it, or null.
 */
export function condition(app, entry) {
  const is = (kind, tone, more = {}) => ({kind, tone, looks: false, since: null, until: null, reason: null, ...more});
  if (app.awaySince !== null) return is("pageAway", "bad", {since: app.awaySince});
  if (!app.state) return is("connecting", "off");
  if (!entry) return is("noDevice", "off");
  if (!entry.reachable) return is("daemonAway", "bad", {since: Date.parse(entry.since)});
  const {health, camera, counts} = entry.messages;
  const reasons = new Map((health?.reasons ?? []).map((reason) => [reason.code, reason]));
  const cameraKind = CAMERA[camera?.state];
  if (cameraKind) {
    const reason = reasons.get(`camera_${camera.state}`) ?? null;
    const newest = app.results.get(entry.device);
    const since = Math.min(Date.parse(camera.since), newest ? Date.parse(newest.frame.captured_at) : Infinity);
    return is(cameraKind, "bad", {since, reason});
  }
  if (!health) return is("starting", "off");
  const paused = reasons.get("paused");
  if (paused) return is("paused", "warn", {until: pausedUntil(health, paused), reason: paused});
  const fallback = {cloud: "byCloud", motion: "byMotion"}[health.fallback?.looking];
  if (fallback) return is(fallback, "warn", {looks: true, reason: reasons.get(`fallback_${health.fallback.looking}`) ?? null});
  const failure = health.reasons.find((reason) => FAILURES[reason.code])
    ?? health.reasons.find(({code}) => app.reasons[code]?.state === "failed" && !CAMERA[code.replace("camera_", "")]);
  if (failure) return is(FAILURES[failure.code] ?? "otherFailure", "bad", {reason: failure});
  if (counts && counts.counts !== null) {
    return is("watching", health.state === "ok" ? "ok" : "warn", {looks: true});
  }
  return is(health.capture.detected ? "notLooking" : "starting", "off");
}

/** Returns whether the motion gate keeps pictures back now, as far as one who follows the pictures can know. */
export function isStill(app, entry, newest) {
  return Boolean(newest) && (newest.dropped.still || entry?.messages.health?.capture.dropped.still || 0) > 0
    && app.now() - Date.parse(newest.frame.captured_at) > FRESH_MS;
}

const CAMERA = {stalled: "cameraSilent", offline: "cameraOffline", frozen: "cameraFrozen"};
const FAILURES = {no_model: "noModel", model_refused: "modelRefused", detector_failing: "modelFailing",
  all_stale: "allStale"};

function pausedUntil(health, reason) {
  const seconds = /for (\d+) s more/.exec(reason.detail ?? "");
  return seconds ? Date.parse(health.at) + Number(seconds[1]) * 1000 : null;
}

/** The part of the page above all sections. */
export class Strip {
  #app;
  #wanted = "";

  constructor(app) {
    this.#app = app;
    this.dot = h("span", {class: "dot", "aria-hidden": "true"});
    // Only this part is said aloud: it changes when the device does something else, and not with every second.
    this.head = h("strong", {role: "status"});
    this.rest = h("span");
    this.note = h("p", {class: "strip-note", hidden: true});
    this.pause = this.#button("pause", () => this.#command("pause", texts.strip.pausedNow));
    this.resume = this.#button("resume", () => this.#command("resume", texts.strip.resumedNow));
    this.snapshot = this.#button("snapshot", () => this.#takeSnapshot());
    this.resume.classList.add("primary");
    this.element = h("section", {class: "strip card", "aria-label": texts.strip.label},
      this.dot, h("p", {class: "strip-words"}, this.head, " ", this.rest), this.note,
      h("div", {class: "strip-buttons"}, this.resume, this.pause, this.snapshot));
    setInterval(() => {
      if (!document.hidden) this.update();
    }, TICK_MS);
  }

  update() {
    const app = this.#app;
    const entry = app.current;
    const now = condition(app, entry);
    const [head, rest] = this.#sentence(now, entry);
    setText(this.head, head);
    setText(this.rest, rest);
    this.element.dataset.kind = now.kind;
    this.dot.className = `dot ${now.tone}`;
    this.#showNote(now, entry);
    const answers = app.awaySince === null && entry?.reachable;
    setShown(this.resume, Boolean(answers && now.kind === "paused" && app.allows("resume")));
    setShown(this.pause, Boolean(answers && now.kind !== "paused" && app.allows("pause")));
    setShown(this.snapshot, Boolean(answers && app.allows("snapshot")));
  }

  #sentence({kind, since, until, reason}, entry) {
    const app = this.#app;
    const sentence = texts.strip[kind];
    const ago = Number.isFinite(since) && since !== null ? elapsed((app.now() - since) / 1000) : "";
    switch (kind) {
      case "pageAway": return sentence(clock(since, app.now()));
      case "daemonAway": return sentence(clock(since, app.now()), entry.error);
      case "paused": return sentence(until ? clock(until, app.now(), {seconds: until - app.now() < 120_000}) : "");
      case "cameraSilent": case "cameraFrozen": return sentence(ago);
      case "cameraOffline": return sentence(ago, entry.messages.camera.cause);
      case "modelRefused": case "modelFailing": return sentence(reason.detail);
      case "otherFailure": return sentence(this.#meaning(reason), reason.detail);
      case "watching": case "byCloud": case "byMotion": return sentence(...this.#seen(entry));
      default: return sentence;
    }
  }

  #seen(entry) {
    const app = this.#app;
    const {counts, health} = entry.messages;
    const newest = app.results.get(entry.device);
    const seen = counts?.counts ? texts.strip.seen(counts.counts) : "";
    if (isStill(app, entry, newest)) return [texts.strip.still, seen];
    let ms = app.now() - Date.parse(health.at) < HEALTH_HOLDS_MS ? health.capture.age_ms?.p50 : undefined;
    if (newest) {
      const lasts = app.now() - Date.parse(newest.frame.captured_at);
      ms = lasts < FRESH_MS ? newest.age_ms : lasts;
    }
    return [seen, ms === undefined ? "" : texts.strip.age(ms / 1000)];
  }

  /** Says what else is wrong: the words of the first reason, and how many there are besides it. */
  #showNote(now, entry) {
    const others = now.kind === "pageAway" || !entry?.reachable ? [] : (entry.messages.health?.reasons ?? [])
      .filter((reason) => reason !== now.reason && this.#app.reasons[reason.code]?.state !== "ok")
      .sort((a, b) => this.#weight(a) - this.#weight(b));
    const wanted = JSON.stringify([others.map((reason) => [reason.code, this.#meaning(reason)])]);
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    setShown(this.note, others.length > 0);
    if (!others.length) return;
    replace(this.note, `${this.#meaning(others[0])} `,
      h("a", {href: "#health"}, others.length > 1 ? texts.strip.more(others.length - 1) : texts.strip.toHealth));
  }

  #weight(reason) {
    return this.#app.reasons[reason.code]?.state === "failed" ? 0 : 1;
  }

  /** The first sentence of what the reason means: the section "Health" has the rest. */
  #meaning(reason) {
    const meaning = this.#app.reasons[reason.code]?.meaning ?? reason.detail ?? reason.code;
    return meaning.replaceAll("`", "").replace(/(?<=\.) [A-Z].*/s, "");
  }

  #button(name, act) {
    const button = h("button", {class: "button", type: "button", hidden: true, onclick: async () => {
      button.disabled = true;
      try {
        await act();
      } catch (error) {
        this.#app.announce(texts.strip.refused(error.message), {bad: true});
      } finally {
        button.disabled = false;
      }
    }}, icon(name), h("span", {}, texts.strip[name]));
    return button;
  }

  async #command(name, done) {
    const reply = await this.#app.command(name);
    if (reply.status !== "ok") throw new Error(reply.error ?? reply.status);
    this.#app.announce(done);
  }

  async #takeSnapshot() {
    const device = this.#app.device;
    const answer = await this.#app.post("api/commands/snapshot", {device});
    if (!answer.headers.get("Content-Type")?.startsWith("image/")) {
      const reply = await answer.json();
      throw new Error(reply.error ?? reply.status);
    }
    const address = URL.createObjectURL(await answer.blob());
    const name = `${device}-${new Date(this.#app.now()).toISOString().slice(0, 19).replaceAll(":", "-")}.jpg`;
    h("a", {href: address, download: name}).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
    this.#app.announce(texts.strip.snapshotTaken(name));
  }
}
