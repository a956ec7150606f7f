"use strict";
// A class: its images, its accuracy, and its neighbors under each method side by side.

const FIRST_METHODS = ["welch", "hidden", "gap"];
const NEIGHBOR_COLUMNS = ["similarity", "corrected", "stderr", "low", "high", "folds", "folds_in_top_k", "rank_min", "rank_max"];

/** The methods that are shown side by side: those of the address, else S, H and P. */
function methodsShown(text) {
  const known = run.methods.map((method) => method.name);
  const chosen = (text ?? "").split(",").filter((name) => known.includes(name));
  const first = FIRST_METHODS.filter((name) => known.includes(name));
  return chosen.length ? chosen : first.length ? first : known.slice(0, 3);
}

function ClassView({ index, parameters, go }) {
  const shown = methodsShown(parameters.methods);
  const group = run.groups.includes(parameters.group) ? parameters.group : "all";
  const table = usePiece(`neighbors/${blockOf(index)}`);
  const [hovered, setHovered] = useState(null);
  const rows = useMemo(() => {
    if (!table) return [];
    const wanted = run.groups.indexOf(group);
    return rowsOf(table, (columns, i) => {
      const method = run.methods[columns.method[i]];
      return columns.class[i] === index && columns.group[i] === (method.groups > 1 ? wanted : 0);
    });
  }, [table, index, group]);
  const lists = Object.fromEntries(run.methods.map((method, i) => [method.name, rows.filter((row) => row.method === i)]));
  const times = new Map();
  for (const name of shown) for (const row of lists[name]) times.set(row.neighbor, (times.get(row.neighbor) ?? 0) + 1);
  const own = { group: group === "all" ? null : group, methods: parameters.methods ?? null };
  const toggle = (name) => {
    const next = shown.includes(name) ? shown.filter((other) => other !== name) : run.methods.map((m) => m.name).filter((m) => m === name || shown.includes(m));
    if (next.length) go(classAddress(index, { ...own, methods: next.join(",") }), true);
  };
  const saveTable = () => {
    const columns = [
      ["method", (row) => run.methods[row.method].name],
      ["group", (row) => run.groups[row.group]],
      ["class_id", () => classes.class_id[index]],
      ["class_name", () => classes.class_name[index]],
      ["rank", (row) => row.rank],
      ["neighbor_id", (row) => classes.class_id[row.neighbor]],
      ["neighbor_name", (row) => classes.class_name[row.neighbor]],
      ...NEIGHBOR_COLUMNS.filter((name) => name in table).map((name) => [name, (row) => row[name]]),
    ];
    saveText(fileName(classes.class_id[index], "neighbors.csv"), csv(columns, shown.flatMap((name) => lists[name])));
  };
  return html`<article class="class-view">
    <${ClassCard} index=${index} />
    <section aria-label="Most similar classes">
      <div class="tools">
        <fieldset class="chips">
          <legend>Methods</legend>
          ${run.methods.map(
            (method) => html`<button key=${method.name} type="button" aria-pressed=${shown.includes(method.name)} onClick=${() => toggle(method.name)}>
              ${method.label}
            </button>`,
          )}
        </fieldset>
        ${run.groups.length > 1 &&
        html`<${Select}
          label="Layers"
          options=${run.groups.map((name) => [name, name])}
          value=${group}
          onChoose=${(name) => go(classAddress(index, { ...own, group: name === "all" ? null : name }), true)}
        />`}
        <${SaveButton} onClick=${saveTable}>Table as CSV<//>
      </div>
      <div class="methods">
        ${shown.map(
          (name) => html`<${NeighborList}
            key=${name}
            index=${index}
            method=${methodNamed(name)}
            rows=${lists[name]}
            group=${methodNamed(name).groups > 1 && group !== "all" ? group : null}
            loading=${!table}
            times=${times}
            own=${own}
            hovered=${hovered}
            onHover=${setHovered}
          />`,
        )}
      </div>
      ${has("stability") &&
      html`<p class="legend">
        <span class="folds">8/8</span> among the ${run.neighbors} most similar in 8 of 8 replicates, each without some of the
        images. ${INTERVAL} <span class="times">3 ×</span> listed by 3 of these methods. Values of different methods are not comparable.
      </p>`}
    </section>
    ${has("channels") && html`<${ClassChannels} index=${index} />`}
  </article>`;
}

