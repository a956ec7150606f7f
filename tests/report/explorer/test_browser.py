"""The page in a real browser: looked at, searched, clicked through and saved from, without a network."""

import json
import re
import shutil
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import explored
import numpy as np
import pytest
from explored import GOLDFISH, METHODS, NASTY, TEAPOT
from PIL import Image
from planted import ALONE, EMPTY
from pyarrow import parquet

from labelsim.report.explorer.thumbnails import chosen
from labelsim.storage.zarr_store import open_store

if not shutil.which("chromium"):
    pytest.skip("there is no chromium", allow_module_level=True)
browsing = pytest.importorskip("browsing", reason="playwright is not installed")
expect = pytest.importorskip("playwright.sync_api").expect

LONG = 8  # the class whose name is long and has no space
ADDRESSES = {
    "class": {"value": "n04398044"},
    "pair": {"value": "n04398044", "with": "n01443537"},
    "map": {},
    "matrix": {},
    "verdict": {},
}
FIRST = ("welch", "hidden", "gap")  # the methods that are shown at first


@pytest.fixture(scope="session")
def chromium():
    with browsing.chromium() as found:
        yield found


@pytest.fixture(scope="session")
def browser(chromium):
    found = browsing.launch(chromium)
    yield found
    found.close()


@pytest.fixture(scope="session")
def folder(run, tmp_path_factory):
    return run.write(tmp_path_factory.mktemp("folder") / "explorer.html", budget_mb=0.1)


@pytest.fixture
def visit(browser, page):
    """Start visits of the page; afterwards nothing may have gone wrong."""
    visits = []

    def start(file=page, **options):
        visits.append(browsing.Visit(browser, file, **options))
        return visits[-1]

    yield start
    for one in visits:
        one.close()


@pytest.fixture(scope="module")
def neighbors(run):
    return run.table("stability")


def of(table, method, class_index, group="all"):
    rows = table[(table["method"] == method) & (table["group"] == group) & (table["class_index"] == class_index)]
    return rows.sort_values("rank")


def numbers(text):
    """Numbers in a text as the page writes them."""
    return [float(word) for word in text.replace("\N{MINUS SIGN}", "-").split() if word != "to"]


def close(found, expected, text, digits=6):
    """A number is what another is, but for the digits that a text, or the page, does not have."""
    decimals = len(text.split(".")[1]) if "." in text else 0
    # Half a unit of the last digit of either.
    assert abs(found - expected) <= 0.5001 * 10.0**-decimals + 5.001 * 10.0**-digits * abs(expected)


@pytest.mark.parametrize("form", ["file", "folder"])
@pytest.mark.parametrize("view", browsing.VIEWS)
def test_each_view_opens_by_its_address_and_shows_the_warning(visit, page, folder, form, view):
    one = visit(page if form == "file" else folder)
    if form == "folder":
        one.page.goto(one.url)  # leads to the folder
        one.page.wait_for_url("**/explorer/index.html")
        one.url = one.page.url
    found = one.open(view, **ADDRESSES[view])
    expect(found.locator("nav a[aria-current=page]")).to_have_text(view.capitalize())
    expect(found.get_by_role("alert")).to_be_in_viewport()
    expect(found.get_by_role("alert")).to_contain_text(explored.WARNING)
    expect(found.locator(".brand")).to_contain_text(explored.RUN)
    expect(found.locator("footer")).to_contain_text(explored.RUN)
    if view in ("map", "matrix"):
        assert colors(found.locator(".plane > canvas")) > 20


def colors(canvas):
    """Number of colors on a canvas, after the next frame."""
    picture = """canvas => new Promise(done =>
        requestAnimationFrame(() => requestAnimationFrame(() => done(canvas.toDataURL()))))"""
    data = b64decode(canvas.evaluate(picture).split(",")[1])
    return len(Image.open(BytesIO(data)).convert("RGBA").getcolors(1 << 24))


