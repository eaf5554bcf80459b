"""What admins do most, with the data of `cargo dev --demo`: from a number on the overview to a
revoked key, from a log line to a key, from a refused request to its reason, and from used routes
to a smaller role. Also looks at the pages that no other story opens."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from typing import TYPE_CHECKING

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from checks import check

if TYPE_CHECKING:
    from run import Browser, Local

AGENT = "billing-mcp-agent"


def link(browser: Browser, pattern: str) -> str:
    """The accessible name of the first link in the content of the page that matches `pattern`."""
    names = [element.accessible_name for element in browser.driver.find_elements(By.CSS_SELECTOR, "main a")]
    return next(name for name in names if re.search(pattern, name))


def account(browser: Browser, name: str) -> str:
    """Opens the page of an account, and returns its path."""
    browser.open("/accounts")
    browser.click(name)
    return browser.path


def search(browser: Browser, text: str) -> None:
    browser.press("/")
    browser.leaving(lambda: browser.press(text, Keys.ENTER))


def from_the_overview_to_a_revoked_key_by_keyboard(_: Local, browser: Browser) -> None:
    browser.sign_in_by_keyboard("/")
    browser.look("demo-overview")
    browser.enter(link(browser, "expire in 7 days"))
    check("a tile opens its list", browser.heading(), "Keys and identities that expire soon")
    browser.look("demo-attention")
    browser.enter(link(browser, "^ci runner"))
    check("a line leads to the page of its key", browser.heading(), "Key ci runner Active")
    browser.look("demo-key")
    browser.enter("Revoke key")
    check("the page says what stops", "Programs that use the key will be refused" in browser.text)
    browser.look("demo-revoke-key")
    browser.enter("Revoke key")
    check("the key is revoked", "Key ci runner was revoked at" in browser.text)


def a_search_finds_accounts_and_keys(local: Local, browser: Browser) -> None:
    browser.open("/")
    search(browser, "mcp")
    check("a part of a name finds the account", link(browser, "mcp"), AGENT)
    browser.look("search")
    search(browser, "no such thing")
    browser.look("search-without-a-match")
    browser.issue_key(account(browser, "uptime-monitor"), "logged")
    local.status(browser.keys[-1])
    time.sleep(0.5)
    key = re.findall(r"key_[0-9A-Za-z]{16}", (local.folder / "log.jsonl").read_text())[-1]
    browser.open("/roles")
    search(browser, key)
    if not browser.path.endswith(key):
        browser.leaving(browser.driver.find_element(By.CSS_SELECTOR, f"main a[href$='{key}']").click)
    check("the ID of a key in a log line leads to its page in two steps", browser.path.endswith(key))


def a_refused_request_is_explained(_: Local, browser: Browser) -> None:
    account(browser, AGENT)
    browser.click("evaluation runs")
    refusals = browser.driver.find_element(By.CSS_SELECTOR, "[aria-labelledby=refusals]")
    check("the key's page names the missing permission", "Missing permission: POST /invoices/" in refusals.text)
    browser.leaving(refusals.find_element(By.LINK_TEXT, "Check access").click)
    if "Roles that would permit this request" not in browser.text:
        browser.click("Check access")
    check("the check needs no input and explains the refusal", "Refused: POST /invoices/" in browser.text)
    check("the check names roles that would permit the request", "Roles that would permit this request" in browser.text)
    browser.look("demo-explain")


def a_role_is_narrowed_to_its_used_routes(_: Local, browser: Browser) -> None:
    browser.open("/review")
    browser.look("review")
    started = time.monotonic()
    browser.click(link(browser, r"^[1-9]\d* of \d+ permissions unused"))
    browser.look("role-usage")
    name = browser.heading().removeprefix("Role usage of ")
    browser.click("Draft a smaller role")
    browser.look("smaller-role")
    browser.type("Name", "Smaller")
    browser.click("Create role")
    check("the change of the role is reviewed", "Removed permissions" in browser.text)
    browser.look("review-smaller-role")
    browser.click(link_or_button(browser, "role Smaller"))
    check(f"{name} has the smaller role", (browser.heading(), "Smaller" in browser.text), (f"{name} Enabled", True))
    check("this takes less than a minute, with all checks", time.monotonic() - started < 60)


def link_or_button(browser: Browser, part: str) -> str:
    """The accessible name of the first link or button in the content whose name contains `part`."""
    controls = browser.driver.find_elements(By.CSS_SELECTOR, "main button, main a.button")
    return next(control.accessible_name for control in controls if part in control.accessible_name)


def several_accounts_are_disabled(_: Local, browser: Browser) -> None:
    browser.open("/accounts")
    browser.look("accounts")
    for name in ("churn-model", "uptime-monitor"):
        browser.field(name).click()
    browser.click("Disable selected")
    check("the page asks first", browser.heading(), "Disable 2 accounts?")
    browser.look("change-accounts")
    browser.click("Disable 2 accounts")
    browser.look("changed-accounts")
    account(browser, "uptime-monitor")
    check("the accounts are disabled", browser.heading(), "uptime-monitor Disabled")


def lists_are_exported(local: Local, browser: Browser) -> None:
    cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in browser.driver.get_cookies())
    for page, expected in (("/accounts", AGENT), ("/history", "key.issued"), ("/review", AGENT)):
        browser.open(page)
        for summary in browser.driver.find_elements(By.CSS_SELECTOR, "main summary"):
            summary.click()
        addresses = [element.get_attribute("href") for element in browser.driver.find_elements(By.CSS_SELECTOR, "main a[href*='/export?']")]
        check(f"{page} can be exported as CSV and JSON", {re.search("format=(csv|json)", address)[1] for address in addresses}, {"csv", "json"})
        for address in addresses[:2]:
            with urllib.request.urlopen(urllib.request.Request(address, headers={"Cookie": cookies})) as response:
                text = response.read().decode()
            check(f"the export of {page} has the data and no key", (expected in text, "kwsa_" in text), (True, False))
            if "format=json" in address:
                json.loads(text)


def leaving_a_new_key_asks(_: Local, browser: Browser) -> None:
    asks = "const leaving = new Event('beforeunload', { cancelable: true }); dispatchEvent(leaving); return leaving.defaultPrevented;"
    browser.issue_key(account(browser, "crm-sync"), "asking")
    check("leaving a new key asks first", browser.driver.execute_script(asks))
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    browser.find("Copy").click()
    time.sleep(0.5)
    check("leaving a copied key does not ask", browser.driver.execute_script(asks), False)
    browser.look("demo-issued-key")


def the_other_pages(_: Local, browser: Browser) -> None:
    path = account(browser, AGENT)
    browser.look("demo-account")
    for below in ("history", "disable", "delete", "edit", "keys/revoke", "keys/retired", "role?to=ServiceAccountReader"):
        browser.open(f"{path}/{below}")
        browser.look(f"demo-account-{re.sub(r'[^a-z]+', '-', below)}")
    browser.open("/history")
    browser.look("demo-history")


STORIES = [[
    from_the_overview_to_a_revoked_key_by_keyboard, a_search_finds_accounts_and_keys, a_refused_request_is_explained,
    a_role_is_narrowed_to_its_used_routes, several_accounts_are_disabled, lists_are_exported, leaving_a_new_key_asks, the_other_pages,
]]
