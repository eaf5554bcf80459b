"""Starts ministack with two additions:

- Importing secrets into a stack, which infra/adopt.py needs. Ministack can import only tables.
- Registering an internal extension, as the authorizers do. Lambda sends SIGTERM only to
  functions with an extension, and ministack sends it to all.

Runs in the emulator's virtual environment."""

import json
import time

from ministack.app import main
from ministack.core.lambda_runtime import ProvidedWorker
from ministack.services import secretsmanager
from ministack.services.cloudformation import changesets, provisioners

SECRET = "AWS::SecretsManager::Secret"


def find(arn: str) -> dict | None:
    return next((secret for secret in secretsmanager._secrets.values() if secret["ARN"] == arn), None)


def import_secret(identifier: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Returns the secret's name, which the emulator uses as its reference, and the attributes."""
    secret = find(identifier["Id"])
    return secret["Name"], {"Id": secret["ARN"], "Arn": secret["ARN"]}


# The resource's identifier is its ARN:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html
changesets._IMPORT_LOOKUPS[SECRET] = (("Id",), lambda arn: None if find(arn) else f"the secret {arn} does not exist")
provisioners._RESOURCE_HANDLERS[SECRET]["import"] = import_secret

build_handler_class = ProvidedWorker._build_handler_class


def build_handler_class_with_extensions(worker: ProvidedWorker, generation: int, pending) -> type:
    """Adds the two operations of the Extensions API that an extension without events uses:
    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html"""
    handler = build_handler_class(worker, generation, pending)

    class WithExtensions(handler):
        def do_POST(self) -> None:
            if not self.path.endswith("/extension/register"):
                super().do_POST()
                return
            self._read_body()
            function = {"functionName": worker.func_name, "functionVersion": "$LATEST", "handler": "bootstrap"}
            body = json.dumps(function).encode()
            self.send_response(200)
            self.send_header("Lambda-Extension-Identifier", "00000000-0000-0000-0000-000000000000")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            if not self.path.endswith("/extension/event/next"):
                super().do_GET()
                return
            # No event arrives before the environment stops.
            while not worker._stopping and generation == worker._generation:
                time.sleep(0.1)
            self._stopped()

    return WithExtensions


ProvidedWorker._build_handler_class = build_handler_class_with_extensions

if __name__ == "__main__":
    main()
