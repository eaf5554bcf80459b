"""An identity provider and a browser for the deployed console.

The console cannot use the emulator's Cognito, because the issuer in its discovery document
is not the URL of the document. So the test sets another identity provider in the template's
parameters.
"""

import base64
import hashlib
import html
import http.server
import json
import re
import secrets
import threading
import time
import urllib.parse

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from aws import Aws, Response

CLIENT, CLIENT_SECRET = "the-console", "a+secret/of=the:console"
DOMAIN = "console.example.com"
GROUP = "keyward-admins"
IAM_AUDIENCE = "https://keyward.example.com/iam"


class Provider:
    """An OpenID Connect provider with one user, who is an admin: discovery, keys, and the code
    exchange. A context manager."""

    def __enter__(self) -> "Provider":
        self.key = rsa.generate_private_key(65537, 2048)
        self.codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = {"/.well-known/openid-configuration": provider.configuration, "/jwks": provider.jwks}
                document = known.get(self.path)
                self.respond(404, {}) if document is None else self.respond(200, document())

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.respond(*provider.exchange(self.headers["Authorization"], dict(urllib.parse.parse_qsl(form))))

            def respond(self, status: int, body: dict) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def parameters(self) -> dict[str, str]:
        """The template's parameters for this provider."""
        return {
            "OidcIssuer": self.url,
            "OidcJwksUri": f"{self.url}/jwks",
            "OidcIamClientIds": "a-command-line",
            "OidcIamAudience": IAM_AUDIENCE,
            "OidcApiAudience": "https://business.example.com",
            "OidcConsoleClientId": CLIENT,
            "OidcConsoleClientSecret": CLIENT_SECRET,
            "OidcGroupsClaim": "groups",
        }

    def configuration(self) -> dict:
        endpoints = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        endpoints["end_session_endpoint"] = "/end"
        return {"issuer": self.url} | {name: self.url + path for name, path in endpoints.items()}

    def jwks(self) -> dict:
        key = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [key | {"kid": "one", "alg": "RS256", "use": "sig"}]}

    def sign_in(self, location: str) -> str:
        """Signs in on the page at `location`. Returns the URL of the redirect."""
        request = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
        code = secrets.token_urlsafe()
        self.codes[code] = request
        return f"{request['redirect_uri']}?{urllib.parse.urlencode({'code': code, 'state': request['state']})}"

    def exchange(self, authorization: str, form: dict[str, str]) -> tuple[int, dict]:
        request = self.codes.pop(form.get("code", ""), None)
        # RFC 6749, section 2.3.1: the client id and secret are form-encoded first.
        basic = ":".join(urllib.parse.quote_plus(part) for part in (CLIENT, CLIENT_SECRET))
        if authorization != f"Basic {base64.b64encode(basic.encode()).decode()}":
            return 401, {"error": "invalid_client"}
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if request is None or (request["code_challenge"], request["redirect_uri"]) != (challenge, form.get("redirect_uri")):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        own = {"iss": self.url, "sub": "ada", "iat": now, "exp": now + 3600}
        access = own | {"client_id": CLIENT, "aud": IAM_AUDIENCE, "email": "ada@example.com", "groups": [GROUP]}
        id_token = own | {"aud": CLIENT, "nonce": request["nonce"]}
        return 200, {"token_type": "Bearer", "access_token": self.sign(access, "at+jwt"), "id_token": self.sign(id_token, "JWT")}

    def sign(self, claims: dict, kind: str) -> str:
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "one", "typ": kind})


class Browser:
    """A minimal browser for pages without scripts: cookies, redirects and forms."""

    def __init__(self, aws: Aws, url: str, provider: Provider) -> None:
        self.aws, self.url, self.provider = aws, url, provider
        self.cookies: dict[str, str] = {}

    def send(self, method: str, path: str, form: dict[str, str] | None = None) -> Response:
        headers = {"Host": DOMAIN, "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if form is not None:
            headers |= {"Origin": self.url, "Content-Type": "application/x-www-form-urlencoded"}
        body = None if form is None else urllib.parse.urlencode(form)
        response = self.aws.send(DOMAIN, method, path, headers, body)
        for cookie in response.cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if value:
                self.cookies[name] = value
        return response

    def follow(self, response: Response) -> Response:
        while response.status in (302, 303):
            location = response.headers["location"]
            if location.startswith(self.provider.url):
                location = self.provider.sign_in(location)
            response = self.send("GET", location.removeprefix(self.url))
        return response

    def open(self, path: str) -> Response:
        return self.follow(self.send("GET", path))

    def submit(self, page: Response, action: str, **fields: str) -> Response:
        """Submits the form of `page` that has this `action`, with its hidden fields and `fields`."""
        (form,) = re.findall(rf'<form[^>]* action="{re.escape(action)}"[^>]*>(.*?)</form>', page.text, re.S)
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
        return self.follow(self.send("POST", action, {name: html.unescape(value) for name, value in hidden} | fields))
