"""Checks a deployed Keyward stack against real AWS, in about ten minutes.

    python3 first-deploy.py --stack keyward-prod --admin-token-file token

It deploys the two example APIs and its own test APIs, which use Keyward's authorizer,
takes a service account and its keys from creation to deletion, and shows how AWS
behaves where its documentation leaves questions open. Each step prints one line:
ok, failed, or n/a (not possible here) with the reason. At the end, even after a
failure or Ctrl-C, the script deletes everything that it created. It prints no key and
no token.

The admin's token must be a token of the IAM client (operate.md, "Tokens for the
command line"). It is read from the file, from standard input (`-`) or from
KEYWARD_ADMIN_TOKEN, never from the command line, which other users of the machine
can see.

The exit status is 0 if no step failed, 1 if one did, and 130 after Ctrl-C.
"""

import argparse
import contextlib
import datetime
import http.client
import json
import os
import pathlib
import re
import secrets
import signal
import sys
import time
import urllib.parse

import boto3
from botocore.exceptions import ClientError

FOLDER = pathlib.Path(__file__).resolve().parent
ACCOUNTS, ROLES = "/iam/v1/service-accounts", "/iam/v1/roles"
OK, FAILED, NOT_POSSIBLE = "ok", "failed", "n/a"
# The forms of paths that the probes send: the name of each form, and the end of its path.
PATHS = [
    ("plain", "plain"),
    ("%20 (space)", "a%20b"),
    ("%2F (slash)", "a%2Fb"),
    ("%C3%A9 (UTF-8)", "caf%C3%A9"),
    ("%25 (percent)", "a%25b"),
    ("%3F (question mark)", "a%3Fb"),
    ("%2B (plus)", "a%2Bb"),
    ("trailing slash", "a/"),
]


class Failed(Exception):
    """Why a step failed."""


class NotPossible(Exception):
    """Why a step is not possible here."""


class Step:
    """One line of the report."""

    def __init__(self, name: str) -> None:
        self.name, self.state, self.detail, self.data = name, OK, "", {}


class Report:
    """Prints each step once, as text or as a line of JSON, without secrets."""

    def __init__(self, as_json: bool) -> None:
        self.as_json, self.steps, self.secrets = as_json, [], []

    def clean(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "[secret]")
        # Also removes credentials that this script does not know.
        return re.sub(r"kw(sa|st)_[0-9a-z]{1,12}_\w{20,}|eyJ[\w-]+\.[\w-]+\.[\w-]+", "[secret]", text)

    def add(self, step: Step) -> None:
        self.steps.append(step)
        if self.as_json:
            line = {"step": step.name, "state": step.state, "detail": step.detail} | step.data
            self.write(json.dumps(line, ensure_ascii=False))
        else:
            self.write(f"{step.state:<6} {step.name}" + (f": {step.detail}" if step.detail else ""))

    def write(self, text: str) -> None:
        print(self.clean(text), flush=True)

    def count(self, state: str) -> int:
        return sum(step.state == state for step in self.steps)

    def total(self, seconds: float) -> None:
        counts = {state: self.count(state) for state in (OK, FAILED, NOT_POSSIBLE)}
        if self.as_json:
            self.write(json.dumps({"total": counts, "seconds": round(seconds)}))
        else:
            summary = f"{counts[OK]} ok, {counts[FAILED]} failed, {counts[NOT_POSSIBLE]} not possible here"
            self.write(f"\n{summary}, in {seconds:.0f} s")

    @contextlib.contextmanager
    def step(self, name: str):
        """Runs a step. An error becomes the step's line, and the run continues with the
        next step. Ctrl-C ends the run."""
        step = Step(name)
        try:
            yield step
        except NotPossible as reason:
            step.state, step.detail = NOT_POSSIBLE, str(reason)
        except Failed as reason:
            step.state, step.detail = FAILED, str(reason)
        except KeyboardInterrupt:
            step.state, step.detail = FAILED, "interrupted"
            raise
        except Exception as error:  # The step fails, and the run continues.
            step.state, step.detail = FAILED, f"{type(error).__name__}: {error}"[:500]
        finally:
            self.add(step)


class Answer:
    """A response, and how long it took."""

    def __init__(self, response: http.client.HTTPResponse, seconds: float) -> None:
        self.status, self.seconds = response.status, seconds
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.text = response.read().decode("utf-8", "replace")
        # An HTTP API sends its request id in the first header, a REST API in the second.
        self.request_id = self.headers.get("apigw-requestid") or self.headers.get("x-amzn-requestid")

    @property
    def json(self) -> dict:
        try:
            body = json.loads(self.text)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}


