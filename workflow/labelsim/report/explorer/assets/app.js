"use strict";
// The page: what the address says is shown.

const VIEWS = [
  ["class", "Class"],
  ["pair", "Pair"],
  ["map", "Map"],
  ["matrix", "Matrix"],
  ["verdict", "Verdict"],
];

/** The view of an address and its parameters. */
function route(hash) {
  const parameters = Object.fromEntries(new URLSearchParams(hash.replace(/^#/, "")));
  const view = VIEWS.map(([name]) => name).find((name) => name in parameters) ?? "class";
  return { view, parameters };
}

function App() {
  const [hash, setHash] = useState(location.hash);
  const [shade, setShade] = useState(theme);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  const { view, parameters } = route(hash);
  const known = (id) => (id === undefined ? -1 : classes.class_id.indexOf(id));
  const a = known(parameters[view]);
  const index = a >= 0 ? a : run.first;
  const b = known(parameters.with);
  // `replace`: another way to show the same, to which Back need not return.
  const go = (target, replace = false) => {
    if (replace) {
      history.replaceState(null, "", target);
      setHash(target);
    } else location.hash = target;
  };
  const missing = (view === "class" || view === "pair") && parameters[view] && a < 0 ? parameters[view] : parameters.with !== undefined && view === "pair" && b < 0 ? parameters.with : null;
  useEffect(() => {
    document.title = `${view === "class" ? classes.class_name[index] : VIEWS.find(([name]) => name === view)[1]} · ${run.name} · labelsim`;
    if (view === "class" || view === "pair") window.scrollTo(0, 0);
  }, [view, index]);
  const last = useRef(run.first);
  if (view === "class" || view === "pair") last.current = index;
  const links = {
    class: classAddress(last.current),
    pair: address("pair", classes.class_id[last.current]),
    map: address("map", "", { at: classes.class_id[last.current] }),
    matrix: "#matrix",
    verdict: "#verdict",
  };
  const turn = () => {
    theme = theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    setShade(theme);
  };
  return html`<div class="page" data-shade=${shade}>
    <a class="skip" href="#content" onClick=${(event) => { event.preventDefault(); document.querySelector("#content").focus(); }}>Skip to content</a>
    <header class="top">
      <a class="brand" href=${classAddress(run.first)}><b>labelsim</b> <span>${run.name}</span></a>
      <nav aria-label="Views">
        ${VIEWS.map(([name, text]) => html`<a key=${name} href=${links[name]} aria-current=${name === view ? "page" : undefined}>${text}</a>`)}
      </nav>
      <${Search} main=${true} onChoose=${(found) => go(classAddress(found))} />
      <button type="button" class="theme" aria-label=${shade === "dark" ? "Light colors" : "Dark colors"} title=${shade === "dark" ? "Light colors" : "Dark colors"} onClick=${turn}>${shade === "dark" ? "☀" : "☾"}</button>
    </header>
    ${view !== "verdict" && html`<${Warning} />`}
    <main id="content" tabindex="-1">
      ${missing !== null && html`<p class="note">This run has no class with the id “${missing}”.</p>`}
      ${view === "class" && html`<${ClassView} key=${index} index=${index} parameters=${parameters} go=${go} />`}
      ${view === "pair" && (b >= 0 && b !== index ? html`<${PairView} key=${`${index} ${b}`} a=${index} b=${b} go=${go} />` : html`<${PairStart} a=${index} go=${go} />`)}
      ${view === "map" && html`<${MapView} parameters=${parameters} go=${go} />`}
      ${view === "matrix" && html`<${MatrixView} parameters=${parameters} go=${go} />`}
      ${view === "verdict" && html`<${VerdictView} parameters=${parameters} go=${go} />`}
    </main>
    <${Footer} />
  </div>`;
}

/** The pair view without a second class: the nearest ones to choose from. */
function PairStart({ a, go }) {
  const table = usePiece(`neighbors/${blockOf(a)}`);
  const near = useMemo(() => (table ? [...new Set(rowsOf(table, (t, i) => t.class[i] === a && t.group[i] === 0 && t.rank[i] <= 3).map((row) => row.neighbor))] : []), [table, a]);
  return html`<article class="pair-view">
    <header class="pair"><${PairSide} index=${a} /></header>
    <div class="tools"><${Search} id="other" label=${`Compare ${classes.class_name[a]} with …`} onChoose=${(index) => index !== a && go(pairAddress(a, index))} /></div>
    ${near.length > 0 && html`<p>Near it are:</p>`}
    <ul class="near">${near.map((index) => html`<li key=${index}><a href=${pairAddress(a, index)}><${Thumb} index=${index} /> ${classes.class_name[index]}</a></li>`)}</ul>
  </article>`;
}

function Footer() {
  return html`<footer>
    <p>
      Run <b>${run.name}</b> of ${run.date}: ${run.model}${run.weights ? ` with ${run.weights}` : ""}, ${run.channels.toLocaleString("en")} channels
      (at: ${run.probe}), ${count(run.images.used, "image")} of ${count(run.classes, "class", "classes")}. Made by labelsim ${run.labelsim}, after
      Bumjin Park, “Finding Similar Labels with Internal Representations in Image Classification”, which you should cite if this page helps your work.
    </p>
    <p>S depends on all classes of the dataset: it is not comparable between datasets. Values of different methods are not comparable either.</p>
    ${run.terms && html`<p class="note">${run.terms}</p>`}
    <p class="keys">Keys: <kbd>/</kbd> find a class; in map and matrix: arrows, <kbd>Enter</kbd>, <kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd>.</p>
  </footer>`;
}

(async () => {
  try {
    theme = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    document.documentElement.dataset.theme = theme;
    [run, classes] = await Promise.all([pieces.json("run"), pieces.json("classes")]);
    const root = document.querySelector("#app");
    root.replaceChildren();
    render(html`<${App} />`, root);
  } catch (error) {
    showError(error);
  }
})();
