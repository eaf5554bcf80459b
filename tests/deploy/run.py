"""Deploys the output of `sam build` and the examples to an AWS emulator with the SAM
CLI, and uses the stacks through their APIs.

    (cd infra && sam build)
    python3 tests/deploy/run.py [--debug]

With --debug, it deploys the template with the functions of `cargo build` instead,
which is much faster. To add a check, call `check` at the right place in `run_story`.
"""

import argparse
import base64
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import time
import urllib.parse

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from samcli.yamlhelper import yaml_dump, yaml_parse

from agents import PublicApi, check_agents, serve_host
from aws import ROOT, Aws, Stack
from checklist import check_first_deploy
from checks import check, finish
from console import DOMAIN, Browser, Provider
from rights import by_function, compare, unnoticed_faults

INFRA = ROOT / "infra"
ADMIN = "ada@example.com"
ACCOUNTS = "/iam/v1/service-accounts"
LOOKUP = "/iam/v1/keys/lookup"


def parameters(label: str) -> dict[str, str]:
    """The parameters of a Keyward stack, except those of its identity provider."""
    return {"Environment": label, "AlarmEmail": "ops@example.com"}


class Environment:
    """A Keyward stack with its admin, who signs in through Cognito."""

    def __init__(self, aws: Aws, label: str, template: pathlib.Path) -> None:
        self.aws = aws
        self.stack = Stack(aws, f"keyward-{label}", template)
        self.parameters = parameters(label) | {"AdminEmail": ADMIN}
        self.deploy()
        self.sign_in()

    def deploy(self, **parameters: str) -> None:
        self.stack.deploy(**self.parameters, **parameters)
        self.api = self.stack.resources["Api"]

    def sign_in(self) -> None:
        cognito, pool = self.aws.client("cognito-idp"), self.stack.outputs["UserPoolId"]
        # On AWS, the template creates this user and the membership: see `deployable`.
        email = [{"Name": "email", "Value": ADMIN}, {"Name": "email_verified", "Value": "true"}]
        cognito.admin_create_user(UserPoolId=pool, Username=ADMIN, TemporaryPassword="Temporary-12", UserAttributes=email)
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=ADMIN, GroupName="keyward-admins")
        client, credentials = self.stack.outputs["IamClientId"], {"USERNAME": ADMIN, "PASSWORD": "Temporary-12"}
        flow = {"UserPoolId": pool, "AuthFlow": "ADMIN_USER_PASSWORD_AUTH"}
        begun = cognito.admin_initiate_auth(ClientId=client, AuthParameters=credentials, **flow)
        check("the first sign-in asks for a new password", begun.get("ChallengeName"), "NEW_PASSWORD_REQUIRED")
        signed_in = cognito.admin_respond_to_auth_challenge(
            UserPoolId=pool,
            ClientId=client,
            ChallengeName="NEW_PASSWORD_REQUIRED",
            ChallengeResponses={"USERNAME": ADMIN, "NEW_PASSWORD": "Permanent-12"},
            Session=begun["Session"],
        )
        # AWS documents that the first sign-in gets tokens before MFA is set up. The
        # emulator does the same, and never asks to set up MFA (MFA_SETUP).
        token = signed_in["AuthenticationResult"]["AccessToken"]
        secret = cognito.associate_software_token(AccessToken=token)["SecretCode"]
        cognito.verify_software_token(AccessToken=token, UserCode=one_time_code(secret))
        credentials["PASSWORD"] = "Permanent-12"
        begun = cognito.admin_initiate_auth(ClientId=client, AuthParameters=credentials, **flow)
        check("each further sign-in asks for a code", begun.get("ChallengeName"), "SOFTWARE_TOKEN_MFA")
        challenge = {"UserPoolId": pool, "ClientId": client, "ChallengeName": "SOFTWARE_TOKEN_MFA", "Session": begun["Session"]}
        code = {"USERNAME": ADMIN, "SOFTWARE_TOKEN_MFA_CODE": one_time_code(secret)}
        signed_in = cognito.admin_respond_to_auth_challenge(ChallengeResponses=code, **challenge)
        self.token = signed_in["AuthenticationResult"]["AccessToken"]
        self.api_token = sign_in_by_code(self.aws, self.stack.outputs["ApiClientId"], "keyward/api", "Permanent-12")
        claims = json.loads(base64.urlsafe_b64decode(self.api_token.split(".")[1] + "=="))
        check("a token for business APIs has only their scope", claims["scope"], "keyward/api")
        check("a token for business APIs cannot change the user", changes_user(cognito, self.api_token), "NotAuthorizedException")
        for name, client in (("IamClient", client), ("ApiClient", self.stack.outputs["ApiClientId"])):
            described = cognito.describe_user_pool_client(UserPoolId=pool, ClientId=client)["UserPoolClient"]
            check(f"no token of {name} can change an email address", described["WriteAttributes"], ["locale"])
        described = cognito.describe_user_pool(UserPoolId=pool)["UserPool"]
        invitation = described["AdminCreateUserConfig"]["InviteMessageTemplate"]["EmailMessage"]
        found = [part in invitation for part in (self.stack.outputs["ConsoleUrl"], "{username}", "{####}")]
        check("the invitation says where to sign in", (described["MfaConfiguration"], found), ("ON", [True] * 3))

    def call(self, method: str, path: str, body: object = None, token: str | None = None, attempt: str | None = None):
        headers = {"Idempotency-Key": attempt} if attempt else {}
        return self.aws.call(self.api, method, path, token or self.token, body, headers)

    def create(self, name: str, role: str) -> str:
        response = self.call("POST", ACCOUNTS, {"name": name, "role": role})
        check(f"{name} is created", response.status, 201)
        return response.json["id"]

    def issue(self, account: str, **body: object) -> tuple[str, str]:
        response = self.call("POST", f"{ACCOUNTS}/{account}/keys", {"name": "a key"} | body)
        check("a key is issued", response.status, 201)
        return response.json["id"], response.json["secret"]


def one_time_code(secret: str) -> str:
    """The code that an authenticator app shows now (RFC 6238 with its default settings)."""
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", int(time.time()) // 30), "sha1")
    (number,) = struct.unpack_from(">I", digest, digest[-1] & 15)
    return f"{(number & 0x7FFFFFFF) % 10**6:06}"


def sign_in_by_code(aws: Aws, client: str, scope: str, password: str) -> str:
    """The access token of the code flow with PKCE, as a browser gets it. The
    emulator's pages ask for no second factor."""
    redirect, verifier = "http://localhost:8400/callback", "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    request = {"client_id": client, "redirect_uri": redirect, "response_type": "code", "scope": scope, "state": "s"}
    request |= {"code_challenge": challenge, "code_challenge_method": "S256"}
    page = form(aws, "GET", f"/oauth2/authorize?{urllib.parse.urlencode(request)}")
    check("the sign-in page is shown", page.status, 200)
    sent = form(aws, "POST", "/login", request | {"username": ADMIN, "password": password})
    target, _, query = sent.headers.get("location", "").partition("?")
    check("the browser is redirected to the callback", target, redirect)
    grant = {"grant_type": "authorization_code", "client_id": client, "redirect_uri": redirect}
    grant["code"] = urllib.parse.parse_qs(query)["code"][0]
    wrong = form(aws, "POST", "/oauth2/token", grant | {"code_verifier": "w" * 43})
    check("the code does not work without its verifier", wrong.status, 400)
    sent = form(aws, "POST", "/login", request | {"username": ADMIN, "password": password})
    grant["code"] = urllib.parse.parse_qs(sent.headers["location"].partition("?")[2])["code"][0]
    return form(aws, "POST", "/oauth2/token", grant | {"code_verifier": verifier}).json["access_token"]


def form(aws: Aws, method: str, path: str, fields: dict[str, str] | None = None):
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": f"127.0.0.1:{aws.port}"}
    return aws.request(method, path, headers, fields and urllib.parse.urlencode(fields))


def changes_user(cognito, token: str) -> str | None:
    """The error code if this token cannot change the user's attributes. Otherwise None."""
    try:
        cognito.update_user_attributes(AccessToken=token, UserAttributes=[{"Name": "locale", "Value": "x"}])
    except cognito.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return None


