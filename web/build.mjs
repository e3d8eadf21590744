// Builds the page's template and the core for Node: `node build.mjs TEMPLATE NODE_CORE`.

import { gzipSync } from "node:zlib";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { build } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const ORT_WASM = here("node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm");
const ORT_VERSION = JSON.parse(await readFile(here("node_modules/onnxruntime-web/package.json"), "utf8")).version;
const ENGINE = `onnxruntime-web ${ORT_VERSION}`;
const DICOM_WASM = here("node_modules/@niivue/dcm2niix/dist/dcm2niix.jpeg.wasm");

/** The WebAssembly comes as bytes, so what its loaders say of files beside them is left out of the bundles. */
const withoutFiles = {
  name: "without-files",
  enforce: "pre",
  transform(code, id) {
    if (!/onnxruntime-web|dcm2niix/.test(id)) return null;
    return { code: code.replace(/new URL\(("[^"]*\.(?:wasm|mjs)"),\s*import\.meta\.url\)/g, "({href:$1})"), map: null };
  },
};

/** Bundle an entry to one script. */
async function bundled(entry) {
  const made = await build({
    root: here("."),
    configFile: false,
    plugins: [withoutFiles],
    logLevel: "error",
    define: { "import.meta.url": "self.location.href", __ENGINE__: JSON.stringify(ENGINE) },
    build: {
      write: false,
      target: "es2022",
      minify: true,
      assetsInlineLimit: 0,
      lib: { entry: here(entry), name: "page", formats: ["iife"], fileName: "page" },
    },
  });
  const outputs = (Array.isArray(made) ? made : [made]).flatMap((each) => each.output);
  const chunks = outputs.filter((each) => each.type === "chunk");
  if (chunks.length !== 1) throw new Error(`${entry}: ${chunks.length} scripts, one was expected`);
  return { code: chunks[0].code, assets: outputs.filter((each) => each.type === "asset") };
}

const packed = (content) => gzipSync(content, { level: 9 }).toString("base64");

async function buildNodeCore(output) {
  const made = await build({
    root: here("."),
    configFile: false,
    plugins: [withoutFiles],
    logLevel: "error",
    ssr: { noExternal: true },
    build: { write: false, target: "node20", ssr: here("src/node.ts"), minify: false },
  });
  await writeFile(output, made.output[0].code);
}

/** Put the parts of the page into its template; the program fills in the model and what is known of it. */
async function buildTemplate(output) {
  const style = (await readFile(here("src/page/style.css"), "utf8")).replace(/\n\s*/g, "\n");
  const parts = {
    "/*STYLE*/": style,
    "<!--WORKER-->": packed((await bundled("src/worker.ts")).code),
    "<!--VIEWER-->": packed((await bundled("src/viewer.ts")).code),
    "<!--ONNXRUNTIME-->": packed(await readFile(ORT_WASM)),
    "<!--DICOM-->": packed(await readFile(DICOM_WASM)),
    "/*APP*/": (await bundled("src/page/app.ts")).code.replaceAll("</script", "<\\/script"),
  };
  let page = await readFile(here("index.html"), "utf8");
  for (const [place, content] of Object.entries(parts)) {
    if (page.split(place).length !== 2) throw new Error(`index.html: ${place} must stand there once`);
    page = page.replace(place, () => content);
  }
  await writeFile(output, page);
}

const [template, nodeCore] = process.argv.slice(2);
if (template) await buildTemplate(template);
if (nodeCore) await buildNodeCore(nodeCore);
