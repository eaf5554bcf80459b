"""Changes the table directly, with AWS credentials, when no admin can sign in or the
table is damaged. operate.md says when to use each command.

    python3 break-glass.py revoke  --table TABLE --by NAME ACCOUNT KEY...
    python3 break-glass.py revoke  --table TABLE --by NAME ACCOUNT --all
    python3 break-glass.py disable --table TABLE --by NAME ACCOUNT
    python3 break-glass.py restore --table TABLE --since INSTANT RESTORED [ACCOUNT...]

`revoke` and `disable` write what the IAM API would write: the change, the records
of the keys, and the audit events, in one transaction.
"""

import argparse
import datetime
import functools
import secrets
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# How long Keyward keeps a record.
KEPT_SECONDS = 400 * 24 * 60 * 60


@functools.cache
def database():
    """The client. Created on first use, so that `--help` needs no AWS configuration."""
    return boto3.client("dynamodb")


def instant(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="seconds")


def parse_instant(text: str) -> datetime.datetime:
    parsed = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if parsed.tzinfo is None:
        raise ValueError(text)
    return parsed


def event_id(milliseconds: int) -> str:
    """A ULID, which begins with its instant, so that events sort by time."""
    number = milliseconds << 80 | secrets.randbits(80)
    return "".join(DIGITS[number >> 5 * place & 31] for place in reversed(range(26)))


