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
  args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"],
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
  async open({ hash }) {
    const started = performance.now();
    await page.goto(pathToFileURL(job.page).href + (hash ?? ""));
    await page.waitForSelector(".drop button");
    return { seconds: (performance.now() - started) / 1000, title: await page.title() };
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
  async cancel({ files }) {
    await page.setInputFiles("#file", files);
    await page.getByRole("button", { name: "Cancel" }).click();
    return ended();
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
