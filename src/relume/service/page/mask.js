// Painting damage over a picture: a canvas whose opacity is the mask.

const COLOUR = "rgb(255 40 60)";
const MARKED = 0xff3c28ff; // the same, as the bytes red, green, blue, opacity lie in memory
const OPAQUE = 0xff000000;
const UNDO = 30;

export class MaskEditor {
  constructor(canvas, cursor, changed) {
    Object.assign(this, { canvas, cursor, changed, erasing: false, size: 24, undone: [], at: null, stroke: null });
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => this.up());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => { cursor.hidden = true; });
  }

  /** Starts with a gray picture, white where the damage is. */
  async load(blob) {
    const picture = await createImageBitmap(blob);
    Object.assign(this.canvas, { width: picture.width, height: picture.height });
    this.context.drawImage(picture, 0, 0);
    const pixels = this.context.getImageData(0, 0, picture.width, picture.height);
    const words = new Uint32Array(pixels.data.buffer);
    for (let k = 0; k < words.length; k++) words[k] = (words[k] & 255) < 128 ? 0 : MARKED;
    this.context.putImageData(pixels, 0, 0);
    this.undone = [];
    this.at = { x: picture.width / 2, y: picture.height / 2 };
    this.changed();
  }

  /** The mask as a gray PNG. */
  async blob() {
    const { width, height } = this.canvas;
    const pixels = this.context.getImageData(0, 0, width, height);
    const words = new Uint32Array(pixels.data.buffer);
    for (let k = 0; k < words.length; k++) words[k] = OPAQUE | ((words[k] >>> 24) * 0x010101);
    const gray = new OffscreenCanvas(width, height);
    gray.getContext("2d").putImageData(pixels, 0, 0);
    return gray.convertToBlob({ type: "image/png" });
  }

  keep() {
    this.undone.push(this.context.getImageData(0, 0, this.canvas.width, this.canvas.height));
    const room = Math.max(2, Math.floor(3e8 / (4 * this.canvas.width * this.canvas.height)));
    while (this.undone.length > Math.min(UNDO, room)) this.undone.shift();
    this.changed();
  }

  undo() {
    const before = this.undone.pop();
    if (before) this.context.putImageData(before, 0, 0);
    this.changed();
  }

  clear() {
    this.keep();
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  }

  down(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.keep();
    this.stroke = this.place(event);
    this.line(this.stroke, this.stroke);
  }

  move(event) {
    this.at = this.place(event);
    this.point();
    if (!this.stroke) return;
    this.line(this.stroke, this.at);
    this.stroke = this.at;
  }

  up() { this.stroke = null; }

  line(from, to) {
    const c = this.context;
    c.globalCompositeOperation = this.erasing ? "destination-out" : "source-over";
    Object.assign(c, { strokeStyle: COLOUR, lineWidth: this.size, lineCap: "round" });
    c.beginPath();
    c.moveTo(from.x, from.y);
    c.lineTo(to.x + 0.01, to.y);
    c.stroke();
    c.globalCompositeOperation = "source-over";
  }

  /** Shows where the brush is. */
  point() {
    const { width, height } = this.canvas;
    this.cursor.hidden = false;
    this.cursor.style.left = `${(100 * this.at.x) / width}%`;
    this.cursor.style.top = `${(100 * this.at.y) / height}%`;
    this.cursor.style.width = `${(100 * this.size) / width}%`;
    this.cursor.style.height = `${(100 * this.size) / height}%`;
  }

  key(event) {
    const far = Math.max(1, this.size / 2);
    const moves = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    if (moves[event.key]) {
      const [x, y] = moves[event.key];
      this.at.x = Math.min(this.canvas.width, Math.max(0, this.at.x + x));
      this.at.y = Math.min(this.canvas.height, Math.max(0, this.at.y + y));
    } else if (event.key === " " || event.key === "Enter") {
      this.keep();
      this.line(this.at, this.at);
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.point();
  }
}
