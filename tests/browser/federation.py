"""Trusted issuers and federated identities: from a repository's address to a workflow to copy, and the end of
an identity and an issuer, with the mouse, with the keyboard only and without scripts."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from checks import HOSTILE, check, nothing_runs_on

if TYPE_CHECKING:
    from run import Browser, Local


def a_github_workflow_gets_access_without_a_key(local: Local, browser: Browser) -> None:
    browser.open("/issuers")
    browser.sign_in()
    browser.look("issuers-empty")
    account = browser.create_account("deploy")
    browser.click("Issue key")
    browser.click("GitHub Actions")
    check("GitHub is added first", "First, add GitHub as a trusted issuer" in browser.text)
    browser.look("add-identity-without-issuer")
    browser.click("Add trusted issuer")
    check("the form of the issuer is filled in", browser.field("Issuer URL").get_attribute("value"), "https://token.actions.githubusercontent.com")
    browser.look("new-issuer-github")
    browser.click("Add trusted issuer")
    check("the form of the identity follows", browser.heading(), "Let a GitHub Actions workflow use deploy")
    browser.look("add-identity-github")
    browser.type("Name", "deploy workflow")
    browser.type("Repository", "https://github.com/octo-org/octo-repo")
    browser.click("Show commands")
    check("the commands are for the repository", "gh api repos/octo-org/octo-repo --jq '.id, .owner.id'" in browser.text)
    browser.look("add-identity-github-commands")
    browser.type("Repository ID", "octo")
    browser.type("Owner ID", "583231")
    browser.click("Add federated identity")
    check("a wrong ID is reported at its field", "Must be a number." in browser.text)
    check("nothing is lost", browser.field("Name").get_attribute("value"), "deploy workflow")
    check("the wrong field has the focus", browser.driver.switch_to.active_element, browser.field("Repository ID"))
    browser.look("add-identity-github-errors")
    browser.type("Repository ID", "1296269")
    browser.type("Environment (recommended)", "production")
    browser.click("Add federated identity")
    check("the identity is added", browser.heading(), "Federated identity deploy workflow Active")
    browser.look("identity")
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    browser.find("Copy example 1").click()
    WebDriverWait(browser.driver, 5).until(lambda _: "Copied" in browser.text)
    workflow = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    identity = browser.path.rsplit("/", 1)[1]
    for part in (f"audience={account.rsplit('/', 1)[1]}/{identity}", f"{local.api}/iam/v1/token", 'environment: "production"', "::add-mask::"):
        check(f"the copied workflow has {part}", part in workflow)
    browser.open(account)
    browser.look("account-with-identity")
    browser.open(f"{account}/keys/revoke")
    browser.look("revoke-keys-and-identities")
    browser.open(account)
    browser.click("End federated identity deploy workflow")
    browser.look("end-identity")
    browser.click("End identity")
    check("the page says when the identity ended", "was ended at" in browser.text)
    browser.look("account-with-ended-identity")
    browser.click("deploy workflow")
    check("an ended identity keeps its page", browser.heading(), "Federated identity deploy workflow Ended")
    browser.look("identity-ended")


def other_platforms_have_their_own_forms(local: Local, browser: Browser) -> None:
    account = browser.create_account("platforms")
    for platform in ("gitlab", "kubernetes", "aws", "other"):
        browser.open(f"/new-issuer?platform={platform}")
        browser.look(f"new-issuer-{platform}")
    browser.type("Name", "own")
    browser.type("Issuer URL", "https://issuer.example.com")
    browser.click("Add trusted issuer")
    browser.look("issuer")
    for platform in ("gitlab", "kubernetes", "aws", "other"):
        browser.open(f"{account}/identities/new?platform={platform}")
        browser.look(f"add-identity-{platform}")
    browser.type("Name", HOSTILE)
    browser.type("Required claims", f"sub={HOSTILE}\n/{HOSTILE.replace('/', '~1')}=true")
    browser.click("Add federated identity")
    check("a hostile name is only text", HOSTILE in browser.heading())
    nothing_runs_on(browser, browser.path, "the page of an identity")
    browser.look("identity-hostile")


def an_issuer_is_changed_and_deleted(local: Local, browser: Browser) -> None:
    browser.open("/issuers")
    browser.look("issuers")
    browser.click("own")
    browser.click("Edit issuer")
    browser.look("edit-issuer")
    browser.field("Inline JWK set").click()
    browser.type("JWK set", "not a set")
    browser.click("Save changes")
    check("a wrong JWK set is reported at its field", "Must be a JWK set in JSON" in browser.text)
    browser.look("edit-issuer-errors")
    browser.open("/issuers/own")
    browser.click("Delete issuer")
    browser.look("delete-issuer")
    browser.click("Delete issuer")
    check("the issuer is deleted", "Issuer own was deleted." in browser.text)
    browser.open("/accounts")
    browser.click("platforms")
    check("its identities give no access", "Issuer not trusted" in browser.text)
    browser.look("account-with-untrusted-issuer")


def an_identity_is_added_and_ended_by_keyboard(local: Local, browser: Browser) -> None:
    browser.sign_in_by_keyboard("/issuers")
    browser.press("n")
    WebDriverWait(browser.driver, 20).until(lambda _: browser.path == "/new-issuer")
    browser.press("keyboard", Keys.TAB, "https://keyboard.example.com")
    browser.enter("Add trusted issuer")
    check("an issuer is added by keyboard", browser.heading(), "Trusted issuer keyboard")
    browser.enter("Service accounts")
    browser.enter("Create service account")
    browser.press("identity-by-keyboard")
    browser.enter("Create service account")
    browser.enter("Issue key")
    browser.enter("Another platform")
    browser.press("typed", Keys.TAB, "keyboard")
    browser.tab_to("Required claims")
    browser.press("sub=importer")
    browser.enter("Add federated identity")
    check("an identity is added by keyboard", browser.heading(), "Federated identity typed Active")
    browser.tab_to("Copy example 1")
    browser.enter("End identity")
    browser.enter("End identity")
    check("an identity is ended by keyboard", "was ended at" in browser.text)


def a_leaked_token_is_stopped(local: Local, browser: Browser) -> None:
    key = browser.issue_key(browser.create_account("token"), "source")
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:keyward:token-type:key",
        "subject_token": key,
    }
    with urllib.request.urlopen(f"{local.api}/iam/v1/token", urllib.parse.urlencode(form).encode()) as response:
        token = json.load(response)["access_token"]
    check("the token works", local.status(token), 200)
    browser.open("/leaked")
    browser.type("Key or token", f"Authorization: Bearer {token}")
    browser.click("Look up")
    check("a leaked token is recognized", browser.heading(), "This token may be active")
    check("neither the page nor its address contains the token", "kwst_" in browser.driver.page_source + browser.path, False)
    browser.look("leaked-token")
    browser.click("Revoke the key")
    browser.click("Revoke key")
    check("the token ends with its key", local.status(token), 403)


def an_identity_is_added_without_scripts(local: Local, browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.open("/issuers")
    account = browser.create_account("identity-without-scripts")
    browser.click("Issue key")
    browser.click("GitHub Actions")
    browser.type("Repository", "octo-org/octo-repo")
    browser.click("Show commands")
    check("commands are shown without scripts", "gh api repos/octo-org/octo-repo" in browser.text)
    browser.type("Name", "plain")
    browser.type("Repository ID", "1")
    browser.type("Owner ID", "2")
    browser.type("Branch or tag", "main")
    browser.click("Add federated identity")
    check("an identity is added without scripts", browser.heading(), "Federated identity plain Active")
    check("a branch becomes a ref", "refs/heads/main" in browser.driver.find_element(By.CSS_SELECTOR, "[aria-labelledby=accepts]").text)
    browser.open(account)
    browser.click("End federated identity plain")
    browser.click("End identity")
    check("an identity is ended without scripts", "was ended at" in browser.text)


STORIES = [
    [
        a_github_workflow_gets_access_without_a_key,
        other_platforms_have_their_own_forms,
        an_issuer_is_changed_and_deleted,
        a_leaked_token_is_stopped,
        an_identity_is_added_without_scripts,
    ],
    [an_identity_is_added_and_ended_by_keyboard],
]
