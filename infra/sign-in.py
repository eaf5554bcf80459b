"""Signs an admin in at the stack's Cognito sign-in pages and prints an access
token, for the command line.

    export ADMIN_API_TOKEN=$(python3 sign-in.py --stack keyward-prod)    # for business APIs
    export ADMIN_TOKEN=$(python3 sign-in.py --stack keyward-prod --iam)  # for /iam

It opens a browser and waits for the redirect on port 8400 of this machine. It prints
only the token to standard output. The token is valid for an hour.

It uses the authorization code flow with PKCE (RFC 7636), as RFC 8252 describes it for
native apps. Only the process that requested the code can use it.
"""

import argparse
import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import re
import secrets
import sys
import time
import urllib.parse
import webbrowser

import boto3
from botocore.exceptions import BotoCoreError, ClientError

# The callback that the template registers. Cognito allows plain http only for localhost.
# (https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-settings-client-apps.html)
PORT = 8400
REDIRECT = f"http://localhost:{PORT}/callback"
HOSTS = {f"localhost:{PORT}", f"127.0.0.1:{PORT}"}
# The scope with which a token can change its user's email address, password and MFA.
SELF_SERVICE = "aws.cognito.signin.user.admin"


class SignInError(Exception):
    """Why there is no token. The message contains no code and no token."""


def new_verifier() -> str:
    """RFC 7636, section 4.1: 32 random octets, as 43 characters."""
    return secrets.token_urlsafe(32)


def challenge(verifier: str) -> str:
    """RFC 7636, section 4.2, method S256."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


class Callback(http.server.HTTPServer):
    """Accepts exactly one redirect from the sign-in pages: the first with the right
    state. Refuses every other request and continues to wait."""

    def __init__(self, state: str) -> None:
        # Only the loopback interface (RFC 8252, section 8.3).
        super().__init__(("127.0.0.1", PORT), Handler)
        self.state, self.answer = state, None

    def wait(self, seconds: float) -> dict[str, str]:
        end = time.monotonic() + seconds
        while self.answer is None:
            self.timeout = end - time.monotonic()
            if self.timeout <= 0:
                raise SignInError(f"no sign-in within {seconds:.0f} s")
            self.handle_request()
        return self.answer

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores the error: a broken connection neither ends the wait nor prints a trace."""


class Handler(http.server.BaseHTTPRequestHandler):
    # A connection that sends nothing must not block the redirect.
    timeout = 5
    server: Callback

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        # With another host, a page's own name resolves to this machine (DNS rebinding).
        if path != "/callback" or self.headers.get("Host") not in HOSTS:
            return self.page(404, "Not found.")
        given = urllib.parse.parse_qs(query, keep_blank_values=True)
        if any(len(values) > 1 for values in given.values()):
            return self.page(400, "This request does not belong to the sign-in in progress.")
        given = {name: values[0] for name, values in given.items()}
        state = given.get("state", "")
        if not secrets.compare_digest(state.encode(), self.server.state.encode()) or not ({"code", "error"} & given.keys()):
            return self.page(400, "This request does not belong to the sign-in in progress.")
        self.server.answer = given
        return self.page(
            200,
            "You are signed in. You can close this page." if "code" in given else "The sign-in failed. See the terminal.",
        )

    def page(self, status: int, text: str) -> None:
        body = f"<!doctype html><html lang=en><meta charset=utf-8><title>Keyward</title><p>{text}</p>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'none'")
        self.send_header("Cache-Control", "no-store")
        # The address of the page contains the code.
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing, because the request line contains the code."""


def code_of(error: object) -> str:
    """An OAuth error code (RFC 6749, section 5.2), safe to print in a terminal."""
    return re.sub(r"[^\w.-]", "", str(error))[:60]


def post(url: str, form: dict[str, str]) -> tuple[int, dict]:
    """Posts a form. Follows no redirect, because the form is secret to other hosts."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with contextlib.closing(kind(parts.netloc, timeout=30)) as connection:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        connection.request("POST", parts.path, urllib.parse.urlencode(form), headers)
        response = connection.getresponse()
        try:
            body = json.loads(response.read())
        except ValueError:
            body = None
        return response.status, body if isinstance(body, dict) else {}


