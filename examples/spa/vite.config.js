import { defineConfig } from "vite";

// Addresses in the page are relative: the site may be anywhere on its origin.
export default defineConfig({ base: "./", build: { outDir: "dist", modulePreload: { polyfill: false } } });
