"""`cargo dev` as a process, and the API that it protects."""

import http.server
import json
import pathlib
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEM = ROOT / "target" / "debug" / "local"


class Upstream(http.server.ThreadingHTTPServer):
    """The protected API. Remembers its requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), UpstreamHandler)
        self.names = {"1": "Analytical Engines", "2": "Difference Engines"}
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class UpstreamHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(f"{self.command} {self.path}\n{self.headers}{body.decode()}")
        self.answer(*self.decide(body))

    do_GET = do_POST = do_PUT = do_DELETE = handle_request

    def decide(self, body: bytes) -> tuple[int, object]:
        match self.path.split("/")[1:]:
            case ["organizations"]:
                return 200, [{"id": id, "name": name} for id, name in self.server.names.items()]
            case ["organizations", id] if id not in self.server.names:
                return 404, {"message": "No such organization"}
            case ["organizations", id]:
                if self.command == "PUT":
                    self.server.names[id] = json.loads(body)["name"]
                return 200, {"id": id, "name": self.server.names[id]}
            # The tools that the conformance suite calls.
            case ["conformance", "test_error_handling"]:
                return 500, "This tool intentionally returns an error for testing"
            case ["conformance", _]:
                return 200, "This is a simple text response for testing."
            case _:
                return 404, {"message": "No such path"}

    def answer(self, status: int, content: object) -> None:
        is_text = isinstance(content, str)
        body = (content if is_text else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Local:
    """`cargo dev`, in memory, on free ports, in front of `upstream`."""

    def __init__(self, folder: pathlib.Path, upstream: str) -> None:
        self.folder = folder
        ports = ["--port", "0", "--console-port", "0", "--issuer-port", "0", "--mcp-port", "0"]
        command = [SYSTEM, "--memory", "--data", folder, "--upstream", upstream, *ports]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        path = folder / "local.json"
        for _ in range(600):
            if path.exists() and path.read_text().endswith("}\n"):
                facts = json.loads(path.read_text())
                self.api, self.mcp, self.admin_token = facts["api"], facts["mcp"], facts["adminToken"]
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.process.kill()
        raise SystemExit("target/debug/local did not start")

    def admin(self, method: str, path: str, body: object = None) -> dict:
        """Calls an operation of the IAM API."""
        request = urllib.request.Request(
            f"{self.api}/iam/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.admin_token}", "Content-Type": "application/json"},
        )
        try:
            text = urllib.request.urlopen(request).read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from error
        return json.loads(text) if text else {}

    def key(self, name: str, permissions: list[str]) -> "Key":
        """A key of a new account, whose new role has these permissions."""
        self.admin("PUT", f"/roles/{name}", {"permissions": permissions})
        account = self.admin("POST", "/service-accounts", {"name": name, "role": name})["id"]
        key = self.admin("POST", f"/service-accounts/{account}/keys", {"name": "key"})
        return Key(account, key["id"], key["secret"])

    def revoke(self, key: "Key") -> None:
        self.admin("DELETE", f"/service-accounts/{key.account}/keys/{key.id}")

    def log(self) -> str:
        return (self.folder / "log.jsonl").read_text()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


class Key:
    def __init__(self, account: str, id: str, secret: str) -> None:
        self.account, self.id, self.secret = account, id, secret
