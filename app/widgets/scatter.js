// The map: points by WebGL, and what a person does with them. Texts from papers are only ever set as textContent.
const VERTEX = `#version 300 es
in vec2 place; in float group;
uniform vec2 centre, scale, sizes; uniform float marked; uniform vec4 colours[12];
out vec4 colour;
void main() {
  colour = colours[int(group + .5)];
  bool above = group + .5 < marked;
  gl_Position = colour.a > 0. ? vec4((place - centre) * scale, above ? -.5 : 0., 1.) : vec4(9.);
  gl_PointSize = above ? sizes.y : sizes.x;
}`;
const FRAGMENT = `#version 300 es
precision mediump float; in vec4 colour; out vec4 shown;
void main() {
  float d = length(gl_PointCoord - .5);
  if (d > .5) discard;
  shown = vec4(colour.rgb, colour.a * smoothstep(.5, .35, d));
}`;
const CELLS = 128; // of the grid in which the nearest point is looked for, a side
const FEWEST = 8000; // points of a frame, however slow the machine
const FEW = 0.1; // share of all points, up to which those of named groups are drawn above the rest, and larger
const [SLOW, FAST] = [36, 22]; // milliseconds between frames, from which on they get fewer points, and more
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

function unpack(bytes) {
  const at = bytes.byteOffset, view = new DataView(bytes.buffer, at);
  const length = view.getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let start = 4 + length;
  const places = new Float32Array(bytes.slice(start, start += 8 * head.n).buffer);
  const ends = new Uint32Array(bytes.slice(start, start += 8 * head.n).buffer);
  const groups = bytes.slice(start, start += head.n), texts = bytes.subarray(start);
  const text = (i) => new TextDecoder().decode(texts.subarray(i && ends[i - 1], ends[i]));
  const [title, id] = [(i) => text(2 * i + 1).replace(CONTROLS, "\ufffd"), (i) => text(2 * i)];
  // Where few points have a group of their own, as those of a reading list, groups below this number are drawn above the rest.
  const named = groups.reduce((n, group) => n + (group < head.rest), 0), marked = named < FEW * head.n ? head.rest : 0;
  return { ...head, places, groups, title, id, marked };
}

let left = null; // the view of the map when a paper was opened: whoever comes back finds it again

