// One canvas with two views of volumes; both are turned together.
import {
  AmbientLight, BoxGeometry, Color, DirectionalLight, Group, Mesh, MeshLambertMaterial, PerspectiveCamera, Scene, Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { voxelGeometry, voxelMaterial } from "./voxels.js";

const PAPER = new Color(0.965, 0.973, 0.984);

export class Stage {
  // canvas: covers both panes; panes: elements whose boxes are the views; car: boxes of the own vehicle.
  constructor(canvas, panes, car) {
    this.canvas = canvas;
    this.panes = panes;
    this.renderer = new WebGLRenderer({ canvas, antialias: true, preserveDrawingBuffer: true });
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
    const middle = lower.map((low, axis) => (low + upper[axis]) / 2);
    const span = Math.max(upper[0] - lower[0], upper[1] - lower[1]);
    this.controls.target.set(middle[0], middle[1], 0);
    const away = top ? new Vector3(-0.001, 0, 1.5) : new Vector3(-1.02, 0, 0.78);
    this.camera.position.copy(this.controls.target).addScaledVector(away, span);
    this.controls.maxDistance = 4 * span;
    this.controls.update();
    this.draw();
  }

  show(view, kinds, grid, palette) {
    const { mesh } = this.views[view];
    mesh.geometry.dispose();
    mesh.geometry = voxelGeometry(kinds, grid, palette);
    this.draw();
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