function ClassCard({ index }) {
  const synonyms = (classes.synonyms?.[index] ?? []).filter((name) => name.toLowerCase() !== classes.class_name[index].toLowerCase());
  const places = Array.from({ length: classes.thumbnails[index] }, (_, place) => place);
  return html`<header class="card">
    <div class="title">
      <h1>${classes.class_name[index]}</h1>
      <p class="id">${idOf(index)}${synonyms.length ? ` · ${synonyms.join(", ")}` : ""}${classes.branch?.[index] ? ` · ${classes.branch[index]}` : ""}</p>
      <dl class="facts">
        <div><dt>images</dt><dd>${classes.used[index].toLocaleString("en")}</dd></div>
        ${classes.rejected[index] > 0 && html`<div><dt>rejected</dt><dd>${classes.rejected[index].toLocaleString("en")}</dd></div>`}
        <div><dt>top-1</dt><dd>${percent(classes.top1[index])}</dd></div>
        <div><dt>top-5</dt><dd>${percent(classes.top5[index])}</dd></div>
      </dl>
      ${classes.notes[index] && html`<p class="note">${classes.notes[index]}</p>`}
    </div>
    ${places.length > 0 && html`<div class="images">${places.map((place) => html`<${Thumb} key=${place} index=${index} place=${place} size=${88} label=${place ? `Another image of ${classes.class_name[index]}` : `The most typical image of ${classes.class_name[index]}`} />`)}</div>`}
  </header>`;
}

function NeighborList({ index, method, rows, group, loading, times, own, hovered, onHover }) {
  const decimals = decimalsFor(rows.map((row) => row.similarity));
  const others = classes.notes[index] || "It has no similar classes under this method.";
  return html`<section class="method" aria-label=${method.label}>
    <h2>${method.label}${group && html` <small>${group}</small>`}</h2>
    ${loading && html`<p class="nothing">Loading …</p>`}
    ${!loading && !rows.length && html`<p class="nothing">${others}</p>`}
    <ol>
      ${rows.map(
        (row) => html`<li key=${row.neighbor} class=${row.neighbor === hovered ? "same" : ""} onMouseEnter=${() => onHover(row.neighbor)} onMouseLeave=${() => onHover(null)}>
          <span class="rank">${row.rank}</span>
          <a class="neighbor" href=${classAddress(row.neighbor, own)} onFocus=${() => onHover(row.neighbor)} onBlur=${() => onHover(null)}>
            <${Thumb} index=${row.neighbor} />
            <span class="text">
              <span class="name">${classes.class_name[row.neighbor]}</span>
              <span class="value">
                <b>${fixed(row.similarity, decimals)}</b>
                ${row.low !== null && row.low !== undefined && row.stderr > 0 && html`<span class="interval">${fixed(row.low, decimals)} to ${fixed(row.high, decimals)}</span>`}
              </span>
            </span>
          </a>
          <span class="marks">
            ${row.folds > 0 && html`<span class=${`folds ${row.folds_in_top_k < row.folds ? "unstable" : ""}`} title=${stabilityText(row)}>${row.folds_in_top_k}/${row.folds}</span>`}
            ${times.get(row.neighbor) > 1 && html`<span class="times" title=${`Shown by ${times.get(row.neighbor)} of these methods`}>${times.get(row.neighbor)} ×</span>`}
          </span>
          <a class="compare" href=${pairAddress(index, row.neighbor)} aria-label=${`Compare ${classes.class_name[index]} with ${classes.class_name[row.neighbor]}`} title="Compare the two">⇄</a>
        </li>`,
      )}
    </ol>
  </section>`;
}

/** The channels in which a class differs most from all other images. */
function ClassChannels({ index }) {
  const table = usePiece(`channels/${blockOf(index)}`);
  const rows = useMemo(() => (table ? rowsOf(table, (columns, i) => columns.class[i] === index) : []), [table, index]);
  if (!rows.length) return null;
  return html`<details class="channels">
    <summary>Channels in which ${classes.class_name[index]} differs most from all other images</summary>
    <div class="scroll">
      <table>
        <thead><tr><th>layer</th><th>channel</th><th>t</th><th>effect size</th><th>mean</th><th>mean of others</th><th>log10 q</th></tr></thead>
        <tbody>
          ${rows.map(
            (row) => html`<tr>
              <td>${run.layers[row.layer]}</td><td>${row.channel}</td><td>${fixed(row.t, 1)}</td><td>${fixed(row.effect_size, 2)}</td>
              <td>${fixed(row.mean, 3)}</td><td>${fixed(row.mean_rest, 3)}</td><td>${fixed(row.log10_q, 1)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}
