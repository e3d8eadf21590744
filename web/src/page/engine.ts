// The page's side of the worker: it is started once, and segments one scan after the other.

import type { FromWorker, Result, ToWorker } from "../core/messages";
import type { NamedFile } from "../core/namedFile";
import { payload, scriptAddress, type Facts } from "./payload";

const MOST_STREAMS = 4;

export class Refused extends Error {
  constructor(
    message: string,
    readonly overrulable: boolean,
  ) {
    super(message);
  }
}

export class Engine {
  private constructor(private readonly worker: Worker) {}

  /** Start the worker and load the network; `#streams=1` in the address sets how many slices are computed at a time. */
  static async start(facts: Facts): Promise<Engine> {
    const [script, wasm, model] = await Promise.all([
      scriptAddress("worker-script"),
      payload("onnxruntime-wasm"),
      payload("model"),
    ]);
    const asked = Number(/streams=(\d+)/.exec(location.hash)?.[1] ?? 0);
    const streams = asked || Math.min(MOST_STREAMS, Math.max(1, navigator.hardwareConcurrency || 1));
    const engine = new Engine(new Worker(script));
    const { contract, description, name } = facts;
    const file = { wasm, model: new Uint8Array(model), name };
    const ports = Array.from({ length: streams }, () => {
      const { port1, port2 } = new MessageChannel();
      new Worker(script).postMessage({ kind: "serve", port: port1 } satisfies ToWorker, [port1]);
      return port2;
    });
    await engine.ask({ kind: "open", file, contract, ports, description }, () => undefined, ports);
    return engine;
  }

  async segment(
    files: NamedFile[],
    force: boolean,
    onProgress: (done: number, total: number) => void,
  ): Promise<Result | null> {
    const isDicom = !files.every(({ name }) => /\.(nii|nii\.gz|png|jpe?g|bmp)$/i.test(name));
    const dicomWasm = isDicom ? await payload("dicom-wasm") : null;
    const answer = await this.ask({ kind: "segment", files, dicomWasm, force }, onProgress);
    if (answer.kind === "result") return answer.result;
    if (answer.kind === "refused") throw new Refused(answer.message, answer.overrulable);
    return null; // cancelled
  }

  cancel(): void {
    this.worker.postMessage({ kind: "cancel" } satisfies ToWorker);
  }

  private ask(
    message: ToWorker,
    onProgress: (done: number, total: number) => void,
    transfer: Transferable[] = [],
  ): Promise<FromWorker> {
    return new Promise((done, failed) => {
      this.worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
        if (data.kind === "progress") onProgress(data.done, data.total);
        else if (data.kind === "failed") failed(new Error(data.message));
        else done(data);
      };
      this.worker.onerror = (event) => failed(new Error(event.message || "the worker stopped"));
      this.worker.postMessage(message, transfer);
    });
  }
}
