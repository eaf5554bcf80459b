"""What all pages have in common: the menu, the warning before a session ends, and shortcuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from checks import check

if TYPE_CHECKING:
    from run import Browser, Local

# Moves the clock of each new document to 3 minutes before the end of its session.
NEAR_THE_END = "const now = Date.now; let ahead = 0; Date.now = () => now() + ahead; addEventListener('ahead', ({ detail }) => { ahead = detail; });"


def wait(browser: Browser, condition) -> None:
    WebDriverWait(browser.driver, 20).until(lambda _: condition())


def warning(browser: Browser) -> str:
    """The text of the notice about the session."""
    return browser.driver.find_element(By.CSS_SELECTOR, ".ending").text


def pass_time(browser: Browser, minutes: int) -> None:
    """Moves the page's clock."""
    browser.driver.execute_script(
        "dispatchEvent(new CustomEvent('ahead', { detail: arguments[0] })); dispatchEvent(new Event('visibilitychange'))", minutes * 60_000
    )


def sign_in_in_a_new_tab(browser: Browser, link: str) -> None:
    """Follows a link that opens the sign-in page in a new tab, and signs in there."""
    here = browser.driver.current_window_handle
    browser.find(link).click()
    wait(browser, lambda: len(browser.driver.window_handles) == 2)
    browser.driver.switch_to.window(next(tab for tab in browser.driver.window_handles if tab != here))
    browser.type("Password", browser.local.adminPassword)
    browser.find("Sign in").click()
    wait(browser, lambda: len(browser.driver.window_handles) == 1)
    browser.driver.switch_to.window(here)


def a_form_survives_the_end_of_the_session(local: Local, browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NEAR_THE_END})
    browser.open("/accounts/new")
    browser.sign_in()
    check("a new session has no warning", warning(browser), "")
    browser.type("Name", "renewed")
    old = browser.driver.find_element(By.CSS_SELECTOR, "main [name=csrf]").get_attribute("value")
    pass_time(browser, 55)
    check("a warning is shown before the session ends", "Your session ends in less than 5 minutes." in warning(browser))
    browser.look("session-warning")
    pass_time(browser, 60)
    check("the end of the session is shown", "Your session has ended." in warning(browser))
    pass_time(browser, 57)
    sign_in_in_a_new_tab(browser, "Stay signed in")
    new = browser.driver.find_element(By.CSS_SELECTOR, "main [name=csrf]").get_attribute("value")
    check("the form belongs to the new session", new != old)
    # The page of the new session has its own clock.
    pass_time(browser, 0)
    check("the warning has gone", warning(browser), "")
    browser.click("Create service account")
    check("the form is sent as it was filled in", browser.heading(), "renewed Enabled")
    browser.open("/signed-in")
    browser.look("signed-in")
    check("only a tab that a link opened can be closed", [line for line in browser.errors() if "Scripts may close only" not in line], [])


def an_expired_form_is_sent_after_signing_in(local: Local, browser: Browser) -> None:
    from run import session_name

    browser.open("/accounts/new")
    browser.type("Name", "resent")
    browser.driver.delete_cookie(session_name(local))
    browser.click("Create service account")
    check("the console says that the session has expired", browser.heading(), "Your session has expired")
    check("the page shows the input", "resent" in browser.text)
    browser.look("session-ended")
    sign_in_in_a_new_tab(browser, "Sign in again in a new tab")
    check("the page knows of the new session", "You are signed in again as admin@keyward.local." in browser.text)
    browser.click("Resend form")
    check("the form is sent without another question", browser.heading(), "resent Enabled")

    # Without scripts, the form keeps the token of the earlier session.
    browser.open("/accounts/new")
    browser.type("Name", "confirmed")
    browser.driver.execute_script("document.querySelector('main [name=csrf]').value = ''")
    browser.click("Create service account")
    check("the console asks for confirmation", browser.heading(), "This page was opened before you signed in again")
    check("the page shows what it sends", "confirmed" in browser.text)
    browser.look("form-of-an-earlier-session")
    browser.click("Resend form")
    check("the form is then sent", browser.heading(), "confirmed Enabled")


def shortcuts_open_pages(_: Local, browser: Browser) -> None:
    browser.open("/")
    browser.press("/")
    check("/ goes to the search box", browser.driver.switch_to.active_element, browser.field("Search accounts, keys and identities"))
    browser.open("/")
    browser.leaving(lambda: browser.press("?"))
    check("? opens the list of shortcuts", browser.heading(), "Keyboard shortcuts")
    browser.look("shortcuts")
    for keys, path in (("gr", "/roles"), ("gh", "/history"), ("gc", "/explain"), ("go", "/"), ("ga", "/accounts")):
        browser.leaving(lambda: browser.press(*keys))
        check(f"{keys} opens {path}", browser.path, path)
    browser.leaving(lambda: browser.press("n"))
    check("n opens the form for a new account", browser.path, "/accounts/new")
    browser.press("g", "r", "?", "n")
    check("a field gets the characters", browser.field("Name").get_attribute("value"), "gr?n")
    browser.open("/shortcuts")
    browser.click("Turn shortcuts off")
    browser.look("shortcuts-off")
    browser.press("g", "r")
    browser.press(Keys.TAB)
    check("shortcuts can be turned off", browser.path, "/shortcuts")
    browser.click("Turn shortcuts on")
    browser.leaving(lambda: browser.press("g", "r"))
    check("shortcuts can be turned on again", browser.path, "/roles")


def a_phone_has_a_menu(_: Local, browser: Browser) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.open("/history")
    nav = browser.driver.find_element(By.CSS_SELECTOR, "header nav")
    check("the menu is closed", nav.is_displayed(), False)
    browser.tab_to("Menu")
    browser.press(Keys.ENTER)
    check("the menu opens by keyboard", nav.is_displayed())
    check("the current page is marked", nav.find_element(By.CSS_SELECTOR, "[aria-current=page]").text, "History")
    check("axe finds no violation in the menu", browser.violations(), [])
    browser.press(Keys.ESCAPE)
    check("Escape closes the menu", nav.is_displayed(), False)
    browser.find("Menu").click()
    browser.click("Roles")
    check("the menu leads to another page", browser.path, "/roles")
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


STORIES = [[a_form_survives_the_end_of_the_session, an_expired_form_is_sent_after_signing_in, shortcuts_open_pages, a_phone_has_a_menu]]
