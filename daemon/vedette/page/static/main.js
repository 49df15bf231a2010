// The page: header, navigation, strip, and one section at a time. Only the section that is shown is told of changes.

import {App} from "./app.js";
import {Broker} from "./broker.js";
import {h, icon, replace, setShown, setText} from "./dom.js";
import {Events} from "./events.js";
import {Health} from "./health.js";
import {Live} from "./live.js";
import {Model} from "./model.js";
import {Setup} from "./setup.js";
import {Strip} from "./strip.js";
import {texts} from "./texts.js";

const SECTIONS = {live: Live, events: Events, health: Health, model: Model, setup: Setup, broker: Broker};

/** The frame of the page: header, navigation, strip, and the place of the sections. */
class Shell {
  constructor(app) {
    this.app = app;
    this.strip = new Strip(app);
    this.sections = Object.fromEntries(Object.entries(SECTIONS).map(([name, Section]) => [name, new Section(app)]));
    this.shown = undefined;
    this.links = Object.fromEntries(Object.keys(SECTIONS).map((name) => [name,
      h("a", {href: `#${name}`}, icon(name), h("span", {}, texts.page.sections[name]))]));
    this.name = h("h1", {class: "device-name"}, texts.page.name);
    this.select = h("select", {"aria-label": texts.page.device, hidden: true,
      onchange: () => app.choose(this.select.value)});
    this.logOut = h("button", {class: "button quiet", type: "button", hidden: true, title: texts.page.logOut,
      "aria-label": texts.page.logOut, onclick: () => void this.#leave()}, icon("logout"));
    this.version = h("p", {class: "version"});
    this.main = h("main", {id: "main", tabindex: "-1"},
      Object.values(this.sections).map((section) => section.element));
    for (const section of Object.values(this.sections)) section.element.hidden = true;
    replace(document.getElementById("app"),
      h("header", {class: "header"},
        h("div", {class: "identity"}, h("img", {src: "static/icon.svg", alt: "", width: "28", height: "28"}),
          this.name, this.select),
        h("nav", {class: "tabs", "aria-label": texts.page.navigation}, Object.values(this.links)),
        this.logOut),
      this.strip.element, this.main, h("footer", {class: "footer"}, this.version), app.toasts);
    this.devices = "";
    addEventListener("hashchange", () => this.route());
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault();     // the address after # names the section
      this.main.focus();
    });
    app.onChange(() => this.update());
    this.route();
  }

  route() {
    const wanted = location.hash.slice(1).split("/")[0];
    const name = Object.hasOwn(SECTIONS, wanted) ? wanted : "live";
    if (name === this.shown) return;
    if (this.shown) {
      this.sections[this.shown].hide();
      this.sections[this.shown].element.hidden = true;
      this.links[this.shown].removeAttribute("aria-current");
    }
    this.shown = name;
    this.links[name].setAttribute("aria-current", "page");
    this.sections[name].element.hidden = false;
    this.sections[name].show();
    scrollTo(0, 0);
    this.update();
  }

  update() {
    const app = this.app;
    const devices = app.state?.devices ?? [];
    setText(this.name, (devices.length === 1 && devices[0].device) || texts.page.name);
    this.name.classList.toggle("visually-hidden", devices.length > 1);
    setShown(this.select, devices.length > 1);
    this.#fillSelect(devices);
    setShown(this.logOut, Boolean(app.state?.login));
    if (app.state?.login) this.logOut.title = texts.page.loggedInAs(app.state.login);
    if (app.state) setText(this.version, texts.page.version(app.state.vedette));
    document.title = texts.page.title(texts.page.sections[this.shown], app.current?.device);
    const state = app.current?.reachable ? app.current.messages.health?.state ?? "" : "";
    this.links.health.dataset.state = state;
    this.strip.update();
    this.sections[this.shown].update();
  }

  #fillSelect(devices) {
    const known = JSON.stringify(devices.map((entry) => [entry.device, entry.reachable]));
    if (known !== this.devices) {
      this.devices = known;
      replace(this.select, devices.map((entry, index) => h("option", {value: entry.device},
        (entry.device || texts.page.unnamed(index + 1)) + (entry.reachable ? "" : ` (${texts.page.away})`))));
    }
    if (this.select.value !== this.app.device) this.select.value = this.app.device;
  }

  async #leave() {
    try {
      await this.app.post("api/logout");
      location.assign("login.html");
    } catch (error) {
      this.app.announce(error.message, {bad: true});
    }
  }
}

const app = new App();
new Shell(app);
void app.follow();
