// One photograph, large: before and after, zoom, damage, guesswork.

import * as api from "./api.js";
import { MaskEditor } from "./mask.js";

const $ = (selector) => document.querySelector(selector);
const ENDINGS = { "image/jpeg": "jpg", "image/png": "png", "image/tiff": "tif", "image/webp": "webp",
  "image/bmp": "bmp", "image/heif": "heic" };
const AMBER = 0x0096ff; // blue, green, red
const STEP = 1.5;

export class Viewer {
  constructor(options) {
    this.options = options;
    this.photo = null;
    this.zoom = 1;
    this.urls = [];
    this.mask = new MaskEditor($("#mask"), $("#cursor"), () => { $("#undo").disabled = !this.mask.undone.length; });
    this.wire();
    new ResizeObserver(() => this.fitting && this.fit()).observe($("#window"));
  }

  wire() {
    const on = (selector, what) => $(selector).addEventListener("click", what);
    on("#zoom-in", () => this.scale(this.zoom * STEP));
    on("#zoom-out", () => this.scale(this.zoom / STEP));
    on("#zoom-fit", () => this.fit());
    on("#zoom-one", () => this.scale(1 / devicePixelRatio));
    on("#edit", () => this.edit(!this.editing));
    on("#guess", () => this.guess($("#overlay").hidden));
    on("#brush-add", () => this.brush(false));
    on("#brush-erase", () => this.brush(true));
    on("#undo", () => this.mask.undo());
    on("#clear", () => this.mask.clear());
    on("#again", async () => this.photo.send(this.options(), await this.mask.blob()));
    $("#brush-size").addEventListener("input", (event) => { this.mask.size = Number(event.target.value); });
    $("#window").addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.scale(this.zoom * (event.deltaY < 0 ? STEP : 1 / STEP));
    }, { passive: false });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (!this.photo || event.target.matches("input:not([type=range]), select, dialog *")) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && this.editing) {
      event.preventDefault();
      return void this.mask.undo();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const size = $("#brush-size");
    const resize = (by) => { size.value = Number(size.value) * by; size.dispatchEvent(new Event("input")); };
    const acts = {
      "+": () => this.scale(this.zoom * STEP), "=": () => this.scale(this.zoom * STEP),
      "-": () => this.scale(this.zoom / STEP), 0: () => this.fit(), 1: () => this.scale(1 / devicePixelRatio),
      m: () => $("#edit").disabled || this.edit(!this.editing), u: () => this.guess($("#overlay").hidden),
      a: () => this.brush(false), e: () => this.brush(true), "[": () => resize(0.7), "]": () => resize(1.5),
    };
    acts[event.key]?.();
  }

  get editing() { return !$("#mask").hidden; }

  /** Shows a photograph: its preview while it runs, before and after when it is done. */
  async show(photo) {
    this.photo?.element.classList.remove("shown");
    photo.element.classList.add("shown");
    if (this.photo !== photo || this.job !== (photo.done ? photo.job.id : null)) this.clear();
    this.photo = photo;
    $("#viewer").hidden = false;
    $("#name").textContent = photo.file.name;
    if (photo.done) await this.showResult(photo);
    else this.showPreview(photo);
  }

  clear() {
    this.job = this.before = null;
    this.edit(false);
    this.guess(false);
    this.urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
    for (const id of ["#edit", "#guess", "#download"]) $(id).hidden = true;
    $("#facts").textContent = "";
  }

  hide() {
    this.clear();
    this.photo = null;
    $("#viewer").hidden = true;
  }

  url(blob) {
    this.urls.push(URL.createObjectURL(blob));
    return this.urls.at(-1);
  }

  showPreview(photo) {
    if (!photo.preview || photo.done) return;
    this.before ??= this.url(photo.shown ?? photo.preview);
    this.pictures(this.before, this.url(photo.preview), photo.job);
    $("#facts").textContent = "This is a small preview; the work goes on.";
  }

  async showResult(photo) {
    const job = photo.job;
    if (this.job === job.id) return;
    this.job = job.id;
    const [before, after, result, mask] = await Promise.all([
      api.screen(job.id, "before"), api.screen(job.id, "after"),
      api.blob(job.parts.result), api.blob(job.parts.mask)]);
    if (this.photo !== photo || this.job !== job.id) return;
    this.pictures(this.url(before), this.url(after), job);
    const link = $("#download");
    link.href = this.url(result);
    link.download = photo.file.name.replace(/\.[^.]*$/, "") + `-restored.${ENDINGS[result.type] ?? "png"}`;
    link.hidden = $("#edit").hidden = false;
    await this.mask.load(mask);
    $("#guess").hidden = !job.parts.uncertainty;
    if (job.parts.uncertainty) await this.heat(await api.blob(job.parts.uncertainty));
    const time = Object.values(job.seconds).reduce((a, b) => a + b, 0);
    $("#facts").textContent = `${job.width} × ${job.height} pixels, ${time.toFixed(1)} s, model ${job.model}, seed ` +
      `${job.seed}. Deleted by itself on ${new Date(1000 * job.deleted_after).toLocaleString()}.`;
  }

  pictures(before, after, job) {
    $("#stage .before").src = before;
    $("#stage .after").src = after;
    const fresh = this.width !== job.width || this.height !== job.height;
    Object.assign(this, { width: job.width, height: job.height });
    $("#stage before-after").style.setProperty("--shape", `${job.width} / ${job.height}`);
    if (fresh || this.fitting) this.fit();
  }

  /** The uncertainty as a veil: the more opaque, the more of a guess. */
  async heat(blob) {
    const picture = await createImageBitmap(blob);
    const canvas = Object.assign($("#overlay"), { width: picture.width, height: picture.height });
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, picture.width, picture.height);
    const words = new Uint32Array(pixels.data.buffer);
    for (let k = 0; k < words.length; k++) words[k] = (Math.min(230, 3 * (words[k] & 255)) << 24) | AMBER;
    context.putImageData(pixels, 0, 0);
  }

  fit() {
    const box = $("#window");
    const zoom = Math.min((box.clientWidth - 4) / this.width, (box.clientHeight - 4) / this.height);
    this.scale(Math.min(zoom, 8));
    this.fitting = true;
  }

  scale(zoom) {
    if (!this.width) return;
    const box = $("#window");
    const at = [(box.scrollLeft + box.clientWidth / 2) / box.scrollWidth, (box.scrollTop + box.clientHeight / 2) / box.scrollHeight];
    this.fitting = false;
    this.zoom = Math.min(32, Math.max(0.02, zoom));
    $("#stage").style.width = `${this.width * this.zoom}px`;
    $("#stage").classList.toggle("pixels", this.zoom * devicePixelRatio >= 2);
    $("#zoom-shown").textContent = `${Math.round(100 * this.zoom * devicePixelRatio)} %`;
    box.scrollLeft = at[0] * box.scrollWidth - box.clientWidth / 2;
    box.scrollTop = at[1] * box.scrollHeight - box.clientHeight / 2;
  }

  edit(wanted) {
    $("#mask").hidden = $("#mask-tools").hidden = !wanted;
    $("#edit").setAttribute("aria-pressed", wanted);
    $("#mask").style.opacity = 0.55;
    if (wanted) $("#mask").focus({ preventScroll: true });
    else $("#cursor").hidden = true;
  }

  guess(wanted) {
    $("#overlay").hidden = !wanted || $("#guess").hidden;
    $("#guess").setAttribute("aria-pressed", !$("#overlay").hidden);
  }

  brush(erasing) {
    this.mask.erasing = erasing;
    $("#brush-add").setAttribute("aria-pressed", !erasing);
    $("#brush-erase").setAttribute("aria-pressed", erasing);
  }
}
