"""Checks what tokens of the template's Cognito clients can do, with an emulated Cognito.

    python3 tests/deploy/cognito.py

The backends of business APIs receive the tokens of ApiClient. A token from a flow that
takes a password can change its user's email address, and then the password. A backend with
such a token could take over the admin's account. The test deploys the clients of
infra/template.yaml unchanged. The control case gives ApiClient the flows that it must not
have.

The emulator checks flows and scopes as AWS documents them. It does not check
WriteAttributes, so the test compares these with AWS's rule.
"""

import base64
import contextlib
import copy
import hashlib
import html
import http.client
import importlib.util
import json
import re
import subprocess
import sys
import urllib.parse

from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_dump, yaml_parse

from aws import ROOT, Aws
from checks import check, finish

ADMIN, PASSWORD, MALLORY = "ada@example.com", "Permanent-12", "mallory@example.net"
SELF_SERVICE = "aws.cognito.signin.user.admin"
SIGN_IN = ROOT / "infra" / "sign-in.py"
CALLBACK, CALLBACK_PATH = ("localhost", 8400), "/callback"


def cognito_of(path) -> dict:
    """The part of the template with the Cognito resources and the resources that they refer to."""
    template = yaml_parse(path.read_text())
    kept = {"Parameters": template["Parameters"], "Conditions": template["Conditions"], "Outputs": {}}
    # The emulator does not support these resource types for users, so Pool creates the admin.
    unknown = ("AWS::Cognito::UserPoolUser", "AWS::Cognito::UserPoolUserToGroupAttachment")
    kept["Resources"] = {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"].startswith("AWS::Cognito::") and resource["Type"] not in unknown
    }
    # The console client's URLs contain the address of ConsoleApi.
    kept["Resources"]["ConsoleApi"] = template["Resources"]["ConsoleApi"]
    for name in "UserPoolId", "IamClientId", "ApiClientId":
        kept["Outputs"][name] = template["Outputs"][name]
    kept["Outputs"]["ConsoleClientId"] = {"Value": {"Ref": "ConsoleClient"}}
    return kept


class Pool:
    """A deployed user pool with an admin whose password is set. The emulator requires no second
    factor until one is set up."""

    def __init__(self, aws: Aws, name: str, template: dict) -> None:
        self.aws, self.name, self.cognito = aws, name, aws.client("cognito-idp")
        formation = aws.client("cloudformation")
        parameters = {"Environment": "test", "AdminEmail": ADMIN}
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        formation.create_stack(StackName=name, TemplateBody=yaml_dump(template), Parameters=given)
        formation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
        (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self.id = self.outputs["UserPoolId"]
        email = [{"Name": "email", "Value": ADMIN}, {"Name": "email_verified", "Value": "true"}]
        self.cognito.admin_create_user(UserPoolId=self.id, Username=ADMIN, UserAttributes=email)
        self.cognito.admin_set_user_password(UserPoolId=self.id, Username=ADMIN, Password=PASSWORD, Permanent=True)

    def client(self, name: str) -> dict:
        return self.cognito.describe_user_pool_client(UserPoolId=self.id, ClientId=self.outputs[f"{name}Id"])[
            "UserPoolClient"
        ]

    def email(self) -> str:
        user = self.cognito.admin_get_user(UserPoolId=self.id, Username=ADMIN)
        return next(item["Value"] for item in user["UserAttributes"] if item["Name"] == "email")

    def initiate(self, client: str, flow: str) -> str:
        """Starts a sign-in. Returns the error code, the next challenge or the access token."""
        credentials = {"USERNAME": ADMIN, "PASSWORD": PASSWORD, "SRP_A": "a1" * 128}
        start, pool = self.cognito.initiate_auth, {}
        if flow.startswith("ADMIN_") or flow == "ADMIN:USER_SRP_AUTH":
            start, pool, flow = self.cognito.admin_initiate_auth, {"UserPoolId": self.id}, flow.removeprefix("ADMIN:")
        try:
            response = start(ClientId=self.outputs[client], AuthFlow=flow, AuthParameters=credentials, **pool)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return response.get("ChallengeName") or response["AuthenticationResult"]["AccessToken"]

    def attempt(self, operation: str, **arguments) -> str:
        """Calls an operation with a user's access token. Returns the error code or "done"."""
        try:
            getattr(self.cognito, operation)(**arguments)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "done"


def claims(token: str) -> dict:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


# ---------------------------------------------------------------- sign-in.py ----


def send(host: str, port: int, method: str, path: str, body: str | None = None, **headers: str):
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=20)) as connection:
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()


