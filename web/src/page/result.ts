// A finished mask: the viewer, the table of structures, and what can be saved.

import { unpackedMask } from "../core/niftiFile";
import type { Result } from "../core/messages";
import type { Label } from "../core/manifest";
import { roundTo } from "../core/numbers";
import { make, save } from "./dom";
import { graphics } from "./graphics";
import { PictureCanvas } from "./picture";
import { scriptAddress, type Facts } from "./payload";
import { STRINGS } from "./strings";
import type { View, Viewer } from "../viewer";

const OPACITY = 0.6; // of the mask, at first

type ViewerClass = typeof Viewer;

export class ResultView {
  readonly element: HTMLElement;
  private readonly stage = make("div", { class: "viewer" });
  private readonly note = make("p", { class: "quiet viewer-note" }, STRINGS.viewerLoading);
  private readonly drawnBy = graphics();
  private viewer: Viewer | null = null;
  private canvas: PictureCanvas | null = null;

  constructor(
    private readonly facts: Facts,
    private readonly result: Result,
    done: string,
    again: () => void,
    private readonly say: (text: string) => void,
  ) {
    const { segmented } = result;
    const warnings = segmented.warnings.map((warning) => make("li", {}, warning));
    const side = make("div", { class: "side" },
      make("div", { class: "panel" },
        make("p", { class: "done" }, make("strong", {}, result.stem), ` · ${done}`),
        ...(warnings.length ? [make("div", { class: "warnings", id: "warnings" }, make("h2", {}, STRINGS.warnings), make("ul", {}, ...warnings))] : []),
        this.table()),
      make("div", { class: "panel saves" }, ...this.saves(),
        make("button", { type: "button", id: "again", onclick: again }, STRINGS.again))); // prettier-ignore
    const main = make("div", { class: "main panel" }, this.stage, this.note, this.controls());
    this.element = make("div", { class: "result", id: "result", tabindex: "-1" }, main, side);
  }

  /** Draw the scan; without WebGL the rest of the page stays as it is. */
  async draw(): Promise<void> {
    try {
      if (this.result.picture) this.drawPicture();
      else await this.drawVolume();
      this.note.remove();
    } catch {
      this.note.textContent = STRINGS.noViewer;
    }
    this.element.dataset["drawn"] = "true";
  }

  private drawPicture(): void {
    const { picture, mask } = this.result;
    this.canvas = new PictureCanvas(picture!, mask, this.labels, OPACITY);
    this.stage.classList.add("flat");
    this.stage.append(this.canvas.element);
  }

  private async drawVolume(): Promise<void> {
    const canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": STRINGS.viewerLabel });
    this.stage.append(canvas);
    if (this.drawnBy === "none") throw new Error("no WebGL 2");
    const made = await viewerClass();
    const { preprocessing } = this.facts.contract;
    this.viewer = await made.show(canvas, {
      scan: this.result.scanFile!,
      mask: await unpackedMask(this.result.maskFile),
      labels: this.labels,
      window: preprocessing.modality === "CT" ? preprocessing.window_hu : null,
      opacity: OPACITY,
      volumeBesidePlanes: this.drawnBy === "card",
    });
  }

  private get labels(): Label[] {
    return this.facts.contract.labels.labels;
  }

  private controls(): HTMLElement {
    const opacity = make("input", { type: "range", id: "opacity", min: "0", max: "100", value: String(100 * OPACITY) });
    opacity.addEventListener("input", () => {
      this.viewer?.setOpacity(Number(opacity.value) / 100);
      this.canvas?.setOpacity(Number(opacity.value) / 100);
    });
    const slider = make("label", { class: "slider", for: "opacity" }, `${STRINGS.opacity} `, opacity);
    if (this.result.picture) return make("div", { class: "controls" }, slider);
    const titles = { ...STRINGS.views, ...(this.drawnBy === "card" ? {} : { planes: STRINGS.planesAlone }) };
    const views = Object.entries(titles).map(([view, title], number) => {
      const choice = make("input", { type: "radio", name: "view", value: view, checked: number === 0 });
      choice.addEventListener("change", () => this.viewer?.setView(view as View));
      return make("label", { class: "choice" }, choice, make("span", {}, title));
    });
    const group = make("fieldset", { class: "views" }, make("legend", {}, STRINGS.view), ...views);
    return make("div", { class: "controls" }, group, slider);
  }