class Example:
    """An example stack: a business API that uses the authorizer."""

    def __init__(self, aws: Aws, example: str, prefix: str, unauthorized: int, authorizer: str) -> None:
        self.aws, self.name, self.prefix, self.unauthorized = aws, f"the {example}", prefix, unauthorized
        self.api = Stack(aws, example, INFRA / "examples" / f"{example}.yaml").deploy(AuthorizerArn=authorizer).outputs["ApiId"]

    def call(self, method: str, path: str, token: str | None = None, body: object = None):
        return self.aws.call(self.api, method, self.prefix + path, token, body)

    def check(self, what: str, token: str | None, expected: int, method: str = "GET", path: str = "/organizations"):
        response = self.call(method, path, token)
        check(f"{self.name}: {what}", response.status, expected)
        return response


def run_story(aws: Aws, public: PublicApi, debug: bool) -> None:
    """Deploys and uses the stacks, from the first sign-in to the logs."""
    template = with_debug_builds(aws) if debug else INFRA / ".aws-sam" / "build" / "template.yaml"
    one = Environment(aws, "one", template)
    arn = one.stack.outputs["AuthorizerArn"]
    # An HTTP API with payload format 2.0 responds to an invalid key with 403.
    examples = [Example(aws, "http-api", "", 403, arn), Example(aws, "rest-api", "/v1", 401, arn)]

    # Only the admin can manage accounts.
    response = one.call("GET", "/iam/v1/whoami")
    check("whoami names the admin", (response.status, response.json.get("principalName")), (200, ADMIN))
    routes = [route["RouteKey"].split(" ") for route in aws.client("apigatewayv2").get_routes(ApiId=one.api)["Items"]]
    open_routes = sorted(" ".join(route) for route in routes if aws.call(one.api, *route).status != 401)
    expected = ["GET /.well-known/oauth-authorization-server", "GET /iam/v1/authorize", "POST /iam/v1/token"]
    check("without a credential, every route but the open ones responds with 401", open_routes, expected)
    greedy = [route for route in routes if route[0] in ("ANY", "$default") or "+" in route[1]]
    check("no route is greedy, and no function has a URL", (greedy, "AWS::Lambda::Url" in one.stack.types), ([], False))
    check("a token for business APIs gets 403", one.call("GET", ACCOUNTS, token=one.api_token).status, 403)

    written = yaml_parse((INFRA / "template.yaml").read_text())["Resources"]["Api"]["Properties"]["RouteSettings"]
    plain = [("ConsoleApi", "ConsoleAccessLogs", 0), ("McpApi", "McpAccessLogs", 0)]
    for api, group, throttled in [("Api", "ApiAccessLogs", len(written)), *plain]:
        (stage,) = aws.client("apigatewayv2").get_stages(ApiId=one.stack.resources[api])["Items"]
        actual = (stage["AccessLogSettings"]["DestinationArn"].endswith(f":log-group:{one.stack.resources[group]}"),
                  len(stage.get("RouteSettings", {})))
        check(f"{api} logs its requests, and its routes have the limits of the template", actual, (True, throttled))

    # The console has its own API, and no admin is signed in yet.
    console = one.stack.resources["ConsoleApi"]
    response = aws.call(console, "GET", "/accounts/new")
    actual = (response.status, response.headers.get("location"), response.headers.get("cache-control"))
    check("the console redirects to the sign-in page", actual, (303, "/sign-in?back=%2Faccounts%2Fnew", "no-store"))
    check("the console refuses a form without a session", aws.call(console, "POST", "/accounts").status, 403)

    # Create, issue, call.
    reader = one.create("nightly-batch", "ServiceAccountReader")
    key_id, key = one.issue(reader, expiresInDays=30)
    response = one.call("GET", "/iam/v1/whoami", token=key)
    check("whoami names the key", (response.status, response.json.get("keyId")), (200, key_id))
    check("a key cannot manage accounts", one.call("POST", ACCOUNTS, {}, token=key).status, 403)
    for example in examples:
        response = example.check("the key is allowed", key, 200)
        check(f"{example.name}: the response does not contain the key", key in response.text, False)
        example.check("the key is allowed with a path parameter", key, 200, path="/organizations/42")
        example.check("the Reader role refuses a POST", key, 403, method="POST")
        example.check("a request without a credential is refused", None, 401)
        example.check("junk is refused", "junk", example.unauthorized)
        example.check("a mistyped key is refused", key[:-1] + ("a" if key[-1] != "a" else "b"), example.unauthorized)
        example.check("an admin's token for business APIs is allowed", one.api_token, 200)
        example.check("an admin's token for /iam is refused", one.token, 403)
    principal = examples[0].call("GET", "/organizations", key).json["principal"]
    actual = {name: principal.get(name) for name in ("principalType", "principalId", "keyId", "role", "environment")}
    expected = ("serviceAccount", reader, key_id, "ServiceAccountReader", "one")
    check("the backend of the http-api gets the caller", tuple(actual.values()), expected)
    for status, code, token, method in [(401, "unauthorized", None, "GET"), (403, "insufficient_scope", key, "POST")]:
        response = examples[1].call(method, "/organizations", token)
        actual = (response.headers.get("content-type"), response.json.get("status"), response.json.get("code"),
                  "www-authenticate" in response.headers)
        expected = ("application/problem+json", status, code, True)
        check(f"the rest-api's {status} response follows RFC 9457 and RFC 6750", actual, expected)
    writer = one.create("loader", "ServiceAccountWriter")
    _, writer_key = one.issue(writer)
    for example in examples:
        example.check("a Writer is allowed to POST", writer_key, 200, method="POST")

    # Look up a leaked key and revoke it. The next call is refused.
    response = one.call("POST", LOOKUP, {"key": f"Authorization: Bearer {key}"})
    actual = (response.json["serviceAccount"]["name"], response.json["keyId"], response.json["alive"])
    check("lookup identifies the key", (response.status, actual), (200, ("nightly-batch", key_id, True)))
    check("the key is revoked", one.call("DELETE", f"{ACCOUNTS}/{reader}/keys/{key_id}").status, 204)
    for example in examples:
        example.check("the revoked key is refused", key, example.unauthorized)

    response = one.call("POST", LOOKUP, {"key": key})
    actual = (response.json["alive"], response.json.get("reason"))
    check("lookup says that the key is revoked", (response.status, actual), (200, (False, "revoked")))

    # Disable and enable the account.
    _, key = one.issue(reader)
    check("the account is disabled", one.call("PATCH", f"{ACCOUNTS}/{reader}", {"enabled": False}).status, 200)
    for example in examples:
        example.check("a disabled account's key is refused", key, example.unauthorized)
    check("the account is enabled", one.call("PATCH", f"{ACCOUNTS}/{reader}", {"enabled": True}).status, 200)
    for example in examples:
        example.check("the key of the enabled account is allowed", key, 200)

    use_every_right(aws, one, examples)
    exchanged = check_exchange(aws, one, examples) + check_agents(aws, one, examples, public)
    check_activity(one, examples)
    check_sweep(aws, one)

    # Emergency commands of the operating guide, for when no admin can sign in.
    check_break_glass(aws, one, examples, reader, key)

    after, before = rotate(aws, one, "Pepper")
    check("the rotation adds one version", (after.pop("current"), sorted(after)), ("v2", ["v1", "v2"]))
    check("the rotation keeps the other version", after["v1"], before["v1"])
    for example in examples:
        example.check("the key is allowed after a pepper rotation", key, 200)

    # An update of the stack in place.
    kept = {name: one.stack.resources[name] for name in ("Table", "Pepper", "TokenKey", "UserPool", "Api", "Authorizer")}
    events = one.call("GET", f"{ACCOUNTS}/{reader}/events").json["items"]
    check("every change has its event", len(events), 8)
    check("the list of all events has the same events", one.call("GET", f"/iam/v1/events?account={reader}").json["items"], events)
    by_admin = one.call("GET", "/iam/v1/events?actor=ada%40example.com&limit=100").json["items"]
    own = [event for event in by_admin if event.get("serviceAccountId") == reader]
    expected = [event for event in events if event["actor"]["name"] == ADMIN]
    check("the events of an actor include those of every account", (own, len(by_admin) > len(own)), (expected, True))
    one.deploy(MaxKeyLifetimeDays="30", RecordSourceAddresses="false")
    serve_host(aws, one)
    check("an update replaces nothing", {name: one.stack.resources[name] for name in kept}, kept)
    check("the update keeps the events", one.call("GET", f"{ACCOUNTS}/{reader}/events").json["items"], events)
    for example in examples:
        example.check("the key is allowed after an update", key, 200)
    response = one.call("POST", f"{ACCOUNTS}/{reader}/keys", {"name": "long", "expiresInDays": 31})
    check("the update has taken effect", response.status, 422)
    no_address_id, no_address = one.issue(reader, expiresInDays=5)
    examples[0].check("the Reader role refuses a POST", no_address, 403, method="POST")
    activity = wait_for_activity(one, reader, no_address_id, lambda activity: activity["recentRefusals"])
    recorded = ["sourceAddress" in refusal for refusal in activity["recentRefusals"]]
    check("with RecordSourceAddresses=false, no address is recorded", recorded, [False])

    # Functions that the update restarted issue keys with the new pepper. Functions
    # that were already running fetch that pepper with the first such key.
    new_id, new_key = one.issue(reader, expiresInDays=5)
    check("a new key uses the new pepper", pepper_version(aws, one, reader, new_id), "v2")
    for example in examples:
        example.check("a key with the new pepper is allowed at once", new_key, 200)
        example.check("a key with the old pepper is still allowed", key, 200)

    # Each function has exactly the rights that it uses.
    found = by_function(aws, one.stack, aws.recorder.calls)
    missing, unused = compare(found)
    check("every call is within its function's rights", missing, [])
    check("every right is used", unused, [])
    check("the comparison notices a missing or extra right", unnoticed_faults(found), [])

    if not debug:
        check_single_function_deploy(aws, one)
    check_restore(aws, one, examples)

    # A second environment in the same AWS account.
    two = Environment(aws, "two", template)
    other = two.create("nightly-batch", "ServiceAccountReader")
    _, other_key = two.issue(other)
    check("the second environment's key works there", two.call("GET", "/iam/v1/whoami", token=other_key).status, 200)
    for example in examples:
        example.check("the second environment's key does not work in the first", other_key, example.unauthorized)
    check("the first environment's key does not work in the second", two.call("GET", "/iam/v1/whoami", token=key).status, 403)
    check("the first environment's admin token does not work in the second", two.call("GET", ACCOUNTS, token=one.token).status, 403)
    check("the first environment's key still works", examples[0].call("GET", "/organizations", key).status, 200)

    check_adoption(aws, two, other_key)
    check_console(aws, template)

    secrets = []
    for name in "Pepper", "TokenKey":
        value = aws.client("secretsmanager").get_secret_value(SecretId=one.stack.resources[name])["SecretString"]
        secrets += [secret for version, secret in json.loads(value).items() if version not in ("current", "since")]
    check_logs(aws, one, [key, new_key, writer_key, other_key, one.token, one.api_token, *exchanged, *secrets])

    # Last, because this adds to the logs.
    check_first_deploy(aws, one)