def browse(aws: Aws, address: str, password: str = PASSWORD) -> str:
    """Signs in through the pages, as a user does in a browser. Returns the URL of the redirect."""
    parts = urllib.parse.urlsplit(address)
    status, headers, page = send("127.0.0.1", aws.port, "GET", f"{parts.path}?{parts.query}")
    if status == 302:
        return headers["Location"]
    form = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page))
    form = {name: html.unescape(value) for name, value in form.items()} | {"username": ADMIN, "password": password}
    _, headers, page = send("127.0.0.1", aws.port, "POST", "/login", urllib.parse.urlencode(form))
    return headers["Location"]


class SignIn:
    """infra/sign-in.py, which waits for the browser's redirect."""

    running: list[subprocess.Popen] = []

    def __init__(self, aws: Aws, stack: str, *arguments: str) -> None:
        command = [sys.executable, SIGN_IN, "--stack", stack, "--endpoint-url", aws.endpoint, "--no-browser", *arguments]
        self.process = subprocess.Popen(
            command, env=aws.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.running.append(self.process)
        self.output = self.process.stderr.readline()
        if not self.output.startswith("Sign in"):
            sys.exit(f"sign-in.py did not start: {self.output}")
        self.output += self.process.stderr.readline()
        self.address = self.output.splitlines()[-1]
        self.query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.address).query))

    def call_back(self, location: str, method: str = "GET", **headers: str):
        parts = urllib.parse.urlsplit(location)
        return send(*CALLBACK, method, f"{parts.path}?{parts.query}", **headers)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, self.output + err


