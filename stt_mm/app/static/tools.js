// What the pointer does on the stage: brush, eraser, polygon, points, and moving the view.

import {fill, pack, sweep} from './raster.js';

const NEAR = 11; // screen pixels

export class Tools {
  // `app` has: tool, radius, shown, state, chosen, and the edits that are called below.
  constructor(app, stage) {
    this.app = app;
    this.stage = stage;
    this.action = null;
    this.corners = [];
    this.pointer = null;
    this.panning = false;
    this.fingers = new Map(); // where those on the stage are, on the screen
    stage.decorate = (context, scale) => this.decorate(context, scale);
    const canvas = stage.canvas;
    canvas.addEventListener('pointerdown', (event) => this.down(event));
    canvas.addEventListener('pointermove', (event) => this.move(event));
    canvas.addEventListener('pointerup', (event) => this.up(event));
    canvas.addEventListener('pointercancel', (event) => this.cancel(event));
    canvas.addEventListener('pointerleave', () => {
      this.pointer = null;
      stage.draw();
    });
    canvas.addEventListener('dblclick', (event) => this.app.tool === 'polygon' && this.close(event.altKey));
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener(
      'wheel',
      (event) => {
        event.preventDefault();
        stage.zoomBy(Math.exp(-event.deltaY * 0.0015), event);
      },
      {passive: false},
    );
  }

  down(event) {
    const {app, stage} = this;
    if (event.pointerType === 'touch') this.fingers.set(event.pointerId, event);
    if (!app.state) return;
    if (this.fingers.size === 2) this.pinch();
    if (this.action) return;
    stage.canvas.focus({preventScroll: true});
    stage.canvas.setPointerCapture(event.pointerId);
    const place = stage.place(event);
    this.pointer = place;
    if (this.panning || event.button === 1) {
      this.action = {kind: 'pan', x: event.clientX, y: event.clientY};
    } else if (event.button === 0) {
      app.pause();
      app.follows = false; // a run at work shows its frames no longer, or one would be under the brush
      if (!app.isShown()) return; // nobody can have meant what is not seen yet
      if (app.tool === 'brush' || app.tool === 'eraser') this.begin(place);
      else if (app.tool === 'polygon') this.corner(place, event.altKey);
      else if (app.tool === 'point') this.grasp(place);
    }
    if (this.action) this.action.pointer = event.pointerId;
  }

