"use strict";
// Two classes: how similar they are under each method, and which layers and channels say so.

function PairView({ a, b, go }) {
  const [one, two] = [usePiece(`neighbors/${blockOf(a)}`), usePiece(`neighbors/${blockOf(b)}`)];
  const wordnet = [usePiece(has("wordnet_pairs") ? `wordnet_pairs/${blockOf(a)}` : null), usePiece(has("wordnet_pairs") ? `wordnet_pairs/${blockOf(b)}` : null)];
  const among = (table, own, other) => (table ? rowsOf(table, (t, i) => t.class[i] === own && t.neighbor[i] === other && t.group[i] === 0) : []);
  const [ab, ba] = [among(one, a, b), among(two, b, a)];
  const relation = [[wordnet[0], a, b], [wordnet[1], b, a]].flatMap(([table, own, other]) =>
    table ? rowsOf(table, (t, i) => t.class[i] === own && t.neighbor[i] === other) : [],
  )[0];
  const name = (index) => classes.class_name[index];
  return html`<article class="pair-view">
    <header class="pair">
      <${PairSide} index=${a} />
      <button type="button" class="swap" aria-label="Swap the two classes" title="Swap" onClick=${() => go(pairAddress(b, a))}>⇄</button>
      <${PairSide} index=${b} />
    </header>
    <div class="tools">
      <${Search} id="other" label=${`Compare ${name(a)} with …`} onChoose=${(index) => index !== a && go(pairAddress(a, index))} />
    </div>
    ${relation &&
    html`<p>In WordNet both are kinds of <b>${relation.ancestor}</b>; similarity by Wu and Palmer ${fixed(relation.wup, 3)}.</p>`}
    <section aria-label="Similarity">
      <h2>Similarity</h2>
      <div class="scroll">
        <table class="numbers">
          <thead>
            <tr>
              <th>method</th>
              <th>similarity</th>
              <th>95 % interval</th>
              <th>rank of ${short(b)} for ${short(a)}</th>
              <th>rank of ${short(a)} for ${short(b)}</th>
            </tr>
          </thead>
          <tbody>
            ${run.methods.map((method, i) => {
              const [there, back] = [ab.find((row) => row.method === i), ba.find((row) => row.method === i)];
              return html`<${PairRow} key=${method.name} method=${method} a=${a} b=${b} there=${there} back=${back} loading=${!one || !two} />`;
            })}
          </tbody>
        </table>
      </div>
      <p class="legend">
        ${has("stability") && INTERVAL} Ranks up to ${run.neighbors} are in the tables.${Object.keys(run.colors).length ? " ≈ marks similarities of other pairs, read from the matrix in 255 steps." : ""}
      </p>
    </section>
    ${has("evidence") && html`<${Evidence} a=${a} b=${b} />`}
  </article>`;
}

function PairSide({ index }) {
  const places = Array.from({ length: Math.min(4, classes.thumbnails[index]) }, (_, place) => place);
  return html`<div class="side">
    <h1><a href=${classAddress(index)}>${classes.class_name[index]}</a></h1>
    <p class="id">${idOf(index)}</p>
    <div class="images">${places.map((place) => html`<${Thumb} key=${place} index=${index} place=${place} size=${72} />`)}</div>
  </div>`;
}

function PairRow({ method, a, b, there, back, loading }) {
  const colors = run.colors[method.name];
  const row = there ?? back;
  const matrix = usePiece(!loading && !row && colors ? `matrix/${method.name}` : null, "bytes");
  const near = matrix ? pairValue(matrix, colors, a, b) : null;
  const step = colors ? (colors.high - colors.low) / 254 : 1;
  const decimals = Math.min(6, Math.max(2, Math.ceil(-Math.log10(step || 1))));
  const rank = (found) => (found ? html`${found.rank}${found.folds > 0 && html` <span class="folds" title=${stabilityText(found)}>${found.folds_in_top_k}/${found.folds}</span>`}` : loading ? "" : `> ${run.neighbors}`);
  const known = row && row.low !== null && row.low !== undefined && row.stderr > 0;
  const precise = row ? precision(row) : 3;
  return html`<tr>
    <th scope="row">${method.label}</th>
    <td>${row ? html`<b>${fixed(row.similarity, precise)}</b>` : near !== null ? `≈ ${near === 0 ? "0" : fixed(near, decimals)}` : loading ? "" : "–"}</td>
    <td>${known ? `${fixed(row.low, precise)} to ${fixed(row.high, precise)}` : "–"}</td>
    <td>${rank(there)}</td>
    <td>${rank(back)}</td>
  </tr>`;
}

/** Decimals for a similarity and its interval: two digits of the interval's width. */
function precision(row) {
  if (row.low === null || row.low === undefined || !(row.high > row.low)) return 3;
  return Math.min(7, Math.max(3, 1 - Math.floor(Math.log10(row.high - row.low))));
}

