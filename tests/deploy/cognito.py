"""What tokens of the template's Cognito clients can do, on an emulated Cognito.

    python3 tests/deploy/cognito.py

A business backend sees the tokens of ApiClient. A token of a flow that takes a
password can change its user's e-mail address, and then the password, so such a
token in a backend's hands would be an admin's account. The clients are those of
infra/template.yaml, deployed as they are written there. The control case gives
ApiClient the flows that it must not have.

The emulator checks flows and scopes as AWS documents them. It does not check
WriteAttributes, which are compared with AWS's rule instead.
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
    """The template's Cognito resources, and the resources that they refer to."""
    template = yaml_parse(path.read_text())
    kept = {"Parameters": template["Parameters"], "Conditions": template["Conditions"], "Outputs": {}}
    # The emulator supports neither resource type for users: Pool creates its admin.
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
    """A deployed pool with an admin, who has chosen a password. The emulator asks
    for no second factor until one is set up."""

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
        """Begins a sign-in. Returns the error code, or Cognito's response."""
        credentials = {"USERNAME": ADMIN, "PASSWORD": PASSWORD, "SRP_A": "a1" * 128}
        begin, pool = self.cognito.initiate_auth, {}
        if flow.startswith("ADMIN_") or flow == "ADMIN:USER_SRP_AUTH":
            begin, pool, flow = self.cognito.admin_initiate_auth, {"UserPoolId": self.id}, flow.removeprefix("ADMIN:")
        try:
            answer = begin(ClientId=self.outputs[client], AuthFlow=flow, AuthParameters=credentials, **pool)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return answer.get("ChallengeName") or answer["AuthenticationResult"]["AccessToken"]

    def attempt(self, operation: str, **arguments) -> str:
        """Calls an operation that a user's access token authorizes."""
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
    """Signs in as a person does in the browser. Returns where the pages redirect to."""
    parts = urllib.parse.urlsplit(address)
    status, headers, page = send("127.0.0.1", aws.port, "GET", f"{parts.path}?{parts.query}")
    if status == 302:
        return headers["Location"]
    form = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page))
    form = {name: html.unescape(value) for name, value in form.items()} | {"username": ADMIN, "password": password}
    _, headers, page = send("127.0.0.1", aws.port, "POST", "/login", urllib.parse.urlencode(form))
    return headers["Location"]


class SignIn:
    """infra/sign-in.py, waiting for its browser."""

    running: list[subprocess.Popen] = []

    def __init__(self, aws: Aws, stack: str, *arguments: str) -> None:
        command = [sys.executable, SIGN_IN, "--stack", stack, "--endpoint-url", aws.endpoint, "--no-browser", *arguments]
        self.process = subprocess.Popen(
            command, env=aws.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.running.append(self.process)
        self.told = self.process.stderr.readline()
        if not self.told.startswith("Sign in"):
            sys.exit(f"sign-in.py does not start: {self.told}")
        self.told += self.process.stderr.readline()
        self.address = self.told.splitlines()[-1]
        self.query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.address).query))

    def call_back(self, location: str, method: str = "GET", **headers: str):
        parts = urllib.parse.urlsplit(location)
        return send(*CALLBACK, method, f"{parts.path}?{parts.query}", **headers)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, self.told + err


