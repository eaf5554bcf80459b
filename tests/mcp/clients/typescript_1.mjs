// Runs one story with the first generation of the TypeScript SDK. See ../clients.py.

import { readFileSync } from "node:fs";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const { url, key, calls } = JSON.parse(readFileSync(0));
const shown = error => `${error.constructor.name}: ${error.message}`;

const client = new Client({ name: "story", version: "1" });
const headers = key ? { Authorization: `Bearer ${key}` } : {};
const told = { questions: [], results: [] };
try {
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  told.instructions = client.getInstructions();
  told.tools = (await client.listTools()).tools.map(tool => tool.name);
  for (const [name, args] of calls) {
    told.results.push(await client.callTool({ name, arguments: args }).catch(shown));
  }
} catch (error) {
  told.error = shown(error);
}
await client.close();
console.log(JSON.stringify(told));
