"""Starts ministack with support for importing secrets into a stack, which infra/adopt.py
needs. Without this, ministack can import only tables. Runs in the emulator's virtual
environment."""

from ministack.app import main
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

if __name__ == "__main__":
    main()
