// Bundles the viewer into one script, the licence of what it contains at its head.
import { readFileSync } from "node:fs";
import { build } from "esbuild";

const licence = readFileSync("node_modules/three/LICENSE", "utf-8").trim();

await build({
  entryPoints: ["src/viewer.js"],
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  legalComments: "none",
  banner: { js: `/* Made from web/ by "make web". Contains three.js (https://threejs.org):\n\n${licence}\n*/` },
  outfile: "../src/ugocc/viz/report/viewer.js",
});
