// The login: sends name and password, then goes to the page.

import {h, replace, setText} from "./dom.js";
import {texts} from "./texts.js";

const problem = h("p", {class: "problem", role: "alert"});
const name = h("input", {id: "name", name: "name", autocomplete: "username", autocapitalize: "none", spellcheck: "false",
  required: true});
const password = h("input", {id: "password", name: "password", type: "password", autocomplete: "current-password",
  required: true});
const submit = h("button", {class: "button primary", type: "submit"}, texts.login.submit);

async function logIn(event) {
  event.preventDefault();
  submit.disabled = true;
  setText(problem, "");
  try {
    const answer = await fetch("api/login", {method: "POST", headers: {"Content-Type": "application/json"},
      body: JSON.stringify({name: name.value, password: password.value})});
    if (answer.ok) {
      location.replace("./");
      return;
    }
    setText(problem, {401: texts.login.wrong, 429: texts.login.limited}[answer.status]
      ?? (await answer.json().catch(() => ({}))).error ?? texts.page.failed(answer.status));
  } catch {
    setText(problem, texts.login.unreachable);
  }
  submit.disabled = false;
  password.value = "";
  password.focus();
}

replace(document.getElementById("app"),
  h("form", {class: "card login-form", onsubmit: (event) => void logIn(event)},
    h("div", {class: "identity"}, h("img", {src: "static/icon.svg", alt: "", width: "28", height: "28"}),
      h("h1", {}, texts.page.name)),
    h("label", {class: "field", for: "name"}, texts.login.name, name),
    h("label", {class: "field", for: "password"}, texts.login.password, password),
    problem, submit));
name.focus();
