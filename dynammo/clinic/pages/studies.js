// Rows of one study under one heading. Every text of a file goes in as textContent, never as HTML.
const studies = (() => {
  const { say } = words;

  function make(items) {
    const box = document.getElementById("by-study");
    const key = (i) => items[i].study_uid || "";
    document.getElementById("study-switch").hidden = !items.some((item) => item.study_uid);

    // Studies in the order of their first rows; rows inside of a study as they were. What has no study stands last.
    function order(rows) {
      if (!box.checked) return rows;
      const found = new Map();
      for (const i of rows) {
        if (!found.has(key(i))) found.set(key(i), []);
        found.get(key(i)).push(i);
      }
      const without = found.get("") || [];
      found.delete("");
      return [...[...found.values()].flat(), ...without];
    }

    function rows(visible, all, makeRow) {
      if (!box.checked) return visible.map(makeRow);
      const counts = new Map();
      for (const i of all) {
        const { count, flagged } = counts.get(key(i)) || { count: 0, flagged: 0 };
        counts.set(key(i), { count: count + 1, flagged: flagged + (items[i].flags.length > 0) });
      }
      const before = all[all.indexOf(visible[0]) - 1];
      return visible.flatMap((i, at) => {
        const last = at ? visible[at - 1] : before;
        if (at && key(last) === key(i)) return [makeRow(i)];
        const continued = last !== undefined && key(last) === key(i);
        return [heading(key(i), counts.get(key(i)), continued), makeRow(i)];
      });
    }

    function heading(uid, { count, flagged }, continued) {
      const [row, cell, name] = ["tr", "th", "bdi"].map((tag) => document.createElement(tag));
      row.className = "study";
      row.setAttribute("role", "row");
      cell.setAttribute("role", "rowheader");
      cell.colSpan = 8;
      cell.scope = "rowgroup";
      name.textContent = uid;
      const more = document.createElement("small");
      more.textContent = [
        say("study_items", { count }), flagged ? say("study_flagged", { count: flagged }) : "", continued ? say("study_continued") : "",
      ].join("");
      cell.append(say(uid ? "study" : "no_study"), " ", name, " ", more);
      row.append(cell);
      return row;
    }

    return { order, rows, onSwitch: (act) => box.addEventListener("input", act) };
  }

  return { make };
})();