@pytest.mark.parametrize("index", [TEAPOT, GOLDFISH, ALONE])
def test_a_class_shows_the_neighbors_of_the_table(visit, run, neighbors, index):
    one = visit()
    one.open("class", run.run.ids[index], methods=",".join(METHODS))
    expect(one.heading()).to_have_text(run.run.names[index])
    for method in METHODS:
        column = one.column(METHODS[method].label)
        rows = of(neighbors, method, index)
        assert column.locator(".name").all_inner_texts() == rows["neighbor_name"].tolist()
        assert column.locator(".rank").all_inner_texts() == [str(rank) for rank in rows["rank"]]
        texts = column.locator(".value b").all_inner_texts()
        for text, value in zip(texts, rows["similarity"], strict=True):
            close(numbers(text)[0], value, text)
        assert len(set(texts)) == rows["similarity"].nunique()  # as many digits as tell them apart
        sure = rows[rows["low"].notna() & (rows["stderr"] > 0)]
        intervals = column.locator(".interval").all_inner_texts()
        for text, low, high in zip(intervals, sure["low"], sure["high"], strict=True):
            for word, number, bound in zip(text.split(" to "), numbers(text), (low, high), strict=True):
                close(number, bound, word)
        folds = [f"{row.folds_in_top_k:.0f}/{row.folds:.0f}" for row in rows.itertuples() if row.folds > 0]
        assert column.locator(".folds").all_inner_texts() == folds
        if not len(rows):
            expect(column.locator(".nothing")).not_to_be_empty()
    if index == ALONE:
        assert not len(of(neighbors, "welch", index))
        assert len(of(neighbors, "hidden", index))


def test_thumbnails_are_those_of_their_classes(visit, run, neighbors):
    examples = run.table("examples").groupby("class_index")["sample_id"].first()
    one = visit()
    page = one.open("class", run.run.ids[TEAPOT], methods="hidden")
    near = of(neighbors, "hidden", TEAPOT)["neighbor_index"].tolist()
    assert {index // 100 for index in near} == {0, 1}
    for thumb, index in zip(page.locator(".neighbor .thumb").all(), near, strict=True):
        expect(thumb).to_have_css("background-image", re.compile(r"^url\("))
        assert_color(thumb, run.colors[examples[index]])
    card = page.locator(".card .thumb")
    expect(card).to_have_count(4)
    tables = (parquet.read_table(run.files[name]) for name in ("examples", "evidence_images"))
    for thumb, sample in zip(card.all(), chosen(*tables, 4)[TEAPOT], strict=True):
        expect(thumb).to_have_css("background-image", re.compile(r"^url\("))
        assert_color(thumb, run.colors[sample])


def assert_color(element, expected):
    with Image.open(BytesIO(element.screenshot())) as picture:
        middle = np.asarray(picture.convert("RGB"), dtype=float)[10:-10, 10:-10]
    np.testing.assert_allclose(middle.mean(axis=(0, 1)), expected, rtol=0, atol=8)  # WebP, and the scaling
    assert middle.std(axis=(0, 1)).max() < 8


def test_a_class_without_images_says_so(visit, run):
    one = visit()
    one.page.goto(one.url + browsing.address("class", run.run.ids[EMPTY]))
    expect(one.heading()).to_have_text(run.run.names[EMPTY])
    expect(one.page.locator(".method .nothing").first).to_have_text(run.table("classes")["notes"][EMPTY])
    expect(one.page.locator(".card .facts")).to_contain_text("0")


def test_the_first_class_is_the_first_of_the_report(visit):
    one = visit()
    one.page.goto(one.url)
    one.wait("class")
    expect(one.heading()).to_have_text("teapot")


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("teap", TEAPOT),  # a prefix
        ("teopot", TEAPOT),  # a slip
        ("carassius", GOLDFISH),  # a synonym
        ("n01443537", GOLDFISH),  # an id
        ("<img", 5),
        ('"quot', 6),
        ("猫", 7),
        ("ünï", 7),
        ("2", 9),  # an id that is a number
    ],
)
def test_a_class_is_found_by_keyboard(visit, run, text, index):
    one = visit()
    page = one.open("verdict")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type(text)
    expect(page.locator("#search-list [aria-selected=true] .name")).to_have_text(run.run.names[index])
    page.keyboard.press("Enter")
    one.wait_for(**{"class": run.run.ids[index]})
    expect(one.heading()).to_have_text(run.run.names[index])
    expect(page.locator("#search")).to_have_value("")


