// Elements in few words.

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function swatch(color, kind) {
  const made = element('span', {className: kind === 'point' ? 'swatch dot' : 'swatch'});
  made.style.background = color;
  return made;
}

const PATHS = {
  rename: 'M5 19h4L19 9l-4-4L5 15Z',
  end: 'M6 5v14M18 12h-8M14 8l4 4-4 4',
  forget: 'M8 5 4 9l4 4M4 9h10a5 5 0 0 1 0 10H9',
  remove: 'M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12',
};

export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  svg.setAttribute('viewBox', '0 0 24 24');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}
