// One life, step by step. The fields of `life` are explained in compad_jax/evaluation/shown_life.py.
"use strict";

const life = JSON.parse(document.getElementById("life-data").textContent);
const byId = (id) => document.getElementById(id);
const numSteps = life.action.length;
const episodes = [];  // [first step, end) of each.
for (let step = 0, begin = 0; step < numSteps; step++) {
  if (life.done[step] || step === numSteps - 1) {
    episodes.push([begin, step + 1]);
    begin = step + 1;
  }
}
const episodeAt = (step) => episodes.findIndex(([begin, end]) => begin <= step && step < end);
const sum = (values) => values.reduce((total, value) => total + value, 0);
const numLatents = life.gates.length ? life.gates[0].length : 0;

// ---- the panels ----
function addPanel(name, title) {
  const figure = element("figure", { class: `card ${name}` }, byId("panels"));
  element("h3", {}, figure, title);
  const room = new Room(figure, life.room, title);
  return { room, caption: element("figcaption", {}, figure) };
}
const panels = {};
if (life.room) {
  panels.room = addPanel("room", "The room");
  if (life.beliefs?.goal) panels.goal = addPanel("goal", "Where it believes the goal is");
  if (life.beliefs) panels.visited = addPanel("visited", "Where it believes it has been");
}

// The cells of steps [begin, end), with the one in which the first of them started.
const walk = (begin, end) => (begin < end ? [life.from[begin], ...life.to.slice(begin, end)] : []);

function showRoom(step) {
  const [begin] = episodes[episodeAt(step)];
  const opened = step + 1 - life.length[step];  // First step of the window.
  const pieces = episodes.map(([first, end]) => [Math.max(first, opened), Math.min(end, step + 1)]);
  const { room, caption } = panels.room;
  room.draw("before", episodes.filter(([, end]) => end <= step).map(([first, end]) => walk(first, end)));
  room.draw("episode", [walk(begin, step + 1)]);
  room.draw("window", pieces.map(([first, end]) => walk(first, end)));
  room.putAgent(life.to[step], Boolean(life.waits[step]));
  room.putGoal(life.goal, life.reward[step] > 0);
  const now = life.waits[step] ? "It waits: the environment moves it at random." : life.reward[step] > 0 ? "It is paid." : "";
  caption.textContent = `Thick: steps in the window. Dotted: this episode. Thin: earlier ones. ${now}`;
}

function showBelief(step) {
  const version = life.version[step] - 1;
  for (const name of ["goal", "visited"]) {
    if (!panels[name]) continue;
    const { room, caption } = panels[name];
    const values = version < 0 ? [] : life.beliefs[name][version];
    room.heat(values, name === "goal" ? Math.max(...values, 1) : 100);
    room.putGoal(name === "goal" ? life.goal : null);
    room.draw("before", name === "visited" ? episodes.map(([begin, end]) => walk(begin, Math.min(end, opened(step)))) : []);
    if (version < 0) caption.textContent = "Nothing was compressed yet: the memory is empty.";
    else if (name === "goal") {
      const best = values.indexOf(Math.max(...values));
      caption.textContent = `Likeliest: ${nameOf(best, life.room[1])}, ${values[best]}%. ${life.goal === null ? "Nothing was ever paid." : "The frame is the true goal."}`;
    } else caption.textContent = "Line: where it was, as far as its tokens have left the window.";
  }
}
const opened = (step) => step + 1 - life.length[step];

// ---- the time line: a row each for episodes, rewards, the window, actions, and each latent ----
const LEFT = 120, WIDTH = 1000;
const at = (step) => LEFT + ((WIDTH - LEFT) * step) / numSteps;
const line = byId("timeline");
let height = 0;

function addRow(label, size, draw) {
  const row = element("g", { transform: `translate(0 ${height})` }, line);
  element("text", { x: 0, y: size / 2, "dominant-baseline": "middle" }, row, label);
  draw(row, size);
  height += size + 8;
  return row;
}
function addBar(row, begin, end, y, size, style) {
  const width = Math.max(at(end) - at(begin) - 0.5, 0.75);
  return element("rect", { x: at(begin), y, width, height: size, style }, row);
}

