// Slices and window of a picture: measured values, reduced in size, which the browser makes grey. Values stay exact:
// they are unpacked as numbers and never read back from a canvas.
const slices = (() => {
  const { say, number } = words;
  const WHEEL = 40; // of a touchpad, for one slice

  // `figure` holds .stage and .viewer; answers with what a new picture and keys need.
  function make(figure) {
    const byId = (id) => figure.querySelector(`#${id}`);
    const [stage, canvas, panel] = [figure.querySelector(".stage"), byId("slice"), byId("viewer")];
    let current = null; // the item
    let shown = null; // what lies in the page of an item; with `words` once they are unpacked
    let [at, centre, width, wheeled] = [0, 0, 0, 0];

    const measured = () => shown !== null && !shown.jpegs;
    const several = () => shown !== null && shown.numbers.length > 1;

    async function show(element, item) {
      [current, shown] = [item, null];
      panel.hidden = true;
      rest();
      if (element === null) return;
      const found = JSON.parse(element.textContent);
      try {
        if (!found.jpegs) found.words = await unpack(found);
      } catch {
        panel.hidden = false;
        panel.classList.add("failed");
        byId("viewer-hint").textContent = say("viewer_fails");
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
      byId("slice-number").max = numbers.length - 1;
      byId("slice-number").closest("label").hidden = !several();
      for (const label of panel.querySelectorAll(".window-control")) label.hidden = !measured();
      byId("presets").hidden = !(measured() && item.modality === "CT");
      if (measured()) {
        [byId("window-centre").min, byId("window-centre").max] = [low, high];
        [byId("window-width").min, byId("window-width").max] = [step, Math.max(high - low, step)];
      }
      reset();
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
      byId("slice-number").value = at;
      byId("slice-now").textContent = say("slice_of", { place: numbers[at], count });
      byId("slice-number").setAttribute("aria-valuetext", byId("slice-now").textContent);
      if (measured()) tellWindow();
      byId("as-classified").disabled = canvas.hidden;
      byId("viewer-hint").textContent = hints().join(" ");
    }

    function tellWindow() {
      const unit = current.modality === "CT" ? " HU" : "";
      const digits = shown.high - shown.low < 10 ? 2 : 0;
      for (const [name, value] of [["centre", centre], ["width", width]]) {
        byId(`window-${name}`).value = value;
        byId(`${name}-now`).textContent = number(value, digits) + unit;
        byId(`window-${name}`).setAttribute("aria-valuetext", byId(`${name}-now`).textContent);
      }
      const preset = `${Math.round(centre)} ${Math.round(width)}`;
      const known = [...byId("window-preset").options].some((option) => option.value === preset);
      byId("window-preset").value = known ? preset : "";
    }

    function hints() {
      const size = measured() ? shown : { width: canvas.width, height: canvas.height };
      const { numbers, count, home } = shown;
      const kept = { kept: numbers.length, count, width: size.width, height: size.height };
      const heat = home === null ? say("viewer_heat_none") : say("viewer_heat", { place: numbers[home] });
      return [
        !size.width ? "" : several() ? say("viewer_slices", kept) : say("viewer_reduced", kept),
        several() ? say("viewer_keys") : "",
        measured() && !window.matchMedia("(pointer: coarse)").matches ? say("viewer_drag") : "",
        stage.classList.contains("other-slice") && !document.getElementById("heat-controls").hidden ? heat : "",
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

    byId("slice-number").addEventListener("input", () => turnTo(Number(byId("slice-number").value)));
    for (const name of ["centre", "width"]) {
      byId(`window-${name}`).addEventListener("input", () =>
        setWindow(Number(byId("window-centre").value), Number(byId("window-width").value)));
    }
    byId("window-preset").addEventListener("input", () => {
      if (byId("window-preset").value) setWindow(...byId("window-preset").value.split(" ").map(Number));
    });
    byId("as-classified").addEventListener("click", reset);

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
