// What all sections share: the state of the devices, which of them is chosen, and requests to the page's server.
//
// Requests that wait (state, pictures) end when the tab is hidden, so a forgotten tab costs the device nothing.

import {h} from "./dom.js";
import {texts} from "./texts.js";

const WAIT_S = 20;
const PATIENCE_MS = 35_000;     // a request that waits for 20 s has failed by then
const CONFIG_EVERY_MS = 30_000;
const CHANGES_EVERY_MS = 250;
const TOAST_MS = 7_000;

/** An answer that is not what was asked for. `status` is 0 where there was no answer. */
export class RequestFailed extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** What all sections share. */
export class App {
  /** Name of the chosen device; "" before it is known. */
  device = "";

  /** The newest answer of api/state. Undefined before the first. */
  state = undefined;

  /** The answer of api/config of the chosen device. Undefined while it is not known. */
  config = undefined;

  /** The table of reasons: code to {state, meaning, action}. Empty while it is not known. */
  reasons = {};

  /** How often a person has chosen a device. */
  choices = 0;

  /** The newest result of each device whose pictures are followed now, by its name. */
  results = new Map();

  /** Since when the page's server does not answer, in milliseconds of `now()`; null while it does. */
  awaySince = null;

  /** Where short messages are shown. */
  toasts = h("div", {class: "toasts", role: "status"});

  #serverMs = Date.now();
  #heardMs = performance.now();
  #listeners = new Set();
  #configOf = "";

  /** The entry of the chosen device in the state. Undefined if there is none. */
  get current() {
    const devices = this.state?.devices ?? [];
    return devices.find((entry) => entry.device === this.device) ?? devices[0];
  }

  /** Milliseconds since 1970 on the clock of the page's server: the browser's clock may differ. */
  now() {
    return this.#serverMs + performance.now() - this.#heardMs;
  }

  /** Whether the chosen device obeys this command on its socket. */
  allows(command) {
    return this.config?.allow?.includes(command) ?? false;
  }

  /** Calls `listener` after each change of the state, the configuration or the choice. */
  onChange(listener) {
    this.#listeners.add(listener);
  }

  changed() {
    for (const listener of this.#listeners) {
      try {
        listener();
      } catch (error) {
        reportError(error);     // a fault in one section must not end the following of the state
      }
    }
  }

  /** Chooses another device. Safe to call with the one that is chosen. */
  choose(device) {
    if (device !== this.device) this.config = undefined;
    this.device = device;
    this.choices += 1;
    this.remember("device", device);
    this.changed();
    void this.refreshConfig();
  }

  /** Asks for JSON. Throws RequestFailed; goes to the login where the server wants one. */
  async get(path, params = {}, options = {}) {
    return (await this.fetch(path, params, options)).json();
  }

  /** Sends a command to the chosen device. Returns the reply: {status, error, data}. Throws RequestFailed. */
  async command(name, body = {}) {
    return (await this.post(`api/commands/${encodeURIComponent(name)}`, {device: this.device}, body)).json();
  }

  /** Sends JSON. Returns the Response. Throws RequestFailed. */
  post(path, params = {}, body = {}) {
    return this.fetch(path, params,
      {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
  }

  /** Asks for anything below the page. Returns the Response with a status below 400. Throws RequestFailed. */
  async fetch(path, params = {}, options = {}) {
    const query = new URLSearchParams(Object.entries(params)
      .filter(([, value]) => value !== undefined && value !== null && value !== "")).toString();
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
    const stop = () => patience.abort();
    options.signal?.addEventListener("abort", stop);
    if (options.signal?.aborted) stop();
    try {
      const answer = await fetch(query ? `${path}?${query}` : path,
        {cache: "no-store", ...options, signal: patience.signal});
      if (answer.status >= 400) throw await this.#refusal(answer);
      return answer;
    } catch (error) {
      if (error instanceof RequestFailed) throw error;
      throw new RequestFailed(0, texts.page.unreachable);
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", stop);
    }
  }

  /** Shows a short message for a few seconds, and says it to a screen reader. */
  announce(text, {bad = false} = {}) {
    const toast = h("p", {class: bad ? "toast bad" : "toast"}, text);
    this.toasts.append(toast);
    while (this.toasts.children.length > 3) this.toasts.firstChild.remove();
    setTimeout(() => toast.remove(), TOAST_MS);
  }

  /** Asks for the configuration of the chosen device again. */
  async refreshConfig() {
    const device = this.current?.device;
    if (!device || !this.current.reachable) return;
    try {
      const config = await this.get("api/config", {device});
      if (device !== this.current?.device) return;
      this.config = config;
      this.#configOf = this.#configKey();
    } catch (error) {
      if (error.status === 0 || error.status === 401) return;
      this.config = undefined;
    }
    this.changed();
  }

  /** Returns what changes with the configuration of the chosen device. */
  #configKey() {
    const {run, config, places} = this.current.messages.info ?? {};
    return JSON.stringify([this.current.device, run, config, places]);
  }

  /** Returns what this browser remembers under `key`. */
  recall(key, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`vedette.${key}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  }

  /** Remembers `value` in this browser, if it may. */
  remember(key, value) {
    try {
      localStorage.setItem(`vedette.${key}`, JSON.stringify(value));
    } catch {
      // Storage is switched off or full: it is forgotten with the tab.
    }
  }

  /** Follows the state of all devices until the page is left. */
  async follow() {
    setInterval(() => {
      if (!document.hidden) void this.refreshConfig();
    }, CONFIG_EVERY_MS);
    this.device = this.recall("device", "");
    for (let failures = 0; ; failures = this.awaySince === null ? 0 : failures + 1) {
      await untilVisible();
      const began = performance.now();
      const {signal} = hidden;
      try {
        const after = this.awaySince === null ? this.state?.version : undefined;
        this.#take(await this.get("api/state", after === undefined ? {} : {after, wait: WAIT_S},
          {signal}));
      } catch (error) {
        if (error.status === 401) return;
        if (signal.aborted) continue;
        this.awaySince ??= this.now();
        this.changed();
        await pause(Math.min(10_000, 500 * 2 ** failures));
      }
      await pause(CHANGES_EVERY_MS - (performance.now() - began));
    }
  }

  #take(state) {
    this.#serverMs = Date.parse(state.now) || Date.now();
    this.#heardMs = performance.now();
    this.awaySince = null;
    this.state = state;
    const isKnown = (name) => state.devices.some((entry) => entry.device === name);
    if (!isKnown(this.device)) {
      const remembered = this.recall("device", "");
      this.device = isKnown(remembered) ? remembered : state.devices[0]?.device ?? "";
    }
    this.changed();
    const current = this.current;
    if (current?.reachable && this.#configOf !== this.#configKey()) {
      this.#configOf = this.#configKey();
      void this.refreshConfig();
    }
    if (!Object.keys(this.reasons).length) void this.#readReasons();
  }

  async #readReasons() {
    try {
      this.reasons = await this.get("api/reasons");
      this.changed();
    } catch {
      // The next state asks again.
    }
  }

  async #refusal(answer) {
    if (answer.status === 401) location.assign(`login.html${location.hash}`);
    let message = texts.page.failed(answer.status);
    try {
      message = (await answer.json()).error || message;
    } catch {
      // The answer is not one of ours, such as that of a proxy.
    }
    return new RequestFailed(answer.status, message);
  }
}

let hidden = new AbortController();     // aborted while nobody can see the page

function untilVisible() {
  if (!document.hidden) return undefined;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", function look() {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    });
  });
}

function pause(ms) {
  return ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) hidden.abort();
  else hidden = new AbortController();
});
