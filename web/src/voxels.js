// A labelled volume as one mesh: only faces between a drawn and an empty voxel, corners darker where voxels meet.
import { BufferAttribute, BufferGeometry, DoubleSide, ShaderMaterial, Uint8BufferAttribute } from "three";

// Per face: outward step, the four corners of a unit cube anticlockwise from outside, light from above.
const FACES = [
  { step: [1, 0, 0], corners: [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 1]], light: 0.86 },
  { step: [-1, 0, 0], corners: [[0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]], light: 0.8 },
  { step: [0, 1, 0], corners: [[1, 1, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]], light: 0.76 },
  { step: [0, -1, 0], corners: [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], light: 0.82 },
  { step: [0, 0, 1], corners: [[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], light: 1.0 },
  { step: [0, 0, -1], corners: [[0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], light: 0.55 },
];
const SHADE = [0.62, 0.78, 0.9, 1.0]; // by how many of a corner's three neighbours are empty

export const voxelMaterial = new ShaderMaterial({
  side: DoubleSide,
  vertexShader: `
    attribute vec3 tint;
    attribute vec2 corner;
    varying vec3 vTint;
    varying vec2 vCorner;
    void main() {
      vTint = tint;
      vCorner = corner;
      gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
    }`,
  // Thin darker borders, faded out where a voxel is only a few pixels wide.
  fragmentShader: `
    varying vec3 vTint;
    varying vec2 vCorner;
    void main() {
      vec2 width = fwidth(vCorner);
      vec2 inner = min(vCorner, 1.0 - vCorner);
      vec2 line = 1.0 - smoothstep(width * 0.5, width * 1.5, inner);
      float fade = clamp(1.0 - 5.0 * max(width.x, width.y), 0.0, 1.0);
      gl_FragColor = vec4(vTint * (1.0 - 0.2 * fade * max(line.x, line.y)), 1.0);
    }`,
});

// kinds: Uint8Array of X*Y*Z entries, z fastest; EMPTY is not drawn. palette: [[r, g, b], ...] in 0..255.
export const EMPTY = 255;

export function voxelGeometry(kinds, grid, palette) {
  const [nx, ny, nz] = grid.shape;
  const size = grid.voxel_size;
  const filled = (x, y, z) =>
    x >= 0 && y >= 0 && z >= 0 && x < nx && y < ny && z < nz && kinds[(x * ny + y) * nz + z] !== EMPTY;
  const positions = [];
  const tints = [];
  const corners = [];
  const indices = [];
  for (let x = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) {
      for (let z = 0; z < nz; z++) {
        const kind = kinds[(x * ny + y) * nz + z];
        if (kind === EMPTY) continue;
        const colour = palette[kind];
        for (const { step, corners: quad, light } of FACES) {
          if (filled(x + step[0], y + step[1], z + step[2])) continue;
          const first = positions.length / 3;
          const shades = quad.map((c) => SHADE[openness(filled, [x, y, z], step, c)]);
          quad.forEach((c, i) => {
            positions.push(
              grid.lower[0] + (x + c[0]) * size, grid.lower[1] + (y + c[1]) * size, grid.lower[2] + (z + c[2]) * size,
            );
            const shade = light * shades[i];
            tints.push(colour[0] * shade, colour[1] * shade, colour[2] * shade);
          });
          corners.push(0, 0, 1, 0, 1, 1, 0, 1);
          // The diagonal runs along the darker pair, or shadows would differ from face to face.
          const turned = shades[0] + shades[2] < shades[1] + shades[3] ? 1 : 0;
          for (const i of [0, 1, 2, 0, 2, 3]) indices.push(first + ((i + turned) % 4));
        }
      }
    }
  }
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(new Float32Array(positions), 3));
  geometry.setAttribute("tint", new Uint8BufferAttribute(tints, 3, true));
  geometry.setAttribute("corner", new Uint8BufferAttribute(corners, 2));
  geometry.setIndex(indices);
  return geometry;
}

// 0 to 3: how many of the voxels that meet a corner of a face, on its outer side, are empty.
function openness(filled, [x, y, z], step, corner) {
  const base = [x + step[0], y + step[1], z + step[2]];
  const [a, b] = [0, 1, 2].filter((axis) => step[axis] === 0);
  const along = (axis) => (corner[axis] ? 1 : -1);
  const at = (da, db) => {
    const p = [...base];
    p[a] += da;
    p[b] += db;
    return filled(...p) ? 0 : 1;
  };
  const [side, other] = [at(along(a), 0), at(0, along(b))];
  return side + other === 0 ? 0 : side + other + at(along(a), along(b));
}
