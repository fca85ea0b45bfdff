// Slices and window of a picture: measured values, reduced in size, which the browser makes grey. Values stay exact:
// they are unpacked as numbers and never read back from a canvas.
const slices = (() => {
  const { say, number } = words;
  const WHEEL = 40; // of a touchpad, for one slice

  // `figure` holds .stage and .viewer; answers with what a new picture and keys need.
  function make(figure) {
    const part = (name) => figure.querySelector(`.${name}`);
    const [stage, canvas, panel] = [figure.querySelector(".stage"), part("slice"), part("viewer")];
    let current = null; // the item
    let shown = null; // what lies in the page of an item; with `words` once they are unpacked
    let [at, centre, width, wheeled] = [0, 0, 0, 0];

    const measured = () => shown !== null && !shown.jpegs;
    const several = () => shown !== null && shown.numbers.length > 1;

    // `viewer` as dynammo.inference.slices gives it, or null.
    async function show(viewer, item) {
      [current, shown] = [item, null];
      panel.hidden = true;
      rest();
      if (viewer === null) return;
      const found = { ...viewer };
      try {
        if (!found.jpegs) found.words = await unpack(found);
      } catch {
        panel.hidden = false;
        panel.classList.add("failed");
        part("viewer-hint").textContent = say("viewer_fails");
        return;
      }
      if (item !== current) return; // walked on meanwhile
      shown = found;
      panel.hidden = false;
      panel.classList.remove("failed");
      setUp(item);
    }

    function setUp(item) {
      const { numbers, low, high, step } = shown;
      part("slice-number").max = numbers.length - 1;
      part("slice-number").closest("label").hidden = !several();
      for (const label of panel.querySelectorAll(".window-control")) label.hidden = !measured();
      part("presets").hidden = !measured();
      if (measured()) {
        fillPresets();
        [part("window-centre").min, part("window-centre").max] = [low, high];
        [part("window-width").min, part("window-width").max] = [step, Math.max(high - low, step)];
      }
      reset();
    }

    const ofCt = () => current.modality === "CT" || shown.hounsfield;

    function fillPresets() {
      const { low, high, inner } = shown;
      for (const [name, [from, to]] of Object.entries({ full: [low, high], inner })) {
        panel.querySelector(`[data-range=${name}]`).value = `${(from + to) / 2} ${to - from}`;
      }
      for (const option of panel.querySelectorAll(".of-ct")) option.hidden = option.disabled = !ofCt();
    }

    /* ---- what is seen ---- */

    // The picture of the report, with its heat map.
    function rest() {
      canvas.hidden = true;
      stage.classList.remove("sliced", "other-slice", "windowed");
    }

    function reset() {
      at = shown.start;
      if (measured()) [centre, width] = shown.window;
      rest();
      stage.classList.toggle("windowed", measured());
      tell();
    }

    function tell() {
      const { numbers, count } = shown;
      part("slice-number").value = at;
      part("slice-now").textContent = say("slice_of", { place: numbers[at], count });
      part("slice-number").setAttribute("aria-valuetext", part("slice-now").textContent);
      if (measured()) tellWindow();
      part("as-classified").disabled = canvas.hidden;
      part("viewer-hint").textContent = hints().join(" ");
    }

    function tellWindow() {
      const unit = ofCt() ? " HU" : "";
      const digits = shown.high - shown.low < 10 ? 2 : 0;
      for (const [name, value] of [["centre", centre], ["width", width]]) {
        part(`window-${name}`).value = value;
        part(`${name}-now`).textContent = number(value, digits) + unit;
        part(`window-${name}`).setAttribute("aria-valuetext", part(`${name}-now`).textContent);
      }
      const chosen = [...part("window-preset").options].find((option) => option.value && !option.disabled && isShown(option));
      part("window-preset").value = chosen ? chosen.value : "";
    }

    // Values that differ by less than a step look the same.
    function isShown(option) {
      const [presetCentre, presetWidth] = option.value.split(" ").map(Number);
      return Math.abs(presetCentre - centre) <= shown.step && Math.abs(presetWidth - width) <= shown.step;
    }

    function hints() {
      const size = measured() ? shown : { width: canvas.width, height: canvas.height };
      const { numbers, count, home } = shown;
      const kept = { kept: numbers.length, count, width: size.width, height: size.height };
      const heat = home === null ? say("viewer_heat_none") : say("viewer_heat", { place: numbers[home] });
      return [
        !size.width ? "" : several() ? say("viewer_slices", kept) : say("viewer_reduced", kept),
        several() ? say("viewer_keys") : "",
        measured() && shown.hounsfield && current.modality !== "CT" ? say("viewer_hounsfield") : "",
        measured() && !window.matchMedia("(pointer: coarse)").matches ? say("viewer_drag") : "",
        stage.classList.contains("other-slice") && !part("heat-controls").hidden ? heat : "",
      ].filter(Boolean);
    }

    async function paint() {
      const [viewer, place] = [shown, at];
      if (measured()) paintValues();
      else {
        const image = await card.load(`data:image/jpeg;base64,${viewer.jpegs[place]}`);
        if (shown !== viewer || at !== place) return; // gone on meanwhile
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext("2d").drawImage(image, 0, 0);
      }
      canvas.hidden = false;
      canvas.setAttribute("aria-label", `${say("slice_of", { place: viewer.numbers[at], count: viewer.count })}`);
      stage.classList.add("sliced");
      stage.classList.toggle("other-slice", at !== viewer.home);
      tell();
    }

    function paintValues() {
      const { words: all, low, step } = shown;
      [canvas.width, canvas.height] = [shown.width, shown.height];
      const context = canvas.getContext("2d");
      const pixels = context.createImageData(canvas.width, canvas.height);
      const [first, size] = [at * canvas.width * canvas.height, canvas.width * canvas.height];
      const [black, gain] = [(centre - width / 2 - low) / step, (255 * step) / width];
      for (let i = 0; i < size; i += 1) {
        const grey = (all[first + i] - black) * gain; // the array clamps
        pixels.data[4 * i] = pixels.data[4 * i + 1] = pixels.data[4 * i + 2] = grey;
        pixels.data[4 * i + 3] = 255;
      }
      context.putImageData(pixels, 0, 0);
    }

    /* ---- what changes it ---- */

    function turnTo(place) {
      const next = Math.min(shown.numbers.length - 1, Math.max(0, place));
      if (next === at && !canvas.hidden) return;
      at = next;
      paint();
    }

    function setWindow(newCentre, newWidth) {
      const { low, high, step } = shown;
      width = Math.min(4 * (high - low) + step, Math.max(step, newWidth));
      centre = Math.min(high, Math.max(low, newCentre));
      paint();
    }

    const KEYS = { ArrowUp: 1, ArrowDown: -1 };
    function key(event) {
      if (shown === null) return false;
      if (several() && KEYS[event.key]) turnTo(at + KEYS[event.key]);
      else if (event.key === "r") reset();
      else return false;
      return true;
    }

    part("slice-number").addEventListener("input", () => turnTo(Number(part("slice-number").value)));
    for (const name of ["centre", "width"]) {
      part(`window-${name}`).addEventListener("input", () =>
        setWindow(Number(part("window-centre").value), Number(part("window-width").value)));
    }
    part("window-preset").addEventListener("input", () => {
      if (part("window-preset").value) setWindow(...part("window-preset").value.split(" ").map(Number));
    });
    part("as-classified").addEventListener("click", reset);

    // Before that of the zoom: with Ctrl, and where there is one slice alone, the wheel brings nearer.
    stage.addEventListener("wheel", (event) => {
      if (!several() || event.ctrlKey) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      wheeled += event.deltaY;
      if (Math.abs(wheeled) < WHEEL) return;
      turnTo(at + (wheeled < 0 ? 1 : -1));
      wheeled = 0;
    }, { passive: false, capture: true });

    let held = null;
    stage.addEventListener("pointerdown", (event) => {
      if (!measured() || stage.classList.contains("near") || event.pointerType === "touch" || event.button) return;
      held = { x: event.clientX, y: event.clientY, centre, width, pointer: event.pointerId };
    });
    stage.addEventListener("pointermove", (event) => {
      if (held?.pointer !== event.pointerId || !measured()) return;
      const [right, down] = [event.clientX - held.x, event.clientY - held.y];
      if (canvas.hidden && Math.hypot(right, down) < 3) return; // a click
      stage.setPointerCapture(event.pointerId);
      const share = (2 * Math.max(held.width, shown.step)) / stage.clientWidth;
      setWindow(held.centre + down * share, held.width + right * share);
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => (held = null));

    return { show, key };
  }

  // Words of 16 bits, from high and low bytes of their differences along each row.
  async function unpack({ values, width }) {
    const packed = Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const count = bytes.length / 2;
    const all = new Uint16Array(count);
    for (let i = 0; i < count; i += 1) {
      all[i] = (bytes[i] << 8) + bytes[count + i] + (i % width ? all[i - 1] : 0);
    }
    return all;
  }

  return { make };
})();
