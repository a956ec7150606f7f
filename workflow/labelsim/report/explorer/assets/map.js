"use strict";
// The map: all classes in the plane. Positions are aligned between methods, so another method moves them.

const MOVING = 500; // milliseconds
const PICTURE = 38; // pixels, with its frame
const COVERED = 0.36; // of the map, at most, when classes are drawn as images

const COLORINGS = {
  branch: ["WordNet branch", () => (classes.branch ?? []).some((name) => name !== null)],
  top1: ["top-1 accuracy", () => classes.top1.some((value) => value !== null)],
  stable: ["stability", () => Boolean(classes.stable)],
  none: ["none", () => true],
};

function MapView({ parameters, go }) {
  const positions = usePiece(has("map") ? "map" : null);
  if (!has("map")) return html`<p class="nothing">There is no map: analysis.map is switched off in the run's configuration.</p>`;
  if (!positions) return html`<p class="nothing">Loading …</p>`;
  if (!Object.keys(positions).length) return html`<p class="nothing">No class has a similarity to another: there is nothing to draw.</p>`;
  return html`<${MapPlane} positions=${positions} parameters=${parameters} go=${go} />`;
}

function MapPlane({ positions, parameters, go }) {
  const methods = run.methods.filter((method) => method.name in positions);
  const method = methods.some(({ name }) => name === parameters.method) ? parameters.method : methods[0].name;
  const coloring = COLORINGS[parameters.color]?.[1]() ? parameters.color : Object.keys(COLORINGS).find((key) => COLORINGS[key][1]());
  const [hovered, setHovered] = useState(null);
  const [marked, setMarked] = useState(null); // a branch
  const selected = parameters.at === undefined ? -1 : classes.class_id.indexOf(parameters.at);
  const moving = useRef({ from: positions[method], to: positions[method], start: -Infinity });
  const sheets = useRef(new Map());
  const names = useRef(new Map()); // as they fit, and their widths: measuring is slow
  const colors = useMemo(() => colorsOf(coloring, method, marked), [coloring, method, marked, theme]);

  const place = (index) => {
    const { from, to, start } = moving.current;
    const share = Math.min(1, (performance.now() - start) / MOVING);
    const eased = share * share * (3 - 2 * share);
    const of = (axis) => (from[axis][index] === null ? to[axis][index] : from[axis][index] + (to[axis][index] - from[axis][index]) * eased);
    return to.x[index] === null ? null : [of("x"), 1 - of("y")];
  };
  const nearest = (x, y, accept = () => true) => {
    let [best, least] = [-1, Infinity];
    for (let i = 0; i < run.classes; i++) {
      const at = place(i);
      if (!at) continue;
      const [px, py] = plane.current.at(...at);
      const distance = accept(px - x, py - y);
      const far = distance === true ? Math.hypot(px - x, py - y) : distance;
      if (far !== false && far < least) [best, least] = [i, far];
    }
    return [best, least];
  };
  const draw = (context, view) => {
    const visible = [];
    for (let i = 0; i < run.classes; i++) {
      const at = place(i);
      if (!at) continue;
      const [x, y] = view.at(...at);
      if (x > -40 && x < view.width + 40 && y > -40 && y < view.height + 40) visible.push([i, x, y]);
    }
    // Images where they have room: not while many classes would lie on top of each other.
    const area = Math.min(view.width, view.scale) * Math.min(view.height, view.scale);
    const pictured = run.columns > 0 && visible.length * PICTURE ** 2 < COVERED * area;
    const radius = Math.min(7, Math.max(1.5, (view.scale / Math.sqrt(run.classes)) * 0.09));
    const side = visible.length <= 40 ? 52 : PICTURE - 4;
    for (const [i, x, y] of visible) {
      context.globalAlpha = colors.dim(i) ? 0.12 : 1;
      if (pictured && classes.thumbnails[i]) drawPicture(context, view, i, x, y, side, colors.of(i));
      else {
        context.beginPath();
        context.arc(x, y, i === selected ? radius + 3 : radius, 0, 2 * Math.PI);
        context.fillStyle = colors.of(i);
        context.fill();
      }
    }
    context.globalAlpha = 1;
    drawNames(context, visible, pictured ? side / 2 + 4 : radius + 4, view);
    if (performance.now() - moving.current.start < MOVING) view.redraw();
  };
  const drawPicture = (context, view, i, x, y, side, frame) => {
    const block = blockOf(i);
    const sheet = sheets.current.get(block);
    if (sheet === undefined) {
      sheets.current.set(block, null);
      pieces.image(`thumbnails/${block}`).then((image) => {
        sheets.current.set(block, image);
        view.redraw();
      }, showError);
    }
    context.fillStyle = frame;
    context.fillRect(x - side / 2 - 2, y - side / 2 - 2, side + 4, side + 4);
    if (sheet) context.drawImage(sheet, 0, (i % run.block) * run.side, run.side, run.side, x - side / 2, y - side / 2, side, side);
  };
  const nameOf = (context, i) => {
    if (!names.current.has(i)) {
      const text = shortened(context, classes.class_name[i], 150);
      names.current.set(i, [text, context.measureText(text).width]);
    }
    return names.current.get(i);
  };
  // As many names as find room: the selected class's first, then in the order of the classes.
  const drawNames = (context, visible, below, view) => {
    if (visible.length > 1500) return;
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "top";
    context.lineWidth = 3;
    context.strokeStyle = color("--page");
    context.lineJoin = "round";
    const textColor = color("--text");
    const taken = [];
    const order = [...visible].sort((a, b) => (b[0] === selected) - (a[0] === selected) || a[0] - b[0]);
    for (const [i, x, y] of order) {
      if (colors.dim(i)) continue;
      const [text, width] = nameOf(context, i);
      const half = width / 2 + 3;
      const box = [x - half, y + below, x + half, y + below + 15];
      if (i !== selected && (box[0] < 0 || box[2] > view.width || taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]))) continue;
      taken.push(box);
      context.font = i === selected ? "bold 12px system-ui, sans-serif" : "12px system-ui, sans-serif";
      context.strokeText(text, x, y + below);
      context.fillStyle = textColor;
      context.fillText(text, x, y + below);
    }
  };
  const onHover = (x, y) => {
    const [index, distance] = x === null ? [-1, 0] : nearest(x, y);
    setHovered(index >= 0 && distance < 30 ? { index, at: [x, y] } : null);
  };
  const onPick = (x, y) => {
    const [index, distance] = nearest(x, y);
    if (index >= 0 && distance < 30) go(classAddress(index));
  };
  const onKey = (event) => {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && selected >= 0) go(classAddress(selected));
    else if (direction) {
      const from = selected >= 0 && place(selected) ? plane.current.at(...place(selected)) : [plane.current.width / 2, plane.current.height / 2];
      // The nearest within 45° of the direction.
      const [index] = nearest(...from, (dx, dy) => {
        const along = dx * direction[0] + dy * direction[1];
        const across = Math.abs(dx * direction[1]) + Math.abs(dy * direction[0]);
        return along > 0.5 && across <= along ? along + across : false;
      });
      if (index >= 0) {
        plane.current.reveal(...place(index));
        go(address("map", "", { ...parameters, at: classes.class_id[index] }), true);
      }
    } else return false;
    return true;
  };
  const [canvas, plane] = usePlane({ draw, onHover, onPick, onKey, margins: [36, 60, 44, 60] });
  useEffect(() => {
    if (moving.current.to === positions[method]) return;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    moving.current = { from: moving.current.to, to: positions[method], start: still ? -Infinity : performance.now() };
    plane.current.redraw();
  }, [method]);
  const change = (part) => go(address("map", "", { method, color: coloring, at: parameters.at, ...part }), true);
  const tip = hovered?.index ?? null;
  return html`<article class="plane-view">
    <h1 class="hidden">Map of all classes</h1>
    <${PlaneTools} plane=${plane} name=${fileName("map", `${method}.png`)}>
      <${Select} label="Method" options=${methodOptions(methods)} value=${method} onChoose=${(name) => change({ method: name })} />
      <${Select} label="Color" options=${Object.entries(COLORINGS).filter(([, [, known]]) => known()).map(([key, [text]]) => [key, text])} value=${coloring} onChoose=${(key) => change({ color: key })} />
    <//>
    <div class="plane">
      <canvas ref=${canvas} tabindex="0" role="application" aria-label="Map of all classes. Arrow keys select a class, Enter opens it, plus and minus zoom, 0 shows the whole map."></canvas>
      <${Tip} at=${hovered?.at} plane=${plane}>
        ${tip !== null && html`<${Thumb} index=${tip} size=${64} /><div><b>${classes.class_name[tip]}</b><br />${colors.text(tip)}</div>`}
      <//>
    </div>
    <p class="hidden" aria-live="polite">${selected >= 0 ? `${classes.class_name[selected]} ${colors.text(selected)}` : ""}</p>
    <${MapLegend} coloring=${coloring} colors=${colors} marked=${marked} onMark=${setMarked} />
    <p class="legend">Near classes are similar under this method; distances between far ones say little, and axes have no meaning.</p>
  </article>`;
}