class PaperMap {
  constructor(root) {
    this.root = root;
    this.canvas = this.add("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.tip = this.add("div", "tip");
    this.tip.setAttribute("role", "status");
    this.frame = this.add("div", "frame");
    this.tip.hidden = this.frame.hidden = true;
    const bar = this.add("div", "bar");
    this.selecting = this.button(bar, "Select an area", () => this.select(!this.root.classList.contains("selecting")));
    this.selecting.setAttribute("aria-pressed", "false");
    this.button(bar, "+", () => this.zoom(1.5)).setAttribute("aria-label", "Closer");
    this.button(bar, "−", () => this.zoom(1 / 1.5)).setAttribute("aria-label", "Further away");
    this.button(bar, "All", () => this.fit()).setAttribute("aria-label", "Show everything");
    this.legend = this.add("div", "legend");
    // What is drawn stays, and later frames add to it.
    this.gl = this.canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: false, preserveDrawingBuffer: true });
    if (!this.gl) {
      this.tip.hidden = false;
      this.tip.textContent = "This browser has no WebGL 2, which the map is drawn with.";
      return;
    }
    this.budget = 3 * FEWEST;
    this.labels = [];
    this.build();
    this.listen();
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault()); // as after a laptop's sleep
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.build();
      this.upload();
      this.draw();
    });
    new ResizeObserver(() => (this.whole ? this.draw() : this.fit())).observe(this.canvas);
  }

  add(name, style = "", parent = this.root) {
    const element = document.createElement(name);
    element.className = style;
    return parent.appendChild(element);
  }

  button(parent, label, act) {
    const button = this.add("button", "", parent);
    button.type = "button";
    button.textContent = label;
    button.onclick = act;
    return button;
  }

  build() {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.uniforms = {};
    for (const name of ["centre", "scale", "sizes", "marked", "colours"]) this.uniforms[name] = gl.getUniformLocation(program, name);
    this.buffers = [["place", 2, gl.FLOAT], ["group", 1, gl.UNSIGNED_BYTE]].map(([name, size, type]) => {
      const at = gl.getAttribLocation(program, name), buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, type, false, 0, 0);
      return buffer;
    });
  }

  // Sends the points to the graphics memory, once for a plot: a frame changes uniforms only. They go in an order drawn by lot,
  // always the same, so that the first so many of them are a fair picture of all; before them those that are drawn above the rest.
  upload() {
    const gl = this.gl, { places, groups, marked, n } = this.plot;
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    let state = 1;
    for (let i = n - 1; i > 0; i--) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' linear congruential generator
      const j = Math.floor(state / 2 ** 32 * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    const shuffled = [new Float32Array(2 * n), new Uint8Array(n)];
    const above = (row) => groups[row] < marked;
    [...order.filter(above), ...order.filter((row) => !above(row))].forEach((row, i) => {
      shuffled[0][2 * i] = places[2 * row];
      shuffled[0][2 * i + 1] = places[2 * row + 1];
      shuffled[1][i] = groups[row];
    });
    this.buffers.forEach((buffer, i) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, shuffled[i], gl.STATIC_DRAW);
    });
  }

  show(plot) {
    this.plot = plot;
    this.canvas.setAttribute("aria-label", `Map of ${plot.n} papers. Arrow keys move it, plus and minus change its scale; `
      + "the paper in the middle is read out, Enter opens it, S selects what is in view.");
    if (!this.gl) return;
    this.upload();
    this.hiddenGroups = new Set();
    this.index();
    this.point(-1);
    this.drawLegend();
    this.makeLabels();
    const box = this.box.join();
    if (box !== this.fitted) this.fit();
    this.fitted = box;
    if (left?.digest === plot.digest) [this.middle, this.unit] = [left.middle, left.unit];
    left = null;
    this.draw();
  }

  // Points by cell of a grid: `starts` says where a cell's points begin in `order`.
  index() {
    const { places, n } = this.plot, box = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < n; i++) {
      box[0] = Math.min(box[0], places[2 * i]); box[2] = Math.max(box[2], places[2 * i]);
      box[1] = Math.min(box[1], places[2 * i + 1]); box[3] = Math.max(box[3], places[2 * i + 1]);
    }
    this.box = n ? box : [-1, -1, 1, 1];
    this.cell = Math.max(this.box[2] - this.box[0], this.box[3] - this.box[1], 1e-6) / CELLS;
    const cells = new Uint32Array(n);
    this.starts = new Uint32Array((CELLS + 1) ** 2 + 1);
    for (let i = 0; i < n; i++) {
      cells[i] = this.cellOf(places[2 * i], 0) * (CELLS + 1) + this.cellOf(places[2 * i + 1], 1);
      this.starts[cells[i] + 1]++;
    }
    for (let c = 1; c < this.starts.length; c++) this.starts[c] += this.starts[c - 1];
    const next = this.starts.slice();
    this.order = new Uint32Array(n);
    for (let i = 0; i < n; i++) this.order[next[cells[i]]++] = i;
  }

  cellOf(value, axis) {
    return Math.min(Math.max(Math.floor((value - this.box[axis]) / this.cell), 0), CELLS);
  }

  drawLegend() {
    const { names, colours } = this.plot;
    this.legend.replaceChildren();
    this.legend.hidden = names.length < 2;
    names.forEach((name, group) => {
      const button = this.button(this.legend, "", () => {
        if (!this.hiddenGroups.delete(group)) this.hiddenGroups.add(group);
        button.setAttribute("aria-pressed", String(!this.hiddenGroups.has(group)));
        this.draw();
      });
      button.setAttribute("aria-pressed", "true");
      button.title = "Show or hide these";
      this.add("i", "", button).style.background = colours[group];
      this.add("span", "", button).textContent = name.replace(CONTROLS, "\ufffd");
    });
  }

  // The view: its middle in the map's units, and how many pixels a unit is.
  fit() {
    const [left, top, right, bottom] = this.box ?? [-1, -1, 1, 1];
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.middle = [(left + right) / 2, (top + bottom) / 2];
    this.unit = 0.94 * Math.min(width / Math.max(right - left, 1e-6), height / Math.max(bottom - top, 1e-6));
    this.whole = this.unit;
    this.draw();
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const before = this.toMap(x, y);
    this.unit = Math.min(Math.max(this.unit * factor, this.whole / 2), this.whole * 400);
    const after = this.toMap(x, y);
    this.move(before[0] - after[0], before[1] - after[1]);
  }

  move(dx, dy) {
    const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
    this.middle = [clamp(this.middle[0] + dx, this.box[0], this.box[2]), clamp(this.middle[1] + dy, this.box[1], this.box[3])];
    this.draw();
  }

  toMap(x, y) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return [this.middle[0] + (x - width / 2) / this.unit, this.middle[1] + (y - height / 2) / this.unit];
  }

  toPixel(point) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return [(this.plot.places[2 * point] - this.middle[0]) * this.unit + width / 2,
      (this.plot.places[2 * point + 1] - this.middle[1]) * this.unit + height / 2];
  }

  // Draws anew, from the next frame on.
  draw() {
    this.fresh = true;
    if (this.plot && this.middle) this.waiting ||= requestAnimationFrame((time) => this.paint(time));
  }

  // A frame draws as many points as the machine manages in time, and the next ones what is left: so a map that moves shows some
  // of them, and one that rests all. Drawn in one order, the picture is the same however many frames it took.
  paint(time) {
    this.waiting = 0;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.pace(time);
    if (this.fresh) this.aim(width, height);
    else if (this.drawn === this.plot.n) return;
    this.count = Math.min(this.plot.n - this.drawn, this.budget);
    this.gl.drawArrays(this.gl.POINTS, this.drawn, this.count);
    this.drawn += this.count;
    this.painted = time;
    this.waiting = requestAnimationFrame((next) => this.paint(next));
  }

  // Learns from the time since the frame before how many points are few enough.
  pace(time) {
    const took = time - this.painted;
    if (took > SLOW) this.budget = Math.max(FEWEST, Math.round(0.7 * this.budget));
    else if (took < FAST && this.count === this.budget) this.budget = Math.round(1.5 * this.budget);
    this.painted = NaN; // for the frame after a rest, which says nothing
  }

  // Clears the picture, and sets what all its points share.
  aim(width, height) {
    this.fresh = false;
    this.drawn = 0;
    const gl = this.gl, { centre, scale, sizes, marked, colours } = this.uniforms, ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    gl.viewport(0, 0, w, h);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniform2f(centre, ...this.middle);
    gl.uniform2f(scale, 2 * this.unit / width, -2 * this.unit / height);
    // Few points, or a view from near by, leave room for larger ones.
    const nearer = this.unit / this.whole, room = Math.max(Math.sqrt(width * height / Math.max(this.plot.n, 1)) / 2.2, 2.2);
    const size = Math.min(room * Math.sqrt(nearer), 12);
    gl.uniform2f(sizes, size * ratio, Math.max(1.5 * size, 11) * ratio);
    gl.uniform1f(marked, this.plot.marked);
    const opacity = this.plot.n > 20000 ? Math.min(0.55 + 0.1 * Math.log2(Math.max(nearer, 1)), 0.9) : 0.85;
    const rgba = new Float32Array(48);
    this.plot.colours.forEach((hex, i) => {
      for (let c = 0; c < 3; c++) rgba[4 * i + c] = parseInt(hex.slice(1 + 2 * c, 3 + 2 * c), 16) / 255;
      rgba[4 * i + 3] = this.hiddenGroups.has(i) ? 0 : i === this.plot.dimmed ? 0.12 : i < this.plot.marked ? 1 : opacity;
    });
    gl.uniform4fv(colours, rgba);
    this.drawFrame();
    this.drawLabels();
  }

  // Names of areas: the large ones of the whole map, the small ones from near by; one that would cover another is left out.
  drawLabels() {
    const level = this.unit > 2.2 * this.whole ? 1 : 0, { clientWidth: width, clientHeight: height } = this.canvas, taken = [];
    this.labels.forEach((label) => {
      const x = (label.at[0] - this.middle[0]) * this.unit + width / 2, y = (label.at[1] - this.middle[1]) * this.unit + height / 2;
      const [w, h] = [label.wide / 2 + 4, 11], box = [x - w, y - h, x + w, y + h];
      const free = box[0] > 0 && box[1] > 0 && box[2] < width && box[3] < height
        && taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
      label.element.hidden = label.level !== level || !free;
      if (label.element.hidden) return;
      taken.push(box);
      Object.assign(label.element.style, { left: `${x - w + 4}px`, top: `${y - h}px` });
    });
  }

  makeLabels() {
    for (const label of this.labels ?? []) label.element.remove();
    this.labels = this.plot.labels.map(([name, x, y, level]) => {
      const element = this.add("span", "area");
      element.textContent = name.replace(CONTROLS, "\ufffd");
      return { element, at: [x, y], level, wide: element.offsetWidth };
    });
  }

  // The point nearest to a pixel, among those that show, at most so many pixels away; -1 where there is none. Those drawn above
  // the rest come first.
  nearest(x, y, reach) {
    const [mx, my] = this.toMap(x, y), far = reach / this.unit, { places, groups, marked } = this.plot;
    let best = -1, limit = far * far;
    for (let i = this.cellOf(mx - far, 0); i <= this.cellOf(mx + far, 0); i++) {
      for (let j = this.cellOf(my - far, 1); j <= this.cellOf(my + far, 1); j++) {
        const cell = i * (CELLS + 1) + j;
        for (let k = this.starts[cell]; k < this.starts[cell + 1]; k++) {
          const point = this.order[k], d = (places[2 * point] - mx) ** 2 + (places[2 * point + 1] - my) ** 2;
          if (d >= far * far || this.hiddenGroups.has(groups[point]) || groups[point] === this.plot.dimmed) continue;
          const rank = groups[point] < marked ? d - far * far : d;
          if (rank < limit) [best, limit] = [point, rank];
        }
      }
    }
    return best;
  }

  point(at) {
    this.pointed = at;
    this.tip.hidden = at < 0;
    this.canvas.style.cursor = at < 0 ? "" : "pointer";
    if (at < 0) return;
    this.tip.textContent = this.plot.title(at);
    const [x, y] = this.toPixel(at), { clientWidth: width, clientHeight: height } = this.canvas;
    this.tip.style.left = x < width / 2 ? `${x + 12}px` : "";
    this.tip.style.right = x < width / 2 ? "" : `${width - x + 12}px`;
    this.tip.style.top = y < height / 2 ? `${y + 12}px` : "";
    this.tip.style.bottom = y < height / 2 ? "" : `${height - y + 12}px`;
  }

  select(on) {
    this.root.classList.toggle("selecting", on);
    this.selecting.setAttribute("aria-pressed", String(on));
  }

  choose(area) {
    this.area = area;
    this.select(false);
    this.draw();
    this.tell(area);
  }

  // Goes to a paper's page as a link within the app does: Streamlit follows the address, as after the back button. By way of the
  // server, the history would keep an address of the map that has the paper's id in the place of what the map shows.
  open(point) {
    left = { digest: this.plot.digest, middle: this.middle, unit: this.unit };
    history.pushState({}, "", `paper?${new URLSearchParams({ id: this.plot.id(point) })}`);
    dispatchEvent(new PopStateEvent("popstate"));
  }

  drawFrame() {
    this.frame.hidden = !this.area;
    if (!this.area) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const x = (value) => (value - this.middle[0]) * this.unit + width / 2, y = (value) => (value - this.middle[1]) * this.unit + height / 2;
    const [left, top, right, bottom] = [Math.max(x(this.area[0]), 0), Math.max(y(this.area[1]), 0), Math.min(x(this.area[2]), width), Math.min(y(this.area[3]), height)];
    this.frame.hidden = right <= left || bottom <= top;
    Object.assign(this.frame.style, { left: `${left}px`, top: `${top}px`, width: `${right - left - 4}px`, height: `${bottom - top - 4}px` });
  }

  listen() {
    const canvas = this.canvas, at = (event) => { const r = canvas.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };
    const pointers = new Map();
    let drag = null;
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, at(event));
      const selecting = event.shiftKey || this.root.classList.contains("selecting");
      drag = { from: at(event), last: at(event), selecting, moved: false };
    };
    canvas.onpointermove = (event) => {
      const [x, y] = at(event);
      if (!pointers.has(event.pointerId)) return this.point(this.nearest(x, y, 8));
      if (pointers.size === 2) { // two fingers: the scale follows their distance
        const spread = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
        const before = spread();
        pointers.set(event.pointerId, [x, y]);
        drag.moved = true;
        return this.zoom(spread() / Math.max(before, 1), x, y);
      }
      pointers.set(event.pointerId, [x, y]);
      drag.moved ||= Math.hypot(x - drag.from[0], y - drag.from[1]) > 4;
      if (drag.selecting) {
        const [a, b] = [this.toMap(...drag.from), this.toMap(x, y)];
        this.area = [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
        this.draw();
      } else if (drag.moved) {
        this.point(-1);
        this.move((drag.last[0] - x) / this.unit, (drag.last[1] - y) / this.unit);
      }
      drag.last = [x, y];
    };
    canvas.onpointerup = (event) => {
      pointers.delete(event.pointerId);
      if (!drag || pointers.size) return;
      const { selecting, moved } = drag;
      drag = null;
      if (selecting) return this.choose(moved ? this.area : null);
      const found = this.nearest(...at(event), 8);
      if (!moved && found >= 0) this.open(found);
    };
    canvas.onpointercancel = (event) => { pointers.delete(event.pointerId); drag = null; };
    canvas.onpointerleave = () => this.point(-1);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...at(event));
    }, { passive: false });
    const step = () => Math.min(canvas.clientWidth, canvas.clientHeight) / 8 / this.unit;
    const keys = {
      ArrowLeft: () => this.move(-step(), 0), ArrowRight: () => this.move(step(), 0), ArrowUp: () => this.move(0, -step()),
      ArrowDown: () => this.move(0, step()), "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5),
      0: () => this.fit(), s: () => this.choose([...this.toMap(0, 0), ...this.toMap(canvas.clientWidth, canvas.clientHeight)]),
      Escape: () => this.choose(null), Enter: () => this.pointed >= 0 && this.open(this.pointed),
    };
    canvas.onkeydown = (event) => {
      const act = !event.ctrlKey && !event.metaKey && keys[event.key];
      if (!act) return;
      event.preventDefault();
      act();
      if (event.key !== "Enter") this.point(this.nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, 60));
    };
  }
}

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".map");
  const map = (root.paperMap ??= new PaperMap(root));
  map.tell = (area) => setStateValue("area", area);
  const plot = unpack(data);
  if (map.plot?.digest !== plot.digest) map.show(plot); // a rerun of the page brings the same plot again
}