def check_sign_in(aws: Aws, pool: Pool) -> str:
    """Gets a token for business APIs, and sends requests that must not give a token."""
    specification = importlib.util.spec_from_file_location("sign_in", SIGN_IN)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    # RFC 7636, appendix B.
    computed = script.challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    check("the PKCE challenge is that of RFC 7636", computed, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    verifiers = [script.new_verifier() for _ in range(3)]
    check("verifiers have 43 characters and differ", (len(set(verifiers)), {len(one) for one in verifiers}), (3, {43}))

    run = SignIn(aws, pool.name)
    requested = {name: run.query.get(name) for name in ("response_type", "scope", "code_challenge_method")}
    check(
        "the script requests a code, one scope and S256",
        requested,
        {"response_type": "code", "scope": "keyward/api", "code_challenge_method": "S256"},
    )
    location = browse(aws, run.address)
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
    form = {"grant_type": "authorization_code", "client_id": pool.outputs["ApiClientId"], "code": query["code"]}
    for what, verifier in ("no", {}), ("another", {"code_verifier": "x" * 43}):
        stolen = urllib.parse.urlencode(form | {"redirect_uri": run.query["redirect_uri"]} | verifier)
        status, _, text = send("127.0.0.1", aws.port, "POST", "/oauth2/token", stolen)
        check(
            f"a stolen code with {what} verifier gives no token",
            (status, json.loads(text).get("error")),
            (400, "invalid_grant"),
        )
    refused = {
        "another state": run.call_back(location.replace(query["state"], "another"))[0],
        "no state": run.call_back(f"{CALLBACK_PATH}?code={query['code']}")[0],
        "two states": run.call_back(f"{location}&state=another")[0],
        "neither code nor error": run.call_back(f"{CALLBACK_PATH}?state={query['state']}")[0],
        "another path": run.call_back(location.replace("/callback", "/callback/x"))[0],
        "another host": run.call_back(location, Host="attacker.example:8400")[0],
        "another method": run.call_back(location, "POST")[0],
    }
    expected = dict.fromkeys(["another state", "no state", "two states", "neither code nor error"], 400)
    expected |= {"another path": 404, "another host": 404, "another method": 501}
    check("every other request is refused, and the script continues to wait", (refused, run.process.poll()), (expected, None))
    status, headers, text = run.call_back(location)
    check(
        "the page in the browser says that the sign-in succeeded",
        (status, "signed in" in text, headers["Cache-Control"]),
        (200, True, "no-store"),
    )
    check("the page does not contain the code", query["code"] in text, False)
    status, out, err = run.end()
    token = out.removesuffix("\n")
    check("standard output has only the token", (status, len(token.split(".")), "\n" in token), (0, 3, False))
    check("standard error has neither token nor code", [text for text in (token, query["code"]) if text in err], [])
    with contextlib.suppress(ConnectionRefusedError):
        run.call_back(location)
        check("the script stops listening", "a response", "a refused connection")
    check(
        "the token is for business APIs and nothing else",
        (claims(token)["scope"], claims(token)["client_id"]),
        ("keyward/api", pool.outputs["ApiClientId"]),
    )

    run = SignIn(aws, pool.name)
    for what, stack, expected in (
        ("a second sign-in at the same time", pool.name, "port 8400 of 127.0.0.1 is not free"),
        ("an unknown stack", "nowhere", "does not exist"),
    ):
        command = [sys.executable, SIGN_IN, "--stack", stack, "--endpoint-url", aws.endpoint, "--no-browser"]
        done = subprocess.run(command, env=aws.environment, text=True, capture_output=True)
        actual = (done.returncode, done.stdout, expected in done.stderr, done.stderr.count("\n"))
        check(f"{what} is reported in one line", actual, (1, "", True, 1))
    state = run.query["state"]
    run.call_back(f"{CALLBACK_PATH}?{urllib.parse.urlencode({'error': 'access_denied', 'state': state})}")
    status, out, err = run.end()
    check(
        "a refused sign-in is reported",
        (status, out, err.splitlines()[-1]),
        (1, "", "no token: the sign-in failed: access_denied"),
    )
    run = SignIn(aws, pool.name, "--timeout", "0.5")
    status, out, err = run.end()
    check("the wait has a limit", (status, out, err.splitlines()[-1]), (1, "", "no token: no sign-in within 0 s"))
    run = SignIn(aws, pool.name, "--iam")
    run.call_back(browse(aws, run.address))
    status, iam, err = run.end()
    check(
        "--iam gives a token of the IAM client",
        (claims(iam)["scope"], claims(iam)["client_id"]),
        ("keyward/iam", pool.outputs["IamClientId"]),
    )
    return token


# -------------------------------------------------------------- the takeover ----


def console_address(pool: Pool) -> str:
    client = pool.client("ConsoleClient")
    query = {"response_type": "code", "client_id": client["ClientId"], "redirect_uri": client["CallbackURLs"][0]}
    return f"/oauth2/authorize?{urllib.parse.urlencode(query | {'scope': 'openid', 'state': 's'})}"


def try_account_changes(pool: Pool, token: str) -> dict[str, str]:
    """Tries to change the token's user. AWS requires the scope aws.cognito.signin.user.admin for
    each operation.
    (https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_UpdateUserAttributes.html
    and the pages of the others)"""
    email = [{"Name": "email", "Value": MALLORY}]
    return {
        "read the user": pool.attempt("get_user", AccessToken=token),
        "change the email address": pool.attempt("update_user_attributes", AccessToken=token, UserAttributes=email),
        "set up a second factor": pool.attempt("associate_software_token", AccessToken=token),
        "turn MFA off": pool.attempt(
            "set_user_mfa_preference", AccessToken=token, SoftwareTokenMfaSettings={"Enabled": False}
        ),
        "change the password": pool.attempt(
            "change_password", AccessToken=token, PreviousPassword=PASSWORD, ProposedPassword="Mallory-1234"
        ),
    }


def check_control(aws: Aws, template: dict) -> None:
    """Shows that a token takes over the account if ApiClient has the flows that it must not have."""
    template = copy.deepcopy(template)
    client = template["Resources"]["ApiClient"]["Properties"]
    for name in (
        "AllowedOAuthFlowsUserPoolClient",
        "AllowedOAuthFlows",
        "AllowedOAuthScopes",
        "CallbackURLs",
        "WriteAttributes",
    ):
        client.pop(name, None)
    client["ExplicitAuthFlows"] = ["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_SRP_AUTH"]
    pool = Pool(aws, "control", template)
    token = pool.initiate("ApiClientId", "ADMIN_USER_PASSWORD_AUTH")
    check("control: the token has the scope that changes its user", claims(token).get("scope"), SELF_SERVICE)
    email = [{"Name": "email", "Value": MALLORY}]
    done = pool.attempt("update_user_attributes", AccessToken=token, UserAttributes=email)
    check("control: the token changes the admin's email address", (done, pool.email()), ("done", MALLORY))
    client = pool.outputs["ApiClientId"]
    sent = pool.cognito.forgot_password(ClientId=client, Username=ADMIN)["CodeDeliveryDetails"]["Destination"]
    # Cognito shows only the first letter of the address.
    check("control: a password reset is sent to the new address", sent[0], MALLORY[0])
    # The emulator always sends the same code.
    reset = {"ClientId": client, "Username": ADMIN, "ConfirmationCode": "654321", "Password": "Mallory-1234"}
    pool.cognito.confirm_forgot_password(**reset)
    location = browse(aws, console_address(pool), "Mallory-1234")
    check("control: the new password signs in to the console", "code=" in location, True)


def check_clients(aws: Aws, template: dict, pool: Pool) -> None:
    flows = [
        "USER_PASSWORD_AUTH",
        "USER_SRP_AUTH",
        "ADMIN_USER_PASSWORD_AUTH",
        "ADMIN_NO_SRP_AUTH",
        "ADMIN:USER_SRP_AUTH",
        "CUSTOM_AUTH",
    ]
    results = {flow: pool.initiate("ApiClientId", flow)[:40] for flow in flows}
    check("no flow that takes a password is allowed", results, dict.fromkeys(flows, "InvalidParameterException"))
    client = pool.client("ApiClient")
    settings = {
        name: client.get(name) for name in ("AllowedOAuthFlows", "AllowedOAuthScopes", "ExplicitAuthFlows", "ClientSecret")
    }
    expected = {
        "AllowedOAuthFlows": ["code"],
        "AllowedOAuthScopes": ["keyward/api"],
        "ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH"],
    }
    check("ApiClient is a public client with only the code flow and one scope", settings, expected | {"ClientSecret": None})

    token = check_sign_in(aws, pool)
    tried = try_account_changes(pool, token)
    check("a token of ApiClient cannot change the admin's account", tried, dict.fromkeys(tried, "NotAuthorizedException"))
    check("the email address is unchanged", pool.email(), ADMIN)
    query = {
        "response_type": "code",
        "client_id": pool.outputs["ApiClientId"],
        "redirect_uri": "http://localhost:8400/callback",
    }
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x" * 43).digest()).decode().rstrip("=")
    query |= {"code_challenge": digest, "code_challenge_method": "S256", "state": "s"}
    for scope in SELF_SERVICE, f"keyward/api {SELF_SERVICE}", "keyward/iam":
        location = browse(aws, f"/oauth2/authorize?{urllib.parse.urlencode(query | {'scope': scope})}")
        result = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
        check(f"ApiClient cannot request `{scope}`", (result.get("error_description"), "code" in result), ("invalid_scope", False))

    # Without WriteAttributes, a client is allowed to write every standard attribute, and the API
    # returns no WriteAttributes. The emulator allows every client to write every attribute.
    # (https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateUserPoolClient.html)
    clients = [
        name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::Cognito::UserPoolClient"
    ]
    check("the template has exactly these clients", sorted(clients), ["ApiClient", "ConsoleClient", "IamClient"])
    for name in clients:
        written = pool.client(name).get("WriteAttributes") or ["every standard attribute"]
        writable = {"email", "email_verified", "phone_number", "phone_number_verified", "every standard attribute"} & set(
            written
        )
        check(f"{name} cannot write an address that a password reset is sent to", writable, set())


def main() -> None:
    template = cognito_of(ROOT / "infra" / "template.yaml")
    try:
        with Aws() as aws:
            check_control(aws, template)
            check_clients(aws, template, Pool(aws, "shipped", template))
    finally:
        for process in SignIn.running:
            process.kill()
    finish()


if __name__ == "__main__":
    main()
