"use strict";
// Pieces of data: tags of this page or, for a large run, files beside it. `json` and `bytes` unpack them, once.

const { html, render, useState, useEffect, useLayoutEffect, useMemo, useRef } = htmPreact;

const pieces = (() => {
  const waiting = new Map(); // callbacks of files that are being loaded
  const found = new Map(); // promises of what is unpacked
  const KEPT = 60; // pieces in memory, so that a long visit to a large run does not fill it

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

  async function unpacked(name) {
    const packed = Uint8Array.from(atob(await text(name)), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function image(name) {
    const picture = new Image();
    picture.src = `data:image/webp;base64,${await text(name)}`;
    await picture.decode();
    return picture;
  }

  function once(kind, name, make) {
    const key = `${kind} ${name}`;
    const promise = found.get(key) ?? make(name);
    found.delete(key); // to its end: the first is the one that was not used for longest
    found.set(key, promise);
    if (found.size > KEPT) found.delete(found.keys().next().value);
    return promise;
  }

  const decoder = new TextDecoder();
  return {
    bytes: (name) => once("bytes", name, unpacked),
    image: (name) => once("image", name, image),
    json: (name) => once("json", name, async (n) => JSON.parse(decoder.decode(await unpacked(n)))),
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
