// Pixels with hard edges: an area is a Uint8Array of 0 and 1, row by row.

// Calls `each` with the index of every pixel within `radius` of the line from `a` to `b`, in pixels (centres are whole).
export function sweep(width, height, a, b, radius, each) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const reach = radius * radius;
  const top = Math.max(Math.ceil(Math.min(a.y, b.y) - radius), 0);
  const bottom = Math.min(Math.floor(Math.max(a.y, b.y) + radius), height - 1);
  const left = Math.max(Math.ceil(Math.min(a.x, b.x) - radius), 0);
  const right = Math.min(Math.floor(Math.max(a.x, b.x) + radius), width - 1);
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const along = length ? Math.min(Math.max(((x - a.x) * dx + (y - a.y) * dy) / length, 0), 1) : 0;
      const [ex, ey] = [x - a.x - along * dx, y - a.y - along * dy];
      if (ex * ex + ey * ey <= reach) each(y * width + x);
    }
  }
}

// Calls `each` with the index of every pixel whose centre lies in a polygon, by the even-odd rule.
export function fill(width, height, corners, each) {
  const ys = corners.map((corner) => corner.y);
  const top = Math.max(Math.ceil(Math.min(...ys)), 0);
  const bottom = Math.min(Math.floor(Math.max(...ys)), height - 1);
  for (let y = top; y <= bottom; y++) {
    const crossings = [];
    corners.forEach((a, i) => {
      const b = corners[(i + 1) % corners.length];
      if (a.y <= y !== b.y <= y) crossings.push(a.x + ((y - a.y) / (b.y - a.y)) * (b.x - a.x));
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const right = Math.min(Math.floor(crossings[i + 1]), width - 1);
      for (let x = Math.max(Math.ceil(crossings[i]), 0); x <= right; x++) each(y * width + x);
    }
  }
}

// A bit for each pixel that has the id, the first in the highest bit.
export function pack(ids, id) {
  const bits = new Uint8Array(Math.ceil(ids.length / 8));
  for (let i = 0; i < ids.length; i++) if (ids[i] === id) bits[i >> 3] |= 128 >> (i & 7);
  return bits;
}
