// The page: photographs come in by choosing, dropping or pasting, and go through the list into the viewer.

import { Photos } from "./photos.js";
import { Viewer } from "./viewer.js";

const $ = (selector) => document.querySelector(selector);

/** The form fields of a job, as the options stand now. */
function options() {
  const form = $("#options").elements;
  const fields = { fidelity: form.fidelity.value, strength: form.strength.value, tone: form.tone.value };
  if (form.mode.value === "preserve") fields.preserve = true;
  if (form.mode.value === "twice") fields.mask = "twice";
  if (!form.even.checked) fields.shading = "keep";
  if (form.uncertainty.checked) fields.uncertainty = true;
  return fields;
}

const viewer = new Viewer(options);
const photos = new Photos($("#photos"), {
  options,
  show: (photo) => { viewer.show(photo).then(() => $("#name").focus({ preventScroll: false }), tell); },
  changed: (photo) => {
    // The first one is shown by itself; the one that is shown follows its work.
    if (photo === viewer.photo || (!viewer.photo && (photo.done || photo.preview))) viewer.show(photo).catch(tell);
  },
  gone: (photo) => { if (photo === viewer.photo) viewer.hide(); },
});

photos.goOn().catch(tell);

function tell(problem) {
  $("#problem").textContent = problem?.message ?? "";
  $("#problem").hidden = !problem;
}

function take(files) {
  tell(null);
  const pictures = [...files].filter((file) => file.size);
  if (!pictures.length) return tell(new Error("there is no photograph in what was dropped or pasted"));
  pictures.forEach((file) => photos.add(file));
}

$("#files").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
$("#options").addEventListener("input", () => {
  const value = Number($("#options").elements.fidelity.value);
  const word = value === 1 ? "faithful" : value > 0.3 ? "crisper" : "sharp";
  $("#options").elements.fidelity_shown.value = `${value.toFixed(1)}: ${word}`;
  const strength = Number($("#options").elements.strength.value);
  const way = strength === 1 ? "restored" : strength > 0 ? "part of the way" : "as it was";
  $("#options").elements.strength_shown.value = `${strength.toFixed(1)}: ${way}`;
});
$("#options").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});