class Api:
    """An API, by its host. Paths are sent exactly as given."""

    def __init__(self, host: str, prefix: str = "", endpoint: str | None = None) -> None:
        self.host, self.prefix, self.endpoint = host, prefix, endpoint

    def call(self, method: str, path: str, token: str | None = None, body: object = None) -> Answer:
        headers = {"User-Agent": "keyward-first-deploy"}
        if token is not None:
            headers["Authorization"] = token if token.startswith("raise ") else f"Bearer {token}"
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(16)
        if body is not None:
            headers["Content-Type"], body = "application/json", json.dumps(body)
        if self.endpoint:
            connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.endpoint).netloc, timeout=60)
            headers["Host"] = self.host
        else:
            connection = http.client.HTTPSConnection(self.host, timeout=60)
        with contextlib.closing(connection):
            started = time.monotonic()
            connection.request(method, self.prefix + path, body, headers)
            return Answer(connection.getresponse(), time.monotonic() - started)


def expect(answer: Answer, status: int, what: str = "") -> Answer:
    if answer.status != status:
        code = answer.json.get("code") or answer.json.get("message") or answer.json.get("Message") or ""
        raise Failed(f"{what}{' ' if what else ''}status {answer.status} {code}, expected {status}")
    return answer


def until(seconds: float, attempt, pause: float = 1.0):
    """Calls `attempt` until it returns a value other than None, or for `seconds`.
    Returns the last value."""
    end = time.monotonic() + seconds
    while (found := attempt()) is None and time.monotonic() < end:
        time.sleep(pause)
    return found


class Stack:
    """A stack from a template in examples/ or this folder, deployed during the run."""

    def __init__(self, formation, name: str, template: str, parameters: dict[str, str]) -> None:
        self.formation, self.name, self.template, self.parameters = formation, name, template, parameters

    def create(self) -> "Stack":
        self.formation.create_stack(
            StackName=self.name,
            TemplateBody=(FOLDER / self.template).read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()],
            # Functions have roles, and the SAM transform creates some of the resources.
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            OnFailure="DO_NOTHING",
        )
        return self

    def wait(self) -> None:
        status = until(600, lambda: None if (found := self.status()).endswith("_IN_PROGRESS") else found, 3)
        if status != "CREATE_COMPLETE":
            raise Failed(f"the stack {self.name} is {status or 'not ready after 10 minutes'}: {self.first_failure()}")
        (stack,) = self.formation.describe_stacks(StackName=self.name)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def status(self) -> str:
        try:
            return self.formation.describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return "DELETE_COMPLETE"
            raise

    def first_failure(self) -> str:
        events = self.formation.describe_stack_events(StackName=self.name)["StackEvents"]
        failures = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
        return failures[-1].get("ResourceStatusReason", "") if failures else "no stack event gives a reason"

    def functions(self) -> list[str]:
        with contextlib.suppress(ClientError):
            resources = self.formation.describe_stack_resources(StackName=self.name)["StackResources"]
            kind = "AWS::Lambda::Function"
            return [
                item["PhysicalResourceId"]
                for item in resources
                if item["ResourceType"] == kind and "PhysicalResourceId" in item
            ]
        return []


class Probe:
    """A request whose decision is read from the authorizer's log."""

    def __init__(self, name: str, api: Api, path: str, answer: Answer) -> None:
        self.name, self.path, self.sent, self.answer = name, path, api.prefix + path, answer
        self.line: dict | None = None


