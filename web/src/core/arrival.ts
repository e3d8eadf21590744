// How far the voxels of a scan have been read: its first slices are segmented while the others are still unpacked.

/** The voxels of a scan that is being read, in the order of memory. */
export class Arrival {
  /** Settles when all voxels are there and the file was read to its end; with what only the end could tell. */
  readonly whole: Promise<string[]>;
  private there = 0;
  private readonly waiting: { count: number; done: () => void }[] = [];

  /** @param read Reads all voxels, and says meanwhile how many of the first ones are there. */
  constructor(read: (reached: (count: number) => void) => Promise<string[]>) {
    this.whole = read((count) => this.reach(count));
    this.whole.catch(() => undefined); // which is for those to hear who wait
  }

  /** Of a scan that is read already. */
  static complete(): Arrival {
    return new Arrival(() => Promise.resolve([]));
  }

  /** Wait for the first `count` voxels; fails where the scan cannot be read. */
  async until(count: number): Promise<void> {
    if (this.there >= count) return;
    await Promise.race([this.whole, new Promise<void>((done) => this.waiting.push({ count, done }))]);
  }

  private reach(count: number): void {
    this.there = count;
    while (this.waiting.length && this.waiting[0]!.count <= count) this.waiting.shift()!.done();
  }
}
