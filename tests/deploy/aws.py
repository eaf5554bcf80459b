"""The AWS emulator ministack, on this machine only.

`deployable`, `import_routes` and `import_responses` make up for what the emulator does not
support. Everything else is deployed unchanged.
"""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import boto3
from samcli.yamlhelper import yaml_dump, yaml_parse

from rights import Recorder

ROOT = pathlib.Path(__file__).resolve().parents[2]
REGION = "eu-central-1"
# The emulator has its own virtual environment, which .ci/tools creates.
EMULATOR = [ROOT / "target" / "ci" / "emulator" / "bin" / "python", pathlib.Path(__file__).with_name("emulator.py")]


class Aws:
    """The running emulator. A context manager that stops all processes and deletes all files."""

    def __enter__(self) -> "Aws":
        self.folder = tempfile.TemporaryDirectory()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        # Invented credentials, and none of the user's configuration files.
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": self.folder.name,
            "TMPDIR": self.folder.name,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0",
        }
        os.environ.update({k: v for k, v in self.environment.items() if k.startswith("AWS_")})
        # The functions reach the emulator through this proxy, which records their calls.
        self.recorder = Recorder(self.port)
        settings = {
            "AWS_ENDPOINT_URL": self.recorder.endpoint,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_REGION": REGION,
            "S3_DATA_DIR": f"{self.folder.name}/s3",
            # Functions use their roles, and the emulated IAM checks their actions,
            # resources, projections, transactions and boundaries, but not leading
            # keys. The credentials above are root's.
            "AUTH": "true",
            # Off, because these services cannot listen on loopback only.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
        }
        self.log = open(f"{self.folder.name}/emulator.log", "w+")
        # A new session, so that all its child processes can be found.
        self.process = subprocess.Popen(
            EMULATOR, env=self.environment | settings, stdout=self.log, stderr=self.log, start_new_session=True
        )
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.print_log()
        self.__exit__()
        sys.exit("the emulator did not start")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for process in self.children():
            os.kill(process, signal.SIGKILL)
        self.recorder.stop()
        self.log.close()
        self.folder.cleanup()

    def children(self) -> list[int]:
        """The running child processes of the emulator, which are the functions."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                state, session = (folder / "stat").read_text().rpartition(")")[2].split()[0::3][:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(session) == self.process.pid and int(folder.name) != self.process.pid and state != "Z":
                found.append(int(folder.name))
        return found

    def print_log(self) -> None:
        self.log.flush()
        self.log.seek(0)
        print(self.log.read()[-4000:])

    def client(self, service: str):
        return boto3.client(service)

    def call(self, api: str, method: str, path: str, token: str | None = None, body: object = None, headers=None):
        """Sends a request with a bearer token and a JSON body to the API with this id."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        return self.send(api, method, path, sent, None if body is None else json.dumps(body))

    def send(self, api: str, method: str, path: str, headers: dict[str, str], body: str | None) -> "Response":
        return self.request(method, path, {"Host": f"{api}.execute-api.localhost:{self.port}"} | headers, body)

    def request(self, method: str, path: str, headers: dict[str, str], body: str | None) -> "Response":
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return Response(response.status, response.getheaders(), text)


class Response:
    def __init__(self, status: int, headers: list[tuple[str, str]], text: str) -> None:
        self.status, self.text = status, text
        self.headers = {name.lower(): value for name, value in headers}
        self.cookies = [value for name, value in headers if name.lower() == "set-cookie"]

    @property
    def json(self):
        return json.loads(self.text)