def check_adoption(aws: Aws, two: Environment, key: str) -> None:
    """Deletes the stack, and creates one with the same name over the kept table and pepper."""
    formation, database, secrets = aws.client("cloudformation"), aws.client("dynamodb"), aws.client("secretsmanager")
    stack, before = two.stack.name, dict(two.stack.resources)
    table, pepper = before["Table"], secrets.get_secret_value(SecretId=before["Pepper"])
    formation.delete_stack(StackName=stack)
    formation.get_waiter("stack_delete_complete").wait(StackName=stack)
    groups = {group["logGroupName"] for group in aws.client("logs").describe_log_groups()["logGroups"]}
    kept = {before[name] for name in before if name.endswith("Logs")}
    check("the logs outlive the stack", (len(kept) > 10, kept - groups), (True, set()))

    # A restored table lacks these settings.
    database.update_time_to_live(TableName=table, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": False})
    off = {"PointInTimeRecoveryEnabled": False}
    database.update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=off)
    database.update_table(TableName=table, DeletionProtectionEnabled=False)

    def adopt(environment: str, table: str = table) -> tuple[int, str]:
        given = ("--stack", stack, "--environment", environment, "--table", table, "--secret", pepper["ARN"])
        done = subprocess.run([sys.executable, INFRA / "adopt.py", *given], env=aws.environment, text=True, capture_output=True)
        return done.returncode, done.stdout + done.stderr

    code, output = adopt("three")
    check("another environment cannot adopt the pepper", (code, "not the pepper of this environment" in output), (1, True))
    code, output = adopt("two", "restored")
    check("a table without the index is refused", (code, "other keys or indexes" in output), (1, True))
    code, output = adopt("two")
    done = [line.partition(":")[0] for line in output.splitlines() if line.endswith(": turned on")]
    restored = ["deletion protection", "expiry of items", "point-in-time recovery"]
    check("a new stack adopts the table and the pepper", (code, done), (0, restored))
    code, output = adopt("two")
    check("an existing stack is refused", (code, "already exists" in output), (1, True))
    described = database.describe_table(TableName=table)["Table"]
    ttl = database.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["TimeToLiveStatus"]
    backups = database.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
    safe = (described["DeletionProtectionEnabled"], ttl, recovery)
    check("the settings that a restored table lacks are turned on", safe, (True, "ENABLED", "ENABLED"))
    two.deploy()
    now = {name: two.stack.resources[name] for name in ("Table", "Pepper")}
    check("the deploy keeps the table and the pepper", now, {name: before[name] for name in now})
    after = secrets.get_secret_value(SecretId=before["Pepper"])
    check("the pepper is unchanged", (after["SecretString"], after["ARN"]), (pepper["SecretString"], pepper["ARN"]))
    new = {two.stack.resources[name] for name in before if name.endswith("Logs")}
    check("the new stack has its own log groups", new & kept, set())
    check("a key of the old stack is allowed", two.call("GET", "/iam/v1/whoami", token=key).status, 200)


def check_console(aws: Aws, template: pathlib.Path) -> None:
    """Deploys a third environment with another identity provider, and uses its console as an
    admin does."""
    with Provider() as provider:
        certificate = f"arn:aws:acm:us-east-1:{'0' * 12}:certificate/of-{DOMAIN}"
        domain = {"ConsoleDomain": DOMAIN, "ConsoleCertificateArn": certificate}
        stack = Stack(aws, "keyward-three", template).deploy(**parameters("three"), **provider.parameters, **domain)
        check("with another identity provider, there is no Cognito user pool", "UserPool" in stack.resources, False)
        check("the console is at its custom domain", stack.outputs["ConsoleUrl"], f"https://{DOMAIN}")
        (mapping,) = aws.client("apigatewayv2").get_api_mappings(DomainName=DOMAIN)["Items"]
        check("the domain is mapped to the console", (mapping["ApiId"], mapping["Stage"]), (stack.resources["ConsoleApi"], "$default"))
        (configuration,) = aws.client("apigatewayv2").get_domain_name(DomainName=DOMAIN)["DomainNameConfigurations"]
        target = configuration["ApiGatewayDomainName"]
        check("an output has the target of the DNS record", stack.outputs["ConsoleDomainTarget"], target)
        browser = Browser(aws, stack.outputs["ConsoleUrl"], provider)
        page = browser.open("/accounts/new")
        check("an admin signs in and returns to the page", (page.status, 'action="/accounts"' in page.text), (200, True))
        check("the session is one cookie of this host", list(browser.cookies), ["__Host-keyward-session"])
        page = browser.submit(page, "/accounts", name="from the console", role="ServiceAccountReader")
        (account,) = set(re.findall(r"/accounts/(sa_\w{16})/access\b", page.text))
        page = browser.open(f"/accounts/{account}/access")
        check("the console asks whether a key is needed", f"/accounts/{account}/keys/new" in page.text, True)
        page = browser.open(f"/accounts/{account}/keys/new")
        page = browser.submit(page, f"/accounts/{account}/keys", name="a key", expires_in_days="30")
        keys = set(re.findall(r"kwsa_three_\w+", page.text))
        check("the key is shown", (page.status, len(keys)), (200, 1))
        api, key = stack.resources["Api"], keys.pop()
        check("the key works", aws.call(api, "GET", "/iam/v1/whoami", key).status, 200)
        page = browser.open(f"/accounts/{account}")
        check("the key is not shown again", (page.status, key in page.text), (200, False))
        key_id = f"key_{key.split('_')[3]}"
        revoke = f"/accounts/{account}/keys/{key_id}/revoke"
        page = browser.submit(browser.open(revoke), revoke)
        check("the key is revoked", page.status, 200)
        check("the revoked key is refused on the next call", aws.call(api, "GET", "/iam/v1/whoami", key).status, 403)
        events = browser.open(f"/accounts/{account}/history").text
        check("every event has the admin's name", events.count("ada@example.com") >= 3, True)
        page = browser.submit(page, "/sign-out")
        check("signing out ends the session", list(browser.cookies), [])
        check("the page links to the provider's sign-out", f"{provider.url}/end?client_id=the-console&#38;" in page.text, True)


