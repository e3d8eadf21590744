// Builds the parts of the page and the core for Node: `node build.mjs FOLDER NODE_CORE`.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
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

/** Write index.html, with style and script, and the parts that the program packs into it at `<!--NAME-->`. */
async function buildParts(folder) {
  const style = (await readFile(here("src/page/style.css"), "utf8")).replace(/\n\s*/g, "\n");
  const script = (await bundled("src/page/app.ts")).code.replaceAll("</script", "<\\/script");
  let page = await readFile(here("index.html"), "utf8");
  for (const [place, content] of Object.entries({ "/*STYLE*/": style, "/*APP*/": script })) {
    if (page.split(place).length !== 2) throw new Error(`index.html: ${place} must stand there once`);
    page = page.replace(place, () => content);
  }
  const parts = {
    "index.html": page,
    "worker.js": (await bundled("src/worker.ts")).code,
    "viewer.js": (await bundled("src/viewer.ts")).code,
    "onnxruntime.wasm": await readFile(ORT_WASM),
    "dcm2niix.wasm": await readFile(DICOM_WASM),
  };
  await mkdir(folder, { recursive: true });
  await Promise.all(Object.entries(parts).map(([name, content]) => writeFile(join(folder, name), content)));
}

const [folder, nodeCore] = process.argv.slice(2);
if (folder) await buildParts(folder);
if (nodeCore) await buildNodeCore(nodeCore);
