import {h} from "./dom.js";

export class Strip {
  constructor(app) {
    this.app = app;
    this.element = h("div", {class: "strip"});
  }

  update() {}
}
