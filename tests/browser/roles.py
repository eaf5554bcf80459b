"""The part of the story about roles and their decisions, the history of all accounts,
and the keys that need attention."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from checks import HOSTILE, check, nothing_runs_on

if TYPE_CHECKING:
    from run import Browser, Local


def roles_by_mouse(local: Local, browser: Browser) -> None:
    browser.open("/roles")
    browser.sign_in()
    check("signing in returns to the roles", (browser.path, browser.heading()), ("/roles", "Roles"))
    browser.find("Requests of: Create an organization").click()
    check("an operation shows its requests", "POST /organizations Writer, Admin" in browser.text)
    browser.look("roles-empty")
    browser.click("Create role")
    browser.look("create-role")
    browser.type("Name", "ReportsReader")
    browser.type("Description (optional)", "Reads reports")
    browser.type("Permissions", "GET,HEAD /reports/{id}\n\nANY /notes/{all+}\nnonsense")
    browser.click("Preview matches")
    check("a wrong line is reported with its number", "Line 4, nonsense, must be methods, one space and a path" in browser.text)
    explained = "GET and HEAD on /reports/{id}: for example GET /reports/42; not /reports/42/notes."
    check("the preview says what matches", explained in browser.text)
    check("the form keeps the input", browser.field("Name").get_attribute("value"), "ReportsReader")
    check("the field with the error has the focus", browser.driver.switch_to.active_element, browser.field("Permissions"))
    browser.look("create-role-preview")
    browser.type("Permissions", "GET,HEAD /reports/{id}\nANY /notes/{all+}")
    browser.click("Create role")
    check("the role is created", browser.heading(), "ReportsReader Custom")
    check("the page shows what the role matches", explained in browser.text)
    browser.look("role")
    browser.click("Edit role")
    browser.look("edit-role")
    browser.click("Cancel")
    browser.click("Roles")
    browser.look("roles")


def a_new_role_of_an_account_must_be_confirmed(local: Local, browser: Browser) -> None:
    browser.open("/accounts/new")
    browser.type("Name", "reporting")
    check("the chosen role shows its permissions", "GET,HEAD,OPTIONS /teams" in browser.text)
    check("other roles do not show their permissions", "ANY /notes/{all+}" in browser.text, False)
    browser.field("ReportsReader").click()
    browser.find("Permissions of ReportsReader").click()
    check("another role shows its permissions on demand", "ANY /notes/{all+}" in browser.text)
    browser.look("create-account-with-custom-role")
    browser.click("Create service account")
    account = browser.path
    key = browser.issue_key(account, "first")
    check("the role does not permit a request for an organization", local.status(key), 403)
    browser.open(account)
    browser.click("Edit")
    browser.field("ServiceAccountReader").click()
    browser.click("Save changes")
    check("a change of the role needs confirmation", browser.heading(), "Change the role of reporting to ServiceAccountReader?")
    shown = [[e.text for e in browser.driver.find_elements(By.CSS_SELECTOR, f"ul.{kind} li")] for kind in ("added", "removed")]
    added = ["+ GET,HEAD,OPTIONS " + path for path in ("/organizations", "/organizations/{proxy+}", "/teams", "/teams/{proxy+}")]
    check("added and removed permissions are shown", shown, [added, ["− ANY /notes/{all+}", "− GET,HEAD /reports/{id}"]])
    browser.look("change-role")
    check("the preview saves nothing", local.status(key), 403)
    browser.click("Back to editing")
    check("the form keeps the choice", browser.field("ServiceAccountReader").is_selected())
    browser.click("Save changes")
    browser.click("Save with role ServiceAccountReader")
    check("the saved role takes effect", local.status(key), 200)


def access_is_checked(local: Local, browser: Browser) -> None:
    browser.open("/accounts")
    browser.click("reporting")
    browser.click("Check access")
    browser.look("explain")
    browser.type("Path or URL", "/organizations/42")
    browser.click("Check access")
    check("an allowed request names its permission", "permits the request with GET,HEAD,OPTIONS /organizations/{proxy+}." in browser.text)
    browser.look("explain-yes")
    browser.type("Path or URL", "/reports/42")
    browser.click("Check access")
    check("a refused request names the reason", "Refused: GET /reports/42" in browser.text and "has no matching permission" in browser.text)
    browser.look("explain-no")
    browser.type("Account or key", "unknown")
    browser.click("Check access")
    check("an unknown account is reported next to its field", "Account not found. Enter its name or ID, or the ID of a key." in browser.text)
    browser.look("explain-refused")


def a_role_in_use_is_not_deleted(local: Local, browser: Browser) -> None:
    browser.open("/accounts")
    browser.click("reporting")
    browser.click("Issue key")
    browser.click("Issue a key")
    browser.type("Name", "narrow")
    browser.find("Restrict this key").click()
    browser.field("ReportsReader").click()
    browser.look("issue-narrow-key")
    browser.click("Issue key")
    browser.open("/roles/ReportsReader")
    browser.click("Delete role")
    check("a role in use cannot be deleted", "The role is in use, so it cannot be deleted." in browser.text)
    check("the page lists the key with the role", "Key narrow" in browser.text)
    browser.look("delete-role-in-use")
    browser.click("reporting")
    check("the page links to an account with the role", browser.heading(), "reporting Enabled")
    browser.click("Revoke key narrow")
    browser.click("Revoke key")
    browser.open("/roles/ReportsReader/delete")
    browser.look("delete-role")
    browser.click("Delete role")
    check("the unused role is deleted", "Role ReportsReader was deleted." in browser.text)


def the_history_of_all_accounts(local: Local, browser: Browser) -> None:
    browser.open("/accounts")
    browser.click("History")
    check("the history of all accounts is shown", browser.heading(), "History")
    for action in ("created the role ReportsReader", "deleted the role ReportsReader", "created the account reporting"):
        check(f"the history says who {action}", f"admin@keyward.local {action}" in browser.text)
    browser.look("all-history")
    Select(browser.field("Event")).select_by_visible_text("Key revoked")
    browser.click("Apply filters")
    lines = browser.driver.find_elements(By.CSS_SELECTOR, ".timeline li")
    check("a filter shows only matching events", {"revoked the key" in line.text for line in lines}, {True})
    browser.look("all-history-filtered")
    browser.click("reporting")
    check("the history links to an account", browser.heading(), "History of reporting")


def what_needs_attention(local: Local, browser: Browser) -> None:
    browser.issue_key(browser.create_account("short-lived"), "expires soon", days=7)
    browser.open("/accounts")
    browser.click("reporting")
    browser.click("Disable account")
    browser.click("Disable account")
    browser.open("/")
    rows = [row.text for row in browser.driver.find_elements(By.CSS_SELECTOR, "main tbody tr")]
    for account, reason in (("short-lived", "Expires soon"), ("reporting", "Account disabled")):
        check(f"the overview shows what needs attention: {account}", any(account in row and reason in row for row in rows))
    browser.look("overview-attention")
    browser.open("/attention")
    check("everything that needs attention has a page", ("short-lived" in browser.text, "Account disabled" in browser.text), (True, True))
    browser.look("attention")


def hostile_roles_are_escaped(local: Local, browser: Browser) -> None:
    browser.open("/new-role")
    browser.type("Name", "Hostile")
    browser.type("Description (optional)", HOSTILE)
    browser.type("Permissions", "</textarea><script>document.title='owned'</script>")
    browser.click("Preview matches")
    check("a script among permissions is text", "owned" == browser.driver.title, False)
    browser.look("create-role-refused")
    browser.type("Permissions", "GET /it's&!" + "W" * 200)
    browser.click("Create role")
    for page in ("/roles/Hostile", "/roles", "/roles/Hostile/edit", "/roles/Hostile/delete", "/accounts/new", "/history"):
        nothing_runs_on(browser, page, page)
    for page, name in (("/roles", "roles-hostile"), ("/roles/Hostile", "role-hostile"), ("/history", "all-history-hostile")):
        browser.open(page)
        browser.look(name)


def roles_by_keyboard(local: Local, browser: Browser) -> None:
    browser.sign_in_by_keyboard("/new-role")
    browser.press("ByKeyboard")
    browser.tab_to("Permissions")
    browser.press("GET /a/{b}")
    browser.enter("Preview matches")
    check("permissions are previewed by keyboard", "for example GET /a/42; not /a/42/notes" in browser.text)
    browser.enter("Create role")
    check("a role is created by keyboard", browser.heading(), "ByKeyboard Custom")
    browser.enter("Check access")
    browser.tab_to("Path or URL")
    browser.press("/a/1")
    browser.enter("Check access")
    check("access is checked by keyboard", "Allowed: GET /a/1" in browser.text)
    browser.open("/roles/ByKeyboard")
    browser.enter("Edit role")
    browser.tab_to("Permissions")
    browser.press(Keys.CONTROL + Keys.END + Keys.NULL)
    browser.press(Keys.ENTER + "POST /a")
    browser.enter("Save changes")
    check("added permissions are shown before the role is saved", "+ POST /a" in browser.text)
    browser.look("review-role")
    browser.enter("Save changes")
    check("the role is replaced by keyboard", "POST on /a: for example POST /a" in browser.text)
    browser.enter("Delete role")
    browser.enter("Delete role")
    check("the role is deleted by keyboard", "Role ByKeyboard was deleted." in browser.text)


OPENAPI = """openapi: 3.1.0
paths:
  /invoices:
    get: { tags: [Invoices], summary: List invoices }
    post: { tags: [Invoices], summary: Create an invoice }
  /invoices/{id}:
    get: { tags: [Invoices], summary: Show an invoice }
  /customers/{id}:
    get: { tags: [Customers], summary: Show a customer }
  /traced: { trace: {} }
