"use strict";
// The verdict: whether the run can be trusted, and which method is closest to a reference.

function VerdictView({ parameters, go }) {
  const { accuracy, conformal } = run;
  return html`<article class="verdict">
    <h1>What to make of this run</h1>
    <${Warning} />
    <section aria-label="Accuracy">
      <h2>Accuracy</h2>
      <dl class="facts">
        <div><dt>top-1</dt><dd>${percent(accuracy.top1)}</dd></div>
        <div><dt>top-5</dt><dd>${percent(accuracy.top5)}</dd></div>
        <div><dt>published top-1</dt><dd>${percent(accuracy.published_top1)}</dd></div>
        <div><dt>images</dt><dd>${run.images.used.toLocaleString("en")}</dd></div>
        <div><dt>rejected</dt><dd>${run.images.rejected.toLocaleString("en")}</dd></div>
      </dl>
      <p>${accuracy.note[0].toUpperCase() + accuracy.note.slice(1)}.</p>
      ${conformal?.coverage !== null &&
      conformal?.coverage !== undefined &&
      html`<p>
        Prediction sets made for ${percent(conformal.level, 0)} coverage hold the right class for ${percent(conformal.coverage)} of
        ${` ${conformal.images.toLocaleString("en")} `} images, with ${fixed(conformal.mean_size, 1)} classes on average${conformal.mean_size < 1 ? " (below 1, as some sets are empty)" : ""}.
      </p>`}
    </section>
    ${has("class_stability") && html`<${Stability} />`}
    ${run.judgement?.length > 0 && html`<${Judgement} parameters=${parameters} go=${go} />`}
    ${run.judgement?.length === 0 && html`<section><h2>Closeness to a reference</h2><p class="nothing">The reference knows no two of these classes.</p></section>`}
    ${run.agreement?.length > 0 && html`<${Agreement} parameters=${parameters} go=${go} />`}
  </article>`;
}

const Warning = () => (run.warning ? html`<div class="warning" role="alert"><strong>Warning</strong><pre>${run.warning}</pre></div>` : null);

function Stability() {
  const rows = run.methods
    .map((method) => [method, (classes.stable?.[method.name] ?? []).filter((value) => value !== null)])
    .filter(([, values]) => values.length);
  if (!rows.length) return null;
  return html`<section aria-label="Stability">
    <h2>Stability</h2>
    <p>Share of the ${run.neighbors} most similar classes that stay among them in every replicate, each without some of the images; mean over classes.</p>
    <table class="dots">
      <tbody>
        ${rows.map(([method, values]) => {
          const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
          return html`<tr><th scope="row">${method.label}</th><td class="plot"><${Dot} value=${mean} from=${0} to=${1} text=${percent(mean)} /></td><td>${percent(mean)}</td></tr>`;
        })}
      </tbody>
    </table>
  </section>`;
}

const labelOf = (method, group) => `${methodNamed(method)?.label ?? (method === "reference" ? `reference: ${group}` : method)}${group !== "all" && method !== "reference" ? `, ${group}` : ""}`;
const WHAT = { wup: "Wu-Palmer", path: "path", lin: "Lin", file: "reference file" };

