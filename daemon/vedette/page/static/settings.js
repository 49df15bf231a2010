// The table "Settings": each key that runs now and can be changed while the daemon runs, and where its value came from.
//
// Invariants: it shows what the daemon says, also while a draft differs; it is not there for a daemon that says nothing.

import {h} from "./dom.js";
import {renew, table} from "./tables.js";
import {texts} from "./texts.js";
import {flow} from "./yaml.js";

const words = texts.settings;

export class Settings {
  #table = h("div");

  constructor() {
    this.element = h("details", {class: "card settings"}, h("summary", {}, words.title), this.#table);
  }

  /** `answer`: that of api/config; undefined while it is not known. */
  update(answer) {
    this.element.hidden = !answer?.places;
    if (!answer?.places) return;
    const {config, places} = answer;
    renew(this.#table, [config, places], () => table(words.caption, words.head, Object.entries(config)
      .flatMap(([section, values]) => section === "zones" || section === "lines" ? [[section, values]]
        : Object.entries(values).map(([name, value]) => [`${section}.${name}`, value]))
      .map(([key, value]) => [h("code", {}, key), flow(value), words.place(places[key])])));
  }
}
