// The studio's transport and waveforms for a notebook: `DATA` is put before it (inline.py).

const data = DATA, root = document.getElementById("player");
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
const grid = new Grid(data.seconds, data.bpm, data.metre);
const buttons = [];
const transport = new Transport(() => show());
transport.reset(data.rate, data.seconds);

const play = el("button.icon.play", {type: "button", "aria-label": "Play", "aria-pressed": "false", disabled: true,
  onclick: () => transport.playing ? transport.pause() : transport.play()},
icon("M7 4.5v15l13-7.5z", true), icon("M7 5h4v14H7zM13 5h4v14h-4z", true));
play.children[0].classList.add("on-pause");
play.children[1].classList.add("on-play");
const time = el("span"), head = el("div.playhead", {"aria-hidden": "true"}), lanes = el("div.lanes");
const timeline = el("section.timeline", {}, el("div.corner", {}, data.title), lanes, head);
root.append(el("div.bar", {}, play, el("output.clock", {}, time)), timeline);

const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer;
const strips = new Map(data.stems.map(stem => [stem.name, {gain: 0, pan: 0, mute: false, solo: false}]));
const drawings = data.stems.map(stem => {
  const strip = strips.get(stem.name), wave = el("canvas.wave", {"aria-hidden": "true"}), lane = el("article.lane", {"aria-label": stem.name, "--c": stem.colour});
  const toggle = (kind, word) => {
    const button = el(`button.ms.${kind}`, {type: "button", "aria-label": `${word} ${stem.name}`, "aria-pressed": "false",
      onclick: () => { strip[kind] = !strip[kind]; transport.mix(); show(); }}, word[0]);
    buttons.push(() => button.setAttribute("aria-pressed", String(strip[kind])));
    return button;
  };
  const about = el("div.head", {}, el("div.row", {}, el("span.name", {}, stem.name), toggle("mute", "Mute"), toggle("solo", "Solo")));
  wave.addEventListener("click", event => transport.seek(event.offsetX / wave.clientWidth * data.seconds));
  lane.append(about, el("div.body", {}, wave));
  lanes.append(lane);
  const peaks = new Int16Array(bytes(stem.peaks));
  return () => {
    lane.style.setProperty("--w-shown", getComputedStyle(about).borderLeftColor);
    lane.classList.toggle("still", transport.tracks.size > 0 && transport.level(stem.name) === 0);
    drawWave(wave, grid, peaks, data.seconds, data.full);
  };
});

function show() {
  play.setAttribute("aria-pressed", String(transport.playing));
  play.disabled = !transport.tracks.size;
  for (const button of buttons) button();
  for (const draw of drawings) draw();
}
(function frame() {
  const at = transport.time(), wave = lanes.querySelector("canvas").getBoundingClientRect();
  head.style.transform = `translateX(${wave.left - timeline.getBoundingClientRect().left + at / data.seconds * wave.width}px)`;
  time.textContent = `${clock(at)} / ${clock(data.seconds)}`;
  requestAnimationFrame(frame);
})();
new ResizeObserver(show).observe(root);
Promise.all(data.stems.map(async stem => [stem.name, {buffer: await transport.decode(bytes(stem.audio)), strip: strips.get(stem.name)}]))
  .then(tracks => { transport.set(new Map(tracks)); show(); });
