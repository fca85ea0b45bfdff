// A picture with its heat map, nearer and farther: by buttons, keys, wheel and drag.
const zoom = (() => {
  const [MOST, STEP, MOVE] = [8, 1.25, 0.1];
  const KEYS = { "+": STEP, "=": STEP, "-": 1 / STEP };
  const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  // `figure` holds a .stage and a .zoom with buttons; answers with what keys and a new picture need.
  function make(figure) {
    const stage = figure.querySelector(".stage");
    const part = (name) => figure.querySelector(name);
    let [scale, x, y] = [1, 0, 0]; // x and y: how far the picture is moved, in shares of the stage

    function draw() {
      const most = (scale - 1) / 2; // its edge stays at the edge of the stage
      [x, y] = [x, y].map((value) => Math.min(most, Math.max(-most, value)));
      for (const layer of stage.querySelectorAll("img, canvas")) {
        layer.style.transform = scale === 1 ? "" : `translate(${100 * x}%, ${100 * y}%) scale(${scale})`;
      }
      stage.classList.toggle("near", scale > 1);
      part(".zoom-now").textContent = `${words.number(100 * scale)} %`;
      part(".zoom-in").disabled = scale === MOST;
      part(".zoom-out").disabled = part(".zoom-whole").disabled = scale === 1;
    }

    // What lies at `at`, in shares of the stage from its centre, stays where it is.
    function by(factor, at = [0, 0]) {
      const next = Math.min(MOST, Math.max(1, scale * factor));
      [x, y] = [x, y].map((value, axis) => at[axis] - (at[axis] - value) * (next / scale));
      scale = next;
      draw();
    }

    function whole() {
      [scale, x, y] = [1, 0, 0];
      draw();
    }

    function move(right, down) {
      [x, y] = [x + right, y + down];
      draw();
    }

    // Whether a key was taken: arrows only on the picture itself, when there is something to move.
    function key(event) {
      if (KEYS[event.key]) by(KEYS[event.key]);
      else if (event.key === "0") whole();
      else if (ARROWS[event.key] && scale > 1 && document.activeElement === stage) {
        move(...ARROWS[event.key].map((step) => step * MOVE));
      } else return false;
      return true;
    }

    function place(event) {
      const box = stage.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width - 0.5, (event.clientY - box.top) / box.height - 0.5];
    }

    part(".zoom-in").addEventListener("click", () => by(STEP));
    part(".zoom-out").addEventListener("click", () => by(1 / STEP));
    part(".zoom-whole").addEventListener("click", whole);
    stage.addEventListener("dblclick", (event) => (scale > 1 ? whole() : by(2, place(event))));
    stage.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== stage) return; // the page scrolls
      event.preventDefault();
      by(event.deltaY < 0 ? STEP : 1 / STEP, place(event));
    }, { passive: false });
    stage.addEventListener("dragstart", (event) => event.preventDefault()); // of the image itself, by the browser
    let held = [0, 0];
    stage.addEventListener("pointerdown", (event) => {
      held = place(event);
      if (scale > 1) stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!stage.hasPointerCapture(event.pointerId)) return;
      const now = place(event);
      move(now[0] - held[0], now[1] - held[1]);
      held = now;
    });
    draw();
    return { key, whole, draw };
  }

  return { make };
})();
