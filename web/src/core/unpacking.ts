// The bytes of a file as a stream, unpacked where it is gzip; nothing is held that was not asked for.

import { Gunzip } from "fflate";

import { FileFormatError } from "./errors";

// What browsers call it when the file goes on behind the end of the packed bytes.
const MORE_BEHIND = /junk|after the end|trailing|unexpected input/i;

/** Reads bytes in order from a file, packed or not. */
export class ByteReader {
  private readonly pieces: AsyncGenerator<Uint8Array>;
  private rest: Uint8Array = new Uint8Array(0);

  constructor(
    file: Blob,
    packed: boolean,
    private readonly source: string,
  ) {
    this.pieces = packed ? unpackedPieces(file) : piecesOf(file);
  }

  /** Return the next bytes, fewer where the file ends. */
  async read(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, await this.readInto(bytes));
  }

  /** Fill an array as far as the file goes; return how many bytes that were. */
  async readInto(bytes: Uint8Array): Promise<number> {
    let done = 0;
    while (done < bytes.length) {
      if (!this.rest.length && !(await this.next())) break;
      const taken = this.rest.subarray(0, bytes.length - done);
      bytes.set(taken, done);
      done += taken.length;
      this.rest = this.rest.subarray(taken.length);
    }
    return done;
  }

  /** Read to the end, where gzip's checksum is; return how many bytes that were, at most a little over `most`. */
  async drain(most: number): Promise<number> {
    let more = this.rest.length;
    while (more <= most && (await this.next())) more += this.rest.length;
    return more;
  }

  private async next(): Promise<boolean> {
    try {
      const next = await this.pieces.next();
      this.rest = next.done ? new Uint8Array(0) : next.value;
      return !next.done;
    } catch (error) {
      if (error instanceof FileFormatError) throw error;
      throw new FileFormatError(`${this.source}: truncated or damaged: ${reasonOf(error)}; copy the file again`);
    }
  }
}

function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, "");
}

async function* piecesOf(file: Blob): AsyncGenerator<Uint8Array> {
  const reader = file.stream().getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** Unpack with the browser's own gzip, which compares the checksum, and stops at what follows the first member. */
async function* unpackedPieces(file: Blob): AsyncGenerator<Uint8Array> {
  const reader = file.stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  let delivered = 0;
  for (;;) {
    try {
      const { value, done } = await reader.read();
      if (done) return;
      delivered += value.length;
      yield value;
    } catch (error) {
      if (!MORE_BEHIND.test(reasonOf(error))) throw error;
      break;
    }
  }
  // Another member, or bytes that other programs ignore too.
  let skip = delivered;
  for await (const piece of membersOf(file)) {
    const taken = piece.subarray(Math.min(skip, piece.length));
    skip -= piece.length - taken.length;
    if (taken.length) yield taken;
  }
}

async function* membersOf(file: Blob): AsyncGenerator<Uint8Array> {
  const ready: Uint8Array[] = [];
  const gunzip = new Gunzip((piece) => ready.push(piece));
  for await (const piece of piecesOf(file)) {
    try {
      gunzip.push(piece, false);
    } catch {
      yield* ready.splice(0);
      return; // bytes that are no member
    }
    yield* ready.splice(0);
  }
}
