// One canvas with two views of volumes; both are turned together.
import {
  AmbientLight, BoxGeometry, Color, DirectionalLight, Group, Mesh, MeshLambertMaterial, PerspectiveCamera, Scene, Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { voxelAt } from "./pick.js";
import { voxelGeometry, voxelMaterial } from "./voxels.js";

const PAPER = new Color(0.965, 0.973, 0.984);

export class Stage {
  // canvas: covers both panes; panes: elements whose boxes are the views; car: boxes of the own vehicle.
  constructor(canvas, panes, car) {
    this.canvas = canvas;
    this.panes = panes;
    this.renderer = new WebGLRenderer({ canvas, antialias: true });
    this.renderer.outputColorSpace = "srgb-linear"; // colours are given as they are to appear
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.renderer.setScissorTest(true);
    this.camera = new PerspectiveCamera(38, 1, 0.5, 1000);
    this.camera.up.set(0, 0, 1); // ego frame: x forward, y left, z up
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.maxPolarAngle = 0.495 * Math.PI;
    this.controls.zoomSpeed = 0.7;
    this.controls.addEventListener("change", () => this.draw());
    this.views = panes.map(() => {
      const scene = new Scene();
      const mesh = new Mesh(undefined, voxelMaterial);
      const light = new DirectionalLight(0xffffff, 1.6);
      light.position.set(-2, 1.5, 4);
      scene.add(mesh, carOf(car), new AmbientLight(0xffffff, 2.2), light);
      return { scene, mesh };
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // Look from behind and above at a box { lower, upper } of the ego frame, as the pictures do; top: straight down.
  look({ lower, upper }, top = false) {
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map(
      (bits) => new Vector3(...lower.map((low, axis) => (bits & (1 << axis) ? upper[axis] : low))),
    );
    const away = top ? new Vector3(-0.001, 0, 1) : new Vector3(-0.79, 0, 0.61);
    const span = Math.max(upper[0] - lower[0], upper[1] - lower[1]);
    const pane = this.panes[0].getBoundingClientRect();
    this.camera.aspect = pane.width / pane.height || 1;
    this.camera.updateProjectionMatrix();
    this.controls.target.set((lower[0] + upper[0]) / 2, (lower[1] + upper[1]) / 2, 0);
    // Away until every corner is in the picture, below the buttons.
    for (let distance = 0.5 * span; distance < 4 * span; distance *= 1.03) {
      this.camera.position.copy(this.controls.target).addScaledVector(away, distance);
      this.camera.lookAt(this.controls.target);
      this.camera.updateMatrixWorld();
      const seen = corners.map((corner) => corner.clone().project(this.camera));
      if (seen.every(({ x, y, z }) => Math.abs(x) < 1.02 && Math.abs(y) < 0.94 && z < 1)) break;
    }
    this.controls.maxDistance = 5 * span;
    this.controls.update();
    this.draw();
  }

  show(index, kinds, grid, palette) {
    const view = this.views[index];
    const { mesh } = view;
    Object.assign(view, { kinds, grid });
    mesh.geometry.dispose();
    mesh.geometry = voxelGeometry(kinds, grid, palette);
    this.draw();
  }

  // Index of the voxel drawn at a point of the window, or -1.
  at(clientX, clientY) {
    for (const [i, pane] of this.panes.entries()) {
      const box = pane.getBoundingClientRect();
      const x = (2 * (clientX - box.left)) / box.width - 1;
      const y = 1 - (2 * (clientY - box.top)) / box.height;
      const { kinds, grid } = this.views[i];
      if (kinds && Math.abs(x) < 1 && Math.abs(y) < 1) return voxelAt([x, y], this.camera, kinds, grid);
    }
    return -1;
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.#draw();
    });
  }

  #draw() {
    const whole = this.canvas.getBoundingClientRect();
    const width = Math.round(whole.width);
    const height = Math.round(whole.height);
    if (this.width !== width || this.height !== height) {
      [this.width, this.height] = [width, height];
      this.renderer.setSize(width, height, false);
    }
    this.renderer.setScissor(0, 0, width, height);
    this.renderer.setViewport(0, 0, width, height);
    this.renderer.setClearColor(PAPER);
    this.renderer.clear();
    this.panes.forEach((pane, i) => {
      const box = pane.getBoundingClientRect();
      if (!box.width || !box.height) return;
      const place = [box.left - whole.left, whole.bottom - box.bottom, box.width, box.height];
      this.renderer.setViewport(...place);
      this.renderer.setScissor(...place);
      this.camera.aspect = box.width / box.height;
      this.camera.updateProjectionMatrix();
      this.renderer.render(this.views[i].scene, this.camera);
    });
  }
}

function carOf(boxes) {
  const car = new Group();
  for (const { lower, upper, colour } of boxes) {
    const size = upper.map((high, axis) => high - lower[axis]);
    const material = new MeshLambertMaterial({ color: new Color(...colour.map((v) => v / 255)) });
    const box = new Mesh(new BoxGeometry(...size), material);
    box.position.set(...lower.map((low, axis) => low + size[axis] / 2));
    car.add(box);
  }
  return car;
}
