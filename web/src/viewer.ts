// The viewer: the scan in three planes and in 3-D with the mask over it, by NiiVue. A script of its own, loaded late.

import { NVImage, Niivue, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";

import type { Label } from "./core/manifest";

export type View = "planes" | "axial" | "coronal" | "sagittal" | "volume";

export interface Shown {
  scan: Uint8Array; // NIfTI
  mask: Uint8Array; // NIfTI
  labels: Label[];
  window: [number, number] | null;
  opacity: number;
  volumeBesidePlanes: boolean;
}

const SLICE_TYPES: Record<View, SLICE_TYPE> = {
  planes: SLICE_TYPE.MULTIPLANAR,
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  volume: SLICE_TYPE.RENDER,
};
const STEPS: Record<string, [number, number, number]> = {
  ArrowLeft: [-1, 0, 0],
  ArrowRight: [1, 0, 0],
  ArrowUp: [0, 1, 0],
  ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1],
  PageDown: [0, 0, -1],
};

export class Viewer {
  private readonly hidden = new Set<number>();

  private constructor(
    private readonly niivue: Niivue,
    private readonly mask: NVImage,
    private readonly labels: Label[],
  ) {}

  static async show(canvas: HTMLCanvasElement, shown: Shown): Promise<Viewer> {
    const niivue = new Niivue({
      backColor: [0, 0, 0, 1],
      show3Dcrosshair: true,
      isOrientCube: false,
      crosshairWidth: 0.5,
      crosshairColor: [0.55, 0.8, 1, 0.7],
      fontMinPx: 11,
      isRadiologicalConvention: true,
      isNearestInterpolation: true,
      dragAndDropEnabled: false,
      logLevel: "silent",
    });
    await niivue.attachToCanvas(canvas);
    niivue.opts.multiplanarShowRender = shown.volumeBesidePlanes ? SHOW_RENDER.ALWAYS : SHOW_RENDER.NEVER;
    niivue.setSliceType(SLICE_TYPE.MULTIPLANAR);
    const scan = await loaded(shown.scan, "scan.nii");
    if (shown.window) [scan.cal_min, scan.cal_max] = shown.window;
    const mask = await loaded(shown.mask, "mask.nii");
    mask.opacity = shown.opacity;
    const viewer = new Viewer(niivue, mask, shown.labels);
    viewer.colour();
    niivue.addVolume(scan); // which draws all, as the next line does, so everything is set before
    niivue.addVolume(mask);
    canvas.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      niivue.moveCrosshairInVox(...step);
    });
    return viewer;
  }

  setView(view: View): void {
    this.niivue.setSliceType(SLICE_TYPES[view]);
  }

  setOpacity(opacity: number): void {
    this.niivue.setOpacity(1, opacity);
  }

  toggle(label: number, isShown: boolean): void {
    if (isShown) this.hidden.delete(label);
    else this.hidden.add(label);
    this.colour();
    this.niivue.updateGLVolume();
  }

  /** Draw once more and return the picture. */
  draw(): HTMLCanvasElement {
    this.niivue.drawScene();
    return this.niivue.canvas!;
  }

  private colour(): void {
    const part = (from: number) => this.labels.map((label) => parseInt(label.colour.slice(from, from + 2), 16));
    this.mask.setColormapLabel({
      R: [0, ...part(1)],
      G: [0, ...part(3)],
      B: [0, ...part(5)],
      A: [0, ...this.labels.map((label) => (this.hidden.has(label.id) ? 0 : 255))],
      I: [0, ...this.labels.map((label) => label.id)],
      labels: ["", ...this.labels.map((label) => label.name)],
    });
  }
}

async function loaded(file: Uint8Array, name: string): Promise<NVImage> {
  const buffer = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength) as ArrayBuffer;
  return NVImage.loadFromUrl({ url: name, name, buffer });
}

(globalThis as unknown as { EmbeddedVitViewer: typeof Viewer }).EmbeddedVitViewer = Viewer;
