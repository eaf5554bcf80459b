"""Runs infra/first-deploy.py for a deployed stack in the emulator: to the end, with a token
that cannot manage anything, and with Ctrl-C halfway."""

import json
import pathlib
import re
import signal
import subprocess
import sys

from aws import ROOT, Aws
from checks import check

SCRIPT = ROOT / "infra" / "first-deploy.py"
# The steps that are not possible in the emulator.
NOT_POSSIBLE = {
    # The emulator counts neither deliveries nor messages.
    "EventBridge and SNS counted the notice",
    # The emulator splits the path of a REST API after decoding, so no route matches.
    "event, REST API, /{id}: %2F (slash)",
    "decision, REST API, /{id}: %2F (slash)",
}


def start(aws: Aws, stack: str, token: str, *arguments: str) -> subprocess.Popen:
    file = pathlib.Path(aws.folder.name) / "token"
    file.write_text(token)
    command = [sys.executable, SCRIPT, "--stack", stack, "--admin-token-file", file, "--endpoint-url", aws.endpoint]
    command += ["--json", "--wait", "5", *arguments]
    return subprocess.Popen(command, env=aws.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def leftovers(aws: Aws, one) -> list[str]:
    """The resources of a run that are not deleted."""
    stacks = aws.client("cloudformation").describe_stacks()["Stacks"]
    found = [
        stack["StackName"]
        for stack in stacks
        if "-first-deploy-" in stack["StackName"] and stack["StackStatus"] != "DELETE_COMPLETE"
    ]
    found += [item["name"] for item in one.call("GET", "/iam/v1/service-accounts?prefix=first-deploy").json["items"]]
    found += [
        item["name"] for item in one.call("GET", "/iam/v1/roles").json["items"] if item["name"].startswith("FirstDeploy")
    ]
    groups = aws.client("logs").describe_log_groups()["logGroups"]
    found += [group["logGroupName"] for group in groups if "first-deploy" in group["logGroupName"]]
    found += [url for url in aws.client("sqs").list_queues().get("QueueUrls", []) if "first-deploy" in url]
    return found


def check_first_deploy(aws: Aws, one) -> None:
    domain = "api.example.com"
    configuration = {"CertificateArn": f"arn:aws:acm:eu-central-1:{'0' * 12}:certificate/api", "EndpointType": "REGIONAL"}
    aws.client("apigatewayv2").create_domain_name(DomainName=domain, DomainNameConfigurations=[configuration])
    run = start(aws, one.stack.name, one.token, "--domain", domain)
    out, err = run.communicate()
    *steps, total = [json.loads(line) for line in out.splitlines()]
    states = {step["step"]: step["state"] for step in steps}
    failed = {step["step"]: step["detail"] for step in steps if step["state"] == "failed"}
    check("the first-deploy checklist passes", (run.returncode, err, failed), (0, "", {}))
    check("the total counts the steps", total["total"]["ok"] + total["total"]["n/a"], len(steps))
    not_possible = {name for name, state in states.items() if state == "n/a"}
    expected = NOT_POSSIBLE | {"decisions behind a custom domain"}
    check("exactly the expected steps are not possible in the emulator", not_possible, expected)
    decisions = [step for step in steps if step["step"].startswith("decision, ") and step["state"] == "ok"]
    check(
        "the script finds the decision of each probe",
        (len(decisions) > 40, {step["reason"] for step in decisions}),
        (True, {"allowed", "ambiguous_path"}),
    )
    events = [step for step in steps if step["step"].startswith("event, ")]
    check("the report shows real events", all(step["event"]["arn"] for step in events if step["state"] == "ok"), True)
    (old,) = [step for step in steps if "old item" in step["step"]]
    check(
        "a failed condition returns attributes that the policy does not allow",
        (old["error"], "verifiers" in old["attributes"]),
        ("ConditionalCheckFailedException", True),
    )
    errors = {step["step"]: step["status"] for step in steps if step["step"].startswith("an authorizer's error")}
    check("the report shows what clients get for an authorizer's error", len(errors), 6)
    check("the script prints no key and no token", re.findall(r"kwsa_one_\w{20,}|eyJ\w{10,}", out + err), [])
    mappings = aws.client("apigatewayv2").get_api_mappings(DomainName=domain)["Items"]
    check("the script deletes everything that it creates", (leftovers(aws, one), mappings), ([], []))

    run = start(aws, one.stack.name, one.api_token)
    out, _ = run.communicate()
    steps = [json.loads(line) for line in out.splitlines()]
    check("with a token for business APIs, the script fails and creates nothing", (run.returncode, len(steps), leftovers(aws, one)), (1, 2, []))

    # Presses Ctrl-C as soon as a key is issued, and again during the cleanup.
    run = start(aws, one.stack.name, one.token)
    for line in run.stdout:
        step = json.loads(line)["step"]
        if step == "issue a key":
            run.send_signal(signal.SIGINT)
        elif step.startswith("clean up: delete the service account"):
            run.send_signal(signal.SIGINT)
            break
    _, err = run.communicate()
    check("Ctrl-C ends the script", (run.returncode, err), (130, "cleaning up, please wait\n"))
    check("after Ctrl-C, the script deletes everything that it created", leftovers(aws, one), [])