class Checklist:
    def __init__(self, given: argparse.Namespace, token: str) -> None:
        self.given, self.token = given, token
        self.report = Report(given.json)
        self.report.secrets.append(token)
        session = boto3.Session(region_name=given.region)
        self.client = lambda service: session.client(service, endpoint_url=given.endpoint_url)
        self.region = session.region_name
        self.id = secrets.token_hex(4)
        self.name = f"first-deploy-{self.id}"
        self.role = f"FirstDeploy-{self.id}"
        self.started = time.time()
        # Everything that clean_up has to remove.
        self.stacks: list[Stack] = []
        self.made_role = self.made_account = False
        self.api: Api | None = None
        self.account = self.key = self.key_id = None
        self.probe_stack: Stack | None = None
        self.shops: dict[str, Api] = {}
        # The request ids of the key's requests that a role refused.
        self.refused: set[str | None] = set()
        self.probes: list[Probe] = []
        self.claimed: set[tuple] = set()
        self.noticed_at: datetime.datetime | None = None

    # ------------------------------------------------------------- the run ----

    def run(self) -> int:
        interrupted = False
        try:
            self.check()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self.clean_up()
        self.report.total(time.time() - self.started)
        return 130 if interrupted else 1 if self.report.count(FAILED) else 0

    def check(self) -> None:
        self.read_stack()
        if self.api is None:
            return
        self.deploy_apis()
        self.create()
        self.call()
        self.read_back()
        self.change()
        self.rotate()
        self.notice()
        self.probe_decisions()
        self.show_events()
        self.show_errors()
        self.show_challenge()
        self.show_limits()
        self.revoke()
        self.read_logs()
        self.read_metrics()

    def need(self, *values: object) -> None:
        if any(value is None for value in values):
            raise NotPossible("an earlier step failed")

    def host(self, api: str) -> str:
        if self.given.endpoint_url:
            return f"{api}.execute-api.localhost"
        return f"{api}.execute-api.{self.region}.{self.suffix}"

    def at(self, api: str, prefix: str = "") -> Api:
        return Api(self.host(api), prefix, self.given.endpoint_url)

    def admin(self, method: str, path: str, body: object = None) -> Answer:
        return self.api.call(method, path, self.token, body)

    # ----------------------------------------------------------- the steps ----

    def read_stack(self) -> None:
        with self.report.step(f"read the stack {self.given.stack}") as step:
            formation = self.client("cloudformation")
            (stack,) = formation.describe_stacks(StackName=self.given.stack)["Stacks"]
            self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
            self.parameters = {item["ParameterKey"]: item["ParameterValue"] for item in stack.get("Parameters", [])}
            pages = formation.get_paginator("list_stack_resources").paginate(StackName=self.given.stack)
            resources = [item for page in pages for item in page["StackResourceSummaries"]]
            self.resources = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in resources}
            self.groups = {
                item["LogicalResourceId"]: item["PhysicalResourceId"]
                for item in resources
                if item["ResourceType"] == "AWS::Logs::LogGroup"
            }
            api, _, rest = urllib.parse.urlsplit(self.outputs["ApiUrl"]).netloc.partition(".execute-api.")
            self.suffix = rest.partition(".")[2]
            step.detail = f"{stack['StackStatus']}, region {self.region}"
            reached = self.at(api)
            answer = expect(reached.call("GET", "/iam/v1/whoami", self.token), 200, "whoami with the admin's token:")
            if answer.json.get("principalType") != "admin":
                raise Failed("the token does not belong to an admin")
            self.api = reached

    def deploy_apis(self) -> None:
        formation, arn = self.client("cloudformation"), self.outputs["AuthorizerArn"]
        parameters = {"AuthorizerArn": arn, "TableName": self.outputs["TableName"]}
        parameters["TopicArn"] = self.outputs.get("AlarmTopicArn", "")
        if self.given.domain:
            parameters |= {"Domain": self.given.domain, "BasePath": self.given.base_path}
        example = {"AuthorizerArn": arn}
        wanted = [
            Stack(formation, f"{self.given.stack}-{self.name}-http", "examples/http-api.yaml", example),
            Stack(formation, f"{self.given.stack}-{self.name}-rest", "examples/rest-api.yaml", example),
            Stack(formation, f"{self.given.stack}-{self.name}-probe", "first-deploy.yaml", parameters),
        ]
        for stack in wanted:
            with self.report.step(f"start to deploy {stack.template}"):
                # Added before the call, because the stack can exist even if the response is lost.
                self.stacks.append(stack)
                stack.create()
        for stack in self.stacks:
            with self.report.step(f"deploy {stack.template}"):
                stack.wait()
                if stack.template == "first-deploy.yaml":
                    self.probe_stack = stack
                    continue
                prefix = "" if "http" in stack.template else "/v1"
                api = self.at(stack.outputs["ApiId"], prefix)
                # A new API can take some time to become reachable.
                status = until(120, lambda: self.without_credential(api), 2)
                if status is None:
                    raise Failed("a request without a credential does not get 401")
                self.shops[stack.template.removeprefix("examples/").removesuffix(".yaml")] = api

    def without_credential(self, api: Api) -> int | None:
        with contextlib.suppress(OSError):
            return status if (status := api.call("GET", "/organizations").status) == 401 else None
        return None

    def create(self) -> None:
        permissions = ["GET /organizations", "GET /probe/{proxy+}"]
        with self.report.step("create a custom role"):
            self.made_role = True
            expect(self.admin("PUT", f"{ROLES}/{self.role}", {"permissions": permissions}), 201)
        with self.report.step("create a service account with the role"):
            self.made_account = True
            answer = expect(self.admin("POST", ACCOUNTS, {"name": self.name, "role": self.role}), 201)
            self.account = answer.json["id"]
        with self.report.step("issue a key"):
            self.need(self.account)
            self.key_id, self.key = self.issue()
            if "secret" in self.admin("GET", f"{ACCOUNTS}/{self.account}").text:
                raise Failed("the response about the account contains a secret")

    def issue(self) -> tuple[str, str]:
        body = {"name": "first deploy", "expiresInDays": 30}
        answer = expect(self.admin("POST", f"{ACCOUNTS}/{self.account}/keys", body), 201)
        self.report.secrets.append(answer.json["secret"])
        return answer.json["id"], answer.json["secret"]

    def call(self) -> None:
        for name, api in self.shops.items():
            with self.report.step(f"{name}: the key is allowed") as step:
                self.need(self.key)
                answer = expect(api.call("GET", "/organizations", self.key), 200)
                if self.key in answer.text:
                    raise Failed("the backend's response contains the key")
                again = expect(api.call("GET", "/organizations", self.key), 200)
                step.detail = f"{answer.seconds * 1000:.0f} ms, then {again.seconds * 1000:.0f} ms"
            with self.report.step(f"{name}: the role refuses another route"):
                self.need(self.key)
                answer = expect(api.call("POST", "/organizations", self.key), 403)
                self.refused.add(answer.request_id)
            with self.report.step(f"{name}: a bad key is refused") as step:
                self.need(self.key)
                bad = self.key[:-1] + ("a" if self.key[-1] != "a" else "b")
                answer = api.call("GET", "/organizations", bad)
                if answer.status not in (401, 403):
                    raise Failed(f"status {answer.status}")
                step.detail = f"status {answer.status}"
            with self.report.step(f"{name}: the admin's IAM token is refused"):
                expect(api.call("GET", "/organizations", self.token), 403)

    def read_back(self) -> None:
        with self.report.step("whoami with the key"):
            self.need(self.key)
            answer = expect(self.api.call("GET", "/iam/v1/whoami", self.key), 200)
            if (answer.json.get("principalId"), answer.json.get("keyId")) != (self.account, self.key_id):
                raise Failed("the response names a different account or key")
        with self.report.step("the key cannot manage accounts"):
            self.need(self.key)
            expect(self.api.call("POST", ACCOUNTS, self.key, {"name": "x", "role": self.role}), 403)
        with self.report.step("list the account, its role and its events"):
            self.need(self.account)
            query = urllib.parse.urlencode({"prefix": self.name})
            ids = until(15, lambda: [self.account] if self.account in self.listed(f"{ACCOUNTS}?{query}") else None)
            if ids is None:
                raise Failed("the account is not in the list")
            if self.role not in self.listed(ROLES, "name"):
                raise Failed("the role is not in the list")
            kinds = self.listed(f"{ACCOUNTS}/{self.account}/events", "type")
            if not {"serviceAccount.created", "key.issued"} <= set(kinds):
                raise Failed(f"the events are {kinds}")
            expect(self.admin("GET", f"/iam/v1/events?account={self.account}"), 200)
        with self.report.step("the activity of the key has its requests") as step:
            self.need(self.key_id)
            if not self.shops:
                raise NotPossible("no API was deployed")
            until(30, lambda: self.activity_differs() is None)
            problem = self.activity_differs()
            if problem is not None:
                raise Failed(f"after 30 s, {problem}")
            total = expect(self.admin("GET", "/iam/v1/activity"), 200).json["last24Hours"]
            found = self.refused <= self.refusals().keys()
            step.detail = f"all keys: {total['allowed']} allowed, {total['refused']} refused; "
            step.detail += f"the responses' request ids are {'found' if found else 'not found'} in the activity"

    def listed(self, path: str, member: str = "id") -> list[str]:
        items = []
        cursor = None
        while True:
            more = f"{'&' if '?' in path else '?'}cursor={urllib.parse.quote(cursor)}" if cursor else ""
            page = expect(self.admin("GET", path + more), 200).json
            items += [item[member] for item in page["items"]]
            cursor = page.get("nextCursor")
            if not cursor:
                return items

    def activity(self) -> dict:
        return expect(self.admin("GET", f"{ACCOUNTS}/{self.account}/keys/{self.key_id}/activity"), 200).json

    def refusals(self) -> dict[str, str | None]:
        """The missing permission of each refused request of the key, by request id."""
        return {refusal["requestId"]: refusal.get("missingPermission") for refusal in self.activity()["recentRefusals"]}

    def activity_differs(self) -> str | None:
        """How the key's activity differs from the requests made. The authorizers write activity after
        their responses."""
        activity = self.activity()
        # Each API allowed two requests, and the IAM API allowed whoami.
        allowed, expected = activity["last24Hours"]["allowed"], 2 * len(self.shops) + 1
        if allowed != expected:
            return f"{allowed} requests are counted as allowed instead of {expected}"
        refused = list(self.refusals().values()).count("POST /organizations")
        if refused != len(self.shops):
            return f"{refused} refused requests name the missing permission `POST /organizations` instead of {len(self.shops)}"
        return None if "lastUsedAt" in activity else "there is no lastUsedAt"

    def change(self) -> None:
        """Calls the operations that no other step calls."""
        with self.report.step("update the account, replace the role, explain a decision, look up the key"):
            self.need(self.key)
            expect(self.admin("PATCH", f"{ACCOUNTS}/{self.account}", {"description": "A first deploy"}), 200, "PATCH:")
            role = expect(self.admin("GET", f"{ROLES}/{self.role}"), 200, "GET role:").json
            changed = {"permissions": role["permissions"], "description": "A first deploy"}
            expect(self.admin("PUT", f"{ROLES}/{self.role}", changed), 200, "PUT role:")
            asked = {"serviceAccountId": self.account, "keyId": self.key_id, "method": "GET", "path": "/organizations"}
            if not expect(self.admin("POST", f"{ROLES}/explain", asked), 200, "explain:").json.get("allowed"):
                raise Failed("explain says that the key cannot read /organizations")
            if not expect(self.admin("POST", "/iam/v1/keys/lookup", {"key": self.key}), 200, "lookup:").json.get("alive"):
                raise Failed("lookup says that the key is not alive")
            answer = self.admin("DELETE", f"{ROLES}/{self.role}")
            expect(answer, 409, "deletion of a role in use:")

    def rotate(self) -> None:
        with self.report.step("rotate the key, with a grace period of 10 minutes"):
            self.need(self.key)
            path = f"{ACCOUNTS}/{self.account}/keys/{self.key_id}/rotation"
            answer = expect(self.admin("POST", path, {"graceSeconds": 600}), 201)
            self.report.secrets.append(answer.json["secret"])
            old, (self.key_id, self.key) = self.key, (answer.json["id"], answer.json["secret"])
            for name, api in self.shops.items():
                expect(api.call("GET", "/organizations", self.key), 200, f"{name}, the new key:")
                expect(api.call("GET", "/organizations", old), 200, f"{name}, the old key in its grace period:")

    def notice(self) -> None:
        """Makes one of this script's own keys look older in the table, because a notice
        is due only for a key near its expiry, and a new key never is."""
        with self.report.step("a notice of an expiring key reaches the alarm topic") as step:
            self.need(self.account, self.probe_stack)
            if "AlarmTopicArn" not in self.outputs:
                raise NotPossible("the stack has no AlarmEmail, so notices are sent nowhere")
            noticed, _ = self.issue()
            try:
                self.client("dynamodb").update_item(
                    TableName=self.outputs["TableName"],
                    Key={"pk": {"S": f"ACCOUNT#{self.account}"}, "sk": {"S": "ACCOUNT"}},
                    UpdateExpression="SET #keys.#key.createdAt = :old",
                    ConditionExpression="attribute_exists(#keys.#key)",
                    ExpressionAttributeNames={"#keys": "keys", "#key": noticed},
                    ExpressionAttributeValues={":old": {"N": str(int(time.time()) - 40 * 86400)}},
                )
            except ClientError as error:
                if "AccessDenied" in error.response["Error"]["Code"]:
                    raise NotPossible(
                        "the AWS credentials have no permission to write to the table, so no key can be made to expire soon"
                    ) from error
                raise
            began = datetime.datetime.now(datetime.timezone.utc)
            # The sweep reads the index, which can lag behind the table.
            swept = until(30, lambda: self.sweep(), 3)
            if swept is None:
                raise Failed("the sweep published no notice")
            step.data = {"swept": swept}
            message = until(self.given.wait, lambda: self.mail(noticed), 2)
            if message is None:
                counts = ", ".join(f"{name} {count}" for name, count in self.delivery(began).items())
                raise Failed(f"no notice arrived within {self.given.wait} s: {counts}")
            self.noticed_at = began

    def sweep(self) -> dict | None:
        answer = self.client("lambda").invoke(FunctionName=self.resources["SweepKeys"], Payload=b"{}")
        swept = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise Failed(f"the sweep failed: {swept.get('errorMessage', '')}")
        return swept if swept.get("notices") else None

    def mail(self, key: str) -> str | None:
        queues, url = self.client("sqs"), self.probe_stack.outputs["MailboxUrl"]
        received = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5).get("Messages", [])
        return next((message["Body"] for message in received if key in message["Body"]), None)

    def delivery(self, began: datetime.datetime) -> dict[str, object]:
        """The counts of EventBridge and SNS for the notice.
        (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html,
        https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html)"""
        topic = self.outputs["AlarmTopicArn"].rpartition(":")[2]
        rule = self.resources.get("NoticeRule", "").rpartition("|")[2]
        wanted = [
            ("AWS/Events", "TriggeredRules", "RuleName", rule),
            ("AWS/Events", "FailedInvocations", "RuleName", rule),
            ("AWS/SNS", "NumberOfMessagesPublished", "TopicName", topic),
        ]
        counts = {}
        for namespace, metric, dimension, value in wanted:
            points = self.client("cloudwatch").get_metric_statistics(
                Namespace=namespace,
                MetricName=metric,
                Dimensions=[{"Name": dimension, "Value": value}],
                StartTime=began - datetime.timedelta(minutes=1),
                EndTime=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1),
                Period=60,
                Statistics=["Sum"],
            )["Datapoints"]
            counts[metric] = int(sum(point["Sum"] for point in points)) if points else "not counted"
        return counts

    def read_metrics(self) -> None:
        with self.report.step("EventBridge and SNS counted the notice") as step:
            if self.noticed_at is None:
                raise NotPossible("no notice arrived")
            published = lambda: self.delivery(self.noticed_at)["NumberOfMessagesPublished"]
            until(self.given.wait, lambda: True if published() != "not counted" else None, 10)
            step.data = counts = self.delivery(self.noticed_at)
            step.detail = ", ".join(f"{name} {count}" for name, count in counts.items())
            if counts["FailedInvocations"] not in (0, "not counted"):
                raise Failed(step.detail)
            if counts["NumberOfMessagesPublished"] == "not counted":
                raise NotPossible(f"CloudWatch has no count of SNS messages after {self.given.wait} s")

    # ----------------------------------------------------- how AWS behaves ----

    def places(self, seen: bool) -> list[tuple[str, Api, str]]:
        """The targets of the probes: the name of each, its API, and the path up to the
        parameter."""
        outputs = self.probe_stack.outputs
        http_api = outputs["SeenApiId" if seen else "KeywardApiId"]
        rest = "/seen" if seen else "/probe"
        places = [
            ("HTTP API, /{id}", self.at(http_api), "/probe/one/"),
            ("HTTP API, /{proxy+}", self.at(http_api), "/probe/any/x/"),
            ("HTTP API, $default", self.at(http_api), "/probe/else/"),
            ("HTTP API, named stage", self.at(http_api, "/named"), "/probe/any/x/"),
            ("REST API, /{id}", self.at(outputs["RestApiId"], "/v1"), f"{rest}/one/"),
            ("REST API, /{proxy+}", self.at(outputs["RestApiId"], "/v1"), f"{rest}/any/x/"),
        ]
        if seen:
            places.append(("HTTP API, format 1.0", self.at(http_api), "/format1/any/x/"))
            places.append(("REST API, TOKEN", self.at(outputs["RestApiId"], "/v1"), "/token/any/x/"))
        if self.given.domain and (seen or self.has_base_path()):
            base = f"/{self.given.base_path}{'-seen' if seen else ''}"
            places.append(("custom domain", Api(self.given.domain, base, self.given.endpoint_url), "/probe/any/x/"))
        return places

    def has_base_path(self) -> bool:
        return f"/{self.given.base_path}" in self.parameters.get("BasePaths", "").split(",")

    def probe_decisions(self) -> None:
        """Sends each form of path to each kind of API. The decisions are read from the
        log at the end."""
        with self.report.step("decisions behind a custom domain"):
            if not self.given.domain:
                raise NotPossible("no --domain was given")
            if not self.has_base_path():
                raise NotPossible(f"the stack's BasePaths do not include /{self.given.base_path}: only the events are shown")
        with self.report.step("send probes to the APIs that Keyward authorizes") as step:
            self.need(self.key, self.probe_stack)
            for place, api, path in self.places(seen=False):
                until(30, lambda: self.reached(api, path, self.key), 2)
                for form, text in PATHS:
                    if self.given.endpoint_url:
                        self.new_lines()
                    probe = Probe(f"{place}: {form}", api, path + text, api.call("GET", path + text, self.key))
                    self.probes.append(probe)
                    if self.given.endpoint_url:
                        # The emulator's responses do not have the authorizer's request
                        # id. The new line in the log is the line of this request.
                        probe.line = until(15, lambda: next(iter(self.new_lines()), None), 0.1)
            step.detail = f"{len(self.probes)} requests"

    def reached(self, api: Api, path: str, credential: str) -> bool | None:
        """Returns True if a new API is reachable already, which can take some seconds."""
        with contextlib.suppress(OSError):
            return True if api.call("GET", f"{path}plain", credential).status == 200 else None
        return None

    def new_lines(self) -> list[dict]:
        """The decisions that were not returned before."""
        lines = []
        for event in self.events("AuthorizerLogs"):
            line, place = parse(event["message"]), (event["logStreamName"], event["timestamp"], event["message"])
            if line.get("message") == "decision" and place not in self.claimed:
                self.claimed.add(place)
                lines.append(line)
        return lines

    def show_events(self) -> None:
        """Shows the path and the ARN of real events. The authorizer of these APIs allows
        every request and returns its event."""
        with self.report.step("send the same paths to APIs whose authorizer shows its event"):
            self.need(self.probe_stack)
            places = self.places(seen=True)
        if self.probe_stack is None:
            return
        for place, api, path in places:
            until(30, lambda: self.reached(api, path, "shown"), 2)
            for form, text in PATHS:
                with self.report.step(f"event, {place}: {form}") as step:
                    answer = api.call("GET", f"{path}{text}", "shown")
                    seen = answer.json.get("authorizer") or {}
                    step.data = {"sent": api.prefix + path + text, "status": answer.status, "event": seen}
                    step.data["backendPath"] = answer.json.get("path")
                    if answer.status != 200:
                        raise NotPossible(f"{api.prefix}{path}{text} gets status {answer.status}, so there is no event to show")
                    arn = path_of(seen.get("arn", ""))
                    step.detail = f"sent {api.prefix}{path}{text}; ARN path {arn}; path {seen.get('path', 'none')}; backend {answer.json.get('path')}"

        with self.report.step("responses name the request id of the authorizer's event") as step:
            for place, api, path in places[0], places[5]:
                answer = api.call("GET", f"{path}plain", "shown")
                same = (answer.json.get("authorizer") or {}).get("requestId") == answer.request_id
                step.data[place] = same
            step.detail = ", ".join(f"{place}: {'yes' if same else 'no'}" for place, same in step.data.items())

    def show_errors(self) -> None:
        """Shows what a client gets if the authorizer's function returns an error."""
        cases = [
            ("HTTP API, format 2.0", "SeenApiId", "", "/probe/any/x"),
            ("HTTP API, format 1.0", "SeenApiId", "", "/format1/any/x"),
            ("REST API, REQUEST", "RestApiId", "/v1", "/seen/any/x"),
        ]
        for name, api_id, prefix, path in cases:
            for message in "Unauthorized", "Unavailable":
                with self.report.step(f"an authorizer's error `{message}`, {name}") as step:
                    self.need(self.probe_stack)
                    answer = self.at(self.probe_stack.outputs[api_id], prefix).call("GET", path, f"raise {message}")
                    kind = answer.json.get("responseType")
                    step.data = {"status": answer.status, "responseType": kind}
                    step.detail = f"status {answer.status}" + (f", gateway response {kind}" if kind else "")

    def show_challenge(self) -> None:
        """Shows what an agent without a key gets, and whether it finds the token endpoint."""
        url = urllib.parse.urlsplit(self.outputs.get("McpUrl", ""))
        api, path = self.resources.get("McpApi"), f"{url.path}/first-deploy"
        # With a custom domain, the address of API Gateway is off.
        server = self.at(api) if ".execute-api." in url.netloc else Api(url.netloc, endpoint=self.given.endpoint_url)
        with self.report.step("the challenge of the MCP server") as step:
            answer = expect(server.call("POST", path, body={}), 401)
            names = [name for name in answer.headers if "authenticate" in name]
            step.data = {name: answer.headers[name] for name in names}
            step.detail = ", ".join(names) or "no header"
        with self.report.step("the metadata of the MCP server") as step:
            answer = expect(server.call("GET", f"/.well-known/oauth-protected-resource{path}"), 200)
            step.detail = str(answer.json.get("authorization_servers"))
            if answer.json.get("authorization_servers") != [self.outputs["ApiUrl"]]:
                raise Failed(f"the metadata name {step.detail}")

    def show_limits(self) -> None:
        """Shows the effect of two policy conditions that AWS does not document."""
        result: dict = {}
        with self.report.step("call the function whose policy allows only part of its calls"):
            self.need(self.account, self.probe_stack)
            payload = json.dumps({"account": self.account}).encode()
            answer = self.client("lambda").invoke(FunctionName=self.probe_stack.outputs["LimitsName"], Payload=payload)
            result = json.loads(answer["Payload"].read())
            if answer.get("FunctionError"):
                raise Failed(result.get("errorMessage", "the function failed"))
        with self.report.step("`dynamodb:Attributes` and the old item of a write whose condition fails") as step:
            old = result.get("oldItem")
            self.need(old)
            step.data = old
            step.detail = f"{old['error']}; attributes returned: {', '.join(old['attributes']) or 'none'}"
        with self.report.step("`events:source` and a batch of two events, one of them not allowed") as step:
            batch = result.get("batch")
            self.need(batch)
            step.data = batch
            step.detail = batch["error"] or ", ".join(batch["entries"])

    def revoke(self) -> None:
        with self.report.step("revoke the key"):
            self.need(self.key)
            expect(self.admin("DELETE", f"{ACCOUNTS}/{self.account}/keys/{self.key_id}"), 204)
        for name, api in self.shops.items():
            with self.report.step(f"{name}: the next call is refused") as step:
                self.need(self.key)
                answer = api.call("GET", "/organizations", self.key)
                if answer.status not in (401, 403):
                    raise Failed(f"status {answer.status}")
                step.detail = f"status {answer.status}"
        with self.report.step("revoke every other key"):
            self.need(self.account)
            expect(self.admin("DELETE", f"{ACCOUNTS}/{self.account}/keys"), 200)

    # --------------------------------------------------------------- the logs ----

    def events(self, group: str) -> list[dict]:
        """The events of a log group, by its logical id, since the run began."""
        pages = (
            self.client("logs")
            .get_paginator("filter_log_events")
            .paginate(
                # A minute earlier, because this machine's clock may be ahead of AWS's.
                logGroupName=self.groups[group],
                startTime=int((self.started - 60) * 1000),
            )
        )
        return [event for page in pages for event in page["events"]]

    def find_lines(self) -> bool | None:
        """Finds each probe's line in the log. Returns True once all are found."""
        decisions = {}
        for event in self.events("AuthorizerLogs"):
            line = parse(event["message"])
            if line.get("message") == "decision":
                decisions[line.get("request_id")] = line
        for probe in self.probes:
            probe.line = probe.line or decisions.get(probe.answer.request_id)
        return True if all(probe.line for probe in self.probes if probe.answer.status not in (400, 404)) else None

    def read_logs(self) -> None:
        until(self.given.wait, self.find_lines, 5)
        for probe in self.probes:
            with self.report.step(f"decision, {probe.name}") as step:
                line, status = probe.line, probe.answer.status
                step.data = {"sent": probe.sent, "status": status, "backendPath": probe.answer.json.get("path")}
                if line is None:
                    raise NotPossible(f"{probe.sent} gets status {status}, and the authorizer's log has no line for it")
                step.data |= {name: line.get(name) for name in ("reason", "method", "path", "source", "request_id")}
                reason = line.get("reason")
                step.detail = f"sent {probe.sent}; status {status}; {reason}; path {line.get('path', 'not logged')}"
                surprising = reason in ("path_mismatch", "outage") or status >= 500
                # The plain form must pass everywhere.
                if surprising or (probe.name.endswith(": plain") and (status, reason) != (200, "allowed")):
                    raise Failed(step.detail)
        found: dict[str, list[str]] = {"AccessDenied": [], "path_mismatch": [], "outage": []}
        with self.report.step("read the functions' logs") as step:
            count = 0
            for group in self.groups:
                for event in self.events(group):
                    count += 1
                    for word, lines in found.items():
                        line = parse(event["message"])
                        if word in event["message"] if word == "AccessDenied" else line.get("reason") == word:
                            lines.append(f"{group}: {line.get('cause') or event['message']}"[:300].strip())
            step.detail = f"{len(self.groups)} groups, {count} lines"
        for word, lines in found.items():
            with self.report.step(f"no {word} in the logs") as step:
                step.data = {"lines": lines[:20]}
                if lines:
                    raise Failed(f"{len(lines)} lines, such as {lines[0]}")

    # ----------------------------------------------------------- cleaning up ----

    def clean_up(self) -> None:
        """Deletes what the run created. Ctrl-C does not interrupt this."""
        for number in signal.SIGINT, signal.SIGTERM:
            signal.signal(number, lambda *_: print("cleaning up, please wait", file=sys.stderr))
        if self.made_account:
            with self.report.step("clean up: delete the service account, which ends its keys"):
                # Finds the account by name if the response with its id was lost.
                query = urllib.parse.urlencode({"prefix": self.name})
                accounts = {self.account} - {None} or set(self.listed(f"{ACCOUNTS}?{query}"))
                for account in accounts:
                    expect(self.admin("DELETE", f"{ACCOUNTS}/{account}"), 204, f"{account}:")
        if self.made_role:
            with self.report.step("clean up: delete the role"):
                # Keyward finds the users of a role in the index, which can lag behind the table.
                status = until(
                    30, lambda: s if (s := self.admin("DELETE", f"{ROLES}/{self.role}").status) in (204, 404) else None, 2
                )
                if status is None:
                    raise Failed(f"the role {self.role} is still in use")
        if self.given.keep:
            return
        for stack in self.stacks:
            stack.left = stack.functions()
            with contextlib.suppress(ClientError):
                stack.formation.delete_stack(StackName=stack.name)
        for stack in self.stacks:
            with self.report.step(f"clean up: delete the stack {stack.name}"):
                status = until(600, lambda: None if (found := stack.status()).endswith("_IN_PROGRESS") else found, 3)
                if status != "DELETE_COMPLETE":
                    raise Failed(f"the stack is {status}: delete it by hand")
                # Lambda creates a log group for each function without one of its own.
                for function in stack.left:
                    with contextlib.suppress(ClientError):
                        self.client("logs").delete_log_group(logGroupName=f"/aws/lambda/{function}")


