// The list of photographs: each is sent, followed, and can be looked at, cancelled or deleted.

import * as api from "./api.js";

const EVERY = 1500; // milliseconds between two looks at the jobs that are not followed
const KEPT = "photos"; // what this tab knows of its jobs; it is gone with the tab

export class Photos {
  /** `options()` gives the form fields of new jobs; `show(photo)` is called when one is to be seen. */
  constructor(list, { options, show, changed, gone }) {
    Object.assign(this, { list, options, show, changed, gone });
    this.all = [];
    this.watching = null;
    setInterval(() => this.look(), EVERY);
  }

  add(file) {
    this.take(new Photo(file, this)).send(this.options());
  }

  take(photo) {
    this.all.push(photo);
    this.list.append(photo.element);
    return photo;
  }

  /** Writes down which job belongs to which name: the service has the rest. */
  keep() {
    const known = this.all.filter((photo) => photo.id);
    const facts = known.map(({ file, id, ids }) => ({ name: file.name, id, ids: [...ids] }));
    sessionStorage.setItem(KEPT, JSON.stringify(facts));
  }

  /** Goes on with what this tab had before it was loaded anew. */
  async goOn() {
    for (const { name, id, ids } of JSON.parse(sessionStorage.getItem(KEPT) ?? "[]")) {
      const photo = this.take(new Photo({ name }, this));
      Object.assign(photo, { id, ids: new Set(ids) });
      photo.set("queued", "asking the service …");
      api.screen(id, "before").then((blob) => {
        photo.shown = blob;
        if (!photo.done) photo.picture(blob);
      }, () => {});
    }
    await this.look();
    this.watch();
  }

  /** One stream a tab, for the photograph whose turn it is: a browser keeps only few connections to a host. */
  async watch() {
    if (this.watching) return;
    const photo = this.all.find((each) => each.waits);
    if (!photo) return;
    this.watching = photo;
    const id = photo.id;
    try {
      await api.follow(id, (event, job) => photo.id === id && photo.told(event, job));
    } catch (problem) {
      if (problem.status === 404) photo.told("deleted", {});
      else await new Promise((resolve) => setTimeout(resolve, EVERY));
    }
    this.watching = null;
    this.watch();
  }

  async look() {
    const waiting = this.all.filter((each) => each.waits && each !== this.watching);
    if (!waiting.length) return;
    const asked = waiting.map((photo) => photo.id);
    const jobs = await api.states(asked).catch(() => null);
    if (!jobs) return;
    const found = new Map(jobs.map((job) => [job.id, job]));
    waiting.forEach((photo, k) => {
      if (photo.id !== asked[k]) return;
      const job = found.get(photo.id);
      photo.told(job ? (["done", "failed"].includes(job.state) ? job.state : "state") : "deleted", job ?? {});
    });
  }

  drop(photo) {
    this.all = this.all.filter((each) => each !== photo);
    this.keep();
    photo.element.remove();
    this.gone(photo);
  }
}

class Photo {
  constructor(file, photos) {
    Object.assign(this, { file, photos, id: null, job: null, ids: new Set(), state: "sending" });
    this.element = document.createElement("li");
    this.element.innerHTML = `<img class="thumb" alt=""><div class="words"><span class="name"></span>
      <span class="state" aria-live="polite"></span><progress max="1" value="0"></progress>
      <div class="acts"><button class="open" disabled>Look</button><button class="cancel">Cancel</button></div></div>`;
    this.part(".name").textContent = file.name;
    this.part(".name").title = file.name;
    this.part(".open").setAttribute("aria-label", `Look at ${file.name}`);
    this.part(".open").addEventListener("click", () => photos.show(this));
    this.part(".cancel").addEventListener("click", () => this.cancel());
    if (/^image\/(jpeg|png|webp|bmp)$/.test(file.type)) { // what every browser shows by itself
      this.shown = file;
      this.picture(file);
    }
  }

  part(selector) { return this.element.querySelector(selector); }
  get waits() { return this.state === "queued" || this.state === "running"; }
  get done() { return this.state === "done"; }

  /** Sends the picture; `fields` are the options, `mask` a picture of the damage. */
  async send(fields, mask = null) {
    this.set("sending", "sending …");
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    if (mask) form.append("mask_picture", mask, "mask");
    try {
      // After the page was loaded anew only the service has the picture.
      const sent = this.file instanceof Blob ? this.file : await api.sent(this.id);
      form.append("picture", sent, "picture"); // its name is nobody's business
      const job = await api.submit(form, (why) => this.set("sending", why));
      this.ids.add(job.id);
      this.id = job.id;
      this.photos.keep();
      if (this.state === "cancelled") return void this.forget();
      this.told(job.state === "done" || job.state === "failed" ? job.state : "state", job);
      this.photos.watch();
    } catch (problem) {
      this.set("failed", problem.message);
    }
  }

  told(event, job) {
    if (event === "deleted") return this.set("failed", "cancelled: it is no longer on the service");
    this.job = job;
    if (event === "failed") return this.set("failed", job.problem.detail);
    if (event === "done") {
      this.set("done", `done, ${(100 * job.damaged).toFixed(1)} % was damaged`);
      api.screen(job.id, "after").then((blob) => this.picture(blob), () => {});
      return;
    }
    this.set(job.state, words(job), job.progress?.share ?? 0);
    if (job.preview) api.blob(job.preview).then((blob) => this.waits && this.picture(blob, true), () => {});
  }

  picture(blob, preview = false) {
    const image = this.part(".thumb");
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(blob);
    if (preview) this.preview = blob;
    this.photos.changed(this);
  }

  set(state, text, share = null) {
    this.state = state;
    this.element.className = `${state} ${this.element.classList.contains("shown") ? "shown" : ""}`;
    this.part(".state").textContent = text;
    const bar = this.part("progress");
    bar.hidden = !(this.waits || state === "sending");
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    const over = state === "done" || state === "failed";
    this.part(".cancel").textContent = over ? "Delete" : "Cancel";
    this.part(".cancel").setAttribute("aria-label", `${over ? "Delete" : "Cancel"} ${this.file.name}`);
    this.part(".open").disabled = !(state === "done" || state === "running");
    this.photos.changed(this);
  }

  cancel() {
    this.state = "cancelled";
    this.forget();
    this.photos.drop(this);
  }

  /** Deletes all that the service has of it. */
  forget() {
    for (const id of this.ids) api.remove(id).catch(() => {});
  }
}

function words(job) {
  const at = job.progress;
  if (!at) return job.eta ? `waiting, about ${seconds(job.eta)}` : "waiting";
  const picture = at.samples > 1 ? `picture ${at.sample} of ${at.samples}, ` : "";
  return `${picture}tile ${at.tile} of ${at.tiles}, step ${at.step} of ${at.steps}; ${seconds(at.eta)} left`;
}

function seconds(count) {
  return count < 90 ? `${Math.ceil(count)} s` : `${Math.round(count / 60)} min`;
}
