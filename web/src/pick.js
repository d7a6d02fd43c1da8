// Which voxel lies under the pointer.
import { Raycaster, Vector2 } from "three";
import { EMPTY } from "./voxels.js";

const raycaster = new Raycaster();

// Index of the first drawn voxel along the ray through a point of a view (-1 to 1 from its lower left), or -1.
export function voxelAt(point, camera, kinds, { lower, shape, voxel_size }) {
  raycaster.setFromCamera(new Vector2(...point), camera);
  const origin = raycaster.ray.origin.toArray().map((v, axis) => (v - lower[axis]) / voxel_size);
  const along = raycaster.ray.direction.toArray().map((v) => (Math.abs(v) < 1e-9 ? 1e-9 : v));
  let enter = 0;
  let leave = Infinity;
  for (let axis = 0; axis < 3; axis++) {
    const ends = [-origin[axis] / along[axis], (shape[axis] - origin[axis]) / along[axis]];
    enter = Math.max(enter, Math.min(...ends));
    leave = Math.min(leave, Math.max(...ends));
  }
  if (enter >= leave) return -1;
  // From border to border, always across the one that comes next.
  const cell = origin.map((v, axis) => Math.min(Math.max(Math.floor(v + along[axis] * (enter + 1e-6)), 0), shape[axis] - 1));
  const step = along.map(Math.sign);
  const next = cell.map((c, axis) => (c + (step[axis] > 0 ? 1 : 0) - origin[axis]) / along[axis]);
  for (;;) {
    const index = (cell[0] * shape[1] + cell[1]) * shape[2] + cell[2];
    if (kinds[index] !== EMPTY) return index;
    const axis = next.indexOf(Math.min(...next));
    cell[axis] += step[axis];
    next[axis] += Math.abs(1 / along[axis]);
    if (cell[axis] < 0 || cell[axis] >= shape[axis]) return -1;
  }
}
