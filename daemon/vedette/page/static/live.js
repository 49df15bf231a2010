// The section "live".

import {h} from "./dom.js";
import {texts} from "./texts.js";

/** Shows nothing yet. */
export class Live {
  constructor(app) {
    this.app = app;
    this.element = h("section", {"aria-labelledby": "live-title"},
      h("h2", {id: "live-title"}, texts.page.sections.live));
  }

  update() {}

  show() {}

  hide() {}
}
