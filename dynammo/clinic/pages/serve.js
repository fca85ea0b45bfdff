(() => {
  const { say } = words;
  const byId = (id) => document.getElementById(id);
  const settings = JSON.parse(byId("settings").textContent);
  const urgency = (item) => (item.flags.length ? settings.flags.indexOf(item.flags[0]) : settings.flags.length);
  const shown = new Map(); // card -> item
  let busy = false;

  /* ---- sending ---- */

  async function classify(files) {
    if (busy) return tell(() => say("still_busy"), true);
    if (!files.length) return tell(() => say("no_file_dropped"), true);
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    if (bytes > settings.bytes || files.length > settings.files) return tell(() => sentence(settings.tooLarge), true);
    setBusy(true);
    tell(() => say("classifying", { count: files.length }));
    const word = String(Math.random()).slice(2);
    const watch = setInterval(() => showProgress(word), 700);
    try {
      show(await answer(files, word));
    } catch (error) {
      tell(() => sentence(error.message), true);
    }
    clearInterval(watch);
    byId("progress").hidden = true;
    setBusy(false);
  }

  // How far the server is; while files are still on their way nothing is known.
  async function showProgress(word) {
    try {
      const { done, total } = await (await fetch(`progress?progress=${word}`)).json();
      if (!busy) return;
      const bar = byId("progress");
      bar.hidden = false;
      if (!total) return bar.removeAttribute("value");
      [bar.max, bar.value] = [total, done];
      tell(() => say("classified_of", { done, total }));
    } catch {
      // the answer itself says what is wrong
    }
  }

  // A picture that the server draws, of nobody, goes the way of every other file.
  async function trySample() {
    try {
      const response = await fetch("sample");
      if (!response.ok) throw new Error(response.statusText);
      classify([new File([await response.blob()], say("sample_name"), { type: "image/png" })]);
    } catch {
      tell(() => say("no_answer"), true);
    }
  }

  async function answer(files, word) {
    const form = new FormData();
    for (const file of files) form.append("files", file, file.name);
    let response;
    try {
      response = await fetch(`classify?progress=${word}`, { method: "POST", body: form });
    } catch {
      throw new Error(say("no_answer"));
    }
    const text = await response.text();
    const isJson = response.headers.get("Content-Type") === "application/json";
    const found = isJson ? JSON.parse(text) : { error: text };
    if (!response.ok) throw new Error(found.error);
    return found;
  }

  function setBusy(now) {
    busy = now;
    byId("choose").disabled = byId("sample").disabled = now;
    byId("drop").setAttribute("aria-busy", now);
  }

  let told = () => "";

  // What is told is told again when the language is switched.
  function tell(text, failed = false) {
    told = text;
    byId("status").textContent = text();
    byId("status").classList.toggle("failed", failed);
  }

  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  /* ---- showing ---- */

  // The newest on top, and among them what needs a look.
  function show(found) {
    const items = [...found.items].sort((a, b) => urgency(a) - urgency(b));
    const flagged = items.filter((item) => item.flags.length).length;
    byId("results").prepend(...items.map(makeCard));
    if (items.length === 1) byId("results").querySelector("details").open = true;
    const names = found.ignored_names.map((name) => Object.assign(document.createElement("li"), { textContent: name }));
    byId("left-out").querySelector("ul").replaceChildren(...names);
    byId("left-out").hidden = names.length === 0;
    byId("found").hidden = false;
    const parts = [["results", items.length], ["need_look", flagged], ["others_left", found.ignored_files]];
    const said = parts.filter(([, count], at) => count || at === 0);
    tell(() => `${said.map(([key, count]) => say(key, { count })).join("")}.`);
    byId("results-title").focus();
  }

  function makeCard(item) {
    const result = byId("result").content.firstElementChild.cloneNode(true);
    const part = (name) => result.querySelector(name);
    part("h3 bdi").textContent = item.path;
    shown.set(result, item);
    part(".headline").textContent = part(".brief").textContent = card.headline(item);
    part(".brief-mark").append(card.levelMark(item));
    part(".told").append(...item.flags.map(explained));
    part(".mark").append(card.levelMark(item), ...card.marksOf(item));
    card.tellReason(part(".reason"), item.reason);
    part(".numbers").hidden = item.class === null;
    part(".ranked").append(...card.ranking(item));
    part(".ranked").classList.toggle("doubtful", card.doubtful(item));
    if (item.class !== null) part(".unknown").append(card.unknownBar(item, settings.unknown));
    const facts = card.facts(item);
    part("dl").append(...facts);
    part(".file").hidden = facts.length === 0;
    part(".remove").addEventListener("click", () => remove(result));
    showPicture(part, item);
    return result;
  }

  function explained(flag) {
    const line = document.createElement("li");
    line.append(card.badge(flag), words.page(settings.meanings[flag]));
    return line;
  }

  async function showPicture(part, item) {
    part(".stage").hidden = part(".zoom").hidden = item.picture === null;
    const [zoomed, sliced] = [zoom.make(part("figure")), slices.make(part("figure"))];
    part("figure").addEventListener("keydown", (event) => {
      const typed = event.target.matches("input, select") || event.altKey || event.ctrlKey || event.metaKey;
      if (!typed && (zoomed.key(event) || sliced.key(event))) event.preventDefault();
    });
    part(".no-viewer").hidden = !item.viewer_left_out;
    sliced.show(item.picture === null ? null : item.viewer, item);
    part(".no-picture").hidden = item.picture !== null;
    part(".heat-controls").hidden = item.heat === null;
    part(".no-heat").hidden = item.heat !== null || item.picture === null;
    part(".no-heat").textContent = card.noHeat(item);
    if (item.picture === null) return;
    const image = await card.load(item.picture);
    part("img").alt = say("picture_of", { name: item.path });
    part("img").src = item.picture;
    part(".stage").style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    if (item.heat === null) return;
    card.paintHeat(part(".heat"), await card.load(item.heat));
    const adjust = () => {
      part(".heat").style.opacity = part(".heat-on").checked ? part(".heat-strength").value / 100 : 0;
    };
    for (const control of [".heat-on", ".heat-strength"]) part(control).addEventListener("input", adjust);
    adjust();
  }

  function remove(result) {
    const next = result.nextElementSibling || result.previousElementSibling;
    result.remove();
    shown.delete(result);
    if (next) next.querySelector("summary").focus();
    else clear();
  }

  function clear() {
    byId("results").replaceChildren();
    shown.clear();
    byId("left-out").hidden = true;
    byId("found").hidden = true;
    tell(() => "");
    byId("choose").focus();
  }

  /* ---- to keep ---- */

  // The server makes the file of what it answered, since it keeps nothing itself.
  async function save(kind, name) {
    const order = [...byId("results").children];
    const heavy = kind === "table" ? { picture: null, heat: null, viewer: null } : {};
    const body = JSON.stringify({ items: order.map((result) => ({ ...shown.get(result), ...heavy })) });
    try {
      const headers = { "Content-Type": "application/json" };
      const response = await fetch(kind, { method: "POST", headers, body });
      if (!response.ok) throw new Error((await response.json()).error);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await response.blob());
      link.download = name;
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (error) {
      tell(() => sentence(error.message), true);
    }
  }

  /* ---- what was dropped ---- */

  // Folders come as entries, which must be asked for before the event is over.
  async function dropped(transfer) {
    const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry());
    if (!entries.length || entries.includes(null)) return [...transfer.files];
    return (await Promise.all(entries.map(filesOf))).flat();
  }

  async function filesOf(entry) {
    if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
    const reader = entry.createReader();
    const found = [];
    for (;;) { // a reader hands out a hundred entries at a time
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return (await Promise.all(found.map(filesOf))).flat();
      found.push(...some);
    }
  }

  async function take(event) {
    event.preventDefault();
    mark(false);
    try {
      classify(await dropped(event.dataTransfer));
    } catch {
      tell(() => say("cannot_read_drop"), true);
    }
  }

  const mark = (over) => byId("drop").classList.toggle("over", over);

  // Anywhere on the page: a browser would otherwise open the image in place of it.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false));
  document.addEventListener("drop", take);
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("sample").addEventListener("click", trySample);
  byId("files").addEventListener("change", () => {
    const files = [...byId("files").files];
    byId("files").value = ""; // so that the same file can be chosen again
    if (files.length) classify(files);
  });
  byId("save-table").addEventListener("click", () => save("table", "predictions.csv"));
  byId("save-report").addEventListener("click", () => save(`report?language=${document.documentElement.lang}`, "report.html"));
  byId("clear").addEventListener("click", clear);
  words.onSwitch(() => {
    tell(told, byId("status").classList.contains("failed"));
    for (const result of [...byId("results").children]) {
      const again = makeCard(shown.get(result));
      again.querySelector("details").open = result.querySelector("details").open;
      shown.delete(result);
      result.replaceWith(again);
    }
  });
})();
