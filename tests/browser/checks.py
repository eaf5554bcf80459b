"""The checks of the story, and their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selenium.webdriver.common.by import By

if TYPE_CHECKING:
    from run import Browser

HOSTILE = "<script>document.title='owned'</script>\"'&" + "W" * 17

passed: list[str] = []
failed: list[str] = []


def check(what: str, actual: object, expected: object = True) -> None:
    """Prints the result of one check. The test continues after a failure."""
    good = actual == expected
    (passed if good else failed).append(what)
    print(f"{'ok    ' if good else 'FAILED'} {what}" + ("" if good else f": {actual!r} instead of {expected!r}"), flush=True)


def nothing_runs_on(browser: Browser, page: str, name: str) -> None:
    """Opens a page that contains HOSTILE."""
    browser.open(page)
    inline = browser.driver.find_elements(By.CSS_SELECTOR, "script:not([src])")
    check(f"nothing runs on {name}", ("owned" == browser.driver.title, len(inline)), (False, 0))