def use_every_right(aws: Aws, one: Environment, examples: list[Example]) -> None:
    """Uses the rights that `run_story` has not needed before. Each missing right fails a
    check."""
    table, database = one.stack.outputs["TableName"], aws.client("dynamodb")
    lister = "/iam/v1/roles/lister"
    permissions = ["GET /organizations", "POST /organizations"]
    response = one.call("PUT", lister, {"description": "Lists", "permissions": ["GET /teams"]})
    check("a custom role is registered", response.status, 201)
    response = one.call("PUT", lister, {"description": "Lists", "permissions": permissions})
    check("the role is replaced", (response.status, response.json.get("permissions")), (200, permissions))
    names = [role["name"] for role in one.call("GET", "/iam/v1/roles").json["items"]]
    expected = ["ServiceAccountAdmin", "ServiceAccountReader", "ServiceAccountWriter", "lister"]
    check("the role is listed with the built-in roles", names, expected)
    check("the role can be read", one.call("GET", lister).json["description"], "Lists")
    check("a built-in role cannot be replaced", one.call("PUT", "/iam/v1/roles/ServiceAccountReader", {"permissions": []}).status, 409)

    created = one.call("POST", ACCOUNTS, {"name": "custom", "role": "lister"}, attempt="create")
    check("an account has a custom role", created.status, 201)
    again = one.call("POST", ACCOUNTS, {"name": "custom", "role": "lister"}, attempt="create")
    check("a retry returns the same account", (again.status, again.json["id"]), (201, created.json["id"]))
    account = f"{ACCOUNTS}/{created.json['id']}"
    check("an unknown role is refused", one.call("POST", ACCOUNTS, {"name": "other", "role": "unknown"}).status, 422)

    # The source address of the requests is in this network.
    issue = {"name": "narrow", "role": "lister", "allowedCidrs": ["127.0.0.0/8"]}
    issued = one.call("POST", f"{account}/keys", issue, attempt="issue")
    check("a key can have its own role", issued.status, 201)
    for example in examples:
        example.check("the custom role permits", issued.json["secret"], 200)
        example.check("the custom role refuses other paths", issued.json["secret"], 403, path="/organizations/42")
    explain = {"serviceAccountId": created.json["id"], "keyId": issued.json["id"], "method": "GET", "path": "/organizations"}
    response = one.call("POST", "/iam/v1/roles/explain", explain)
    actual = (response.json.get("allowed"), response.json.get("permission"), response.json.get("keyPermission"))
    check("explain says why a request is allowed", actual, (True, "GET /organizations", "GET /organizations"))
    response = one.call("POST", "/iam/v1/roles/explain", explain | {"path": "/organizations/42"})
    check("explain says why a request is refused", (response.json.get("allowed"), response.json.get("reason")), (False, "role"))
    users = one.call("GET", f"{lister}/users")
    actual = [(user["serviceAccountId"], user.get("keyId")) for user in users.json["items"]]
    check("the users of the role are listed", actual, [(created.json["id"], None), (created.json["id"], issued.json["id"])])
    response = one.call("DELETE", lister)
    check("a role in use cannot be deleted", (response.status, response.json.get("code")), (409, "role_in_use"))
    check("the role's permissions are replaced", one.call("PUT", lister, {"permissions": ["PUT /organizations"]}).status, 200)
    for example in examples:
        example.check("a removed permission is refused at once", issued.json["secret"], 403)
    check("the role is restored", one.call("PUT", lister, {"permissions": permissions}).status, 200)
    check("the key can call whoami", one.call("GET", "/iam/v1/whoami", token=issued.json["secret"]).status, 200)
    check("a retry issues no second key", one.call("POST", f"{account}/keys", issue, attempt="issue").status, 409)
    key = f"{account}/keys/{issued.json['id']}"
    rotated = one.call("POST", f"{key}/rotation", {"graceSeconds": 600}, attempt="rotate")
    check("the key is rotated", (rotated.status, rotated.json["replaces"]["id"]), (201, issued.json["id"]))
    for example in examples:
        example.check("the successor is allowed", rotated.json["secret"], 200)
        example.check("the old key is allowed in its grace period", issued.json["secret"], 200)
    successor = f"{account}/keys/{rotated.json['id']}"
    check("a retry does not rotate the key again", one.call("POST", f"{key}/rotation", {"graceSeconds": 600}, attempt="rotate").status, 409)
    last = one.call("POST", f"{successor}/rotation", {"graceSeconds": 0})
    check("the successor is rotated without a grace period", last.status, 201)
    for example in examples:
        # The authorizer recognizes the key by its record, and counts the request.
        example.check("the old key is refused at once", rotated.json["secret"], example.unauthorized)
        example.check("the new key is allowed", last.json["secret"], 200)
    check("the IAM API also refuses the old key", one.call("GET", "/iam/v1/whoami", token=rotated.json["secret"]).status, 403)
    again = one.call("POST", f"{successor}/rotation", {})
    check("a key cannot be rotated twice", (again.status, again.json["code"]), (409, "key_already_rotated"))
    shown = one.call("GET", account)
    used = {key["id"]: ("lastUsedAt" in key, key["last24Hours"]["allowed"] > 0) for key in shown.json["keys"]}
    check("each key shows that it was used", used, dict.fromkeys([issued.json["id"], last.json["id"]], (True, True)))
    retired = [(key["id"], key["reason"], "usedAfterEndAt" in key) for key in shown.json["retiredKeys"]]
    check("the retired key shows that it was used", retired, [(rotated.json["id"], "rotated", True)])
    usage = one.call("GET", f"{account}/role-usage")
    check("the use of the role is shown", (usage.status, usage.json["role"]), (200, "lister"))
    keep = {"decision": "keep", "note": "still needed"}
    reviews = [one.call("POST", f"{account}/reviews", keep, attempt="review") for _ in range(2)]
    check("a retry records no second review", (reviews[0].status, reviews[1].json), (201, reviews[0].json))
    listed = one.call("GET", "/iam/v1/access-review?limit=100").json["items"]
    shown = [item["lastReview"] for item in listed if item["id"] == created.json["id"]]
    check("the access review shows the last review", shown, [reviews[0].json])
    check("the last successor is revoked", one.call("DELETE", f"{account}/keys/{last.json['id']}").status, 204)
    check("the first key is revoked", one.call("DELETE", key).status, 204)
    check("revoking the key again succeeds", one.call("DELETE", key).status, 204)
    response = one.call("POST", "/iam/v1/roles/explain", explain)
    check("explain says that the key is revoked", (response.json.get("allowed"), response.json.get("reason")), (False, "revoked"))
    spare = "/iam/v1/roles/spare"
    check("an unused role is created", one.call("PUT", spare, {"permissions": []}).status, 201)
    check("the unused role is deleted", (one.call("DELETE", spare).status, one.call("GET", spare).status), (204, 404))
    check("a retry does not issue the key again", one.call("POST", f"{account}/keys", issue, attempt="issue").status, 409)

    # The next issue moves an expired key to the retired keys. A test cannot wait for the
    # expiry, so this changes the expiry in the table.
    expired, _ = one.issue(created.json["id"], **issue)
    database.update_item(
        TableName=table,
        Key={"pk": {"S": f"ACCOUNT#{created.json['id']}"}, "sk": {"S": "ACCOUNT"}},
        UpdateExpression="SET #keys.#key.expiresAt = :past",
        ExpressionAttributeNames={"#keys": "keys", "#key": expired},
        ExpressionAttributeValues={":past": {"N": "1"}},
    )
    kept, _ = one.issue(created.json["id"])
    response = one.call("GET", account)
    check("the expired key is no longer live", [key["id"] for key in response.json["keys"]], [kept])

    change = {"name": "renamed", "role": "ServiceAccountReader", "description": "for the test", "owner": "ada", "tags": {"a": "b"}}
    check("an account is changed", one.call("PATCH", account, change).status, 200)
    check("the account's role can be changed to a custom role", one.call("PATCH", account, {"role": "lister"}).status, 200)
    names = [item["name"] for item in one.call("GET", f"{ACCOUNTS}?prefix=re").json["items"]]
    check("the account is listed", names, ["renamed"])
    found = one.call("GET", "/iam/v1/search?q=enam").json["accounts"]
    check("the account is found", [account["name"] for account in found], ["renamed"])
    for text in (expired, created.json["id"]):
        found = one.call("GET", f"/iam/v1/search?q={text}").json
        check("a search finds an id, even of a retired key", len(found["accounts"] + found["keys"]), 1)
    response = one.call("DELETE", f"{account}/keys")
    check("all keys of the account are revoked", (response.status, response.json["revokedKeyIds"]), (200, [kept]))
    # An earlier version of Keyward added no account to the second index.
    database.update_item(
        TableName=table,
        Key={"pk": {"S": f"ACCOUNT#{created.json['id']}"}, "sk": {"S": "ACCOUNT"}},
        UpdateExpression="REMOVE labels",
    )
    last_id, _ = one.issue(created.json["id"], **issue)
    check("a key is rotated with the default grace period", one.call("POST", f"{account}/keys/{last_id}/rotation", {}).status, 201)
    check("an account is deleted with its keys", one.call("DELETE", account).status, 204)
    check("the deleted account is not found", one.call("GET", account).status, 404)
    again = one.call("POST", ACCOUNTS, {"name": "custom", "role": "lister"}, attempt="create")
    check("a retry does not create the account again", again.status, 409)
    found = one.call("GET", f"/iam/v1/search?q={created.json['id']}").json["accounts"]
    check("a search finds the deleted account", [(account["name"], "deletedAt" in account) for account in found], [("renamed", True)])
    check("the name of the deleted account is free", one.call("POST", ACCOUNTS, {"name": "renamed", "role": "lister"}).status, 201)