/** The layers and channels that make up a similarity: those of a neighbor, in either direction. */
function Evidence({ a, b }) {
  const methods = run.methods.filter((method) => method.evidence);
  const [chosen, setChosen] = useState(methods[0]?.name);
  const tables = [a, b].map((index) => [usePiece(`evidence/${blockOf(index)}`), usePiece(`evidence_layers/${blockOf(index)}`)]);
  const method = run.methods.findIndex((each) => each.name === chosen);
  if (!methods.length) return null;
  if (tables.flat().some((table) => !table)) return html`<p class="nothing">Loading …</p>`;
  let [rows, layers] = [[], []];
  for (const [side, own, other] of [[0, a, b], [1, b, a]]) {
    if (rows.length) break;
    const matches = (t, i) => t.class[i] === own && t.neighbor[i] === other && t.method[i] === method;
    rows = rowsOf(tables[side][0], matches);
    const contributions = rowsOf(tables[side][1], matches)[0]?.contributions ?? [];
    layers = contributions.map((contribution, layer) => ({ layer, contribution })).filter((row) => row.contribution !== null);
    if (side === 1) rows = rows.map((row) => ({ ...row, own: row.other, other: row.own }));
  }
  const total = layers.reduce((sum, layer) => sum + layer.contribution, 0);
  const ends = layers.map((layer) => layer.contribution);
  const [least, most] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const value = methodNamed(chosen).name === "welch" ? "t" : "mean";
  const saveTable = () =>
    saveText(
      fileName(classes.class_id[a], classes.class_id[b], chosen, "channels.csv"),
      csv(
        [
          ["method", () => chosen],
          ["class_id", () => classes.class_id[a]],
          ["neighbor_id", () => classes.class_id[b]],
          ["layer", (row) => run.layers[row.layer]],
          ["layer_channel", (row) => row.channel],
          ["contribution", (row) => row.contribution],
          ["class_value", (row) => row.own],
          ["neighbor_value", (row) => row.other],
        ],
        rows,
      ),
    );
  return html`<section aria-label="Evidence">
    <h2>Which layers and channels say so</h2>
    <div class="tools">
      <${Choice} label="Method" options=${methodOptions(methods)} value=${chosen} onChoose=${setChosen} />
      ${rows.length > 0 && html`<${SaveButton} onClick=${saveTable}>Channels as CSV<//>`}
    </div>
    ${!rows.length &&
    html`<p class="nothing">
      Neither is among the ${run.neighbors} most similar classes of the other under this method, and evidence is kept for those. This command
      computes it: <code>labelsim evidence "${classes.class_name[a]}" "${classes.class_name[b]}" --method ${chosen} --run results/${run.name}</code>
    </p>`}
    ${rows.length > 0 &&
    html`<div class="evidence">
      <figure>
        <figcaption>Contribution of each layer; together ${fixed(total, 3)}</figcaption>
        <ol class="bars">
          ${layers.map(
            (layer) => html`<li>
              <span class="layer">${run.layers[layer.layer]}</span>
              <${Bar} value=${layer.contribution} least=${least} most=${most} text=${`${run.layers[layer.layer]}: ${fixed(layer.contribution, 4)}`} />
              <span class="number">${fixed(layer.contribution, 4)}</span>
            </li>`,
          )}
        </ol>
      </figure>
      <figure>
        <figcaption>Channels that contribute most${has("evidence_images") && run.columns ? ", and images that activate them most" : ""}</figcaption>
        <div class="scroll">
          <table class="numbers channels">
            <thead>
              <tr><th>layer, channel</th><th>share</th><th>${value} ${short(a)}</th><th>${value} ${short(b)}</th>${run.columns && has("evidence_images") ? html`<th>${short(a)}</th><th>${short(b)}</th>` : null}</tr>
            </thead>
            <tbody>
              ${rows.map(
                (row) => html`<tr>
                  <th scope="row">${run.layers[row.layer]}, ${row.channel}</th>
                  <td>${total > 0 ? percent(row.contribution / total, 2) : "–"}</td>
                  <td>${fixed(row.own, value === "t" ? 1 : 3)}</td>
                  <td>${fixed(row.other, value === "t" ? 1 : 3)}</td>
                  ${run.columns && has("evidence_images") ? [a, b].map((index) => html`<td><${ChannelImages} index=${index} layer=${row.layer} channel=${row.channel} /></td>`) : null}
                </tr>`,
              )}
            </tbody>
          </table>
        </div>
        ${value === "t" && html`<p class="legend">t below 0: the class activates the channel less than all other images do. Where both are below 0, that makes them alike.</p>`}
      </figure>
    </div>`}
  </section>`;
}

/** The images of a class that activate a channel most, of those that have a thumbnail. */
function ChannelImages({ index, layer, channel }) {
  const table = usePiece(`evidence_images/${blockOf(index)}`);
  const rows = useMemo(() => (table ? rowsOf(table, (t, i) => t.class[i] === index && t.layer[i] === layer && t.channel[i] === channel) : []), [table, index, layer, channel]);
  const text = (row) => `activates it ${row.rank === 1 ? "most" : `as number ${row.rank}`} among the images of ${classes.class_name[index]}`;
  if (!rows.length) return table ? html`<span class="nothing">no thumbnail</span>` : null;
  return html`<span class="images">${rows.map((row) => html`<${Thumb} key=${row.thumbnail} index=${index} place=${row.thumbnail} size=${36} label=${text(row)} />`)}</span>`;
}
