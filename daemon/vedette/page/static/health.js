// The section "health".

import {h} from "./dom.js";
import {texts} from "./texts.js";

/** Shows nothing yet. */
export class Health {
  constructor(app) {
    this.app = app;
    this.element = h("section", {"aria-labelledby": "health-title"},
      h("h2", {id: "health-title"}, texts.page.sections.health));
  }

  update() {}

  show() {}

  hide() {}
}