def wait_for_activity(one: Environment, account: str, key: str, is_complete) -> dict:
    """Returns a key's activity once it is complete, or after 20 s. The authorizers write it after
    their responses."""
    for attempt in range(200):
        activity = one.call("GET", f"{ACCOUNTS}/{account}/keys/{key}/activity").json
        if is_complete(activity):
            break
        time.sleep(0.1)
    return activity


def authorizer_lines(one: Environment) -> list[str]:
    """All lines in the authorizers' log group."""
    pages = one.aws.client("logs").get_paginator("filter_log_events").paginate(logGroupName=one.stack.resources["AuthorizerLogs"])
    return [event["message"] for page in pages for event in page["events"]]


def check_activity(one: Environment, examples: list[Example]) -> None:
    """Compares a key's activity with the requests made with it. They are few enough to be written
    at once."""
    before = one.call("GET", "/iam/v1/activity").json["last30Days"]
    account = one.create("counted", "ServiceAccountReader")
    key_id, key = one.issue(account)
    for _ in range(6):
        examples[0].check("the counted key is allowed", key, 200, path="/organizations/42")
    for example in examples:
        example.check("the counted key is allowed", key, 200)
        for _ in range(2):
            example.check("the Reader role refuses a POST", key, 403, method="POST")

    def count(activity: dict) -> tuple[int, int]:
        return activity["last30Days"]["allowed"], activity["last30Days"]["refused"]

    activity = wait_for_activity(one, account, key_id, lambda activity: count(activity) == (8, 4))
    check("a key's activity counts its requests", count(activity), (8, 4))
    sums = [sum(item["allowed"] for item in activity[name]) for name in ("byHour", "byDay")]
    check("the hours and days have the same counts", sums, [8, 8])
    reasons = [item["refusedByReason"] for item in activity["byHour"] if item["refused"]]
    check("the refused requests are counted by reason", sum(reason.pop("role") for reason in reasons), 4)
    refusals = activity["recentRefusals"]
    requests = {(item["method"], item["path"], item["reason"], item["missingPermission"], "sourceAddress" in item) for item in refusals}
    check("each refused request names the missing permission", requests, {("POST", "/organizations", "role", "POST /organizations", True)})
    # The emulator's responses have other request ids than its authorizer events.
    ids = {item["requestId"] for item in refusals}
    decisions = [json.loads(line) for line in authorizer_lines(one) if '"message":"decision"' in line]
    logged = [decision["reason"] for decision in decisions if decision["request_id"] in ids]
    check("each refused request is in the log under its request id", logged, ["role"] * 4)
    routes = [use["route"] for use in activity["routes"]]
    check("the used routes are listed", routes, ["GET /organizations", "GET /organizations/{id}"])
    check("the last allowed request is recorded", activity["lastAllowed"]["method"], "GET")
    shown = one.call("GET", f"{ACCOUNTS}/{account}").json["keys"][0]
    check("the account shows the same totals", count(shown), (8, 4))

    # An instance writes the totals with a later request, because the requests of all checks so far
    # have used up their bucket.
    for attempt in range(20):
        examples[0].call("GET", "/organizations", key)
        total = one.call("GET", "/iam/v1/activity").json["last30Days"]
        grown = [total[name] - before[name] >= number for name, number in (("allowed", 8), ("refused", 4))]
        if grown == [True, True]:
            break
        time.sleep(2)
    check("the totals of all keys include these requests", grown, [True, True])
    check("the counted account is deleted", one.call("DELETE", f"{ACCOUNTS}/{account}").status, 204)
    response = one.call("GET", f"{ACCOUNTS}/{account}/keys/{key_id}/activity")
    check("the activity of the deleted key remains", (response.status, count(response.json)[1]), (200, 4))


def rotate(aws: Aws, one: Environment, name: str, number: int = 1) -> tuple[dict, dict]:
    """Rotates a secret in the steps of Secrets Manager. Returns its new value and its old
    value. The emulator's own rotation calls no function."""
    secrets, functions = aws.client("secretsmanager"), aws.client("lambda")
    secret, function = one.stack.resources[name], one.stack.resources["RotateSecret"]
    rules = {"AutomaticallyAfterDays": 30}
    arn, set_up = one.stack.outputs["RotateSecretArn"], f"set-up-{number}".ljust(32, "-")
    secrets.rotate_secret(SecretId=secret, RotationLambdaARN=arn, RotationRules=rules, ClientRequestToken=set_up)
    before = json.loads(secrets.get_secret_value(SecretId=secret)["SecretString"])
    token = f"rotation-{number}".ljust(32, "-")
    # The emulator has no versions without a value.
    pending = {"ClientRequestToken": token, "SecretString": json.dumps(before), "VersionStages": ["AWSPENDING"]}
    secrets.put_secret_value(SecretId=secret, **pending)
    outcomes = []
    # Each step runs twice, because Secrets Manager repeats a step whose response it
    # did not get.
    for step in ["createSecret", "setSecret", "testSecret", "finishSecret"] * 2:
        event = {"Step": step, "SecretId": secret, "ClientRequestToken": token}
        response = functions.invoke(FunctionName=function, Payload=json.dumps(event))
        outcomes.append(response.get("FunctionError") or response["StatusCode"])
    check(f"every step of a rotation of {name} succeeds", outcomes, [200] * 8)
    return json.loads(secrets.get_secret_value(SecretId=secret)["SecretString"]), before


