// Small helpers: elements, and numbers as people read them.

export const $ = id => document.getElementById(id);

/** An element with attributes, listeners ("onclick") and children. */
export function el(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name || "div");
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key.startsWith("--")) node.style.setProperty(key, value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter(child => child != null));
  return node;
}

/** Asks for a name in the place of a node: the new one, or null after escape. */
export function rename(node, value, label) {
  return new Promise(done => {
    const field = el("input.rename", {type: "text", maxlength: 200, value, "aria-label": label});
    let ended = false;
    const end = name => { if (!ended) { ended = true; field.replaceWith(node); done(name); } };
    field.addEventListener("keydown", event => {
      if (event.key === "Enter") end(field.value.trim());
      else if (event.key === "Escape") end(null);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    field.addEventListener("blur", () => end(field.value.trim()));
    node.replaceWith(field);
    field.focus();
    field.select();
  });
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of one path. */
export function icon(path, filled = false) {
  const svg = document.createElementNS(SVG, "svg"), line = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  if (filled) line.setAttribute("class", "fill");
  svg.append(line);
  return svg;
}

/** 65.25 → "1:05.2" */
export const clock = s => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}.${Math.floor(s * 10 % 10)}`;

export const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

/** Calls `work` once, `wait` ms after the last call; `.now()` does so at once. */
export function later(work, wait) {
  let timer = null;
  const call = () => { clearTimeout(timer); timer = setTimeout(() => { timer = null; work(); }, wait); };
  call.now = () => { if (timer) { clearTimeout(timer); timer = null; return work(); } };
  call.waits = () => timer !== null;
  return call;
}

/** Opens a popover at a button, within the window. */
export function place(pop, button) {
  pop.addEventListener("toggle", event => {
    if (event.newState !== "open") return;
    const at = button.getBoundingClientRect(), size = pop.getBoundingClientRect();
    const left = clamp(at.left, 8, document.documentElement.clientWidth - size.width - 8);
    const under = at.bottom + 6 + size.height <= innerHeight || at.top < size.height;
    pop.style.left = `${left}px`;
    pop.style.top = `${under ? at.bottom + 6 : at.top - size.height - 6}px`;
    pop.querySelector("button, input, select")?.focus();
  });
}
