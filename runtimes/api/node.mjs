// The Node runtime: loads the function's handler, serves the call of its instance, or its calls, through the Runtime API, and
// hands the answer over. Handlers may be CommonJS or ES modules; callbacks, promises and streams are answered alike.

import http from "node:http";
import fs from "node:fs";
import path from "node:path";
import { PassThrough } from "node:stream";
import { pathToFileURL } from "node:url";
import util from "node:util";

const { AWS_LAMBDA_RUNTIME_API: API, LAMBDA_TASK_ROOT: ROOT = "/var/task", _HANDLER: HANDLER = "" } = process.env;
const [hostname, port] = API.split(":");
const STREAMING = Symbol.for("dayfly.streaming");
const EXTENSIONS = ["", ".js", ".mjs", ".cjs"];
// Whether there is more than one call.
const GOES_ON = process.env._DAYFLY_REUSE !== undefined;
delete process.env._DAYFLY_REUSE;

let requestId = "";

// Requests of the Runtime API ------------------------------------------------------------------------------------

function request(method, what, headers = {}) {
  return http.request({ hostname, port, method, path: `/2018-06-01/runtime/${what}`, headers });
}

function send(method, what, body = "", headers = {}) {
  return new Promise((resolve, reject) => {
    const asked = request(method, what, { "Content-Length": Buffer.byteLength(body), ...headers });
    asked.on("error", reject);
    asked.on("response", (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(parts).toString() }));
    });
    asked.end(body);
  });
}

function described(error) {
  if (!(error instanceof Error) && !(error && typeof error === "object" && "stack" in error)) {
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  }
  return {
    errorType: error.name ?? "Error",
    errorMessage: String(error.message ?? ""),
    trace: String(error.stack ?? "").split("\n"),
  };
}

async function fail(what, error, isLast = true) {
  const body = described(error);
  console.error(what === "init/error" ? "Uncaught Exception" : "Invoke Error", JSON.stringify(body));
  await send("POST", what, JSON.stringify(body), { "Lambda-Runtime-Function-Error-Type": body.errorType });
  if (isLast) process.exit(what === "init/error" ? 1 : 0);
}

// What handlers find ---------------------------------------------------------------------------------------------

function patchConsole() {
  const levels = { debug: "DEBUG", info: "INFO", log: "INFO", warn: "WARN", error: "ERROR" };
  for (const [name, level] of Object.entries(levels)) {
    console[name] = (...words) => {
      const text = util.format(...words).replace(/\n/g, "\r");
      process.stdout.write(`${new Date().toISOString()}\t${requestId || "undefined"}\t${level}\t${text}\n`);
    };
  }
}

globalThis.awslambda = {
  // The gathered stream is the call's answer.
  streamifyResponse: (handler) => Object.assign((...words) => handler(...words), { [STREAMING]: true }),
  HttpResponseStream: {
    // What function URLs make a response of: its head as JSON, eight zero bytes, and the body.
    from(stream, head) {
      stream.setContentType?.("application/vnd.awslambda.http-integration-response");
      stream.write(JSON.stringify(head));
      stream.write(Buffer.alloc(8));
      return stream;
    },
  },
};

class InitError extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

async function load() {
  const at = HANDLER.match(/^(.*\/)?([^./][^/]*?)\.([^/]+)$/);
  if (!at || HANDLER.includes("..")) throw new InitError("Runtime.MalformedHandlerName", `Bad handler '${HANDLER}'`);
  const [, folder = "", name, names] = at;
  const base = path.resolve(ROOT, folder, name);
  const isFile = (file) => fs.statSync(file, { throwIfNoEntry: false })?.isFile();
  const file = EXTENSIONS.map((extension) => base + extension).find(isFile);
  if (!file) throw new InitError("Runtime.ImportModuleError", `Error: Cannot find module '${name}'`);
  const module = await import(pathToFileURL(file).href);
  const from = (start) => names.split(".").reduce((value, key) => value?.[key], start);
  const handler = from(module) ?? from(module.default);
  if (handler === undefined) throw new InitError("Runtime.HandlerNotFound", `${HANDLER} is undefined or not exported`);
  if (typeof handler !== "function") throw new InitError("Runtime.HandlerNotFound", `${HANDLER} is not a function`);
  return handler;
}

function contextOf(headers) {
  const { env } = process;
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const parse = (text) => (text ? JSON.parse(text) : undefined);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    clientContext: parse(headers["lambda-runtime-client-context"]),
    identity: parse(headers["lambda-runtime-cognito-identity"]),
    getRemainingTimeInMillis: () => Math.max(deadline - Date.now(), 0),
  };
}

// The call -------------------------------------------------------------------------------------------------------

function gathered(handler, event, context) {
  const stream = new PassThrough();
  stream.setContentType = () => {};
  const parts = [];
  stream.on("data", (part) => parts.push(Buffer.from(part)));
  return new Promise((resolve, reject) => {
    stream.on("end", () => resolve(Buffer.concat(parts)));
    stream.on("error", reject);
    Promise.resolve(handler(event, stream, context)).then(() => stream.writableEnded || stream.end(), reject);
  });
}

function called(handler, event, context) {
  return new Promise((resolve, reject) => {
    let answer = null;
    const settle = (error, result) => {
      if (error !== undefined && error !== null) return reject(error);
      answer = result;
      if (!context.callbackWaitsForEmptyEventLoop) resolve(answer);
    };
    Object.assign(context, {
      done: settle,
      succeed: (result) => settle(null, result),
      fail: (error) => settle(error ?? "handled"),
    });
    const returned = handler(event, context, settle);
    if (typeof returned?.then === "function") returned.then(resolve, reject);
    // What the function has begun goes on first. Neither promise nor callback: null.
    else process.once("beforeExit", () => resolve(answer));
  });
}

async function main() {
  patchConsole();
  let handler;
  try {
    handler = await load();
  } catch (error) {
    return fail("init/error", error);
  }
  const unhandled = (name) => (error) => {
    const wrapped = Object.assign(new Error(error?.message ?? String(error)), { stack: error?.stack });
    wrapped.name = name ?? error?.name ?? "Error";
    fail(`invocation/${requestId}/error`, wrapped);
  };
  process.on("unhandledRejection", unhandled("Runtime.UnhandledPromiseRejection"));
  process.on("uncaughtException", unhandled());
  do await serve(handler);
  while (GOES_ON);
  process.exit(0);
}

async function serve(handler) {
  const { headers, body } = await send("GET", "invocation/next");
  requestId = headers["lambda-runtime-aws-request-id"];
  const trace = headers["lambda-runtime-trace-id"];
  if (trace) process.env._X_AMZN_TRACE_ID = trace;
  else delete process.env._X_AMZN_TRACE_ID;
  const answer = `invocation/${requestId}`;
  try {
    const [event, context] = [JSON.parse(body), contextOf(headers)];
    const result = handler[STREAMING] ? await gathered(handler, event, context) : await called(handler, event, context);
    const bytes = Buffer.isBuffer(result) && handler[STREAMING] ? result : (JSON.stringify(result) ?? "null");
    await send("POST", `${answer}/response`, bytes);
  } catch (error) {
    await fail(`${answer}/error`, error, !GOES_ON);
  }
}

main();