  move(event) {
    const {stage, action} = this;
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, event);
    if (action && action.kind !== 'pinch' && action.pointer !== event.pointerId) return;
    this.pointer = stage.place(event);
    if (action?.kind === 'pinch') {
      this.spread(action);
    } else if (action?.kind === 'pan') {
      stage.panBy(event.clientX - action.x, event.clientY - action.y);
      [action.x, action.y, action.moved] = [event.clientX, event.clientY, true];
    } else if (action?.kind === 'stroke') {
      for (const each of event.getCoalescedEvents?.() ?? [event]) action.path.push(stage.place(each));
      if (!event.getCoalescedEvents?.().length) action.path.push(this.pointer);
      this.advance(action);
    } else if (action?.kind === 'drag') {
      action.place = this.inside(this.pointer);
    }
    stage.draw();
  }

  up(event) {
    const {action} = this;
    this.fingers.delete(event.pointerId);
    if (action?.kind === 'pinch' ? this.fingers.size : action && action.pointer !== event.pointerId) return;
    this.action = null;
    this.cornered = null;
    if (action?.kind === 'stroke') this.finish(action);
    else if (action?.kind === 'drag') {
      const {x, y} = action.place;
      if (action.number === null) this.app.addPoint(x, y);
      else if (Math.hypot(x - action.from.x, y - action.from.y) > 0.5) this.app.movePoint(action.number, x, y);
    }
    if (action?.kind === 'pan') this.panned = action.moved;
    this.stage.draw();
  }

  cancel(event) {
    const {action} = this;
    if (event) this.fingers.delete(event.pointerId);
    this.action = null;
    if (action?.kind === 'stroke') this.app.reloadShown();
    this.stage.draw();
  }

  // Two fingers zoom and move the view. What the first one has begun is dropped.

  pinch() {
    this.cancel();
    if (this.cornered) this.corners.pop();
    this.pointer = this.cornered = null;
    this.action = {kind: 'pinch', before: this.between()};
  }

  // The middle of two fingers on the screen, and how far they are from each other.
  between() {
    const [a, b] = [...this.fingers.values()];
    const [dx, dy] = [b.clientX - a.clientX, b.clientY - a.clientY];
    return {clientX: a.clientX + dx / 2, clientY: a.clientY + dy / 2, length: Math.max(Math.hypot(dx, dy), 1)};
  }

  spread(action) {
    if (this.fingers.size < 2) return;
    const [before, now] = [action.before, this.between()];
    this.pointer = null;
    this.stage.panBy(now.clientX - before.clientX, now.clientY - before.clientY);
    this.stage.zoomBy(now.length / before.length, now);
    action.before = now;
  }

  // Strokes. Where there is no object yet, the first stroke makes one; it is drawn when its number is known.

  begin(place) {
    const {app} = this;
    const erase = app.tool === 'eraser';
    if (erase && app.chosenObject() === null) {
      app.say('Choose the object to erase from, in the list on the right.');
      return;
    }
    const action = {kind: 'stroke', erase, path: [place], drawn: 0, number: null, shown: app.shown, radius: app.radius};
    this.action = action;
    action.ready = app.neededObject().then((number) => {
      action.number = number;
      this.advance(action);
    });
    action.ready.catch(() => this.cancel());
  }

  advance(action) {
    if (action.number === null) return;
    const {width, height} = this.stage.size;
    const ids = action.shown.ids;
    const put = action.erase
      ? (i) => {
          if (ids[i] === action.number) ids[i] = 0;
        }
      : (i) => {
          ids[i] = action.number;
        };
    const added = action.path.slice(Math.max(action.drawn - 1, 0));
    for (; action.drawn < action.path.length; action.drawn++) {
      const from = action.path[Math.max(action.drawn - 1, 0)];
      sweep(width, height, from, action.path[action.drawn], action.radius, put);
    }
    if (added.length && this.app.shown === action.shown) this.app.showIds(boxAround(added, action.radius + 1));
  }

  async finish(action) {
    try {
      await action.ready;
    } catch {
      return; // said already
    }
    this.advance(action);
    this.app.paint(action.number, action.shown.frame, pack(action.shown.ids, action.number));
  }

  // Polygons.

  corner(place, remove) {
    const first = this.corners[0];
    if (first && this.corners.length > 2 && this.isNear(first, place)) {
      this.close(remove);
    } else if (!this.corners.length || !this.isNear(this.corners.at(-1), place, 3)) {
      this.corners.push(place);
      this.cornered = place;
    }
    this.app.showHint();
  }

  async close(remove) {
    const {app, stage} = this;
    const corners = this.corners;
    this.corners = [];
    app.showHint();
    stage.draw();
    if (corners.length < 3) return;
    const shown = app.shown;
    const number = await app.neededObject();
    fill(stage.size.width, stage.size.height, corners, (i) => {
      if (!remove) shown.ids[i] = number;
      else if (shown.ids[i] === number) shown.ids[i] = 0;
    });
    app.showIds();
    app.paint(number, shown.frame, pack(shown.ids, number));
  }

  back() {
    this.corners.pop();
    this.app.showHint();
    this.stage.draw();
  }

  drop() {
    const any = this.corners.length > 0;
    this.corners = [];
    this.app.showHint();
    this.stage.draw();
    return any;
  }

  // Points.

  grasp(place) {
    const {app} = this;
    const near = Object.entries(app.shown.places).find(([, at]) => at && this.isNear({x: at[0], y: at[1]}, place));
    if (near) {
      const [number, [x, y]] = [Number(near[0]), near[1]];
      app.choose('point', number);
      this.action = {kind: 'drag', number, from: {x, y}, place: {x, y}};
    } else if (app.chosen?.kind === 'point' && app.wantsPlace(app.chosen.number)) {
      this.action = {kind: 'drag', number: app.chosen.number, from: {x: -9, y: -9}, place: this.inside(place)};
    } else if (this.stage.isInside(place)) {
      this.action = {kind: 'drag', number: null, from: place, place: this.inside(place)};
    }
  }

  inside({x, y}) {
    const {width, height} = this.stage.size;
    return {x: Math.min(Math.max(x, 0), width - 1), y: Math.min(Math.max(y, 0), height - 1)};
  }

  isNear(a, b, distance = NEAR) {
    return Math.hypot(a.x - b.x, a.y - b.y) * this.stage.view().scale < distance;
  }

  // What lies over the frame.

  decorate(context, scale) {
    const {app, stage, pointer} = this;
    if (!app.state) return;
    if (!stage.hidden && app.isShown()) this.drawPoints(context);
    if (this.corners.length) this.drawCorners(context);
    const brush = app.tool === 'brush' || app.tool === 'eraser';
    stage.canvas.style.cursor = this.panning ? 'grab' : brush ? 'none' : 'crosshair';
    if (pointer && brush && !this.panning) {
      const {x, y} = stage.onScreen(pointer);
      circle(context, x, y, Math.max(app.radius * scale, 2));
      context.lineWidth = 3;
      context.strokeStyle = 'rgb(0 0 0 / .55)';
      context.stroke();
      context.lineWidth = 1.5;
      context.strokeStyle = '#fff';
      context.setLineDash(app.tool === 'eraser' ? [4, 3] : []);
      context.stroke();
      context.setLineDash([]);
    }
  }

  drawPoints(context) {
    const {app, stage, action} = this;
    const places = {...app.shown.places};
    if (action?.kind === 'drag') places[action.number ?? 'new'] = [action.place.x, action.place.y];
    for (const [number, at] of Object.entries(places)) {
      if (!at) continue;
      const {x, y} = stage.onScreen({x: at[0], y: at[1]});
      const chosen = app.chosen?.kind === 'point' && app.chosen.number === Number(number);
      const color = app.state.points.find((point) => point.id === Number(number))?.color ?? '#fff';
      circle(context, x, y, chosen ? 8 : 6);
      context.fillStyle = '#fff';
      context.fill();
      circle(context, x, y, chosen ? 6 : 4.5);
      context.fillStyle = color;
      context.fill();
    }
  }

  drawCorners(context) {
    const {stage, pointer} = this;
    const corners = this.corners.map((corner) => stage.onScreen(corner));
    const path = pointer ? [...corners, stage.onScreen(pointer)] : corners;
    for (const [width, color] of [[4, 'rgb(0 0 0 / .55)'], [1.5, '#fff']]) {
      context.beginPath();
      path.forEach(({x, y}) => context.lineTo(x, y));
      context.lineWidth = width;
      context.strokeStyle = color;
      context.stroke();
    }
    corners.forEach(({x, y}, i) => {
      circle(context, x, y, i ? 4 : 6);
      context.fillStyle = '#fff';
      context.fill();
      context.strokeStyle = '#222';
      context.stroke();
    });
  }
}

function circle(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}

// All pixels within `reach` of some places.
function boxAround(places, reach) {
  const [xs, ys] = [places.map(({x}) => x), places.map(({y}) => y)];
  return {
    left: Math.floor(Math.min(...xs) - reach),
    right: Math.ceil(Math.max(...xs) + reach),
    top: Math.floor(Math.min(...ys) - reach),
    bottom: Math.ceil(Math.max(...ys) + reach),
  };
}
