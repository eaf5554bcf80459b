"""An API at a public address, and an agent that uses it through the deployed MCP server.

The MCP server calls only public https addresses. So the test adds such an address to this
machine's loopback interface for as long as the test runs. That needs the capability NET_ADMIN.
Without it, the server's last step, the request to the API, ends with an error, and the test makes
this request itself.
"""

import datetime
import http.client
import http.server
import ipaddress
import json
import pathlib
import shutil
import ssl
import subprocess
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aws import Aws, Response
from checks import check

# An address of the amateur packet radio network. Nothing on this machine uses it.
ADDRESS = "44.1.1.1"
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Organizations", "version": "1"},
    "servers": [{"url": "https://elsewhere.example.com"}],
    "paths": {
        "/organizations": {
            "get": {"operationId": "list_organizations", "responses": {"200": {"description": "All organizations"}}},
            "post": {"operationId": "create_organization", "responses": {"201": {"description": "The organization"}}},
        },
        "/organizations/{id}": {
            "get": {
                "operationId": "get_organization",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"200": {"description": "The organization"}},
            }
        },
    },
}


class PublicApi:
    """A server with TLS in front of the emulator's API Gateway, at a public address if this
    machine allows it. A context manager."""

    def __init__(self, aws: Aws, folder: pathlib.Path) -> None:
        self.aws, self.folder = aws, folder
        # The API in the emulator. Set before the first request.
        self.api = ""
        self.roots = folder / "roots.pem"
        self.certificate, self.key = folder / "public-api.pem", folder / "public-api.key"
        create_certificate(self.certificate, self.key)
        self.roots.write_bytes(self.certificate.read_bytes())

    def __enter__(self) -> "PublicApi":
        command = ["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"]
        self.is_public = shutil.which("ip") is not None and subprocess.run(command, capture_output=True).returncode == 0
        public = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                headers["Host"] = f"{public.api}.execute-api.localhost:{public.aws.port}"
                connection = http.client.HTTPConnection("127.0.0.1", public.aws.port, timeout=60)
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                text = response.read()
                connection.close()
                self.send_response(response.status)
                self.send_header("Content-Type", response.getheader("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = forward

            def log_message(self, *_: object) -> None:
                pass

        address = ADDRESS if self.is_public else "127.0.0.1"
        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://{ADDRESS}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        if self.is_public:
            subprocess.run(["ip", "address", "del", f"{ADDRESS}/32", "dev", "lo"], check=True)


def create_certificate(certificate: pathlib.Path, key: pathlib.Path) -> None:
    """Writes a certificate for the address, which its own key has signed."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ADDRESS)])
    now = datetime.datetime.now(datetime.timezone.utc)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))])
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
    signed = builder.add_extension(alternative, critical=False).sign(private, hashes.SHA256())
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(encoding, form, serialization.NoEncryption()))


class Agent:
    """A client of MCP's revision 2025-11-25."""

    def __init__(self, aws: Aws, api: str, host: str, name: str, key: str | None) -> None:
        self.aws, self.api, self.host, self.name, self.key = aws, api, host, name, key

    def send(self, method: str, **parameters: object) -> Response:
        headers = {"Host": self.host, "Content-Type": "application/json", "MCP-Protocol-Version": "2025-11-25"}
        headers["Accept"] = "application/json, text/event-stream"
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        return self.aws.send(self.api, "POST", f"/mcp/{self.name}", headers, json.dumps(body))

    def tools(self) -> list[str]:
        return [tool["name"] for tool in self.send("tools/list").json["result"]["tools"]]

    def use(self, tool: str, **arguments: object) -> tuple[bool, str]:
        """Whether the call of a tool failed, and the text of its result."""
        result = self.send("tools/call", name=tool, arguments=arguments).json["result"]
        return result.get("isError", False), result["content"][0]["text"]


def check_agents(aws: Aws, one, examples: list, public: PublicApi) -> list[str]:
    """Registers the HTTP example's API, and uses it as an agent. Returns the credentials."""
    api, public.api = one.stack.resources["McpApi"], examples[0].api
    host = serve_host(aws, one)
    check("an output has the URL of the MCP server", one.stack.outputs["McpUrl"].endswith("/mcp"), True)
    path = "/iam/v1/apis/organizations"
    body = {"title": "Organizations", "baseUrl": public.url, "apiId": public.api, "openapi": DOCUMENT}
    registered = one.call("PUT", path, body)
    tools = [(tool["name"], tool["permission"]) for tool in registered.json.get("tools", [])]
    expected = [
        ("list_organizations", "GET /organizations"),
        ("create_organization", "POST /organizations"),
        ("get_organization", "GET /organizations/{id}"),
    ]
    check("an API is registered with its tools", (registered.status, tools), (201, expected))
    broken = body | {"openapi": DOCUMENT | {"paths": {"/teams": {"get": {"parameters": [{"$ref": "#/nowhere"}]}}}}}
    refused = one.call("PUT", path, broken)
    pointers = [error["pointer"] for error in refused.json.get("errors", [])]
    check("an error in a document has a pointer", (refused.status, pointers), (422, ["/openapi/paths/~1teams/get/parameters/0/$ref"]))
    changed = one.call("PUT", path, {name: value for name, value in body.items() if name != "openapi"} | {"confirmation": "ask"})
    check("the settings change and the document stays", (changed.status, changed.json["toolCount"]), (200, 3))
    names = [item["name"] for item in one.call("GET", "/iam/v1/apis").json["items"]]
    check("the APIs are listed", (names, one.call("GET", path).json["confirmation"]), (["organizations"], "ask"))

    account = one.create("agent", "ServiceAccountReader")
    key_id, key = one.issue(account, expiresInDays=1)
    agent = Agent(aws, api, host, "organizations", key)
    for document in "", "/mcp/organizations":
        metadata = aws.send(api, "GET", f"/.well-known/oauth-protected-resource{document}", {"Host": host}, None)
        actual = (metadata.status, metadata.json["resource"], len(metadata.json["authorization_servers"]))
        check("the metadata name the MCP server", actual, (200, f"https://{host}{document}", 1))
    for what, credential in ("no", None), ("a mistyped", f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}"):
        response = Agent(aws, api, host, "organizations", credential).send("tools/list")
        challenge = response.headers.get("www-authenticate", "")
        metadata = f'resource_metadata="https://{host}/.well-known/oauth-protected-resource/mcp/organizations"'
        check(f"with {what} key, the challenge names the metadata", (response.status, metadata in challenge), (401, True))
    greeting = agent.send("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "test", "version": "1"})
    check("the server speaks the client's revision", greeting.json["result"]["protocolVersion"], "2025-11-25")
    check("the agent sees what its role permits", agent.tools(), ["list_organizations", "get_organization"])
    failed, text = agent.use("create_organization")
    check("a tool that the role does not permit names the permission", (failed, "POST /organizations" in text), (True, True))
    failed, text = agent.use("get_organization", id="../teams")
    check("a value that would change the path is refused", (failed, "id" in text), (True, True))
    failed, text = agent.use("get_organization", id="42")
    if public.is_public:
        principal = json.loads(text)["principal"] if not failed else text
        actual = (principal["principalId"], principal["keyId"]) if not failed else text
        check("the tool calls the API as the account", actual, (account, key_id))
        check("the API does not get the key", key in text, False)
    else:
        check("without a public address, the API cannot be reached", failed, True)
    token = request_token(aws, one, key, public.api)
    examples[0].check("a request token works for its request", token, 200, path="/organizations/42")
    examples[0].check("a request token works for no other request", token, examples[0].unauthorized)
    examples[1].check("a request token works at no other API", token, 403, path="/organizations/42")
    check("the agent's key is revoked", one.call("DELETE", f"/iam/v1/service-accounts/{account}/keys/{key_id}").status, 204)
    check("the next request of the agent is refused", agent.send("tools/list").status, 401)

    # A registration of the same document replaces nothing, and another one replaces the tools.
    fewer = one.call("PUT", path, body | {"include": ["ANY /organizations", "GET /organizations/{id}"], "exclude": ["POST /organizations"]})
    check("another selection has fewer tools", (fewer.status, fewer.json["toolCount"]), (200, 2))
    check("the API is deleted", (one.call("DELETE", path).status, one.call("GET", path).status), (204, 404))
    return [key, token]


def serve_host(aws: Aws, one) -> str:
    """Lets the MCP server answer under the emulator's name of its API, which differs from AWS's, and
    returns this name."""
    client, function = aws.client("lambda"), one.stack.resources["Mcp"]
    host = f"{one.stack.resources['McpApi']}.execute-api.localhost"
    variables = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    client.update_function_configuration(FunctionName=function, Environment={"Variables": variables | {"KEYWARD_MCP_HOSTS": host}})
    return host


def request_token(aws: Aws, one, key: str, api: str) -> str:
    """The token with which the MCP server would call the API."""
    event = {"keyward": "requestToken", "credential": key, "api": api, "method": "GET", "path": "/organizations/42"}
    function = one.stack.resources["ExchangeToken"]
    response = aws.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    return json.loads(response["Payload"].read())["issued"]["token"]
