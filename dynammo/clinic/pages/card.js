// What a result says and shows, wherever it is shown. Every text of a file goes in as textContent, never as HTML.
const card = (() => {
  // viridis, which most colour-blind people can read, from no to high influence
  const COLOURS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

  const { say, number } = words;
  const { about } = JSON.parse(document.getElementById("settings").textContent);
  const known = (name) => (Object.hasOwn(about, name) ? about[name] : {});

  // A class with its full name, where its class file gives one.
  const titled = (name) => (known(name).name ? `${name} (${known(name).name})` : name);

  // Malignant, benign or urgent: what the class is. Where the class is not to be trusted, its mark would mislead.
  function marksOf(item) {
    if (item.class === null || doubtful(item) || !known(item.class).mark) return [];
    const sign = document.createElement("span");
    sign.className = "class-mark";
    sign.dataset.mark = known(item.class).mark;
    sign.textContent = say(`mark_${known(item.class).mark}`);
    return [sign];
  }
  const kind = (item) => [item.modality, item.format].filter(Boolean).join(", ");
  const doubtful = (item) => item.flags.includes("unknown") || item.flags.includes("looks different");

  // A model is never wholly sure, so no number says so.
  function percent(share) {
    if (share === null) return "–";
    if (share > 0.999) return `> ${number(99.9, 1)} %`;
    if (share < 0.001) return `< ${number(0.1, 1)} %`;
    return `${number(100 * share, 1)} %`;
  }

  function score(value) {
    return value === null ? "–" : number(value, 2);
  }

  function badge(flag) {
    const mark = document.createElement("span");
    mark.className = "flag";
    mark.dataset.flag = flag;
    mark.textContent = words.flag(flag);
    return mark;
  }

  // What the flags come to, in words and by a sign: colour alone would not tell everybody.
  function levelMark(item) {
    const mark = document.createElement("span");
    mark.className = "level";
    mark.dataset.level = item.level;
    mark.textContent = words.level(item.level);
    return mark;
  }

  function headline(item) {
    if (item.class === null) return say("no_prediction");
    if (item.flags.includes("looks different")) return say("unlike", { class: titled(item.class) });
    if (item.flags.includes("unknown")) return say("probably_none", { class: titled(item.class) });
    return say("with_probability", { class: titled(item.class), share: percent(item.probability) });
  }

  function noHeat(item) {
    if (doubtful(item)) return say("no_heat_flags");
    return say(item.slices > 1 ? "no_heat_slice" : "no_heat");
  }

  // A reason that is not known in the language of the page stays English, and says so to those who hear it.
  function tellReason(element, text) {
    const said = words.reason(text || "");
    element.textContent = said ?? text;
    if (said === null) element.lang = "en";
    else element.removeAttribute("lang");
  }

  // Bars of all classes, the most probable first.
  function ranking(item) {
    const ranked = Object.entries(item.probabilities).sort((a, b) => b[1] - a[1]);
    return ranked.map(([name, share]) => bar(titled(name), share, percent(share)));
  }

  function unknownBar(item, limit) {
    return bar(limit === null ? say("no_limit") : say("flag_above", { limit: score(limit) }), item.unknown, score(item.unknown));
  }

  function bar(name, share, text) {
    const line = document.getElementById("bar").content.firstElementChild.cloneNode(true);
    line.querySelector(".name").textContent = name;
    line.querySelector(".track span").style.width = `${100 * (share || 0)}%`;
    line.querySelector(".number").textContent = text;
    return line;
  }

  function facts(item) {
    const lines = [
      ["fact_code", item.class === null ? "" : known(item.class).code],
      ["fact_kind", kind(item)],
      ["fact_files", item.files > 1 ? number(item.files) : ""],
      ["fact_slices", item.slices > 1 ? number(item.slices) : ""],
      ["fact_study", item.study_uid],
      ["fact_series", item.series_uid],
      ["fact_instance", item.instance_uid],
    ];
    return lines.filter(([, value]) => value).flatMap(([name, value]) => {
      const [term, description] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = say(name);
      description.textContent = value;
      return [term, description];
    });
  }

  async function load(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    return image;
  }

  // Grey becomes colour; where there is no influence, the picture shows through.
  function paintHeat(canvas, grey) {
    canvas.width = grey.naturalWidth;
    canvas.height = grey.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(grey, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < pixels.data.length; at += 4) {
      const influence = pixels.data[at];
      pixels.data.set([...colour(influence / 255), influence], at);
    }
    context.putImageData(pixels, 0, 0);
  }

  function colour(share) {
    const at = share * (COLOURS.length - 1);
    const low = COLOURS[Math.floor(at)];
    const high = COLOURS[Math.ceil(at)];
    return low.map((value, channel) => Math.round(value + (high[channel] - value) * (at % 1)));
  }

  return { number, kind, doubtful, percent, score, badge, levelMark, titled, marksOf, headline, noHeat, tellReason, ranking, unknownBar, facts, load, paintHeat };
})();
