"""The page with a new key: its examples, and the question before the page is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from checks import check

if TYPE_CHECKING:
    from run import Browser, Local

# Whether leaving the page asks first. A browser shows no question to a driver.
ASKS = "const leaving = new Event('beforeunload', { cancelable: true }); dispatchEvent(leaving); return leaving.defaultPrevented"


def asks(browser: Browser) -> bool:
    return browser.driver.execute_script(ASKS)


def a_key_that_was_not_copied_asks_before_it_is_left(local: Local, browser: Browser) -> None:
    browser.open("/accounts/new")
    browser.sign_in()
    account = browser.create_account("examples")
    check("other pages do not ask", asks(browser), False)
    browser.issue_key(account, "kept")
    check("leaving without copying the key asks first", asks(browser), True)
    browser.find("Copy the command that reads the key").click()
    check("copying another text does not change that", asks(browser), True)
    browser.find("Copy").click()
    WebDriverWait(browser.driver, 5).until(lambda _: not asks(browser))
    check("the copied key can be left", asks(browser), False)
    browser.issue_key(account, "selected")
    browser.driver.execute_script("getSelection().selectAllChildren(document.getElementById('secret'))")
    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys("c").key_up(Keys.CONTROL).perform()
    check("a key that is selected and copied can be left", asks(browser), False)
    browser.issue_key(account, "stored")
    browser.click("I have stored the key")
    check("a key that is said to be stored can be left", browser.heading(), "examples Enabled")


def examples_are_chosen_by_keyboard(local: Local, browser: Browser) -> None:
    browser.open("/accounts/new")
    browser.issue_key(browser.create_account("tabs"), "k")
    browser.look("issued-key-tabs")
    browser.field("curl").send_keys(Keys.ARROW_RIGHT)
    check("an arrow key selects the next example", "whoami.py" in browser.text and "whoami.mjs" not in browser.text)
    for tab in ("Node.js", "Go", "Rust", "GitHub Actions", "AWS Secrets Manager"):
        browser.press(Keys.ARROW_RIGHT)
        check(f"an arrow key selects {tab}", browser.driver.switch_to.active_element, browser.field(tab))
        browser.look(f"issued-key-{tab.split()[0].lower().replace('.', '')}")


STORIES = [[a_key_that_was_not_copied_asks_before_it_is_left, examples_are_chosen_by_keyboard]]
