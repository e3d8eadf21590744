// A picture with its mask over it, on a canvas.

import type { Label } from "../core/manifest";
import { make } from "./dom";
import { STRINGS } from "./strings";

export class PictureCanvas {
  readonly element: HTMLCanvasElement;
  private readonly hidden = new Set<number>();

  constructor(
    private readonly picture: { width: number; height: number; rgba: Uint8ClampedArray },
    private readonly mask: Uint8Array,
    private readonly labels: Label[],
    private opacity: number,
  ) {
    const { width, height } = picture;
    this.element = make("canvas", { width: String(width), height: String(height), role: "img", "aria-label": STRINGS.viewerLabel });
    this.draw();
  }

  setOpacity(opacity: number): void {
    this.opacity = opacity;
    this.draw();
  }

  toggle(label: number, isShown: boolean): void {
    if (isShown) this.hidden.delete(label);
    else this.hidden.add(label);
    this.draw();
  }

  private draw(): void {
    const { width, height, rgba } = this.picture;
    const drawn = new ImageData(Uint8ClampedArray.from(rgba), width, height);
    const colours = new Map(
      this.labels
        .filter(({ id }) => !this.hidden.has(id))
        .map(({ id, colour }) => [id, [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16))]),
    );
    this.mask.forEach((label, at) => {
      const colour = colours.get(label);
      if (!colour) return;
      for (let n = 0; n < 3; n++) {
        const below = drawn.data[4 * at + n]!;
        drawn.data[4 * at + n] = below + (colour[n]! - below) * this.opacity;
      }
    });
    this.element.getContext("2d")!.putImageData(drawn, 0, 0);
  }
}
