// The visitor hides a goal; a life played beforehand is shown. `played` is explained in
// compad_jax/reports/explore.py.
"use strict";

const played = JSON.parse(document.getElementById("played").textContent);
const byId = (id) => document.getElementById(id);
const [numRows, numColumns] = played.room;
const stories = new Map(played.stories.map((story) => [story.goal, story]));
const unseen = new Set(played.heldOut);
const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const shares = (digits) => [...digits].map((digit) => DIGITS.indexOf(digit) / 61);
const number = (value) => value.toLocaleString("en");

const room = new Room(byId("room"), played.room, "The room");
const maps = { goal: new Room(byId("goal"), played.room, "Where the memory believes the goal is"),
               visited: new Room(byId("visited"), played.room, "Where the memory believes it was") };
const bars = [...shares(played.stories[0].memories[0].gates)].map(() => element("span", {}, byId("gates")));

// ---- what is shown of a moment ----
function showMemory(story, place) {
  const memory = place < 0 ? { goal: "", visited: "", gates: "" } : story.memories[place];
  const goal = shares(memory.goal);
  maps.goal.heat(goal, Math.max(...goal, 0.02));
  maps.visited.heat(shares(memory.visited), 1);
  const open = bars.map((_, latent) => shares(memory.gates)[latent] ?? 0);
  bars.forEach((bar, latent) => bar.style.setProperty("--open", `${Math.round(100 * open[latent])}%`));
  const shut = open.filter((share) => share === 0).length;
  const text = place < 0 ? "Nothing was compressed yet." : `${shut} of ${open.length} are shut: what they hold stays exactly as it is.`;
  byId("gates").setAttribute("aria-label", text);
  byId("gates-said").textContent = text;
}
function showFrame(story, part, frame) {
  const walk = part.waits ? [] : [part.from, ...part.to.slice(0, frame + 1)];
  const isLast = frame === part.to.length - 1;
  room.draw("episode", [walk]);
  room.draw("window", [walk.slice(-played.window)]);
  room.putAgent(part.to[frame], Boolean(part.waits));
  room.putGoal(story.goal, Boolean(part.paid && isLast));
  showMemory(story, part.memory[frame]);
  if (part.waits) {
    const steps = part.step[frame];
    say(`Waiting: step ${number(steps)} of ${number(played.wait)}, ${number(Math.floor(steps / played.compress))} compressions since it was paid.`);
  }
}
function say(text) { byId("said").textContent = text; }
function showStage(stage) {
  [...byId("story").children].forEach((item, place) => {
    item.classList.toggle("past", place < stage);
    if (place === stage) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  });
}

// ---- the course of things: a walk; then, at the press of a button, a wait and a walk ----
let story = null, next = 0, timer = 0;  // `next`: place of the part to be played.

function offer(label, action) {
  byId("go").textContent = label;
  byId("go").onclick = action;
}
function start() {
  clearTimeout(timer);
  story = null;
  for (const kind of ["episode", "window"]) room.draw(kind, []);
  room.svg.classList.add("pick");
  room.putAgent(played.stories[0].parts[0].from);
  room.putGoal(null);
  maps.goal.putGoal(null);
  showMemory(null, -1);
  showStage(0);
  say("Framed cells were never a goal in training. The agent has seen nothing of this room.");
  byId("again").disabled = true;
  offer("Choose one for me", () => hide(played.heldOut[Math.floor(Math.random() * played.heldOut.length)]));
}
function hide(cell) {
  if (story || !stories.has(cell)) return;
  story = stories.get(cell);
  next = 0;
  room.svg.classList.remove("pick");
  maps.goal.putGoal(cell);
  byId("again").disabled = false;
  playPart();
}
function playPart() {
  const part = story.parts[next];
  const stage = part.waits ? 2 : next ? 3 : 1;
  showStage(stage);
  if (stage === 1) say(`The goal is in ${nameOf(story.goal, numColumns)}${unseen.has(story.goal) ? ", never a goal in training" : ""}. It searches.`);
  if (stage === 3) say("Back in the middle, where nothing tells it anything. It walks.");
  let frame = 0;
  const finish = () => { clearTimeout(timer); showFrame(story, part, part.to.length - 1); next += 1; endPart(part); };
  const tick = () => {
    showFrame(story, part, frame);
    frame += 1;
    timer = frame < part.to.length ? setTimeout(tick, part.waits ? 45 : next ? 260 : 110) : setTimeout(finish, 250);
  };
  offer("Skip", finish);
  tick();
}
function endPart(part) {
  if (part.waits) return playPart();
  const steps = part.to.length;
  const fewest = Math.max(1, Math.abs((part.from % numColumns) - (story.goal % numColumns)) + Math.abs(Math.floor(part.from / numColumns) - Math.floor(story.goal / numColumns)));
  const waited = story.parts.slice(0, next).filter((other) => other.waits).length * played.wait;
  const found = part.paid ? `Found in ${steps} step${steps === 1 ? "" : "s"}; the shortest way has ${fewest}.` : `Not found in ${steps} steps.`;
  say(waited ? `${found} It had waited ${number(waited)} steps.` : found);
  if (next >= story.parts.length) offer("Hide another goal", start);
  else if (story.parts[next].waits) offer(`Wait ${number(played.wait)} steps`, playPart);
  else offer("Let it try again", playPart);
  return null;
}

// ---- cells are buttons: one of them is in the tab order, and arrows lead to the others ----
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
function moveFocus(event, cell) {
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); hide(cell); }
  if (!(event.key in STEPS)) return;
  event.preventDefault();
  const [down, right] = STEPS[event.key];
  const row = Math.min(Math.max(Math.floor(cell / numColumns) + down, 0), numRows - 1);
  const column = Math.min(Math.max((cell % numColumns) + right, 0), numColumns - 1);
  const other = room.floor[row * numColumns + column];
  room.floor[cell].setAttribute("tabindex", -1);
  other.setAttribute("tabindex", 0);
  other.focus();
}
room.svg.setAttribute("role", "group");
room.floor.forEach((square, cell) => {
  const name = nameOf(cell, numColumns) + (unseen.has(cell) ? ", never a goal in training" : "");
  square.classList.toggle("unseen", unseen.has(cell));
  for (const [key, value] of Object.entries({ role: "button", tabindex: cell ? -1 : 0, "aria-label": name })) square.setAttribute(key, value);
  element("title", {}, square, name);
  square.addEventListener("click", () => hide(cell));
  square.addEventListener("keydown", (event) => moveFocus(event, cell));
});
byId("again").addEventListener("click", start);
start();
