"use strict";
// A canvas that shows the unit square, to be moved and zoomed by mouse, touch and keyboard.

class Plane {
  /**
   * `draw(context, plane)` draws a frame; `onHover(x, y)` and `onPick(x, y)` get places on the canvas in pixels
   * (`onHover(null)` when the pointer leaves), `onKey(event)` keys that the plane has no use for.
   * `margins` (top, right, bottom, left) are kept free around the square.
   */
  constructor(canvas, { draw, onHover, onPick, onKey, margins = [0, 0, 0, 0], farthest = 400 }) {
    Object.assign(this, { canvas, draw, onHover, onPick, onKey, margins, farthest });
    this.pointers = new Map();
    this.dragged = false;
    this.fitted = true;
    this.events = {
      pointerdown: (event) => this.#down(event),
      pointermove: (event) => this.#move(event),
      pointerup: (event) => this.#up(event),
      pointercancel: (event) => this.pointers.delete(event.pointerId),
      pointerleave: () => this.onHover(null),
      wheel: (event) => this.#wheel(event),
      keydown: (event) => this.#key(event),
    };
    for (const [name, listener] of Object.entries(this.events)) canvas.addEventListener(name, listener, { passive: false });
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
    this.resize();
  }

  close() {
    this.observer.disconnect();
    for (const [name, listener] of Object.entries(this.events)) this.canvas.removeEventListener(name, listener);
    cancelAnimationFrame(this.frame);
    this.closed = true;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    if (this.fitted || !this.scale) this.fit();
    this.redraw();
  }

  fit() {
    const [top, right, bottom, left] = this.margins;
    const [width, height] = [this.width - left - right, this.height - top - bottom];
    this.least = Math.max(10, Math.min(width, height));
    this.scale = this.least;
    this.x = left + (width - this.scale) / 2;
    this.y = top + (height - this.scale) / 2;
    this.fitted = true;
    this.redraw();
  }

  /** Zoom by a factor around a place on the canvas. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(Math.max(this.scale * factor, this.least * 0.8), this.least * this.farthest);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.redraw();
  }

  move(x, y) {
    this.x += x;
    this.y += y;
    this.fitted = false;
    this.redraw();
  }

  /** Bring a place of the square into the middle if it is not in sight. */
  reveal(x, y) {
    const [top, right, bottom, left] = this.margins;
    const [at, down] = this.at(x, y);
    if (at < left || at > this.width - right) this.move(this.width / 2 - at, 0);
    if (down < top || down > this.height - bottom) this.move(0, this.height / 2 - down);
  }

  at = (x, y) => [this.x + x * this.scale, this.y + y * this.scale];
  from = (x, y) => [(x - this.x) / this.scale, (y - this.y) / this.scale];

  redraw() {
    if (this.frame || this.closed) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      const context = this.canvas.getContext("2d");
      const ratio = window.devicePixelRatio || 1;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, this.width, this.height);
      this.draw(context, this);
    });
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#place(event));
    if (this.pointers.size === 1) this.dragged = false;
  }

  #move(event) {
    const now = this.#place(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.onHover(...now);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    if (others.length) {
      const [x, y] = others[0];
      const distance = (place) => Math.hypot(place[0] - x, place[1] - y) || 1;
      this.zoom(distance(now) / distance(before), x, y);
      this.dragged = true;
    } else if (this.dragged || Math.hypot(now[0] - before[0], now[1] - before[1]) > 4) {
      this.dragged = true;
      this.move(now[0] - before[0], now[1] - before[1]);
    } else return undefined; // a hand that trembles is no drag
    this.pointers.set(event.pointerId, now);
    return undefined;
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.dragged) this.onPick(...this.#place(event));
  }

  #wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...this.#place(event));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key === "0") this.fit();
    else if (!this.onKey(event)) return;
    event.preventDefault();
  }
}

/** A plane on a canvas; `options` may change, the plane stays. */
function usePlane(options) {
  const canvas = useRef();
  const plane = useRef();
  const latest = useRef();
  latest.current = options;
  useLayoutEffect(() => {
    plane.current = new Plane(canvas.current, {
      ...options,
      draw: (...given) => latest.current.draw(...given),
      onHover: (...given) => latest.current.onHover(...given),
      onPick: (...given) => latest.current.onPick(...given),
      onKey: (...given) => latest.current.onKey(...given),
    });
    return () => plane.current.close();
  }, []);
  useLayoutEffect(() => plane.current.redraw());
  return [canvas, plane];
}

const PlaneTools = ({ plane, name, children }) => html`<div class="tools">
  ${children}
  <div class="choice" role="group" aria-label="Zoom">
    <button type="button" aria-label="Zoom in" onClick=${() => plane.current.zoom(1.5)}>+</button>
    <button type="button" aria-label="Zoom out" onClick=${() => plane.current.zoom(1 / 1.5)}>−</button>
    <button type="button" onClick=${() => plane.current.fit()}>Whole</button>
  </div>
  <${SaveButton} onClick=${() => save(name, withBackground(plane.current.canvas).toDataURL("image/png"))}>Picture as PNG<//>
</div>`;

/** A copy of a canvas on the page's background instead of a transparent one. */
function withBackground(canvas) {
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d");
  context.fillStyle = color("--page");
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(canvas, 0, 0);
  return copy;
}

/** A color of the style sheet. */
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const Tip = ({ at, plane, children }) => {
  if (!at) return null;
  const right = at[0] > (plane.current?.width ?? 0) / 2;
  const style = `top:${at[1] + 14}px;${right ? `right:${(plane.current.width - at[0]) + 10}px` : `left:${at[0] + 14}px`}`;
  return html`<div class="tip" style=${style}>${children}</div>`;
};

/** A text that fits into so many pixels. */
function shortened(context, text, width) {
  const fits = (length) => context.measureText(`${text.slice(0, length)}…`).width <= width;
  if (context.measureText(text).width <= width) return text;
  let [short, long] = [1, text.length];
  while (long - short > 1) {
    const middle = (short + long) >> 1;
    if (fits(middle)) short = middle;
    else long = middle;
  }
  return `${text.slice(0, short)}…`;
}
