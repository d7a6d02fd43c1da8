// What a pane can show of a moment: a volume as it is, or two volumes compared.
import { EMPTY } from "./voxels.js";

const FREE = 9;
export const UNKNOWN = 255;

const RIGHT = [205, 211, 219];
const ERRORS = [
  { name: "right", colour: RIGHT },
  { name: "wrong class", colour: [240, 160, 40] },
  { name: "missed", colour: [60, 110, 220] },
  { name: "invented", colour: [214, 60, 80] },
];
const REPAIRS = [
  { name: "right in both", colour: RIGHT },
  { name: "repaired", colour: [40, 160, 90] },
  { name: "broken", colour: [214, 60, 80] },
  { name: "wrong in both", colour: [240, 200, 120] },
];
const CHANGES = [
  { name: "as before", colour: RIGHT },
  { name: "other class", colour: [240, 160, 40] },
  { name: "now free", colour: [60, 110, 220] },
  { name: "now occupied", colour: [40, 160, 90] },
];

// Choices for a scene: { key, name, caption, legend or null, of(moment): class or kind per voxel, shows: keys of the
// volumes that are compared }.
// A volume is { key, name, caption }; keys "truth", "before" and "after" have a meaning, others are shown alone.
export function layersOf(scene) {
  const known = new Set(scene.volumes.map((v) => v.key));
  const layers = scene.volumes.map((v) => ({ ...v, legend: null, of: (m) => m.volumes[v.key] }));
  const compared = (key, name, caption, legend, compare, ...shows) =>
    layers.push({ key, name, caption, legend, shows, of: (m) => compare(...shows.map((key) => m.volumes[key])) });
  if (known.has("truth")) {
    for (const v of scene.volumes) {
      if (v.key === "truth") continue;
      const caption = `${v.caption}, against the truth`;
      compared(`errors-${v.key}`, `Errors: ${v.name.toLowerCase()}`, caption, ERRORS, errors, v.key, "truth");
    }
  }
  if (known.has("before") && known.has("after")) {
    const caption = "what adaptation changed";
    if (known.has("truth")) compared("change", "Change", caption, REPAIRS, repairs, "before", "after", "truth");
    else compared("change", "Change", caption, CHANGES, changes, "before", "after");
  }
  return layers;
}

// Kinds per voxel, without what the toggles or the mask hide. shown: Set of classes.
export function visibleKinds(layer, moment, shown, seenOnly) {
  const found = layer.of(moment);
  const kinds = new Uint8Array(found.length);
  const parts = layer.legend ? layer.shows.map((key) => moment.volumes[key]) : [found];
  for (let i = 0; i < found.length; i++) {
    const hidden = seenOnly && moment.seen && !moment.seen[i];
    const wanted = parts.some((part) => part[i] < FREE && shown.has(part[i]));
    kinds[i] = hidden || !wanted ? EMPTY : found[i];
  }
  return kinds;
}

// Corners in metres of a grid, forwards and backwards only as far as anything is marked in mask.
export function boxOf({ lower, shape, voxel_size }, mask) {
  const slab = shape[1] * shape[2];
  const first = mask?.includes(1) ? mask.indexOf(1) : 0;
  const last = mask?.includes(1) ? mask.lastIndexOf(1) : shape[0] * slab - 1;
  const upper = lower.map((low, axis) => low + shape[axis] * voxel_size);
  return {
    lower: [lower[0] + Math.floor(first / slab) * voxel_size, ...lower.slice(1)],
    upper: [lower[0] + (Math.floor(last / slab) + 1) * voxel_size, ...upper.slice(1)],
  };
}

// A prediction against the truth; what nobody knows cannot be wrong.
function errors(predicted, truth) {
  return truth.map((t, i) => {
    const p = predicted[i];
    if (t === UNKNOWN || (t === FREE && p === FREE)) return EMPTY;
    if (t === p) return 0;
    return p === FREE ? 2 : t === FREE ? 3 : 1;
  });
}

function repairs(before, after, truth) {
  return truth.map((t, i) => {
    const [was, is] = [before[i] === t, after[i] === t];
    if (t === UNKNOWN || (t === FREE && was && is)) return EMPTY;
    return was ? (is ? 0 : 2) : is ? 1 : 3;
  });
}

function changes(before, after) {
  return after.map((now, i) => {
    const then = before[i];
    if (then === FREE && now === FREE) return EMPTY;
    if (then === now) return 0;
    return now === FREE ? 2 : then === FREE ? 3 : 1;
  });
}
