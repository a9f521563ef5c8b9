// The page: what is open, which frame is shown, and what the user does to it.

import {address, get, post, put, shown} from './api.js';
import {element} from './elements.js';
import {Panel} from './panel.js';
import {Stage} from './stage.js';
import {Start} from './start.js';
import {Timeline} from './timeline.js';
import {Tools} from './tools.js';

const BUSY = 350; // milliseconds between two looks at the server while it is at work
const IDLE = 2000;
const KEPT = 24; // pictures
const BRUSH = 14; // so often goes the brush into the short side, at first
const SURENESS = 700; // milliseconds between two looks at the confidence during a run
const SHARE = 5; // so many times as long as a look takes is waited after it
const $ = (id) => document.getElementById(id);

class App {
  constructor() {
    this.video = null;
    this.state = null;
    this.frame = 0;
    this.shown = null;
    this.chosen = null; // {kind, number}
    this.tool = 'brush';
    this.pictures = new Map();
    this.queue = Promise.resolve();
    this.pending = 0; // changes on their way
    this.loading = 0; // what is to be shown, on its way
    this.playing = false;
    this.follows = false;
    this.prefersFrom = null;
    this.wanted = null; // the export to be saved when it is written
    this.stage = new Stage($('canvas'));
    this.tools = new Tools(this, this.stage);
    this.timeline = new Timeline(this);
    this.panel = new Panel(this);
    this.start = new Start(this);
    for (const button of document.querySelectorAll('[data-tool]')) {
      button.addEventListener('click', () => this.take('tool', button.dataset.tool));
    }
    $('size').addEventListener('input', () => this.take('size', Number($('size').value)));
    $('undo').addEventListener('click', () => this.edit('undo'));
    $('redo').addEventListener('click', () => this.edit('redo'));
    $('fit').addEventListener('click', () => this.stage.fit());
    $('play').addEventListener('click', () => (this.playing ? this.pause() : this.play()));
    $('help').addEventListener('click', () => $('keys').showModal());
    document.addEventListener('keydown', (event) => this.key(event));
    document.addEventListener('keyup', (event) => this.released(event));
    document.addEventListener('visibilitychange', () => document.hidden || this.look());
    window.addEventListener('popstate', () => this.enter());
    window.addEventListener('blur', () => (this.tools.panning = false)); // the key is let go elsewhere
    this.take('tool', 'brush');
  }

  // Opening.

  async enter() {
    const video = new URLSearchParams(location.search).get('video');
    if (video) return this.open(video, null);
    const library = await this.start.show();
    if (library?.first) await this.open(library.first, 'replaceState');
  }

  // A long video takes its time. `remember` is how the history gets it.
  async open(video, remember = 'pushState') {
    const before = $('title').textContent;
    $('title').textContent = `Opening ${video} …`;
    const state = await this.tried(() => get('/api/state', {video}));
    await this.queue;
    if (!state) {
      $('title').textContent = before;
      if ($('work').hidden && $('start').hidden) await this.start.show();
      return;
    }
    if (remember) history[remember](null, '', `?${new URLSearchParams({video})}`);
    this.pause();
    this.pictures.clear();
    Object.assign(this, {video, state: null, shown: null, chosen: null, frame: 0, follows: false, prefersFrom: null});
    $('from').checked = false;
    document.title = `${video} · stt_mm`;
    $('title').textContent = `${video} · ${state.width} × ${state.height} · ${state.frames} frames`;
    this.start.hide();
    this.stage.open(state.width, state.height);
    this.take('size', Math.round(Math.min(state.width, state.height) / BRUSH));
    this.accept(state);
    const first = [...state.objects, ...state.points].flatMap((item) => item.given);
    if (state.objects.length) this.chosen = {kind: 'object', number: state.objects[0].id};
    await this.refreshSureness();
    await this.go(first.length ? Math.min(...first) : 0);
    clearTimeout(this.timer);
    this.look();
  }

  resized() {
    this.stage.draw();
    if (this.state) this.timeline.draw();
  }

  // What the server says.

  async look() {
    clearTimeout(this.timer);
    const video = this.video;
    try {
      if (video && !this.pending) {
        const state = await get('/api/state', {video});
        if (video === this.video && !this.pending) this.accept(state);
      }
      this.reached(true);
    } catch (error) {
      if (video === this.video) this.reached(false, error.message);
    }
    this.timer = setTimeout(() => this.look(), this.isRunning() ? BUSY : IDLE);
  }

  reached(fine, message = '') {
    if (fine === !this.lost && this.lost?.dataset.message === (fine ? undefined : message)) return;
    this.lost?.remove();
    this.lost = fine ? null : this.say(`${message} It is tried again.`, true, true);
    if (this.lost) this.lost.dataset.message = message;
  }

