// The first screen: choose a video of the folder, or upload one.

import {get, upload} from './api.js';
import {element} from './elements.js';

const $ = (id) => document.getElementById(id);
const KINDS = {video: 'video', frames: 'frames', folder: 'folder'};

export class Start {
  constructor(app) {
    this.app = app;
    $('open').addEventListener('click', () => this.show());
    $('back').addEventListener('click', () => this.hide());
    $('file').addEventListener('change', () => this.send([...$('file').files], null));
    $('images').addEventListener('change', () => this.sendImages([...$('images').files]));
    const drop = $('drop');
    for (const kind of ['dragover', 'drop']) document.addEventListener(kind, (event) => event.preventDefault());
    drop.addEventListener('dragover', () => drop.classList.add('over'));
    drop.addEventListener('dragleave', () => drop.classList.remove('over'));
    drop.addEventListener('drop', (event) => {
      drop.classList.remove('over');
      const files = [...event.dataTransfer.files];
      if (files.length && files.every((file) => file.type.startsWith('image/'))) this.sendImages(files);
      else this.send(files, null);
    });
  }

  async show(folder = '') {
    const library = await this.app.tried(() => get('/api/library', {folder}));
    if (!library) return;
    this.limit = library.max_upload;
    $('root').textContent = library.root;
    $('limit').textContent = `A copy is put into ${library.root}. At most ${size(library.max_upload)}.`;
    const parts = folder ? folder.split('/') : [];
    $('crumbs').replaceChildren(
      ...(folder ? [this.crumb('All', '')] : []),
      ...parts.map((part, i) => this.crumb(part, parts.slice(0, i + 1).join('/'))),
    );
    $('library').replaceChildren(...library.entries.map((entry) => this.entry(entry)));
    if (!library.entries.length) {
      $('library').replaceChildren(element('li', {className: 'note'}, 'There are no videos and no folders of frames here yet. Upload one above.'));
    }
    $('work').hidden = true;
    $('start').hidden = false;
    $('back').hidden = !this.app.state;
    $('open').hidden = true;
    return library;
  }

  hide() {
    $('start').hidden = $('back').hidden = true;
    $('open').hidden = false;
    $('work').hidden = false;
    this.app.resized();
  }

  crumb(label, folder) {
    const button = element('button', {type: 'button', className: 'small'}, label);
    button.addEventListener('click', () => this.show(folder));
    return button;
  }

  entry(entry) {
    const about = entry.session ? `${KINDS[entry.kind]}, begun` : KINDS[entry.kind];
    const button = element('button', {type: 'button', title: entry.name}, element('span', {}, entry.label), element('small', {}, about));
    button.addEventListener('click', () => (entry.kind === 'folder' ? this.show(entry.name) : this.app.open(entry.name)));
    return element('li', {}, button);
  }

  sendImages(files) {
    const stem = files[0]?.name.replace(/\.[^.]*$/, '').replace(/[\d_.\s-]+$/, '') || 'images';
    return this.send(files, stem.replace(/^\.+/, '') || 'images');
  }

  async send(files, folder) {
    if (!files.length) return;
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    if (bytes > this.limit) {
      this.app.say(`This is ${size(bytes)}; at most ${size(this.limit)} are allowed (--max-upload). Put it into the folder yourself.`, true);
      return;
    }
    $('upload').hidden = false;
    const progress = (share) => {
      $('upload-progress').value = share;
      $('upload-text').textContent = share < 1 ? `Sending ${files.length > 1 ? `${files.length} images` : files[0].name}: ${Math.round(100 * share)} %` : 'Looking through it…';
    };
    progress(0);
    const video = await this.app.tried(() => upload(files, folder, progress));
    $('upload').hidden = true;
    $('file').value = $('images').value = '';
    if (video) await this.app.open(video);
  }
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(Math.round(bytes / 1e3), 1)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
