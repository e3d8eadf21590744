// A network in several workers: each computes a slice at a time, on a thread of its own.

import type { FromWorker, ModelFile, ToWorker } from "./messages";
import type { Network } from "./segmenting";
import { TITLE } from "./session";

interface Waiting {
  input: Float32Array;
  done: (logits: Float32Array) => void;
  failed: (error: Error) => void;
}

export class NetworkPool implements Network {
  readonly title = TITLE;
  private readonly idle: MessagePort[];
  private readonly queue: Waiting[] = [];

  private constructor(
    private readonly ports: MessagePort[],
    readonly source: string,
  ) {
    this.idle = [...ports];
  }

  get streams(): number {
    return this.ports.length;
  }

  /** Load the network in each of the workers that the page has connected; a worker of a page on the disk has none. */
  static async open(ports: MessagePort[], file: ModelFile): Promise<NetworkPool> {
    await Promise.all(ports.map((port) => loaded(port, file)));
    return new NetworkPool(ports, file.name);
  }

  run(input: Float32Array): Promise<Float32Array> {
    return new Promise((done, failed) => {
      this.queue.push({ input, done, failed });
      this.next();
    });
  }

  private next(): void {
    const waiting = this.idle.length ? this.queue.shift() : undefined;
    if (!waiting) return;
    const port = this.idle.pop()!;
    port.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      this.idle.push(port);
      if (data.kind === "ran") waiting.done(data.logits);
      else waiting.failed(new Error(data.kind === "failed" ? data.message : data.kind));
      this.next();
    };
    port.postMessage({ kind: "run", id: 0, input: waiting.input } satisfies ToWorker);
  }
}

function loaded(port: MessagePort, file: ModelFile): Promise<void> {
  return new Promise((done, failed) => {
    port.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.kind === "ready") done();
      else failed(new Error(data.kind === "failed" ? data.message : data.kind));
    };
    port.postMessage({ kind: "network", file } satisfies ToWorker);
  });
}
