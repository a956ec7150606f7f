"use strict";
// Pieces of data: tags of this page or, for a large run, files beside it. `json` and `bytes` unpack them, once.

const { html, render, useState, useEffect, useLayoutEffect, useMemo, useRef } = htmPreact;

const pieces = (() => {
  const waiting = new Map(); // callbacks of files that are being loaded
  const found = new Map(); // promises of what is unpacked, by the table that it is a part of
  const sheets = new Map();
  const KEPT = { thumbnails: 30, matrix: 2 }; // pieces of a table in memory, so that a long visit does not fill it

  window.labelsimPiece = (name, text) => waiting.get(name)(text);

  function text(name) {
    const tag = document.querySelector(`script[data-piece="${name}"]`);
    if (tag) return Promise.resolve(tag.textContent);
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      waiting.set(name, (content) => {
        script.remove();
        resolve(content);
      });
      script.src = `data/${name.replaceAll("/", "-")}.js`;
      script.onerror = () => reject(new Error(`${script.src} cannot be read. The page needs the whole folder beside it.`));
      document.head.append(script);
    });
  }

  async function blob(name) {
    const characters = atob(await text(name));
    const bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    return new Blob([bytes], { type: "image/webp" });
  }

  async function unpacked(name) {
    const stream = (await blob(name)).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const image = async (name) => createImageBitmap(await blob(name)); // no <img>: browsers keep more of those than is needed

  function once(name, make) {
    const table = name.split("/")[0];
    if (!found.has(table)) found.set(table, new Map());
    const parts = found.get(table);
    const promise = parts.get(name) ?? make(name);
    parts.delete(name); // to its end: the first is the one that was not used for longest
    parts.set(name, promise);
    if (parts.size > (KEPT[table] ?? 12)) parts.delete(parts.keys().next().value);
    return promise;
  }

  // A sheet of images as a class of CSS: the browser keeps it compressed, and decodes what is in sight.
  async function sheet(name) {
    const className = `sheet-${name.replace("/", "-")}`;
    const rule = `.thumb.${className} { background-image: url("data:image/webp;base64,${await text(name)}"); }`;
    document.styleSheets[0].insertRule(rule);
    return className;
  }

  const decoder = new TextDecoder();
  return {
    bytes: (name) => once(name, unpacked),
    image: (name) => once(name, image),
    sheet: (name) => sheets.get(name) ?? sheets.set(name, sheet(name)).get(name),
    json: (name) => once(name, async (n) => JSON.parse(decoder.decode(await unpacked(n)))),
  };
})();

/** The JSON of a piece; null while it is loaded, or if `name` is null. */
function usePiece(name, kind = "json") {
  const [state, setState] = useState({ name: null, value: null });
  useEffect(() => {
    let current = true;
    if (name !== null) pieces[kind](name).then((value) => current && setState({ name, value }), showError);
    return () => {
      current = false;
    };
  }, [name, kind]);
  return state.name === name ? state.value : null;
}

/** The rows of a table that is stored by columns, those for which `keep` is true. */
function rowsOf(table, keep) {
  const names = Object.keys(table);
  const rows = [];
  for (let i = 0; i < table.class.length; i++) {
    if (!keep(table, i)) continue;
    const row = {};
    for (const name of names) row[name] = table[name][i];
    rows.push(row);
  }
  return rows;
}

const showError = (error) => {
  console.error(error);
  document.querySelector("#app").replaceChildren(Object.assign(document.createElement("p"), { className: "loading", textContent: error.message }));
};

// Set by app.js before anything is shown.
let run = null;
let classes = null;
let theme = "light";

const blockOf = (index) => Math.floor(index / run.block);
const has = (table) => run.tables.includes(table);
const methodNamed = (name) => run.methods.find((method) => method.name === name);

/** A row of the matrix of a method as a function of the other class; null where nothing is known. */
function pairValue(matrix, colors, a, b) {
  if (a === b) return null;
  const [i, j] = a < b ? [a, b] : [b, a];
  const n = run.classes;
  const step = matrix[i * n - (i * (i + 1)) / 2 + (j - i - 1)];
  return step === 255 ? null : colors.low + (step / 254) * (colors.high - colors.low);
}
