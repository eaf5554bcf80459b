"""Uses the console of `cargo dev` in Chromium, with the mouse and with the keyboard only.

    python3 tests/browser/run.py --axe FOLDER [--screenshots FOLDER]

--axe is the folder of the unpacked npm package `axe-core`, which checks every page
of the story. Each page gets screenshots, wide and narrow, light and dark. To add a
check, call `check` at the right place in the story.
"""

import argparse
import base64
import http.server
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import account
import apis
import federation
import frame
import journeys
import roles
import visited
from checks import HOSTILE, check, failed, nothing_runs_on, passed
from new_user import a_new_user_soon_calls_with_a_new_key

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEM = ROOT / "target" / "debug" / "local"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--force-prefers-reduced-motion",
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",
]
# A host name that another site could make resolve to this machine.
REBOUND = "rebound.example"
WIDE, NARROW = (1280, 900), (390, 844)
# The addresses of all pages that `Browser.look` has checked.
looked_at: set[str] = set()
# Finds elements that extend beyond the page or their container. (The page's margins
# can hide that an element is wider than its container.) Ignores content of scrolling
# boxes, and content for screen readers only, which is clipped.
BEYOND = """
const page = document.documentElement, found = [];
const isHidden = element => element && (getComputedStyle(element).clipPath !== "none" || isHidden(element.parentElement));
if (page.scrollWidth > page.clientWidth) found.push(`the page, by ${page.scrollWidth - page.clientWidth} px`);
for (const element of document.querySelectorAll("main *, header *")) {
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  if (!box.width || element.closest("svg *, option") || isHidden(element)) continue;
  let around = element.parentElement;
  while (getComputedStyle(around).display.startsWith("inline") || getComputedStyle(around).display === "contents") around = around.parentElement;
  const outer = around.getBoundingClientRect();
  const isFree = getComputedStyle(around).overflowX === "visible";
  const by = Math.max(box.right - page.clientWidth, -box.left, ...(isFree ? [box.right - outer.right, outer.left - box.left] : []));
  const text = style.overflowX === "visible" && !style.display.startsWith("inline") ? element.scrollWidth - element.clientWidth : 0;
  if (by > 0.5 || text > 1) found.push(`${element.outerHTML.slice(0, 90)}, by ${Math.max(by, text).toFixed(1)} px`);
}
return found;
"""


# Finds elements that moved after the page was first painted, unless the user caused the move.
SHIFTS = """
const done = arguments[0], found = [];
const observer = new PerformanceObserver(list => list.getEntries().filter(shift => !shift.hadRecentInput).forEach(
  shift => found.push(...shift.sources.map(({ node }) => (node?.outerHTML ?? node?.textContent ?? "").slice(0, 90)))));
observer.observe({ type: "layout-shift", buffered: true });
setTimeout(() => { observer.disconnect(); done(found); }, 100);
"""


class Local:
    """`cargo dev`, in memory, on free ports."""

    def __init__(self, folder: pathlib.Path, *flags: str) -> None:
        ports = ["--port", "0", "--console-port", "0", "--issuer-port", "0", "--mcp-port", "0"]
        self.folder, self.text = folder, folder.with_suffix(".txt")
        with self.text.open("w") as text:
            self.process = subprocess.Popen([SYSTEM, "--memory", "--data", folder, *ports, *flags], stdout=subprocess.DEVNULL, stderr=text)
        path = folder / "local.json"
        for _ in range(600):
            if path.exists() and path.read_text().endswith("}\n"):
                self.facts = json.loads(path.read_text())
                return
            time.sleep(0.1)
        self.process.kill()
        raise SystemExit("target/debug/local did not start")

    def __getattr__(self, name: str) -> str:
        return self.facts[name]

    def output(self) -> str:
        """The text that the process printed."""
        return self.text.read_text()

    def status(self, key: str, method: str = "GET", path: str = "/organizations/1") -> int:
        """The status of a request with this key."""
        request = urllib.request.Request(self.api + path, method=method, headers={"Authorization": f"Bearer {key}"})
        try:
            return urllib.request.urlopen(request).status
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def session_name(local: Local) -> str:
    """The name of the session cookie, which contains the port."""
    return f"keyward-session-{local.console.rsplit(':')[-1]}"