  isRunning() {
    return this.state?.job?.state === 'running';
  }

  accept(state) {
    const before = this.state;
    if (before && before.key !== state.key) return void this.open(this.video, null); // another video of that name
    this.state = state;
    this.stage.setColors(state.objects);
    if (this.chosen && !this.item(this.chosen)) this.chosen = null;
    if (!this.chosen && state.objects.length) this.chosen = {kind: 'object', number: state.objects.at(-1).id};
    const run = (one) => JSON.stringify([one?.results, one?.run]);
    const changed = before && (before.revision !== state.revision || run(before) !== run(state));
    if (!before || changed) this.surenessIsOld = true;
    if (before && before.revision !== state.revision) this.timeline.show(this.timeline.sureness);
    const follows = this.follows && state.job?.what === 'forward' && state.run?.reached; // to its last frame too
    this.ended(before?.job, state.job);
    if (changed) {
      if (follows) {
        this.show(state.run.reached);
      } else {
        this.reloadShown();
      }
    }
    this.showBusy();
    if (this.surenessIsOld && before) this.refreshSureness();
    this.panel.show();
  }

  // The end of a job that was seen at work.
  ended(before, job) {
    if (!job || job.state === 'running') return;
    if (this.wanted === job.number && job.kind === 'export') {
      this.wanted = null;
      if (job.state === 'finished') {
        const link = element('a', {href: address('/api/download', {video: job.video, form: job.what}), download: ''});
        document.body.append(link);
        link.click();
        link.remove();
        this.say(job.message);
      }
    }
    if (before?.state === 'running' && before.number === job.number) {
      this.follows = false;
      if (job.state === 'failed') this.say(job.message, true);
    }
  }

  async refreshSureness() {
    if (this.asking || performance.now() < (this.nextAsk ?? 0)) {
      this.asking ||= setTimeout(() => {
        this.asking = null;
        this.refreshSureness();
      }, this.nextAsk - performance.now());
      return;
    }
    const since = performance.now();
    this.nextAsk = since + (this.isRunning() ? SURENESS : 0);
    this.surenessIsOld = false;
    const video = this.video;
    const sureness = await this.loaded(() => get('/api/confidence', {video}));
    this.nextAsk += SHARE * (performance.now() - since);
    if (!sureness || video !== this.video) return;
    this.timeline.show(sureness);
    this.panel.showDoubts();
  }

  // Frames.

  async go(frame) {
    this.follows = false;
    await this.show(frame);
  }

  async show(frame) {
    frame = Math.min(Math.max(Math.round(frame), 0), this.state.frames - 1);
    if (frame !== this.frame) this.tools.drop();
    this.frame = frame;
    this.timeline.showFrame(frame);
    const video = this.video;
    const found = await this.loaded(() => Promise.all([this.picture(frame), shown(video, frame)]));
    if (!found || frame !== this.frame || video !== this.video) return;
    [this.stage.picture, this.shown] = found;
    this.showIds();
    this.showHint();
    this.panel.show();
    for (const next of [frame + 1, frame + 2]) if (next < this.state.frames) this.picture(next).catch(() => {});
  }

  async loaded(work) {
    this.loading += 1;
    this.showBusy();
    try {
      return await this.tried(work);
    } finally {
      this.loading -= 1;
      this.showBusy();
    }
  }

  showBusy() {
    const old = this.surenessIsOld && !this.isRunning();
    $('work').setAttribute('aria-busy', String(this.pending + this.loading > 0 || old));
  }

  picture(frame) {
    const {video, state} = this;
    if (!this.pictures.has(frame)) {
      const image = new Image();
      image.src = address('/api/frame', {video, frame, key: state.key});
      const ready = image.decode().then(
        () => image,
        () => {
          this.pictures.delete(frame);
          throw new Error(`Frame ${frame} cannot be read from the video, or the program does not answer.`);
        },
      );
      this.pictures.set(frame, ready);
      if (this.pictures.size > KEPT) this.pictures.delete(this.pictures.keys().next().value);
    }
    return this.pictures.get(frame);
  }

  isShown() {
    return this.shown !== null && this.shown.frame === this.frame;
  }

  // Not in the middle of a stroke, and not while one is on its way: the answer would be older than what is seen.
  async reloadShown() {
    const {frame, video} = this;
    const found = await this.loaded(() => shown(video, frame));
    if (!found || frame !== this.frame || video !== this.video || this.pending || this.tools.action?.kind === 'stroke') return;
    this.shown = found;
    this.showIds();
    this.panel.show();
  }

