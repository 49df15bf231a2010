// The section "setup".

import {h} from "./dom.js";
import {texts} from "./texts.js";

/** Shows nothing yet. */
export class Setup {
  constructor(app) {
    this.app = app;
    this.element = h("section", {"aria-labelledby": "setup-title"},
      h("h2", {id: "setup-title"}, texts.page.sections.setup));
  }

  update() {}

  show() {}

  hide() {}
}
