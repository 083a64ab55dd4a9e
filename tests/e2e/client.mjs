// A client of the TypeScript SDK: node client.mjs FOLDER-OF-NODE_MODULES streamableHttp|sse URL
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, kind, url] = process.argv.slice(2);
const require = createRequire(pathToFileURL(folder + "/"));
const load = (name) => import(pathToFileURL(require.resolve("@modelcontextprotocol/sdk/" + name)).href);
const { Client } = await load("client/index.js");
const transport =
  kind === "sse"
    ? new (await load("client/sse.js")).SSEClientTransport(new URL(url))
    : new (await load("client/streamableHttp.js")).StreamableHTTPClientTransport(new URL(url));

const client = new Client({ name: "ts", version: "1.0" });
await client.connect(transport);
await client.callTool({ name: "echo", arguments: { message: "ü\u2028" } });
const progress = [];
await client.callTool(
  { name: "trigger-long-running-operation", arguments: { duration: 0.2, steps: 2 } },
  undefined,
  { onprogress: (each) => progress.push(each.progress) },
);
const failed = await client.callTool({ name: "get-sum", arguments: { a: "x" } });
const abort = new AbortController();
setTimeout(() => abort.abort("enough"), 300);
await client
  .callTool({ name: "trigger-long-running-operation", arguments: { duration: 30, steps: 2 } }, undefined, { signal: abort.signal })
  .catch(() => undefined);
await new Promise((done) => setTimeout(done, 300)); // until the server has heard of it
console.log(JSON.stringify({ progress, failed: failed.isError === true }));
await client.close();
