// Drives a page in Chromium for the tests: `node test/browser.mjs JOB.json`; see tests/page/ and benchmarks/page.py.
//
// A job names the page, the browser and steps; the answer holds what each step found, and every request that was not
// for a file, a blob or data. Such requests are aborted.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

import { chromium } from "playwright-core";

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const patience = job.patience_ms ?? 90_000;
const browser = await chromium.launch({
  executablePath: job.chromium,
  args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--js-flags=--expose-gc", "--enable-precise-memory-info"],
});
const context = await browser.newContext({
  viewport: { width: 1280, height: 900 },
  colorScheme: "light",
  acceptDownloads: true,
  offline: true,
});
const page = await context.newPage();
page.setDefaultTimeout(patience);
const requests = [];
const complaints = [];
await context.route(/^(?!file:|blob:|data:)/, (route) => {
  requests.push(route.request().url());
  return route.abort();
});
context.on("request", (request) => {
  if (!/^(file|blob|data):/.test(request.url()) && !requests.includes(request.url())) requests.push(request.url());
});
page.on("console", (message) => {
  if (message.type() === "error") complaints.push(message.text());
});
page.on("pageerror", (error) => complaints.push(String(error)));

async function ended() {
  await page.waitForSelector("#result[data-drawn], #refusal, .notice");
  const message = await page.locator("#message, .notice").first().textContent({ timeout: 2000 }).catch(() => null);
  const overrulable = (await page.locator("#force").count()) > 0;
  const warnings = await page.locator("#warnings li").allTextContents();
  return { refused: message, overrulable, warnings, note: await page.locator(".viewer-note").allTextContents() };
}

async function saved(button, path) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(button)]);
  await download.saveAs(path);
  return { name: download.suggestedFilename() };
}

const steps = {
  async open({ hash, rest_ms }) {
    const started = performance.now();
    await page.goto(pathToFileURL(job.page).href + (hash ?? ""));
    await page.waitForSelector(".drop button");
    const seconds = (performance.now() - started) / 1000;
    if (rest_ms) await page.waitForTimeout(rest_ms); // as somebody who looks for a file
    return { seconds, title: await page.title() };
  },
  async choose({ files, folder }) {
    const started = performance.now();
    if (await page.locator("#again").count()) await page.click("#again");
    await page.setInputFiles(folder ? "#folder" : "#file", folder ?? files);
    return { ...(await ended()), seconds: (performance.now() - started) / 1000 };
  },
  async drop({ files }) {
    if (await page.locator("#again").count()) await page.click("#again");
    const contents = await Promise.all(files.map(async (path) => [path.split("/").at(-1), (await readFile(path)).toString("base64")]));
    const transfer = await page.evaluateHandle((given) => {
      const made = new DataTransfer();
      for (const [name, text] of given) made.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
      return made;
    }, contents);
    await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
    return ended();
  },
  /** Press the button as soon as so many slices are done. */
  async cancel({ files, after }) {
    if (await page.locator("#again").count()) await page.click("#again");
    await page.evaluate((enough) => {
      new MutationObserver((_, observer) => {
        const progress = document.querySelector("#working progress");
        if (!(progress?.value >= enough)) return;
        observer.disconnect();
        globalThis.cancelledAt = progress.value;
        document.querySelector("#working button").click();
      }).observe(document.body, { subtree: true, childList: true, attributes: true });
    }, after);
    await page.setInputFiles("#file", files);
    const answer = await ended();
    const left = await page.locator("#working, #result, canvas").count();
    const drop = await page.locator(".drop button").count();
    return { ...answer, left, drop, at: await page.evaluate(() => globalThis.cancelledAt) };
  },
  /** Return the bytes that the page and its workers hold, arrays included, after the garbage is collected. */
  async memory() {
    await Promise.all([page, ...page.workers()].map((each) => each.evaluate(() => globalThis.gc({ execution: "async" }))));
    const inspector = await context.newCDPSession(page);
    const answers = new Map();
    const targets = [];
    inspector.on("Target.attachedToTarget", ({ sessionId }) => targets.push(sessionId));
    inspector.on("Target.receivedMessageFromTarget", ({ sessionId, message }) => {
      const { id, result } = JSON.parse(message);
      if (id === 1) answers.get(sessionId)?.(result);
    });
    await inspector.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
    const inWorkers = targets.map((sessionId) => new Promise((done) => {
      answers.set(sessionId, done);
      const message = JSON.stringify({ id: 1, method: "Runtime.getHeapUsage" });
      void inspector.send("Target.sendMessageToTarget", { sessionId, message });
    }));
    const usages = await Promise.all([inspector.send("Runtime.getHeapUsage"), ...inWorkers]);
    await inspector.detach();
    return { workers: inWorkers.length, bytes: usages.reduce((sum, each) => sum + each.usedSize + each.backingStorageSize, 0) };
  },
  async force() {
    await page.click("#force");
    return ended();
  },
  save: ({ what, path }) => saved(`#save-${what}`, path),
  async toggle({ label }) {
    await page.locator(`#label-${label}`).focus();
    await page.keyboard.press("Space");
    return { shown: await page.locator(`#label-${label}`).isChecked() };
  },
  async screenshot({ path, width, height, scheme, full, view }) {
    await page.emulateMedia({ colorScheme: scheme ?? "light" });
    await page.setViewportSize({ width: width ?? 1280, height: height ?? 900 });
    if (view) await page.locator(`input[name=view][value=${view}]`).check({ force: true });
    await page.waitForTimeout(400);
    await page.screenshot({ path, fullPage: full ?? false });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    return { overflow, research: await page.locator(".research").isVisible() };
  },
  async text({ where }) {
    return { text: await page.locator(where).innerText() };
  },
  async axe() {
    const source = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
    await page.evaluate(source);
    return page.evaluate(async () => {
      const found = await globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] });
      return { violations: found.violations.map(({ id, nodes }) => ({ id, where: nodes.map((node) => node.target.join(" ")) })) };
    });
  },
};

const answers = [];
let failure = null;
for (const step of job.steps) {
  try {
    answers.push(await steps[step.do](step));
  } catch (error) {
    failure = `${step.do}: ${error.message}`;
    break;
  }
}
await browser.close();
process.stdout.write(`${JSON.stringify({ answers, requests, complaints, failure })}\n`);
