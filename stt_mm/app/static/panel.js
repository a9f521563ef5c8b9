// The side panel: lists of objects and points, the run and the exports.

import {element, icon, swatch} from './elements.js';

const KINDS = {object: 'objects', point: 'points'};
const NONE = {
  object: 'None yet: paint with the brush, and the first one is made.',
  point: 'None yet: take the point tool and click.',
};
const WAYS = {forward: 'Forward', backward: 'Backward', both: 'Both ways'};
const FORMS = {png: 'Masks, PNG', coco: 'Masks, COCO', points: 'Points, JSON', video: 'Video, MP4'};
const CHIPS = 6;
const $ = (id) => document.getElementById(id);

export class Panel {
  constructor(app) {
    this.app = app;
    this.renaming = null;
    $('new').addEventListener('click', () => app.addObject());
    for (const button of document.querySelectorAll('[data-way]')) {
      button.addEventListener('click', () => app.run(button.dataset.way));
    }
    for (const button of document.querySelectorAll('[data-form]')) {
      button.addEventListener('click', () => app.export(button.dataset.form));
    }
    $('stop').addEventListener('click', () => app.stop());
    $('clear').addEventListener('click', () => {
      if (confirm('Forget all that was found? What you painted and set stays.')) app.edit('clear');
    });
    $('from').addEventListener('change', () => {
      app.prefersFrom = $('from').checked;
      this.showRun();
    });
  }

  show() {
    this.showList('object', this.app.state.objects);
    this.showList('point', this.app.state.points);
    this.showRun();
    this.showDoubts();
    this.showSteps();
    $('undo').disabled = !this.app.state.undo;
    $('redo').disabled = !this.app.state.redo;
  }

  showList(kind, items) {
    const list = $(KINDS[kind]);
    if (this.renaming && list.contains(this.renaming)) return; // not while a name is typed
    // A row that stays as it is stays in place: it may have the focus, or the first click of two.
    const signature = JSON.stringify(items.map((item) => [item, this.about(kind, item), ...this.can(item)]));
    if (list.dataset.signature !== signature) {
      const focused = document.activeElement?.dataset?.key;
      const none = [element('li', {className: 'none'}, NONE[kind])];
      list.replaceChildren(...(items.length ? items.map((item) => this.row(kind, item)) : none));
      if (focused) list.querySelector(`[data-key="${focused}"]`)?.focus();
      list.dataset.signature = signature;
    }
    for (const li of list.querySelectorAll('.item')) {
      const chosen = this.app.chosen?.kind === kind && this.app.chosen.number === Number(li.dataset.number);
      li.classList.toggle('chosen', chosen);
      li.firstChild.setAttribute('aria-pressed', String(chosen));
    }
  }

  // Whether an object or point can end in this frame, and whether something was given for it here.
  can(item) {
    const {frame} = this.app;
    return [item.given.some((at) => at < frame), item.given.includes(frame) || item.ends.includes(frame)];
  }

  row(kind, item) {
    const {app} = this;
    const about = this.about(kind, item);
    const text = element('span', {className: 'text', title: about}, element('span', {}, item.name), element('small', {}, about));
    const pick = element('button', {type: 'button', className: 'pick'}, swatch(item.color, kind), text);
    pick.dataset.key = `${kind}-${item.id}`;
    pick.addEventListener('click', () => app.pick(kind, item.id));
    const does = element('span', {className: 'does'});
    const li = element('li', {className: 'item'}, pick, does);
    li.dataset.number = item.id;
    const [begun, here] = this.can(item);
    for (const [name, label, act, usable] of [
      ['rename', 'Rename', () => this.rename(kind, item, li), true],
      ['end', 'Ends here: followed no longer from this frame on', () => app.edit('end', {kind, number: item.id, frame: app.frame}), begun],
      ['forget', 'Take back what was given in this frame (Delete)', () => app.edit('forget', {kind, number: item.id, frame: app.frame}), here],
      ['remove', `Delete this ${kind}`, () => app.edit('delete', {kind, number: item.id}), true],
    ]) {
      const button = element('button', {type: 'button', title: label, ariaLabel: `${label}: ${item.name}`, disabled: !usable}, icon(name));
      button.dataset.key = `${kind}-${item.id}-${name}`;
      button.addEventListener('click', act);
      does.append(button);
    }
    pick.addEventListener('dblclick', () => this.rename(kind, item, li));
    return li;
  }

  about(kind, item) {
    const {shown} = this.app;
    if (kind === 'point' && shown?.places[item.id] === null) return 'lost here; click with the point tool to place it';
    if (!item.given.length) return 'not painted yet';
    const where = item.given.length > 3 ? `${item.given.length} frames` : `frame ${item.given.join(', ')}`;
    const end = item.ends.length ? `, ends at ${item.ends.join(', ')}` : '';
    const isOld = this.app.state.waiting.includes(this.app.frame); // it is that of what was corrected
    const sure = isOld ? undefined : shown?.confidence[`${kind}/${item.id}`];
    return `${sure === undefined ? '' : `confidence ${sure.toFixed(2)} · `}given in ${where}${end}`;
  }

