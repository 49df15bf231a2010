// Writes plain values as YAML, in the part of YAML that the configuration reads back as the same values.
//
// Invariants: pure; a text is quoted unless it can be nothing but text; a value of a mapping that is undefined is left
// out.

const WORDS = /^(y|n|yes|no|on|off|true|false|null|nan|inf)$/i;
const PLAIN = /^[A-Za-z_][A-Za-z0-9_]*(?:[ -]+[A-Za-z0-9_]+)*$/;
// Characters that end a line, or that YAML does not read inside quotes either, unless they are escaped.
const UNSAFE = /[\u007f-\u009f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]/g;
const PAIR = /[\ud800-\udbff][\udc00-\udfff]/;

/** Return the document: a mapping of sections, down to `lines` levels of mappings in lines of their own. */
export function toYaml(sections, lines = 3) {
  return block(sections, lines, "");
}

function block(mapping, levels, indent) {
  return entries(mapping).map(([key, value]) => {
    if (isMapping(value) && entries(value).length > 0 && levels > 1) {
      return `${indent}${text(key)}:\n${block(value, levels - 1, `${indent}  `)}`;
    }
    if (levels > 1 && Array.isArray(value) && value.length > 0 && value.every(Array.isArray)) {
      return `${indent}${text(key)}:\n${value.map((item) => `${indent}  - ${flow(item)}\n`).join("")}`;
    }
    return `${indent}${text(key)}: ${flow(value)}\n`;
  }).join("");
}

/** Return a value on one line. */
export function flow(value) {
  if (Array.isArray(value)) {
    return `[${value.map(flow).join(", ")}]`;
  }
  if (isMapping(value)) {
    return `{${entries(value).map(([key, below]) => `${text(key)}: ${flow(below)}`).join(", ")}}`;
  }
  if (typeof value === "number") {
    return number(value);
  }
  return typeof value === "string" ? text(value) : String(value);
}

/** Return a text, quoted if YAML could take it for something else. */
export function text(value) {
  if (PLAIN.test(value) && !WORDS.test(value)) {
    return value;
  }
  return [...JSON.stringify(value)].map((each) => PAIR.test(each) ? each : each.replace(UNSAFE, escaped)).join("");
}

function escaped(character) {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

// YAML reads 1e-7 as text, and 1.0e-7 as a number.
function number(value) {
  const written = String(value);
  return written.includes(".") ? written : written.replace("e", ".0e");
}

function isMapping(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function entries(mapping) {
  return Object.entries(mapping).filter(([, value]) => value !== undefined);
}