/** Colors of the classes: `of(index)`, `dim(index)` and `text(index)`, and what a legend needs. */
function colorsOf(coloring, method, marked) {
  const plain = color("--accent");
  const unknown = color("--faint");
  if (coloring === "branch") {
    const sizes = new Map();
    for (const branch of classes.branch) if (branch) sizes.set(branch, (sizes.get(branch) ?? 0) + 1);
    const branches = [...sizes].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    const colors = new Map(branches.map(([name], i) => [name, GROUPS[i % GROUPS.length]]));
    return {
      branches: branches.map(([name, size]) => [name, size, colors.get(name)]),
      of: (i) => colors.get(classes.branch[i]) ?? unknown,
      dim: (i) => marked !== null && classes.branch[i] !== marked,
      text: (i) => classes.branch[i] ?? "not in WordNet",
    };
  }
  if (coloring === "none") return { of: () => plain, dim: () => false, text: () => "" };
  const values = coloring === "top1" ? classes.top1 : (classes.stable[method] ?? []);
  const known = values.filter((value) => value !== null && value !== undefined);
  const [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const what = coloring === "top1" ? "top-1 accuracy" : "neighbors that stay in all replicates";
  return {
    scale: [low, high, what],
    of: (i) => (values[i] === null || values[i] === undefined ? unknown : rgb(colorAt(VIRIDIS, high > low ? (values[i] - low) / (high - low) : 0.5))),
    dim: () => false,
    text: (i) => `${what}: ${percent(values[i])}`,
  };
}

function MapLegend({ colors, marked, onMark }) {
  if (colors.branches) {
    return html`<ul class="branches" aria-label="Branches of WordNet">
      ${colors.branches.map(
        ([name, size, shade]) => html`<li key=${name}>
          <button type="button" aria-pressed=${marked === name} onClick=${() => onMark(marked === name ? null : name)}><span class="swatch" style=${`background:${shade}`}></span>${name} <small>${size}</small></button>
        </li>`,
      )}
    </ul>`;
  }
  if (!colors.scale) return null;
  const [low, high, text] = colors.scale;
  return html`<p class="scale"><span>${percent(low, 0)}</span><${Gradient} stops=${VIRIDIS} /><span>${percent(high, 0)}</span> ${text}</p>`;
}

const Gradient = ({ stops }) => html`<span class="gradient" style=${`background:linear-gradient(to right, ${stops.join(",")})`}></span>`;