def redeem(pages: str, client: str, code: str, verifier: str) -> str:
    """Exchanges the code for an access token (RFC 6749, section 4.1.3)."""
    form = {"grant_type": "authorization_code", "client_id": client, "code": code}
    status, body = post(f"{pages}/oauth2/token", form | {"redirect_uri": REDIRECT, "code_verifier": verifier})
    token = body.get("access_token")
    if status != 200 or not isinstance(token, str):
        raise SignInError(f"the token endpoint returned {status} {code_of(body.get('error', ''))}".strip())
    return token


def check(token: str, client: str, scope: str) -> None:
    """Refuses a token for another client or scope than requested. The token came over
    TLS from Cognito itself, so its signature is not verified here."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        scopes = claims.get("scope", "").split()
    except (ValueError, IndexError, AttributeError) as error:
        raise SignInError("the token endpoint did not return a JWT") from error
    if SELF_SERVICE in scopes:
        raise SignInError(f"the token has the scope {SELF_SERVICE}, with which a backend could take over the account")
    if scopes != [scope] or claims.get("client_id") != client:
        raise SignInError("the token has another client or scope than requested")


def sign_in(pages: str, client: str, scope: str, seconds: float, open_page) -> str:
    """Waits for a person to sign in at `pages`, and returns the access token."""
    verifier, state = new_verifier(), secrets.token_urlsafe(32)
    query = {"response_type": "code", "client_id": client, "redirect_uri": REDIRECT, "scope": scope, "state": state}
    query |= {"code_challenge": challenge(verifier), "code_challenge_method": "S256"}
    try:
        server = Callback(state)
    except OSError as error:
        raise SignInError(f"port {PORT} of 127.0.0.1 is not free: {error.strerror}") from error
    # The server listens before the browser opens.
    with server:
        open_page(f"{pages}/oauth2/authorize?{urllib.parse.urlencode(query)}")
        answer = server.wait(seconds)
    if "code" not in answer:
        raise SignInError(f"the sign-in failed: {code_of(answer['error'])}")
    token = redeem(pages, client, answer["code"], verifier)
    check(token, client, scope)
    return token


def find(given: argparse.Namespace) -> tuple[str, str]:
    """The address of the stack's sign-in pages, and the client's id."""
    session = boto3.Session(region_name=given.region)
    formation = session.client("cloudformation", endpoint_url=given.endpoint_url)
    (stack,) = formation.describe_stacks(StackName=given.stack)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    if "UserPoolId" not in outputs:
        raise SignInError(f"{given.stack} does not use Cognito: get a token from its identity provider")
    client = outputs["IamClientId" if given.iam else "ApiClientId"]
    if given.endpoint_url:
        return given.endpoint_url, client
    pools = session.client("cognito-idp")
    pool = pools.describe_user_pool(UserPoolId=outputs["UserPoolId"])["UserPool"]
    host = pool.get("CustomDomain") or f"{pool['Domain']}.auth.{session.region_name}.amazoncognito.com"
    return f"https://{host}", client


def open_browser(url: str) -> None:
    print(f"Sign in with your browser. If no browser opens, go to:\n{url}", file=sys.stderr, flush=True)
    webbrowser.open(url)


def print_url(url: str) -> None:
    print(f"Sign in at:\n{url}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", required=True, help="the name of the Keyward stack")
    parser.add_argument("--iam", action="store_true", help="get a token for /iam instead of one for business APIs")
    parser.add_argument("--region", help="the stack's region, if not the default of your AWS configuration")
    parser.add_argument("--endpoint-url", help="the address of an AWS emulator to use instead of AWS")
    parser.add_argument("--no-browser", action="store_true", help="print the sign-in address to standard error, and open no browser")
    parser.add_argument("--timeout", type=float, default=300, help="how long to wait for the sign-in, in seconds")
    given = parser.parse_args()
    try:
        pages, client = find(given)
        scope = "keyward/iam" if given.iam else "keyward/api"
        print(sign_in(pages, client, scope, given.timeout, print_url if given.no_browser else open_browser))
    except (SignInError, BotoCoreError, ClientError, OSError, http.client.HTTPException) as error:
        sys.exit(f"no token: {error}")
    except KeyboardInterrupt:
        sys.exit("no token: interrupted")


if __name__ == "__main__":
    main()