  /** The structures: shown or hidden, how large, how well measured. */
  private table(): HTMLElement {
    const { segmented } = this.result;
    const measured = this.facts.card?.figures[0]?.organs;
    const boxes: HTMLInputElement[] = [];
    const rows = this.labels.map((label) => {
      const size = segmented.sizes[label.name]!;
      const box = make("input", { type: "checkbox", checked: true, id: `label-${label.id}` });
      box.addEventListener("change", () => this.toggle(label.id, box.checked));
      boxes.push(box);
      const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
      swatch.style.backgroundColor = label.colour;
      const note = segmented.cutOff.includes(label.name) ? [make("span", { class: "cut" }, ` ${STRINGS.cutOff}`)] : [];
      return make("tr", size ? {} : { class: "empty" },
        make("th", { scope: "row" }, make("label", { for: box.id }, box, swatch, label.name), ...note),
        make("td", {}, shownSize(size)),
        ...(measured ? [make("td", {}, measured[label.name]?.dice?.toFixed(2) ?? "–")] : [])); // prettier-ignore
    });
    const regions = Object.entries(segmented.regions).map(([name, size]) =>
      make("tr", { class: size ? "region" : "region empty" },
        make("th", { scope: "row" }, name),
        make("td", {}, shownSize(size)),
        ...(measured ? [make("td", {}, "–")] : []))); // prettier-ignore
    const header = [STRINGS.structure, STRINGS.size[segmented.unit], ...(measured ? [STRINGS.measuredDice] : [])];
    const all = make("button", { type: "button", class: "small", id: "all" }, STRINGS.hideAll);
    all.addEventListener("click", () => {
      const isShown = boxes.every((box) => !box.checked);
      boxes.forEach((box, place) => {
        box.checked = isShown;
        this.toggle(this.labels[place]!.id, isShown);
      });
      all.textContent = isShown ? STRINGS.hideAll : STRINGS.showAll;
    });
    return make("div", {},
      make("table", { id: "structures" },
        make("thead", {}, make("tr", {}, ...header.map((title) => make("th", { scope: "col" }, title)))),
        make("tbody", {}, ...rows, ...regions)),
      all); // prettier-ignore
  }

  private toggle(label: number, isShown: boolean): void {
    this.viewer?.toggle(label, isShown);
    this.canvas?.toggle(label, isShown);
  }

  private saves(): HTMLElement[] {
    const { stem, format, maskFile } = this.result;
    const flat = format === "picture";
    const store = (name: string, content: Uint8Array | string | Blob, type: string) => {
      save(name, content, type);
      this.say(STRINGS.saved(name));
    };
    const button = (id: string, title: string, action: () => void) =>
      make("button", { type: "button", id, onclick: action }, title);
    const mask = button("save-mask", STRINGS.saveMask[format]!, () =>
      flat ? store(`${stem}_mask.png`, maskFile, "image/png") : store(`${stem}_mask.nii.gz`, maskFile, "application/gzip"),
    );
    mask.classList.add("primary");
    return [
      mask,
      button("save-picture", STRINGS.savePicture, () => {
        if (!this.canvas && !this.viewer) this.say(STRINGS.noViewer);
        else void this.picture().then((blob) => store(`${stem}_overlay.png`, blob, "image/png"));
      }),
      button("save-json", STRINGS.saveJson, () => store(`${stem}_mask.json`, this.json(), "application/json")),
    ];
  }

  /** Return what is drawn, with what it may be used for written below. */
  private picture(): Promise<Blob> {
    const drawn = this.canvas?.element ?? this.viewer!.draw();
    const line = Math.max(16, Math.round(drawn.width / 45));
    const canvas = make("canvas", { width: String(drawn.width), height: String(drawn.height + 2 * line) });
    const context = canvas.getContext("2d")!;
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(drawn, 0, 0);
    context.fillStyle = "#fff";
    context.font = `${Math.round(line * 0.7)}px sans-serif`;
    context.fillText(`${this.facts.name} · ${STRINGS.researchUseOnly}`, line / 2, drawn.height + 1.3 * line, canvas.width - line);
    return new Promise((done) => canvas.toBlob((blob) => done(blob!), "image/png"));
  }

  /** The same keys as the JSON file of `embedded-vit predict`. */
  private json(): string {
    const { segmented, format, sha256, seconds, picture } = this.result;
    const content = {
      use: this.facts.use,
      model: this.facts.name,
      model_sha256: this.facts.sha256,
      engine: ENGINE_TITLE,
      input_format: format,
      input_sha256: sha256,
      forced: segmented.forced,
      warnings: segmented.warnings,
      unit: segmented.unit,
      [picture ? "areas" : "volumes"]: segmented.sizes,
      ...(Object.keys(segmented.regions).length ? { regions: segmented.regions } : {}),
      intensities: segmented.brightness,
      mean_probability: segmented.meanProbability,
      touches_border: Object.fromEntries(this.labels.map(({ name }) => [name, segmented.cutOff.includes(name)])),
      plausibility: segmented.judgement ?? "not checked",
      labels: Object.fromEntries(this.labels.map(({ name, id }) => [name, id])),
      seconds: { reading: roundTo(seconds.reading, 3), segmenting: roundTo(seconds.segmenting, 3) },
      embedded_vit: this.facts.version,
    };
    return `${JSON.stringify(content, null, 2)}\n`;
  }
}

/** Print a size for people; one that is not 0 is not shown as 0. */
function shownSize(size: number): string {
  return String(size > 0 && size < 1 ? Number(size.toPrecision(2)) : roundTo(size, size >= 100 ? 0 : 1));
}

declare const __ENGINE__: string;
const ENGINE_TITLE = __ENGINE__;
let viewerLoading: Promise<ViewerClass> | null = null;

/** Load the script of the viewer, which is large, when it is first needed. */
function viewerClass(): Promise<ViewerClass> {
  viewerLoading ??= scriptAddress("viewer-script").then(
    (address) =>
      new Promise((done, failed) => {
        const script = make("script", { src: address });
        script.onload = () => done((globalThis as unknown as { EmbeddedVitViewer: ViewerClass }).EmbeddedVitViewer);
        script.onerror = () => failed(new Error("the viewer could not be loaded"));
        document.head.append(script);
      }),
  );
  return viewerLoading;
}