"""


def permissions_are_imported(local: Local, browser: Browser) -> None:
    browser.open("/new-role")
    browser.sign_in()
    browser.type("Name", "Invoices")
    browser.click("Import from OpenAPI")
    browser.look("import")
    browser.type("Document", "openapi: 3.1.0\npaths: [")
    browser.click("List operations")
    check("a malformed document is reported with a position", "is not valid YAML: line" in browser.text)
    check("the field has the focus", browser.driver.switch_to.active_element, browser.field("Document"))
    browser.look("import-refused")
    browser.type("Document", OPENAPI)
    browser.click("List operations")
    check("operations are listed by tag", ("Invoices (3)" in browser.text, "Customers (1)" in browser.text), (True, True))
    check("operations that cannot be imported are listed", "/paths/~1traced/trace" in browser.text)
    browser.look("import-operations")
    browser.type("Filter", "customer")
    check("typing filters the operations", (browser.find("Customers (1)").is_displayed(), "Invoices (3)" in browser.text), (True, False))
    browser.field("Filter").send_keys(Keys.BACKSPACE * len("customer"))
    browser.field("All operations of this group").click()
    browser.field("GET /customers/{id} Show a customer").click()
    browser.click("Add selected operations")
    expected = "GET /customers/{id}\nGET,POST /invoices\nGET /invoices/{id}"
    check("the permissions are in the form", browser.field("Permissions").get_attribute("value"), expected)
    check("the form keeps the name", browser.field("Name").get_attribute("value"), "Invoices")
    browser.click("Create role")
    check("the role is created", browser.heading(), "Invoices Custom")


def roles_without_scripts(local: Local, browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.open("/new-role")
    browser.sign_in()
    browser.type("Name", "Plain")
    browser.type("Permissions", "GET /a/{b}")
    browser.click("Preview matches")
    check("permissions are previewed without scripts", "for example GET /a/42; not /a/42/notes" in browser.text)
    browser.click("Create role")
    check("a role is created without scripts", browser.heading(), "Plain Custom")


def a_role_is_found_by_keyboard(local: Local, browser: Browser) -> None:
    for number in range(25):
        body = {"description": f"Reads the reports of shop {number:02}", "permissions": [f"GET /shops/{number:02}/reports/{{id}}"]}
        request = urllib.request.Request(f"{local.api}/iam/v1/roles/Shop{number:02}Reader", json.dumps(body).encode(), method="PUT")
        request.headers |= {"Authorization": f"Bearer {local.adminToken}", "Content-type": "application/json"}
        urllib.request.urlopen(request).close()
    browser.sign_in_by_keyboard("/accounts/new")
    browser.press("shop-reports")
    browser.look("create-account-many-roles")
    browser.tab_to("Find a role")
    browser.press("shop 03")
    check("typing filters the listed roles", (browser.field("Shop03Reader").is_displayed(), browser.text.count("Reads the reports of shop")), (True, 1))
    browser.press(Keys.BACKSPACE * 7)
    browser.tab_to("Find a role")
    browser.press("Bakery")
    browser.enter("Find roles")
    check("a filter without a match is reported", "No role matches “Bakery”." in browser.text)
    check("the field has the focus", browser.driver.switch_to.active_element, browser.field("Find a role"))
    browser.look("create-account-no-such-role")
    browser.press(Keys.END + Keys.BACKSPACE * len("Bakery") + "of shop 24")
    browser.enter("Find roles")
    check("the role that matches is listed", "1 role matches “of shop 24”." in browser.text)
    check("the role that matches has the focus", browser.driver.switch_to.active_element, browser.field("Shop24Reader"))
    browser.press(Keys.SPACE)
    check("the role is selected", browser.field("Shop24Reader").is_selected())
    browser.tab_to("Permissions of Shop24Reader")
    browser.press(Keys.ENTER)
    check("the role shows its permissions on demand", "GET /shops/24/reports/{id}" in browser.text)
    browser.look("create-account-another-role")
    browser.tab_to("Owner (optional)")
    browser.leaving(lambda: browser.press("the shops", Keys.ENTER))
    check("Enter creates the account", browser.heading(), "shop-reports Enabled")
    check("the account has the entered values", ("Shop24Reader" in browser.text, "the shops" in browser.text), (True, True))


STORIES = [
    [roles_by_mouse, a_new_role_of_an_account_must_be_confirmed, access_is_checked, a_role_in_use_is_not_deleted,
     the_history_of_all_accounts, what_needs_attention, hostile_roles_are_escaped],
    [roles_by_keyboard],
    [permissions_are_imported],
    [roles_without_scripts],
    [a_role_is_found_by_keyboard],
]
