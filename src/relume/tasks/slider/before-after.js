// <before-after>: two pictures, one over the other, and a range that uncovers the lower one.
customElements.define("before-after", class extends HTMLElement {
  connectedCallback() {
    this.querySelector("input").addEventListener("input", () => this.show());
    this.show();
  }

  show() {
    this.style.setProperty("--at", this.querySelector("input").value + "%");
  }
});