def test_arrows_choose_among_what_is_found(visit):
    one = visit()
    page = one.open("class", "10")
    page.keyboard.press("/")
    page.keyboard.type("t")
    options = page.locator("#search-list [role=option]")
    names = options.locator(".name").all_inner_texts()
    assert len(names) > 3
    for key, place in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("ArrowUp", 0), ("ArrowUp", len(names) - 1)):
        page.keyboard.press(key)
        expect(options.nth(place)).to_have_attribute("aria-selected", "true")
        assert page.locator("#search").get_attribute("aria-activedescendant") == options.nth(place).get_attribute("id")
    page.keyboard.press("Enter")
    expect(one.heading()).to_have_text(names[-1])
    page.keyboard.press("/")
    page.keyboard.type("xyzzy")
    expect(page.locator("#search-list")).to_contain_text("xyzzy")
    page.keyboard.press("Escape")
    expect(page.locator("#search-list")).to_have_count(0)


def test_neighbors_lead_on_and_back_returns(visit, run, neighbors):
    one = visit()
    page = one.open("class", run.run.ids[TEAPOT])
    first = of(neighbors, "hidden", TEAPOT).iloc[1]
    one.column(METHODS["hidden"].label).locator("a.neighbor").nth(1).click()
    one.wait_for(**{"class": first["neighbor_id"]})
    expect(one.heading()).to_have_text(first["neighbor_name"])
    page.go_back()
    expect(one.heading()).to_have_text("teapot")
    page.go_forward()
    expect(one.heading()).to_have_text(first["neighbor_name"])
    page.go_back()
    one.column(METHODS["hidden"].label).get_by_label("Compare").nth(1).click()
    one.wait("pair")
    assert one.shown() == {"pair": run.run.ids[TEAPOT], "with": first["neighbor_id"]}
    page.go_back()
    expect(page.locator(".class-view h1")).to_have_text("teapot")
    # Without a mouse.
    link = one.column(METHODS["hidden"].label).locator("a.neighbor").nth(1)
    link.focus()
    page.keyboard.press("Enter")
    expect(one.heading()).to_have_text(first["neighbor_name"])


def test_methods_and_layers_are_part_of_the_address(visit, run, neighbors):
    one = visit()
    page = one.open("class", run.run.ids[TEAPOT])
    chips = page.locator(".chips")
    chips.get_by_text(METHODS["pairwise"].label, exact=True).click()
    one.wait_for(methods="welch,hidden,gap,pairwise")
    chips.get_by_text(METHODS["hidden"].label, exact=True).click()
    one.wait_for(methods="welch,gap,pairwise")
    one.choice("Layers").select_option("late")
    one.wait_for(group="late")
    for _ in range(2):
        shown = page.locator(".method h2")
        assert [text.split(" late")[0] for text in shown.all_inner_texts()] == [
            METHODS[name].label for name in ("welch", "gap", "pairwise")
        ]
        for method in ("welch", "gap", "pairwise"):
            rows = of(neighbors, method, TEAPOT, "late")
            names = one.column(METHODS[method].label).locator(".name")
            assert names.all_inner_texts() == rows["neighbor_name"].tolist()
        page.reload()
        one.wait("class")
        expect(one.choice("Layers")).to_have_value("late")
    page.locator("a.neighbor").first.click()
    one.wait_for(methods="welch,gap,pairwise", group="late")
    # The last method stays.
    for name in ("welch", "gap", "pairwise"):
        chips.get_by_text(METHODS[name].label, exact=True).click()
    expect(page.locator(".chips [aria-pressed=true]")).to_have_text(METHODS["pairwise"].label)


