// The time line: the slider, and how sure each object and point is along the video.

import {element, swatch} from './elements.js';

const LOW = 0.5; // confidence that is drawn in red
const EDGE = 8; // half of the slider's thumb, in pixels

export class Timeline {
  constructor(app) {
    this.app = app;
    this.slider = document.getElementById('slider');
    this.number = document.getElementById('number');
    this.count = document.getElementById('count');
    this.strips = document.getElementById('strips');
    this.rows = new Map();
    this.sureness = {columns: 0, rows: {}, doubtful: {}};
    this.slider.addEventListener('input', () => app.go(Number(this.slider.value)));
    this.number.addEventListener('change', () => app.go(Number(this.number.value) || 0));
    new ResizeObserver(() => this.draw()).observe(this.strips);
  }

  // Where a frame is on a lane of some width.
  x(frame, width) {
    const last = Math.max(this.app.state.frames - 1, 1);
    return EDGE + (frame / last) * (width - 2 * EDGE);
  }

  showFrame(frame) {
    this.slider.max = this.number.max = this.app.state.frames - 1;
    this.slider.value = frame;
    if (document.activeElement !== this.number) this.number.value = frame;
    this.count.textContent = `of ${this.app.state.frames}`;
    for (const {head, lane} of this.rows.values()) head.style.left = `${this.x(frame, lane.clientWidth)}px`;
  }

  // The height of all lanes together stays: a frame that moves under the brush would bend the stroke.
  show(sureness) {
    this.sureness = sureness;
    const {state} = this.app;
    const wanted = [
      ...state.objects.map((each) => ['object', each]),
      ...state.points.map((each) => ['point', each]),
    ];
    this.rows.clear();
    this.strips.replaceChildren(
      ...wanted.map(([kind, each]) => {
        const name = element('button', {type: 'button', className: 'name'}, swatch(each.color, kind), element('span', {}, each.name));
        name.addEventListener('click', () => this.app.pick(kind, each.id));
        const canvas = element('canvas', {role: 'img'});
        const head = element('div', {className: 'head'});
        const lane = element('div', {className: 'lane'}, canvas, head);
        canvas.addEventListener('pointerdown', (event) => this.jump(event, canvas));
        canvas.addEventListener('pointermove', (event) => event.buttons & 1 && this.jump(event, canvas));
        const row = element('div', {className: 'strip'}, name, lane);
        this.rows.set(`${kind}/${each.id}`, {row, lane, canvas, head, each, kind});
        return row;
      }),
    );
    if (!wanted.length) {
      this.strips.append(element('p', {className: 'note'}, 'Each object and point gets a line here that shows how sure its place is.'));
    }
    this.draw();
  }

  jump(event, canvas) {
    const box = canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - EDGE) / Math.max(box.width - 2 * EDGE, 1);
    this.app.go(Math.round(share * (this.app.state.frames - 1)));
  }

  draw() {
    const {state, chosen} = this.app;
    if (!state) return;
    for (const [key, row] of this.rows) {
      row.row.classList.toggle('chosen', chosen?.kind === row.kind && chosen.number === row.each.id);
      this.drawLane(row, this.sureness.rows[key], this.sureness.doubtful[key] ?? []);
    }
    this.showFrame(this.app.frame);
  }

  drawLane({lane, canvas, each}, values, doubtful) {
    const [width, height, density] = [lane.clientWidth, lane.clientHeight, window.devicePixelRatio || 1];
    [canvas.width, canvas.height] = [Math.round(width * density), Math.round(height * density)];
    const context = canvas.getContext('2d');
    context.scale(density, density);
    const {frames} = this.app.state;
    const columns = this.sureness.columns;
    if (values) {
      const step = frames / columns;
      const wide = (width - 2 * EDGE) / Math.max(frames - 1, 1);
      values.forEach((value, i) => {
        if (value === null) return;
        const left = Math.round(this.x(i * step, width) - wide / 2);
        const right = Math.max(Math.round(this.x((i + 1) * step, width) - wide / 2), left + 1);
        const tall = Math.max(Math.round(value * (height - 3)), 2);
        context.fillStyle = each.color;
        context.globalAlpha = 0.28;
        context.fillRect(left, 0, right - left, height);
        context.globalAlpha = 1;
        context.fillRect(left, height - tall, right - left, tall);
        context.fillStyle = value < LOW ? '#ff7b72' : '#fff9';
        context.fillRect(left, height - tall, right - left, 1.5);
      });
    }
    context.fillStyle = '#fff';
    context.strokeStyle = '#10141b';
    for (const frame of each.given) {
      const x = this.x(frame, width);
      context.beginPath();
      context.moveTo(x, height / 2 - 5);
      context.lineTo(x + 5, height / 2);
      context.lineTo(x, height / 2 + 5);
      context.lineTo(x - 5, height / 2);
      context.closePath();
      context.fill();
      context.stroke();
    }
    for (const frame of each.ends) {
      const x = this.x(frame, width);
      context.fillRect(x - 1, 3, 2.5, height - 6);
    }
    lane.querySelectorAll('.mark').forEach((mark) => mark.remove());
    canvas.setAttribute('aria-label', `Confidence of ${each.name}${values ? '' : ': not propagated yet'}`);
    for (const [frame, value] of doubtful) {
      const mark = element('button', {
        type: 'button',
        className: 'mark',
        title: `Frame ${frame}: confidence ${value.toFixed(2)}`,
        ariaLabel: `${each.name} is in doubt in frame ${frame}, confidence ${value.toFixed(2)}`,
      });
      mark.dataset.frame = frame;
      mark.style.left = `${this.x(frame, width)}px`;
      mark.addEventListener('click', () => this.app.go(frame));
      lane.append(mark);
    }
  }

  // The frames in doubt, those of the lowest confidence first: [frame, confidence, key]. The confidence of points is
  // another measure, so they count only where no object is in doubt.
  doubts() {
    const all = Object.entries(this.sureness.doubtful).flatMap(([key, found]) => found.map((each) => [...each, key]));
    const objects = all.filter(([, , key]) => key.startsWith('object'));
    return (objects.length ? objects : all).sort((a, b) => a[1] - b[1]);
  }
}