class Stack:
    """A stack, deployed with the SAM CLI."""

    def __init__(self, aws: Aws, name: str, template: pathlib.Path) -> None:
        self.aws, self.name, self.template = aws, name, template

    def deploy(self, **parameters: str) -> "Stack":
        copy = pathlib.Path(self.aws.folder.name) / f"{self.name}.yaml"
        copy.write_text(yaml_dump(deployable(self.template, self.aws)))
        command = ["sam", "deploy", "--template-file", copy, "--stack-name", self.name, "--resolve-s3"]
        command += ["--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"]
        command += ["--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())]
        done = subprocess.run(command, env=self.aws.environment, cwd=self.aws.folder.name, capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stdout, done.stderr)
            self.aws.print_log()
            sys.exit(f"{self.name} could not be deployed")
        formation = self.aws.client("cloudformation")
        (stack,) = formation.describe_stacks(StackName=self.name)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        described = formation.describe_stack_resources(StackName=self.name)["StackResources"]
        self.resources = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in described}
        self.types = {item["ResourceType"] for item in described}
        processed = formation.get_template(StackName=self.name, TemplateStage="Processed")["TemplateBody"]
        processed = processed if isinstance(processed, dict) else yaml_parse(processed)
        for logical_id, resource in processed["Resources"].items():
            if resource["Type"] == "AWS::ApiGatewayV2::Api" and "Body" in resource["Properties"]:
                self.import_routes(self.resources[logical_id], resource["Properties"]["Body"])
            elif resource["Type"] == "AWS::ApiGateway::RestApi":
                self.import_responses(self.resources[logical_id], resource["Properties"]["Body"])
        return self

    def import_responses(self, api: str, body: dict) -> None:
        """Creates a REST API's gateway responses, which the emulator ignores when it
        imports the `Body`."""
        gateway = self.aws.client("apigateway")
        for kind, given in body.get("x-amazon-apigateway-gateway-responses", {}).items():
            gateway.put_gateway_response(restApiId=api, responseType=kind, **given)
        for stage in gateway.get_stages(restApiId=api)["item"]:
            gateway.create_deployment(restApiId=api, stageName=stage["stageName"])

    def import_routes(self, api: str, body: dict) -> None:
        """Creates the authorizers, integrations and routes of an HTTP API's `Body`, as
        CloudFormation does and the emulator does not."""
        gateway = self.aws.client("apigatewayv2")
        for route in gateway.get_routes(ApiId=api)["Items"]:
            gateway.delete_route(ApiId=api, RouteId=route["RouteId"])
        authorizers = {}
        for name, scheme in body["components"]["securitySchemes"].items():
            given = scheme["x-amazon-apigateway-authorizer"]
            authorizers[name] = gateway.create_authorizer(
                ApiId=api,
                Name=name,
                AuthorizerType=given["type"].upper(),
                AuthorizerUri=self.resolve(given["authorizerUri"]),
                AuthorizerPayloadFormatVersion=given["authorizerPayloadFormatVersion"],
                AuthorizerResultTtlInSeconds=given["authorizerResultTtlInSeconds"],
                EnableSimpleResponses=given.get("enableSimpleResponses", False),
                IdentitySource=given["identitySource"],
            )["AuthorizerId"]
        for path, operations in body["paths"].items():
            for method, operation in operations.items():
                given = operation["x-amazon-apigateway-integration"]
                integration = gateway.create_integration(
                    ApiId=api,
                    IntegrationType=given["type"].upper(),
                    IntegrationMethod=given["httpMethod"],
                    IntegrationUri=self.resolve(given["uri"]),
                    PayloadFormatVersion=given["payloadFormatVersion"],
                )["IntegrationId"]
                # An operation without `security` is an open route, as on AWS. SAM writes the
                # authorizer NONE for a route that has no authorizer.
                names = [name for item in operation.get("security", []) for name in item if name != "NONE"]
                secured = {"AuthorizationType": "CUSTOM", "AuthorizerId": authorizers[names[0]]} if names else {}
                target = f"integrations/{integration}"
                gateway.create_route(ApiId=api, RouteKey=f"{method.upper()} {path}", Target=target, **secured)

    def resolve(self, value: object) -> str:
        """A string of the template, with pseudo parameters and functions' ARNs filled in."""
        if isinstance(value, str):
            return value
        text = value["Fn::Sub"]
        variables = {}
        if isinstance(text, list):
            text, variables = text
        variables = {name: self.resolve_one(item) for name, item in variables.items()}
        for logical_id, physical_id in self.resources.items():
            variables[f"{logical_id}.Arn"] = f"arn:aws:lambda:{REGION}:000000000000:function:{physical_id}"
        variables |= {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::URLSuffix": "amazonaws.com"}
        for name, item in variables.items():
            text = text.replace("${" + name + "}", item)
        return text

    def resolve_one(self, value: object) -> str:
        if isinstance(value, dict) and "Fn::GetAtt" in value:
            logical_id = value["Fn::GetAtt"][0]
            return f"arn:aws:lambda:{REGION}:000000000000:function:{self.resources[logical_id]}"
        return self.resolve(value)


def deployable(path: pathlib.Path, aws: Aws) -> dict:
    """The template at `path`, without the parts that the emulator does not support."""
    template = yaml_parse(path.read_text())
    resources = template["Resources"]
    use_secret_arns(resources)
    # An identity provider on this machine has no TLS.
    for parameter in "OidcIssuer", "OidcJwksUri":
        template.get("Parameters", {}).get(parameter, {}).pop("AllowedPattern", None)
    for name, resource in list(resources.items()):
        kind, properties = resource["Type"], resource.get("Properties", {})
        # The test creates the first admin through the API instead. Alarms on metric
        # math are only linted.
        unknown = ["AWS::Cognito::UserPoolUser", "AWS::Cognito::UserPoolUserToGroupAttachment"]
        if kind in unknown or (kind == "AWS::CloudWatch::Alarm" and "Metrics" in properties):
            del resources[name]
        elif kind == "AWS::Serverless::Function" and "CodeUri" in properties:
            # CodeUri is relative to the template, and this is a copy in another folder.
            properties["CodeUri"] = str(path.parent / properties["CodeUri"])
            variables = properties.get("Environment", {}).get("Variables", {})
            # Cognito's public keys and the API are served by the emulator.
            if "KEYWARD_OIDC_JWKS_URI" in variables:
                keys = {"Fn::Sub": f"{aws.endpoint}/${{UserPool}}/.well-known/jwks.json"}
                variables["KEYWARD_OIDC_JWKS_URI"] = {"Fn::If": ["UsesCognito", keys, {"Ref": "OidcJwksUri"}]}
            if "KEYWARD_MCP_HOSTS" in variables:
                own = {"Fn::Sub": f"${{McpApi}}.execute-api.localhost:{aws.port}"}
                variables["KEYWARD_MCP_HOSTS"] = {"Fn::If": ["HasMcpDomain", {"Ref": "McpDomain"}, own]}
                variables["SSL_CERT_FILE"] = f"{aws.folder.name}/roots.pem"
            if "KEYWARD_API_URL" in variables:
                variables["KEYWARD_API_URL"] = {"Fn::Sub": f"{aws.endpoint}/_aws/execute-api/${{Api}}/$default"}
    return template


def use_secret_arns(part: object) -> None:
    """Replaces references to secrets in policies by ARNs. On AWS, a reference is the ARN. In the
    emulator, a reference is the name, which a policy cannot use as a resource."""
    for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        use_secret_arns(item)
    def arn(resource: object) -> object:
        for secret in ("Pepper", "TokenKey", "ConsoleSecret"):
            if resource == {"Ref": secret}:
                return {"Fn::Sub": f"arn:aws:secretsmanager:${{AWS::Region}}:${{AWS::AccountId}}:secret:${{{secret}}}*"}
        return resource

    if isinstance(part, dict) and "Resource" in part:
        resource = part["Resource"]
        part["Resource"] = [arn(one) for one in resource] if isinstance(resource, list) else arn(resource)
