"""MCP's conformance suite, against the fixture API `conformance`."""

import http.client
import http.server
import json
import pathlib
import re
import subprocess
import sys
import threading
import tomllib
import urllib.parse

from checks import check
from local import ROOT

REVISIONS = ["2026-07-28", "2025-11-25"]
# The tools that the suite calls. It expects questions to the user from those that write.
READS = [
    "test_simple_text",
    "test_error_handling",
    "test_streaming_elicitation",
    "test_logging_tool",
    # In the scenarios of the extension for tasks, which must get results without it.
    "greet",
    "slow_compute",
    "confirm_delete",
]
WRITES = [
    "test_missing_capability",
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_input_required_result_list_roots",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_request_state",
    "test_input_required_result_tampered_state",
    "test_input_required_result_capabilities",
]


def document() -> dict:
    """The OpenAPI document of the fixture API."""
    def paths(names: list[str], method: str) -> dict:
        responses = {"200": {"description": "OK"}}
        return {f"/conformance/{name}": {method: {"operationId": name, "summary": name, "responses": responses}} for name in names}

    return {
        "openapi": "3.1.0",
        "info": {"title": "Conformance", "version": "1.0.0"},
        "paths": paths(READS, "get") | paths(WRITES, "post"),
    }


class Proxy(http.server.ThreadingHTTPServer):
    """Adds the key to each request, because the suite cannot, and passes everything else.

    In `Host` and `Origin`, the proxy's own address becomes that of the server. Other values, such as
    those of an attacker's page, stay.
    """

    def __init__(self, server: str, key: str) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.server, self.key = urllib.parse.urlsplit(server).netloc, key
        self.own = f":{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1{self.own}"

    def handle_error(self, request: object, client_address: object) -> None:
        # The suite closes some connections early.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_request(self) -> None:
        proxy: Proxy = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        onward = http.client.HTTPConnection(proxy.server, timeout=30)
        onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        onward.putheader("Authorization", f"Bearer {proxy.key}")
        port = f":{proxy.server.rsplit(':')[-1]}"
        for name, value in self.headers.items():
            if name.lower() in ("host", "origin"):
                value = value.removesuffix(proxy.own) + port if value.endswith(proxy.own) else value
            if name.lower() not in ("connection", "keep-alive", "transfer-encoding"):
                onward.putheader(name, value)
        onward.endheaders(body)
        response = onward.getresponse()
        content = response.read()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "content-length", "date", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        onward.close()

    do_GET = do_POST = do_DELETE = do_OPTIONS = handle_request

    def log_message(self, *_: object) -> None:
        pass


def run(node: pathlib.Path, modules: pathlib.Path, url: str, folder: pathlib.Path) -> None:
    """Runs the scenarios that each revision requires, and compares the failures with conformance.toml."""
    suite = modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    exceptions = tomllib.loads((ROOT / "tests" / "mcp" / "conformance.toml").read_text())["exception"]
    for revision in REVISIONS:
        results = folder / revision
        results.mkdir(parents=True)
        command = [node, suite, "server", "--url", url, "--requirements", revision, "--output-dir", results]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder).stdout
        (results / "output.txt").write_text(printed)
        scenarios = outcomes(results, printed)
        expected = {
            scenario: sorted(failures)
            for exception in exceptions
            if revision in exception["revisions"]
            for scenario, failures in exception["failures"].items()
        }
        check(f"conformance {revision}: the suite ran", len(scenarios) > 30)
        for scenario in sorted(scenarios.keys() | expected.keys()):
            check(f"conformance {revision}: {scenario}", scenarios.get(scenario), expected.get(scenario, []))


def outcomes(results: pathlib.Path, printed: str) -> dict[str, list[str] | None]:
    """The failed checks of each scenario in the summary. None if the scenario broke off."""
    found: dict[str, list[str] | None] = dict.fromkeys(re.findall(r"^[✓✗] (\S+): \d+ passed, \d+ failed$", printed, re.M))
    for path in results.glob("*/checks.json"):
        scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*$", "", path.parent.name)
        checks = json.loads(path.read_text())
        found[scenario] = sorted(one["id"] for one in checks if one["status"] == "FAILURE")
    return found