  showIds(box) {
    this.stage.setIds(this.shown.ids, this.chosenObject(), box);
  }

  async play() {
    this.playing = true;
    $('play').setAttribute('aria-pressed', 'true');
    if (this.frame === this.state.frames - 1) await this.go(0);
    let [from, since] = [this.frame, performance.now()];
    while (this.playing && this.frame < this.state.frames - 1) {
      const due = since + (1000 * (this.frame + 1 - from)) / this.state.fps;
      await new Promise((resolve) => setTimeout(resolve, Math.max(due - performance.now(), 0)));
      if (!this.playing) return;
      const late = Math.floor(((performance.now() - since) * this.state.fps) / 1000) + from;
      await this.go(Math.max(late, this.frame + 1));
    }
    this.pause();
  }

  pause() {
    this.playing = false;
    $('play').setAttribute('aria-pressed', 'false');
  }

  // What the user does.

  take(what, value) {
    if (what === 'tool') {
      this.tool = value;
      this.tools.drop();
      for (const button of document.querySelectorAll('[data-tool]')) {
        button.setAttribute('aria-pressed', String(button.dataset.tool === value));
      }
    } else {
      const size = Math.min(Math.max(value, 1), 120);
      $('size').value = size;
      $('size-shown').textContent = size;
      this.radius = size / 2;
    }
    this.showHint();
    this.stage.draw();
  }

  item({kind, number}) {
    return this.state[kind === 'object' ? 'objects' : 'points'].find((each) => each.id === number);
  }

  choose(kind, number) {
    this.chosen = {kind, number};
    this.panel.show();
    this.timeline.draw();
    if (this.shown) this.showIds();
  }

  // Chosen by hand, for what is done next: with a tool for it.
  pick(kind, number) {
    this.choose(kind, number);
    if (kind === 'point') this.take('tool', 'point');
    else if (this.tool === 'point') this.take('tool', 'brush');
  }

  chosenObject() {
    return this.chosen?.kind === 'object' ? this.chosen.number : null;
  }

  // The number of the chosen object, or of a new one if there is none.
  async neededObject() {
    await this.queue;
    if (this.chosenObject() !== null) return this.chosenObject();
    if (this.state.objects.length) {
      this.choose('object', this.state.objects.at(-1).id);
      return this.chosenObject();
    }
    await this.addObject();
    if (this.chosenObject() === null) throw new Error('There is no object.');
    return this.chosenObject();
  }

  async addObject() {
    const before = new Set(this.state.objects.map((each) => each.id));
    await this.edit('add', {kind: 'object'});
    const added = this.state.objects.find((each) => !before.has(each.id));
    if (added) this.choose('object', added.id);
    if (added && !['brush', 'polygon'].includes(this.tool)) this.take('tool', 'brush');
  }

  async addPoint(x, y) {
    const before = new Set(this.state.points.map((each) => each.id));
    await this.edit('point', {frame: this.frame, x, y});
    const added = this.state.points.find((each) => !before.has(each.id));
    if (added) this.choose('point', added.id);
  }

  movePoint(number, x, y) {
    this.shown.places[number] = [x, y];
    return this.edit('move', {number, frame: this.frame, x, y});
  }

  wantsPlace(number) {
    return this.shown?.places[number] === null;
  }

  edit(action, content = {}) {
    const {video} = this;
    return this.change((revision) => post('/api/edit', {video}, {revision, action, ...content}));
  }

  paint(object, frame, bits) {
    const {video} = this;
    return this.change((revision) => put('/api/area', {video, frame, object, revision}, bits));
  }

  // One change after the other, each to the state that the one before has left.
  change(send) {
    const {video} = this;
    if (this.shown?.found && this.prefersFrom === null) $('from').checked = true;
    this.pending += 1;
    this.showBusy();
    this.queue = this.queue.then(async () => {
      try {
        const state = await send(this.state.revision);
        this.pending -= 1;
        if (video === this.video) this.accept(state);
      } catch (error) {
        this.pending -= 1;
        this.say(error.message, true);
        await this.tried(async () => this.accept(await get('/api/state', {video: this.video})));
        await this.reloadShown();
      }
      this.showBusy();
    });
    return this.queue;
  }

  async run(direction) {
    const start = $('from').checked ? this.frame : null;
    await this.queue;
    const state = await this.tried(() => post('/api/run', {video: this.video}, {direction, start}));
    if (!state) return;
    this.follows = true;
    this.prefersFrom = null;
    $('from').checked = false;
    this.accept(state);
    this.look();
  }

  async export(form) {
    await this.queue;
    const state = await this.tried(() => post('/api/export', {video: this.video}, {form}));
    if (!state) return;
    this.wanted = state.job.number;
    this.accept(state);
    this.look();
  }

