"""Compares the recorded calls of the functions with what their roles allow. Every
call must be allowed, and every right must be used.

A proxy in front of the emulator records each call to DynamoDB, EventBridge, Secrets
Manager and Lambda. Every action of a call is evaluated with the policy statements of the function's
role, and some call must have needed each part of each statement. An action has only the
condition keys that AWS's reference lists for it, even if the emulator sets others.
"""

import contextlib
import fnmatch
import hashlib
import http.client
import http.server
import json
import pathlib
import re
import threading

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html
WORDS = {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "IN", "BETWEEN"}

# The condition keys of each action. `tests/it/deployment/least_privilege.rs` reads the same file.
CONDITION_KEYS = json.loads((pathlib.Path(__file__).parents[1] / "condition_keys.json").read_text())["actions"]


class Recorder:
    """The proxy. `calls` has (access key, operation, body) of each call that IAM allowed."""

    def __init__(self, port: int) -> None:
        recorder, self.calls = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                # Keeps the Host header, because the signature includes it.
                emulator = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                emulator.request(self.command, self.path, body, dict(self.headers.items()))
                response = emulator.getresponse()
                text = response.read()
                emulator.close()
                operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
                invoked = re.fullmatch(r"/2015-03-31/functions/([^/]+)/invocations", self.path)
                if invoked:
                    operation, body = "Invoke", json.dumps({"FunctionName": invoked[1]})
                credential = re.search(r"Credential=(\w+)/", self.headers.get("Authorization", ""))
                # A failed condition shows that IAM allowed the call.
                allowed = response.status == 200 or b"ConditionalCheckFailed" in text
                if operation and credential and allowed:
                    recorder.calls.append((credential[1], operation, json.loads(body)))
                self.send_response(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                # A function that waits no longer has closed the connection.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(text)

            do_GET = do_POST = forward

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Action:
    """One action, with the values of IAM's condition keys."""

    def __init__(
        self, name: str, resource: str, key="", attributes=(), select="", enclosing="", returns="", source="", detail_type=""
    ) -> None:
        self.name, self.resource = name, resource
        values = {
            "dynamodb:LeadingKeys": {key} - {""},
            "dynamodb:Attributes": set(attributes),
            "dynamodb:Select": {select} - {""},
            "dynamodb:EnclosingOperation": {enclosing} - {""},
            "dynamodb:ReturnValues": {returns} - {""},
            "events:source": {source} - {""},
            "events:detail-type": {detail_type} - {""},
        }
        listed = CONDITION_KEYS.get(name, ())
        self.values = {condition_key: given for condition_key, given in values.items() if condition_key in listed}

    def __str__(self) -> str:
        text = " ".join(",".join(sorted(values)) for values in self.values.values() if values)
        return f"{self.name} {self.resource.rpartition('/')[2]} {text}"


def named(request: dict, *expressions: str) -> set[str]:
    """The top-level attributes that these expressions of a request name."""
    names, found = request.get("ExpressionAttributeNames", {}), set()
    for expression in expressions:
        text = request.get(expression) or ""
        # Matches a path, but not a value, a function's name or a keyword.
        for path in re.findall(r"(?<![\w:#.])(#?[A-Za-z_]\w*)(?:[.\[][\w.#\[\]]*)?(?!\w|\s*\()", text):
            if path not in WORDS:
                found.add(names.get(path, path))
    return found


def actions(operation: str, body: dict, arn: str) -> list[Action]:
    """The actions of a call. IAM evaluates each of them."""
    if operation in ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"):
        # The emulator uses a secret's name as its reference: see `use_secret_arns`.
        account = arn.rpartition(":")[0].replace(":dynamodb:", ":secretsmanager:")
        return [Action(f"secretsmanager:{operation}", f"{account}:secret:{body['SecretId']}")]
    if operation == "PutEvents":
        bus = f"{arn.rpartition(':')[0].replace(':dynamodb:', ':events:')}:event-bus/default"
        entries = [(entry["Source"], entry["DetailType"]) for entry in body["Entries"]]
        return [Action("events:PutEvents", bus, source=source, detail_type=kind) for source, kind in entries]
    if operation == "Invoke":
        functions = arn.rpartition(":")[0].replace(":dynamodb:", ":lambda:")
        return [Action("lambda:InvokeFunction", f"{functions}:function:{body['FunctionName']}")]
    if operation == "GetItem":
        attributes = named(body, "ProjectionExpression") | body["Key"].keys()
        select = "SPECIFIC_ATTRIBUTES" if body.get("ProjectionExpression") else "ALL_ATTRIBUTES"
        return [Action("dynamodb:GetItem", arn, body["Key"]["pk"]["S"], attributes, select)]
    if operation == "Query":
        value = re.search(r"=\s*(:\w+)", body["KeyConditionExpression"])[1]
        resource = f"{arn}/index/{body['IndexName']}" if "IndexName" in body else arn
        attributes = named(body, "KeyConditionExpression", "FilterExpression", "ProjectionExpression")
        key = body["ExpressionAttributeValues"][value]["S"]
        # AWS does not document which value applies to a request without Select.
        select = body.get("Select", "")
        return [Action("dynamodb:Query", resource, key, attributes, select)]
    if operation in ("PutItem", "UpdateItem"):
        given = body.get("Item") or body["Key"]
        attributes = named(body, "UpdateExpression", "ConditionExpression") | given.keys()
        returns = body.get("ReturnValues", "NONE")
        return [Action(f"dynamodb:{operation}", arn, given["pk"]["S"], attributes, returns=returns)]
    if operation == "DeleteItem":
        attributes = named(body, "ConditionExpression") | body["Key"].keys()
        returns = body.get("ReturnValues", "NONE")
        return [Action("dynamodb:DeleteItem", arn, body["Key"]["pk"]["S"], attributes, returns=returns)]
    if operation == "TransactWriteItems":
        done = []
        for item in body["TransactItems"]:
            ((kind, request),) = item.items()
            name = "ConditionCheckItem" if kind == "ConditionCheck" else f"{kind}Item"
            given = request.get("Item") or request["Key"]
            attributes = named(request, "UpdateExpression", "ConditionExpression") | given.keys()
            done.append(Action(f"dynamodb:{name}", arn, given["pk"]["S"], attributes, enclosing=operation))
        return done
    return [Action(f"?:{operation}", arn)]


def as_list(value: object) -> list:
    return value if isinstance(value, list) else [value]


def permits(statement: dict, action: Action) -> bool:
    if action.name not in as_list(statement["Action"]):
        return False
    if not any(fnmatch.fnmatchcase(action.resource, resource) for resource in as_list(statement["Resource"])):
        return False
    for operator, conditions in statement.get("Condition", {}).items():
        for key, patterns in conditions.items():
            values, patterns = action.values.get(key, set()), as_list(patterns)
            # Only these operators are satisfied if the key is absent.
            if not values and not operator.startswith("ForAllValues:") and not operator.endswith("IfExists"):
                return False
            match = fnmatch.fnmatchcase if "StringLike" in operator else str.__eq__
            if not all(any(match(value, pattern) for pattern in patterns) for value in values):
                return False
    return True


def evaluate(statements: list[dict], done: list[Action]) -> tuple[list[str], list[str]]:
    """Returns the actions that no statement permits, and the parts of statements that no action
    needed."""
    missing = [str(action) for action in done if not any(permits(statement, action) for statement in statements)]
    unused = []
    for statement in statements:
        needing = [action for action in done if permits(statement, action)]
        names = {action.name for action in needing}
        unused += [f"{name} {statement}" for name in as_list(statement["Action"]) if name not in names]
        for operator, conditions in statement.get("Condition", {}).items():
            for key, patterns in conditions.items():
                match = fnmatch.fnmatchcase if "StringLike" in operator else str.__eq__
                used = {value for action in needing for value in action.values.get(key, set())}
                surplus = [p for p in as_list(patterns) if needing and not any(match(value, p) for value in used)]
                unused += [f"{statement['Action']} {key} {pattern}" for pattern in surplus]
    return missing, unused


def by_function(aws, stack, calls: list) -> dict[str, tuple[list[dict], list[Action]]]:
    """Each function's policy statements and actions."""
    iam, functions = aws.client("iam"), aws.client("lambda")
    table = aws.client("dynamodb").describe_table(TableName=stack.outputs["TableName"])["Table"]["TableArn"]
    found = {}
    for logical_id, physical_id in stack.resources.items():
        role = stack.resources.get(f"{logical_id}Role")
        if role is None:
            continue
        function = functions.get_function_configuration(FunctionName=physical_id)
        # The emulator derives a function's access key from its role in this way.
        digest = hashlib.sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
        own = [call for call in calls if call[0] == f"ASIA{digest[:16].upper()}"]
        done = {str(action): action for _, operation, body in own for action in actions(operation, body, table)}
        statements = []
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            statements += iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]
        found[logical_id] = (statements, list(done.values()))
    return found