def parse(message: str) -> dict:
    """A line of a log, if it is a JSON object."""
    if not message.startswith("{"):
        return {}
    try:
        return json.loads(message)
    except ValueError:
        return {}


def path_of(arn: str) -> str:
    """The path in an invoked ARN: the part after the API, stage and method."""
    parts = arn.split("/", 3)
    return f"/{parts[3]}" if len(parts) == 4 else f"none in {arn.rpartition(':')[2]}"


def read_token(given: argparse.Namespace) -> str:
    if given.admin_token_file == "-":
        token = sys.stdin.read()
    elif given.admin_token_file:
        token = pathlib.Path(given.admin_token_file).read_text()
    else:
        token = os.environ.get("KEYWARD_ADMIN_TOKEN", "")
    token = token.strip()
    if not token:
        sys.exit("no token: pass --admin-token-file FILE, or set KEYWARD_ADMIN_TOKEN")
    if not re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", token):
        sys.exit("not a token: a token has three parts of letters, digits, - and _, separated by dots")
    return token


def main() -> None:
    # A shell that starts the script in the background ignores SIGINT, and Python keeps
    # that setting.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", required=True, help="the name of the Keyward stack")
    parser.add_argument("--admin-token-file", help="a file with an admin's IAM token, or - for standard input")
    parser.add_argument("--region", help="the stack's region, if not the default of your AWS configuration")
    parser.add_argument("--endpoint-url", help="the address of an AWS emulator to use instead of AWS")
    parser.add_argument("--domain", help="a regional custom domain of this account to map to the probe APIs")
    parser.add_argument("--base-path", default="keyward-first-deploy", help="the base path of that mapping")
    parser.add_argument("--wait", type=int, default=180, help="the maximum time to wait for logs and notices, in seconds")
    parser.add_argument(
        "--keep", action="store_true", help="keep the APIs. The service account, its keys and its role are still deleted"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    given = parser.parse_args()
    token = read_token(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise SystemExit(Checklist(given, token).run())


if __name__ == "__main__":
    main()
