// The section "model".

import {h} from "./dom.js";
import {texts} from "./texts.js";

/** Shows nothing yet. */
export class Model {
  constructor(app) {
    this.app = app;
    this.element = h("section", {"aria-labelledby": "model-title"},
      h("h2", {id: "model-title"}, texts.page.sections.model));
  }

  update() {}

  show() {}

  hide() {}
}
