// What a clinician says of the items. It is kept in this page alone, until it is saved as review.csv.
const review = (() => {
  const COLUMNS = ["path", "content", "model", "predicted", "review", "label", "comment"];
  const FORMULA = /^[=+\-@]/; // what begins a formula in a spreadsheet
  const given = new Map(); // number of an item -> { label, comment }
  let unsaved = false;

  const of = (i) => given.get(i) || { label: "", comment: "" };

  function give(i, label, comment) {
    const [right, said] = [label.trim(), comment.trim()];
    if (right || said) given.set(i, { label: right, comment: said });
    else given.delete(i);
    unsaved = true;
  }

  function verdict(i, item) {
    const { label, comment } = of(i);
    if (label) return label === item.class ? "accepted" : "corrected";
    return comment ? "commented" : "";
  }

  /* ---- the file ---- */

  function toCsv(items, model) {
    const rows = [...given.keys()].sort((a, b) => a - b).map((i) => {
      const [item, { label, comment }] = [items[i], of(i)];
      return [item.path, item.content, model, item.class || "", verdict(i, item), label, comment];
    });
    unsaved = false;
    return [COLUMNS, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
  }

  function guarded(text) {
    const risky = /^[\t\r\n]/.test(text) || FORMULA.test(text.trimStart().slice(0, 1).normalize("NFKC"));
    return risky ? `'${text}` : text;
  }

  function cell(value) {
    const text = guarded(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  const plain = (text) => (text.startsWith("'") && guarded(text.slice(1)) === text ? text.slice(1) : text);

  // Takes what is said of these very items; answers with a sentence.
  function load(text, items, model) {
    const [heads, ...rows] = parse(text.replace(/^\ufeff/, ""));
    if (!heads || COLUMNS.some((name) => !heads.includes(name))) return words.say("no_review");
    const named = rows.map((row) => Object.fromEntries(heads.map((name, at) => [name, plain(row[at] || "")])));
    if (named.some((row) => row.model !== model)) return words.say("other_model");
    const places = new Map(items.map((item, i) => [`${item.path}\n${item.content}`, i]));
    const known = named.filter((row) => places.has(`${row.path}\n${row.content}`));
    for (const row of known) give(places.get(`${row.path}\n${row.content}`), row.label, row.comment);
    unsaved = false;
    const left = named.length - known.length;
    const others = left ? words.say("reviews_left", { count: left }) : "";
    return `${words.say("reviews_loaded", { count: known.length })}${others}.`;
  }

  function parse(text) {
    const rows = [[]];
    const cells = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/y;
    while (cells.lastIndex < text.length) {
      const found = cells.exec(text);
      if (!found) return []; // a quote that is not closed
      rows.at(-1).push(found[1].startsWith('"') ? found[1].slice(1, -1).replaceAll('""', '"') : found[1]);
      if (found[2] !== "," && cells.lastIndex < text.length) rows.push([]);
    }
    return rows;
  }

  function count(items) {
    const verdicts = [...given.keys()].map((i) => verdict(i, items[i]));
    return { reviewed: verdicts.length, corrected: verdicts.filter((one) => one === "corrected").length };
  }

  window.addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
  return { of, give, verdict, toCsv, load, count };
})();