def test_hovering_marks_a_neighbor_in_all_columns(visit, run, neighbors):
    shown = neighbors[neighbors["method"].isin(FIRST) & (neighbors["group"] == "all")]
    times = shown.groupby(["class_index", "neighbor_index"]).size()
    (index, shared), most = times.idxmax(), int(times.max())
    assert most > 1
    name = run.run.names[shared]
    one = visit()
    page = one.open("class", run.run.ids[index])
    assert page.locator(".same").count() == 0
    row = page.locator(".method li", has=page.locator(f".name:text-is({name!r})"))
    row.first.hover()
    expect(page.locator(".same")).to_have_count(most)
    assert page.locator(".same .name").all_inner_texts() == [name] * most
    expect(row.first.locator(".times")).to_have_text(f"{most} \N{MULTIPLICATION SIGN}")
    page.mouse.move(0, 0)
    expect(page.locator(".same")).to_have_count(0)
    row.first.locator("a.neighbor").focus()  # likewise by keyboard
    expect(page.locator(".same")).to_have_count(most)


def pair_rows(page):
    """Cells of the table of similarities, by method."""
    rows = page.locator(".numbers").first.locator("tbody tr")
    return {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows.all()}


def test_a_pair_shows_what_the_tables_say_both_ways(visit, run, neighbors):
    near = of(neighbors, "welch", TEAPOT)["neighbor_index"].iloc[0]
    one = visit()
    page = one.open("pair", run.run.ids[TEAPOT], **{"with": run.run.ids[near]})
    assert page.locator("h1").all_inner_texts() == ["teapot", run.run.names[near]]
    found = pair_rows(page)
    assert list(found) == [method.label for method in METHODS.values()]
    for method, entry in METHODS.items():
        there, back = (of(neighbors, method, a) for a in (TEAPOT, near))
        there, back = there[there["neighbor_index"] == near], back[back["neighbor_index"] == TEAPOT]
        similarity, interval, *ranks = found[entry.label]
        for text, rows in zip(ranks, (there, back), strict=True):
            expected = [f"{r.rank}", f"{r.folds_in_top_k:.0f}/{r.folds:.0f}"] if (r := first(rows)) else ["> 5"]
            assert text.split() == (expected if not r or r.folds > 0 else expected[:1]) or text == "> 5"
            assert (text == "> 5") == (not len(rows))
        row = first(there) or first(back)
        if row:
            close(numbers(similarity)[0], row.similarity, similarity)
            if row.stderr > 0 and row.low == row.low:
                for word, bound in zip(interval.split(" to "), (row.low, row.high), strict=True):
                    close(numbers(word)[0], bound, word)
    relation = run.table("wordnet_pairs")
    relation = relation[(relation["class_index"] == TEAPOT) & (relation["neighbor_index"] == near)]
    if len(relation):
        expect(page.locator(".pair-view")).to_contain_text(relation["ancestor"].iloc[0])
    page.get_by_label("Swap the two classes").click()
    expect(page.locator("h1").first).to_have_text(run.run.names[near])
    one.wait("pair")
    assert one.shown() == {"pair": run.run.ids[near], "with": run.run.ids[TEAPOT]}
    swapped = pair_rows(page)
    assert {name: [*cells[:2], cells[3], cells[2]] for name, cells in found.items()} == swapped


def first(rows):
    return next(rows.itertuples(), None)


