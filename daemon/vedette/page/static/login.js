// The login: sends the password, then goes to the page.

import {h, replace, setText} from "./dom.js";
import {texts} from "./texts.js";

const problem = h("p", {class: "problem", role: "alert"});
const password = h("input", {id: "password", name: "password", type: "password", autocomplete: "current-password",
  required: true});
const submit = h("button", {class: "button primary", type: "submit"}, texts.login.submit);

async function logIn(event) {
  event.preventDefault();
  submit.disabled = true;
  setText(problem, "");
  try {
    const answer = await fetch("api/login", {method: "POST", headers: {"Content-Type": "application/json"},
      body: JSON.stringify({password: password.value})});
    if (answer.ok) {
      location.replace(`./${location.hash}`);     // back to the section that asked for the login
      return;
    }
    setText(problem, await why(answer));
  } catch {
    setText(problem, texts.login.unreachable);
  }
  submit.disabled = false;
  password.value = "";
  password.focus();
}

async function why(answer) {
  if (answer.status === 401) return texts.login.wrong;
  if (answer.status === 429) return texts.login.limited(Number(answer.headers.get("Retry-After")) || 60);
  return (await answer.json().catch(() => ({}))).error ?? texts.page.failed(answer.status);
}

replace(document.getElementById("app"),
  h("form", {class: "card login-form", onsubmit: (event) => void logIn(event)},
    h("div", {class: "identity"}, h("img", {src: "static/icon.svg", alt: "", width: "28", height: "28"}),
      h("h1", {}, texts.page.name)),
    h("input", {name: "username", autocomplete: "username", value: texts.page.name, hidden: true}),
    h("label", {class: "field", for: "password"}, texts.login.password, password),
    problem, submit));
password.focus();
