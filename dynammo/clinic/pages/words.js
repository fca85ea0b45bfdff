"use strict";
// What the page says, in the language of the browser or the one chosen. Texts of files are put in and never looked into.
const words = (() => {
  const texts = JSON.parse(document.getElementById("texts").textContent);
  const switched = [];
  let language = texts.language || spoken();

  // The first language of the browser that there is; English where there is none.
  function spoken() {
    const wanted = (navigator.languages || []).map((name) => name.toLowerCase().split("-")[0]);
    return wanted.find((code) => Object.hasOwn(texts.names, code)) || "en";
  }

  const number = (value, digits = 0) =>
    value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const shown = (value) => (typeof value === "number" ? number(value) : String(value));

  function say(key, values = {}) {
    const known = texts.script[language];
    const text = (values.count === 1 && known[`${key}_one`]) || known[key];
    return text.replace(/\{(\w+)\}/g, (_, name) => shown(values[name])); // values are not looked into again
  }

  const page = (place) => texts.page[language][place];
  const keyed = (kind, name) => say(`${kind}_${name.replaceAll(" ", "_")}`);
  const flag = (name) => keyed("flag", name);
  const level = (name) => keyed("level", name);

  // Why a file was not read, in the language of the page. Reasons come in English; those of the catalogue are known by
  // its English sentences, with whatever stands in their gaps. Null where there is none.
  function reason(text) {
    if (language === "en") return text;
    for (const [key, known] of Object.entries(texts.reasons.en)) {
      const found = new RegExp(`^${known.split(/\{(\w+)\}/).map(asPattern).join("")}$`, "s").exec(text);
      if (!found) continue;
      const values = { ...found.groups };
      if (values.reason !== undefined) values.reason = reason(values.reason);
      if (values.reason !== null) return texts.reasons[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
    }
    return null;
  }

  const asPattern = (part, at) => (at % 2 ? `(?<${part}>.+?)` : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));

  function apply() {
    document.documentElement.lang = language;
    fill(document);
    for (const template of document.querySelectorAll("template")) fill(template.content);
    for (const act of switched) act();
  }

  function fill(root) {
    for (const element of root.querySelectorAll("[data-text]")) element.textContent = page(element.dataset.text);
    for (const name of ["title", "placeholder", "aria-label"]) {
      for (const element of root.querySelectorAll(`[data-text-${name}]`)) {
        element.setAttribute(name, page(element.getAttribute(`data-text-${name}`)));
      }
    }
    for (const option of root.querySelectorAll("[data-option]")) {
      option.textContent = `${say(option.dataset.option)} (${number(Number(option.dataset.count))})`;
    }
  }

  function offer() {
    const list = document.getElementById("language");
    for (const [code, name] of Object.entries(texts.names)) list.add(new Option(name, code, false, code === language));
    list.addEventListener("input", () => {
      language = list.value;
      apply();
    });
  }

  offer();
  apply();
  return { say, page, number, flag, level, reason, onSwitch: (act) => switched.push(act) };
})();