def the_sign_in(aws: Aws, pool: Pool) -> str:
    """Gets a token for business APIs, and tries requests that must not give one."""
    specification = importlib.util.spec_from_file_location("sign_in", SIGN_IN)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    # RFC 7636, appendix B.
    computed = script.challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    check("the PKCE challenge is RFC 7636's", computed, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    verifiers = [script.new_verifier() for _ in range(3)]
    check("verifiers are long and differ", (len(set(verifiers)), {len(one) for one in verifiers}), (3, {43}))

    run = SignIn(aws, pool.name)
    asked = {name: run.query.get(name) for name in ("response_type", "scope", "code_challenge_method")}
    check(
        "it asks for a code, one scope and S256",
        asked,
        {"response_type": "code", "scope": "keyward/api", "code_challenge_method": "S256"},
    )
    location = browse(aws, run.address)
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
    form = {"grant_type": "authorization_code", "client_id": pool.outputs["ApiClientId"], "code": query["code"]}
    for what, more in ("no", {}), ("another", {"code_verifier": "x" * 43}):
        stolen = urllib.parse.urlencode(form | {"redirect_uri": run.query["redirect_uri"]} | more)
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
    check("every other request is refused, and the wait goes on", (refused, run.process.poll()), (expected, None))
    status, headers, text = run.call_back(location)
    check(
        "the browser is told that it worked",
        (status, "signed in" in text, headers["Cache-Control"]),
        (200, True, "no-store"),
    )
    check("the page does not have the code", query["code"] in text, False)
    status, out, err = run.end()
    token = out.removesuffix("\n")
    check("standard output has only the token", (status, len(token.split(".")), "\n" in token), (0, 3, False))
    check("standard error has neither token nor code", [it for it in (token, query["code"]) if it in err], [])
    with contextlib.suppress(ConnectionRefusedError):
        run.call_back(location)
        check("it stops listening", "it answered", "a refused connection")
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
        told = (done.returncode, done.stdout, expected in done.stderr, done.stderr.count("\n"))
        check(f"{what} is reported in one line", told, (1, "", True, 1))
    other = run.query["state"]
    run.call_back(f"{CALLBACK_PATH}?{urllib.parse.urlencode({'error': 'access_denied', 'state': other})}")
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


# ----------------------------------------------------------------- the chain ----


def console_address(pool: Pool) -> str:
    client = pool.client("ConsoleClient")
    query = {"response_type": "code", "client_id": client["ClientId"], "redirect_uri": client["CallbackURLs"][0]}
    return f"/oauth2/authorize?{urllib.parse.urlencode(query | {'scope': 'openid', 'state': 's'})}"


def own_account(pool: Pool, token: str) -> dict[str, str]:
    """What the holder of a token can do to its user. AWS requires the scope
    aws.cognito.signin.user.admin for each operation.
    (https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_UpdateUserAttributes.html
    and the pages of the others)"""
    email = [{"Name": "email", "Value": MALLORY}]
    return {
        "read the user": pool.attempt("get_user", AccessToken=token),
        "change the e-mail address": pool.attempt("update_user_attributes", AccessToken=token, UserAttributes=email),
        "set up a second factor": pool.attempt("associate_software_token", AccessToken=token),
        "turn MFA off": pool.attempt(
            "set_user_mfa_preference", AccessToken=token, SoftwareTokenMfaSettings={"Enabled": False}
        ),
        "change the password": pool.attempt(
            "change_password", AccessToken=token, PreviousPassword=PASSWORD, ProposedPassword="Mallory-1234"
        ),
    }


def the_control(aws: Aws, template: dict) -> None:
    """With the flows that ApiClient must not have, its token takes over the account."""
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
    check("control: that client's token has the scope for the user's own account", claims(token).get("scope"), SELF_SERVICE)
    email = [{"Name": "email", "Value": MALLORY}]
    done = pool.attempt("update_user_attributes", AccessToken=token, UserAttributes=email)
    check("control: it changes the admin's e-mail address", (done, pool.email()), ("done", MALLORY))
    client = pool.outputs["ApiClientId"]
    sent = pool.cognito.forgot_password(ClientId=client, Username=ADMIN)["CodeDeliveryDetails"]["Destination"]
    # Cognito shows the first letter.
    check("control: a password reset is then sent there", sent[0], MALLORY[0])
    # The emulator mails the same code each time.
    reset = {"ClientId": client, "Username": ADMIN, "ConfirmationCode": "654321", "Password": "Mallory-1234"}
    pool.cognito.confirm_forgot_password(**reset)
    location = browse(aws, console_address(pool), "Mallory-1234")
    check("control: the new password signs in to the console", "code=" in location, True)


def the_clients(aws: Aws, template: dict, pool: Pool) -> None:
    flows = [
        "USER_PASSWORD_AUTH",
        "USER_SRP_AUTH",
        "ADMIN_USER_PASSWORD_AUTH",
        "ADMIN_NO_SRP_AUTH",
        "ADMIN:USER_SRP_AUTH",
        "CUSTOM_AUTH",
    ]
    begun = {flow: pool.initiate("ApiClientId", flow)[:40] for flow in flows}
    check("no flow that takes a password is allowed", begun, dict.fromkeys(flows, "InvalidParameterException"))
    client = pool.client("ApiClient")
    settings = {
        name: client.get(name) for name in ("AllowedOAuthFlows", "AllowedOAuthScopes", "ExplicitAuthFlows", "ClientSecret")
    }
    expected = {
        "AllowedOAuthFlows": ["code"],
        "AllowedOAuthScopes": ["keyward/api"],
        "ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH"],
    }
    check("a public client of the code flow, with one scope", settings, expected | {"ClientSecret": None})

    token = the_sign_in(aws, pool)
    tried = own_account(pool, token)
    check("its token can do nothing to the admin's account", tried, dict.fromkeys(tried, "NotAuthorizedException"))
    check("the e-mail address is unchanged", pool.email(), ADMIN)
    query = {
        "response_type": "code",
        "client_id": pool.outputs["ApiClientId"],
        "redirect_uri": "http://localhost:8400/callback",
    }
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x" * 43).digest()).decode().rstrip("=")
    query |= {"code_challenge": digest, "code_challenge_method": "S256", "state": "s"}
    for scope in SELF_SERVICE, f"keyward/api {SELF_SERVICE}", "keyward/iam":
        location = browse(aws, f"/oauth2/authorize?{urllib.parse.urlencode(query | {'scope': scope})}")
        answer = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
        check(f"it cannot ask for `{scope}`", (answer.get("error_description"), "code" in answer), ("invalid_scope", False))

    # Without WriteAttributes a client may write every standard attribute, and
    # then the API does not return it. The emulator lets any client write any.
    # (https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateUserPoolClient.html)
    clients = [
        name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::Cognito::UserPoolClient"
    ]
    check("the template's clients are known", sorted(clients), ["ApiClient", "ConsoleClient", "IamClient"])
    for name in clients:
        written = pool.client(name).get("WriteAttributes") or ["every standard attribute"]
        able = {"email", "email_verified", "phone_number", "phone_number_verified", "every standard attribute"} & set(
            written
        )
        check(f"{name} may not write an address that a password reset is sent to", able, set())


def main() -> None:
    template = cognito_of(ROOT / "infra" / "template.yaml")
    try:
        with Aws() as aws:
            the_control(aws, template)
            the_clients(aws, template, Pool(aws, "shipped", template))
    finally:
        for process in SignIn.running:
            process.kill()
    finish()


if __name__ == "__main__":
    main()