def check_exchange(aws: Aws, one: Environment, examples: list[Example]) -> list[str]:
    """Exchanges the JWT of a workload and a key for tokens, uses the tokens, rotates the token
    key, and ends what the tokens were made from. Returns the credentials."""
    signing_key = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(signing_key.public_key())) | {"kid": "1", "alg": "ES256"}
    issuer = "/iam/v1/issuers/ci"
    body = {"issuer": "https://ci.example.com", "jwks": {"keys": [jwk]}, "algorithms": ["ES256"]}
    check("an issuer is registered with its keys", one.call("PUT", issuer, body).status, 201)
    next_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    keys = [jwk, json.loads(jwt.algorithms.ECAlgorithm.to_jwk(next_key)) | {"kid": "2", "alg": "ES256"}]
    check("a key of the issuer is added", one.call("PUT", issuer, body | {"jwks": {"keys": keys}}).status, 200)
    other = {"issuer": "https://other.example.com", "jwksUri": "https://other.example.com/keys"}
    check("another issuer's keys have a URL", one.call("PUT", "/iam/v1/issuers/other", other).status, 201)
    names = [item["name"] for item in one.call("GET", "/iam/v1/issuers").json["items"]]
    check("the issuers are listed", (names, one.call("GET", issuer).status), (["ci", "other"], 200))
    role = "/iam/v1/roles/organizations"
    check("a role is created", one.call("PUT", role, {"permissions": ["GET /organizations"]}).status, 201)

    account = one.create("deployer", "ServiceAccountReader")
    identities = f"{ACCOUNTS}/{account}/federated-identities"
    rule = {
        "name": "deploy job", "issuer": "ci", "audience": "https://keyward.example.com", "claims": {"sub": "job-1"},
        "role": "organizations", "expiresInDays": 30, "singleUse": True, "maxAgeSeconds": 300,
    }
    added = one.call("POST", identities, rule, attempt="identity")
    check("a federated identity is added", added.status, 201)
    again = one.call("POST", identities, rule, attempt="identity")
    check("a retry adds no second identity", again.json["id"], added.json["id"])
    identity = f"{identities}/{added.json['id']}"
    check("the identity can be read", one.call("GET", identity).json["name"], "deploy job")

    def assertion(**claims: object) -> str:
        now = int(time.time())
        claims = {"iss": "https://ci.example.com", "sub": "job-1", "aud": "https://keyward.example.com", "iat": now,
                  "exp": now + 300, "jti": os.urandom(8).hex()} | claims
        return jwt.encode(claims, signing_key, algorithm="ES256", headers={"kid": "1"})

    def exchange(token: str, kind: str, **parameters: str):
        fields = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": token}
        fields |= {"subject_token_type": kind} | parameters
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return aws.send(one.api, "POST", "/iam/v1/token", headers, urllib.parse.urlencode(fields))

    of_jwt, audience = "urn:ietf:params:oauth:token-type:jwt", f"{account}/{added.json['id']}"
    used = assertion()
    response = exchange(used, of_jwt, audience=audience, scope="organizations")
    actual = (response.status, response.json.get("token_type"), response.headers.get("cache-control"))
    check("a workload exchanges its JWT for a token", actual, (200, "Bearer", "no-store"))
    token = response.json["access_token"]
    for example in examples:
        example.check("the token is allowed", token, 200)
        example.check("the token's role refuses other paths", token, 403, path="/organizations/42")
    principal = examples[0].call("GET", "/organizations", token).json["principal"]
    actual = [principal.get(name) for name in ("principalId", "identityId", "keyId")]
    check("the backend gets the identity", actual, [account, added.json["id"], None])
    whoami = one.call("GET", "/iam/v1/whoami", token=token)
    check("the token can call whoami", (whoami.status, whoami.json.get("principalId")), (200, account))
    check("the token cannot manage accounts", one.call("GET", ACCOUNTS, token=token).status, 403)
    refused = [exchange(used, of_jwt, audience=audience), exchange(assertion(sub="job-2"), of_jwt, audience=audience)]
    refused += [exchange(assertion(aud="other"), of_jwt, audience=audience), exchange("x.y.z", of_jwt, audience=audience)]
    actual = [(response.status, response.json["error"]) for response in refused]
    check("a used, a foreign and a malformed JWT are refused", actual, [(400, "invalid_grant")] * 4)
    check("the refusals look the same", len({response.text for response in refused}), 1)

    metadata = aws.send(one.api, "GET", "/.well-known/oauth-authorization-server", {}, None)
    actual = (metadata.status, metadata.json["token_endpoint"].endswith("/iam/v1/token"))
    check("the metadata names the token endpoint", actual, (200, True))
    authorize = aws.send(one.api, "GET", "/iam/v1/authorize?response_type=code", {}, None)
    check("there is no sign-in page", (authorize.status, "client credentials" in authorize.text), (400, True))

    # Tokens of a key, and children of tokens.
    response = exchange(token, "urn:ietf:params:oauth:token-type:access_token", expires_in="60")
    check("an identity's token is exchanged for a shorter one", (response.status, response.json["expires_in"]), (200, 60))
    key_id, key = one.issue(account, expiresInDays=1)
    response = exchange(key, "urn:keyward:token-type:key")
    check("a key is exchanged for a token", response.status, 200)
    of_key = response.json["access_token"]
    response = exchange(of_key, "urn:ietf:params:oauth:token-type:access_token", scope="organizations", expires_in="60")
    check("a token is exchanged for a narrower token", (response.status, response.json["expires_in"]), (200, 60))
    child = response.json["access_token"]
    form = {"grant_type": "client_credentials", "client_id": account, "client_secret": key}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = aws.send(one.api, "POST", "/iam/v1/token", headers, urllib.parse.urlencode(form))
    check("client credentials give a token", response.status, 200)

    after, before = rotate(aws, one, "TokenKey")
    check("the rotation of the token key adds a version", sorted(after), ["current", "since", "v1", "v2"])
    check("the previous version stays", (after["v1"], after["current"]), (before["v1"], "v2"))
    newer = exchange(assertion(), of_jwt, audience=audience).json["access_token"]
    for example in examples:
        for name, credential in ("token", token), ("key's token", of_key), ("child token", child), ("new token", newer):
            example.check(f"the {name} is allowed after a rotation of the token key", credential, 200)

    check("the key is revoked", one.call("DELETE", f"{ACCOUNTS}/{account}/keys/{key_id}").status, 204)
    check("the identity is deleted", one.call("DELETE", identity).status, 204)
    for example in examples:
        for name, credential in ("token", token), ("key's token", of_key), ("child token", child), ("new token", newer):
            example.check(f"the {name} is refused at once", credential, example.unauthorized)
    response = exchange(assertion(), of_jwt, audience=audience)
    check("the deleted identity gives no token", (response.status, response.json["error"]), (400, "invalid_grant"))
    response = exchange(key, "urn:keyward:token-type:key")
    check("the revoked key gives no token", (response.status, response.json["error"]), (400, "invalid_grant"))

    def refusals(activity: dict) -> set[tuple[str | None, str]]:
        return {(refusal.get("path"), refusal["reason"]) for refusal in activity["recentRefusals"]}

    expected = ("/iam/v1/token", "revoked")
    activity = wait_for_activity(one, account, key_id, lambda activity: expected in refusals(activity))
    check("the use of the revoked key is recorded", expected in refusals(activity), True)

    # The next issue of a key, and the sweep, move an identity that has expired to the ended
    # ones. A test cannot wait for the expiry.
    for name in "deployer", "waiting for the sweep":
        owner = account if name == "deployer" else one.create(name, "ServiceAccountReader")
        expired = one.call("POST", f"{ACCOUNTS}/{owner}/federated-identities", rule).json["id"]
        aws.client("dynamodb").update_item(
            TableName=one.stack.outputs["TableName"],
            Key={"pk": {"S": f"ACCOUNT#{owner}"}, "sk": {"S": "ACCOUNT"}},
            UpdateExpression="SET #keys.#identity.expiresAt = :past",
            ExpressionAttributeNames={"#keys": "keys", "#identity": expired},
            ExpressionAttributeValues={":past": {"N": "1"}},
        )
    one.issue(account)
    kept = [item["id"] for item in one.call("GET", identities).json["items"]]
    check("the expired identity is no longer listed", kept, [])

    # A token ends with its issuer, too.
    other = one.call("POST", identities, rule | {"singleUse": False}).json["id"]
    last = exchange(assertion(), of_jwt, audience=f"{account}/{other}").json["access_token"]
    examples[0].check("a token of another identity is allowed", last, 200)
    check("the issuer is deleted", one.call("DELETE", issuer).status, 204)
    for example in examples:
        example.check("the token of the deleted issuer is refused", last, example.unauthorized)
    moved = one.call("PUT", issuer, body | {"issuer": "https://other.example.com"})
    check("a name never gets another issuer", (moved.status, moved.json["code"]), (409, "issuer_changed"))
    activity = one.call("GET", f"{identities}/{other}/activity")
    check("the identity has activity", activity.status, 200)
    return [token, of_key, child, newer, last, key, used]


