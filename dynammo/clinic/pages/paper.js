// What is printed behind the table: flagged images, large. Every text of a file goes in as textContent, never as HTML.
const paper = (() => {
  const MOST = 60; // images: two on a page
  const { say } = words;

  function element(name, text, className = "") {
    const made = document.createElement(name);
    made.textContent = text;
    made.className = className;
    return made;
  }

  // `flagged`: numbers of items; `picture`: number -> address of its picture, null where there is none.
  function fill(section, flagged, items, picture) {
    const seen = flagged.filter((i) => picture(i) !== null);
    const shown = seen.slice(0, MOST);
    section.replaceChildren();
    if (!shown.length) return;
    const about = say(shown.length < seen.length ? "appendix_first" : "appendix_of", { shown: shown.length, all: seen.length });
    section.append(element("h2", say("appendix")), element("p", about));
    section.append(...shown.map((i) => figure(items[i], picture(i))));
  }

  function figure(item, source) {
    const [made, image, text] = ["figure", "img", "figcaption"].map((name) => document.createElement(name));
    image.src = source;
    image.alt = say("picture_of", { name: item.path });
    const name = element("h3", "");
    name.append(element("bdi", item.path));
    const flags = element("p", "");
    flags.append(...card.marksOf(item), card.levelMark(item), ...item.flags.map(card.badge));
    text.append(name, element("p", card.headline(item), "headline"), flags);
    text.append(...item.flags.map((flag) => document.querySelector(`.meanings [data-flag="${flag}"]`)).filter(Boolean)
      .map((button) => element("p", button.closest("tr").lastElementChild.textContent)));
    if (item.reason) text.append(element("p", item.reason));
    made.append(image, text);
    return made;
  }

  return { fill };
})();
