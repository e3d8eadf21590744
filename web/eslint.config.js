// How the page's sources are checked: `npm run lint`, a part of `make lint`.

import js from "@eslint/js";
import tseslint from "typescript-eslint";

const globals = (...names) => Object.fromEntries(names.map((name) => [name, "readonly"]));

export default tseslint.config(
  { ignores: ["node_modules/", "dist/"] },
  js.configs.recommended,
  {
    files: ["**/*.{js,mjs}"],
    languageOptions: { globals: globals("URL", "process", "performance", "document", "innerWidth", "console", "DataTransfer", "File", "MutationObserver", "atob") },
  },
  {
    files: ["src/**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { project: "./tsconfig.json", tsconfigRootDir: import.meta.dirname } },
    rules: {
      // An index that was checked says so with "!"; `noUncheckedIndexedAccess` would ask for it everywhere.
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      // Browsers lack what the DOM's types promise, and a cancel button changes a flag behind the compiler's back.
      "@typescript-eslint/no-unnecessary-condition": "off",
      "@typescript-eslint/no-confusing-void-expression": "off",
      "@typescript-eslint/no-misused-spread": "off", // strings of ASCII letters
      "no-loss-of-precision": "off", // constants of published approximations, as printed there
      eqeqeq: ["error", "always", { null: "ignore" }],
    },
  },
);
