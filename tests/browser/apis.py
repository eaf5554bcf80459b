"""Protected APIs: from an OpenAPI document to a role for an agent and the configuration of its client, with the
mouse, with the keyboard only and without scripts."""

from __future__ import annotations

import json
import pathlib
import tempfile
import urllib.request
from typing import TYPE_CHECKING

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from checks import HOSTILE, check, nothing_runs_on

if TYPE_CHECKING:
    from run import Browser, Local

PARAMETER = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def operation(name: str, summary: str, **members: object) -> dict:
    return {"operationId": name, "summary": summary, **members}


DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Organizations", "version": "1.0"},
    "paths": {
        "/organizations": {
            "get": operation("list_organizations", "List organizations"),
            "post": operation("create_organization", "Create an organization", requestBody={"content": {"application/json": {"schema": {"type": "object"}}}}),
        },
        "/organizations/{id}": {
            "parameters": [PARAMETER],
            "get": operation("get_organization", "Get an organization", description="Returns the name and the storage of an organization."),
            "delete": operation("delete_organization", "Delete an organization"),
        },
        "/organizations/{id}/logo": {
            "parameters": [PARAMETER],
            "put": operation("set_logo", "Set the logo", requestBody={"content": {"image/png": {"schema": {"type": "string"}}}}),
        },
    },
}


def large(count: int) -> dict:
    """A document with `count` operations and long texts."""
    paths = {f"/organizations/a-rather-long-segment-of-a-path/{number}/{{id}}": {
        "parameters": [PARAMETER],
        "get": operation(f"read_something_with_a_rather_long_name_{number:03}", HOSTILE * 4, description="long " * 60),
    } for number in range(count)}
    return {"openapi": "3.0.3", "info": {"title": HOSTILE, "version": "1"}, "paths": paths}


def register(local: Local, name: str, title: str, document: dict) -> None:
    """Registers an API through the API."""
    body = json.dumps({"title": title, "baseUrl": local.api, "openapi": document}).encode()
    headers = {"Authorization": f"Bearer {local.adminToken}", "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{local.api}/iam/v1/apis/{name}", body, headers, method="PUT"))


def an_api_is_registered_from_a_file(local: Local, browser: Browser) -> None:
    browser.open("/apis")
    browser.sign_in()
    check("the page has no APIs yet", "No APIs yet" in browser.text)
    browser.look("apis-empty")
    browser.open("/agent-tools")
    browser.look("agent-tools-empty")
    browser.open("/apis")
    browser.click("Register your first API")
    browser.look("new-api")
    browser.type("Name", "organizations")
    browser.type("Title", "Organizations")
    browser.type("Base URL", local.api)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "openapi.json"
        file.write_text(json.dumps(DOCUMENT, indent=2))
        browser.field("Open a file").send_keys(str(file))
        WebDriverWait(browser.driver, 5).until(lambda _: "list_organizations" in browser.field("Document").get_attribute("value"))
    browser.find("Choose operations").click()
    browser.type("Exclude these operations (optional)", "DELETE /organizations/{id}\nnonsense")
    browser.click("Register API")
    check("a wrong line is reported with its number", "Line 2, nonsense, must be methods, one space and a path" in browser.text)
    check("nothing is lost", "list_organizations" in browser.field("Document").get_attribute("value"))
    check("the wrong field has the focus", browser.driver.switch_to.active_element, browser.field("Exclude these operations (optional)"))
    browser.look("new-api-errors")
    browser.type("Exclude these operations (optional)", "")
    browser.field("Ask if possible").click()
    browser.click("Register API")
    check("the API is registered", browser.heading(), "Organizations")
    check("the page says what agents can use", "API organizations was registered. Agents can now use its 4 tools." in browser.text)
    check("an operation that cannot be a tool is listed", "/paths/~1organizations~1{id}~1logo/put" in browser.text)
    browser.look("api")


def a_role_is_made_from_tools(local: Local, browser: Browser) -> None:
    browser.open("/apis/organizations")
    for name in ("list_organizations", "get_organization"):
        browser.field(name).click()
    browser.click("Create role from selected tools")
    check("the form of a role opens", browser.heading(), "Create role")
    check("the form has the permissions", browser.field("Permissions").get_attribute("value").splitlines(), ["GET /organizations", "GET /organizations/{id}"])
    browser.type("Name", "OrganizationsForAgents")
    browser.click("Create role")
    browser.open("/apis/organizations")
    browser.field("delete_organization").click()
    Select(browser.field("Custom role")).select_by_visible_text("OrganizationsForAgents")
    browser.click("Add selected tools to role")
    check("a role is extended", browser.field("Permissions").get_attribute("value").splitlines(), ["GET /organizations", "GET,DELETE /organizations/{id}"])
    browser.open("/apis/organizations")
    browser.click("Create role from selected tools")
    check("a selection is required", "No tool is selected." in browser.text)
    browser.look("api-nothing-selected")
    browser.find("Select all").click()
    check("all tools are selected", len(browser.driver.find_elements(By.CSS_SELECTOR, "[name=tool]:checked")), 4)


