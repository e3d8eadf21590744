// ONNX Runtime in WebAssembly: one thread per session, so that a page needs no special headers.

import * as ort from "onnxruntime-web/wasm";

import type { Network } from "./segmenting";

export const ENGINE = "onnxruntime-web";
const WARM_UP_MS = 3000;
export const TITLE = "ONNX Runtime in the browser";

export interface LoadedNetwork extends Network {
  /** Compute slices of nothing, until a browser has compiled all that the network needs or a scan is there. */
  warmUp(): Promise<void>;
}

/** Make a network of a model file; `wasm` is the content of ort-wasm-simd-threaded.wasm. */
export async function openNetwork(wasm: ArrayBuffer, model: Uint8Array, source: string): Promise<LoadedNetwork> {
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
  });
  const name = session.inputNames[0]!;
  const input = session.inputMetadata[0] as { shape?: readonly (number | string)[] } | undefined;
  const stated = input?.shape;
  const shape = stated?.map((length) => (typeof length === "number" ? length : 1)) ?? [];
  const compute = async (pixels: Float32Array) => {
    const answer = await session.run({ [name]: new ort.Tensor("float32", pixels, shape) });
    const output = answer[session.outputNames[0]!]!;
    return output.data as Float32Array; // which is no part of the engine's memory
  };
  const nothing = new Float32Array(shape.reduce((product, length) => product * length, 1));
  let busy: Promise<unknown> = Promise.resolve();
  let isAsked = false;
  return {
    streams: 1,
    title: TITLE,
    source,
    run(pixels) {
      isAsked = true;
      const made = busy.then(() => compute(pixels));
      busy = made.catch(() => undefined);
      return made;
    },
    async warmUp() {
      const started = performance.now();
      while (!isAsked && performance.now() - started < WARM_UP_MS) {
        busy = compute(nothing).catch(() => undefined);
        await busy;
        await new Promise((done) => setTimeout(done)); // a scan may be asked for in between
      }
    },
  };
}