@pytest.mark.parametrize("method", ["welch", "gap"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("mutual", [False, True])
def test_evidence_is_that_of_the_table(visit, run, method, turned, mutual):
    channels, layers = (run.table(name) for name in ("evidence", "evidence_layers"))
    chosen = [
        t[(t["method"] == method) & (t["group"] == "all") & (t["class_index"] == TEAPOT)] for t in (channels, layers)
    ]
    back = channels[(channels["method"] == method) & (channels["group"] == "all")]
    back = set(back["class_index"][back["neighbor_index"] == TEAPOT])
    near = next(int(n) for n in chosen[0]["neighbor_index"] if (n in back) == mutual)
    channels, layers = (t[t["neighbor_index"] == near] for t in chosen)
    a, b = (near, TEAPOT) if turned else (TEAPOT, near)
    one = visit()
    page = one.open("pair", run.run.ids[a], **{"with": run.run.ids[b]})
    evidence = page.get_by_role("region", name="Evidence")
    evidence.get_by_text(METHODS[method].label, exact=True).click()
    bars = evidence.locator(".bars li")
    assert bars.locator(".layer").all_inner_texts() == layers["layer"].tolist()
    for text, value in zip(bars.locator(".number").all_inner_texts(), layers["contribution"], strict=True):
        close(numbers(text)[0], value, text, 4)
    own, other = ("neighbor_value", "class_value") if turned else ("class_value", "neighbor_value")
    for row, expected in zip(evidence.locator("tbody tr").all(), channels.to_dict("records"), strict=True):
        assert row.locator("th").inner_text() == f"{expected['layer']}, {expected['layer_channel']}"
        share, *values = row.locator("td").all_inner_texts()[:3]
        close(float(share.rstrip(" %")), 100 * expected["share"], share.rstrip(" %"), 3)  # a quotient of sums
        for text, name in zip(values, (own, other), strict=True):
            close(numbers(text)[0], expected[name], text, 4)
    rows = one.table(evidence.get_by_text("Channels as CSV"))
    assert [(row["layer"], int(row["layer_channel"])) for row in rows] == list(
        zip(channels["layer"], channels["layer_channel"], strict=True)
    )
    for row, expected in zip(rows, channels.to_dict("records"), strict=True):
        assert (row["method"], row["class_id"], row["neighbor_id"]) == (method, run.run.ids[a], run.run.ids[b])
        found = [float(row[name]) for name in ("contribution", "class_value", "neighbor_value")]
        wanted = [expected[name] for name in ("contribution", own, other)]
        np.testing.assert_allclose(found, wanted, rtol=5.001e-4)  # four digits


def test_a_pair_is_made_by_searching_for_the_other(visit, run):
    one = visit()
    page = one.page
    page.goto(one.url + browsing.address("pair", run.run.ids[TEAPOT]))
    page.locator("#other").fill("goldfish")
    page.keyboard.press("Enter")
    one.wait_for(**{"pair": "n04398044", "with": "n01443537"})
    assert page.locator("h1").all_inner_texts() == ["teapot", "goldfish"]


def test_the_table_of_a_class_as_csv_is_the_table(visit, run, neighbors):
    one = visit()
    page = one.open("class", run.run.ids[GOLDFISH], methods="hidden,welch,confusion", group="first")
    rows = one.table(page.get_by_text("Table as CSV"))
    chosen = [of(neighbors, "hidden", GOLDFISH), of(neighbors, "welch", GOLDFISH, "first")]
    expected = [row for table in [*chosen, of(neighbors, "confusion", GOLDFISH)] for row in table.to_dict("records")]
    assert len(rows) == len(expected) == 15
    for row, wanted in zip(rows, expected, strict=True):
        assert set(row) <= set(wanted)
        for name, text in row.items():
            same(text, wanted[name])


def same(text, value):
    """A cell of a CSV file holds a value of a table."""
    if isinstance(value, str):
        assert text == value
    elif value is None or value != value:
        assert text == ""
    elif isinstance(value, np.float32):
        assert np.float32(text) == value
    else:
        assert float(text) == pytest.approx(value, rel=5.001e-6, abs=0)  # six digits


@pytest.mark.parametrize("name", ["judgement", "agreement"])
def test_the_tables_of_the_verdict_as_csv_are_the_tables(visit, run, name):
    one = visit()
    page = one.open("verdict")
    rows = one.table(page.get_by_role("region", name=name.capitalize()).get_by_text("Table as CSV"))
    expected = parquet.read_table(run.files[name]).to_pylist()
    assert len(rows) == len(expected) > 5
    for row, wanted in zip(rows, expected, strict=True):
        assert set(row) == set(wanted)
        for column, text in row.items():
            same(text, wanted[column])


def test_the_verdict_shows_judgement_and_agreement(visit, run):
    one = visit()
    page = one.open("verdict")
    judgement = run.table("judgement")
    for measure in judgement["measure"].unique():
        page.get_by_role("group", name="Measure").locator("button").nth(
            judgement["measure"].unique().tolist().index(measure)
        ).click()
        one.wait_for(measure=measure)
        rows = page.get_by_role("region", name="Judgement").locator("tbody tr")
        expected = judgement[judgement["measure"] == measure]
        for row, wanted in zip(rows.all(), expected.to_dict("records"), strict=True):
            text = row.locator("td").nth(1).inner_text()
            if wanted["mean"] == wanted["mean"]:
                close(numbers(text)[0], wanted["mean"], text)
    one.choice("Compare with").select_option("hidden/all")
    one.wait_for(**{"with": "hidden/all"})
    rows = page.get_by_role("region", name="Agreement").locator("tbody tr")
    agreement = run.table("agreement")
    sides = agreement[["method_a", "group_a", "method_b", "group_b"]].to_numpy().tolist()
    wanted = [i for i, side in enumerate(sides) if ["hidden", "all"] in (side[:2], side[2:])]
    overlaps = sorted(agreement["overlap"].to_numpy()[wanted], reverse=True)
    assert [text.split(" %")[0] for text in rows.locator("td:nth-child(3)").all_inner_texts()] == [
        f"{100 * overlap:.1f}" for overlap in overlaps if overlap == overlap
    ]


def test_an_unknown_class_is_said_to_be_unknown(visit):
    one = visit()
    one.open("class", "n99999999")
    expect(one.page.locator("main .note").first).to_contain_text("n99999999")
    one.open("pair", "n04398044", **{"with": "n01443537"})
    one.page.goto(one.url + browsing.address("pair", "n04398044", **{"with": "<b>none"}))
    expect(one.page.locator("main .note").first).to_contain_text("<b>none")


@pytest.mark.parametrize("index", NASTY)
def test_names_are_text_wherever_they_are_shown(visit, run, neighbors, index):
    class_id, name = NASTY[index]
    other = of(neighbors, "hidden", index).iloc[0]
    one = visit()
    page = one.open("class", class_id)
    expect(one.heading()).to_have_text(name)
    expect(page).to_have_title(f"{name} · {explored.RUN} · labelsim")
    # As a neighbor, of a class that has it as one.
    near = neighbors[(neighbors["neighbor_index"] == index) & (neighbors["group"] == "all")].iloc[0]
    one.open("class", near["class_id"], methods=near["method"])
    assert name in page.locator(".name").all_inner_texts()
    one.open("pair", class_id, **{"with": other["neighbor_id"]})
    assert page.locator("h1").all_inner_texts() == [name, other["neighbor_name"]]
    page.keyboard.press("/")
    page.keyboard.type(class_id)
    assert name in page.locator("#search-list .name").all_inner_texts()
    assert page.locator("img, b b").count() == 0


@pytest.mark.parametrize("window", [{"width": 400}, {"width": 700, "device_scale_factor": 2}])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_is_wider_than_the_window(visit, run, neighbors, window, scheme):
    one = visit(**window, color_scheme=scheme)
    wide = run.run.ids[LONG]
    near = of(neighbors, "hidden", LONG)["neighbor_id"].iloc[0]
    pages = [
        *({"view": view, **parameters} for view, parameters in ADDRESSES.items()),
        {"view": "class", "value": wide, "methods": ",".join(METHODS)},
        {"view": "class", "value": neighbors[neighbors["neighbor_index"] == LONG]["class_id"].iloc[0]},
        {"view": "pair", "value": wide, "with": near},
        {"view": "pair", "value": near, "with": wide},
    ]
    for parameters in pages:
        one.open(**parameters)
        assert one.overflow() <= 0, parameters
    one.page.keyboard.press("/")
    one.page.keyboard.type("w")
    assert one.overflow() <= 0


def test_light_and_dark(visit):
    shades = {}
    for scheme in ("light", "dark"):
        one = visit(color_scheme=scheme)
        page = one.open("class", "10")
        brightness = "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)[0]"
        shades[scheme] = page.evaluate(brightness)
        page.get_by_label("Dark colors" if scheme == "light" else "Light colors").click()
        shades[f"{scheme} turned"] = page.evaluate(brightness)
    assert shades["light"] == shades["dark turned"] > 200
    assert shades["dark"] == shades["light turned"] < 60


def test_a_missing_file_of_a_folder_is_named(visit, folder, tmp_path):
    shutil.copytree(folder.with_suffix(""), tmp_path / "explorer")
    (tmp_path / "explorer/data/neighbors-0.js").unlink()
    one = visit(tmp_path / "explorer/index.html")
    one.page.goto(one.url)
    expect(one.page.locator("#app")).to_contain_text("data/neighbors-0.js cannot be read")
    assert any("neighbors-0.js" in problem or "ERR_FILE_NOT_FOUND" in problem for problem in one.problems)
    one.problems.clear()


def test_without_javascript_the_page_says_so(chromium, page):
    browser = browsing.launch(chromium, "--blink-settings=scriptEnabled=false")
    shown = browser.new_page()
    shown.goto(page.as_uri())
    assert "needs JavaScript" in shown.locator("body").inner_text()
    assert "Loading" not in shown.locator("body").inner_text()
    browser.close()


def test_everything_has_a_name_for_those_who_cannot_see_it(visit):
    one = visit()
    for view, parameters in ADDRESSES.items():
        page = one.open(view, **parameters)
        nameless = page.evaluate(
            """[...document.querySelectorAll("button, a, canvas, select, input, svg")].filter(element =>
                !(element.getAttribute("aria-label") || element.textContent.trim() || element.labels?.length))
                .map(element => element.outerHTML)"""
        )
        assert nameless == []


def test_pictures_are_saved_as_they_are_shown(visit):
    one = visit(device_scale_factor=2)
    for view in ("map", "matrix"):
        page = one.open(view)
        size = page.locator(".plane > canvas").bounding_box()
        with Image.open(one.download(page.get_by_text("Picture as PNG"))) as image:
            assert image.format == "PNG"
            assert image.size == (round(2 * size["width"]), round(2 * size["height"]))
            assert image.convert("RGB").getcolors(1 << 24)[0][0] < image.width * image.height


def place(page, run, class_index, method="welch"):
    """Where a class is on the map, in pixels from the corner of the window."""
    box = page.locator(".plane > canvas").bounding_box()
    top, right, bottom, left = 36, 60, 44, 60  # kept free
    side = min(box["width"] - left - right, box["height"] - top - bottom)
    table = run.table("map")
    row = next(table[(table["method"] == method) & (table["class_index"] == class_index)].itertuples())
    x = box["x"] + left + (box["width"] - left - right - side) / 2 + row.x * side
    y = box["y"] + top + (box["height"] - top - bottom - side) / 2 + (1 - row.y) * side
    return x, y


def test_the_map_shows_each_class_at_its_place(visit, run):
    one = visit()
    page = one.open("map", color="none", method="hidden")
    page.mouse.move(*place(page, run, GOLDFISH, "hidden"))
    expect(page.locator(".tip b")).to_have_text("goldfish")
    page.mouse.click(*place(page, run, GOLDFISH, "hidden"))
    one.wait("class")
    expect(one.heading()).to_have_text("goldfish")
    page.go_back()
    one.wait("map")
    expect(one.choice("Method")).to_have_value("hidden")
    one.choice("Method").select_option("confusion")
    one.wait_for(method="confusion", color="none")
    at = place(page, run, TEAPOT, "confusion")
    # The classes move to their new places for half a second.
    for _ in range(100):
        page.mouse.move(*at)
        page.mouse.move(at[0] + 1, at[1])
        if page.locator(".tip b").all_inner_texts() == ["teapot"]:
            break
    expect(page.locator(".tip b")).to_have_text("teapot")


def test_the_map_by_keyboard(visit, run):
    one = visit()
    page = one.open("map", at=run.run.ids[TEAPOT])
    page.locator(".plane > canvas").focus()
    seen = {run.run.ids[TEAPOT]}
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        seen.add(one.shown()["at"])
    assert len(seen) > 3
    at = one.shown()["at"]
    name = run.run.names[run.run.ids.index(at)]
    expect(page.locator("[aria-live]")).to_contain_text(name)
    for key in "++-0":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    one.wait_for(**{"class": at})
    expect(one.heading()).to_have_text(name)
    page.go_back()
    one.wait_for(map="", at=at)


@pytest.mark.parametrize("coloring", ["branch", "top1", "stable", "none"])
def test_the_map_is_colored(visit, run, coloring):
    one = visit()
    page = one.open("map", color=coloring)
    expect(one.choice("Color")).to_have_value(coloring)
    branches = run.table("wordnet")["branch"].value_counts()
    buttons = page.locator(".branches button")
    if coloring == "branch":
        texts = [f"{name} {number}" for name, number in branches.items()]
        assert sorted(buttons.all_inner_texts()) == sorted(texts)
        before = colors(page.locator(".plane > canvas"))
        buttons.first.click()
        expect(buttons.first).to_have_attribute("aria-pressed", "true")
        assert colors(page.locator(".plane > canvas")) != before
    else:
        expect(page.locator(".plane-view .gradient")).to_have_count(int(coloring != "none"))


def test_the_matrix_by_keyboard(visit, run):
    one = visit()
    page = one.open("matrix", method="hidden")
    table = run.table("map")
    order = table[table["method"] == "hidden"].sort_values("position")["class_index"].tolist()
    page.locator(".plane > canvas").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)  # the first only selects
    row, column = order[1], order[3]
    store = open_store(run.run.path("similarity"))
    value = float(store["hidden"].values[row, column])
    live = page.locator("[aria-live]")
    expect(live).to_contain_text(f"{run.run.names[row]} and {run.run.names[column]}: ≈ ")
    step = json.loads(explored.pieces(run_page(one))["run"])["colors"]["hidden"]
    found = numbers(live.inner_text().split("≈")[1])[0]
    assert abs(found - value) <= (step["high"] - step["low"]) / 508 + 0.5 * 10.0**-3
    page.keyboard.press("Enter")
    one.wait_for(**{"pair": run.run.ids[row], "with": run.run.ids[column]})
    one.wait("pair")
    page.go_back()
    one.wait("matrix")
    page.locator(".plane > canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")  # the diagonal
    one.wait_for(**{"class": run.run.ids[order[0]]})


def run_page(visit):
    return Path(unquote(urlsplit(visit.url).path))


def test_the_matrix_by_mouse(visit, run):
    one = visit()
    page = one.open("matrix", method="welch")
    canvas = page.locator(".plane > canvas")
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    expect(page.locator(".tip")).to_contain_text(" and ")
    text = page.locator("[aria-live]").inner_text()
    page.mouse.click(*middle)
    page.wait_for_url("**#pair=*")
    one.wait("pair")
    names = page.locator("h1").all_inner_texts()
    assert text.startswith(f"{names[0]} and {names[1]}: ")
    page.go_back()
    one.wait("matrix")
    one.choice("Method").select_option("confusion")
    one.wait_for(method="confusion")
    before = colors(canvas)
    page.get_by_label("Zoom in").click(click_count=3)
    assert colors(canvas) != before
