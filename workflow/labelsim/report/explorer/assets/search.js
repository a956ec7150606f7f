"use strict";
// Finding classes by name, synonym or id.

const searchIndex = (() => {
  let index = null;
  return () => {
    if (!index) {
      index = new MiniSearch({
        fields: ["name", "synonyms", "wnid"],
        searchOptions: { boost: { name: 3 }, prefix: true, fuzzy: (term) => (term.length > 3 ? 0.25 : false), combineWith: "AND" },
      });
      index.addAll(
        classes.class_name.map((name, i) => ({ id: i, name, synonyms: (classes.synonyms?.[i] ?? []).join(" "), wnid: classes.class_id[i] })),
      );
    }
    return index;
  };
})();

/** Indices of the classes that a text finds, best first; those whose id or name begins with it come before all. */
function findClasses(text, most = 12) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const begins = [];
  for (let i = 0; i < run.classes && begins.length < most; i++) {
    if (classes.class_id[i].toLowerCase() === wanted || classes.class_name[i].toLowerCase() === wanted) begins.unshift(i);
    else if (classes.class_id[i].toLowerCase().startsWith(wanted) || classes.class_name[i].toLowerCase().startsWith(wanted)) begins.push(i);
  }
  const found = searchIndex().search(text).map((result) => result.id);
  return [...new Set([...begins, ...found])].slice(0, most);
}

/** A box that finds a class. `onChoose` gets its index. */
function Search({ onChoose, id = "search", label = "Find a class", main = false }) {
  const [text, setText] = useState("");
  const [active, setActive] = useState(0);
  const [open, setOpen] = useState(false);
  const found = useMemo(() => findClasses(text), [text]);
  const input = useRef();
  useEffect(() => {
    if (!main) return undefined;
    const focus = (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      event.preventDefault();
      input.current.focus();
      input.current.select();
    };
    document.addEventListener("keydown", focus);
    return () => document.removeEventListener("keydown", focus);
  }, [main]);
  const choose = (index) => {
    setText("");
    setOpen(false);
    input.current.blur();
    onChoose(index);
  };
  const keys = (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (found.length) setActive((active + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length);
    } else if (event.key === "Enter" && found.length) choose(found[Math.min(active, found.length - 1)]);
    else if (event.key === "Escape") setOpen(false);
  };
  const shown = open && text.trim() !== "";
  return html`<div class="search" role="search">
    <input
      ref=${input}
      id=${id}
      type="text"
      autocomplete="off"
      spellcheck=${false}
      placeholder=${main ? `${label}  ( / )` : label}
      role="combobox"
      aria-label=${label}
      aria-expanded=${shown}
      aria-controls=${`${id}-list`}
      aria-activedescendant=${shown && found.length ? `${id}-${active}` : undefined}
      value=${text}
      onInput=${(event) => {
        setText(event.target.value);
        setActive(0);
        setOpen(true);
      }}
      onFocus=${() => setOpen(true)}
      onBlur=${() => setOpen(false)}
      onKeyDown=${keys}
    />
    ${shown &&
    html`<ul id=${`${id}-list`} role="listbox" aria-label="Classes">
      ${found.map(
        (index, i) => html`<li
          key=${index}
          id=${`${id}-${i}`}
          role="option"
          aria-selected=${i === active}
          onMouseDown=${(event) => {
            event.preventDefault();
            choose(index);
          }}
          onMouseEnter=${() => setActive(i)}
        >
          <${Thumb} index=${index} size=${32} />
          <span class="name">${classes.class_name[index]}</span>
          <span class="id">${idOf(index)}</span>
        </li>`,
      )}
      ${!found.length && html`<li class="nothing">No class matches “${text}”</li>`}
    </ul>`}
  </div>`;
}
