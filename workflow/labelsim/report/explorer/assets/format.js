"use strict";
// Numbers and texts as people read them.

/** A number with so many decimals, and a real minus sign. */
function fixed(value, decimals) {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(decimals);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

/** Decimals that tell neighboring values apart: at least 3, at most 7. */
function decimalsFor(values) {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  for (let decimals = 3; decimals < 7; decimals++) {
    const texts = known.map((value) => value.toFixed(decimals));
    if (texts.every((text, i) => i === 0 || text !== texts[i - 1] || known[i] === known[i - 1])) return decimals;
  }
  return 7;
}

const percent = (share, decimals = 1) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(decimals)} %`);
const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** A CSV text of some rows; `columns` are pairs of a heading and a function of a row. */
function csv(columns, rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns.map(([name]) => cell(name)), ...rows.map((row) => columns.map(([, get]) => cell(get(row))))];
  return lines.map((line) => line.join(",")).join("\r\n") + "\r\n";
}

/** Let the browser save a file. */
function save(name, url) {
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

const saveText = (name, text) => save(name, `data:text/csv;charset=utf-8,${encodeURIComponent(text)}`);
const fileName = (...parts) => [run.name, ...parts].join("-").replace(/[^\p{L}\p{N}._-]+/gu, "-");

// Colors: stops of viridis (matplotlib, CC0) and of a blue-white-red scale; ten colors for groups.
const VIRIDIS = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21908d", "#22a884", "#42be71", "#7ad151", "#bddf26", "#fde725"];
const SIGNED = ["#3b4cc0", "#6788ee", "#9abbff", "#c9d7f0", "#edd1c2", "#f7a889", "#e26952", "#b40426"];
const GROUPS = ["#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#ff9da7", "#9c755f", "#86bcb6", "#d37295", "#a0cbe8", "#8cd17d", "#b6992d", "#79706e"];

/** The color of a share between 0 and 1, [red, green, blue]. */
function colorAt(stops, share) {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const first = Math.min(Math.floor(place), stops.length - 2);
  const [a, b] = [stops[first], stops[first + 1]].map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  return a.map((value, i) => Math.round(value + (b[i] - value) * (place - first)));
}

const rgb = (color) => `rgb(${color.join(",")})`;

/** The scale of a method's similarities: around 0 where both signs occur. */
function scaleOf({ dark, bright }) {
  if (dark < 0 && bright > 0) {
    const most = Math.max(-dark, bright);
    return { stops: SIGNED, low: -most, high: most };
  }
  return { stops: VIRIDIS, low: dark, high: bright > dark ? bright : dark + 1e-9 };
}
