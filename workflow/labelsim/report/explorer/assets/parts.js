"use strict";
// What several views are made of.

/** An address within the page: a view, and its other parameters, without those that are null. */
function address(view, value, parameters = {}) {
  const entries = Object.entries(parameters).filter(([, entry]) => entry !== null && entry !== undefined && entry !== "");
  return `#${new URLSearchParams([[view, value], ...entries])}`.replace(/=(?=&|$)/, "");
}

/** The id of a class, unless it is its name. */
const idOf = (index) => (classes.class_id[index] === classes.class_name[index] ? "" : classes.class_id[index]);

/** The name of a class, cut if it is too long for the head of a column. */
const short = (index) => (classes.class_name[index].length > 30 ? `${classes.class_name[index].slice(0, 28)}…` : classes.class_name[index]);

const classAddress = (index, parameters) => address("class", classes.class_id[index], parameters);
const pairAddress = (a, b) => address("pair", classes.class_id[a], { with: classes.class_id[b] });

/** A thumbnail of a class, cut from its sheet: one sheet of a block has the first of each class, another the rest. */
function Thumb({ index, place = 0, size = 48, label }) {
  const [number, name, column, columns] = [classes.thumbnails[index], place ? "more" : "thumbnails", Math.max(0, place - 1), place ? run.columns - 1 : 1];
  const sheet = usePiece(number > place ? `${name}/${blockOf(index)}` : null, "sheet");
  const text = label ?? `Image of ${classes.class_name[index]}`;
  const style = `--size:${size}px;--columns:${columns};--column:${column};--row:${index % run.block}`;
  if (number <= place) return run.columns ? html`<span class="thumb none" style=${style}></span>` : null;
  return html`<span class=${`thumb ${sheet ?? ""}`} role="img" aria-label=${text} title=${label} style=${style}></span>`;
}

/** A choice among a few, as buttons. */
function Choice({ label, options, value, onChoose }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    <span class="choice-label">${label}</span>
    ${options.map(
      ([key, text, title]) =>
        html`<button key=${key} type="button" title=${title} aria-pressed=${key === value} onClick=${() => onChoose(key)}>${text}</button>`,
    )}
  </div>`;
}

const Select = ({ label, options, value, onChoose }) => html`<label class="select"
  >${label}
  <select onChange=${(event) => onChoose(event.target.value)}>
    ${options.map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}
  </select></label
>`;

const methodOptions = (methods = run.methods) => methods.map((method) => [method.name, method.label]);

const SaveButton = ({ onClick, children }) => html`<button type="button" class="save" onClick=${onClick}>${children}</button>`;

const INTERVAL = "The range is a 95 % interval of the similarity after correction for the number of images. With few images, the uncorrected similarity may lie outside it.";

/** A dot with its interval on a scale. */
function Dot({ value, low, high, from, to, marks = [], text }) {
  const x = (v) => `${(100 * (Math.min(Math.max(v, from), to) - from)) / (to - from)}%`;
  return html`<svg class="dot" role="img" aria-label=${text}>
    <line class="axis" x1="0" x2="100%" y1="50%" y2="50%" />
    ${marks.map((mark) => html`<line class="mark" x1=${x(mark)} x2=${x(mark)} y1="15%" y2="85%" />`)}
    ${low !== null && low !== undefined && html`<line class="interval" x1=${x(low)} x2=${x(high)} y1="50%" y2="50%" />`}
    ${value !== null && html`<circle cx=${x(value)} cy="50%" r="5" />`}
  </svg>`;
}

/** A bar from 0, on a scale from `least` (at most 0) to `most` (at least 0). */
function Bar({ value, least, most, text }) {
  const length = most - least || 1;
  const zero = (-100 * least) / length;
  const width = (100 * Math.abs(value)) / length;
  return html`<span class="bar" role="img" aria-label=${text} style=${`--zero:${zero}%`}
    ><span class=${value < 0 ? "negative" : "positive"} style=${`width:${width}%;left:${value < 0 ? zero - width : zero}%`}></span
  ></span>`;
}

const stabilityText = (row) =>
  row.folds ? `among the ${run.neighbors} most similar in ${row.folds_in_top_k} of ${row.folds} replicates, each without some of the images` : "";