def compare(found: dict[str, tuple[list[dict], list[Action]]]) -> tuple[list[str], list[str]]:
    """Returns the missing and the unused rights of all functions."""
    missing, unused = [], []
    for function, (statements, done) in found.items():
        parts = evaluate(statements, done)
        missing += [f"{function}: {text}" for text in parts[0]]
        unused += [f"{function}: {text}" for text in parts[1]]
    return missing, unused


def unnoticed_faults(found: dict[str, tuple[list[dict], list[Action]]]) -> list[str]:
    """Returns the planted faults that `compare` does not notice. The faults are: a removed
    statement, an extra right, and a condition on `dynamodb:EnclosingOperation` for
    ConditionCheckItem, an action that does not have this key."""
    unnoticed = []
    for function, (statements, done) in found.items():
        for left_out in range(len(statements)):
            if not evaluate(statements[:left_out] + statements[left_out + 1 :], done)[0]:
                unnoticed.append(f"{function} without {statements[left_out]}")
        for place, statement in enumerate(statements):
            if statement["Action"] == "dynamodb:ConditionCheckItem":
                enclosed = {"ForAnyValue:StringEquals": {"dynamodb:EnclosingOperation": "TransactWriteItems"}}
                faulty = statement | {"Condition": statement["Condition"] | enclosed}
                if not evaluate([*statements[:place], faulty, *statements[place + 1 :]], done)[0]:
                    unnoticed.append(f"{function} with {faulty}")
        scan = {"Effect": "Allow", "Action": "dynamodb:Scan", "Resource": "*"}
        if not evaluate([*statements, scan], done)[1]:
            unnoticed.append(f"{function} with Scan")
    return unnoticed
