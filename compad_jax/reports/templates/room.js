// A room of cells, drawn in a box of [0, columns] x [0, rows]; cells are numbered row by row.
"use strict";

function element(name, attributes = {}, parent = null, text = "") {
  const isHtml = ["button", "div", "p", "span", "figure", "figcaption", "h3", "li"].includes(name);
  const made = isHtml ? document.createElement(name) : document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

// Its layers, from below: floor, heat, paths, goal, agent.
class Room {
  constructor(parent, [rows, columns], label) {
    this.columns = columns;
    this.svg = element("svg", { viewBox: `-.05 -.05 ${columns + 0.1} ${rows + 0.1}`, role: "img", "aria-label": label }, parent);
    const cells = [...Array(rows * columns).keys()];
    const square = (cell, name, margin) => element("rect", {
      class: name, x: this.x(cell) - 0.5 + margin, y: this.y(cell) - 0.5 + margin,
      width: 1 - 2 * margin, height: 1 - 2 * margin, rx: 0.08,
    }, this.svg);
    this.floor = cells.map((cell) => square(cell, "floor", 0.02));
    this.heats = cells.map((cell) => square(cell, "heat", 0.02));
    this.paths = {};
    for (const kind of ["before", "episode", "window"]) this.paths[kind] = element("path", { class: `path ${kind}` }, this.svg);
    this.target = element("rect", { class: "target", width: 0.76, height: 0.76, rx: 0.18, visibility: "hidden" }, this.svg);
    this.agent = element("circle", { class: "agent", r: 0.27, visibility: "hidden" }, this.svg);
    this.heat([]);
  }

  x(cell) { return (cell % this.columns) + 0.5; }
  y(cell) { return Math.floor(cell / this.columns) + 0.5; }

  // Colours cells by how much they have of the `most`.
  heat(values, most = 100) {
    this.heats.forEach((heat, cell) => heat.setAttribute("fill-opacity", ((values[cell] ?? 0) / most).toFixed(2)));
  }

  // Lines through lists of cells.
  draw(kind, walks) {
    const line = (walk) => walk.map((cell, i) => `${i ? "L" : "M"}${this.x(cell)} ${this.y(cell)}`).join("");
    this.paths[kind].setAttribute("d", walks.map(line).join(""));
  }

  putAgent(cell, isPushed = false) {
    this.agent.setAttribute("visibility", cell === null ? "hidden" : "visible");
    this.agent.classList.toggle("pushed", isPushed);
    if (cell === null) return;
    this.agent.setAttribute("cx", this.x(cell));
    this.agent.setAttribute("cy", this.y(cell));
  }

  putGoal(cell, isPaid = false) {
    this.target.setAttribute("visibility", cell === null ? "hidden" : "visible");
    this.target.classList.toggle("paid", isPaid);
    if (cell === null) return;
    this.target.setAttribute("x", this.x(cell) - 0.38);
    this.target.setAttribute("y", this.y(cell) - 0.38);
  }
}

// "row 3, column 4", counted from one.
function nameOf(cell, columns) {
  return `row ${Math.floor(cell / columns) + 1}, column ${(cell % columns) + 1}`;
}