def pepper_version(aws: Aws, one: Environment, account: str, key: str) -> str:
    place = {"pk": {"S": f"ACCOUNT#{account}"}, "sk": {"S": "ACCOUNT"}}
    item = aws.client("dynamodb").get_item(TableName=one.stack.outputs["TableName"], Key=place, ConsistentRead=True)
    return item["Item"]["verifiers"]["M"][key]["M"]["pepper"]["S"]


def check_sweep(aws: Aws, one: Environment) -> None:
    """Runs the daily sweep, and receives its notices from the alarm topic."""
    queues, topics, database = aws.client("sqs"), aws.client("sns"), aws.client("dynamodb")
    may_send = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may_send]})
    queue = queues.create_queue(QueueName="mailbox", Attributes={"Policy": policy})["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topics.subscribe(TopicArn=one.stack.outputs["AlarmTopicArn"], Protocol="sqs", Endpoint=arn)

    # A test cannot wait for these times, so this changes them in the table.
    account = one.create("to be swept", "lister")
    narrow = {"role": "lister", "allowedCidrs": ["127.0.0.0/8"]}
    expired, soon, fresh, old = one.issue(account, **narrow)[0], *(one.issue(account)[0] for _ in range(3))
    rotated = one.call("POST", f"{ACCOUNTS}/{account}/keys/{old}/rotation", {"graceSeconds": 60})
    check("a key is rotated", rotated.status, 201)
    near = int(time.time()) + 20 * 86400
    for key, name, value in [(expired, "expiresAt", 2), (soon, "createdAt", 1), (soon, "expiresAt", near), (old, "retiresAt", 2)]:
        database.update_item(
            TableName=one.stack.outputs["TableName"],
            Key={"pk": {"S": f"ACCOUNT#{account}"}, "sk": {"S": "ACCOUNT"}},
            UpdateExpression="SET #keys.#key.#name = :value",
            ExpressionAttributeNames={"#keys": "keys", "#key": key, "#name": name},
            ExpressionAttributeValues={":value": {"N": str(value)}},
        )
    # The tools of a registration that was never completed.
    build = {"pk": {"S": "API#unused"}, "sk": {"S": "bld_AAAAAAAAAAAAAAAA#TOOLS#000"}}
    listed = {"gsi1pk": {"S": "BUILDS"}, "gsi1sk": {"S": "unused#bld_AAAAAAAAAAAAAAAA"}, "createdAt": {"N": "1"}}
    database.put_item(TableName=one.stack.outputs["TableName"], Item=build | listed | {"data": {"B": b"x"}})
    functions, name = aws.client("lambda"), one.stack.resources["SweepKeys"]
    swept = json.load(functions.invoke(FunctionName=name)["Payload"])
    actual = (swept.get("notices"), swept.get("retiredKeys"), swept.get("isFinished"))
    # Two keys, and the federated identity of `check_exchange`.
    check("the sweep publishes notices and retires what has ended", actual, (2, 3, True))
    check("the sweep deletes unused tools", "Item" in database.get_item(TableName=one.stack.outputs["TableName"], Key=build), False)
    live = sorted(key["id"] for key in one.call("GET", f"{ACCOUNTS}/{account}").json["keys"])
    check("the other keys stay", live, sorted([soon, fresh, rotated.json["id"]]))
    attention = one.call("GET", "/iam/v1/attention?reason=expiring&withinDays=30").json["items"]
    check("the key that expires soon needs attention", soon in [item["key"]["id"] for item in attention if "key" in item], True)
    for attempt in range(200):
        attention = one.call("GET", "/iam/v1/attention?reason=usedAfterEnd").json["items"]
        if attention:
            break
        time.sleep(0.1)
    check("a revoked key that is still used needs attention", "revoked" in [item.get("endReason") for item in attention], True)
    again = json.load(functions.invoke(FunctionName=name)["Payload"])
    check("the next sweep has nothing to do", (again.get("notices"), again.get("retiredKeys")), (0, 0))
    received = queues.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5).get("Messages", [])
    messages = [json.loads(json.loads(message["Body"])["Message"]) for message in received]
    texts = [f"the key 'a key' ({soon}) of the service account 'to be swept' ({account}; owner: none) {what}"
             for what in ("expires at", "was issued at")]
    found = [any(text in message for message in messages) for text in texts]
    check("both notices arrive as sentences", (len(messages), found), (2, [True, True]))
    rules = [rule for rule in aws.client("events").list_rules()["Rules"] if "ScheduleExpression" in rule]
    check("the sweep is scheduled", [rule["State"] for rule in rules], ["ENABLED"])


def break_glass(aws: Aws, command: str, *arguments: str) -> str:
    program = [sys.executable, INFRA / "break-glass.py", command, *arguments]
    done = subprocess.run(program, env=aws.environment, text=True, capture_output=True)
    check(f"break-glass.py {command} succeeds", (done.returncode, done.stderr), (0, ""))
    return done.stdout


def check_break_glass(aws: Aws, one: Environment, examples: list[Example], reader: str, key: str) -> None:
    """Changes the table with break-glass.py, with the same result as if Keyward had made
    the change. `key`, another key of the account `reader`, keeps working."""
    table, keys = one.stack.outputs["TableName"], f"{ACCOUNTS}/{reader}/keys"
    by = ("--table", table, "--by", "grace")
    actor = {"id": "break-glass", "name": "grace"}
    issued = one.call("POST", keys, {"name": "glass"}, attempt="glass").json
    examples[0].check("the new key is allowed", issued["secret"], 200)
    break_glass(aws, "revoke", *by, reader, issued["id"])
    for example in examples:
        example.check("a key revoked by hand is refused", issued["secret"], example.unauthorized)
        example.check("the account's other key is allowed", key, 200)
    shown = one.call("GET", f"{ACCOUNTS}/{reader}").json["retiredKeys"]
    check("the key's later use is counted and shown", ["usedAfterEndAt" in key for key in shown if key["id"] == issued["id"]], [True])
    check("revoking the key through the API succeeds", one.call("DELETE", f"{keys}/{issued['id']}").status, 204)
    check("a retry does not issue the key again", one.call("POST", keys, {"name": "glass"}, attempt="glass").status, 409)
    event = one.call("GET", f"{ACCOUNTS}/{reader}/events").json["items"][0]
    check("the event names the actor", (event["type"], event.get("keyId"), event["actor"]), ("key.revoked", issued["id"], actor))

    # The script revokes all keys of an account, and disables the account. Its records and
    # events have the same attributes as Keyward's.
    account = one.create("by-hand", "ServiceAccountReader")
    path = f"{ACCOUNTS}/{account}"
    first, *_ = (one.issue(account)[0] for _ in range(3))
    check("the API revokes one of three keys", one.call("DELETE", f"{path}/keys/{first}").status, 204)
    break_glass(aws, "revoke", *by, account, "--all")
    check("the script revokes the other two", one.call("GET", path).json["keys"], [])
    database = aws.client("dynamodb")
    for partition in "RETIRED#", "EVENTS#":
        values = {":pk": {"S": partition + account}}
        items = database.query(TableName=table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=values)["Items"]
        items = [item for item in items if item.get("type", {"S": "key.revoked"})["S"] == "key.revoked"]
        forms = [{(name, *value) for name, value in item.items()} for item in items]
        what = f"items written by hand under {partition} have the attributes of Keyward's items"
        check(what, (len(forms), [form ^ forms[0] for form in forms]), (3, [set()] * 3))
    _, fourth = one.issue(account)
    break_glass(aws, "disable", *by, account)
    examples[0].check("a key of an account disabled by hand is refused", fourth, examples[0].unauthorized)
    events = one.call("GET", f"{path}/events").json["items"]
    kinds = [event["type"] for event in events if event["actor"] == actor]
    check("each change by hand has its event", kinds, ["serviceAccount.updated", "key.revoked", "key.revoked"])
    check("the account can be enabled", one.call("PATCH", path, {"enabled": True}).status, 200)
    examples[0].check("the key of the enabled account is allowed", fourth, 200)
    check("the account can be deleted", one.call("DELETE", path).status, 204)


