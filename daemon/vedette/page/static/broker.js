// The section "broker".

import {h} from "./dom.js";
import {texts} from "./texts.js";

/** Shows nothing yet. */
export class Broker {
  constructor(app) {
    this.app = app;
    this.element = h("section", {"aria-labelledby": "broker-title"},
      h("h2", {id: "broker-title"}, texts.page.sections.broker));
  }

  update() {}

  show() {}

  hide() {}
}
