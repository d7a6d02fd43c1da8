// What a pane can show of a moment: a volume as it is, or two volumes compared.
import { EMPTY } from "./voxels.js";

const FREE = 9;
const UNKNOWN = 255;

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

// Choices for a scene: { key, name, caption, legend or null, kinds(moment) -> class or kind per voxel, filter }.
// A volume is { key, name, caption }; keys "truth", "before" and "after" have a meaning, others are shown alone.
export function layersOf(scene) {
  const known = new Set(scene.volumes.map((v) => v.key));
  const layers = scene.volumes.map((v) => ({ ...v, legend: null, of: (m) => m.volumes[v.key] }));
  const compared = (key, name, caption, legend, compare, a, b) =>
    layers.push({ key, name, caption, legend, of: (m) => compare(m.volumes[a], m.volumes[b], m.volumes.truth), shows: [a, b] });
  if (known.has("truth")) {
    for (const v of scene.volumes) {
      if (v.key === "truth") continue;
      const caption = `${v.caption}, against the truth`;
      compared(`errors-${v.key}`, `Errors: ${v.name.toLowerCase()}`, caption, ERRORS, errors, v.key, "truth");
    }
  }
  if (known.has("before") && known.has("after")) {
    const [legend, compare] = known.has("truth") ? [REPAIRS, repairs] : [CHANGES, changes];
    compared("change", "Change", "what adaptation changed", legend, compare, "before", "after");
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

// Corners in metres of the part of a grid that is marked in mask, or of all of it.
export function boxOf({ lower, shape, voxel_size }, mask) {
  const first = [Infinity, Infinity, Infinity];
  const last = [-Infinity, -Infinity, -Infinity];
  const [, ny, nz] = shape;
  mask?.forEach((marked, i) => {
    if (!marked) return;
    [Math.floor(i / (ny * nz)), Math.floor(i / nz) % ny, i % nz].forEach((index, axis) => {
      first[axis] = Math.min(first[axis], index);
      last[axis] = Math.max(last[axis], index + 1);
    });
  });
  const whole = first[0] > last[0];
  const at = (index, axis) => lower[axis] + index * voxel_size;
  return { lower: (whole ? [0, 0, 0] : first).map(at), upper: (whole ? shape : last).map(at) };
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
    if (t === UNKNOWN || (before[i] === FREE && after[i] === FREE)) return EMPTY;
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
