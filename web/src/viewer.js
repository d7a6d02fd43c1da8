// The controls of the page around the stage: scene, moment, what each pane shows, classes, mask, cameras.
import { momentOf, readScenes } from "./data.js";
import { UNKNOWN, boxOf, layersOf, visibleKinds } from "./layers.js";
import { Stage } from "./stage.js";

const find = (selector) => document.querySelector(selector);
const PLAY_MS = 500;
const EMPTY_SPACE = { name: "free", colour: [255, 255, 255] };

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const rgb = (colour) => `rgb(${colour.join(" ")})`;
const swatch = (colour) => {
  const dot = make("i");
  dot.style.background = rgb(colour);
  return dot;
};

class Viewer {
  constructor({ classes, car, scenes }) {
    this.classes = classes;
    this.scenes = scenes;
    this.palette = classes.map((c) => c.colour);
    this.shown = new Set(classes.keys());
    this.panes = [...document.querySelectorAll(".pane")];
    this.stage = new Stage(find("#volumes"), this.panes, car);
    this.fillScenes();
    this.fillClasses();
    find("#moment").addEventListener("input", (event) => this.goTo(Number(event.target.value)));
    find("#play").addEventListener("click", () => this.play(!this.timer));
    find("#seen").addEventListener("change", () => this.paint());
    find("#behind").addEventListener("click", () => this.look());
    find("#above").addEventListener("click", () => this.look(true));
    find("#large").addEventListener("click", () => find("#large").close());
    find("#volumes").addEventListener("pointermove", (event) => this.tell(event));
    find("#volumes").addEventListener("pointerleave", () => (find("#tip").hidden = true));
    this.open(0);
  }

  fillScenes() {
    const select = find("#scene");
    select.append(...this.scenes.map((scene, i) => make("option", { value: i }, scene.name)));
    select.addEventListener("change", () => this.open(Number(select.value)));
    if (this.scenes.length < 2) select.disabled = true;
  }

  fillClasses() {
    const buttons = this.classes.map(({ name, colour }, i) =>
      make("button", { type: "button", "aria-pressed": "true", "data-class": i, onclick: () => this.toggle(i) },
        swatch(colour), name));
    const set = (which) => () => {
      this.shown = new Set(which ? this.classes.keys() : []);
      this.markClasses();
    };
    find("#classes").append(
      ...buttons,
      make("button", { type: "button", class: "plain", id: "all", onclick: set(true) }, "all"),
      make("button", { type: "button", class: "plain", id: "none", onclick: set(false) }, "none"),
    );
  }

  toggle(i) {
    if (!this.shown.delete(i)) this.shown.add(i);
    this.markClasses();
  }

  markClasses() {
    for (const button of document.querySelectorAll("#classes [data-class]")) {
      button.setAttribute("aria-pressed", this.shown.has(Number(button.dataset.class)));
    }
    this.paint();
  }

  open(index) {
    this.scene = this.scenes[index];
    this.layers = layersOf(this.scene);
    const keys = this.layers.map((layer) => layer.key);
    const first = (...wanted) => wanted.find((key) => keys.includes(key)) ?? keys[0];
    const start = [first("before", "after", "truth"), first("after", "truth")];
    if (!keys.includes("before")) start.splice(0, 2, first("after"), first("truth"));
    this.chosen = start.map((key, i) => (keys.includes(this.chosen?.[i]) ? this.chosen[i] : key));
    this.panes.forEach((pane, i) => {
      pane.querySelector(".choices").replaceChildren(
        ...this.layers.map((layer) =>
          make("button", { type: "button", "data-layer": layer.key, onclick: () => this.choose(i, layer.key) }, layer.name)),
      );
    });
    find("#moment").max = this.scene.moments.length - 1;
    find("#seen").parentElement.hidden = !this.scene.moments.some((moment) => moment.seen);
    this.unplaced = true;
    this.goTo(0);
  }

  choose(pane, key) {
    this.chosen[pane] = key;
    this.paint();
  }

  play(on) {
    clearInterval(this.timer);
    this.timer = on ? setInterval(() => this.goTo((this.index + 1) % this.scene.moments.length), PLAY_MS) : null;
    find("#play").textContent = on ? "Pause" : "Play";
  }

  async goTo(index) {
    const scene = this.scene;
    this.index = index;
    find("#moment").value = index;
    find("#count").textContent = `${index + 1} / ${scene.moments.length}`;
    const moment = await momentOf(scene, index);
    if (this.scene !== scene || this.index !== index) return; // a later one was asked for meanwhile
    this.moment = moment;
    find("#name").textContent = moment.name;
    find("#cameras").style.setProperty("--longest", Math.max(...moment.cameras.map((row) => row.length)));
    find("#cameras").replaceChildren(
      ...moment.cameras.map((row) => make("div", {}, ...row.map((camera) =>
        make("figure", { onclick: () => this.enlarge(camera) },
          make("img", { src: camera.image, alt: camera.name }), make("figcaption", {}, camera.name))))),
    );
    this.paint();
    if (this.unplaced) this.look();
    this.unplaced = false;
  }

  // At what is known to be seen, or at the whole grid.
  look(top = false) {
    this.stage.look(boxOf(this.scene.grid, find("#seen").checked ? this.moment.seen : null), top);
  }

  // What every volume says of the voxel under the pointer.
  tell(event) {
    const index = event.buttons || !this.moment ? -1 : this.stage.at(event.clientX, event.clientY);
    const tip = find("#tip");
    tip.hidden = index < 0;
    if (tip.hidden) return;
    const lines = this.scene.volumes.map(({ key, name }) => {
      const { name: called, colour } = this.classes[this.moment.volumes[key][index]] ?? EMPTY_SPACE;
      return make("div", {}, swatch(colour), `${name}: ${called}`);
    });
    if (this.moment.volumes.truth?.[index] === UNKNOWN) lines.at(-1).lastChild.data = "Truth: unknown";
    tip.replaceChildren(...lines);
    const stage = find(".stage").getBoundingClientRect();
    const left = event.clientX - stage.left;
    tip.style.left = `${left + (left > stage.width - 220 ? -tip.offsetWidth - 12 : 14)}px`;
    tip.style.top = `${event.clientY - stage.top + 14}px`;
  }

  enlarge(camera) {
    find("#large").replaceChildren(make("img", { src: camera.image, alt: camera.name }), make("p", {}, camera.name));
    find("#large").showModal();
  }

  paint() {
    if (!this.moment) return;
    this.panes.forEach((pane, i) => {
      const layer = this.layers.find(({ key }) => key === this.chosen[i]);
      const palette = layer.legend ? layer.legend.map((kind) => kind.colour) : this.palette;
      const kinds = visibleKinds(layer, this.moment, this.shown, find("#seen").checked);
      this.stage.show(i, kinds, this.scene.grid, palette);
      pane.querySelector(".caption").textContent = layer.caption;
      pane.querySelector(".legend").replaceChildren(
        ...(layer.legend ?? []).map(({ name, colour }) => make("span", {}, swatch(colour), name)));
      for (const button of pane.querySelectorAll("[data-layer]")) {
        button.setAttribute("aria-pressed", button.dataset.layer === layer.key);
      }
    });
  }
}

if (document.getElementById("scenes")) {
  try {
    window.viewer = new Viewer(readScenes());
  } catch (error) {
    find("#volumes").replaceWith(make("p", { class: "failed" }, `The volumes cannot be drawn here: ${error.message}`));
    throw error;
  }
}