def an_admin_sees_what_an_agent_sees(local: Local, browser: Browser) -> None:
    browser.open("/accounts/new")
    browser.type("Name", "assistant")
    browser.field("OrganizationsForAgents").click()
    browser.click("Create service account")
    account = browser.path
    browser.click("Tools for agents")
    check("the tools of the only API are listed", "Visible tools of Organizations: 2 of 4" in browser.text)
    check("a hidden tool has its missing permission", "DELETE /organizations/{id}" in browser.text and "Not in OrganizationsForAgents" in browser.text)
    browser.look("agent-tools")
    browser.issue_key(account, "laptop")
    check("the page of the key has the configuration of clients", f"{local.mcp}/organizations" in browser.text)
    browser.look("issued-key-with-agents")
    browser.click("I have stored the key")
    browser.click("laptop")
    browser.click("Tools for agents")
    check("the key is chosen", "assistant, Key laptop, ending in" in browser.text)
    browser.type("Account, key or identity", "nobody")
    browser.click("Show tools")
    check("an unknown account is reported at its field", "Account not found." in browser.text)
    browser.look("agent-tools-errors")


def a_client_is_configured(local: Local, browser: Browser) -> None:
    browser.open("/apis/organizations")
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    for client, part in (("Claude Code", "${KEYWARD_KEY}"), ("Cursor", "${env:KEYWARD_KEY}"), ("VS Code", "${input:keyward-key}"), ("Codex", "bearer_token_env_var"), ("MCP Inspector", "--cli")):
        browser.driver.find_element(By.XPATH, f"//label[.='{client}']").click()
        button = browser.find(f"Copy the text for {client}")
        button.click()
        WebDriverWait(browser.driver, 5).until(lambda _, button=button: "Copied" in button.text)
        copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
        check(f"the configuration of {client} reads the key from elsewhere", part in copied and f"{local.mcp}/organizations" in copied)


def many_long_and_hostile_tools_are_usable(local: Local, browser: Browser) -> None:
    register(local, "large", HOSTILE, large(230))
    browser.open("/apis")
    browser.look("apis")
    browser.open("/apis/large")
    check("a page lists 100 tools", len(browser.driver.find_elements(By.CSS_SELECTOR, "[name=tool]")), 100)
    nothing_runs_on(browser, browser.path, "the page of an API")
    browser.look("api-large")
    browser.click("Next page")
    browser.click("Next page")
    check("the last page lists the rest", len(browser.driver.find_elements(By.CSS_SELECTOR, "[name=tool]")), 30)
    browser.type("Name, description or path contains", "name_07")
    browser.click("Apply filters")
    check("the filter finds tools", len(browser.driver.find_elements(By.CSS_SELECTOR, "[name=tool]")), 10)
    browser.look("api-filtered")
    browser.open("/agent-tools")
    browser.type("Account, key or identity", "assistant")
    browser.click("Show tools")
    check("all APIs are compared", "Tools by API" in browser.text)
    browser.look("agent-tools-of-apis")
    Select(browser.field("API")).select_by_index(1)
    browser.click("Show tools")
    check("the agent sees nothing of the other API", ": 0 of 230" in browser.text)
    browser.look("agent-tools-large")


def an_api_is_changed_and_deleted(local: Local, browser: Browser) -> None:
    browser.open("/apis/organizations")
    browser.click("Edit API")
    browser.look("edit-api")
    browser.type("Title", "Organizations and teams")
    browser.field("Require").click()
    browser.click("Save changes")
    check("the change is saved", browser.heading(), "Organizations and teams")
    browser.click("Delete API")
    browser.look("delete-api")
    browser.click("Delete API")
    check("the API is deleted", "API organizations was deleted." in browser.text)


def an_api_is_registered_by_keyboard(local: Local, browser: Browser) -> None:
    browser.sign_in_by_keyboard("/apis")
    browser.press("n")
    WebDriverWait(browser.driver, 20).until(lambda _: browser.path == "/new-api")
    browser.press("typed", Keys.TAB, "Typed", Keys.TAB, local.api)
    browser.tab_to("Document")
    browser.press(json.dumps(DOCUMENT))
    browser.enter("Register API")
    check("an API is registered by keyboard", browser.heading(), "Typed")
    browser.tab_to("get_organization")
    browser.press(Keys.SPACE)
    browser.driver.find_element(By.TAG_NAME, "h1").click()
    browser.enter("Create role from selected tools")
    check("a role is drafted by keyboard", browser.field("Permissions").get_attribute("value"), "GET /organizations/{id}")


def an_api_is_registered_without_scripts(local: Local, browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.open("/new-api")
    browser.type("Name", "plain")
    browser.type("Title", "Plain")
    browser.type("Base URL", local.api)
    browser.type("Document", json.dumps(DOCUMENT))
    browser.click("Register API")
    check("an API is registered without scripts", browser.heading(), "Plain")
    browser.field("get_organization").click()
    browser.click("Create role from selected tools")
    check("a role is drafted without scripts", browser.field("Permissions").get_attribute("value"), "GET /organizations/{id}")


STORIES = [
    [
        an_api_is_registered_from_a_file,
        a_role_is_made_from_tools,
        an_admin_sees_what_an_agent_sees,
        a_client_is_configured,
        many_long_and_hostile_tools_are_usable,
        an_api_is_changed_and_deleted,
        an_api_is_registered_without_scripts,
    ],
    [an_api_is_registered_by_keyboard],
]
