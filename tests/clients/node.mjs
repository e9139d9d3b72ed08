// Node's own HTTP/1.1, HTTP/2 and fetch clients against an edge. Arguments: cleartext URL, TLS URL, CA file.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import { Readable } from "node:stream";
import { finished } from "node:stream/promises";

const [clear, tls, authority] = process.argv.slice(2);
const ca = readFileSync(authority);
const mebibyte = Buffer.alloc(1 << 20, "m");

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

async function* pieces(count, size) {
  for (let n = 0; n < count; n++) yield Buffer.alloc(size, 97 + (n % 26));
}

function ask(base, agent, path, options = {}, body = undefined) {
  const client = base.startsWith("https") ? https : http;
  return new Promise((resolve, reject) => {
    const request = client.request(new URL(path, base), { agent, ca, ...options });
    const informed = [];
    request.on("information", (info) => informed.push(info.headers.link ?? info.statusCode));
    request.on("continue", () => { if (options.headers?.expect) request.end(body); });
    request.on("error", reject);
    request.on("response", async (response) => {
      try {
        resolve({ status: response.statusCode, headers: response.headers, body: await collect(response), informed });
      } catch (error) { reject(error); }
    });
    if (body instanceof Readable) body.pipe(request);
    else if (options.headers?.expect) request.flushHeaders();
    else request.end(body);
  });
}

async function version1(base) {
  const { Agent } = base.startsWith("https") ? https : http;
  let sockets = 0;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const made = agent.createConnection.bind(agent);
  agent.createConnection = (...all) => { sockets += 1; return made(...all); };
  for (let n = 0; n < 50; n++) {
    const got = await ask(base, agent, `/page?n=${n}`);
    assert.equal(got.body.toString(), "origin eu\n");
  }
  assert.equal(sockets, 1, "fifty requests share a connection");
  assert.equal((await ask(base, agent, "/", { method: "HEAD" })).body.length, 0);
  assert.equal((await ask(base, agent, "/status/404")).status, 404);
  assert.equal((await ask(base, agent, "/status/204")).status, 204);
  assert.equal((await ask(base, agent, "/chunked")).body.toString(), "origin eu\n");
  assert.ok((await ask(base, agent, "/echo", { method: "POST" }, mebibyte)).body.equals(mebibyte), "a body with its length");
  const streamed = await ask(base, agent, "/echo", { method: "PUT" }, Readable.from(pieces(64, 10000)));
  assert.equal(streamed.body.length, 640000, "a body in chunks");
  const big = await ask(base, agent, "/big/8000000");
  assert.equal(big.body.length, 8000000);
  const expecting = await ask(base, agent, "/echo", { method: "POST", headers: { expect: "100-continue", "content-length": 5 } }, "after");
  assert.deepEqual([expecting.body.toString(), expecting.informed], ["after", [100]]);
  const hinted = await ask(base, agent, "/hints");
  assert.deepEqual([hinted.body.toString(), hinted.informed], ["origin eu\n", ["</style.css>; rel=preload"]], "an interim answer");
  const options = await ask(base, agent, "/", { method: "OPTIONS" });
  assert.equal(options.status, 200);
  agent.destroy();
}

async function version2(base) {
  const session = http2.connect(base, { ca });
  const one = async (headers, body) => {
    const stream = session.request(headers, { endStream: body === undefined });
    let status;
    stream.on("response", (response) => { status = response[":status"]; });
    if (body instanceof Readable) body.pipe(stream);
    else if (body !== undefined) stream.end(body);
    const all = await collect(stream);
    return { status, body: all };
  };
  const many = await Promise.all(Array.from({ length: 50 }, (_, n) => one({ ":path": `/page?n=${n}` })));
  assert.ok(many.every((got) => got.status === 200 && got.body.toString() === "origin eu\n"));
  const echoes = await Promise.all([1, 2, 3, 4].map(() => one({ ":path": "/echo", ":method": "POST" }, mebibyte)));
  assert.ok(echoes.every((got) => got.body.equals(mebibyte)), "four mebibytes side by side");
  const streamed = await one({ ":path": "/echo", ":method": "POST" }, Readable.from(pieces(64, 10000)));
  assert.equal(streamed.body.length, 640000);
  assert.equal((await one({ ":path": "/status/503" })).status, 503);
  const cancelled = session.request({ ":path": "/big/50000000" });
  cancelled.on("data", () => cancelled.close(http2.constants.NGHTTP2_CANCEL));
  await finished(cancelled).catch(() => {});
  assert.equal((await one({ ":path": "/" })).status, 200, "the connection lives on after a cancelled stream");
  await new Promise((resolve) => session.close(resolve));
}

async function fetched(base) {
  const page = await fetch(new URL("/page", base));
  assert.equal(await page.text(), "origin eu\n");
  const posted = await fetch(new URL("/echo", base), { method: "POST", body: mebibyte });
  assert.equal((await posted.arrayBuffer()).byteLength, 1 << 20);
  const streaming = await fetch(new URL("/echo", base), { method: "POST", body: Readable.toWeb(Readable.from(pieces(8, 1000))), duplex: "half" });
  assert.equal((await streaming.text()).length, 8000);
}

await version1(clear); console.log("passed: http");
await version1(tls); console.log("passed: https");
await version2(clear); console.log("passed: http2 with prior knowledge");
await version2(tls); console.log("passed: http2 over TLS");
await fetched(clear); console.log("passed: fetch");
