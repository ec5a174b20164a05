"""Drives a report of tangram in headless Chromium, without network, as a reader would.

    drive_report.py REPORT.html EXPECTED.json FOLDER

EXPECTED.json: what the stores hold (see tests/report.rs). Screenshots go to FOLDER.
TANGRAM_CHROMIUM names the browser; otherwise it is looked for on the PATH.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Values are kept to 16 bits, and hovering shows four digits.
KEPT = 2.0**-15
SHOWN = 6e-4


def browser():
    named = os.environ.get("TANGRAM_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "no Chromium: install one, or name it by TANGRAM_CHROMIUM"
    return found


def near(found, wanted, tolerance):
    return abs(found - wanted) <= tolerance * max(abs(wanted), 1e-12)


def plot(page, title):
    """The plot of the map whose heading begins with `title`."""
    page.wait_for_function(
        "title => [...document.querySelectorAll('.map')].some(m => !m.hidden && m.querySelector('h3').textContent.startsWith(title))",
        arg=title,
    )
    headings = page.locator(".map h3").all_text_contents()
    index = next(i for i, h in enumerate(headings) if h.startswith(title))
    return page.locator(".map .plot").nth(index)


def values(element):
    return element.evaluate("p => Array.from(p.data[0].customdata)")


def colors(element):
    """As red, green and blue, whether they are texts or, for WebGL, numbers."""
    found = element.evaluate("p => Array.from(p.data[0].marker.color, c => typeof c === 'string' ? c.match(/[0-9]+/g).map(Number) : Array.from(c))")
    return [tuple(color[:3]) for color in found]


def choose(page, which, name):
    chooser = page.locator(f"input[data-chooser={which}]").first
    chooser.click()
    chooser.fill(name)
    chooser.blur()


def column(page, title, k):
    """Texts of a column of the table below a heading."""
    return page.evaluate(
        """([title, k]) => {
            const heading = [...document.querySelectorAll('.tables h3')].find(h => h.textContent === title);
            let table = heading; while (!table.querySelector('table')) table = table.nextElementSibling;
            return [...table.querySelectorAll('tbody tr')].map(row => row.children[k].textContent);
        }""",
        [title, k],
    )


def hover(page, element, voxel):
    """What is shown at a voxel."""
    element.scroll_into_view_if_needed()
    at = element.evaluate(
        """(p, i) => {
            const { xaxis, yaxis } = p._fullLayout, box = p.getBoundingClientRect();
            return [box.left + xaxis._offset + xaxis.l2p(p.data[0].x[i]), box.top + yaxis._offset + yaxis.l2p(p.data[0].y[i])];
        }""",
        voxel,
    )
    page.mouse.move(at[0] - 3, at[1] - 3)
    page.mouse.move(*at)
    text = element.locator(".hoverlayer .hovertext").first
    text.wait_for(timeout=5000)
    # The lines of the text, each an element of its own.
    return text.evaluate("t => [...t.querySelectorAll('tspan.line')].map(l => l.textContent).join('\\n') || t.textContent")


def check(page, expected):
    hostile = expected["hostile"]
    title = page.title()

    # The chooser of genes changes the map; the map holds what the store holds.
    seen = []
    for gene in expected["genes"]:
        choose(page, "gene", gene["name"])
        predicted = plot(page, f"{gene['name']}, predicted")
        found = values(predicted)
        assert len(found) == len(gene["predicted"])
        for value, wanted in zip(found, gene["predicted"]):
            assert near(value, wanted, KEPT), (gene["name"], value, wanted)
        assert found not in seen, "the map did not change"
        seen.append(found)
        # The ends of Viridis, and nothing else where the ends are.
        shades = colors(predicted)
        for value, shade in zip(found, shades):
            assert value != min(found) or shade == (68, 1, 84), (value, shade)
            assert value != max(found) or shade == (253, 231, 37), (value, shade)
        assert len(set(shades)) > 2
        measured = values(plot(page, f"{gene['name']}, measured"))
        assert all(near(v, w, KEPT) for v, w in zip(measured, gene["measured"])), gene["name"]

    # Hovering shows the name of the voxel, as text, and its value.
    gene = expected["genes"][0]
    choose(page, "gene", gene["name"])
    predicted = plot(page, f"{gene['name']}, predicted")
    page.wait_for_function("name => [...document.querySelectorAll('.map h3')].some(h => h.textContent === name + ', predicted')", arg=gene["name"])
    voxel = expected["hover"]
    lines = hover(page, predicted, voxel).split("\n")
    assert lines[0] == expected["voxels"][voxel], lines
    assert near(float(lines[-1]), gene["predicted"][voxel], SHOWN), (lines, gene["predicted"][voxel])

    # A type has its map; so has the deterministic one.
    choose(page, "type", expected["type"]["name"])
    found = values(plot(page, expected["type"]["name"]))
    assert all(near(v, w, KEPT) for v, w in zip(found, expected["type"]["values"]))
    choose(page, "type", "most probable type")
    found = set(colors(plot(page, "most probable type")))
    legend = page.locator(".map .legend i").evaluate_all("all => all.map(i => i.style.backgroundColor.match(/[0-9]+/g).map(Number))")
    assert found == {tuple(color) for color in legend} and len(found) > 1, (found, legend)

    # A hostile name stays text, in the table, in the choosers and in the headings.
    assert hostile in column(page, "Genes", 0)
    choose(page, "gene", hostile)
    plot(page, f"{hostile}, predicted")
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == title and page.evaluate("window.owned === undefined")

    # Tables sort, both ways, and search.
    heads = page.locator(".tables table").first.locator("th button")
    heads.nth(2).click()
    one = [float(v) for v in column(page, "Genes", 2)]
    heads.nth(2).click()
    other = [float(v) for v in column(page, "Genes", 2)]
    assert one == sorted(one) and other == sorted(other, reverse=True) and len(one) > 2, (one, other)
    heads.nth(0).click()
    names = column(page, "Genes", 0)
    assert len(names) == expected["n_genes"] and len(set(names)) == len(names)
    page.locator(".tables .table-tools input").first.fill("onerror")
    assert column(page, "Genes", 0) == [hostile]
    page.locator(".tables .table-tools input").first.fill("")

    # Zooming one map moves the others.
    plots = page.locator(".map .plot")
    choose(page, "gene", gene["name"])
    plot(page, f"{gene['name']}, predicted")
    plots.nth(0).evaluate("async p => { const r = p._fullLayout.xaxis.range; await Plotly.relayout(p, {'xaxis.range': [r[0], (r[0] + r[1]) / 2]}); }")
    page.wait_for_function(
        """() => { const [a, b] = [...document.querySelectorAll('.map .plot')].map(p => p._fullLayout.xaxis.range);
                 return Math.abs(a[1] - b[1]) < 1e-6 * Math.abs(a[1] - a[0]); }"""
    )


def check_tissue(page, expected):
    """The image of the tissue lies under the voxels, where the coordinates say, also after a zoom; the slider shows what is below."""
    width, height = expected["tissue"]
    for zoom in (False, True):
        if zoom:
            page.locator(".map .plot").first.evaluate(
                "async p => { const r = p._fullLayout.xaxis.range; await Plotly.relayout(p, {'xaxis.range': [r[0], (r[0] + r[1]) / 2]}); }"
            )
        found, wanted = page.locator(".map .plot").first.evaluate(
            """(p, [width, height]) => {
                const { xaxis, yaxis } = p._fullLayout, image = p.querySelector('.imagelayer image');
                const at = name => Number(image.getAttribute(name));
                const [left, right] = [0, width].map(v => xaxis._offset + xaxis.l2p(v));
                const [top, bottom] = [0, height].map(v => yaxis._offset + yaxis.l2p(v));
                return [[at('x'), at('y'), at('width'), at('height')], [left, top, right - left, bottom - top]];
            }""",
            [width, height],
        )
        assert found[2] > 0 and all(abs(f - w) < 0.5 for f, w in zip(found, wanted)), (found, wanted)
    page.locator("input[data-chooser=opacity]").fill("0")
    page.wait_for_function("() => [...document.querySelectorAll('.map .plot')].every(p => !p.data || p.data[0].marker.opacity === 0)")


def main():
    report, expected, folder = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        flags = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # Chromium's sandbox does not start for root.
            flags.append("--no-sandbox")
        chromium = playwright.chromium.launch(executable_path=browser(), args=flags)
        for width, height in ((1280, 900), (400, 800)):
            context = chromium.new_context(viewport={"width": width, "height": height}, offline=True)
            page = context.new_page()
            problems = []
            page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda e: problems.append(str(e)))
            page.on("dialog", lambda d: (problems.append("dialog: " + d.message), d.dismiss()))
            page.on("request", lambda r: problems.append(r.url[:200]) if not r.url.startswith(("file:", "data:", "blob:")) else None)
            page.goto(report.resolve().as_uri())
            page.wait_for_selector(".run[data-ready=yes]", timeout=30000)
            page.wait_for_function("() => [...document.querySelectorAll('.map')].every(m => m.hidden || m.querySelector('.plot').data)")
            page.wait_for_timeout(300)
            page.screenshot(path=folder / f"report_{width}.png", full_page=True)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"the page is {wide} pixels wide in a window of {width}"
            if expected and width > 1000:
                (check_tissue if "tissue" in expected else check)(page, expected)
            assert not problems, problems
            context.close()
        chromium.close()
    print("the report works")


main()
