// The page: what is dropped is segmented, shown and saved.

import type { Result } from "../core/messages";
import type { NamedFile } from "../core/namedFile";
import { card } from "./card";
import { byId, droppedFiles, make } from "./dom";
import { Engine, Refused } from "./engine";
import { facts as readFacts } from "./payload";
import { ResultView } from "./result";
import { STRINGS } from "./strings";

const facts = readFacts();
const stage = byId("stage");
const status = byId("status");
let engine: Promise<Engine> | null = null;
let isBusy = false;

function start(): void {
  byId("model-name").textContent = facts.name;
  document.title = `${facts.name} – Embedded-ViT`;
  byId("model-card").append(card(facts));
  showDrop();
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer && !isBusy) void droppedFiles(event.dataTransfer).then((files) => segment(files));
  });
  // The network is loaded while the user looks for a file.
  requestAnimationFrame(() => setTimeout(() => void theEngine().catch(() => undefined), 50));
}

function theEngine(): Promise<Engine> {
  engine ??= Engine.start(facts).catch((error: unknown) => {
    engine = null;
    throw error;
  });
  return engine;
}

function say(text: string): void {
  status.textContent = text;
}

/** Show where scans are dropped, with what became of the last one. */
function showDrop(notice: Node | null = null): void {
  isBusy = false;
  const { modality, channels } = facts.contract.preprocessing;
  const kinds = STRINGS.dropKinds[modality] + (channels.length > 1 && modality !== "picture" ? STRINGS.severalChannels(channels) : "");
  const file = input({ id: "file", multiple: true });
  const folder = input({ id: "folder", webkitdirectory: true });
  const drop = make("div", { class: "drop panel" },
    make("h2", {}, STRINGS.dropTitle),
    make("p", {}, `${kinds}.`),
    make("p", { class: "choices" },
      make("button", { type: "button", class: "primary", onclick: () => file.click() }, STRINGS.chooseFile), " ",
      ...(modality === "picture" ? [] : [make("button", { type: "button", onclick: () => folder.click() }, STRINGS.chooseFolder)])),
    make("p", { class: "quiet" }, STRINGS.staysHere),
    file, folder); // prettier-ignore
  drop.addEventListener("dragenter", () => drop.classList.add("over"));
  drop.addEventListener("dragleave", (event) => {
    if (!drop.contains(event.relatedTarget as Node | null)) drop.classList.remove("over");
  });
  stage.replaceChildren(...(notice ? [notice] : []), drop);
}

function input(attributes: Record<string, string | boolean>): HTMLInputElement {
  const made = make("input", { type: "file", hidden: true, tabindex: "-1", "aria-hidden": "true", ...attributes });
  made.addEventListener("change", () => {
    const files = [...(made.files ?? [])].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
    if (files.length) void segment(files);
  });
  return made;
}

async function segment(files: NamedFile[], force = false): Promise<void> {
  if (isBusy || !files.length) return;
  isBusy = true;
  const progress = make("progress", { "aria-labelledby": "progress-text", value: "0" }); // without one it would move
  const text = make("p", { id: "progress-text" }, STRINGS.loading);
  const cancel = make("button", { type: "button" }, STRINGS.cancel);
  stage.replaceChildren(make("div", { class: "working panel", id: "working" }, text, progress, cancel));
  cancel.focus();
  let isCancelled = false;
  cancel.addEventListener("click", () => {
    isCancelled = true;
    cancel.disabled = true;
    void theEngine().then((running) => running.cancel());
  });
  say(STRINGS.loading);
  try {
    const running = await theEngine();
    text.textContent = STRINGS.reading(files.length === 1 ? files[0]!.name : `${files.length} files`);
    const result = isCancelled
      ? null
      : await running.segment(files, force, (done, total) => {
          progress.max = total;
          progress.value = done;
          text.textContent = STRINGS.slices(done, total);
        });
    if (result) await showResult(result);
    else {
      say(STRINGS.cancelled);
      showDrop(make("p", { class: "notice panel", role: "status" }, STRINGS.cancelled));
    }
  } catch (error) {
    showDrop(refusal(error, files));
    byId("refusal").focus();
  }
}

/** Say why there is no mask, and offer to segment the scan nevertheless where a user may decide that. */
function refusal(error: unknown, files: NamedFile[]): HTMLElement {
  const message = error instanceof Error ? error.message : String(error);
  const refused = error instanceof Refused;
  const parts: Node[] = [
    make("h2", {}, refused ? STRINGS.refusedTitle : STRINGS.failedTitle),
    make("p", { id: "message" }, message),
  ];
  if (refused && error.overrulable) {
    parts.push(make("p", { class: "quiet" }, STRINGS.forceMeans));
    parts.push(make("button", { type: "button", id: "force", onclick: () => void segment(files, true) }, STRINGS.force));
  }
  say("");
  return make("div", { class: "refusal panel", id: "refusal", role: "alert", tabindex: "-1" }, ...parts);
}

async function showResult(result: Result): Promise<void> {
  isBusy = false;
  const seconds = (result.seconds.reading + result.seconds.segmenting).toFixed(1);
  const done = result.picture ? STRINGS.pictureDone(seconds) : STRINGS.doneIn(result.slices, seconds);
  say(done);
  const view = new ResultView(facts, result, done, () => showDrop(), say);
  stage.replaceChildren(view.element);
  view.element.focus();
  await view.draw();
}

start();
