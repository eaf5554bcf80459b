"""Runs one story with the first generation of the Python SDK. See ../clients.py."""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


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
    headers = {"Authorization": f"Bearer {story['key']}"} if story["key"] else {}
    try:
        async with streamablehttp_client(story["url"], headers=headers) as (read, write, _), ClientSession(read, write) as client:
            begun = await client.initialize()
            told |= {"version": begun.protocolVersion, "instructions": begun.instructions}
            told["tools"] = [tool.name for tool in (await client.list_tools()).tools]
            for name, arguments in story["calls"]:
                told["results"].append(await call(client, name, arguments))
    except Exception as error:
        told["error"] = "\n".join(shown(error))
    return told


print(json.dumps(asyncio.run(run(json.load(sys.stdin)))))
