"""Runs one story with the second generation of the Python SDK. See ../clients.py."""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.auth import TokenStorage
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult


class Memory(TokenStorage):
    """Keeps the tokens of one run."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


def shown(error: BaseException) -> list[str]:
    inner = getattr(error, "exceptions", None)
    return [text for one in inner for text in shown(one)] if inner else [f"{type(error).__name__}: {error}"]


async def call(client, name: str, arguments: dict) -> dict | str:
    try:
        result = await client.call_tool(name, arguments)
    except Exception as error:
        return "\n".join(shown(error))
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def run(story: dict) -> dict:
    told: dict = {"questions": [], "results": []}

    async def answer(_context, request):
        told["questions"].append(request.message)
        return ElicitResult(**story["answer"])

    # With an account, the SDK exchanges the key for a token itself.
    if story["account"]:
        auth = ClientCredentialsOAuthProvider(
            server_url=story["url"], storage=Memory(), client_id=story["account"], client_secret=story["key"]
        )
        http = httpx2.AsyncClient(auth=auth)
    else:
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {story['key']}"} if story["key"] else {})
    transport = streamable_http_client(story["url"], http_client=http)
    try:
        async with Client(transport, mode=story["era"], elicitation_callback=answer if story["answer"] else None) as client:
            told |= {"version": client.protocol_version, "instructions": client.instructions}
            told["tools"] = [tool.name for tool in (await client.list_tools()).tools]
            for name, arguments in story["calls"]:
                told["results"].append(await call(client, name, arguments))
    except Exception as error:
        told["error"] = "\n".join(shown(error))
    return told


print(json.dumps(asyncio.run(run(json.load(sys.stdin)))))