  rename(kind, item, li) {
    const input = element('input', {value: item.name, maxLength: 60, ariaLabel: `New name of ${item.name}`});
    const done = (keep) => {
      if (this.renaming !== input) return;
      this.renaming = null;
      delete $(KINDS[kind]).dataset.signature;
      if (keep && input.value.trim() && input.value.trim() !== item.name) {
        this.app.edit('rename', {kind, number: item.id, name: input.value});
      }
      this.show();
    };
    input.addEventListener('keydown', (event) => {
      event.stopPropagation();
      if (event.key === 'Enter') done(true);
      if (event.key === 'Escape') done(false);
    });
    input.addEventListener('blur', () => done(true));
    this.renaming = input;
    li.replaceChildren(input);
    input.focus();
    input.select();
  }

  showRun() {
    const {state, frame} = this.app;
    const {job, run} = state;
    const busy = job?.state === 'running';
    const given = [...state.objects, ...state.points].some((item) => item.given.length);
    const from = $('from').checked;
    for (const button of document.querySelectorAll('[data-way]')) {
      button.disabled = busy || !given || (from && button.dataset.way === 'both');
    }
    $('from').parentElement.hidden = !state.results;
    $('from').nextElementSibling.textContent = `Only from frame ${frame} on, as it is shown`;
    for (const button of document.querySelectorAll('[data-form]')) {
      const wanted = {png: state.objects, coco: state.objects, points: state.points}[button.dataset.form];
      button.disabled = busy || !(given || state.results) || wanted?.length === 0;
    }
    $('clear').disabled = busy;
    $('job').hidden = !busy;
    if (busy) {
      $('progress').value = job.total ? job.done / job.total : 0;
      $('job-text').textContent = this.jobText(job);
    }
    const [text, tone] = busy ? ['', ''] : this.runText(given, job, run);
    $('run-text').textContent = text;
    $('run-text').className = `note ${tone}`;
  }

  jobText(job) {
    const elsewhere = job.video === this.app.video ? '' : `${job.video}: `;
    const left = job.rate ? Math.ceil((job.total - job.done) / job.rate) : null;
    const time = left === null || !job.done ? '' : left < 90 ? ` · ${left} s left` : ` · ${Math.round(left / 60)} min left`;
    if (job.kind === 'export') return `${elsewhere}${FORMS[job.what]}: ${job.done} of ${job.total}`;
    return `${elsewhere}${WAYS[job.what]}: ${job.done} of ${job.total}${time}`;
  }

  runText(given, job, run) {
    const {state, video} = this.app;
    if (!given) return ['Paint an object, or set a point, in any frame first.', ''];
    if (job?.state === 'failed' && job.video === video) return [job.message, 'bad'];
    if (run?.state === 'running') {
      return [`The program ended in mid-run, at frame ${run.reached}. What was found up to there is kept.`, 'warn'];
    }
    if (!state.results) return ['Ready to propagate.', ''];
    if (state.waiting.length) {
      const some = state.waiting.slice(0, 4).join(', ') + (state.waiting.length > 4 ? ', …' : '');
      return [`Changed since the last run: frame ${some}. Propagate to carry it on.`, 'warn'];
    }
    if (run?.state === 'stopped' && run.reached !== null) return [`Stopped at frame ${run.reached}; what was found up to there is kept.`, 'warn'];
    return ['Done. Look where the confidence is low, correct there, and go on.', ''];
  }

  showDoubts() {
    const doubts = this.app.timeline.doubts().slice(0, CHIPS);
    $('doubt-section').hidden = !this.app.state.results;
    $('doubt').replaceChildren(
      ...(doubts.length ? doubts : []).map(([frame, value, key]) => {
        const [kind, number] = key.split('/');
        const item = this.app.state[KINDS[kind]].find((each) => each.id === Number(number));
        const chip = element('button', {type: 'button', className: 'small', title: `${item.name}: confidence ${value.toFixed(2)}`},
          swatch(item.color, kind), `Frame ${frame} · ${value.toFixed(2)}`);
        chip.addEventListener('click', () => this.app.goInDoubt([frame, value, key]));
        return chip;
      }),
      ...(doubts.length ? [] : [element('span', {className: 'note'}, this.app.isRunning() ? 'Not known yet.' : 'No frame is in doubt.')]),
    );
  }

  showSteps() {
    const {state} = this.app;
    const given = [...state.objects, ...state.points].some((item) => item.given.length);
    const done = state.results && !state.waiting.length;
    const busy = state.job?.state === 'running' && state.job.kind === 'run';
    const now = busy ? ['propagate'] : !given ? ['paint'] : !state.results ? ['propagate'] : done ? ['correct', 'export'] : ['correct', 'propagate'];
    for (const step of document.querySelectorAll('#steps li')) {
      step.classList.toggle('now', now.includes(step.dataset.step));
    }
  }
}
