"use strict";
// The matrix: all pairs as colors, in the order of a hierarchical clustering, with its tree.

function MatrixView({ parameters, go }) {
  const methods = run.methods.filter((method) => method.name in run.colors);
  const method = methods.some(({ name }) => name === parameters.method) ? parameters.method : methods[0]?.name;
  const matrix = usePiece(method ? `matrix/${method}` : null, "bytes");
  const tree = usePiece(method ? `tree/${method}` : null);
  if (!method) {
    const reason = has("map") ? "There are too many classes for it, or none of them has a similarity to another." : "analysis.map is switched off in the run's configuration.";
    return html`<p class="nothing">There is no matrix here. ${reason} similarity.zarr contains all similarities.</p>`;
  }
  if (!matrix || !tree) return html`<p class="nothing">Loading …</p>`;
  if (tree.order.length < 2) return html`<p class="nothing">Fewer than two classes have a similarity: there is nothing to draw.</p>`;
  return html`<${MatrixPlane} key=${method} method=${method} methods=${methods} matrix=${matrix} tree=${tree} parameters=${parameters} go=${go} />`;
}

function MatrixPlane({ method, methods, matrix, tree, parameters, go }) {
  const colors = run.colors[method];
  const scale = scaleOf(colors);
  const n = tree.order.length;
  const [cell, setCell] = useState(null); // of the cursor: row, column
  const [at, setAt] = useState(null);
  const buffer = useRef(null); // of pixels, made once
  const table = useMemo(() => {
    // A color for each step, as the four bytes of a pixel.
    const found = new Uint32Array(256);
    for (let step = 0; step < 255; step++) {
      const value = colors.low + (step / 254) * (colors.high - colors.low);
      const [r, g, b] = colorAt(scale.stops, (value - scale.low) / (scale.high - scale.low));
      found[step] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
    const missing = theme === "dark" ? 60 : 225;
    found[255] = (255 << 24) | (missing << 16) | (missing << 8) | missing;
    return found;
  }, [method, theme]);
  const branches = useMemo(() => branchesOf(tree), [tree]);
  // Few names stand beside the matrix; many lie over its edge once it is zoomed.
  const beside = n <= 45;
  const strip = useMemo(() => {
    const context = document.createElement("canvas").getContext("2d");
    context.font = "13px system-ui, sans-serif";
    const widths = tree.order.map((index) => context.measureText(classes.class_name[index]).width);
    return Math.min(window.innerWidth < 700 ? 84 : 150, Math.max(...widths) + 14);
  }, [tree]);
  const tall = window.innerWidth < 700 ? 36 : 70;
  const margins = beside ? [tall, tall, strip, strip] : [tall, tall, 34, 20];
  /** The square in which the matrix is shown: left, top, side. */
  const frame = (view) => {
    const [top, right, bottom, left] = margins;
    const side = Math.min(view.width - left - right, view.height - top - bottom);
    return [left + (view.width - left - right - side) / 2, top + (view.height - top - bottom - side) / 2, side];
  };

  const draw = (context, view) => {
    const [left, top, width] = frame(view);
    const height = width;
    if (width <= 0) return;
    const ratio = window.devicePixelRatio || 1;
    const sides = [Math.round(width * ratio), Math.round(height * ratio)];
    if (buffer.current?.width !== sides[0] || buffer.current.height !== sides[1]) buffer.current = new ImageData(...sides);
    const image = buffer.current;
    const pixels = new Uint32Array(image.data.buffer).fill(0);
    const index = (offset, origin, i) => {
      const found = Math.floor((((i + 0.5) / ratio + offset - origin) / view.scale) * n);
      return found < 0 || found >= n ? -1 : tree.order[found];
    };
    const columns = Int32Array.from({ length: image.width }, (_, i) => index(left, view.x, i));
    const all = run.classes;
    for (let y = 0; y < image.height; y++) {
      const b = index(top, view.y, y);
      if (b < 0) continue;
      const start = y * image.width;
      for (let x = 0; x < image.width; x++) {
        const a = columns[x];
        if (a < 0) continue;
        const [i, j] = a < b ? [a, b] : [b, a];
        pixels[start + x] = i === j ? table[255] : table[matrix[i * all - (i * (i + 1)) / 2 + (j - i - 1)]];
      }
    }
    context.putImageData(image, Math.round(left * ratio), Math.round(top * ratio));
    drawTree(context, view, [left, top - tall, width, tall - 6], false);
    drawTree(context, view, [left + width + 6, top, tall - 6, height], true);
    drawNames(context, view, left, top, width);
    if (cell) {
      const side = view.scale / n;
      const [x, y] = view.at(cell[1] / n, cell[0] / n);
      context.save();
      context.beginPath();
      context.rect(left, top, width, height);
      context.clip();
      context.strokeStyle = color("--text");
      context.lineWidth = 1.5;
      context.strokeRect(x - 1, y - 1, Math.max(side, 2) + 2, Math.max(side, 2) + 2);
      context.restore();
    }
  };
  const drawTree = (context, view, [x, y, width, height], sideways) => {
    const highest = branches.highest || 1;
    const depth = sideways ? width : height;
    const along = (position) => (sideways ? view.y : view.x) + (position / n) * view.scale;
    const up = (value) => (sideways ? x + (value / highest) * (depth - 4) : y + depth - (value / highest) * (depth - 4));
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    context.strokeStyle = color("--muted");
    context.lineWidth = 1;
    context.beginPath();
    for (const { left, right, leftHeight, rightHeight, height: own } of branches.merges) {
      if ((Math.abs(right - left) / n) * view.scale < 1.5) continue; // too narrow to see; together they would be a block
      const points = [[left, leftHeight], [left, own], [right, own], [right, rightHeight]].map(([position, value]) => (sideways ? [up(value), along(position)] : [along(position), up(value)]));
      context.moveTo(...points[0]);
      for (const point of points.slice(1)) context.lineTo(...point);
    }
    context.stroke();
    context.restore();
  };
  const drawNames = (context, view, left, top, side) => {
    const cellSide = view.scale / n;
    context.font = `${Math.min(13, Math.max(10, cellSide * 0.8))}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    if (cellSide < 9) {
      context.fillStyle = color("--muted");
      context.textAlign = "center";
      const text = `${count(n, "class", "classes")} in the order of their clustering; zoom in for names`;
      context.fillText(shortened(context, text, view.width - 20), left + side / 2, top + side + 18);
      return;
    }
    const right = beside ? left - 6 : left + strip; // where names of rows end
    const highest = beside ? top + side + 6 : top + side - strip; // where names of columns begin
    if (!beside) {
      context.fillStyle = color("--page");
      context.globalAlpha = 0.88;
      context.fillRect(left, top, strip + 4, side);
      context.fillRect(left + strip + 4, top + side - strip - 4, side - strip - 4, strip + 4);
      context.globalAlpha = 1;
    }
    context.fillStyle = color("--text");
    for (let i = 0; i < n; i++) {
      const name = shortened(context, classes.class_name[tree.order[i]], strip - 10);
      const [x, y] = view.at((i + 0.5) / n, (i + 0.5) / n);
      if (y > top && y < top + side - (beside ? 0 : strip)) {
        context.textAlign = "right";
        context.fillText(name, right, y);
      }
      if (x > (beside ? left : right) && x < left + side) {
        context.save();
        context.translate(x, highest);
        context.rotate(-Math.PI / 2);
        context.textAlign = "right";
        context.fillText(name, 0, 0);
        context.restore();
      }
    }
  };
  const cellAt = (x, y) => {
    const [column, row] = plane.current.from(x, y).map((value) => Math.floor(value * n));
    const [left, top, side] = frame(plane.current);
    const inside = x >= left && x <= left + side && y >= top && y <= top + side;
    return inside && row >= 0 && row < n && column >= 0 && column < n ? [row, column] : null;
  };
  const onHover = (x, y) => {
    const found = x === null ? null : cellAt(x, y);
    setCell(found);
    setAt(found && [x, y]);
  };
  const open = ([row, column]) => {
    const [a, b] = [tree.order[row], tree.order[column]];
    go(a === b ? classAddress(a) : pairAddress(a, b));
  };
  const onPick = (x, y) => {
    const found = cellAt(x, y);
    if (found) open(found);
  };
  const onKey = (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === "Enter" && cell) open(cell);
    else if (step) {
      const next = (cell ?? [0, 0]).map((value, i) => Math.min(n - 1, Math.max(0, value + (cell ? step[i] : 0))));
      plane.current.reveal((next[1] + 0.5) / n, (next[0] + 0.5) / n);
      setCell(next);
      setAt(plane.current.at((next[1] + 1) / n, (next[0] + 1) / n));
    } else return false;
    return true;
  };
  const [canvas, plane] = usePlane({ draw, onHover, onPick, onKey, margins, farthest: Math.max(4, n / 8) });
  const [a, b] = cell ? [tree.order[cell[0]], tree.order[cell[1]]] : [null, null];
  const value = cell ? pairValue(matrix, colors, a, b) : null;
  const decimals = Math.min(6, Math.max(2, Math.ceil(-Math.log10((colors.high - colors.low) / 254 || 1))));
  const text = cell ? `${classes.class_name[a]} and ${classes.class_name[b]}: ${value === null ? (a === b ? "the same class" : "no similarity") : `≈ ${fixed(value, decimals)}`}` : "";
  return html`<article class="plane-view">
    <h1 class="hidden">Similarity of all pairs of classes</h1>
    <${PlaneTools} plane=${plane} name=${fileName("matrix", `${method}.png`)}>
      <${Select} label="Method" options=${methodOptions(methods)} value=${method} onChoose=${(name) => go(address("matrix", "", { method: name }), true)} />
    <//>
    <div class="plane">
      <canvas ref=${canvas} tabindex="0" role="application" aria-label="Similarity of all pairs of classes. Arrow keys select a pair, Enter opens it, plus and minus zoom, 0 shows the whole matrix."></canvas>
      <${Tip} at=${cell && at} plane=${plane}>
        ${cell && html`<${Thumb} index=${a} size=${48} />${a !== b && html`<${Thumb} index=${b} size=${48} />`}<div>${text}</div>`}
      <//>
    </div>
    <p class="hidden" aria-live="polite">${text}</p>
    <p class="scale"><span>${fixed(scale.low, decimals)}</span><${Gradient} stops=${scale.stops} /><span>${fixed(scale.high, decimals)}</span> similarity; the colors span the 1st to the 99th percentile; grey: a class and itself, or no similarity</p>
  </article>`;
}

/** Where the branches of the tree are: positions in the order of the leaves, and heights. */
function branchesOf({ order, left, right, height }) {
  const position = new Map(order.map((index, i) => [index, i + 0.5]));
  const top = new Map();
  const merges = left.map((_, step) => {
    const node = run.classes + step;
    const [a, b] = [left[step], right[step]];
    position.set(node, (position.get(a) + position.get(b)) / 2);
    top.set(node, height[step]);
    return { left: position.get(a), right: position.get(b), leftHeight: top.get(a) ?? 0, rightHeight: top.get(b) ?? 0, height: height[step] };
  });
  return { merges, highest: height.length ? Math.max(...height) : 1 };
}
