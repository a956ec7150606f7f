"""A visit to the explorer page in headless Chromium, without a network."""

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from playwright.sync_api import Browser, BrowserType, Locator, Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWS = {  # what is there once a view is shown
    "class": ".class-view .method li",
    "pair": ".pair-view .numbers tbody tr",
    "map": ".plane > canvas",
    "matrix": ".plane > canvas",
    "verdict": ".verdict .facts",
}


@contextmanager
def chromium() -> Iterator[BrowserType]:
    """The installed Chromium, to be launched."""
    with sync_playwright() as playwright:
        yield playwright.chromium


def launch(chromium: BrowserType, *arguments: str) -> Browser:
    """Launch it."""
    return chromium.launch(executable_path=shutil.which("chromium"), args=[*ARGUMENTS, *arguments])


def address(view: str, value: str = "", **parameters: str) -> str:
    """The part of an address that says what is shown."""
    return f"#{urlencode({view: value, **parameters})}"


class Visit:
    """A page in a window of its own.

    Attributes
    ----------
    page : Page
        Playwright's page.
    problems : list of str
        Errors, warnings and requests that should not have been.
    """

    def __init__(self, browser: Browser, file: Path, width: int = 1400, height: int = 900, **options: Any) -> None:
        self.url = file.as_uri()
        self.context = browser.new_context(offline=True, viewport={"width": width, "height": height}, **options)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.context.on("request", lambda r: self._note(not r.url.startswith(("file:", "data:")), r.url))

    def _note(self, is_problem: bool, text: str) -> None:
        if is_problem:
            self.problems.append(text)

    def open(self, view: str = "class", value: str = "", **parameters: str) -> Page:
        """Open the page at an address, and wait until the view is shown."""
        self.page.goto("about:blank")
        self.page.goto(self.url + address(view, value, **parameters))
        self.wait(view)
        return self.page

    def wait(self, view: str) -> None:
        """Wait until a view is shown, with all that it loads."""
        expect(self.page.locator(VIEWS[view]).first).to_be_visible()
        expect(self.page.get_by_text("Loading …")).to_have_count(0)

    def shown(self) -> dict[str, str]:
        """What the address says is shown."""
        fragment = urlsplit(self.page.url).fragment
        return {name: values[0] for name, values in parse_qs(fragment, keep_blank_values=True).items()}

    def wait_for(self, **parameters: str) -> None:
        """Wait for an address with these parameters."""
        self.page.wait_for_url(lambda url: self._has(url, parameters))

    @staticmethod
    def _has(url: str, parameters: dict[str, str]) -> bool:
        found = parse_qs(urlsplit(url).fragment, keep_blank_values=True)
        return all(found.get(name) == [value] for name, value in parameters.items())

    def heading(self) -> Locator:
        """The name of the class that is shown, or of the first of a pair."""
        return self.page.locator("h1").first

    def column(self, label: str) -> Locator:
        """The list of neighbors under a method."""
        return self.page.get_by_role("region", name=label, exact=True)

    def choice(self, label: str) -> Locator:
        """The element that chooses among several things."""
        return self.page.locator(f"label.select:has-text('{label}') select")

    def download(self, button: Locator) -> Path:
        """Click a button that saves a file; the file."""
        with self.page.expect_download() as found:
            button.click()
        return Path(found.value.path())

    def table(self, button: Locator) -> list[dict[str, str]]:
        """The rows of a table that a button saves as CSV."""
        with self.download(button).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def close(self) -> None:
        """End the visit: nothing may have gone wrong, and no script of a name may have run."""
        hacked = self.page.evaluate("window.hacked")
        self.context.close()
        assert not self.problems, self.problems
        assert hacked is None
