"""Estimates how long a new user takes from the start-up text to a call with a new key.

The estimate uses the text and the pages themselves. The user reads each page from its
top to the next action, at 238 words a minute (Brysbaert 2019: average silent reading).
Pointing, pressing and typing take the times of the keystroke-level model (Card, Moran
and Newell 1980), with one moment of thought per page. The user does not read navigation,
or code that is only copied."""

import pathlib
import re
import subprocess
import tempfile

from selenium.webdriver.common.by import By

from checks import check

READ_WORD = 60 / 238
THINK, POINT, PRESS, SWITCH_DEVICE, TYPE_CHARACTER = 1.35, 1.1, 0.2, 0.4, 0.28
CLICK = POINT + PRESS
# Selected by a double click. One click switches to the other window.
COPY = CLICK + PRESS + SWITCH_DEVICE + 2 * TYPE_CHARACTER
PASTE = CLICK + SWITCH_DEVICE + 2 * TYPE_CHARACTER
# Of this, the page that asks where the program runs takes about 11 seconds.
LIMIT = 135

TEXT_ABOVE = """
const end = arguments[0], texts = [];
const walk = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!(element === end || end.contains(element)) && end.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING) break;
    if (element.checkVisibility() && !element.closest('nav, code, .hidden, [hidden]')) texts.push(walk.currentNode.data);
}
return texts.join(' ');
"""


class NewUser:
    def __init__(self, browser) -> None:
        self.browser, self.seconds = browser, 0.0

    def read(self, text: str) -> None:
        self.seconds += THINK + READ_WORD * len(re.findall(r"\w[\w'’.:/@-]*", text))

    def read_to(self, name: str) -> None:
        """Reads the page from its top to this link or button."""
        self.read(self.browser.driver.execute_script(TEXT_ABOVE, self.browser.find(name)))

    def click(self, name: str) -> None:
        self.seconds += CLICK
        self.browser.click(name)

    def choose(self, name: str) -> None:
        self.seconds += CLICK
        self.browser.field(name).click()

    def type(self, name: str, text: str) -> None:
        self.seconds += CLICK + SWITCH_DEVICE + TYPE_CHARACTER * len(text)
        self.browser.type(name, text)


def a_new_user_soon_calls_with_a_new_key(start, browser) -> None:
    with tempfile.TemporaryDirectory() as folder:
        local = start(pathlib.Path(folder) / "data")
        browser.local = local
        user = NewUser(browser)
        try:
            instructions = local.output().split("\n  API ")[0]
            check("the start-up text says where to go and how to sign in", local.console in instructions and local.adminPassword in instructions)
            user.read(instructions)
            user.seconds += CLICK
            browser.open("/")
            user.read_to("Sign in")
            user.seconds += COPY + PASTE
            browser.type("Password", local.adminPassword)
            user.click("Sign in")
            user.read_to("Create service account")
            user.click("Create service account")
            user.read_to("Create service account")
            user.type("Name", "nightly-batch")
            user.choose("ServiceAccountReader")
            user.click("Create service account")
            user.read_to("Issue key")
            user.click("Issue key")
            user.read_to("Issue a key")
            user.click("Issue a key")
            user.read_to("Issue key")
            user.type("Name", "my laptop")
            user.click("Issue key")
            user.read_to("Copy text 1 for curl")
            # The command that reads the key, the key itself, and the command that uses the key.
            commands = [browser.driver.find_element(By.ID, name).text for name in ("variable", "curl-1")]
            user.seconds += 3 * (CLICK + PASTE + TYPE_CHARACTER)
            key = browser.secret()
            output = subprocess.run(["bash", "-c", f"{commands[0]}\n{commands[1]} -s"], input=f"{key}\n", capture_output=True, text=True).stdout
            check("the curl command on the page works", '"principalName":"nightly-batch"' in output)
            seconds = round(user.seconds)
            check(f"a new user needs {seconds} s, less than {LIMIT} s", seconds < LIMIT)
        finally:
            local.stop()