function Judgement({ parameters, go }) {
  const measures = [...new Set(run.judgement.map((row) => row.measure))];
  const measure = measures.includes(parameters.measure) ? parameters.measure : measures[0];
  const rows = run.judgement.filter((row) => row.measure === measure);
  const first = rows[0];
  const ends = (values) => {
    const known = values.filter((value) => value !== null);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const room = (high - low) * 0.05 || 0.01;
    return [low - room, high + room];
  };
  const means = ends([...rows.map((row) => row.mean), first.random, first.best]);
  const differences = ends([0, ...rows.flatMap((row) => [row.low, row.high, row.difference])]);
  const best = rows.filter((row) => row.low !== null && row.low > 0);
  const worse = rows.filter((row) => row.high !== null && row.high < 0);
  const names = (list) => list.map((row) => labelOf(row.method, row.group)).join(", ");
  const columns = Object.keys(run.judgement[0]).map((name) => [name, (row) => row[name]]);
  return html`<section aria-label="Judgement">
    <h2>Closeness to a reference</h2>
    <div class="tools">
      ${measures.length > 1 && html`<${Choice} label="Measure" options=${measures.map((name) => [name, WHAT[name] ?? name])} value=${measure} onChoose=${(name) => go(address("verdict", "", { ...parameters, measure: name }), true)} />`}
      <${SaveButton} onClick=${() => saveText(fileName("judgement.csv"), csv(columns, run.judgement))}>Table as CSV<//>
    </div>
    <p>
      Mean similarity, by the reference, of a class to its ${first.k} nearest classes under each method (${count(first.classes, "class", "classes")}; ${run.reference ?? "reference"}).
      The lines mark the nearest classes by chance (${fixed(first.random, 3)}) and by the reference itself (${fixed(first.best, 3)}).
    </p>
    <p class="answer">
      ${best.length
        ? `Closer to the reference than H, the hidden state: ${names(best)}.`
        : "No method is closer to the reference than H, the hidden state, beyond what the choice of classes explains."}
      ${worse.length ? ` Farther from it: ${names(worse)}.` : ""}
      ${best.length + worse.length ? " The intervals are not adjusted for the number of methods." : ""}
    </p>
    <div class="scroll">
      <table class="dots">
        <thead><tr><th>method</th><th>mean</th><th></th><th>difference to H, with 95 % interval</th><th></th></tr></thead>
        <tbody>
          ${rows.map(
            (row) => html`<tr>
              <th scope="row">${labelOf(row.method, row.group)}</th>
              <td class="plot">${row.mean !== null && html`<${Dot} value=${row.mean} from=${means[0]} to=${means[1]} marks=${[first.random, first.best]} text=${fixed(row.mean, 3)} />`}</td>
              <td>${fixed(row.mean, 3)}</td>
              <td class="plot">${row.difference !== null && html`<${Dot} value=${row.difference} low=${row.low} high=${row.high} from=${differences[0]} to=${differences[1]} marks=${[0]} text=${`${fixed(row.difference, 3)}, ${fixed(row.low, 3)} to ${fixed(row.high, 3)}`} />`}</td>
              <td>${row.difference !== null ? `${fixed(row.difference, 3)} (${fixed(row.low, 3)} to ${fixed(row.high, 3)})` : ""}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}

function Agreement({ parameters, go }) {
  const all = run.agreement;
  const sides = [...new Map(all.flatMap((row) => [[row.method_a, row.group_a], [row.method_b, row.group_b]]).map((side) => [side.join("/"), side])).values()];
  const key = sides.some((side) => side.join("/") === parameters.with) ? parameters.with : sides[0].join("/");
  const rows = all
    .map((row) => {
      const [a, b] = [`${row.method_a}/${row.group_a}`, `${row.method_b}/${row.group_b}`];
      if (a === key) return { ...row, other: [row.method_b, row.group_b] };
      if (b === key) return { ...row, other: [row.method_a, row.group_a] };
      return null;
    })
    .filter((row) => row !== null && row.overlap !== null)
    .sort((a, b) => b.overlap - a.overlap);
  const columns = Object.keys(all[0]).map((name) => [name, (row) => row[name]]);
  return html`<section aria-label="Agreement">
    <h2>Agreement between methods</h2>
    <div class="tools">
      <${Select} label="Compare with" options=${sides.map((side) => [side.join("/"), labelOf(...side)])} value=${key} onChoose=${(name) => go(address("verdict", "", { ...parameters, with: name }), true)} />
      <${SaveButton} onClick=${() => saveText(fileName("agreement.csv"), csv(columns, all))}>Table as CSV<//>
    </div>
    <p>Share of the ${run.neighbors} nearest classes that two methods have in common, with a 95 % interval (${percent(Math.min(1, run.neighbors / (classes.class_id.length - 1)))} by chance), and Spearman's correlation over all pairs.</p>
    <div class="scroll">
      <table class="dots">
        <thead><tr><th>method</th><th>overlap</th><th></th><th>Spearman</th></tr></thead>
        <tbody>
          ${rows.map(
            (row) => html`<tr>
              <th scope="row">${labelOf(...row.other)}</th>
              <td class="plot"><${Dot} value=${row.overlap} low=${row.low} high=${row.high} from=${0} to=${1} text=${percent(row.overlap)} /></td>
              <td>${percent(row.overlap)}${row.low !== null ? ` (${percent(row.low)} to ${percent(row.high)})` : ""}</td>
              <td>${fixed(row.spearman, 3)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}