addRow("episodes", 24, (row, size) => episodes.forEach(([begin, end], number) => {
  addBar(row, begin, end, 0, size, "fill: var(--agent); opacity: " + (number % 2 ? 0.14 : 0.24));
  if (at(end) - at(begin) > 22) element("text", { x: at(begin) + 5, y: 17 }, row, String(number + 1));
}));
if (life.waits.includes(1)) addRow("waiting", 8, (row, size) => life.waits.forEach((waits, step) => {
  if (waits) addBar(row, step, step + 1, 0, size, "fill: var(--soft)");
}));
const largest = Math.max(...life.reward.map(Math.abs), 1e-9);
addRow("rewards", 22, (row, size) => life.reward.forEach((reward, step) => {
  const bar = (size * Math.abs(reward)) / largest;
  if (reward) addBar(row, step, step + 1, size - bar, bar, `fill: var(${reward > 0 ? "--goal" : "--soft"})`);
}));
if (!life.room) addRow("actions", 5 * Math.min(life.num_actions, 24), (row, size) => life.action.forEach((action, step) => {
  const high = size / life.num_actions;
  addBar(row, step, step + 1, action * high, high, `fill: var(${life.waits[step] ? "--soft" : "--agent"})`);
}));
const inWindow = {};
addRow("window", 12, (row, size) => {
  inWindow.past = addBar(row, 0, 0, 0, size, "fill: var(--memory); opacity: .25");
  inWindow.now = addBar(row, 0, 0, 0, size, "fill: var(--agent)");
});
const compressed = life.version.flatMap((version, step) => (version > (life.version[step - 1] ?? 0) ? [step] : []));
if (numLatents) addRow(life.has_gates ? "gates of latents" : "change of latents", Math.max(48, 9 * numLatents), (row, size) => {
  const high = size / numLatents;
  life.gates.forEach((gates, number) => gates.forEach((gate, latent) => {
    const bar = addBar(row, compressed[number], compressed[number + 1] ?? numSteps, latent * high, high - 1, `fill: var(--memory); opacity: ${0.06 + 0.94 * gate / 100}`);
    element("title", {}, bar, `latent ${latent + 1}, compression ${number + 1}: ${gate}%`);
  }));
});
const future = element("rect", { x: LEFT, y: -2, height, style: "fill: var(--card); opacity: .6; pointer-events: none" }, line);
const cursor = element("line", { y1: -4, y2: height - 4, style: "stroke: var(--ink); stroke-width: 1.5; pointer-events: none" }, line);
line.setAttribute("viewBox", `0 -4 ${WIDTH} ${height}`);

function showTime(step) {
  const x = at(step + 1);
  const stretch = (bar, begin, end) => {
    bar.setAttribute("x", at(begin));
    bar.setAttribute("width", at(end) - at(begin));
  };
  stretch(inWindow.past, 0, opened(step));
  stretch(inWindow.now, opened(step), step + 1);
  future.setAttribute("x", x);
  future.setAttribute("width", WIDTH - x);
  for (const end of ["x1", "x2"]) cursor.setAttribute(end, x);
}

// ---- controls ----
let now = 0, timer = 0;

function show(step) {
  now = Math.min(Math.max(step, 0), numSteps - 1);
  if (panels.room) showRoom(now);
  showBelief(now);
  showTime(now);
  const number = episodeAt(now);
  const earned = sum(life.reward.slice(episodes[number][0], now + 1));
  const text = `Step ${now + 1} of ${numSteps}, episode ${number + 1}, earned in it ${Number(earned.toFixed(2))}, compressions ${life.version[now]}`;
  byId("now").textContent = text;
  byId("slider").value = now;
  byId("slider").setAttribute("aria-valuetext", text);
}
function stop() {
  clearInterval(timer);
  timer = 0;
  byId("play").textContent = "Play";
}
function play() {
  if (now >= numSteps - 1) show(0);
  byId("play").textContent = "Pause";
  timer = setInterval(() => (now < numSteps - 1 ? show(now + 1) : stop()), 1000 / Number(byId("speed").value));
}
function seek(event) {
  const box = line.getBoundingClientRect();
  const share = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT);
  if (share < 0) return;
  stop();
  show(Math.round(share * numSteps) - 1);
}
byId("slider").max = numSteps - 1;
byId("slider").addEventListener("input", (event) => { stop(); show(Number(event.target.value)); });
byId("play").addEventListener("click", () => (timer ? stop() : play()));
byId("back").addEventListener("click", () => { stop(); show(now - 1); });
byId("next").addEventListener("click", () => { stop(); show(now + 1); });
byId("speed").addEventListener("change", () => { if (timer) { stop(); play(); } });
line.addEventListener("pointerdown", seek);
line.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
show(Math.min(Math.max(life.window, 1), numSteps) - 1);