class Browser:
    """A browser with its own profile."""

    def __init__(self, local: Local, axe: pathlib.Path, screenshots: pathlib.Path) -> None:
        self.local, self.axe, self.screenshots = local, (axe / "axe.min.js").read_text(), screenshots
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        self.profile = tempfile.TemporaryDirectory()
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # The keys that the browser has shown.
        self.keys: list[str] = []
        for flag in [*FLAGS, f"--user-data-dir={self.profile.name}"]:
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
        self.driver.set_window_size(*WIDE)

    def close(self) -> None:
        self.driver.quit()
        self.profile.cleanup()

    # The content of the page.

    @property
    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    @property
    def path(self) -> str:
        return self.driver.current_url.removeprefix(self.local.console)

    def heading(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "h1").text

    def find(self, name: str):
        """A link or button, by its accessible name: in the content of the page, or else outside."""
        for place in ("main", "body"):
            found = self.driver.find_elements(By.CSS_SELECTOR, f"{place} a, {place} button, {place} summary")
            named = [element for element in found if element.accessible_name == name]
            if named:
                return named[0]
        raise LookupError(f"{name} is not on {self.driver.current_url}: {self.text}")

    def field(self, name: str):
        found = [e for e in self.driver.find_elements(By.CSS_SELECTOR, "input, select, textarea") if e.accessible_name == name]
        if not found:
            raise LookupError(f"no field {name} on {self.driver.current_url}: {self.text}")
        return found[0]

    # With the mouse.

    def open(self, path: str) -> None:
        self.driver.get(self.local.console + path)

    def leaving(self, action) -> None:
        """Performs an action that opens another page, and waits for that page."""
        page = self.driver.find_element(By.TAG_NAME, "html")
        action()
        WebDriverWait(self.driver, 20).until(lambda driver: self.is_gone(page) and driver.execute_script("return document.readyState") == "complete")

    @staticmethod
    def is_gone(element) -> bool:
        try:
            element.is_enabled()
            return False
        except Exception:
            return True

    def click(self, name: str) -> None:
        self.leaving(self.find(name).click)

    def type(self, name: str, text: str) -> None:
        field = self.field(name)
        field.clear()
        field.send_keys(text)

    def sign_in(self, email: str | None = None) -> None:
        if email:
            self.type("Email address", email)
        self.type("Password", self.local.adminPassword)
        self.click("Sign in")

    def create_account(self, name: str) -> str:
        """Creates an account and returns its path. The browser is on its page."""
        self.open("/accounts/new")
        self.type("Name", name)
        self.click("Create service account")
        return self.path

    def issue_key(self, account: str, name: str, days: int | None = None) -> str:
        """Issues a key and returns it. The browser is on the page that shows the key."""
        self.open(f"{account}/keys/new")
        self.type("Name", name)
        if days:
            self.type("Days until expiry", str(days))
        self.click("Issue key")
        key = self.secret()
        if key is None:
            raise LookupError(f"no key is shown: {self.text}")
        self.keys.append(key)
        return key

    # With the keyboard only.

    def sign_in_by_keyboard(self, path: str) -> None:
        """Opens `path`, and signs in."""
        self.open(path)
        self.press(self.local.adminPassword, Keys.ENTER)
        WebDriverWait(self.driver, 20).until(lambda _: self.path == path)

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, name: str) -> None:
        """Presses Tab until the focus is on `name`, and checks that the focus is visible. Skips a link of
        the navigation if the content of the page has a link or button of the same name."""
        controls = self.driver.find_elements(By.CSS_SELECTOR, "main a, main button, main summary")
        is_in_main = any(element.accessible_name == name for element in controls)
        for _ in range(80):
            focused = self.driver.switch_to.active_element
            is_skipped = is_in_main and self.driver.execute_script("return !!arguments[0].closest('nav')", focused)
            if focused.tag_name != "body" and focused.accessible_name == name and not is_skipped:
                if self.driver.execute_script("return getComputedStyle(arguments[0]).outlineStyle", focused) == "none":
                    raise LookupError(f"the focus on {name} is not visible")
                return
            self.press(Keys.TAB)
        raise LookupError(f"Tab does not reach {name} on {self.driver.current_url}")

    def enter(self, name: str) -> None:
        self.tab_to(name)
        self.leaving(lambda: self.press(Keys.ENTER))

    # Checks of each page.

    def look(self, name: str) -> None:
        """Checks the page and takes screenshots."""
        looked_at.add(self.path)
        shifts = self.driver.execute_async_script(SHIFTS)
        for scheme in ("light", "dark"):
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            for size, shape in ((WIDE, "wide"), (NARROW, "narrow")):
                metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
                self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
                check(f"{name}, {scheme}, {shape}: nothing is cut off", self.driver.execute_script(BEYOND), [])
                violations = self.violations()
                check(f"{name}, {scheme}, {shape}: axe finds no violation", violations, [])
                whole = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
                (self.screenshots / f"{name}-{shape}-{scheme}.png").write_bytes(base64.b64decode(whole["data"]))
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        check(f"{name}: nothing moves while it loads", shifts, [])

    def errors(self) -> list[str]:
        """What the browser reported since the last call, such as violations of the content security policy.
        The status of a page is not an error."""
        entries = [entry for entry in self.driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
        return [entry["message"] for entry in entries if "the server responded with a status of" not in entry["message"]]

    def violations(self) -> list[str]:
        # Bypasses the page's content security policy, which the driver's script would violate.
        self.driver.execute_script(self.axe)
        found = self.driver.execute_async_script(
            "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(arguments[0])"
        )
        return [f"{v['id']}: {node['html'][:160]}" for v in found["violations"] for node in v["nodes"]]

    def live_keys(self) -> int:
        """The number of keys on the account's page."""
        return len(self.driver.find_elements(By.CSS_SELECTOR, "[aria-labelledby=keys] tbody tr"))

    def secret(self) -> str | None:
        found = re.search(r"kwsa_local_\w+", self.driver.page_source)
        return found[0] if found else None

    def stored(self) -> str:
        """Everything stored in the browser that a script can read, and the address."""
        return self.driver.execute_script(
            "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state, location.href])"
        )


def the_four_steps_by_mouse(local: Local, browser: Browser) -> None:
    browser.open("/")
    check("without a session, the sign-in page opens", browser.heading(), "Sign in")
    browser.look("sign-in")
    browser.type("Password", "wrong")
    browser.click("Sign in")
    check("a wrong password is reported", "Wrong email or password" in browser.text)
    browser.sign_in()
    check("signing in opens the console", (browser.path, browser.heading()), ("/", "Overview"))
    browser.look("overview-empty")

    browser.click("Create your first service account")
    browser.look("create-account")
    browser.type("Name", "nightly-batch")
    browser.type("Description (optional)", "Loads the orders of the day")
    browser.field("ServiceAccountWriter").click()
    browser.click("Create service account")
    check("the account is created", browser.heading(), "nightly-batch Enabled")
    browser.look("account-without-keys")
    account = browser.path

    # From the page of an account, a key takes three clicks.
    browser.click("Issue first key")
    check("the console first asks where the program runs", browser.heading(), "Where does the program run?")
    browser.look("choose-access")
    browser.click("Issue a key")
    browser.look("issue-key")
    browser.type("Name", "batch server 1")
    browser.click("Issue key")
    key = browser.secret()
    check("the key is shown", key is not None)
    check("the key works", local.status(key), 200)
    browser.look("issued-key")
    check("the browser stores no part of the key", key[40:] in browser.stored(), False)
    cookies = browser.driver.get_cookies()
    check("scripts cannot read cookies", [cookie["name"] for cookie in cookies if not cookie["httpOnly"]], [])
    check("the only cookie is the session", [cookie["name"] for cookie in cookies], [session_name(local)])
    check("the cookie is not a token", "eyJ" in cookies[0]["value"], False)
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    browser.find("Copy").click()
    WebDriverWait(browser.driver, 5).until(lambda _: "Copied" in browser.text)
    clipboard = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    check("Copy copies only the key", clipboard, key)

    # Reloading and navigating neither show the key again nor issue another one.
    browser.leaving(browser.driver.refresh)
    check("a reload issues no second key", (browser.heading(), browser.secret()), ("This key was already issued", None))
    browser.look("issued-before")
    browser.click("View account keys")
    for direction in (browser.driver.back, browser.driver.back, browser.driver.forward, browser.driver.forward):
        direction()
        time.sleep(0.3)
        check("the back and forward buttons never show the key", browser.secret(), None)
    browser.open(account)
    check("the account has one key", browser.live_keys(), 1)
    browser.look("account")

    # A revocation takes two clicks.
    browser.click("Revoke key batch server 1")
    browser.look("revoke-key")
    browser.click("Revoke key")
    check("the page says when the key was revoked", re.search(r"Key batch server 1 was revoked at [-\d: ]+ UTC", browser.text) is not None)
    check("the API refuses the key", local.status(key), 403)
    browser.look("account-after")
    browser.click("History")
    browser.look("history")


def a_shown_key_disappears_when_its_page_is_left(local: Local, browser: Browser) -> None:
    browser.open("/accounts")
    browser.click("nightly-batch")
    browser.issue_key(browser.path, "left")
    browser.click("I have stored the key")
    browser.driver.back()
    time.sleep(0.5)
    check("the back button does not show the key", browser.secret(), None)


def a_double_click_issues_one_key(local: Local, browser: Browser) -> None:
    browser.open("/accounts")
    browser.click("nightly-batch")
    before = browser.live_keys()
    account = browser.path
    browser.click("Issue key")
    browser.click("Issue a key")
    browser.type("Name", "double")
    button = browser.find("Issue key")
    browser.leaving(lambda: ActionChains(browser.driver).double_click(button).perform())
    time.sleep(0.5)
    browser.open(account)
    check("a double click issues one key", browser.live_keys(), before + 1)


def the_four_steps_by_keyboard(local: Local, browser: Browser) -> None:
    browser.sign_in_by_keyboard("/accounts")
    browser.press(Keys.TAB)
    check("the first Tab offers to skip to the content", browser.driver.switch_to.active_element.text, "Skip to main content")
    browser.enter("Create service account")
    browser.press("by-keyboard")
    browser.enter("Create service account")
    check("an account is created by keyboard", browser.heading(), "by-keyboard Enabled")
    browser.enter("Issue key")
    browser.enter("Issue a key")
    browser.press("typed")
    browser.enter("Issue key")
    key = browser.secret()
    check("a key is issued by keyboard", (key is not None and local.status(key)), 200)
    browser.tab_to("Copy")
    browser.enter("I have stored the key")
    browser.enter("Revoke key typed")
    browser.enter("Revoke key")
    check("the key is revoked by keyboard", local.status(key), 403)
    browser.enter("Sign out")
    check("the user signs out by keyboard", browser.heading(), "You are signed out")
    browser.look("signed-out")


def overflows_are_detected(local: Local, browser: Browser) -> None:
    """Tests BEYOND, which checks each page."""
    browser.open("/history")
    check("nothing is cut off", browser.driver.execute_script(BEYOND), [])
    field = browser.field("From")
    for style in ("width: calc(100% + 7px)", "margin-left: -7px", "position: relative; left: 2000px"):
        browser.driver.execute_script("arguments[0].style = arguments[1]", field, style)
        found = browser.driver.execute_script(BEYOND)
        check(f"{style} is detected", any("id=\"from\"" in line for line in found))


def layout_shifts_are_detected(local: Local, browser: Browser) -> None:
    """Tests SHIFTS, which checks each page."""
    browser.open("/history")
    check("nothing has moved", browser.driver.execute_async_script(SHIFTS), [])
    browser.driver.execute_script("document.querySelector('h1').before(Object.assign(document.createElement('p'), { textContent: 'new' }))")
    time.sleep(0.3)
    check("a line that appears is detected", any("<h1" in line for line in browser.driver.execute_async_script(SHIFTS)))


def hostile_names_are_escaped(local: Local, browser: Browser) -> None:
    browser.open("/accounts/new")
    browser.driver.execute_script("document.querySelectorAll('[maxlength]').forEach(e => e.removeAttribute('maxlength'))")
    browser.type("Name", "W" * 200)
    browser.click("Create service account")
    check("200 characters are refused beside the field", "Must be at most 64 characters." in browser.text)
    check("the field keeps the input", browser.field("Name").get_attribute("value"), "W" * 200)
    check("the field has the focus", browser.driver.switch_to.active_element, browser.field("Name"))
    browser.look("create-account-refused")
    browser.type("Name", "right to left \u202e")
    browser.click("Create service account")
    check("bidirectional control characters are refused", browser.heading(), "Create service account")
    browser.type("Name", HOSTILE)
    browser.type("Description (optional)", HOSTILE * 3)
    browser.type("Owner (optional)", HOSTILE)
    browser.click("Create service account")
    account = browser.path
    pages = [account, "/", f"{account}/edit", f"{account}/keys/new", f"{account}/delete", f"{account}/history"]
    for page in pages:
        nothing_runs_on(browser, page, page.replace(account, "…"))
    browser.issue_key(account, HOSTILE)
    browser.click("I have stored the key")
    browser.look("account-hostile")
    browser.click(HOSTILE)
    nothing_runs_on(browser, browser.path, "the page of a key")
    browser.look("key-hostile")
    browser.open(account)
    browser.click("Edit")
    browser.look("edit-account")
    browser.click("Cancel")
    browser.click("Disable account")
    browser.look("disable-account")
    browser.click("Disable account")
    browser.look("account-disabled")
    browser.click("Delete account")
    browser.type("Type the account name to confirm", "something else")
    browser.click("Delete account")
    check("a wrong name deletes nothing", "so nothing was deleted" in browser.text)
    browser.look("delete-account")
    browser.type("Type the account name to confirm", HOSTILE)
    browser.click("Delete account")
    check("the right name deletes the account", "was deleted. Its keys and tokens are refused." in browser.text)
    browser.look("overview")


def serve(page: bytes) -> http.server.ThreadingHTTPServer:
    """A site of another origin that serves this page at every path."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def pages_of_other_origins_are_refused(local: Local, browser: Browser) -> None:
    """Another site cannot use the servers, even if it knows the admin's token and password, and sends the session cookie."""
    browser.open("/")
    accounts = browser.text
    grant = {"grant_type": "password", "client_id": "keyward-iam", "username": local.adminEmail, "password": local.adminPassword}
    body = urllib.parse.urlencode(grant)
    create = json.dumps({"name": "made-by-evil", "role": "ServiceAccountReader"})
    bearer = f"Bearer {local.adminToken}"
    evil = serve(f"""<!doctype html><title>evil</title><form method="post" action="{local.issuer}/token">
        {"".join(f'<input name="{name}" value="{value}">' for name, value in grant.items())}
        <button id="go">win</button></form>""".encode())
    attempts = {
        "reads accounts": (f"{local.api}/iam/v1/service-accounts", {"headers": {"Authorization": bearer}}),
        "creates an account": (f"{local.api}/iam/v1/service-accounts", {"method": "POST", "body": create, "headers": {"Authorization": bearer, "Content-Type": "application/json"}}),
        "creates an account without a preflight": (f"{local.api}/iam/v1/service-accounts", {"method": "POST", "mode": "no-cors", "body": create}),
        "gets a token": (f"{local.issuer}/token", {"method": "POST", "body": body, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}),
        "reads the issuer's keys": (f"{local.issuer}/.well-known/jwks.json", {}),
        "reads the console": (f"{local.console}/", {"credentials": "include"}),
        "sends the console a form": (f"{local.console}/accounts", {"method": "POST", "credentials": "include", "body": "name=made-by-evil", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}),
    }
    script = """const [url, init, done] = arguments;
        fetch(url, init).then(async response => done(await response.text()), () => done(""))"""
    for host in ("127.0.0.1", "localhost", REBOUND):
        browser.driver.get(f"http://{host}:{evil.server_port}/")
        for what, (url, init) in attempts.items():
            check(f"no page of {host} {what}", browser.driver.execute_async_script(script, url, init), "")
        browser.leaving(browser.driver.find_element(By.ID, "go").click)
        shown = browser.driver.find_element(By.TAG_NAME, "body").text
        check(f"a form of {host} gets no token", shown, "Pages from other origins cannot use this server.")
    # The servers refuse a foreign host name, even if it resolves to this machine.
    for server in (local.api, local.console, local.issuer):
        browser.driver.get(server.replace("127.0.0.1", REBOUND) + "/")
        check("a rebound host name is refused", browser.driver.find_element(By.TAG_NAME, "body").text, "The Host header does not name this server.")
    evil.shutdown()
    browser.open("/")
    check("nothing has changed", browser.text, accounts)


def a_forged_form_is_refused(local: Local, browser: Browser) -> None:
    """A form from another site, in the browser of a signed-in admin, is refused."""
    browser.open("/accounts")
    browser.click("nightly-batch")
    account = browser.path
    form = f"""<!doctype html><title>evil</title><form method="post" action="{local.console}{account}/disable">
        <input name="enabled" value="false"><button id="go">win</button></form>""".encode()

    evil = serve(form)
    # Another port counts as the same site, so the browser also sends the cookie, and
    # only the console itself can refuse the form.
    for host in ("127.0.0.1", "localhost"):
        browser.driver.get(f"http://{host}:{evil.server_port}/")
        browser.leaving(browser.driver.find_element(By.ID, "go").click)
        refused = browser.heading() in ("This form was not sent from the console", "Your session has expired")
        check(f"a form from {host} is refused", refused)
        if host == "127.0.0.1":
            check("the browser sent the session cookie", browser.heading(), "This form was not sent from the console")
            browser.look("forged")
    evil.shutdown()
    browser.open(account)
    check("the forged form changed nothing", browser.heading(), "nightly-batch Enabled")
    browser.open("/nowhere")
    check("an unknown page says so", browser.heading(), "Page not found")


def a_user_who_is_not_an_admin(local: Local, browser: Browser) -> None:
    browser.open("/")
    browser.sign_in("visitor@keyward.local")
    check("a user who is not an admin sees why the console does not open", browser.heading(), "You are not an admin")
    browser.look("not-admin")
    check("the user has no session", [c["name"] for c in browser.driver.get_cookies() if "session" in c["name"]], [])


def without_scripts(local: Local, browser: Browser) -> None:
    """Everything works without JavaScript."""
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.open("/")
    browser.sign_in()
    key = browser.issue_key(browser.create_account("without-scripts"), "plain")
    check("a key is issued without scripts", local.status(key), 200)
    buttons = [b for b in browser.driver.find_elements(By.CSS_SELECTOR, "[data-copy]") if b.is_displayed()]
    check("no button needs JavaScript", buttons, [])
    browser.click("I have stored the key")
    browser.click("Revoke key plain")
    browser.click("Revoke key")
    check("the key is revoked without scripts", local.status(key), 403)


def keys_are_used_rotated_and_revoked(local: Local, browser: Browser) -> None:
    browser.open("/")
    browser.sign_in()
    account = browser.create_account("rotating")
    old = browser.issue_key(account, "server 1")
    browser.open(account)
    check("an unused key says so", "Never" in browser.text)
    check("the key works", local.status(old), 200)
    browser.open(account)
    check("the page shows the key's use", "30 days: 1 allowed, 0 refused" in browser.text)
    browser.look("account-used")

    browser.click("Rotate key server 1")
    check("the default grace period is one day", browser.field("1 day").is_selected())
    browser.look("rotate-key")
    browser.field("1 hour").click()
    button = browser.find("Rotate key")
    browser.leaving(lambda: ActionChains(browser.driver).double_click(button).perform())
    time.sleep(0.5)
    new = browser.secret()
    check("the new key is shown and differs from the old one", new is not None and new != old)
    check("both keys work", (local.status(old), local.status(new)), (200, 200))
    check("the page says until when the old key works", "The old key works until" in browser.text)
    check("the browser stores no part of the key", new[40:] in browser.stored(), False)
    browser.keys += [new]
    browser.look("rotated-key")
    browser.leaving(browser.driver.refresh)
    check("a reload does not rotate again", (browser.heading(), browser.secret()), ("This key was already issued", None))
    for direction in (browser.driver.back, browser.driver.back, browser.driver.forward, browser.driver.forward):
        direction()
        time.sleep(0.3)
        check("the back and forward buttons never show the new key", browser.secret(), None)

    browser.open(account)
    check("a double click rotates once", browser.live_keys(), 2)
    check("the old key says until when it works", "End of the grace period" in browser.text)
    browser.look("account-rotating")
    browser.click("View new key")
    check("the old key links to the new key", (browser.heading(), fact(browser, "Last characters")), ("Key server 1 Active", new[-4:]))
    check("the new key links to the old key", f"ending in {old[-4:]}" in fact(browser, "Replaces"))
    browser.look("key-new")
    browser.open(account)
    browser.click("Revoke old key server 1")
    check("the page says what a revocation stops", "The key was used" in browser.text and "Programs that use the key will be refused" in browser.text)
    browser.look("revoke-used-key")
    browser.click("Revoke key")
    check("the API refuses only the old key", (local.status(old), local.status(new)), (403, 200))
    browser.open(account)
    check("the page says that the retired key is still used", "was used after retirement" in browser.text)
    browser.look("account-retired")
    browser.open(f"{account}/keys/retired")
    browser.look("retired-keys")


def fact(browser: Browser, name: str) -> str:
    """The value of a fact on the page."""
    for term in browser.driver.find_elements(By.TAG_NAME, "dt"):
        if term.text == name:
            return term.find_element(By.XPATH, "following-sibling::dd").text
    raise LookupError(f"no {name} on {browser.driver.current_url}: {browser.text}")


def the_page_of_a_key_explains_a_refusal(local: Local, browser: Browser) -> None:
    account = browser.create_account("explaining")
    key = browser.issue_key(account, "server 1")
    browser.open(account)
    browser.click("server 1")
    check("a key's name opens its page", browser.heading(), "Key server 1 Active")
    check("an unused key has no chart", browser.driver.find_elements(By.CSS_SELECTOR, "svg"), [])
    browser.look("key-unused")
    for number in range(5):
        check("a read is allowed", local.status(key, "GET", f"/organizations/{number}"), 200)
    long = "/organizations/" + "/".join(["a-long-name-of-a-resource"] * 12)
    for path in ("/organizations", long):
        check("a write is refused", local.status(key, "POST", path), 403)
    browser.leaving(browser.driver.refresh)
    check("the page counts the requests", fact(browser, "Last 24 hours"), "5 allowed, 2 refused")
    check("the page has two charts", len(browser.driver.find_elements(By.CSS_SELECTOR, "svg")), 2)
    refusals = browser.driver.find_element(By.CSS_SELECTOR, "[aria-labelledby=refusals]").text
    check("the page names the missing permission", "Missing permission: POST /organizations" in refusals)
    check("the page shows the source address", "127.0.0.1" in refusals)
    browser.look("key-used")
    for unit in ("hour", "day"):
        browser.find(f"Requests per {unit}, as a table").click()
    check("the tables have the numbers", browser.text.count("2 (no permission: 2)"), 2)
    browser.look("key-tables")
    browser.click("Check access")
    check("the key is selected", browser.field("Key").get_attribute("value").startswith("key_"))
    browser.driver.back()
    browser.click("Revoke key")
    check("the page asks before the key is revoked", browser.heading(), "Revoke key server 1?")
    browser.leaving(browser.driver.find_elements(By.CSS_SELECTOR, ".crumbs a")[-1].click)
    check("the page to revoke a key links to the key", browser.heading(), "Key server 1 Active")
    browser.click("Revoke key")
    browser.click("Revoke key")
    check("the API refuses the key", local.status(key), 403)
    browser.click("server 1")
    check("a retired key has a page", browser.heading(), "Key server 1 Revoked")
    check("the page says that the key is still used", "This key was used after it was retired" in browser.text)
    browser.look("key-retired")
    browser.open(f"{account}/keys/key_0000000000000000")
    check("an unknown key has no page", browser.heading(), "Not found")


def a_leaked_key_is_found_and_revoked(local: Local, browser: Browser) -> None:
    key = browser.issue_key(browser.create_account("leaking"), "server 1")
    secret = key[40:]
    browser.click("Report a leaked key")
    check("the field hides the pasted text", browser.field("Key or token").get_attribute("type"), "password")
    browser.look("leaked")

    def hidden() -> bool:
        history = json.dumps(browser.driver.execute_cdp_cmd("Page.getNavigationHistory", {}))
        values = [e.get_attribute("value") or "" for e in browser.driver.find_elements(By.CSS_SELECTOR, "input")]
        return secret not in browser.driver.page_source + browser.stored() + history + "".join(values)

    browser.type("Key or token", f"Authorization: Bearer {key}")
    browser.click("Look up")
    check("the key is active", browser.heading(), "This key is active")
    check("the key is not in the page, the address, the history or the browser's storage", hidden())
    browser.look("leaked-key")
    browser.leaving(browser.driver.refresh)
    check("the same after a reload", (browser.heading(), hidden()), ("This key is active", True))
    browser.driver.back()
    time.sleep(0.5)
    check("the back button does not show the key", hidden())
    browser.type("Key or token", key[:-1])
    browser.click("Look up")
    check("an incomplete key is reported", "The pasted text contains no valid key" in browser.text)
    check("no field contains the key", browser.field("Key or token").get_attribute("value"), "")
    browser.look("leaked-refused")
    # Simulates a page of an earlier session.
    browser.driver.execute_script("document.querySelector('main [name=csrf]').value = ''")
    browser.type("Key or token", key)
    browser.click("Look up")
    browser.leaving(browser.driver.refresh)
    check("a refusal is reported, also after a reload", "The key was not looked up: the page was opened before you signed in again." in browser.text)
    check("the browser does not store the key", hidden())
    browser.type("Key or token", key)
    browser.click("Look up")
    browser.click("Revoke key")
    check("the page says when the key was revoked", re.search(r"Key server 1 was revoked at [-\d: ]+ UTC", browser.text) is not None)
    check("the API refuses the key", local.status(key), 403)
    browser.click("Report a leaked key")
    browser.type("Key or token", key)
    browser.click("Look up")
    check("a revoked key is reported as such", browser.heading(), "This key no longer works")
    browser.look("leaked-key-dead")


def no_key_is_on_disk(local: Local, browser: Browser) -> None:
    """No file of the browser's profile contains a key, after the browser has closed and written its files."""
    browser.driver.quit()
    paths = [path for path in pathlib.Path(browser.profile.name).rglob("*") if path.is_file() and not path.is_symlink()]
    files = {str(path.relative_to(browser.profile.name)): path.read_bytes() for path in paths}
    check("the profile contains data of the console", any(local.console.encode() in file for file in files.values()))
    secrets = [text for key in browser.keys for text in (key[40:].encode(), key[40:].encode("utf-16-le"))]
    found = [f"{name}: key {at // 2}" for at, secret in enumerate(secrets) for name, file in files.items() if secret in file]
    check(f"the profile contains none of {len(browser.keys)} keys", found, [])


def keys_by_keyboard(local: Local, browser: Browser) -> None:
    browser.sign_in_by_keyboard("/accounts")
    browser.enter("Create service account")
    browser.press("rotated-by-keyboard")
    browser.enter("Create service account")
    browser.enter("Issue key")
    browser.enter("Issue a key")
    browser.press("typed")
    browser.enter("Issue key")
    browser.enter("I have stored the key")
    browser.enter("Rotate key typed")
    browser.tab_to("1 day")
    browser.press(Keys.ARROW_DOWN)
    check("the arrow keys select a grace period", browser.field("3 days").is_selected())
    browser.enter("Rotate key")
    key = browser.secret()
    check("the key is rotated by keyboard", key is not None and local.status(key), 200)
    browser.enter("Report a leaked key")
    browser.leaving(lambda: browser.press(key, Keys.ENTER))
    check("the key is looked up by keyboard", browser.heading(), "This key is active")
    browser.enter("Revoke key")
    check("the key is revoked by keyboard", local.status(key), 403)


def a_new_user(_: Local, browser: Browser) -> None:
    a_new_user_soon_calls_with_a_new_key(Local, browser)


# Chapters in which pages of other origins cause errors on purpose, and one that ends with a closed browser.
WITH_ERRORS = [pages_of_other_origins_are_refused, a_forged_form_is_refused, no_key_is_on_disk]


def run(stories: list, local: Local, arguments: argparse.Namespace) -> None:
    """Runs each story in a browser of its own."""
    for story in stories:
        browser = Browser(local, arguments.axe, arguments.screenshots)
        try:
            for chapter in story:
                try:
                    chapter(local, browser)
                except Exception as error:
                    check(f"{chapter.__name__}: {type(error).__name__}: {error}"[:600], False)
                if chapter not in WITH_ERRORS:
                    check(f"{chapter.__name__}: the browser reports no error", browser.errors(), [])
        finally:
            browser.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--axe", type=pathlib.Path, required=True)
    parser.add_argument("--screenshots", type=pathlib.Path, default=ROOT / "target" / "screenshots")
    arguments = parser.parse_args()
    arguments.screenshots.mkdir(parents=True, exist_ok=True)
    stories = [
        [the_four_steps_by_mouse, a_shown_key_disappears_when_its_page_is_left, a_double_click_issues_one_key, overflows_are_detected,
         layout_shifts_are_detected,
         hostile_names_are_escaped, a_forged_form_is_refused,
         pages_of_other_origins_are_refused],
        [the_four_steps_by_keyboard],
        [a_user_who_is_not_an_admin],
        [without_scripts],
        [keys_are_used_rotated_and_revoked, the_page_of_a_key_explains_a_refusal, a_leaked_key_is_found_and_revoked, no_key_is_on_disk],
        [keys_by_keyboard],
        [a_new_user],
        *roles.STORIES,
        *frame.STORIES,
        *account.STORIES,
        *federation.STORIES,
        *apis.STORIES,
    ]
    for flags, told in (((), stories), (("--demo",), journeys.STORIES)):
        with tempfile.TemporaryDirectory() as folder:
            local = Local(pathlib.Path(folder) / "data", *flags)
            try:
                run(told, local, arguments)
            finally:
                local.stop()
    missing = set(visited.routes()) - {visited.route_of(path, visited.routes()) for path in looked_at}
    check("every page of the console is looked at", sorted(missing), [])
    print(f"\n{len(passed)} passed, {len(failed)} failed")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