def check_single_function_deploy(aws: Aws, one: Environment) -> None:
    """Replaces the code of one function with cargo-lambda. Deploys the code of another function
    first, so that the replacement is visible."""
    functions, name = aws.client("lambda"), one.stack.resources["Whoami"]
    kept = ("Environment", "Handler", "MemorySize", "Role", "Runtime", "Timeout", "TracingConfig", "Architectures", "LoggingConfig")
    before = functions.get_function_configuration(FunctionName=name)
    # Cargo's tools are in the user's home folder.
    environment = aws.environment | {"HOME": os.environ["HOME"]}
    for binary, expected in ("list-service-accounts", 404), ("whoami", 200):
        command = ["cargo", "lambda", "deploy", "--binary-name", binary, name]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        check("cargo lambda deploy succeeds", (done.returncode, done.stderr if done.returncode else ""), (0, ""))
        check(f"{binary} runs", one.call("GET", "/iam/v1/whoami").status, expected)
    after = functions.get_function_configuration(FunctionName=name)
    check("the function's configuration is unchanged", {key: after.get(key) for key in kept}, {key: before.get(key) for key in kept})


def check_restore(aws: Aws, one: Environment, examples: list[Example]) -> None:
    """Restores accounts from a copy of the table, because the emulator has no
    point-in-time restore."""
    database, table = aws.client("dynamodb"), one.stack.outputs["TableName"]
    account, deleted = one.create("restored", "ServiceAccountReader"), one.create("deleted", "ServiceAccountReader")
    path = f"{ACCOUNTS}/{account}"
    (kept_id, kept), (revoked_id, revoked), (_, of_deleted) = one.issue(account), one.issue(account), one.issue(deleted)
    names = [{"AttributeName": name, "KeyType": kind} for name, kind in (("pk", "HASH"), ("sk", "RANGE"))]
    types = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
    database.create_table(TableName="restored", KeySchema=names, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST")
    for page in database.get_paginator("scan").paginate(TableName=table):
        for item in page["Items"]:
            database.put_item(TableName="restored", Item=item)
    time.sleep(0.01)
    instant = datetime.datetime.now(datetime.timezone.utc).isoformat()

    check("a key is revoked after the backup", one.call("DELETE", f"{path}/keys/{revoked_id}").status, 204)
    check("an account is deleted after the backup", one.call("DELETE", f"{ACCOUNTS}/{deleted}").status, 204)
    late_id, late = one.issue(account)
    check("another account is changed by mistake", one.call("PATCH", path, {"name": "damaged", "role": "ServiceAccountWriter"}).status, 200)
    output = break_glass(aws, "restore", "--table", table, "--since", instant, "restored")
    response = one.call("GET", path).json
    now = (response["name"], response["role"], [key["id"] for key in response["keys"]])
    check("the account is restored", now, ("restored", "ServiceAccountReader", [kept_id]))
    for example in examples:
        example.check("a key is allowed after a restore", kept, 200)
        example.check("a key that was revoked since is refused", revoked, example.unauthorized)
        example.check("a key of an account that was deleted since is refused", of_deleted, example.unauthorized)
        example.check("a key that was issued since is refused", late, example.unauthorized)
    check("the lost key is listed", f"LOST, ISSUED SINCE THE BACKUP: {late_id}" in output, True)
    check("each change since the backup is listed", "role: ServiceAccountReader → ServiceAccountWriter" in output, True)
    for name in "deleted", "damaged":
        one.create(name, "ServiceAccountReader")


def check_logs(aws: Aws, one: Environment, secrets: list[str]) -> None:
    """Checks that the logs have what the metrics need, and contain no credential."""
    logs = aws.client("logs")
    groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    printed = {}
    for group in groups:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        printed[group] = [event["message"] for page in pages for event in page["events"]]
    lines = [line for messages in printed.values() for line in messages]
    check("no credential is in the logs", [line for line in lines if any(secret in line for secret in secrets)], [])
    audit = [json.loads(line)["event_id"] for line in lines if '"message":"audit"' in line]
    # All events except those of break-glass.py, which no function wrote.
    table = aws.client("dynamodb").get_paginator("scan").paginate(TableName=one.stack.outputs["TableName"])
    events = [item["sk"]["S"] for page in table for item in page["Items"] if item["pk"]["S"].startswith("EVENTS#")
              and item["requestId"]["S"] != "break-glass"]
    audit = [event for event in audit if event in events]
    check("each event is one log line", sorted(audit), sorted(events))
    notices = [json.loads(line) for line in printed[one.stack.resources["SweepKeysLogs"]] if "notice published" in line]
    check("the sweep logs each notice", len(notices), 2)
    authorizer = printed[one.stack.resources["AuthorizerLogs"]]
    decisions = [json.loads(line) for line in authorizer if '"message":"decision"' in line]
    reasons = {decision.get("reason") for decision in decisions}
    expected = {"allowed", "malformed", "role", "revoked", "retired", "disabled", "foreign_environment", "reserved"}
    check("each decision's reason is in the log", expected - reasons, set())
    refused = [decision for decision in decisions if decision["reason"] not in ("allowed", "outage")]
    expected = {"DecisionsByReason": len(decisions), "Decisions": len(decisions), "Refusals": len(refused)}
    filters = logs.describe_metric_filters(logGroupName=one.stack.resources["AuthorizerLogs"])["metricFilters"]
    counted = {}
    for metric in filters:
        (transformation,) = metric["metricTransformations"]
        counted[transformation["metricName"]] = sum(matches(metric["filterPattern"], line) for line in authorizer)
    check("the metric filters count the lines", counted, expected)
    exchanges = printed[one.stack.resources["ExchangeTokenLogs"]]
    lines = [json.loads(line) for line in exchanges if '"message":"exchange"' in line]
    reasons = [line["reason"] for line in lines]
    check("each exchange's reason is in the log", {"issued", "replayed", "claim", "audience"} - set(reasons), set())
    filters = logs.describe_metric_filters(logGroupName=one.stack.resources["ExchangeTokenLogs"])["metricFilters"]
    counted = {}
    for metric in filters:
        (transformation,) = metric["metricTransformations"]
        counted[transformation["metricName"]] = sum(matches(metric["filterPattern"], line) for line in exchanges)
    refused = sum(reason not in ("issued", "listed", "unconfirmed", "outage") for reason in reasons)
    agents = printed[one.stack.resources["McpLogs"]]
    (metric,) = logs.describe_metric_filters(logGroupName=one.stack.resources["McpLogs"])["metricFilters"]
    lines_of_agents = [json.loads(line) for line in agents if '"message":"answered"' in line]
    outcomes = {line["outcome"] for line in lines_of_agents}
    expected = {"described", "listed", "not_permitted", "invalid_arguments", "no_credential", "malformed_credential", "credential_refused"}
    check("each outcome of an agent's request is in the log", expected - outcomes, set())
    counted_agents = sum(matches(metric["filterPattern"], line) for line in agents)
    check("the metric filter counts the requests of agents", counted_agents, len(lines_of_agents))
    check("the metric filters count the exchanges", counted, {"ExchangesByReason": len(lines), "ExchangeRefusals": refused})


def matches(pattern: str, line: str) -> bool:
    """Evaluates the part of CloudWatch's pattern syntax that the template uses, because
    the emulator does not."""
    terms = re.findall(r'\$\.(\w+) (!?=) "(\w+)"', pattern)
    if pattern != "{ " + " && ".join(f'$.{name} {operator} "{value}"' for name, operator, value in terms) + " }":
        raise ValueError(pattern)
    if not line.startswith("{"):
        return False
    fields = json.loads(line)
    return all((fields.get(name) == value) == (operator == "=") for name, operator, value in terms)


def with_debug_builds(aws: Aws) -> pathlib.Path:
    """Creates the output of `sam build` with debug builds. Returns the template's path."""
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--workspace", "--bins"], cwd=ROOT, check=True)
    template = yaml_parse((INFRA / "template.yaml").read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            binary = resource["Metadata"]["BuildProperties"]["Binary"]
            folder = pathlib.Path(aws.folder.name) / "debug" / binary
            # Two functions use the same binary.
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "target" / "debug" / binary, folder / "bootstrap")
            resource["Properties"]["CodeUri"] = str(folder)
    path = pathlib.Path(aws.folder.name) / "debug" / "template.yaml"
    path.write_text(yaml_dump(template))
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--debug", action="store_true")
    debug = parser.parse_args().debug
    with Aws() as aws:
        with PublicApi(aws, pathlib.Path(aws.folder.name)) as public:
            run_story(aws, public, debug)
    check("no process is left running", aws.children(), [])
    finish()


if __name__ == "__main__":
    main()
