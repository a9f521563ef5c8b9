// The canvas: the frame, the objects over it, and where a pointer is in the frame.

const OPACITY = 0.5;
const LARGEST = 40; // screen pixels per pixel of the frame

export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.layer = document.createElement('canvas');
    this.colors = new Uint8Array(256 * 3);
    this.picture = null;
    this.size = {width: 1, height: 1};
    this.zoom = 1;
    this.centre = null; // in pixels of the frame; nothing for the middle
    this.hidden = false;
    this.decorate = () => {};
    this.waiting = false;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  open(width, height) {
    this.size = {width, height};
    [this.layer.width, this.layer.height] = [width, height];
    this.picture = null;
    this.fit();
  }

  fit() {
    this.zoom = 1;
    this.centre = null;
    this.draw();
  }

  setColors(objects) {
    for (const {id, color} of objects) {
      for (let i = 0; i < 3; i++) this.colors[3 * id + i] = parseInt(color.slice(1 + 2 * i, 3 + 2 * i), 16);
    }
  }

  // The ids as colours; those of `chosen` with a brighter edge. Within a box alone, if nothing else has changed.
  setIds(ids, chosen, box = null) {
    const {width, height} = this.size;
    const [left, top] = box ? [Math.max(box.left, 0), Math.max(box.top, 0)] : [0, 0];
    const [right, bottom] = box ? [Math.min(box.right, width - 1), Math.min(box.bottom, height - 1)] : [width - 1, height - 1];
    if (right < left || bottom < top) return;
    const image = new ImageData(right - left + 1, bottom - top + 1);
    const data = image.data;
    const alpha = Math.round(255 * OPACITY);
    let to = -4;
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        to += 4;
        const i = y * width + x;
        const id = ids[i];
        if (!id) continue;
        const edge =
          (x > 0 && ids[i - 1] !== id) || (x < width - 1 && ids[i + 1] !== id) ||
          (y > 0 && ids[i - width] !== id) || (y < height - 1 && ids[i + width] !== id);
        const white = edge && id === chosen;
        for (let c = 0; c < 3; c++) data[to + c] = white ? 255 : edge ? (this.colors[3 * id + c] + 255) >> 1 : this.colors[3 * id + c];
        data[to + 3] = edge ? 255 : alpha;
      }
    }
    this.layer.getContext('2d').putImageData(image, left, top);
    this.draw();
  }

  // Screen pixels per pixel of the frame, and where its upper left corner is.
  view() {
    const {clientWidth: w, clientHeight: h} = this.canvas;
    const {width, height} = this.size;
    const margin = 12;
    const scale = Math.max(Math.min((w - 2 * margin) / width, (h - 2 * margin) / height), 0.01) * this.zoom;
    const centre = this.centre ?? {x: width / 2, y: height / 2};
    return {scale, left: w / 2 - centre.x * scale, top: h / 2 - centre.y * scale};
  }

  // Where a pointer is, in pixels of the frame; whole numbers are centres.
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const {scale, left, top} = this.view();
    return {x: (event.clientX - box.left - left) / scale - 0.5, y: (event.clientY - box.top - top) / scale - 0.5};
  }

  onScreen({x, y}) {
    const {scale, left, top} = this.view();
    return {x: left + (x + 0.5) * scale, y: top + (y + 0.5) * scale};
  }

  isInside({x, y}) {
    return x >= -0.5 && y >= -0.5 && x < this.size.width - 0.5 && y < this.size.height - 0.5;
  }

  zoomBy(factor, event) {
    const before = this.place(event);
    const base = this.view().scale / this.zoom;
    this.zoom = Math.min(Math.max(this.zoom * factor, 1), Math.max(LARGEST / base, 1));
    if (this.zoom === 1) {
      this.centre = null;
    } else {
      const after = this.place(event);
      const centre = this.centre ?? {x: this.size.width / 2, y: this.size.height / 2};
      this.centre = this.held({x: centre.x + before.x - after.x, y: centre.y + before.y - after.y});
    }
    this.draw();
  }

  panBy(dx, dy) {
    const {scale} = this.view();
    const centre = this.centre ?? {x: this.size.width / 2, y: this.size.height / 2};
    this.centre = this.held({x: centre.x - dx / scale, y: centre.y - dy / scale});
    this.draw();
  }

  held({x, y}) {
    return {x: Math.min(Math.max(x, 0), this.size.width), y: Math.min(Math.max(y, 0), this.size.height)};
  }

  // Once before the next repaint, however often it is asked for.
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const {canvas, context} = this;
    const density = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(canvas.clientWidth * density), Math.round(canvas.clientHeight * density)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const {scale, left, top} = this.view();
    const box = [left, top, this.size.width * scale, this.size.height * scale];
    context.imageSmoothingEnabled = scale < 8;
    if (this.picture) context.drawImage(this.picture, ...box);
    context.imageSmoothingEnabled = scale < 1;
    if (!this.hidden) context.drawImage(this.layer, ...box);
    this.decorate(context, scale);
  }
}
