// The section "events".

import {h} from "./dom.js";
import {texts} from "./texts.js";

/** Shows nothing yet. */
export class Events {
  constructor(app) {
    this.app = app;
    this.element = h("section", {"aria-labelledby": "events-title"},
      h("h2", {id: "events-title"}, texts.page.sections.events));
  }

  update() {}

  show() {}

  hide() {}
}
