"""Uses the MCP server of `cargo dev` with real MCP clients, and runs MCP's conformance suite.

    python3 tests/mcp/run.py            # compare
    python3 tests/mcp/run.py --update   # write what the clients show into refusals.txt

The clients are the official TypeScript and Python SDKs, two generations of each, and the
command line of the Inspector. `.ci/tools` installs them. To add a check, call `check` at the
right place in `main`.
"""

import dataclasses
import pathlib
import re
import sys
import tempfile

import conformance
from checks import check, failed, passed
from clients import Client, Clients, Story
from local import ROOT, Local, Upstream

REFUSALS = ROOT / "tests" / "mcp" / "refusals.txt"
# The reader can call `get_organization`, but for one organization only.
READ = ["GET /organizations", "GET /organizations/1"]


def use(client: Client, story: Story) -> list[tuple[str, str]]:
    """Lists and calls tools with the reader's key. Returns what the client shows of refusals."""
    calls = [
        ("list_organizations", {}),
        ("get_organization", {"id": "1"}),
        ("get_organization", {"id": "2"}),
        ("get_organization", {"id": "1", "depth": 1}),
        ("delete_organization", {"id": "1"}),
        ("launch_rocket", {}),
    ]
    report = client.run(dataclasses.replace(story, calls=calls))
    check(f"{client}: no error", report.error, None)
    if len(report.results) < len(calls):
        return []
    version = {True: "2026-07-28", False: "2025-11-25"}[client.is_modern]
    check(f"{client}: speaks {version}", report.version in (None, version))
    # The Inspector's command line does not show them.
    if client.name != "Inspector":
        check(f"{client}: instructions name the API", "Company" in (report.instructions or ""))
    check(f"{client}: lists the permitted tools", report.tools, ["list_organizations", "get_organization"])
    listed, called, outside, invalid, unlisted, unknown = report.results
    check(f"{client}: calls a tool without arguments", "Difference Engines" in listed)
    check(f"{client}: calls a tool with an argument", called, '{"id":"1","name":"Analytical Engines"}')
    check(f"{client}: a refusal names the missing permission", "GET /organizations/{id}" in outside)
    # The Inspector itself refuses to call tools that are not listed.
    if client.name != "Inspector":
        check(f"{client}: a refused tool that is not listed names its permission", "DELETE /organizations/{id}" in unlisted)
    return [
        ("another organization", outside),
        ("an unknown argument", invalid),
        ("a tool without permission", unlisted),
        ("an unknown tool", unknown),
    ]


def fail(client: Client, story: Story, keys: dict[str, str | None]) -> list[tuple[str, str]]:
    """What the client shows if it has no valid key."""
    shown = []
    for name, key in keys.items():
        report = client.run(dataclasses.replace(story, key=key))
        check(f"{client}: {name} gets no tools", report.tools, None)
        shown.append((name, report.error or "no error"))
    return shown


def confirm(client: Client, story: Story, names: dict[str, str]) -> None:
    """Calls a tool that asks the client's user first."""
    rename = lambda name: [("rename_organization", {"id": "2", "body": {"name": name}})]
    for answer, name, is_changed in [
        ({"action": "accept", "content": {"ok": True}}, f"Accepted by {client}", True),
        ({"action": "accept", "content": {"ok": False}}, f"Unchecked by {client}", False),
        ({"action": "decline"}, f"Declined by {client}", False),
    ]:
        report = client.run(dataclasses.replace(story, calls=rename(name), answer=answer))
        check(f"{client}: asks before a change ({name})", len(report.questions), 1)
        check(f"{client}: {name}", (report.error, names["2"] == name), (None, is_changed))
    name = f"Not asked by {client}"
    report = client.run(dataclasses.replace(story, calls=rename(name)))
    check(f"{client}: a client that cannot ask makes no change", (report.questions, names["2"] == name), ([], False))


def exchange(client: Client, story: Story) -> None:
    """Lets the SDK find the token endpoint and exchange the key for a token."""
    report = client.run(dataclasses.replace(story, calls=[("get_organization", {"id": "1"})]))
    check(f"{client}: exchanges a key for a token", (report.error, report.results), (None, ['{"id":"1","name":"Analytical Engines"}']))


def golden_text(shown: dict[str, list[tuple[str, str]]], local: Local) -> str:
    """The golden text, without what differs in each run."""
    lines = ["What each client shows when something is refused. Written by run.py --update.\n"]
    for client, refusals in shown.items():
        lines.append(f"\n{client}\n")
        lines += [f"  {what}: {text.strip()}\n".replace("\n", "\n    ").rstrip() + "\n" for what, text in refusals]
    text = "".join(lines).replace(local.mcp.removesuffix("/mcp"), "http://127.0.0.1:8083").replace(local.api, "http://127.0.0.1:8080")
    return re.sub(r'"requestId":"[^"]+"', '"requestId":"<request>"', text)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        upstream = Upstream()
        local = Local(folder / "data", upstream.url)
        try:
            story(local, upstream, Clients(folder / "clients"))
        finally:
            local.stop()
    check("local mode ended", local.process.returncode, 0)
    print(f"\n{len(passed)} passed, {len(failed)} failed")
    raise SystemExit(1 if failed else 0)


def story(local: Local, upstream: Upstream, clients: Clients) -> None:
    company = (ROOT / "tests" / "mcp" / "company.yaml").read_text()
    put = lambda name, **body: local.admin("PUT", f"/apis/{name}", {"baseUrl": local.api} | body)
    put("company", title="Company", openapi=company)
    put("careful", title="Careful company", openapi=company, confirmation="require")
    put("conformance", title="Conformance", openapi=conformance.document(), confirmation="require")
    reader, writer, tester = (
        local.key("Reader", READ),
        local.key("Writer", ["ANY /organizations/{proxy+}"]),
        local.key("Tester", ["ANY /conformance/{proxy+}"]),
    )
    own = Story(f"{local.mcp}/company", reader.secret, [])
    shown = {str(client): use(client, own) for client in clients.all}
    for client in clients.all:
        # Only clients of 2026-07-28 can ask. The Inspector's command line does not.
        if client.era == "auto":
            confirm(client, Story(f"{local.mcp}/careful", writer.secret, []), upstream.names)
        # The first generations know no client credentials, and the Inspector asks a person to sign in.
        if "SDK 2" in client.name:
            exchange(client, dataclasses.replace(own, account=reader.account, issuer=local.api))

    local.revoke(reader)
    keys = {
        "no key": None,
        "a mistyped key": reader.secret[:-1] + ("b" if reader.secret.endswith("a") else "a"),
        "a revoked key": reader.secret,
        "a variable that is not set": "${KEYWARD_KEY}",
    }
    for client in clients.all:
        shown[str(client)] += fail(client, own, keys)
    text = golden_text(shown, local)
    if "--update" in sys.argv[1:]:
        REFUSALS.write_text(text)
    check("clients show what refusals.txt says", text, REFUSALS.read_text())

    proxy = conformance.Proxy(local.mcp, tester.secret)
    conformance.run(clients.node, clients.modules, f"{proxy.url}/mcp/conformance", clients.folder / "conformance")

    secrets = [key.secret for key in (reader, writer, tester)]
    check("no request to the API contains a key", [one for one in upstream.requests if any(s in one for s in secrets)], [])
    check("the API got requests", len(upstream.requests) > 10)
    check("the log contains no key", [s for s in secrets if s in local.log()], [])
    check("no refused call reached the API", [one for one in upstream.requests if one.startswith(("DELETE", "GET /organizations/2"))], [])


if __name__ == "__main__":
    main()
