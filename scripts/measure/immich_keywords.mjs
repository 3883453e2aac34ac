// Keywords of one file by Immich's rule, through the package exiftool-vendored that it uses.
// usage: node immich_keywords.mjs MODULES read FILE | write FILE [KEYWORD ...]
import { createRequire } from "node:module";

const [modules, action, file, ...keywords] = process.argv.slice(2);
const { ExifTool } = createRequire(`${modules}/`)("exiftool-vendored");
const exiftool = new ExifTool();
const listed = (value) => (value === undefined ? [] : [value].flat().map(String));
try {
  if (action === "write") {
    await exiftool.write(file, { TagsList: keywords }, { writeArgs: ["-overwrite_original"] });
  }
  const tags = await exiftool.read(file);
  const hierarchical = listed(tags.HierarchicalSubject).map((one) => one.replaceAll("|", "/"));
  const found = [listed(tags.TagsList), hierarchical, listed(tags.Keywords)].find((one) => one.length) ?? [];
  console.log(JSON.stringify({ keywords: found, subject: listed(tags.Subject) }));
} finally {
  await exiftool.end();
}