class Change:
    """A change of an account by the person `by`, based on the account's current state."""

    def __init__(self, table: str, account: str, by: str) -> None:
        self.table, self.account = table, account
        self.key = {"pk": {"S": f"ACCOUNT#{account}"}, "sk": {"S": "ACCOUNT"}}
        self.item = database().get_item(TableName=table, Key=self.key, ConsistentRead=True).get("Item")
        if self.item is None:
            sys.exit(f"account {account} not found in {table}")
        self.actor = {"M": {"id": {"S": "break-glass"}, "name": {"S": by}}}
        self.milliseconds = time.time_ns() // 1_000_000
        self.now = {"N": str(self.milliseconds // 1000)}

    def event(self, kind: str, **more: dict) -> dict:
        name, month = event_id(self.milliseconds), time.strftime("%Y-%m", time.gmtime(self.milliseconds // 1000))
        item = {"pk": {"S": f"EVENTS#{self.account}"}, "sk": {"S": name}, "type": {"S": kind}}
        item |= {"gsi1pk": {"S": f"EVENTS#{month}"}, "gsi1sk": {"S": name}, "at": {"N": str(self.milliseconds)}}
        item |= {"actor": self.actor, "accountName": self.item["name"], "requestId": {"S": "break-glass"}}
        return self.put(item | more)

    def record(self, key: str) -> dict:
        """A revoked key's record. Its verifier identifies the key if it is used later,
        and its fingerprint identifies a retry of the request that issued it."""
        kept = self.item["keys"]["M"][key]["M"] | self.item["verifiers"]["M"].get(key, {"M": {}})["M"]
        until = {"N": str(int(self.now["N"]) + KEPT_SECONDS)}
        kept |= {"reason": {"S": "revoked"}, "retiredAt": self.now, "retiredBy": self.actor, "ttl": until}
        # A search finds the record by the last four characters of the key, and by its id.
        kept |= {"gsi1pk": {"S": f"HINT#{kept['hint']['S']}"}, "gsi1sk": {"S": key}}
        kept |= {"gsi2pk": {"S": f"KEY#{key}"}, "gsi2sk": {"S": "ONLY"}}
        return self.put(kept | {"pk": {"S": f"RETIRED#{self.account}"}, "sk": {"S": key}})

    def put(self, item: dict) -> dict:
        return {"Put": {"TableName": self.table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}}

    def commit(self, actions: list[dict], update: str, names: dict, values: dict) -> None:
        first = {
            "TableName": self.table,
            "Key": self.key,
            "UpdateExpression": f"SET version = version + :one, updatedAt = :now, updatedBy = :by{update}",
            # The account has not changed since it was read.
            "ConditionExpression": "version = :version",
            "ExpressionAttributeValues": {":one": {"N": "1"}, ":now": self.now, ":by": self.actor} | values,
        }
        first["ExpressionAttributeValues"][":version"] = self.item["version"]
        if names:
            first["ExpressionAttributeNames"] = names
        try:
            database().transact_write_items(TransactItems=[{"Update": first}, *actions])
        except ClientError as error:
            sys.exit(f"nothing was changed: {error}")


def revoke(given: argparse.Namespace) -> None:
    change = Change(given.table, given.account, given.by)
    live = change.item["keys"]["M"]
    keys = sorted(live) if given.all else list(dict.fromkeys(given.keys))
    for key in keys:
        if key not in live:
            sys.exit(f"{given.account} has no live key {key}: nothing was changed")
    if not keys:
        sys.exit("nothing to revoke: pass the ids of the keys, or --all")
    actions = []
    for key in keys:
        named = {part: live[key]["M"][part] for part in ("name", "hint")}
        keys_of_event = {"M": {key: {"M": named}}}
        actions += [change.record(key), change.event("key.revoked", key={"S": key}, keys=keys_of_event)]
    names = {"#keys": "keys"} | {f"#key{at}": key for at, key in enumerate(keys)}
    # An account of an earlier version of Keyward has no labels.
    parts = ["#keys", "verifiers", "labels"] if "M" in change.item.get("labels", {}) else ["#keys", "verifiers"]
    paths = [f"{part}.#key{at}" for at in range(len(keys)) for part in parts]
    change.commit(actions, f" REMOVE {', '.join(paths)}", names, {})
    print(f"revoked {' '.join(keys)} of {given.account}")


def disable(given: argparse.Namespace) -> None:
    change = Change(given.table, given.account, given.by)
    if not change.item["enabled"]["BOOL"]:
        sys.exit(f"{given.account} is already disabled")
    fields = {"field": {"S": "enabled"}, "from": {"S": "true"}, "to": {"S": "false"}}
    event = change.event("serviceAccount.updated", changes={"L": [{"M": fields}]})
    update, values = ", enabled = :no", {":no": {"BOOL": False}}
    # The directory of accounts. An account of an earlier version of Keyward is not in it.
    listed = change.item.get("gsi2sk", {}).get("S")
    if listed:
        update, values = f"{update}, gsi2sk = :listed", values | {":listed": {"S": f"D{listed[1:]}"}}
    change.commit([event], update, {}, values)
    print(f"disabled {given.account}: its keys are refused until an admin enables it")


def scan(table: str) -> list[dict]:
    pages = database().get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]


def restore(given: argparse.Namespace) -> None:
    """Copies accounts, names and roles from the restored table, except keys that were
    revoked and accounts that were deleted since the backup. A revoked key works at no
    time during the restore."""
    since = int(given.since.timestamp() * 1000)
    now = scan(given.table)
    retired = {(item["pk"]["S"].removeprefix("RETIRED#"), item["sk"]["S"]) for item in now if item["pk"]["S"].startswith("RETIRED#")}
    accounts = {item["pk"]["S"].removeprefix("ACCOUNT#"): item for item in now if item["pk"]["S"].startswith("ACCOUNT#")}
    old = scan(given.restored)
    for item in old:
        kind, _, name = item["pk"]["S"].partition("#")
        account = item["account"]["S"] if kind == "NAME" else name if kind == "ACCOUNT" else None
        if kind not in ("ACCOUNT", "NAME", "ROLE") or (given.accounts and account not in given.accounts):
            continue
        if account and (account, "ACCOUNT") in retired:
            print(f"skipped, deleted since the backup: {item['pk']['S']}")
            continue
        if kind == "ACCOUNT":
            for key in list(item["keys"]["M"]):
                if (account, key) in retired:
                    print(f"skipped, revoked since the backup: {key} of {account}")
                    del item["keys"]["M"][key]
                    item["verifiers"]["M"].pop(key, None)
                    item.get("labels", {}).get("M", {}).pop(key, None)
            lost = accounts.get(account, {}).get("keys", {"M": {}})["M"].keys() - item["keys"]["M"].keys()
            for key in sorted(lost):
                print(f"LOST, ISSUED SINCE THE BACKUP: {key} of {account}. Issue a new key.")
        database().put_item(TableName=given.table, Item=item)
        print(f"restored {item['pk']['S']}")
    # Frees the names that restored accounts got after the backup.
    owners = {item["pk"]["S"]: item["account"]["S"] for item in old if item["pk"]["S"].startswith("NAME#")}
    for item in now:
        taken, owner = item["pk"]["S"], item.get("account", {}).get("S")
        is_ours = owner in owners.values() and (not given.accounts or owner in given.accounts)
        if taken.startswith("NAME#") and taken not in owners and is_ours:
            database().delete_item(TableName=given.table, Key={"pk": item["pk"], "sk": item["sk"]})
            print(f"freed the name {taken}")
    print("\nChanges since the backup. The restore undid all of them except revoked keys and deleted accounts. Repeat the others:")
    events = [item for item in now if item["pk"]["S"].startswith("EVENTS#") and int(item["at"]["N"]) > since]
    for event in sorted(events, key=lambda event: event["sk"]["S"]):
        changes = [change["M"] for change in event.get("changes", {"L": []})["L"]]
        details = [f"{change['field']['S']}: {change['from']['S']} → {change['to']['S']}" for change in changes]
        at = instant(int(event["at"]["N"]) / 1000)
        about = [event["pk"]["S"].removeprefix("EVENTS#"), event.get("key", {"S": ""})["S"], *details]
        print(at, event["type"]["S"], "by", event["actor"]["M"]["name"]["S"], *about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for command in (revoke, disable, restore):
        arguments = commands.add_parser(command.__name__)
        arguments.set_defaults(command=command)
        arguments.add_argument("--table", required=True, help="the output TableName of the stack")
        if command is restore:
            arguments.add_argument("--since", required=True, type=parse_instant, help="the time of the backup, such as 2026-11-24T05:00:00Z")
            arguments.add_argument("restored", help="the restored table's name")
            arguments.add_argument("accounts", nargs="*", help="only these accounts. By default, all accounts and roles")
        else:
            arguments.add_argument("--by", required=True, help="your name, for the audit event")
            arguments.add_argument("account", help="sa_…")
        if command is revoke:
            arguments.add_argument("keys", nargs="*", help="key_…")
            arguments.add_argument("--all", action="store_true", help="every live key of the account")
    given = parser.parse_args()
    try:
        given.command(given)
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"AWS: {error}")


if __name__ == "__main__":
    main()
