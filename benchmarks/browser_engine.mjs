// Run a model file in onnxruntime-web's WebAssembly, as a browser does: node browser_engine.mjs ENGINE JOB
//
// ENGINE is the folder of onnxruntime-web, JOB a JSON file: model, image (raw float32), shape, rounds, logits (to write).
// Prints milliseconds of an image as JSON.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [engine, jobFile] = process.argv.slice(2);
const module = createRequire(path.join(path.resolve(engine), "package.json")).resolve("onnxruntime-web/wasm");
const loaded = await import(pathToFileURL(module).href);
const ort = loaded.env ? loaded : loaded.default;
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const job = JSON.parse(readFileSync(jobFile, "utf8"));
const bytes = readFileSync(job.image);
const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(job.model)), {
  executionProviders: ["wasm"],
});
const [input, output] = [session.inputNames[0], session.outputNames[0]];
const milliseconds = [];
let logits;
for (let round = 0; round < job.rounds; round++) {
  const feeds = { [input]: new ort.Tensor("float32", numbers, job.shape) };
  const start = performance.now();
  logits = (await session.run(feeds))[output];
  milliseconds.push(performance.now() - start);
}
writeFileSync(job.logits, new Uint8Array(logits.data.buffer, logits.data.byteOffset, logits.data.byteLength));
milliseconds.sort((a, b) => a - b);
console.log(JSON.stringify({ dims: logits.dims, milliseconds: milliseconds[milliseconds.length >> 1] }));
