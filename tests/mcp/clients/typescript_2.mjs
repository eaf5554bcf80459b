// Runs one story with the second generation of the TypeScript SDK. See ../clients.py.

import { readFileSync } from "node:fs";

import { Client, ClientCredentialsProvider, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const { url, key, calls, era, answer, account, issuer } = JSON.parse(readFileSync(0));
const shown = error => `${error.constructor.name}: ${error.message}`;

const capabilities = answer ? { elicitation: { form: {} } } : {};
const client = new Client({ name: "story", version: "1" }, { capabilities, versionNegotiation: { mode: era } });
const told = { questions: [], results: [] };
if (answer) {
  client.setRequestHandler("elicitation/create", async request => {
    told.questions.push(request.params.message);
    return answer;
  });
}
// With an account, the SDK exchanges the key for a token itself.
const options = account
  ? { authProvider: new ClientCredentialsProvider({ clientId: account, clientSecret: key, clientName: "story", expectedIssuer: issuer }) }
  : { requestInit: { headers: key ? { Authorization: `Bearer ${key}` } : {} } };
try {
  await client.connect(new StreamableHTTPClientTransport(new URL(url), options));
  told.version = client.getNegotiatedProtocolVersion();
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
