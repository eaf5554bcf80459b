"""Creates a stack around an existing table and pepper, after the old stack was
deleted or the table was restored. CloudFormation imports both into the new stack,
and `sam deploy` then adds the rest. Every key keeps working.

    python3 adopt.py --stack keyward-prod --environment prod --table TABLE --secret ARN

It needs Python with boto3 and PyYAML, which the SAM CLI installs. It reads no item
of the table and no value of the secret. For the steps before and after, see "A new
stack over a kept table" in operate.md.
"""

import argparse
import pathlib
import sys

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

TEMPLATE = pathlib.Path(__file__).with_name("template.yaml")
TYPES = {"Table": "AWS::DynamoDB::Table", "Pepper": "AWS::SecretsManager::Secret"}


def block(lines: list[str], section: str, name: str) -> list[str]:
    """The lines of one parameter or resource of the template, including its name."""
    at = lines.index(f"  {name}:\n", lines.index(f"{section}:\n"))
    inside = at + 1
    while inside < len(lines) and (not lines[inside].strip() or lines[inside].startswith("    ")):
        inside += 1
    return lines[at:inside]


def imported() -> str:
    """The template with only the table, the pepper, and the parameter that they need.
    Each is copied verbatim from the whole template, so that the deploy after the
    import finds nothing to change: a different GenerateSecretString would replace the
    pepper."""
    lines = TEMPLATE.read_text().splitlines(keepends=True)
    parts = ['AWSTemplateFormatVersion: "2010-09-09"\n', "Parameters:\n", *block(lines, "Parameters", "Environment")]
    parts.append("Resources:\n")
    for name in TYPES:
        parts += block(lines, "Resources", name)
    return "".join(parts)


class Loader(yaml.SafeLoader):
    """Reads a template, and replaces a function such as !Sub by its argument."""


Loader.add_multi_constructor("!", lambda loader, _, node: loader.construct_scalar(node))


def properties(name: str) -> dict:
    return yaml.load(imported(), Loader)["Resources"][name]["Properties"]


def shape(table: dict) -> dict:
    """The parts of a table that cannot be changed in place, in a comparable form."""

    def keys(described: dict) -> list[tuple[str, str]]:
        return [(key["AttributeName"], key["KeyType"]) for key in described["KeySchema"]]

    def index(described: dict) -> tuple:
        projection = described["Projection"]
        return keys(described), projection["ProjectionType"], sorted(projection.get("NonKeyAttributes", []))

    definitions = sorted((item["AttributeName"], item["AttributeType"]) for item in table["AttributeDefinitions"])
    indexes = {described["IndexName"]: index(described) for described in table.get("GlobalSecondaryIndexes", [])}
    return {"attributes": definitions, "keys": keys(table), "indexes": indexes}


def check_table(database, name: str) -> None:
    """Refuses a table that does not match the template. Changes nothing."""
    wanted, table = properties("Table"), database.describe_table(TableName=name)["Table"]
    if table["TableStatus"] != "ACTIVE":
        sys.exit(f"{name} is {table['TableStatus']}. Wait until it is ACTIVE.")
    if shape(table) != shape(wanted):
        sys.exit(f"{name} has other keys or indexes than the template: found {shape(table)}, expected {shape(wanted)}")


def complete_table(database, name: str) -> None:
    """Turns on what a restored table lacks, because CloudFormation imports a table as it is:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/pointintimerecovery_beforeyoubegin.html"""
    wanted, table = properties("Table"), database.describe_table(TableName=name)["Table"]
    if table.get("BillingModeSummary", {}).get("BillingMode") != wanted["BillingMode"]:
        print("on-demand capacity: turned on")
        database.update_table(TableName=name, BillingMode=wanted["BillingMode"])
        database.get_waiter("table_exists").wait(TableName=name)
    if not table.get("DeletionProtectionEnabled"):
        print("deletion protection: turned on")
        database.update_table(TableName=name, DeletionProtectionEnabled=True)
        database.get_waiter("table_exists").wait(TableName=name)
    ttl = database.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    if ttl["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
        print("expiry of items: turned on")
        database.update_time_to_live(TableName=name, TimeToLiveSpecification=wanted["TimeToLiveSpecification"])
    backups = database.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    if backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
        print("point-in-time recovery: turned on")
        recovery = wanted["PointInTimeRecoverySpecification"]
        database.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)


def check_secret(secrets, arn: str, environment: str) -> str:
    """Returns the secret's full ARN. Refuses a secret that is not this environment's pepper.
    Changes nothing."""
    secret = secrets.describe_secret(SecretId=arn)
    if "DeletedDate" in secret:
        sys.exit(f"{arn} is scheduled for deletion. Restore it first: aws secretsmanager restore-secret --secret-id {arn}")
    wanted = properties("Pepper")["Description"].replace("${Environment}", environment)
    if secret.get("Description") != wanted:
        found = secret.get("Description")
        sys.exit(f"{arn} is not the pepper of this environment: its description is {found!r}, expected {wanted!r}")
    return secret["ARN"]


def end_rotation(secrets, arn: str) -> None:
    """Cancels the old stack's rotation schedule, whose function was deleted with that
    stack. PepperRotationDays sets a new one."""
    if secrets.describe_secret(SecretId=arn).get("RotationEnabled"):
        print("rotation schedule: cancelled")
        secrets.cancel_rotate_secret(SecretId=arn)


def import_both(formation, stack: str, environment: str, table: str, arn: str) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/import-resources-manually.html"""
    identifiers = {"Table": {"TableName": table}, "Pepper": {"Id": arn}}
    resources = [
        {"ResourceType": TYPES[name], "LogicalResourceId": name, "ResourceIdentifier": identifier}
        for name, identifier in identifiers.items()
    ]
    name = {"StackName": stack, "ChangeSetName": "adopt"}
    parameters = [{"ParameterKey": "Environment", "ParameterValue": environment}]
    formation.create_change_set(
        **name, ChangeSetType="IMPORT", ResourcesToImport=resources, TemplateBody=imported(), Parameters=parameters
    )
    formation.get_waiter("change_set_create_complete").wait(**name)
    formation.execute_change_set(**name)
    formation.get_waiter("stack_import_complete").wait(StackName=stack)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", required=True, help="the name of the new stack")
    parser.add_argument("--environment", required=True, help="the old stack's Environment parameter, which is part of its keys")
    parser.add_argument("--table", required=True, help="the table's name")
    parser.add_argument("--secret", required=True, help="the ARN of the pepper's secret")
    given = parser.parse_args()
    try:
        adopt(given)
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"AWS: {error}")


def adopt(given: argparse.Namespace) -> None:
    formation = boto3.client("cloudformation")
    found = [stack["StackName"] for page in formation.get_paginator("describe_stacks").paginate() for stack in page["Stacks"]]
    if given.stack in found:
        sys.exit(f"the stack {given.stack} already exists. Choose a name for a new stack")
    secrets, database = boto3.client("secretsmanager"), boto3.client("dynamodb")
    arn = check_secret(secrets, given.secret, given.environment)
    check_table(database, given.table)
    end_rotation(secrets, arn)
    complete_table(database, given.table)
    import_both(formation, given.stack, given.environment, given.table, arn)
    print(f"The stack {given.stack} now has the table and the pepper. Next, run this with the parameters of the old stack:")
    print(f"sam build && sam deploy --stack-name {given.stack} --parameter-overrides Environment={given.environment} …")


if __name__ == "__main__":
    main()
