// Buttons of the bar, the ruler, and keys.

import {$, clamp} from "./dom.js";

/** A click is a place, a drag a range. */
export function ruler(app) {
  const node = $("ruler");
  let from = null, moved = false;
  const at = event => {
    const box = node.getBoundingClientRect();
    return app.grid.at((event.clientX - box.left) / box.width);
  };
  node.addEventListener("pointerdown", event => {
    if (event.button) return;
    from = at(event);
    moved = false;
    node.setPointerCapture(event.pointerId);
  });
  node.addEventListener("pointermove", event => {
    if (from === null) return;
    const to = at(event);
    if (Math.abs(to - from) / app.grid.span * node.clientWidth > 5) moved = true;
    if (moved) app.select(from, to, null, event.shiftKey);
  });
  node.addEventListener("pointerup", () => { if (from !== null && !moved) app.seek(from); from = null; });
  node.addEventListener("pointercancel", () => { from = null; });
  node.addEventListener("keydown", event => {
    const {grid} = app, step = event.shiftKey ? grid.bar : grid.beat;
    const to = {ArrowLeft: -step, ArrowRight: step, PageUp: -4 * grid.bar, PageDown: 4 * grid.bar}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    app.seek(grid.snap(clamp(app.transport.time() + to, 0, grid.seconds)));
  });
}

/** Nearer with +, the wheel and control, or two buttons; along with the wheel and shift. */
export function zoom(app) {
  $("nearer").addEventListener("click", () => app.zoom(1 / 1.6));
  $("farther").addEventListener("click", () => app.zoom(1.6));
  $("timeline").addEventListener("wheel", event => {
    const across = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    const box = $("ruler").getBoundingClientRect(), {grid} = app;
    if (event.ctrlKey || event.metaKey) app.zoom(1.0015 ** event.deltaY, grid.at((event.clientX - box.left) / box.width));
    else if (Math.abs(across) > Math.abs(event.deltaY) || event.shiftKey) app.scroll(across / box.width * grid.span);
    else return;
    event.preventDefault();
  }, {passive: false});
}

export function keys(app) {
  const {transport} = app;
  const toggle = () => { transport.playing ? transport.pause() : app.doing(() => transport.play()); };
  $("play").addEventListener("click", toggle);
  $("start").addEventListener("click", () => app.seek(app.transport.loop?.[0] ?? 0));
  $("loop").addEventListener("click", () => app.toggleLoop());
  $("undo").addEventListener("click", () => app.undo());
  $("redo").addEventListener("click", () => app.redo());
  $("volume").addEventListener("input", () => {
    transport.volume = 10 ** (Number($("volume").value) / 20);
    transport.mix();
  });
  theme(app);
  // A button that was clicked does not keep the space bar to itself.
  addEventListener("click", event => {
    const button = event.target.closest("button");
    if (event.detail && button && !button.closest("dialog, [popover]") && !button.popoverTargetElement) button.blur();
  });
  addEventListener("keydown", event => {
    const writes = event.target.closest("input:not([type=range]):not([type=checkbox]), textarea, select, dialog");
    const control = event.ctrlKey || event.metaKey;
    if (control && event.key.toLowerCase() === "z" && !writes) {
      event.preventDefault();
      event.shiftKey ? app.redo() : app.undo();
    }
    if (writes || control || event.altKey) return;
    if (event.key === " " && !event.target.closest("button, summary, [popover]")) { event.preventDefault(); toggle(); }
    if (event.key === "Home" && event.target.type !== "range") app.seek(0);
    if (event.key === "l" || event.key === "L") app.toggleLoop();
    if (event.key === "+" || event.key === "-") app.zoom(event.key === "+" ? 1 / 1.6 : 1.6);
    if (event.key === "[" || event.key === "]") {
      const at = app.grid.snap(transport.time()), [start, end] = app.selection?.range ?? [0, app.grid.seconds];
      event.key === "[" ? app.select(at, end > at ? end : at + app.grid.bar) : app.select(start < at ? start : 0, at);
    }
    if (event.key === "Escape" && app.selection) app.select(null);
  });
}

/** Dark or light: as the system has it, until somebody chooses. */
function theme(app) {
  const dark = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
  const set = name => { root.dataset.theme = name; app.draw(); };
  let chosen = null;
  try { chosen = localStorage.getItem("theme"); } catch { /* private windows have none */ }
  set(chosen ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => { if (!chosen) set(dark.matches ? "dark" : "light"); });
  $("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("theme", chosen); } catch { /* then it holds for this page */ }
    set(chosen);
  });
}
