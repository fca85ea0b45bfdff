// The table and the large picture; card.js stands before it. Every text of a file goes in as textContent, never as HTML.
(() => {
  const ROWS_PER_PAGE = 50;
  const FILTERS = ["by-class", "by-level", "by-flag", "by-review", "by-text"];
  const { number, kind, doubtful, percent, score, badge, levelMark } = card;
  const { say } = words;

  const byId = (id) => document.getElementById(id);
  const settings = JSON.parse(byId("settings").textContent);
  const items = JSON.parse(byId("items").textContent);
  const compareText = new Intl.Collator("en", { numeric: true }).compare;

  const grouped = studies.make(items);
  const view = { sort: "flags", descending: false, page: 0, shown: [], printing: false };

  /* ---- order and filter ---- */

  const urgency = (item) => (item.flags.length ? settings.flags.indexOf(item.flags[0]) : settings.flags.length);
  const SORT_KEYS = {
    path: (item) => item.path,
    class: (item) => item.class,
    probability: (item) => item.probability,
    unknown: (item) => item.unknown,
    flags: urgency,
    kind: (item) => kind(item),
    slices: (item) => item.slices,
  };

  function compare(a, b) {
    return typeof a === "string" ? compareText(a, b) : a - b;
  }

  // What has no value stands last in both directions.
  function compareBy(key, sign) {
    return (i, j) => {
      const [a, b] = [key(items[i]), key(items[j])];
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * compare(a, b);
    };
  }

  // Sorting is stable: equal rows keep this order.
  const needsALookFirst = items.map((_, i) => i)
    .sort(compareBy(SORT_KEYS.path, 1))
    .sort(compareBy(SORT_KEYS.probability, 1))
    .sort(compareBy(urgency, 1));
  const searched = (item) => [
    item.path, item.class && card.titled(item.class), item.reason, item.reason && words.reason(item.reason), kind(item),
    item.study_uid, item.series_uid, item.instance_uid,
  ].filter(Boolean).join("\n").toLowerCase();
  let searchable = items.map(searched);

  function hasFlag(item, wanted) {
    if (wanted === "any") return item.flags.length > 0;
    if (wanted === "none") return item.flags.length === 0;
    return wanted === "" || item.flags.includes(wanted);
  }

  function update() {
    const chosen = byId("by-class").selectedOptions[0].dataset.name;
    const flag = byId("by-flag").value;
    const level = byId("by-level").value;
    const reviewed = byId("by-review").value;
    const typed = byId("by-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (i) =>
      (chosen === undefined || items[i].class === chosen) &&
      hasFlag(items[i], flag) &&
      (level === "" || items[i].level === level) &&
      (reviewed === "" || (review.verdict(i, items[i]) || "none") === reviewed) &&
      typed.every((word) => searchable[i].includes(word));
    view.shown = grouped.order(needsALookFirst.filter(fits).sort(compareBy(SORT_KEYS[view.sort], view.descending ? -1 : 1)));
    view.page = 0;
    draw();
    byId("filtered-by").textContent = describeFilter(chosen, level, flag, reviewed, typed);
  }

  function describeFilter(chosen, level, flag, reviewed, typed) {
    const parts = [
      ["class", chosen],
      ["level", level && words.level(level)],
      ["flag", ["any", "none"].includes(flag) ? say(flag) : flag && words.flag(flag)],
      ["review", reviewed && say(reviewed === "none" ? "review_none" : reviewed)],
      ["text", typed.join(" ")],
    ];
    const used = parts.filter(([, what]) => what).map(([kind, what]) => say(`only_${kind}`, { what }));
    return used.length ? say("only", { what: used.join(", ") }) : "";
  }

  /* ---- the table ---- */

  const lastPage = () => Math.max(0, Math.ceil(view.shown.length / ROWS_PER_PAGE) - 1);

  function draw() {
    view.page = Math.min(Math.max(view.page, 0), lastPage());
    const first = view.page * ROWS_PER_PAGE;
    const visible = view.printing ? view.shown : view.shown.slice(first, first + ROWS_PER_PAGE);
    byId("rows").replaceChildren(...grouped.rows(visible, view.shown, makeRow));
    byId("nothing").hidden = visible.length > 0;
    byId("status").textContent = describe(first, visible.length);
    byId("page").value = view.page + 1;
    byId("page").max = lastPage() + 1;
    byId("pages").textContent = number(lastPage() + 1);
    byId("page-back").disabled = view.page === 0;
    byId("page-on").disabled = view.page === lastPage();
    for (const head of document.querySelectorAll("th[data-sort]")) {
      if (head.dataset.sort === view.sort) head.ariaSort = view.descending ? "descending" : "ascending";
      else head.removeAttribute("aria-sort");
    }
  }

  function describe(first, count) {
    const found = view.shown.length;
    const all = items.length;
    const range = count && count < found ? say("items_shown", { first: first + 1, last: first + count }) : "";
    return (found === all ? say("items", { count: all }) : say("items_of", { count: found, all })) + range;
  }

  function makeRow(i) {
    const item = items[i];
    const row = byId("row").content.firstElementChild.cloneNode(true);
    const cell = (name) => row.querySelector(`.${name}`);
    row.dataset.item = i;
    cell("path").querySelector("bdi").append(...breakable(item.path));
    fillClass(cell("class"), item);
    showReview(row, i);
    cell("probability").textContent = percent(item.probability);
    cell("probability").classList.toggle("doubtful", doubtful(item));
    cell("unknown").textContent = score(item.unknown);
    cell("flags").append(levelMark(item), ...item.flags.map(badge));
    cell("kind").textContent = kind(item);
    cell("slices").textContent = item.slices ? number(item.slices) : "–";
    showThumbnail(row);
    return row;
  }

  // A long path may be broken after a separator.
  function breakable(path) {
    return path.split(/(?<=[/\\_-])/).flatMap((part) => [part, document.createElement("wbr")]);
  }

  function fillClass(cell, item) {
    if (item.class === null) {
      card.tellReason(cell, item.reason || say("not_read"));
    } else {
      cell.textContent = doubtful(item) ? say("nearest", { class: card.titled(item.class) }) : card.titled(item.class);
      cell.append(" ", ...card.marksOf(item), ...nextClasses(item));
    }
    cell.classList.toggle("doubtful", item.class === null || doubtful(item));
  }

  function showReview(row, i) {
    row.querySelector(".said")?.remove();
    const verdict = review.verdict(i, items[i]);
    if (!verdict) return;
    const line = document.createElement("small");
    line.className = "said";
    const { label, comment } = review.of(i);
    line.textContent = [verdict === "corrected" ? say("corrected_to", { class: label }) : say(verdict), comment].filter(Boolean).join(", ");
    row.querySelector(".class").append(line);
  }

  // The second and third most probable class, each with a bar.
  function nextClasses(item) {
    const ranked = Object.entries(item.probabilities).sort((a, b) => b[1] - a[1]).slice(1, 3);
    return ranked.map(([name, probability]) => {
      const line = document.createElement("small");
      line.className = "next";
      const bar = document.createElement("meter");
      bar.value = probability;
      bar.setAttribute("aria-hidden", "true");
      line.append(bar, ` ${percent(probability)} ${name}`);
      return line;
    });
  }

  function showThumbnail(row) {
    const source = picture("jpeg", row.dataset.item);
    const image = row.querySelector("img");
    image.hidden = source === null;
    if (source !== null) image.src = source;
  }

  // Before the whole page is read, the last picture may be there in part.
  function picture(part, i) {
    const data = document.readyState === "loading" ? null : byId(`${part}-${i}`);
    const type = part === "jpeg" ? "image/jpeg" : "image/png";
    return data && `data:${type};base64,${data.textContent}`;
  }

  function sortBy(column) {
    view.descending = view.sort === column && !view.descending;
    view.sort = column;
    update();
  }

  function turnTo(page) {
    view.page = page;
    draw();
  }

  function turnPage(page) {
    turnTo(page);
    byId("items-title").scrollIntoView();
  }

  function walkRows(event) {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    let next = step && event.target.closest("tr")[step];
    if (next && !next.dataset.item) next = next[step]; // the heading of a study
    if (!next) return;
    event.preventDefault();
    next.querySelector("button").focus();
  }

  /* ---- the large picture ---- */

  const large = byId("large");
  const zoomed = zoom.make(large.querySelector("figure"));
  const sliced = slices.make(large.querySelector("figure"));
  let position = 0; // in view.shown

  function open(i) {
    position = view.shown.indexOf(i);
    showLarge();
    large.showModal();
  }

  function step(by) {
    const next = position + by;
    if (next < 0 || next >= view.shown.length) return;
    position = next;
    showLarge();
  }

  function showLarge() {
    const i = view.shown[position];
    const item = items[i];
    large.querySelector("h2 bdi").textContent = item.path;
    byId("position").textContent = say("place_of", { place: position + 1, all: view.shown.length });
    byId("back").disabled = position === 0;
    byId("on").disabled = position === view.shown.length - 1;
    showFindings(item);
    byId("accept").disabled = item.class === null;
    fillReview(i);
    showPicture(i, item);
  }

  function fillReview(i) {
    byId("right-class").value = review.of(i).label;
    byId("comment").value = review.of(i).comment;
    byId("accept").setAttribute("aria-pressed", review.verdict(i, items[i]) === "accepted");
  }

  function accept() {
    byId("right-class").value = items[view.shown[position]].class;
    takeReview();
  }

  function takeReview() {
    const i = view.shown[position];
    review.give(i, byId("right-class").value, byId("comment").value);
    byId("accept").setAttribute("aria-pressed", review.verdict(i, items[i]) === "accepted");
    const row = byId("rows").querySelector(`[data-item="${i}"]`);
    if (row) showReview(row, i);
    countReviews();
  }

  function countReviews() {
    const { reviewed, corrected } = review.count(items);
    byId("reviewed").textContent = say("reviewed", { reviewed, all: items.length, corrected });
    byId("save-review").disabled = reviewed === 0;
  }

  function saveReview() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([review.toCsv(items, settings.model)], { type: "text/csv" }));
    link.download = "review.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async function loadReview() {
    const [file] = byId("load-review").files;
    if (!file) return;
    const said = review.load(await file.text(), items, settings.model);
    byId("load-review").value = "";
    update();
    countReviews();
    byId("reviewed").textContent += `. ${said}`;
  }

  function showFindings(item) {
    byId("large-class").textContent = card.headline(item);
    byId("large-flags").replaceChildren(...card.marksOf(item), levelMark(item), ...item.flags.map(badge));
    card.tellReason(byId("large-reason"), item.reason);
    byId("large-numbers").hidden = item.class === null;
    byId("bars").replaceChildren(...card.ranking(item));
    byId("bars").classList.toggle("doubtful", doubtful(item));
    byId("unknown-bar").replaceChildren(card.unknownBar(item, settings.unknown));
    byId("facts").replaceChildren(...card.facts(item));
  }

  async function showPicture(i, item) {
    const [source, heat] = [picture("jpeg", i), picture("heat", i)];
    const canvas = byId("heat");
    byId("stage").hidden = large.querySelector(".zoom").hidden = source === null;
    zoomed.whole();
    sliced.show(viewerOf(source, i), item);
    byId("no-viewer").hidden = !settings.left_out.includes(i);
    byId("no-picture").hidden = source !== null;
    byId("heat-controls").hidden = heat === null;
    byId("no-heat").hidden = heat !== null || source === null;
    byId("no-heat").textContent = card.noHeat(item);
    canvas.width = canvas.height = 0;
    if (source === null) return byId("image").removeAttribute("src");
    byId("image").alt = say("picture_of", { name: item.path });
    const image = await card.load(source);
    if (view.shown[position] !== i) return; // walked on meanwhile
    byId("image").src = source;
    byId("stage").style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    if (heat === null) return;
    const grey = await card.load(heat);
    if (view.shown[position] === i) card.paintHeat(canvas, grey);
  }

  function viewerOf(source, i) {
    const found = source === null ? null : byId(`slices-${i}`);
    return found && JSON.parse(found.textContent);
  }

  function adjustHeat() {
    byId("heat").style.opacity = byId("heat-on").checked ? byId("heat-strength").value / 100 : 0;
  }

  function largeKeys(event) {
    if (event.target.matches("input:not([type=checkbox]), select") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (zoomed.key(event) || sliced.key(event)) return event.preventDefault();
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) step(move);
    else if (event.key === "a" && !byId("accept").disabled) accept();
    else if (event.key === "h" && !byId("heat-controls").hidden) byId("heat-on").click();
    else return;
    event.preventDefault();
  }

  // The table goes on where the walk through the pictures ended.
  function returnToTable() {
    const i = view.shown[position];
    const page = Math.floor(position / ROWS_PER_PAGE);
    if (page !== view.page) {
      view.page = page;
      draw();
    }
    byId("rows").querySelector(`[data-item="${i}"] button`).focus();
  }

  /* ---- paper ---- */

  // On paper: every row of the filter, and what is folded up on the screen.
  let unfolded = [];
  function toPaper() {
    if (view.printing) return;
    view.printing = true;
    unfolded = [...document.querySelectorAll("details:not([open])")];
    for (const part of unfolded) part.open = true;
    paper.fill(byId("appendix"), view.shown.filter((i) => items[i].flags.length), items, (i) => picture("jpeg", i));
    draw();
  }

  function toScreen() {
    view.printing = false;
    for (const part of unfolded) part.open = false;
    byId("appendix").replaceChildren();
    draw();
  }

  async function print() {
    toPaper();
    const pictures = [...document.querySelectorAll("#rows img[src], #appendix img")];
    await Promise.allSettled(pictures.map((image) => image.decode()));
    window.print();
  }

  /* ---- wiring ---- */

  const on = (id, event, act) => byId(id).addEventListener(event, act);

  function choose(select, option) {
    for (const id of FILTERS) byId(id).value = "";
    option.selected = true;
    update();
    byId("items-title").scrollIntoView();
    select.focus({ preventScroll: true });
  }

  function wireFilter() {
    for (const id of FILTERS) on(id, "input", update);
    const form = document.querySelector(".filter");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(update)); // the fields are empty only after the event
    for (const wanted of ["class", "level", "flag"]) {
      const list = `by-${wanted}`;
      for (const button of document.querySelectorAll(`.summary button[data-${wanted}]`)) {
        const fits = (option) => (option.dataset.name ?? option.value) === button.dataset[wanted];
        button.addEventListener("click", () => choose(byId(list), [...byId(list).options].find(fits)));
      }
    }
  }

  function wireTable() {
    for (const head of document.querySelectorAll("th[data-sort]")) {
      head.querySelector("button").addEventListener("click", () => sortBy(head.dataset.sort));
    }
    on("rows", "keydown", walkRows);
    on("rows", "click", (event) => {
      const row = event.target.closest("tr[data-item]");
      const selecting = event.detail > 0 && window.getSelection().toString() !== ""; // by mouse, to copy a name
      if (row && !selecting) open(Number(row.dataset.item));
    });
    on("page-back", "click", () => turnPage(view.page - 1));
    on("page-on", "click", () => turnPage(view.page + 1));
    on("page", "change", () => turnPage((Number(byId("page").value) || 1) - 1));
  }

  function wireLarge() {
    on("back", "click", () => step(-1));
    on("on", "click", () => step(1));
    on("close", "click", () => large.close());
    on("heat-on", "input", adjustHeat);
    on("heat-strength", "input", adjustHeat);
    large.addEventListener("keydown", largeKeys);
    large.addEventListener("close", returnToTable);
    large.addEventListener("click", (event) => event.target === large && large.close());
    adjustHeat();
  }

  wireFilter();
  wireTable();
  wireLarge();
  on("accept", "click", accept);
  on("right-class", "input", takeReview);
  on("comment", "input", takeReview);
  on("save-review", "click", saveReview);
  on("load-review", "change", loadReview);
  countReviews();
  grouped.onSwitch(update);
  words.onSwitch(() => {
    const { page } = view;
    searchable = items.map(searched);
    update();
    turnTo(page);
    countReviews();
    if (large.open) showLarge();
  });
  on("print", "click", print);
  window.addEventListener("beforeprint", toPaper);
  window.addEventListener("afterprint", toScreen);
  document.addEventListener("DOMContentLoaded", () => byId("rows").querySelectorAll("[data-item]").forEach(showThumbnail));
  update();
})();