  async stop() {
    await this.tried(() => post('/api/stop', {}, {}));
    this.look();
  }

  nextDoubt() {
    const doubts = this.timeline.doubts().sort((a, b) => a[0] - b[0]);
    const next = doubts.find(([frame]) => frame > this.frame) ?? doubts[0];
    if (next) this.goInDoubt(next);
  }

  goInDoubt([frame, , key]) {
    const [kind, number] = key.split('/');
    this.pick(kind, Number(number));
    this.go(frame);
  }

  // Keys.

  key(event) {
    const typing = event.target.matches('input[type=number], input:not([type]), textarea');
    if (typing || !this.state || $('work').hidden || $('keys').open) return;
    if (event.key === '?') return $('keys').showModal();
    const ctrl = event.ctrlKey || event.metaKey;
    if (ctrl && event.key.toLowerCase() === 'z') {
      event.preventDefault();
      this.edit(event.shiftKey ? 'redo' : 'undo');
      return;
    }
    if (ctrl || (event.altKey && event.key !== 'Enter')) return;
    const onButton = event.target.matches('button, input[type=checkbox]');
    if (event.key === ' ' && !onButton) {
      event.preventDefault();
      if (!event.repeat) [this.tools.panning, this.tools.panned] = [true, false];
      this.stage.draw();
      return;
    }
    if (event.key === 'Enter' && onButton) return;
    const act = this.acts(event)[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  acts(event) {
    const step = event.shiftKey ? 10 : 1;
    const polygon = this.tools.corners.length > 0;
    const forget = () => this.chosen && this.edit('forget', {...this.chosen, frame: this.frame});
    const numbers = this.state.objects.slice(0, 9).map((each, i) => [`${i + 1}`, () => this.pick('object', each.id)]);
    return {
      b: () => this.take('tool', 'brush'),
      e: () => this.take('tool', 'eraser'),
      g: () => this.take('tool', 'polygon'),
      p: () => this.take('tool', 'point'),
      n: () => this.addObject(),
      d: () => this.nextDoubt(),
      h: () => {
        this.stage.hidden = !this.stage.hidden;
        this.stage.draw();
      },
      '[': () => this.take('size', Number($('size').value) - 2),
      ']': () => this.take('size', Number($('size').value) + 2),
      0: () => this.stage.fit(),
      ArrowLeft: () => this.go(this.frame - step),
      ArrowRight: () => this.go(this.frame + step),
      Home: () => this.go(0),
      End: () => this.go(this.state.frames - 1),
      Enter: () => (polygon ? this.tools.close(event.altKey) : this.tried(() => this.runByKey(event.shiftKey))),
      Backspace: () => (polygon ? this.tools.back() : forget()),
      Delete: forget,
      Escape: () => this.tools.drop() || (this.isRunning() && this.stop()),
      ...Object.fromEntries(numbers),
    };
  }

  async runByKey(both) {
    const button = document.querySelector(`[data-way=${both ? 'both' : 'forward'}]`);
    if (!button.disabled) await this.run(button.dataset.way);
  }

  released(event) {
    if (event.key !== ' ' || !this.tools.panning) return;
    this.tools.panning = false;
    if (!this.tools.panned) this.playing ? this.pause() : this.play();
    this.stage.draw();
  }

  // Words.

  showHint() {
    const {state, tools} = this;
    if (!state) return;
    const empty = !state.objects.some((each) => each.given.length) && !state.points.length;
    const corners = tools.corners.length;
    $('hint').textContent =
      this.tool === 'polygon' && corners
        ? corners < 3 ? 'Click the next corner.' : 'Enter, a double click or the first corner closes it.'
        : !empty ? ''
        : this.tool === 'polygon' ? 'Click the corners of an object.'
        : this.tool === 'point' ? 'Click a point to follow.'
        : 'Paint over an object, in any frame in which it is seen well. Then propagate.';
  }

  say(message, bad = false, stays = false) {
    for (const old of $('toasts').children) if (old.firstChild.textContent === message) old.remove();
    const close = element('button', {type: 'button', ariaLabel: 'Close'}, '×');
    const toast = element('div', {className: bad ? 'toast bad' : 'toast'}, element('span', {}, message), close);
    close.addEventListener('click', () => toast.remove());
    if (!stays) setTimeout(() => toast.remove(), bad ? 12000 : 5000);
    $('toasts').append(toast);
    return toast;
  }

  // The value, or nothing where it fails, which is then said.
  async tried(work) {
    try {
      return await work();
    } catch (error) {
      this.say(error.message, true);
      return undefined;
    }
  }
}

const app = new App();
app.enter();
